//! The homes: organisations that ask for pushes and repeat what was not answered, as home's outbox does. Of each
//! conversation one request is under way at a time, so that its order is certain.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::BytesMut;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use reveille_core::{
    Channel, DeviceToken, Environment, Event, IdentityId, Provider, PushId, Reason, SipDomain, Timestamp,
};
use reveille_federation::request::{CONTENT_TYPE_V1, Call, Media, To, write_body};
use reveille_federation::{PushRequest, Taken, push_result};
use reveille_sim::phone::RawSip;
use reveille_sip::{Message, Method, Name, RequestBuilder};
use reveille_sip_net::TlsClient;
use tokio::task::JoinHandle;

use crate::ledger::{Asked, Ledger, now_ms};
use crate::support::STEP;
use crate::world::{APP, EDGE, HOUSE, ORGANISATIONS, World};

const DEVICES: usize = 30;
/// Of each device: some of messages, and the last of calls.
const CONVERSATIONS: usize = 3;
/// MESSAGEs that wait for their answer at once.
const WINDOW: usize = 12;
/// Requests of one MESSAGE.
const BATCH_MAX: usize = 8;
/// One MESSAGE of each home in this time: with four homes about a thousand pushes a second.
const PACE: Duration = Duration::from_millis(18);
/// How many requests a home still makes for a token that it was told to forget.
const STUBBORN: u32 = 3;

/// Starts all homes.
pub(crate) fn start(world: &World, ledger: &Arc<Ledger>, seed: u64) -> Vec<JoinHandle<Result<()>>> {
    let home = |(at, domain): (usize, &&str)| {
        let dice = StdRng::seed_from_u64(seed.wrapping_add(at as u64 + 1));
        let home = Home::new(domain, dice, Arc::clone(ledger));
        let (listen, tls) = (world.listen, Arc::clone(&world.edge));
        tokio::spawn(home.run(listen, tls))
    };
    ORGANISATIONS.iter().enumerate().map(home).collect()
}

/// One organisation.
struct Home {
    domain: SipDomain,
    devices: Vec<Device>,
    dice: StdRng,
    ledger: Arc<Ledger>,
    batches: BTreeMap<usize, Batch>,
    /// Batches to be sent again, the oldest first.
    again: VecDeque<usize>,
    next: usize,
    badge: u32,
}

struct Device {
    message_token: String,
    voip_token: String,
    stubborn: u32,
    /// Whether a request of each conversation is under way.
    busy: [bool; CONVERSATIONS],
}

/// The requests of one MESSAGE, with their numbers in the ledger and their conversations.
struct Batch {
    requests: Vec<(PushRequest, usize, (usize, usize))>,
    attempts: u32,
}

impl Home {
    fn new(domain: &str, mut dice: StdRng, ledger: Arc<Ledger>) -> Self {
        let mut token = || format!("{:032x}{:032x}", dice.random::<u128>(), dice.random::<u128>());
        let device =
            |_| Device { message_token: token(), voip_token: token(), stubborn: 0, busy: [false; CONVERSATIONS] };
        let devices = (0..DEVICES).map(device).collect();
        let domain = domain.parse().expect("a domain");
        let (batches, again) = (BTreeMap::new(), VecDeque::new());
        Self { domain, devices, dice, ledger, batches, again, next: 0, badge: 0 }
    }

    /// Asks until it is told to stop, and then until everything is answered.
    async fn run(mut self, listen: std::net::SocketAddr, tls: Arc<TlsClient>) -> Result<()> {
        let end = || tokio::time::Instant::now() + 4 * STEP;
        let mut patience = end();
        while !(self.ledger.is_over() && self.batches.is_empty()) {
            let before = self.ledger.counts().refused;
            if let Ok(mut link) = RawSip::tls(listen, &tls, HOUSE).await {
                let answered = self.talk(&mut link).await?;
                if answered > 0 {
                    patience = end();
                }
            }
            if self.ledger.is_over() {
                let refused = self.ledger.counts().refused - before;
                ensure!(
                    tokio::time::Instant::now() < patience,
                    "{} MESSAGEs of {} are not answered; {refused} refusals",
                    self.batches.len(),
                    self.domain
                );
            } else {
                patience = end();
            }
            // What was under way is repeated, the oldest first.
            self.again = self.batches.keys().copied().collect();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// One connection, until it ends. Answers how many MESSAGEs were answered on it.
    async fn talk(&mut self, link: &mut RawSip) -> Result<usize> {
        let mut under_way = 0;
        let mut answered = 0;
        let mut tick = tokio::time::interval(PACE);
        loop {
            if self.ledger.is_over() && self.batches.is_empty() {
                return Ok(answered);
            }
            tokio::select! {
                _ = tick.tick(), if under_way < WINDOW => {
                    let Some(batch) = self.again.pop_front().or_else(|| self.make()) else {
                        continue;
                    };
                    if !self.batches.contains_key(&batch) {
                        continue;
                    }
                    let message = self.message(batch);
                    if link.send(message, STEP).await.is_err() {
                        return Ok(answered);
                    }
                    under_way += 1;
                }
                answer = link.next(STEP), if under_way > 0 => {
                    let Ok(answer) = answer else { return Ok(answered) };
                    under_way -= 1;
                    answered += usize::from(self.take(&answer)?);
                }
            }
        }
    }

    /// A new batch, for conversations that wait for nothing.
    fn make(&mut self) -> Option<usize> {
        if self.ledger.is_over() {
            return None;
        }
        let size = if self.dice.random_bool(0.3) { 1 } else { self.dice.random_range(2..=BATCH_MAX) };
        let mut requests = Vec::with_capacity(size);
        for _ in 0..size {
            let (device, conversation) = (self.dice.random_range(0..DEVICES), self.dice.random_range(0..CONVERSATIONS));
            if std::mem::replace(&mut self.devices[device].busy[conversation], true) {
                continue;
            }
            let (request, number) = self.request(device, conversation);
            requests.push((request, number, (device, conversation)));
        }
        if requests.is_empty() {
            return None;
        }
        self.next += 1;
        self.batches.insert(self.next, Batch { requests, attempts: 0 });
        Some(self.next)
    }

    fn request(&mut self, device: usize, conversation: usize) -> (PushRequest, usize) {
        let is_call = conversation == CONVERSATIONS - 1;
        let fresh = format!("{:032x}{:032x}", self.dice.random::<u128>(), self.dice.random::<u128>());
        let state = &mut self.devices[device];
        let (old, stubborn) = if is_call { (&mut state.voip_token, 0) } else { (&mut state.message_token, STUBBORN) };
        if self.ledger.is_forgotten(old) {
            // A home that does not listen at once: what it still asks for must not reach the provider.
            state.stubborn += 1;
            if state.stubborn > stubborn {
                state.stubborn = 0;
                *old = fresh;
            }
        }
        let token = old.clone();
        self.badge += 1;
        let now = Timestamp::from_millis(now_ms());
        let id = PushId::from_parts(now, self.dice.random());
        let request = PushRequest {
            id,
            identity: IdentityId::from_u128((device * 2 + usize::from(is_call)) as u128 + 1),
            event: if is_call { Event::Call } else { Event::Message },
            channel: if is_call { Channel::Voip } else { Channel::Message },
            to: Some(To {
                provider: Provider::Apns,
                app: APP.into(),
                environment: Environment::Production,
                token: DeviceToken::new(token.clone()),
            }),
            sent: now,
            // A call that waits for a dead clearing house longer than it rings would expire, rightly; not today.
            expires: now.plus(Duration::from_secs(3600)),
            priority: None,
            collapse: None,
            badge: (!is_call).then_some(self.badge),
            alert: None,
            sound: None,
            call: is_call.then(|| Call { id: format!("{id}").into(), media: Media::Audio, caller: None }),
            sealed: None,
            registered: Timestamp::from_millis(1),
            traceparent: None,
            must_understand: Vec::new(),
        };
        let channel = request.channel;
        let origin = self.domain.clone();
        let asked = Asked { origin, id, token, channel, conversation, accepted: None, too_late: false };
        (request, self.ledger.ask(asked))
    }

    /// One transmission of a batch: the same ids, and `sent` renewed.
    fn message(&mut self, number: usize) -> BytesMut {
        let domain = &self.domain;
        let batch = self.batches.get_mut(&number).expect("a batch that is under way");
        let now = Timestamp::from_millis(now_ms());
        for (request, ..) in &mut batch.requests {
            request.expires = now.plus(request.expires.since(request.sent));
            request.sent = now;
        }
        let (first, count) = (batch.attempts == 0, batch.requests.len());
        self.ledger.count(|counts| if first { counts.sent += count } else { counts.repeated += count });
        batch.attempts += 1;
        let branch = format!("{number}.{}", batch.attempts);
        let requests: Vec<PushRequest> = batch.requests.iter().map(|(request, ..)| request.clone()).collect();
        let body = write_body(&requests);
        let mut out = BytesMut::with_capacity(1024 + body.len());
        let written = RequestBuilder::new(&mut out, Method::Message, "sip:push@push.example.net")
            .header(Name::Via, format_args!("SIP/2.0/TLS {EDGE};branch=z9hG4bKe{branch}"))
            .header(Name::Via, format_args!("SIP/2.0/TLS edge.{domain};branch=z9hG4bKc{branch};received=127.0.0.1"))
            .header(Name::MaxForwards, "69")
            .header(Name::From, format_args!("<sip:mcx@{domain}>;tag={number}"))
            .header(Name::To, "<sip:push@push.example.net>")
            .header(Name::CallId, format_args!("{number}@home.{domain}"))
            .header(Name::CSeq, "1 MESSAGE")
            .header(
                Name::EdgeTrust,
                format_args!(
                    "ms-source-type=DirectPartner;ms-ep-fqdn={EDGE};ms-source-verified-user=unverified;\
                     ms-source-network=federation;ms-remote-fqdn=edge.{domain}"
                ),
            )
            .content(CONTENT_TYPE_V1, &body)
            .finish();
        written.expect("the campaign's own request can be written");
        out
    }

    /// Takes an answer. Whether the batch is done: what was refused is asked for again, under the same id.
    fn take(&mut self, answer: &Message) -> Result<bool> {
        let number = answer.call_id().and_then(|id| id.split_once('@')?.0.parse::<usize>().ok());
        let number = number.context("an answer without a Call-ID of ours")?;
        let Some(batch) = self.batches.get_mut(&number) else { return Ok(false) };
        let status = answer.status().context("an answer without a status")?;
        if status != 202 {
            // 480 and 503 are what a house may say that cannot keep anything now; anything else is a fault of the test.
            ensure!(
                [480, 503].contains(&status),
                "MESSAGE {number} of {} is answered {status}: {answer:?}",
                self.domain
            );
            let count = batch.requests.len();
            self.ledger.count(|counts| counts.refused += count);
            self.again.push_back(number);
            return Ok(false);
        }
        let results = push_result::read(answer.headers(Name::PushResult)).map_err(anyhow::Error::msg)?;
        ensure!(results.len() == batch.requests.len(), "MESSAGE {number}: {} results", results.len());
        let mut left = Vec::new();
        for (request, result) in std::mem::take(&mut batch.requests).into_iter().zip(results) {
            let (ledger, (device, conversation)) = (&self.ledger, request.2);
            match result.taken {
                Taken::Journaled => ledger.accepted(request.1),
                Taken::Duplicate => {
                    ensure!(batch.attempts > 1, "MESSAGE {number}: a first transmission is a duplicate");
                    ledger.count(|counts| counts.duplicates += 1);
                    ledger.accepted(request.1);
                }
                // Final, and rightly so: that token is dead.
                Taken::Refused(Reason::IdentityDead) => ledger.count(|counts| counts.refused += 1),
                Taken::Refused(_) => {
                    ledger.count(|counts| counts.refused += 1);
                    left.push(request);
                    continue;
                }
            }
            self.devices[device].busy[conversation] = false;
        }
        if left.is_empty() {
            self.batches.remove(&number);
            return Ok(true);
        }
        batch.requests = left;
        self.again.push_back(number);
        Ok(false)
    }
}
