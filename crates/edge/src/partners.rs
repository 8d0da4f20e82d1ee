//! The partners: one bounded table of whom we deal with, how that goes, and what each may still send.
//!
//! A partner is a domain together with the name that proved it. Nobody has a place here who has not proven a domain, or
//! to whom the settings do not lead. What it may send and have under way is its own if its domain is listed; all domains
//! that nobody has listed and that one certificate proves, or one provider brings, have one share together.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reveille_core::settings::AccessEdgeConfiguration;
use reveille_core::{Clock, SipDomain, Timestamp};
use reveille_federation::policy::Standing;
use reveille_federation::trust::SourceType;
use reveille_federation::{Refusal, answer};
use reveille_sip_net::{ConnectError, PeerCertificate, Target};

use crate::gauge::{Latency, Meter};
use crate::limits::{BYTES_IN_FLIGHT_MAX, Bucket, Class, Full, IN_FLIGHT_MAX, Limits, Load};
use crate::meters::{Meters, MetersOf};
use crate::pace::{Allowance, Pace};

/// Partners remembered at once. Beyond it those that nobody deals with go, the longest silent first.
const PARTNERS_MAX: usize = 10_000;

/// Which way requests go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// From the partner to us.
    In,
    /// From us to the partner.
    Out,
}

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

/// One partner.
pub(crate) struct Partner {
    pub(crate) domain: SipDomain,
    pub(crate) remote: SipDomain,
    limits: Limits,
    clock: Arc<dyn Clock>,
    all: Arc<Load>,
    connections_in: AtomicUsize,
    pub(crate) books: Mutex<Books>,
}

/// What somebody may send, and have under way.
pub(crate) struct Share {
    load: Load,
    purse: Mutex<Purse>,
}

/// What may be sent.
struct Purse {
    bucket: Bucket,
    endings: Bucket,
    pace: Pace,
}

impl Share {
    fn new(limits: Limits, now: Instant) -> Self {
        let bucket = || Bucket::new(limits.messages_per_s, now);
        let purse = Purse { bucket: bucket(), endings: bucket(), pace: Pace::new(now) };
        Self { load: Load::default(), purse: Mutex::new(purse) }
    }

    /// Requests under way.
    pub(crate) const fn load(&self) -> &Load {
        &self.load
    }

    /// Whether it has written to too many addresses.
    pub(crate) fn is_watched(&self) -> bool {
        self.purse.lock().pace.is_watched()
    }

    /// To how many it has written in this period.
    pub(crate) fn contacts(&self) -> usize {
        self.purse.lock().pace.contacts()
    }
}

/// What is counted of one partner.
pub(crate) struct Books {
    pub(crate) source: SourceType,
    pub(crate) is_listed: bool,
    is_discovered: bool,
    meters: Arc<Meters>,
    share: Arc<Share>,
    pub(crate) received: Traffic,
    pub(crate) sent: Traffic,
    /// Requests of it that we refused, by reason. As many as there are kinds of refusals.
    pub(crate) refused: HashMap<&'static str, u64>,
    pub(crate) last_error: Option<LastError>,
    /// Failures to reach it in a row, and since when.
    pub(crate) failing: Option<(u32, Timestamp)>,
    pub(crate) certificate: Option<Arc<PeerCertificate>>,
    /// Where it is reached.
    pub(crate) target: Option<Target>,
    pub(crate) last_seen: Instant,
}

/// One direction.
pub(crate) struct Traffic {
    pub(crate) requests: u64,
    /// Final answers by class: 2xx to 6xx.
    pub(crate) answers: [u64; 5],
    pub(crate) unanswered: u64,
    pub(crate) unreachable: u64,
    pub(crate) meter: Meter,
    pub(crate) latency: Latency,
}

/// The latest thing that went wrong with a partner.
#[derive(Clone, Debug)]
pub(crate) struct LastError {
    pub(crate) at: Timestamp,
    pub(crate) reason: &'static str,
    pub(crate) sentence: String,
    pub(crate) advice: String,
}

impl Books {
    fn new(standing: &Standing, share: Arc<Share>, meters: Arc<Meters>, now: Instant) -> Self {
        Self {
            source: standing.source(),
            is_listed: standing.is_listed(),
            is_discovered: standing.is_discovered(),
            meters,
            share,
            received: Traffic::new(now),
            sent: Traffic::new(now),
            refused: HashMap::new(),
            last_error: None,
            failing: None,
            certificate: None,
            target: None,
            last_seen: now,
        }
    }

    /// What the partner may send per second now.
    pub(crate) fn rate(&self, edge: &AccessEdgeConfiguration, limits: Limits, now: Instant) -> u32 {
        match self.is_discovered {
            true => self.share.purse.lock().pace.rate(Allowance::of(edge), now),
            false => limits.messages_per_s,
        }
    }

    fn traffic(&mut self, way: Way) -> &mut Traffic {
        match way {
            Way::In => &mut self.received,
            Way::Out => &mut self.sent,
        }
    }
}

impl Traffic {
    fn new(now: Instant) -> Self {
        Self {
            requests: 0,
            answers: [0; 5],
            unanswered: 0,
            unreachable: 0,
            meter: Meter::new(now),
            latency: Latency::new(now),
        }
    }
}

impl Partner {
    /// Lets one of its requests in, or says which limit it has reached. `contact` gives a hash of whom it writes to, if that
    /// is counted.
    pub(crate) fn receive(
        self: &Arc<Self>,
        class: Class,
        bytes: usize,
        contact: impl FnOnce() -> u64,
        allowance: Allowance,
    ) -> Result<Passage, Refusal> {
        let now = Instant::now();
        let (share, is_discovered) = {
            let mut books = self.books.lock();
            books.last_seen = now;
            books.received.requests += 1;
            books.received.meter.count(now);
            books.meters.received.increment(1);
            (Arc::clone(&books.share), books.is_discovered)
        };
        {
            let mut purse = share.purse.lock();
            let mut rate = self.limits.messages_per_s;
            if is_discovered {
                if let Err(most) = purse.pace.writes_to(contact(), allowance, now) {
                    return Err(Refusal::PartnerWatched { domain: self.domain.clone(), most });
                }
                rate = purse.pace.rate(allowance, now);
            }
            // What was let in must also be able to end: that has a rate of its own.
            let bucket = if class == Class::Ending { &mut purse.endings } else { &mut purse.bucket };
            if !bucket.take(class, rate, now) {
                return Err(Refusal::PartnerThrottled { domain: self.domain.clone(), per_second: rate });
            }
        }
        self.take(Way::In, share, class, bytes, now)
    }

    /// Lets one request to it out, or says which bound is reached.
    pub(crate) fn send(self: &Arc<Self>, class: Class, bytes: usize) -> Result<Passage, Refusal> {
        let now = Instant::now();
        let share = {
            let mut books = self.books.lock();
            books.last_seen = now;
            books.sent.requests += 1;
            books.sent.meter.count(now);
            books.meters.sent.increment(1);
            Arc::clone(&books.share)
        };
        self.take(Way::Out, share, class, bytes, now)
    }

    /// Takes places for a request: of this partner's own, so that one cannot fill the edge, and of all.
    fn take(
        self: &Arc<Self>,
        way: Way,
        share: Arc<Share>,
        class: Class,
        bytes: usize,
        now: Instant,
    ) -> Result<Passage, Refusal> {
        let (requests_max, bytes_max) = (self.limits.in_flight_per_partner, self.limits.bytes_in_flight_per_partner);
        if let Err(full) = share.load.take(class, bytes, requests_max, bytes_max) {
            return Err(Refusal::PartnerBusy { domain: self.domain.clone(), what: full.to_string() });
        }
        if let Err(full) = self.all.take(class, bytes, IN_FLIGHT_MAX, BYTES_IN_FLIGHT_MAX) {
            share.load.give(bytes);
            return Err(shed(class, full));
        }
        Ok(Passage { partner: Arc::clone(self), share, way, bytes, begun: now, is_told: false, beside: None })
    }

    /// A request of it, or to it, is refused by this edge.
    pub(crate) fn refused(&self, refusal: &Refusal) {
        let mut books = self.books.lock();
        *books.refused.entry(refusal.as_str()).or_default() += 1;
        books.meters.refused(refusal.as_str());
        books.last_error = Some(LastError {
            at: self.clock.now(),
            reason: refusal.as_str(),
            sentence: refusal.to_string(),
            advice: refusal.advice(),
        });
    }

    /// One of its connections is used by it for the first time. Says no when it has as many as it may.
    pub(crate) fn connected(&self, certificate: Option<&Arc<PeerCertificate>>) -> Result<(), Refusal> {
        let most = self.limits.connections_per_partner;
        if self.connections_in.fetch_add(1, Ordering::Relaxed) >= most {
            self.disconnected();
            let what = format!("{most} connections to this edge are open");
            return Err(Refusal::PartnerBusy { domain: self.domain.clone(), what });
        }
        if let Some(certificate) = certificate {
            self.books.lock().certificate = Some(Arc::clone(certificate));
        }
        Ok(())
    }

    /// One of its connections has ended.
    pub(crate) fn disconnected(&self) {
        self.connections_in.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn connections_in(&self) -> usize {
        self.connections_in.load(Ordering::Relaxed)
    }

    /// What it may have now.
    pub(crate) fn share(&self) -> Arc<Share> {
        Arc::clone(&self.books.lock().share)
    }

    /// It is reached there.
    pub(crate) fn is_at(&self, target: &Target) {
        self.books.lock().target = Some(target.clone());
    }

    /// Whether what it may have stays the same: as long as it is listed, or as it is brought by the same name. One that is
    /// only written to is brought by nobody else than before.
    fn keeps_its_share(&self, standing: &Standing, household: Option<&str>) -> bool {
        let is_listed = self.books.lock().is_listed;
        is_listed == standing.is_listed() && (is_listed || household.is_none())
    }

    /// The settings may have changed what it is to us. Another share is one without a watch: an administrator knows it now.
    fn is_now(&self, standing: &Standing, share: Option<Arc<Share>>, meters: Arc<Meters>) {
        let mut books = self.books.lock();
        books.source = standing.source();
        books.is_listed = standing.is_listed();
        books.is_discovered = standing.is_discovered();
        books.share = share.unwrap_or_else(|| Arc::clone(&books.share));
        books.meters = meters;
    }

    fn answered(&self, way: Way, status: u16, diagnosis: Option<&str>, took: Duration) {
        let now = Instant::now();
        let class = usize::from(status / 100).clamp(2, 6) - 2;
        let mut books = self.books.lock();
        if way == Way::In && books.is_discovered {
            books.share.purse.lock().pace.answered(class == 0, now);
        }
        if way == Way::Out {
            books.failing = None;
        }
        let traffic = books.traffic(way);
        traffic.answers[class] += 1;
        traffic.latency.count(took, now);
        books.meters.answered(way, class);
        if class > 0 {
            let who = if way == Way::In { "we" } else { "it" };
            let sentence = format!("{who} answered {status} {}", diagnosis.unwrap_or_default());
            books.last_error = Some(LastError {
                at: self.clock.now(),
                reason: "answered",
                sentence: sentence.trim_end().to_owned(),
                advice: String::new(),
            });
        }
    }

    fn unreachable(&self, way: Way, error: &ConnectError) {
        let at = self.clock.now();
        let mut books = self.books.lock();
        books.traffic(way).unreachable += 1;
        books.meters.unreachable.increment(1);
        if way == Way::In {
            // Our own server is not there: nothing that this partner could do about.
            return;
        }
        let (in_a_row, since) = books.failing.unwrap_or((0, at));
        books.failing = Some((in_a_row.saturating_add(1), since));
        let (sentence, advice) = (error.to_string(), error.advice().to_owned());
        books.last_error = Some(LastError { at, reason: error.label(), sentence, advice });
    }
}

/// What a nearly full edge says. The last places are for calls; 503 is said only when those are gone too.
fn shed(class: Class, full: Full) -> Refusal {
    tracing::debug!(%full, class = class.as_str(), "shed");
    match class {
        Class::Call | Class::Ending => Refusal::Overloaded,
        Class::Message | Class::Other => Refusal::Shed { what: class.as_str() },
    }
}

/// The places that one request holds while it is under way. They are given back when this is dropped.
pub(crate) struct Passage {
    partner: Arc<Partner>,
    share: Arc<Share>,
    way: Way,
    bytes: usize,
    begun: Instant,
    is_told: bool,
    /// For a request from one partner to another.
    beside: Option<Box<Self>>,
}

impl Passage {
    /// A request that also goes to another partner.
    pub(crate) fn with(mut self, other: Self) -> Self {
        self.beside = Some(Box::new(other));
        self
    }

    /// Whose request it is, or who is asked.
    pub(crate) fn of_whom(&self) -> &SipDomain {
        &self.partner.domain
    }

    /// How long it has held them.
    pub(crate) fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The final answer has come.
    pub(crate) fn answered(mut self, status: u16, diagnosis: Option<&str>) {
        self.is_told = true;
        self.partner.answered(self.way, status, diagnosis, self.begun.elapsed());
        if let Some(other) = self.beside.take() {
            other.answered(status, diagnosis);
        }
    }

    /// It has gone on, and is an ACK: no answer will come, and nobody has shown anything by sending it.
    pub(crate) fn passed(mut self) {
        self.is_told = true;
        if let Some(other) = self.beside.take() {
            other.passed();
        }
    }

    /// The next hop could not be reached.
    pub(crate) fn failed(mut self, error: &ConnectError) {
        self.is_told = true;
        self.partner.unreachable(self.way, error);
        if let Some(other) = self.beside.take() {
            other.failed(error);
        }
    }

    /// This edge refuses it after all.
    pub(crate) fn refused(mut self, refusal: &Refusal) {
        self.is_told = true;
        self.partner.refused(refusal);
        if self.way == Way::In {
            let status = answer::status(refusal);
            self.share.purse.lock().pace.answered(status < 300, Instant::now());
        }
        if let Some(other) = self.beside.take() {
            other.refused(refusal);
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.share.load.give(self.bytes);
        self.partner.all.give(self.bytes);
        if !self.is_told {
            let mut books = self.partner.books.lock();
            books.traffic(self.way).unanswered += 1;
            books.meters.unanswered.increment(1);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use reveille_core::settings::{AllowedDomain, Setting, SettingChange, Snapshot};
    use reveille_federation::policy::{Admission, admit};

    use super::*;

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
