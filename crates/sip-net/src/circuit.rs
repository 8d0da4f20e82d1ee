//! What is remembered of a next hop's failures: which addresses to try first, and when to leave the whole alone. No
//! sockets and no clock.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;

use crate::connect::ConnectError;
use crate::target::{Server, drawn};

/// The failures of one next hop.
///
/// An address that failed goes behind all that did not, until a connection to it succeeds: a dead first server costs
/// one message its time, and not each of them. No address is ever out of the question: when all have failed, they are
/// tried as before. When a whole attempt fails, further messages fail at once with the same reason for a while, which
/// doubles each time.
#[derive(Debug, Default)]
pub(crate) struct Circuit {
    addresses: Vec<Failing<SocketAddr>>,
    whole: Option<Failing<()>>,
}

/// Something that failed and has not succeeded since.
#[derive(Clone, Debug)]
pub(crate) struct Failing<T> {
    pub(crate) what: T,
    /// Failures in a row.
    pub(crate) in_a_row: u32,
    /// Not to be tried before, if there is a choice.
    pub(crate) retry_at: Instant,
    pub(crate) why: ConnectError,
    /// It only asked for a pause: when that is over, it is as good as before.
    passing: bool,
}

/// How long a failure is remembered: doubling from the first to the most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pauses {
    pub(crate) first: Duration,
    pub(crate) most: Duration,
}

impl Circuit {
    /// The addresses in the order for one attempt.
    pub(crate) fn order(&self, servers: &[Server], now: Instant, random: impl FnMut(u32) -> u32) -> Vec<SocketAddr> {
        let mut addresses = drawn(servers, random);
        // Stable: among those that never failed, or whose time has come, the drawn order stays.
        addresses.sort_by_key(|address| self.unsound(*address, now).map(|failing| failing.retry_at.max(now)));
        addresses
    }

    /// One address did not answer, or not as it should.
    pub(crate) fn failed(&mut self, address: SocketAddr, why: &ConnectError, now: Instant, pauses: Pauses) {
        let known = self.failing(address).filter(|failing| !failing.passing);
        let in_a_row = known.map_or(0, |failing| failing.in_a_row).saturating_add(1);
        let retry_at = now + pauses.after(in_a_row);
        self.leave(Failing { what: address, in_a_row, retry_at, why: why.clone(), passing: false });
    }

    /// An address works.
    pub(crate) fn succeeded(&mut self, address: SocketAddr) {
        self.addresses.retain(|failing| failing.what != address);
        self.whole = None;
    }

    /// Whatever failed is as good as before; whoever asked for a pause keeps it.
    pub(crate) fn forgive(&mut self) {
        self.addresses.retain(|failing| failing.passing);
        self.whole = None;
    }

    /// The address asked to be left alone for a while.
    pub(crate) fn shun(&mut self, address: SocketAddr, why: &ConnectError, until: Instant) {
        self.leave(Failing { what: address, in_a_row: 1, retry_at: until, why: why.clone(), passing: true });
    }

    /// No address works: further messages fail with the same reason for a while.
    pub(crate) fn all_failed(&mut self, why: &ConnectError, now: Instant, pauses: Pauses) {
        let in_a_row = self.whole.as_ref().map_or(0, |failing| failing.in_a_row).saturating_add(1);
        let retry_at = now + pauses.after(in_a_row);
        self.whole = Some(Failing { what: (), in_a_row, retry_at, why: why.clone(), passing: false });
    }

    /// Why messages fail at once now, if they do. While a next hop that failed several times is being tried again
    /// (`trying`), they still do: one message is enough to find out.
    pub(crate) fn closed_to(&self, now: Instant, trying: bool) -> Option<&ConnectError> {
        let failing = self.whole.as_ref()?;
        let shut = if trying { failing.in_a_row >= SHUT_WHILE_TRYING } else { now < failing.retry_at };
        shut.then_some(&failing.why)
    }

    /// A failed address to try again beside the connections that work, since it would be preferred to them, or share
    /// with them. It is answered once for each pause.
    pub(crate) fn probe(
        &mut self,
        servers: &[Server],
        connected: &[SocketAddr],
        now: Instant,
        pauses: Pauses,
    ) -> Option<SocketAddr> {
        let best = connected.iter().filter_map(|address| priority(servers, *address)).min()?;
        let failing = self.addresses.iter_mut().find(|failing| {
            let wanted = priority(servers, failing.what).is_some_and(|priority| priority <= best);
            wanted && !failing.passing && now >= failing.retry_at && !connected.contains(&failing.what)
        })?;
        failing.retry_at = now + pauses.after(failing.in_a_row);
        Some(failing.what)
    }

    /// Whether some address has not failed.
    pub(crate) fn has_sound(&self, servers: &[Server], now: Instant) -> bool {
        let mut addresses = servers.iter().flat_map(|server| &server.addresses);
        addresses.any(|address| self.unsound(*address, now).is_none())
    }

    /// Whether the address asked for a pause that is not over.
    pub(crate) fn is_shunned(&self, address: SocketAddr, now: Instant) -> bool {
        self.unsound(address, now).is_some_and(|failing| failing.passing)
    }

    /// Whether there is nothing to remember: the usual case, and cheap to ask.
    pub(crate) fn is_clear(&self) -> bool {
        self.addresses.is_empty()
    }

    /// Forgets addresses that are no longer the next hop's.
    pub(crate) fn keep(&mut self, servers: &[Server]) {
        self.addresses.retain(|failing| priority(servers, failing.what).is_some());
    }

    pub(crate) fn failing(&self, address: SocketAddr) -> Option<&Failing<SocketAddr>> {
        self.addresses.iter().find(|failing| failing.what == address)
    }

    pub(crate) fn whole(&self) -> Option<&Failing<()>> {
        self.whole.as_ref()
    }

    /// Like [`Self::failing`], without those whose pause is over and forgotten.
    fn unsound(&self, address: SocketAddr, now: Instant) -> Option<&Failing<SocketAddr>> {
        self.failing(address).filter(|failing| !failing.passing || now < failing.retry_at)
    }

    fn leave(&mut self, failing: Failing<SocketAddr>) {
        match self.addresses.iter_mut().find(|known| known.what == failing.what) {
            Some(known) => *known = failing,
            None => self.addresses.push(failing),
        }
    }
}

impl Pauses {
    fn after(self, in_a_row: u32) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(in_a_row.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(self.most)
    }
}

/// The best rank that an address has.
pub(crate) fn priority(servers: &[Server], address: SocketAddr) -> Option<u16> {
    servers.iter().filter(|server| server.addresses.contains(&address)).map(|server| server.priority).min()
}

/// After so many failures in a row, those who come while another try is under way do not wait for it.
const SHUT_WHILE_TRYING: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSES: Pauses = Pauses { first: Duration::from_secs(1), most: Duration::from_secs(30) };

    fn at(last: u8) -> SocketAddr {
        ([192, 0, 2, last], 5061).into()
    }

    fn servers(ranks: &[(u16, u8)]) -> Vec<Server> {
        ranks
            .iter()
            .map(|(priority, last)| Server { priority: *priority, weight: 0, addresses: vec![at(*last)] })
            .collect()
    }

    fn refused(last: u8) -> ConnectError {
        ConnectError::Refused { address: at(last) }
    }

    fn order(circuit: &Circuit, servers: &[Server], now: Instant) -> Vec<u8> {
        let last = |address: SocketAddr| address.to_string().split([':', '.']).nth(3).unwrap().parse().unwrap();
        circuit.order(servers, now, |_| 0).into_iter().map(last).collect()
    }

    #[test]
    fn an_address_that_failed_goes_behind_the_sound_ones_until_it_works_again() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        let three = servers(&[(10, 1), (20, 2), (30, 3)]);
        assert_eq!(order(&circuit, &three, now), [1, 2, 3]);
        circuit.failed(at(1), &refused(1), now, PAUSES);
        assert_eq!(order(&circuit, &three, now), [2, 3, 1]);
        assert_eq!(order(&circuit, &three, now + Duration::from_secs(60)), [2, 3, 1], "also when its time has come");
        circuit.succeeded(at(1));
        assert_eq!(order(&circuit, &three, now), [1, 2, 3]);
    }

    #[test]
    fn whoever_is_forgiven_is_tried_at_once_unless_it_asked_for_a_pause() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        circuit.failed(at(1), &refused(1), now, PAUSES);
        circuit.shun(at(2), &refused(2), now + Duration::from_secs(9));
        circuit.all_failed(&refused(1), now, PAUSES);
        assert!(circuit.closed_to(now, false).is_some());
        circuit.forgive();
        assert!(circuit.closed_to(now, false).is_none() && circuit.failing(at(1)).is_none());
        assert!(circuit.is_shunned(at(2), now));
    }

    #[test]
    fn when_all_have_failed_none_is_out_of_the_question() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        let three = servers(&[(10, 1), (20, 2), (30, 3)]);
        circuit.failed(at(1), &refused(1), now, PAUSES);
        circuit.failed(at(1), &refused(1), now, PAUSES);
        circuit.failed(at(3), &refused(3), now, PAUSES);
        circuit.failed(at(2), &refused(2), now + Duration::from_millis(1), PAUSES);
        assert_eq!(order(&circuit, &three, now), [3, 2, 1], "whose time comes first");
        assert_eq!(order(&circuit, &three, now + Duration::from_secs(60)), [1, 2, 3], "all had their pause");
        assert!(!circuit.has_sound(&three, now));
    }

    #[test]
    fn pauses_double_up_to_the_most() {
        let seconds = |in_a_row| PAUSES.after(in_a_row).as_secs();
        assert_eq!([1, 2, 3, 5, 6, 7, 33, u32::MAX].map(seconds), [1, 2, 4, 16, 30, 30, 30, 30]);
    }

    #[test]
    fn the_whole_fails_fast_for_its_pause_and_after_several_failures_also_while_it_is_tried() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        let ms = Duration::from_millis;
        circuit.all_failed(&refused(1), now, PAUSES);
        let rows = [(0, false, true), (999, false, true), (1000, false, false), (1000, true, false)];
        for (after, trying, shut) in rows {
            assert_eq!(circuit.closed_to(now + ms(after), trying).is_some(), shut, "{after} ms, trying {trying}");
        }
        circuit.all_failed(&refused(1), now, PAUSES);
        circuit.all_failed(&refused(2), now, PAUSES);
        assert_eq!(circuit.closed_to(now + ms(3999), false), Some(&refused(2)));
        assert_eq!(circuit.closed_to(now + ms(4000), false), None, "somebody may try");
        assert_eq!(circuit.closed_to(now + ms(4000), true), Some(&refused(2)), "and the others do not wait for it");
        circuit.succeeded(at(1));
        assert_eq!(circuit.closed_to(now, true), None);
    }

    #[test]
    fn only_a_preferred_address_is_probed_beside_a_connection_and_once_for_each_pause() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        let three = servers(&[(10, 1), (20, 2), (30, 3)]);
        circuit.failed(at(1), &refused(1), now, PAUSES);
        circuit.failed(at(3), &refused(3), now, PAUSES);
        let second = Duration::from_secs(1);
        assert_eq!(circuit.probe(&three, &[at(2)], now, PAUSES), None, "too early");
        assert_eq!(circuit.probe(&three, &[at(2)], now + second, PAUSES), Some(at(1)), "3 would be no gain");
        assert_eq!(circuit.probe(&three, &[at(2)], now + second, PAUSES), None, "one at a time");
        assert_eq!(circuit.probe(&three, &[at(2)], now + 2 * second, PAUSES), Some(at(1)));
        assert_eq!(circuit.probe(&three, &[], now + 9 * second, PAUSES), None, "without a connection all are tried");
        let equals = servers(&[(10, 1), (10, 2)]);
        assert_eq!(circuit.probe(&equals, &[at(2)], now + 9 * second, PAUSES), Some(at(1)), "an equal has its share");
        assert_eq!(circuit.probe(&equals, &[at(1), at(2)], now + 99 * second, PAUSES), None, "it is connected");
    }

    #[test]
    fn what_asked_to_be_left_alone_comes_back_by_itself_and_addresses_that_are_gone_are_forgotten() {
        let (mut circuit, now) = (Circuit::default(), Instant::now());
        let two = servers(&[(10, 1), (20, 2)]);
        circuit.shun(at(1), &refused(1), now + Duration::from_secs(20));
        assert_eq!(order(&circuit, &two, now), [2, 1]);
        assert!(circuit.is_shunned(at(1), now) && circuit.has_sound(&two, now));
        let later = now + Duration::from_secs(20);
        assert_eq!(order(&circuit, &two, later), [1, 2]);
        assert!(!circuit.is_shunned(at(1), later));
        circuit.keep(&two[1..]);
        assert!(circuit.failing(at(1)).is_none());
    }
}
