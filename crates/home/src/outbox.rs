//! Push requests on their way to the clearing house, several in one MESSAGE, and what its answers mean.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use reveille_core::{Aor, Channel, Clock, PushId, Reason, SipDomain, Timestamp};
use reveille_federation::message::{Envelope, write};
use reveille_federation::push_result::{self, PushResult, Taken};
use reveille_federation::request::{BODY_BYTES_MAX, CONTENT_TYPE_V1, REQUESTS_MAX, write_body};
use reveille_federation::{PushRequest, Quota};
use reveille_sip::{Message, Name, Uri};
use reveille_sip_net::{Pool, Requests, Target};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// How long the clearing house may take to answer: less than timer F, so that a repeat is not a second transaction.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// MESSAGEs under way at once.
const UNDER_WAY: usize = 32;

/// A push request that a shard wants sent.
#[derive(Debug)]
pub(crate) struct Job {
    /// What is asked for.
    pub(crate) request: PushRequest,
    /// Where: the domain is the clearing house's, the whole is a SIP URI.
    pub(crate) to: Arc<str>,
    /// Whose device it is for.
    pub(crate) user: Aor,
    /// Where the answer goes.
    pub(crate) shard: usize,
}

/// What became of one job.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) user: Aor,
    pub(crate) push: PushId,
    pub(crate) answer: Answered,
}

/// What an answer means for one push.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Answered {
    /// Nobody can take it now: again later, at the earliest after this time.
    Later {
        /// What the clearing house asks for.
        after: Option<Duration>,
        /// The reason it ends with if there is no time left for that: its life is over, or there were too many.
        reason: Reason,
        /// Why.
        detail: String,
    },
    /// It will never be taken.
    Refused {
        /// Why, in our words.
        reason: Reason,
        /// Why, in theirs.
        detail: String,
    },
    /// It is in the clearing house's journal.
    Taken,
}

/// The way out.
pub(crate) struct Road {
    pub(crate) requests: Arc<Requests>,
    pub(crate) pool: Pool,
    pub(crate) edge: Target,
    pub(crate) name: SipDomain,
    pub(crate) domain: SipDomain,
    /// The domains whose credentials are ours.
    pub(crate) realms: Vec<SipDomain>,
    pub(crate) clock: Arc<dyn Clock>,
    /// What clearing houses said they still take.
    pub(crate) quotas: Quotas,
}

/// What each clearing house said last that it still takes of this organisation.
#[derive(Debug, Default)]
pub(crate) struct Quotas(Mutex<BTreeMap<SipDomain, (Timestamp, Quota)>>);

impl Quotas {
    /// Notes what an answer to a request for `to` says.
    fn note(&self, to: &str, response: &Message, now: Timestamp) {
        let Some(quota) = Quota::read(response.headers(Name::PushQuota)) else { return };
        let domain = || Uri::parse(to).ok()?.host()?.domain()?.parse::<SipDomain>().ok();
        let Some(domain) = domain() else { return };
        let mut seen = self.0.lock();
        // There is one publisher at a time, and settings change seldom.
        if seen.len() < CLEARING_HOUSES_MAX || seen.contains_key(&domain) {
            seen.insert(domain, (now, quota));
        }
    }

    /// What was said last, with when that was, by clearing house.
    pub(crate) fn seen(&self) -> Vec<(SipDomain, Timestamp, Quota)> {
        self.0.lock().iter().map(|(domain, (at, quota))| (domain.clone(), *at, *quota)).collect()
    }
}

/// Clearing houses of whose quotas anything is remembered.
const CLEARING_HOUSES_MAX: usize = 64;

/// Sends what the shards ask for, until `stop`; what is not answered by then is still owed in the store.
pub(crate) async fn run(
    road: Arc<Road>,
    mut jobs: mpsc::Receiver<Job>,
    report: impl Fn(usize, Vec<Report>),
    stop: CancellationToken,
) {
    let mut under_way = FuturesUnordered::new();
    let mut batch = Vec::with_capacity(REQUESTS_MAX);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some((shard, answers)) = under_way.next() => report(shard, answers),
            count = jobs.recv_many(&mut batch, REQUESTS_MAX), if under_way.len() < UNDER_WAY => {
                if count == 0 {
                    return;
                }
                for group in grouped(&mut batch) {
                    under_way.push(send(&road, group));
                }
            }
        }
    }
}

/// Jobs of one shard for one clearing house travel together, as many as one body may hold; calls by themselves, since
/// what has nothing else in it goes first there.
fn grouped(batch: &mut Vec<Job>) -> Vec<Vec<Job>> {
    let mut groups: Vec<(usize, Vec<Job>)> = Vec::new();
    for job in batch.drain(..) {
        let bytes = write_body(std::slice::from_ref(&job.request)).len() + 2;
        let fits = |(size, group): &&mut (usize, Vec<Job>)| {
            let beside = &group[0];
            let channel = beside.request.channel == job.request.channel;
            channel && beside.shard == job.shard && beside.to == job.to && *size + bytes <= BODY_BYTES_MAX
        };
        match groups.iter_mut().find(fits) {
            Some((size, group)) => {
                *size += bytes;
                group.push(job);
            }
            None => groups.push((bytes, vec![job])),
        }
    }
    groups.into_iter().map(|(_, group)| group).collect()
}

async fn send(road: &Road, jobs: Vec<Job>) -> (usize, Vec<Report>) {
    let (shard, to) = (jobs[0].shard, Arc::clone(&jobs[0].to));
    let (users, requests): (Vec<Aor>, Vec<PushRequest>) = jobs.into_iter().map(|job| (job.user, job.request)).unzip();
    let answers = match ask(road, &requests, &to).await {
        Ok(response) => {
            road.quotas.note(&to, &response, road.clock.now());
            read_answer(&response, requests.len())
        }
        Err(detail) => vec![later(None, detail); requests.len()],
    };
    let reports = users.into_iter().zip(requests).zip(answers);
    (shard, reports.map(|((user, request), answer)| Report { user, push: request.id, answer }).collect())
}

async fn ask(road: &Road, requests: &[PushRequest], to: &str) -> Result<Message, String> {
    let ticket = road.requests.open(rand::random()).map_err(|error| error.to_string())?;
    let envelope = Envelope {
        sent_by: road.name.as_str(),
        branch: ticket.branch(),
        from: &format!("sip:mcx@{}", road.domain),
        to,
        call_id: &format!("{:032x}", rand::random::<u128>()),
        content_type: CONTENT_TYPE_V1,
        urgent: requests.iter().any(|request| request.channel == Channel::Voip),
    };
    let bytes = write(envelope, &write_body(requests)).map_err(|error| error.to_string())?;
    ticket.through(&road.pool, &road.edge, bytes, ANSWER_WITHIN).await.map_err(|error| error.to_string())
}

/// What one response means for each of `count` requests.
pub fn read_answer(response: &Message, count: usize) -> Vec<Answered> {
    let status = response.status().unwrap_or_default();
    let after = response.header(Name::RetryAfter).and_then(seconds);
    // Our edge takes the inner form off whatever comes from outside: who speaks in the public one only is the partner.
    let inside = response.header(Name::MsDiagnostics);
    let is_ours = inside.is_some();
    let diagnosis = inside.or_else(|| response.header(Name::MsDiagnosticsPublic));
    let detail = format!("{status} {}", diagnosis.or_else(|| response.reason_phrase()).unwrap_or_default());
    if (200..300).contains(&status) {
        return match push_result::read(response.headers(Name::PushResult)) {
            Ok(results) if results.len() == count => results.into_iter().map(one).collect(),
            // A 2xx that does not say what became of each is asked again: the id makes that safe.
            _ => vec![later(after, format!("{status} without a Push-Result that can be read")); count],
        };
    }
    let refused = |reason| Answered::Refused { reason, detail: detail.clone() };
    let id = diagnosis.and_then(|value| value.split(';').next()?.trim().parse::<u32>().ok());
    let answer = match (status, id) {
        (_, Some(90102)) if is_ours => refused(Reason::DomainBlocked),
        (_, Some(90102)) => refused(Reason::PartnerBlocksUs),
        (_, Some(90103)) if is_ours => refused(Reason::DomainNotAllowed),
        (_, Some(90103)) => refused(Reason::PartnerDoesNotAllowUs),
        (_, Some(90104)) if is_ours => refused(Reason::FederationOff),
        (_, Some(90104)) => refused(Reason::PartnerFederationOff),
        (_, Some(90109)) => refused(Reason::AppNotGranted),
        (_, Some(90129)) => refused(Reason::ClockSkew),
        (_, Some(90160)) => refused(Reason::HandleKeyGone),
        (_, Some(90161)) => refused(Reason::HandleNotYours),
        (_, Some(90162)) => refused(Reason::OutcomeUnknown),
        (_, Some(90163)) => refused(Reason::PayloadTooLarge),
        (400 | 413 | 415, _) => refused(Reason::InvalidRequest),
        // The publisher's certificate check; any other 403 is somebody's configuration, and may be mended in time.
        (403, Some(1010)) if !is_ours => refused(Reason::PartnerRejectsCertificate),
        (404, Some(90110)) => refused(Reason::NoSuchApp),
        // A clearing house says what it does not know: this is somebody else's server, or another name there.
        (404, _) => refused(Reason::NoClearingHouse),
        // Too much of us, or for one device: in the time that is named there is room again.
        (480, Some(90108)) => Answered::Later { after, reason: Reason::Throttled, detail },
        // 408, 480, 503, 504 and whatever else: as long as the push is worth it, it is asked for again.
        _ => later(after, detail),
    };
    vec![answer; count]
}

/// Nobody takes it now; if that goes on for as long as it is worth anything, its life is over.
const fn later(after: Option<Duration>, detail: String) -> Answered {
    Answered::Later { after, reason: Reason::Expired, detail }
}

/// What one Push-Result value means.
fn one(result: PushResult) -> Answered {
    match result.taken {
        Taken::Journaled | Taken::Duplicate => Answered::Taken,
        Taken::Refused(reason @ Reason::Throttled) => {
            Answered::Later { after: result.retry_after, reason, detail: reason.sentence().into() }
        }
        Taken::Refused(reason) => Answered::Refused { reason, detail: reason.sentence().into() },
    }
}

/// RFC 3261 §20.33: seconds, perhaps with a comment and parameters behind.
fn seconds(value: &str) -> Option<Duration> {
    let digits = value.trim().split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use reveille_core::{Event, IdentityId};
    use reveille_sip::{Limits, parse_datagram};

    use super::*;

    fn response(status: u16, more: &str) -> Message {
        let text = format!(
            "SIP/2.0 {status} X\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nFrom: <sip:mcx@a>;tag=1\r\nTo: <sip:push@b>;tag=2\r\n\
             Call-ID: 1\r\nCSeq: 1 MESSAGE\r\n{more}Content-Length: 0\r\n\r\n"
        );
        parse_datagram(text.into(), &Limits::default()).unwrap()
    }

    #[test]
    fn what_the_answers_mean() {
        let later = |secs: Option<u64>| (None, Some(secs));
        let refused = |reason| (Some(reason), None);
        for (status, more, expected) in [
            (202, "Push-Result: 0;result=journaled\r\n", (None, None)),
            (202, "Push-Result: 0;result=duplicate\r\n", (None, None)),
            (202, "Push-Result: 0;result=refused;reason=app-not-granted\r\n", refused(Reason::AppNotGranted)),
            (202, "Push-Result: 0;result=refused;reason=throttled;retry-after=9\r\n", later(Some(9))),
            (202, "", later(None)),
            (200, "Push-Result: 0;result=journaled, 1;result=journaled\r\n", later(None)),
            (403, "ms-diagnostics: 90102;reason=\"no\"\r\n", refused(Reason::DomainBlocked)),
            (403, "ms-diagnostics: 90103;reason=\"no\"\r\n", refused(Reason::DomainNotAllowed)),
            (403, "ms-diagnostics: 90104;reason=\"off\"\r\n", refused(Reason::FederationOff)),
            (403, "ms-diagnostics-public: 90102;reason=\"no\"\r\n", refused(Reason::PartnerBlocksUs)),
            (403, "ms-diagnostics-public: 90103;reason=\"no\"\r\n", refused(Reason::PartnerDoesNotAllowUs)),
            (403, "ms-diagnostics-public: 90104;reason=\"off\"\r\n", refused(Reason::PartnerFederationOff)),
            (403, "ms-diagnostics-public: 1010;reason=\"no\"\r\n", refused(Reason::PartnerRejectsCertificate)),
            (403, "ms-diagnostics: 1034;reason=\"no word\";source=\"edge\"\r\n", later(None)),
            (403, "ms-diagnostics: 90109;reason=\"app\"\r\n", refused(Reason::AppNotGranted)),
            (404, "ms-diagnostics: 90160;reason=\"key\"\r\n", refused(Reason::HandleKeyGone)),
            (403, "ms-diagnostics: 90161;reason=\"handle\"\r\n", refused(Reason::HandleNotYours)),
            (403, "ms-diagnostics: 90162;reason=\"rung\"\r\n", refused(Reason::OutcomeUnknown)),
            (413, "ms-diagnostics: 90163;reason=\"size\"\r\n", refused(Reason::PayloadTooLarge)),
            (404, "ms-diagnostics-public: 90110;reason=\"app\"\r\n", refused(Reason::NoSuchApp)),
            (404, "ms-diagnostics-public: 1003;reason=\"who\"\r\n", refused(Reason::NoClearingHouse)),
            (404, "", refused(Reason::NoClearingHouse)),
            (400, "", refused(Reason::InvalidRequest)),
            (480, "Retry-After: 30 (busy);duration=9\r\n", later(Some(30))),
            (503, "Retry-After: 5\r\n", later(Some(5))),
            (504, "", later(None)),
            (408, "", later(None)),
        ] {
            let answers = read_answer(&response(status, more), 1);
            let found = match &answers[..] {
                [Answered::Taken] => (None, None),
                [Answered::Refused { reason, .. }] => (Some(*reason), None),
                [Answered::Later { after, .. }] => (None, Some(after.map(|after| after.as_secs()))),
                other => panic!("{status} {more}: {other:?}"),
            };
            assert_eq!(found, expected, "{status} {more}");
        }
    }

    #[test]
    fn what_is_throttled_until_its_life_is_over_ends_as_throttled() {
        let reason = |status, more: &str| match read_answer(&response(status, more), 1).remove(0) {
            Answered::Later { reason, .. } => reason,
            other => panic!("{other:?}"),
        };
        let throttled = "Push-Result: 0;result=refused;reason=throttled;retry-after=9\r\n";
        assert_eq!(reason(202, throttled), Reason::Throttled);
        assert_eq!(reason(480, "ms-diagnostics-public: 90108;reason=\"no\"\r\nRetry-After: 9\r\n"), Reason::Throttled);
        assert_eq!(reason(480, "Retry-After: 9\r\n"), Reason::Expired);
        assert_eq!(reason(503, ""), Reason::Expired);
    }

    #[test]
    fn what_a_clearing_house_still_takes_is_remembered_by_its_domain() {
        let (quotas, at) = (Quotas::default(), Timestamp::from_millis);
        let left = |remaining| format!("Push-Quota: day;limit=9;remaining={remaining};reset=60\r\n");
        for (millis, to, headers) in [
            (1, "sip:push@push.example.net", left(8)),
            (2, "sip:push@Push.example.net", left(7)),
            (3, "sip:push@push.lync.com", left(1)),
            (4, "sip:push@push.lync.com", String::new()),
            (5, "nothing", left(0)),
        ] {
            quotas.note(to, &response(480, &headers), at(millis));
        }
        let seen: Vec<_> =
            quotas.seen().into_iter().map(|(it, at, quota)| (it.to_string(), at, quota.day.remaining)).collect();
        assert_eq!(seen, [("push.example.net".to_owned(), at(2), 7), ("push.lync.com".to_owned(), at(3), 1)]);
    }

    #[test]
    fn several_requests_have_an_answer_each() {
        let text = "Push-Result: 0;result=journaled, 1;result=refused;reason=no-such-app\r\n";
        let answers = read_answer(&response(202, text), 2);
        assert!(matches!(&answers[..], [Answered::Taken, Answered::Refused { reason: Reason::NoSuchApp, .. }]));
        assert!(matches!(read_answer(&response(503, ""), 3)[..], [Answered::Later { .. }, _, _]));
    }

    fn job(number: u128, channel: Channel, shard: usize) -> Job {
        let event = if channel == Channel::Voip { Event::Call } else { Event::Message };
        let request = PushRequest {
            id: PushId::from_u128(number),
            identity: IdentityId::from_u128(number),
            event,
            channel,
            to: None,
            sent: Timestamp::from_millis(1),
            expires: Timestamp::from_millis(2),
            priority: None,
            collapse: None,
            badge: None,
            alert: None,
            sound: None,
            call: None,
            sealed: None,
            registered: Timestamp::from_millis(1),
            traceparent: None,
            must_understand: Vec::new(),
        };
        let user = Aor::new("bob", "contoso.com".parse().unwrap()).unwrap();
        Job { request, to: "sip:push@push.example.net".into(), user, shard }
    }

    #[test]
    fn calls_travel_by_themselves() {
        let (message, call) = (Channel::Message, Channel::Voip);
        let mut batch = vec![job(1, message, 0), job(2, call, 0), job(3, message, 0), job(4, call, 1), job(5, call, 0)];
        let groups = grouped(&mut batch);
        let numbers = |group: &Vec<Job>| group.iter().map(|job| job.request.id.to_u128()).collect::<Vec<_>>();
        assert_eq!(groups.iter().map(numbers).collect::<Vec<_>>(), [vec![1, 3], vec![2, 5], vec![4]]);
    }
}
