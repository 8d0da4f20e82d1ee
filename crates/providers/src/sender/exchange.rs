//! One push under way: from the request to the last byte of its answer.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use h2::client::ResponseFuture;
use h2::{Reason, RecvStream};
use http::HeaderMap;
use reveille_core::Timestamp;
use tokio::time::Instant;

use super::dialect::{Reply, Then, retry, word};

/// The answer that is awaited, and what must be known when it comes.
pub(super) struct Exchange {
    response: ResponseFuture,
    reading: Option<Reading>,
    /// Which push it is.
    pub(super) flight: Flight,
}

/// One push under way, without anything that is secret.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    pub(super) key: u64,
    /// By the wall, for the outcome.
    pub(super) sent: Timestamp,
    /// For time-outs and the latency.
    pub(super) started: Instant,
    /// The age of the credential that went with it.
    pub(super) minted: Timestamp,
    /// Whether its answer decides about an open circuit.
    pub(super) probe: Probe,
}

/// Whether a push probes an open circuit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Probe {
    /// It is an ordinary push.
    No,
    /// It is a push, and it probes.
    Push,
    /// It is nobody's: made for the purpose, and its outcome is told to nobody.
    Own,
}

/// A whole answer.
pub(super) struct Said {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
}

struct Reading {
    said: Said,
    rest: RecvStream,
}

impl Exchange {
    pub(super) fn new(response: ResponseFuture, flight: Flight) -> Self {
        Self { response, reading: None, flight }
    }
}

impl Future for Exchange {
    type Output = (Flight, Result<Said, h2::Error>);

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        if this.reading.is_none() {
            match ready!(Pin::new(&mut this.response).poll(cx)) {
                Err(fault) => return Poll::Ready((this.flight, Err(fault))),
                Ok(response) => {
                    let (head, rest) = response.into_parts();
                    let said = Said { status: head.status.as_u16(), headers: head.headers, body: Vec::new() };
                    if rest.is_end_stream() {
                        return Poll::Ready((this.flight, Ok(said)));
                    }
                    this.reading = Some(Reading { said, rest });
                }
            }
        }
        let Some(reading) = &mut this.reading else { return Poll::Pending };
        // The status has come, and with it the verdict; a body that breaks off costs only the reason.
        while let Some(Ok(part)) = ready!(reading.rest.poll_data(cx)) {
            // A window that does not open again only means that no more comes, which the time-out sees to.
            let _ = reading.rest.flow_control().release_capacity(part.len());
            let room = BODY_MAX.saturating_sub(reading.said.body.len());
            reading.said.body.extend_from_slice(&part[..part.len().min(room)]);
        }
        match this.reading.take() {
            Some(reading) => Poll::Ready((this.flight, Ok(reading.said))),
            None => Poll::Pending,
        }
    }
}

/// What a push without an answer comes to.
pub(super) fn broken(fault: &h2::Error) -> Reply {
    // RFC 9113 §8.7: a stream above GOAWAY's last id, or refused, was not processed. h2 gives streams a remote GOAWAY
    // for the first only: those at or below the last id go on, and end with the connection's own fault.
    let above_goaway = fault.is_go_away() && fault.is_remote();
    let refused = fault.is_reset() && fault.is_remote() && fault.reason() == Some(Reason::REFUSED_STREAM);
    let unprocessed = above_goaway || refused;
    Reply {
        verdict: retry(sentence(fault), None, unprocessed),
        provider_id: None,
        then: if unprocessed { Then::Continue } else { Then::Suspect },
    }
}

/// A fault of a connection in one line. What the peer put into a GOAWAY stands at its end.
pub(super) fn sentence(fault: &h2::Error) -> Box<str> {
    word(&fault.to_string())
}

/// How much of an answer's body is kept. A reason takes some dozen bytes, Google's longest error a few hundred.
const BODY_MAX: usize = 16 * 1024;
