//! A phone is back: what was kept is delivered over its connection, oldest first, each marked on its 200.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::future::join_all;
use reveille_sip::{Method, Name, PrintError, RequestBuilder};
use reveille_sip_net::{Flow, RequestError, Requests};
use reveille_store::StoredMessage;

/// How long a device may take to answer: RFC 3428 wants the sender answered soon, and a phone that has just been
/// suspended answers never.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What came of delivering one message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Delivery {
    /// A device has it.
    Done,
    /// A device will never take it: its client does not know the content, say. It must not hold up those behind it.
    Declined(u16),
    /// No device answered.
    Nobody,
}

/// Delivers one message to every live binding; one that takes it is enough.
pub(crate) async fn deliver(
    requests: Arc<Requests>,
    message: StoredMessage,
    bindings: Vec<(Arc<Flow>, String)>,
    name: Arc<str>,
) -> Delivery {
    let each = bindings.iter().map(|(flow, uri)| to_one(&requests, &message, flow, uri, &name));
    let answers = join_all(each).await;
    let mut outcome = Delivery::Nobody;
    for status in answers.into_iter().flatten() {
        match status {
            200..300 => return Delivery::Done,
            // Not now; the next time it comes back.
            408 | 480 | 503 => {}
            status => outcome = Delivery::Declined(status),
        }
    }
    outcome
}

async fn to_one(
    requests: &Arc<Requests>,
    message: &StoredMessage,
    flow: &Flow,
    uri: &str,
    name: &str,
) -> Result<u16, RequestError> {
    let ticket = requests.open(rand::random())?;
    let Ok(bytes) = write(message, flow, uri, name, ticket.branch()) else { return Ok(488) };
    let answer = ticket.over(flow, bytes, ANSWER_WITHIN).await?;
    Ok(answer.status().unwrap_or_default())
}

/// The message as the phone gets it: from its sender, with the time at which it was taken.
fn write(message: &StoredMessage, flow: &Flow, uri: &str, name: &str, branch: &str) -> Result<Bytes, PrintError> {
    let mut out = BytesMut::with_capacity(512 + message.body.len());
    let StoredMessage { id, from, to, .. } = message;
    let port = flow.local().port();
    RequestBuilder::new(&mut out, Method::Message, uri)
        .header(Name::Via, format_args!("SIP/2.0/{} {name}:{port};branch={branch};rport", flow.transport()))
        .header(Name::MaxForwards, "70")
        .header(Name::From, format_args!("<sip:{from}>;tag={id}"))
        .header(Name::To, format_args!("<sip:{to}>"))
        // The same for every attempt, so that a client can see that it has this message already.
        .header(Name::CallId, format_args!("{id}@{name}"))
        .header(Name::CSeq, "1 MESSAGE")
        .header(Name::Date, &message.taken.to_http_date())
        .content(&message.content_type, &message.body)
        .finish()?;
    Ok(out.freeze())
}
