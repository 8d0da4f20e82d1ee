//! The publisher's edge of this test: sends push requests as fast as they are answered, and remembers which were.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use bytes::BytesMut;
use reveille_core::{Channel, DeviceToken, Environment, Event, IdentityId, Provider, PushId, Timestamp};
use reveille_federation::request::{CONTENT_TYPE_V1, Call, Media, To, write_body};
use reveille_federation::{PushRequest, Taken, push_result};
use reveille_sim::phone::RawSip;
use reveille_sip::{Message, Method, Name, RequestBuilder};
use tokio_util::sync::CancellationToken;

use crate::APP;
use crate::house::EDGE;
use crate::support::STEP;

/// Requests of one MESSAGE, one in five of them a call.
const BATCH: usize = 10;
/// MESSAGEs that wait for their answer at once.
const WINDOW: usize = 8;

/// One MESSAGE.
pub(crate) struct Batch {
    pub(crate) requests: Vec<PushRequest>,
    /// When it was answered first.
    pub(crate) answered: Option<Instant>,
    attempts: u32,
}

/// Everything that was asked for.
#[derive(Default)]
pub(crate) struct Load {
    pub(crate) batches: Vec<Batch>,
    /// Requests that were answered as refused because the call may have rung.
    pub(crate) may_have_rung: BTreeSet<PushId>,
}

impl Load {
    /// One message to this token, not sent yet.
    pub(crate) fn to(token: &str) -> Self {
        let mut request = request(1);
        request.to.as_mut().expect("it goes to a device").token = DeviceToken::new(token);
        Self { batches: vec![Batch { requests: vec![request], answered: None, attempts: 0 }], ..Self::default() }
    }

    /// Sends new requests until `stop`, or until the connection ends: then what is unanswered stays so.
    pub(crate) async fn send_new(mut self, mut link: RawSip, stop: CancellationToken) -> Self {
        let mut under_way = BTreeMap::new();
        loop {
            while under_way.len() < WINDOW && !stop.is_cancelled() {
                let index = self.batches.len();
                self.batches.push(Batch { requests: requests(index), answered: None, attempts: 0 });
                let text = self.message(index);
                if link.send(text, STEP).await.is_err() {
                    return self;
                }
                under_way.insert(index, ());
            }
            if under_way.is_empty() {
                return self;
            }
            let Ok(answer) = link.next(STEP).await else { return self };
            let Ok(index) = self.take(&answer) else { return self };
            under_way.remove(&index);
        }
    }

    /// Sends again what was never answered, as home's outbox does, one after the other.
    pub(crate) async fn repeat_unanswered(&mut self, mut link: RawSip) -> Result<usize> {
        let open: Vec<usize> =
            (0..self.batches.len()).filter(|&index| self.batches[index].answered.is_none()).collect();
        for &index in &open {
            let text = self.message(index);
            link.send(text, STEP).await?;
            let answer = link.next(STEP).await?;
            ensure!(self.take(&answer)? == index, "an answer to another MESSAGE");
        }
        Ok(open.len())
    }

    fn message(&mut self, index: usize) -> BytesMut {
        let batch = &mut self.batches[index];
        batch.attempts += 1;
        let branch = format!("{index}.{}", batch.attempts);
        let body = write_body(&batch.requests);
        let mut out = BytesMut::with_capacity(1024 + body.len());
        RequestBuilder::new(&mut out, Method::Message, "sip:push@push.example.net")
            .header(Name::Via, format_args!("SIP/2.0/TLS {EDGE};branch=z9hG4bKe{branch}"))
            .header(Name::MaxForwards, "69")
            .header(Name::From, format_args!("<sip:mcx@contoso.com>;tag={index}"))
            .header(Name::To, "<sip:push@push.example.net>")
            .header(Name::CallId, format_args!("{index}@home.contoso.com"))
            .header(Name::CSeq, "1 MESSAGE")
            .header(
                Name::EdgeTrust,
                format_args!(
                    "ms-source-type=DirectPartner;ms-ep-fqdn={EDGE};ms-source-verified-user=unverified;\
                     ms-source-network=federation;ms-remote-fqdn=edge.contoso.com"
                ),
            )
            .content(CONTENT_TYPE_V1, &body)
            .finish()
            .expect("the test's own request can be written");
        out
    }

    /// Takes an answer: each request is journaled, known, or a call that may have rung.
    fn take(&mut self, answer: &Message) -> Result<usize> {
        let index = answer.call_id().and_then(|id| id.split_once('@')?.0.parse::<usize>().ok());
        let index = index.context("an answer without a Call-ID of ours")?;
        ensure!(answer.status() == Some(202), "MESSAGE {index} was answered {answer:?}");
        let batch = self.batches.get_mut(index).context("an answer to nothing")?;
        let results = push_result::read(answer.headers(Name::PushResult)).map_err(anyhow::Error::msg)?;
        ensure!(results.len() == batch.requests.len(), "MESSAGE {index}: {} results", results.len());
        for (request, result) in batch.requests.iter().zip(results) {
            match result.taken {
                Taken::Journaled | Taken::Duplicate => {}
                Taken::Refused(reveille_core::Reason::OutcomeUnknown) if request.channel == Channel::Voip => {
                    self.may_have_rung.insert(request.id);
                }
                other => anyhow::bail!("{}: {other:?}", request.id),
            }
        }
        batch.answered.get_or_insert_with(Instant::now);
        Ok(index)
    }
}

fn requests(batch: usize) -> Vec<PushRequest> {
    (0..BATCH).map(|at| request(batch * BATCH + at)).collect()
}

fn request(number: usize) -> PushRequest {
    let is_call = number.is_multiple_of(5);
    let now = now();
    PushRequest {
        id: PushId::from_parts(now, rand::random()),
        identity: IdentityId::from_u128(number as u128 + 1),
        event: if is_call { Event::Call } else { Event::Message },
        channel: if is_call { Channel::Voip } else { Channel::Message },
        to: Some(To {
            provider: Provider::Apns,
            app: APP.into(),
            environment: Environment::Production,
            token: DeviceToken::new(format!("{:032x}{number:032x}", rand::random::<u128>())),
        }),
        sent: now,
        expires: now.plus(Duration::from_secs(3600)),
        priority: None,
        collapse: None,
        badge: (!is_call).then_some(1),
        alert: None,
        sound: None,
        call: is_call.then(|| Call { id: format!("call-{number}").into(), media: Media::Audio, caller: None }),
        sealed: None,
        registered: Timestamp::from_millis(1),
        traceparent: None,
        must_understand: Vec::new(),
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(since.as_millis() as u64)
}
