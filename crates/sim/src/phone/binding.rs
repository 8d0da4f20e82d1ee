//! A phone's binding: the Contact that asks for it, and what a registrar granted (RFC 3261 §10.2, RFC 8599 §4.1).

use std::time::Duration;

use reveille_sip::{Message, Name, NameAddr, quote, strip_push_params};
use reveille_sip_net::Flow;

use super::PhoneOptions;

/// What a registrar granted.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Registered {
    /// How long the binding lasts; zero if the answer does not list it.
    pub expires_secs: u32,
    /// Feature-Caps of the answer, several joined by commas: `+sip.pns` there says that push is arranged (RFC 8599
    /// §4.1).
    pub feature_caps: Option<String>,
    /// From connecting to the 200.
    pub took: Duration,
}

/// What a REGISTER wants.
#[derive(Clone, Copy)]
pub(super) enum Wish {
    Bind,
    /// The app ends; its push identity stays in the Contact and so at home, since apps unregister whenever they quit.
    Unbind,
    /// The user signs out: no pushes any more.
    Forget,
}

impl PhoneOptions {
    pub(super) fn contact(&self, flow: &Flow, wish: Wish) -> String {
        let transport = flow.transport().as_str().to_ascii_lowercase();
        let push = match (wish, &self.push) {
            (Wish::Bind | Wish::Unbind, Some(push)) => format!(";{push}"),
            (Wish::Forget, _) | (_, None) => String::new(),
        };
        // RFC 5626 §4.1: the URN stands in angle brackets inside the quotes.
        let instance = quote(&format!("<{}>", self.instance));
        format!("<sip:{}@{};transport={transport}{push}>;+sip.instance={instance}", self.user, flow.local())
    }

    /// Reads a 2xx to REGISTER. It lists all bindings of the user (RFC 3261 §10.3 step 8); ours is found by instance,
    /// or else by URI.
    pub(super) fn registered(&self, response: &Message, contact: &str) -> Registered {
        let uri = |address: &NameAddr<'_>| strip_push_params(address.uri_text()).into_owned();
        let ours = NameAddr::parse(contact).ok().map(|ours| uri(&ours));
        let bindings: Vec<_> = response.values(Name::Contact).filter_map(|one| NameAddr::parse(one).ok()).collect();
        let is_ours = |instance: &str| instance.trim_matches(['<', '>']) == self.instance;
        let bound = bindings
            .iter()
            .find(|one| one.instance().is_some_and(|instance| is_ours(&instance)))
            .or_else(|| bindings.iter().find(|one| Some(uri(one)) == ours));
        let expires_secs = match bound {
            Some(bound) => bound.expires().or_else(|| response.expires()).unwrap_or(EXPIRES_SECS),
            None => 0,
        };
        let caps: Vec<&str> = response.headers(Name::FeatureCaps).collect();
        let feature_caps = (!caps.is_empty()).then(|| caps.join(", "));
        Registered { expires_secs, feature_caps, took: Duration::ZERO }
    }
}

impl Wish {
    pub(super) fn expires_secs(self) -> u32 {
        match self {
            Self::Bind => EXPIRES_SECS,
            // RFC 3261 §10.2.2.
            Self::Unbind | Self::Forget => 0,
        }
    }
}

/// How long a binding is asked for.
const EXPIRES_SECS: u32 = 3600;
