//! The clearing house's door: MESSAGEs from our own edges, read, proven, and handed to intake a batch at a time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reveille_core::{Event, SipDomain};
use reveille_federation::answer::Audience;
use reveille_federation::policy::{readmit, trusted_edge};
use reveille_federation::probe::Times;
use reveille_federation::{AdmittedPeer, PushRequest, PushResult, Refusal, Taken, TrustedEdge, message};
use reveille_sip::{Message, Method, Name};
use reveille_sip_net::{CloseReason, Flow, Handler, Requests};
use tracing::{debug, warn};

use crate::intake::{COME_BACK, Intake, Receipt, Submission};
use crate::quota::Standing;

/// What is answered to a method that is not for us.
const ALLOW: &str = "MESSAGE, OPTIONS";

/// Takes what edges bring.
pub struct Doorway {
    intake: Arc<Intake>,
    requests: Arc<Requests>,
    /// Certificate names of the edges whose trust header is believed.
    edges: Vec<SipDomain>,
    /// The publisher's domains: what is sent to another one is not for this clearing house.
    domains: Vec<SipDomain>,
    name: Arc<str>,
}

impl Doorway {
    /// A door for what these edges bring to these domains; answers to our own feedback go to `requests`.
    pub fn new(
        intake: Arc<Intake>,
        requests: Arc<Requests>,
        edges: Vec<SipDomain>,
        domains: Vec<SipDomain>,
        name: &SipDomain,
    ) -> Self {
        Self { intake, requests, edges, domains, name: name.as_str().into() }
    }

    /// The proof of one MESSAGE, whom it asks, and its requests.
    fn read(&self, edge: Option<&TrustedEdge>, message: &Message) -> Result<Asking, Refusal> {
        // The trust header counts only on a connection whose certificate is a configured edge's (DESIGN.md §6).
        let edge = edge.ok_or(Refusal::ForgedTrust)?;
        let peer = readmit(edge, message.header(Name::EdgeTrust), &message::from_domain(message)?)?;
        let asked = self.asked(message)?;
        Ok((peer, asked, message::push_requests(message)?))
    }

    /// The domain of ours that a request is sent to, if it is for whoever takes push requests there. A sender that has the
    /// address wrong must hear it.
    fn asked(&self, message: &Message) -> Result<SipDomain, Refusal> {
        let host = message::destination_host(message);
        let Some(asked) = host.and_then(|host| self.domains.iter().find(|it| it.as_str().eq_ignore_ascii_case(host)))
        else {
            return Err(Refusal::UnknownDestination { domain: message::destination(message)? });
        };
        let uri = message.request_uri().and_then(|uri| reveille_sip::Uri::parse(uri).ok());
        match uri.as_ref().and_then(reveille_sip::Uri::user).unwrap_or_default() {
            USER => Ok(asked.clone()),
            other => Err(Refusal::NoSuchUser { user: other.chars().take(64).collect(), domain: asked.clone() }),
        }
    }
}

impl Handler for Doorway {
    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        let names = |name: &SipDomain| flow.peer().is_some_and(|peer| peer.names(name.as_str()));
        let edge = trusted_edge(&self.edges, &names);
        let mut submissions = Vec::with_capacity(batch.len());
        for message in batch.drain(..) {
            let begun = Instant::now();
            match message.method() {
                None => self.requests.on_response(message),
                Some(Method::Ack) => {}
                Some(Method::Message) => match self.read(edge.as_ref(), &message) {
                    Ok((from, asked, requests)) => {
                        let (flow, name, body) = (Arc::clone(flow), Arc::clone(&self.name), message.body());
                        let watch = Watch::of(&requests, begun, || self.intake.way_back(from.domain()));
                        let answer = move |receipt, standing: Option<&Standing>| {
                            let quota = standing.map(|standing| &*standing.header);
                            send(&flow, answer(&message, receipt, quota, watch, &name));
                        };
                        submissions.push(Submission { from, asked, requests, body, answer: Box::new(answer) });
                    }
                    Err(refusal) => {
                        if matches!(refusal, Refusal::ForgedTrust | Refusal::NoTrust) {
                            let subject = flow.peer().map(|peer| peer.subject.as_str()).unwrap_or_default();
                            warn!(remote = %flow.remote(), peer.subject = subject, %refusal, "turned away");
                        }
                        metrics::counter!("reveille_intake_refused_total", "reason" => refusal.as_str()).increment(1);
                        let audience = Audience::Inside { source: &self.name };
                        send(flow, message::refused(&message, &refusal, audience, None, TAG));
                    }
                },
                Some(Method::Options) => send(
                    flow,
                    message::respond(&message, 200, TAG, |response| {
                        response.header(Name::Allow, ALLOW);
                    }),
                ),
                Some(_) => send(
                    flow,
                    message::respond(&message, 405, TAG, |response| {
                        response.header(Name::Allow, ALLOW);
                    }),
                ),
            }
        }
        if !submissions.is_empty() {
            self.intake.accept(submissions);
        }
    }

    fn closed(&self, flow: &Arc<Flow>, _why: &CloseReason) {
        self.requests.flow_gone(flow.id());
    }
}

/// Who asks, whom, and for what.
type Asking = (AdmittedPeer, SipDomain, Vec<PushRequest>);

/// The user of the documents' `sip:push@push.lync.com`.
const USER: &str = "push";

/// Since when a test is under way here: its sender is told how long each step took (docs/border.md).
struct Watch {
    begun: Instant,
    intake: Duration,
    dispatched: bool,
    back: Option<SipDomain>,
}

impl Watch {
    /// For a probe that stands alone, and for nothing else.
    fn of(requests: &[PushRequest], begun: Instant, back: impl FnOnce() -> Option<SipDomain>) -> Option<Self> {
        match requests {
            [one] if one.event == Event::Probe => {
                Some(Self { begun, intake: begun.elapsed(), dispatched: one.to.is_some(), back: back() })
            }
            _ => None,
        }
    }

    fn times(self) -> Times {
        let journal = self.begun.elapsed().saturating_sub(self.intake);
        Times { intake: self.intake, journal, dispatched: self.dispatched, back: self.back }
    }
}

/// RFC 3428 makes no dialog, so nothing is ever told by this tag; it only has to be there (RFC 3261 §8.2.6.2).
const TAG: &str = "clearinghouse";

/// The answer to one MESSAGE after the sync.
fn answer(message: &Message, receipt: Receipt, quota: Option<&str>, watch: Option<Watch>, name: &str) -> Bytes {
    let audience = Audience::Inside { source: name };
    match receipt {
        Err(refusal) => message::push_refused(message, &refusal, audience, Some(COME_BACK), quota, TAG),
        Ok(results) => match results[..] {
            // A request that stands alone and is refused is refused as a whole (DESIGN.md §5).
            [PushResult { taken: Taken::Refused(reason), retry_after }] => {
                let refusal = Refusal::Request { reason };
                message::push_refused(message, &refusal, audience, retry_after, quota, TAG)
            }
            _ => message::taken(message, &results, watch.map(Watch::times), quota, TAG),
        },
    }
}

/// Sends an answer; a peer that has gone will repeat its request, and is then told that it was a duplicate.
fn send(flow: &Flow, bytes: Bytes) {
    if let Err(reason) = flow.send(bytes) {
        debug!(remote = %flow.remote(), %reason, "an answer could not be sent");
    }
}
