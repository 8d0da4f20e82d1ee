//! The two sides of a call, and what they say.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use reveille_edge::Limits;
use reveille_sim::phone::RawSip;
use reveille_sip::{Message, Method, Name, RequestBuilder, ResponseBuilder};
use reveille_sip_net::{Flow, StaticResolver};

use crate::rig::*;

pub(crate) const OURS: &str = "push.example.net";
pub(crate) const THEIRS: &str = "contoso.com";
pub(crate) const THEIR_EDGE: &str = "edge.contoso.com";

/// One side of a call, as its user agent sees it (RFC 3261 §12).
pub(crate) struct Party {
    pub(crate) domain: &'static str,
    pub(crate) tag: &'static str,
    /// Where requests within the dialog go: the other's Contact and the route set.
    pub(crate) target: String,
    pub(crate) routes: Vec<String>,
    pub(crate) count: u32,
}

impl Party {
    pub(crate) fn new(domain: &'static str, tag: &'static str) -> Self {
        Self { domain, tag, target: String::new(), routes: Vec::new(), count: 1 }
    }

    /// A request of this party; `to` is the other's domain and, once there is one, tag.
    pub(crate) fn request(
        &self,
        method: Method<'_>,
        uri: &str,
        branch: &str,
        to: (&str, Option<&str>),
        count: u32,
    ) -> Bytes {
        let mut out = BytesMut::new();
        let mut request = RequestBuilder::new(&mut out, method, uri);
        request
            .header(Name::Via, format_args!("SIP/2.0/TLS agent.{};branch=z9hG4bK{branch}", self.domain))
            .header(Name::MaxForwards, "70")
            .header(Name::From, format_args!("<sip:user@{}>;tag={}", self.domain, self.tag));
        match to {
            (domain, Some(tag)) => request.header(Name::To, format_args!("<sip:user@{domain}>;tag={tag}")),
            (domain, None) => request.header(Name::To, format_args!("<sip:user@{domain}>")),
        };
        for route in &self.routes {
            request.header(Name::Route, route);
        }
        request
            .header(Name::CallId, "call-1")
            .header(Name::CSeq, format_args!("{count} {}", method.as_str()))
            .header(Name::Contact, format_args!("<sip:user@10.0.0.{count}:5060>"))
            .finish()
            .unwrap();
        drop(request);
        out.freeze()
    }

    pub(crate) fn invite(&self, to: &str) -> Bytes {
        self.request(Method::Invite, &format!("sip:user@{to}"), "invite", (to, None), 1)
    }

    /// Learns target and route set from the answer to its INVITE: Record-Route in reverse (§12.1.2).
    pub(crate) fn learn_as_caller(&mut self, answer: &Message) {
        self.target = answer.address(Name::Contact).unwrap().uri_text().to_owned();
        self.routes = answer.values(Name::RecordRoute).map(str::to_owned).collect();
        self.routes.reverse();
    }

    /// The same from the INVITE, in its order (§12.1.1).
    pub(crate) fn learn_as_callee(&mut self, invite: &Message) {
        self.target = invite.address(Name::Contact).unwrap().uri_text().to_owned();
        self.routes = invite.values(Name::RecordRoute).map(str::to_owned).collect();
    }

    pub(crate) fn within(&mut self, method: Method<'_>, other: &Self) -> Bytes {
        if method != Method::Ack {
            self.count += 1;
        }
        let branch = format!("{}{}", method.as_str(), self.count);
        self.request(method, &self.target, &branch, (other.domain, Some(other.tag)), self.count)
    }
}

/// An answer of whoever was called.
pub(crate) fn answer(request: &Message, status: u16, tag: &str) -> Bytes {
    answer_with(request, status, tag, &[])
}

pub(crate) fn answer_with(request: &Message, status: u16, tag: &str, more: &[(Name, &str)]) -> Bytes {
    let mut out = BytesMut::new();
    let mut response = ResponseBuilder::to(&mut out, request, status);
    response.to_tag(tag).copy(Name::RecordRoute).header(Name::Contact, "<sip:callee@10.9.9.9:5060>");
    for (name, value) in more {
        response.header(*name, *value);
    }
    response.finish().unwrap();
    drop(response);
    out.freeze()
}

pub(crate) async fn next(peer: &mut RawSip) -> Message {
    peer.next(PATIENCE).await.unwrap()
}

/// The next answer that is not ours: 100 leaves by itself after 200 ms.
pub(crate) async fn told_by(peer: &mut RawSip) -> Message {
    loop {
        let message = next(peer).await;
        if message.status() != Some(100) {
            return message;
        }
    }
}

pub(crate) async fn called(house: &mut Beyond, method: Method<'_>) -> (Arc<Flow>, Message) {
    let (flow, message) = house.next().await;
    assert_eq!(message.method(), Some(method));
    (flow, message)
}

/// The border with one partner, and that partner's connection to it.
pub(crate) async fn with_partner(limits: Limits) -> (Border, RawSip) {
    let rows = settings([allowed(THEIRS, Some(THEIR_EDGE))]);
    let border = Border::limited(rows, Arc::new(StaticResolver::new()), limits).await;
    let partner = border.partner(THEIR_EDGE).await;
    (border, partner)
}

/// Both have what they need to speak within the dialog that this answer has begun.
pub(crate) fn learn(caller: &mut Party, callee: &mut Party, invite: &Message, accepted: &Message) {
    caller.learn_as_caller(accepted);
    callee.learn_as_callee(invite);
}
