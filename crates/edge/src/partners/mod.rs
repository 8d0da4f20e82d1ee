//! The partners: one bounded table of whom we deal with, how that goes, and what each may still send.
//!
//! A partner is a domain together with the name that proved it. Nobody has a place here who has not proven a domain, or
//! to whom the settings do not lead. What it may send and have under way is its own if its domain is listed; all domains
//! that nobody has listed and that one certificate proves, or one provider brings, have one share together.

mod partner;
mod passage;
mod share;

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reveille_core::{Clock, SipDomain};
use reveille_federation::Refusal;
use reveille_federation::policy::Standing;

use crate::limits::{Limits, Load};
use crate::meters::MetersOf;

pub(crate) use partner::{Books, Partner, Traffic};
pub(crate) use passage::{Passage, Way};
pub(crate) use share::Share;

/// Partners remembered at once. Beyond it those that nobody deals with go, the longest silent first.
const PARTNERS_MAX: usize = 10_000;

/// Partners that are watched and forgotten otherwise. Beyond it the one watched for longest is forgiven.
const WATCHED_MAX: usize = 10_000;
/// Who has been silent for so long is forgiven.
const WATCHED_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

/// A domain, and the name that proved it.
type Key = (SipDomain, SipDomain);

/// All partners.
pub(crate) struct Partners {
    table: Mutex<Table>,
    meters: MetersOf,
    limits: Limits,
    clock: Arc<dyn Clock>,
    /// Everybody's requests together.
    load: Arc<Load>,
}

#[derive(Default)]
struct Table {
    known: HashMap<Key, Arc<Partner>>,
    /// What those that are not listed have together, by the name that brings them. Held by the partners.
    shared: HashMap<Box<str>, Weak<Share>>,
    /// Who was on the watch list when it was forgotten, and when that was: being forgotten is not being forgiven.
    watched: HashMap<Key, Instant>,
}

impl Partners {
    pub(crate) fn new(limits: Limits, clock: Arc<dyn Clock>) -> Self {
        Self { table: Mutex::default(), meters: MetersOf::default(), limits, clock, load: Arc::default() }
    }

    /// The partner of this standing; a new one gets a place. `household` is the name by which its connections are
    /// counted, if it is on one.
    pub(crate) fn of(&self, standing: &Standing, household: Option<&str>) -> Result<Arc<Partner>, Refusal> {
        let key = (standing.domain().clone(), standing.remote().clone());
        let now = Instant::now();
        let mut table = self.table.lock();
        if let Some(partner) = table.known.get(&key) {
            let partner = Arc::clone(partner);
            let share = match partner.keeps_its_share(standing, household) {
                true => None,
                false => Some(table.share(standing, household, self.limits, now)),
            };
            drop(table);
            partner.is_now(standing, share, self.meters.of(standing));
            return Ok(partner);
        }
        // Those that are listed have a place in any case: they are as many as somebody has written down.
        if table.known.len() >= PARTNERS_MAX && !table.make_room(now) && !standing.is_listed() {
            return Err(Refusal::Overloaded);
        }
        let share = table.share(standing, household, self.limits, now);
        let watched = table.watched.remove(&key).is_some_and(|since| now.duration_since(since) < WATCHED_FOR);
        if watched && standing.is_discovered() {
            share.purse.lock().pace.watch();
        }
        let partner = Arc::new(Partner {
            domain: key.0.clone(),
            remote: key.1.clone(),
            limits: self.limits,
            clock: Arc::clone(&self.clock),
            all: Arc::clone(&self.load),
            connections_in: AtomicUsize::new(0),
            books: Mutex::new(Books::new(standing, share, self.meters.of(standing), now)),
        });
        table.known.insert(key, Arc::clone(&partner));
        Ok(partner)
    }

    /// All of them, in no particular order.
    pub(crate) fn all(&self) -> Vec<Arc<Partner>> {
        self.table.lock().known.values().cloned().collect()
    }

    /// Everybody's requests under way.
    pub(crate) fn load(&self) -> &Load {
        &self.load
    }
}

impl Table {
    /// What a partner may have: of its own if it is listed, else together with whatever else is brought by the same name.
    fn share(&mut self, standing: &Standing, household: Option<&str>, limits: Limits, now: Instant) -> Arc<Share> {
        if standing.is_listed() {
            return Arc::new(Share::new(limits, now));
        }
        let name = match household {
            Some(household) if !standing.is_brought() => household,
            Some(_) | None => standing.remote().as_str(),
        };
        if let Some(share) = self.shared.get(name).and_then(Weak::upgrade) {
            return share;
        }
        if self.shared.len() > PARTNERS_MAX {
            self.shared.retain(|_, share| share.strong_count() > 0);
        }
        let share = Arc::new(Share::new(limits, now));
        self.shared.insert(name.into(), Arc::downgrade(&share));
        share
    }

    /// Forgets an eighth of the partners, or as many as nobody holds. Says whether there is room.
    fn make_room(&mut self, now: Instant) -> bool {
        let mut silent: Vec<_> = self
            .known
            .iter()
            .filter(|(_, partner)| Arc::strong_count(partner) == 1)
            .map(|(key, partner)| (partner.books.lock().last_seen, key.clone()))
            .collect();
        silent.sort_unstable_by_key(|(seen, _)| *seen);
        silent.truncate(PARTNERS_MAX / 8);
        let is_room = !silent.is_empty();
        for (_, key) in silent {
            if self.known.remove(&key).is_some_and(|partner| partner.share().is_watched()) {
                self.watched.insert(key, now);
            }
        }
        self.forgive(now);
        is_room
    }

    /// Keeps the watch list within its bound and its age.
    fn forgive(&mut self, now: Instant) {
        self.watched.retain(|_, since| now.duration_since(*since) < WATCHED_FOR);
        let Some(too_many) = self.watched.len().checked_sub(WATCHED_MAX + 1) else { return };
        let mut since: Vec<Instant> = self.watched.values().copied().collect();
        let (_, newest_to_go, _) = since.select_nth_unstable(too_many);
        let newest_to_go = *newest_to_go;
        self.watched.retain(|_, since| *since > newest_to_go);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use reveille_core::settings::{AllowedDomain, Setting, SettingChange, Snapshot};
    use reveille_federation::policy::{Admission, admit};

    use reveille_core::Timestamp;
    use reveille_core::settings::AccessEdgeConfiguration;
    use reveille_sip_net::ConnectError;

    use super::*;
    use crate::limits::Class;
    use crate::pace::Allowance;

    struct Still;

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(7)
        }
    }

    fn domain(text: &str) -> SipDomain {
        text.parse().unwrap()
    }

    fn standing(name: &str, listed: bool) -> Standing {
        let edge = AccessEdgeConfiguration {
            allow_federated_users: true,
            enable_partner_discovery: true,
            ..Default::default()
        };
        let allowed = AllowedDomain {
            identity: domain(name),
            proxy_fqdn: None,
            verification_level: None,
            comment: String::new(),
            mark_for_monitoring: false,
        };
        let mut rows = vec![Setting::AccessEdgeConfiguration(edge)];
        rows.extend(listed.then_some(Setting::AllowedDomain(allowed)));
        let settings = rows.into_iter().fold(Snapshot::default(), |snapshot, row| {
            snapshot.with(&SettingChange::Put(row), "tester", Timestamp::from_millis(1)).unwrap()
        });
        match admit(&settings, &|_| false, &domain(name), &|_| true) {
            Ok(Admission::Admitted(standing)) => standing,
            other => panic!("{other:?}"),
        }
    }

    fn partners(limits: Limits) -> Partners {
        Partners::new(limits, Arc::new(Still))
    }

    /// A partner.
    pub(crate) fn some_partner() -> Arc<Partner> {
        partners(Limits::default()).of(&standing("a.example", true), None).unwrap()
    }

    /// The places of some request.
    pub(crate) fn passage() -> Passage {
        some_partner().send(Class::Message, 1).unwrap()
    }

    const ALLOWANCE: Allowance =
        Allowance { standard_rate: 20, contacts_max: Some(3), period: Duration::from_secs(3600) };

    fn receive(partner: &Arc<Partner>, contact: u64) -> Result<Passage, &'static str> {
        partner.receive(Class::Message, 100, || contact, ALLOWANCE).map_err(|refusal| refusal.as_str())
    }

    #[test]
    fn one_partner_cannot_fill_the_places_of_another() {
        let few = Limits { in_flight_per_partner: 7, ..Limits::default() };
        let partners = partners(few);
        let (greedy, other) =
            (partners.of(&standing("a.example", true), None), partners.of(&standing("b.example", true), None));
        let (greedy, other) = (greedy.unwrap(), other.unwrap());
        let held: Vec<Passage> = (0..6).map(|_| receive(&greedy, 1).unwrap()).collect();
        assert_eq!(receive(&greedy, 1).err(), Some("partner-busy"));
        assert!(greedy.receive(Class::Call, 100, || 1, ALLOWANCE).is_ok(), "a place is kept for calls");
        assert!(receive(&other, 1).is_ok());
        assert_eq!(
            (greedy.share().load().requests(), partners.load().requests(), partners.load().bytes()),
            (6, 6, 600)
        );
        drop(held);
        assert_eq!((greedy.share().load().requests(), partners.load().bytes()), (0, 0));
        assert_eq!(greedy.books.lock().received.unanswered, 7);
        let small = Limits { bytes_in_flight_per_partner: 100, ..Limits::default() };
        let partner = self::partners(small).of(&standing("a.example", true), None).unwrap();
        assert_eq!(receive(&partner, 1).err(), Some("partner-busy"), "bytes count as well");
    }

    #[test]
    fn a_listed_partner_has_the_configured_rate_and_a_discovered_one_a_small_one() {
        let partners = partners(Limits { messages_per_s: 50, ..Limits::default() });
        for (name, listed, expected) in [("a.example", true, 50), ("b.example", false, 20)] {
            let partner = partners.of(&standing(name, listed), None).unwrap();
            let mut passed = 0;
            let refusal = loop {
                match receive(&partner, 1) {
                    Ok(passage) => passage.answered(200, None),
                    Err(refusal) => break refusal,
                }
                passed += 1;
            };
            assert_eq!(refusal, "partner-throttled");
            // A slow machine fills the bucket a little while this runs.
            assert!((expected..expected + 5).contains(&passed), "{name}: {passed}");
            let urgent = (0..50).filter(|_| partner.receive(Class::Call, 1, || 1, ALLOWANCE).is_ok()).count();
            let kept = expected / 7;
            assert!((kept..kept + 5).contains(&urgent), "{name}: to call it urgent gives a seventh, not {urgent}");
            assert!(partner.receive(Class::Ending, 1, || 1, ALLOWANCE).is_ok(), "a call may end");
        }
    }

    #[test]
    fn what_one_certificate_proves_and_nobody_has_listed_has_one_share() {
        let few = Limits { in_flight_per_partner: 7, ..Limits::default() };
        let partners = partners(few);
        let of = |name: &str, listed, household| partners.of(&standing(name, listed), household).unwrap();
        let names = ["a.att.example", "b.att.example", "c.att.example"];
        let [a, b, c] = names.map(|name| of(name, false, Some("att.example")));
        let other = of("other.example", false, Some("other.example"));
        let held: Vec<Passage> = (0..6).map(|_| receive(&a, 1).unwrap()).collect();
        assert_eq!(receive(&b, 1).err(), Some("partner-busy"), "its places are taken");
        assert!(receive(&other, 1).is_ok());
        drop(held);
        let passed = (0..100).filter(|_| receive(&b, 1).is_ok()).count();
        assert!(passed <= 20, "its rate as well: {passed}");
        // To write to one of them makes nothing new of it, and to list one makes it alone.
        assert!(receive(&of(names[0], false, None), 1).is_err());
        let listed = of(names[2], true, Some("att.example"));
        assert!(Arc::ptr_eq(&listed, &c) && receive(&c, 1).is_ok() && receive(&b, 1).is_err());
        // Its addresses as well.
        let [d, e] = ["d.x.example", "e.x.example"].map(|name| of(name, false, Some("x.example")));
        assert_eq!([(&d, 1), (&e, 2), (&d, 3)].map(|(at, contact)| receive(at, contact).is_ok()), [true; 3]);
        assert_eq!([&d, &e].map(|at| receive(at, 4).err()), [Some("partner-watched"); 2]);
    }

    #[test]
    fn a_watched_partner_is_refused_until_it_is_listed() {
        let partners = partners(Limits::default());
        let partner = partners.of(&standing("a.example", false), None).unwrap();
        for contact in 0..3 {
            receive(&partner, contact).unwrap().answered(200, None);
        }
        assert_eq!(receive(&partner, 3).err(), Some("partner-watched"));
        assert_eq!(receive(&partner, 1).err(), Some("partner-watched"));
        partners.of(&standing("a.example", true), None).unwrap();
        assert!(receive(&partner, 4).is_ok());
    }

    #[test]
    fn what_became_of_requests_is_counted_by_direction_and_class() {
        let partners = partners(Limits::default());
        let partner = partners.of(&standing("a.example", true), None).unwrap();
        for status in [200, 202, 404, 503, 603] {
            receive(&partner, 1).unwrap().answered(status, Some("1005;reason=\"x\""));
            partner.send(Class::Message, 1).unwrap().answered(status, None);
        }
        let refused = ConnectError::Refused { address: ([192, 0, 2, 1], 5061).into() };
        partner.send(Class::Message, 1).unwrap().failed(&refused);
        partner.send(Class::Message, 1).unwrap().failed(&refused);
        let books = partner.books.lock();
        assert_eq!((books.received.answers, books.sent.answers), ([2, 0, 1, 1, 1], [2, 0, 1, 1, 1]));
        assert_eq!((books.sent.requests, books.sent.unreachable, books.failing.unwrap().0), (7, 2, 2));
        assert_eq!(books.last_error.as_ref().unwrap().reason, "refused");
        drop(books);
        partner.send(Class::Message, 1).unwrap().answered(200, None);
        assert!(partner.books.lock().failing.is_none(), "it answers again");
    }

    #[test]
    fn an_ack_is_counted_as_sent_and_neither_as_answered_nor_as_left_without_an_answer() {
        let partners = partners(Limits::default());
        let (from, to) =
            (partners.of(&standing("a.example", true), None), partners.of(&standing("b.example", true), None));
        let (from, to) = (from.unwrap(), to.unwrap());
        let through = to.send(Class::Ending, 1).unwrap();
        from.receive(Class::Ending, 1, || 1, ALLOWANCE).unwrap().with(through).passed();
        let (received, sent) = (from.books.lock(), to.books.lock());
        for traffic in [&received.received, &sent.sent] {
            assert_eq!((traffic.requests, traffic.answers, traffic.unanswered), (1, [0; 5], 0));
        }
        drop((received, sent));
        assert_eq!(from.share().load.requests() + to.share().load.requests(), 0);
    }

    #[test]
    fn connections_are_counted_and_bounded() {
        let partners = partners(Limits { connections_per_partner: 2, ..Limits::default() });
        let partner = partners.of(&standing("a.example", true), None).unwrap();
        assert!(partner.connected(None).is_ok() && partner.connected(None).is_ok());
        assert_eq!(partner.connected(None).map_err(|refusal| refusal.as_str()), Err("partner-busy"));
        partner.disconnected();
        assert!(partner.connected(None).is_ok());
        assert_eq!(partner.connections_in(), 2);
    }

    #[test]
    fn a_full_table_forgets_who_is_silent_and_not_who_is_busy() {
        let partners = partners(Limits::default());
        let busy = partners.of(&standing("busy.example", true), None).unwrap();
        for number in 1..PARTNERS_MAX + 100 {
            partners.of(&standing(&format!("d{number}.example"), true), None).unwrap();
        }
        let all = partners.all();
        assert!(all.len() <= PARTNERS_MAX);
        let has = |name: &str| all.iter().any(|partner| partner.domain.as_str() == name);
        assert!(has("busy.example") && !has("d2.example"));
        assert_eq!(busy.domain.as_str(), "busy.example");
    }

    /// Brings a discovered partner onto the watch list.
    fn watch(partners: &Partners, name: &str) -> Result<(), Refusal> {
        let partner = partners.of(&standing(name, false), None)?;
        assert!((0..4).any(|contact| receive(&partner, contact).is_err()));
        Ok(())
    }

    #[test]
    fn whoever_is_watched_stays_so_when_forgotten_and_leaves_room_for_others() {
        let partners = partners(Limits::default());
        watch(&partners, "first.example").unwrap();
        // One attacker's subdomains.
        for number in 0..PARTNERS_MAX + 100 {
            watch(&partners, &format!("d{number}.example")).expect("somebody watched makes room");
        }
        assert!(partners.all().len() <= PARTNERS_MAX);
        let first = partners.of(&standing("first.example", false), None).unwrap();
        assert_eq!(receive(&first, 1).err(), Some("partner-watched"));
        let newcomer = partners.of(&standing("newcomer.example", false), None).unwrap();
        assert!(receive(&newcomer, 1).is_ok());
        // Whom an administrator lists is forgiven.
        partners.table.lock().watched.insert((domain("good.example"), domain("good.example")), Instant::now());
        let good = partners.of(&standing("good.example", true), None).unwrap();
        assert!(receive(&good, 1).is_ok());
    }

    #[test]
    fn a_listed_partner_has_a_place_though_every_other_one_is_taken() {
        let partners = partners(Limits::default());
        let discovered = standing("d.example", false);
        let one = partners.of(&discovered, None).unwrap();
        let held: Vec<Arc<Partner>> = vec![one; PARTNERS_MAX];
        for (number, partner) in held.iter().enumerate() {
            let key = (domain(&format!("d{number}.example")), domain("d.example"));
            partners.table.lock().known.insert(key, Arc::clone(partner));
        }
        assert_eq!(
            partners.of(&standing("new.example", false), None).err().map(|why| why.as_str()),
            Some("overloaded")
        );
        assert!(partners.of(&standing("listed.example", true), None).is_ok());
    }

    #[test]
    fn the_watch_list_has_a_bound_and_an_age() {
        let mut table = Table::default();
        let start = Instant::now();
        let key = |number: usize| (domain(&format!("d{number}.example")), domain("e.example"));
        for number in 0..WATCHED_MAX + 10 {
            table.watched.insert(key(number), start + Duration::from_millis(number as u64));
        }
        table.forgive(start + Duration::from_secs(60));
        assert_eq!(table.watched.len(), WATCHED_MAX);
        assert!(!table.watched.contains_key(&key(9)) && table.watched.contains_key(&key(10)));
        table.forgive(start + WATCHED_FOR + Duration::from_millis(20));
        assert!(!table.watched.contains_key(&key(20)) && table.watched.contains_key(&key(21)));
    }
}
