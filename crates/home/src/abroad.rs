//! Messages of our users for other domains: passed on to our edge, which knows the way, and the answer back.
//!
//! Nothing of them is kept here: who writes abroad hears what abroad answers. A message that the other side does not
//! take is the sender's to send again.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use reveille_core::SipDomain;
use reveille_sip::auth::Credentials;
use reveille_sip::{Forward, Message, Name, PrintError};
use reveille_sip_net::{Flow, RequestError};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::outbox::Road;
use crate::reply::Reply;

/// Messages under way at once; beyond it they wait in the channel.
const UNDER_WAY: usize = 2_000;
/// How long the other side may take: the sender's own timer F (RFC 3261 §17.1.2.2: 64*T1).
const ANSWER_WITHIN: Duration = Duration::from_secs(32);

/// Passes on what the front hands over, until `stop`; who has no answer by then hears that this server is going.
pub(crate) async fn run(road: Arc<Road>, mut messages: mpsc::Receiver<Reply>, stop: CancellationToken) {
    let mut under_way = FuturesUnordered::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            Some(()) = under_way.next() => {}
            message = messages.recv(), if under_way.len() < UNDER_WAY => match message {
                Some(reply) => under_way.push(pass(&road, reply)),
                None => return,
            },
        }
    }
}

/// Passes one message on, and its answer back.
async fn pass(road: &Road, reply: Reply) {
    let Some(hops) = reply.request().onward_hops() else { return reply.send(483) };
    let ticket = match road.requests.open(rand::random()) {
        Ok(ticket) => ticket,
        Err(error) => return closed(road, reply, &error),
    };
    let bytes = match onward(reply.request(), hops, reply.flow(), road, ticket.branch()) {
        Ok(bytes) => bytes,
        Err(fault) => return reply.refuse(400, &format!("the message cannot be passed on: {fault}")),
    };
    match ticket.through(&road.pool, &road.edge, bytes, ANSWER_WITHIN).await {
        Ok(response) => back(reply, &response),
        // RFC 4320 §4.2: a 408 to a non-INVITE request comes too late to help anybody.
        Err(RequestError::TimedOut { .. }) => debug!("a message for abroad was not answered"),
        Err(error) => closed(road, reply, &error),
    }
}

/// The message did not leave.
fn closed(road: &Road, reply: Reply, error: &RequestError) {
    info!(%error, "a message for abroad did not leave");
    reply.refuse(504, &format!("the way out of {} is closed: {error}", road.domain));
}

/// The message as our edge gets it (RFC 3261 §16.6).
fn onward(request: &Message, hops: u8, from: &Flow, road: &Road, branch: &str) -> Result<Bytes, PrintError> {
    let kept = foreign_credentials(request, &road.realms);
    let via = format!("SIP/2.0/TLS {};branch={branch}", road.name);
    let forward = Forward::request(request).push_via(&*via).max_forwards(hops).source(from.remote());
    let mut forward = without_claims(forward);
    for (name, value) in &kept {
        forward = forward.insert(*name, *value);
    }
    let mut out = BytesMut::new();
    forward.write(&mut out)?;
    Ok(out.freeze())
}

/// The request without what its sender claims to be, and without what proves it here.
fn without_claims(forward: Forward<'_>) -> Forward<'_> {
    // RFC 3325 §5: only who has proven a user's identity may assert it, and a client has not.
    // A test is home's own to ask for.
    let claims = [Name::EdgeTrust, Name::ReveilleProbe, Name::Authorization, Name::ProxyAuthorization];
    let claims = claims.into_iter().chain(Name::IDENTITIES);
    claims.fold(forward, Forward::strip)
}

/// The credentials that are not for us: what proves a user here is nobody else's to see (RFC 3261 §22.3).
pub(crate) fn foreign_credentials<'a>(request: &'a Message, realms: &[SipDomain]) -> Vec<(Name, &'a str)> {
    let values = |name| request.headers(name).map(move |value| (name, value));
    let ours = |value: &str| {
        Credentials::realm_of(value).map_or(true, |found| realms.iter().any(|realm| found == realm.as_str()))
    };
    values(Name::Authorization).chain(values(Name::ProxyAuthorization)).filter(|(_, value)| !ours(value)).collect()
}

fn back(reply: Reply, response: &Message) {
    let mut out = BytesMut::new();
    match Forward::response(response).pop_via().write(&mut out) {
        Ok(()) => {
            let bytes: Bytes = out.freeze();
            reply.send_bytes(response.status().unwrap_or(500), bytes);
        }
        Err(fault) => {
            info!(%fault, "an answer from abroad could not be passed back");
            reply.send(502);
        }
    }
}

#[cfg(test)]
mod tests {
    use reveille_sip::{Limits, parse_datagram};

    use super::*;

    #[test]
    fn proofs_for_others_go_on_whatever_they_are_made_with_and_ours_do_not() {
        let of = |realm: &str, more: &str| {
            format!("Proxy-Authorization: Digest username=\"bob\", realm=\"{realm}\"{more}\r\n")
        };
        let fields = of("contoso.com", "")
            + &of("fabrikam.com", ", algorithm=SHA3-512, response=\"ab\"")
            + &of("example.net", ", userhash=true")
            + "Authorization: Digest a=b\r\n";
        let text = format!(
            "MESSAGE sip:push@fabrikam.com SIP/2.0\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\n\
             From: <sip:bob@contoso.com>;tag=1\r\nTo: <sip:push@fabrikam.com>\r\nCall-ID: 1\r\n\
             CSeq: 1 MESSAGE\r\n{fields}Content-Length: 0\r\n\r\n"
        );
        let request = parse_datagram(text.into(), &Limits::default()).expect("sound");
        let kept = foreign_credentials(&request, &["contoso.com".parse().expect("a domain")]);
        let realms: Vec<_> = kept.iter().map(|(_, value)| Credentials::realm_of(value).expect("a realm")).collect();
        assert_eq!(realms, ["fabrikam.com", "example.net"]);
    }

    #[test]
    fn a_message_leaves_without_what_its_sender_claims_to_be() {
        let claims = "P-Asserted-Identity: <sip:ceo@contoso.com>\r\nP-Preferred-Identity: <sip:ceo@contoso.com>\r\n\
                      remote-party-id: <sip:ceo@contoso.com>\r\nms-edge-proxy-message-trust: forged\r\n\
                      reveille-probe: 1\r\n\
                      Authorization: Digest a=b\r\nProxy-Authorization: Digest a=b\r\n";
        let plain = |claims: &str| {
            format!(
                "MESSAGE sip:push@fabrikam.com SIP/2.0\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\n\
                 From: <sip:bob@contoso.com>;tag=1\r\nTo: <sip:push@fabrikam.com>\r\nCall-ID: 1\r\n\
                 CSeq: 1 MESSAGE\r\n{claims}Content-Length: 0\r\n\r\n"
            )
        };
        let request = parse_datagram(plain(claims).into(), &Limits::default()).expect("sound");
        let mut out = BytesMut::new();
        without_claims(Forward::request(&request)).write(&mut out).expect("it can be written");
        assert_eq!(out, plain("").as_bytes());
    }
}
