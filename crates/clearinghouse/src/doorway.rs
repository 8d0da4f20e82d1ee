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
    fn read(&self, edge: Option<&TrustedEdge>, message: &Message, last: &mut Last) -> Result<Asking, Refusal> {
        let (peer, asked) = who_asks(&self.domains, edge, message, last)?;
        Ok((peer, asked, message::push_requests(message)?))
    }
}

/// The proof of one MESSAGE, and whom it asks.
fn who_asks(
    domains: &[SipDomain],
    edge: Option<&TrustedEdge>,
    message: &Message,
    last: &mut Last,
) -> Result<(AdmittedPeer, SipDomain), Refusal> {
    // The trust header counts only on a connection whose certificate is a configured edge's (DESIGN.md §6).
    let edge = edge.ok_or(Refusal::ForgedTrust)?;
    let texts = [message.header(Name::EdgeTrust), message::from_host(message), message.request_uri()];
    if let Some(known) = last.find(texts) {
        return Ok(known);
    }
    let peer = readmit(edge, texts[0], &message::from_domain(message)?)?;
    let asked = asked(domains, message)?;
    last.keep(texts, (peer.clone(), asked.clone()));
    Ok((peer, asked))
}

/// The domain of ours that a request is sent to, if it is for whoever takes push requests there. A sender that has the
/// address wrong must hear it.
fn asked(domains: &[SipDomain], message: &Message) -> Result<SipDomain, Refusal> {
    let host = message::destination_host(message);
    let Some(asked) = host.and_then(|host| domains.iter().find(|it| it.as_str().eq_ignore_ascii_case(host))) else {
        return Err(Refusal::UnknownDestination { domain: message::destination(message)? });
    };
    let uri = message.request_uri().and_then(|uri| reveille_sip::Uri::parse(uri).ok());
    match uri.as_ref().and_then(reveille_sip::Uri::user).unwrap_or_default() {
        USER => Ok(asked.clone()),
        other => Err(Refusal::NoSuchUser { user: other.chars().take(64).collect(), domain: asked.clone() }),
    }
}

impl Handler for Doorway {
    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        let names = |name: &SipDomain| flow.peer().is_some_and(|peer| peer.names(name.as_str()));
        let edge = trusted_edge(&self.edges, &names);
        let mut submissions = Vec::with_capacity(batch.len());
        let mut last = Last::default();
        for message in batch.drain(..) {
            let begun = Instant::now();
            match message.method() {
                None => self.requests.on_response(message),
                Some(Method::Ack) => {}
                Some(Method::Message) => match self.read(edge.as_ref(), &message, &mut last) {
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

/// Who asked whom last in a batch, by the texts that say so: what one organisation sends comes together, and those are the
/// same then. It lives as long as the batch, in which the edge behind it is one.
#[derive(Default)]
struct Last {
    texts: [String; 3],
    known: Option<(AdmittedPeer, SipDomain)>,
}

impl Last {
    fn find(&self, texts: [Option<&str>; 3]) -> Option<(AdmittedPeer, SipDomain)> {
        // A text that is missing is never kept.
        let same = self.texts.iter().zip(texts).all(|(known, text)| text == Some(known));
        self.known.clone().filter(|_| same)
    }

    fn keep(&mut self, texts: [Option<&str>; 3], known: (AdmittedPeer, SipDomain)) {
        let [Some(_), Some(_), Some(_)] = texts else { return };
        for (kept, text) in self.texts.iter_mut().zip(texts.into_iter().flatten()) {
            kept.clear();
            kept.push_str(text);
        }
        self.known = Some(known);
    }
}

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

#[cfg(test)]
mod tests {
    use reveille_sip::{Limits, parse_datagram};

    use super::*;

    fn trust(edge: &str) -> String {
        format!(
            "ms-source-type=DirectPartner;ms-ep-fqdn={edge};ms-source-verified-user=verified;\
             ms-source-network=federation;ms-remote-fqdn=edge.contoso.com"
        )
    }

    fn written(from: &str, to: &str, trust: &str) -> Message {
        let trust = if trust.is_empty() { String::new() } else { format!("ms-edge-proxy-message-trust: {trust}\r\n") };
        let text = format!(
            "MESSAGE sip:{to} SIP/2.0\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nFrom: <sip:mcx@{from}>;tag=1\r\n\
             To: <sip:{to}>\r\nCall-ID: 1\r\nCSeq: 1 MESSAGE\r\n{trust}Content-Length: 0\r\n\r\n"
        );
        parse_datagram(text.into(), &Limits::default()).expect("a sound message")
    }

    #[test]
    fn who_asks_is_read_anew_for_every_message_that_is_not_like_the_one_before() {
        let (edges, names) = (vec!["edge.push.example.net".parse().unwrap()], |_: &SipDomain| true);
        let edge = trusted_edge(&edges, &names);
        let domains = ["push.example.net", "other.example.net"].map(|domain| domain.parse().unwrap());
        let mut last = Last::default();
        let mut ask = |from: &str, to: &str, trust: &str| {
            let asked = who_asks(&domains, edge.as_ref(), &written(from, to, trust), &mut last);
            asked.map(|(peer, asked)| (peer.domain().to_string(), peer.verified(), asked.to_string()))
        };
        let good = trust("edge.push.example.net");
        let is = |from: &str, verified, to: &str| Ok((from.to_owned(), verified, to.to_owned()));
        for _ in 0..2 {
            assert_eq!(ask("contoso.com", "push@push.example.net", &good), is("contoso.com", true, "push.example.net"));
        }
        assert_eq!(ask("fabrikam.com", "push@push.example.net", &good), is("fabrikam.com", true, "push.example.net"));
        assert_eq!(ask("fabrikam.com", "push@other.example.net", &good), is("fabrikam.com", true, "other.example.net"));
        let unverified = good.replace("=verified", "=unverified");
        assert_eq!(
            ask("fabrikam.com", "push@other.example.net", &unverified),
            is("fabrikam.com", false, "other.example.net")
        );
        // What is refused is refused however like the one before it is, and leaves nothing behind.
        for _ in 0..2 {
            assert_eq!(ask("fabrikam.com", "push@other.example.net", ""), Err(Refusal::NoTrust));
            assert_eq!(ask("fabrikam.com", "push@other.example.net", "yes"), Err(Refusal::NoTrust));
            assert!(matches!(ask("fabrikam.com", "bob@other.example.net", &good), Err(Refusal::NoSuchUser { .. })));
            assert!(matches!(ask("fabrikam.com", "push@example.org", &good), Err(Refusal::UnknownDestination { .. })));
            assert_eq!(ask("192.0.2.1", "push@other.example.net", &good), Err(Refusal::BadFrom));
        }
        assert_eq!(ask("contoso.com", "push@push.example.net", &good), is("contoso.com", true, "push.example.net"));
    }
}
