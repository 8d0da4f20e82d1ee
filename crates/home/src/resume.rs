//! A phone is back: what was kept is delivered over its connection, oldest first, each marked on its 200.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use reveille_sip::{Method, Name, PrintError, RequestBuilder};
use reveille_sip_net::{Flow, FlowId, RequestError, Requests};
use reveille_store::StoredMessage;

/// How long a device may take to answer: RFC 3428 wants the sender answered soon, and a phone that has just been
/// suspended answers never.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// What came of delivering one message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Delivery {
    /// A device has it.
    Done,
    /// Every device that was tried will never take it: its client does not know the content, say. It must not hold up
    /// those behind it.
    Declined(u16),
    /// No device has taken it now. Those flows did not answer: their phones are not there.
    NotNow {
        /// The flows without an answer.
        silent: Vec<FlowId>,
    },
}

/// Delivers one message to every live binding; one that takes it is enough, and the others are not waited for.
pub(crate) async fn deliver(
    requests: Arc<Requests>,
    message: StoredMessage,
    bindings: Vec<(Arc<Flow>, String)>,
    name: Arc<str>,
) -> Delivery {
    let mut each: FuturesUnordered<_> = bindings
        .iter()
        .map(|(flow, uri)| async { (flow.id(), to_one(&requests, &message, flow, uri, &name).await) })
        .collect();
    let (mut silent, mut declined, mut later) = (Vec::new(), None, false);
    while let Some((flow, answer)) = each.next().await {
        match answer {
            Ok(200..300) => return Delivery::Done,
            // RFC 3261 §21.4: these say that this content will never be taken here, whenever it is offered.
            Ok(status @ (405 | 413 | 415 | 488 | 606)) => declined = Some(status),
            Ok(_) => later = true,
            Err(_) => silent.push(flow),
        }
    }
    match declined {
        Some(status) if silent.is_empty() && !later => Delivery::Declined(status),
        _ => Delivery::NotNow { silent },
    }
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
