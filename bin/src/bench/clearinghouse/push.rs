//! One push request of the load, as it comes from an edge, and the answer that says that it is kept.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reveille_core::{Channel, DeviceToken, Environment, Event, IdentityId, Provider, PushId, Timestamp};
use reveille_federation::PushRequest;
use reveille_federation::request::{CONTENT_TYPE_V1, To, write_body};
use reveille_sip::{Message, Method, Name, RequestBuilder};

use super::APPS;
use crate::bench::source::BRANCH;

/// Whether an answer says that the push is journaled.
pub(in crate::bench) fn is_journaled(response: &Message) -> bool {
    response.status() == Some(202) && response.header(Name::PushResult) == Some("0;result=journaled")
}

/// A push request like home's, for a token of its own.
pub(in crate::bench) fn request(index: usize, now: Timestamp) -> PushRequest {
    PushRequest {
        id: PushId::from_parts(now, rand::random()),
        identity: IdentityId::from_u128(index as u128 + 1),
        event: Event::Message,
        channel: Channel::Message,
        to: Some(To {
            provider: Provider::Apns,
            app: APPS[index % APPS.len()].into(),
            environment: Environment::Production,
            token: DeviceToken::new(format!("{index:064x}")),
        }),
        sent: now,
        expires: now.plus(Duration::from_secs(3600)),
        priority: None,
        collapse: Some(format!("conversation-{index}").into()),
        badge: Some(3),
        alert: None,
        sound: None,
        call: None,
        sealed: None,
        registered: Timestamp::from_millis(1),
        traceparent: None,
        must_understand: Vec::new(),
    }
}

/// The request as it comes from an edge: with two Via fields and the trust header.
pub(in crate::bench) fn message(origin: &str, index: usize, request: &PushRequest) -> Bytes {
    let body = write_body(std::slice::from_ref(request));
    let mut out = BytesMut::with_capacity(1400);
    let written = RequestBuilder::new(&mut out, Method::Message, "sip:push@push.example.net")
        .header(Name::Via, format_args!("SIP/2.0/TLS edge.push.example.net;branch={BRANCH}{index}"))
        .header(Name::Via, format_args!("SIP/2.0/TLS edge.{origin};branch=z9hG4bKe{index};received=127.0.0.1"))
        .header(Name::Via, format_args!("SIP/2.0/TLS home.{origin};branch=z9hG4bKh{index};received=127.0.0.1"))
        .header(Name::MaxForwards, "68")
        .header(Name::From, format_args!("<sip:mcx@{origin}>;tag={index}"))
        .header(Name::To, "<sip:push@push.example.net>")
        .header(Name::CallId, format_args!("{index}@home.{origin}"))
        .header(Name::CSeq, "1 MESSAGE")
        .header(
            Name::EdgeTrust,
            format_args!(
                "ms-source-type=DirectPartner;ms-ep-fqdn=edge.push.example.net;ms-source-verified-user=unverified;\
                 ms-source-network=federation;ms-remote-fqdn=edge.{origin}"
            ),
        )
        .content(CONTENT_TYPE_V1, &body)
        .finish();
    written.expect("the bench's own request can be written");
    out.freeze()
}
