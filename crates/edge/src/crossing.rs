//! One request on its way across the border: everything that whoever carries it needs to know.

use std::sync::Arc;

use reveille_core::SipDomain;
use reveille_federation::policy::Standing;
use reveille_federation::{message, trust};
use reveille_sip::Message;
use reveille_sip_net::{Flow, Pool, Target};

use crate::partners::{Partner, Passage};

/// Which side a request came from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum From {
    /// Our own server, which may read everything.
    Inside,
    /// A partner, which learns the class of a fault only.
    Outside,
}

/// A request that may pass, and how.
pub(crate) struct Crossing<'a> {
    /// Where it came from, and where its answers go.
    pub(crate) back: &'a Arc<Flow>,
    /// Which side that is.
    pub(crate) from: From,
    /// The domain it is for.
    pub(crate) destination: &'a SipDomain,
    /// The side it leaves by.
    pub(crate) pool: &'a Pool,
    /// The next hop.
    pub(crate) target: &'a Target,
    /// What is written on it. Whatever it brought of the kind is taken off.
    pub(crate) stamp: Stamp,
    /// What is written on its answers. Whatever they bring of the kind is taken off.
    pub(crate) stamp_back: StampBack,
    /// The places that it holds.
    pub(crate) passage: Passage,
}

/// What our edge says about the origin of a message.
#[derive(Clone, Debug, Default)]
pub(crate) enum Stamp {
    /// Nothing.
    #[default]
    None,
    /// Toward the inside: the trust header.
    Trust(Arc<str>),
    /// Toward the outside: whether our side vouches for the sender.
    Assertion(bool),
}

/// The same for an answer, which is known only when it comes.
#[derive(Clone)]
pub(crate) enum StampBack {
    /// From a partner toward the inside: the partner's trust.
    Trust(Arc<Proven>),
    /// Toward the outside: whether our side vouches for it.
    Assertion(bool),
    /// From one partner to another: what the one's word counts for.
    PassOn(Arc<Proven>),
    /// From our own server to another.
    None,
}

impl StampBack {
    /// What is written on this answer.
    pub(crate) fn on(&self, answer: &Message) -> Stamp {
        match self {
            Self::Trust(proven) => Stamp::Trust(Arc::clone(proven.trust(proven.verified(answer)))),
            Self::Assertion(verified) => Stamp::Assertion(*verified),
            Self::PassOn(proven) => Stamp::Assertion(proven.verified(answer)),
            Self::None => Stamp::None,
        }
    }

    /// The partner that answers, if one does.
    pub(crate) fn partner(&self) -> Option<&Partner> {
        match self {
            Self::Trust(proven) | Self::PassOn(proven) => Some(&proven.partner),
            Self::Assertion(_) | Self::None => None,
        }
    }
}

/// What a peer has proven, or must prove, with what our edge writes about it: made once, used for every message.
pub(crate) struct Proven {
    pub(crate) standing: Standing,
    pub(crate) partner: Arc<Partner>,
    verified: Arc<str>,
    unverified: Arc<str>,
}

impl Proven {
    pub(crate) fn new(standing: Standing, partner: Arc<Partner>, edge: &SipDomain) -> Arc<Self> {
        let header = |verified| -> Arc<str> {
            let mut header = String::new();
            standing.trust(edge, verified).write(&mut header);
            header.into()
        };
        let (verified, unverified) = (header(true), header(false));
        Arc::new(Self { standing, partner, verified, unverified })
    }

    /// The trust header of a message whose sender counts as verified, or not.
    pub(crate) const fn trust(&self, verified: bool) -> &Arc<str> {
        if verified { &self.verified } else { &self.unverified }
    }

    /// Whether the sender of this message counts as verified.
    pub(crate) fn verified(&self, message: &Message) -> bool {
        self.standing.verified(message::asserted(message))
    }
}

impl Stamp {
    /// The trust header, if that is what is stamped.
    pub(crate) fn trust(&self) -> Option<&str> {
        match self {
            Self::Trust(trust) => Some(trust),
            Self::Assertion(_) | Self::None => None,
        }
    }

    /// The assertion, if that is what is stamped.
    pub(crate) const fn assertion(&self) -> Option<&'static str> {
        match self {
            Self::Assertion(verified) => Some(trust::assertion(*verified)),
            Self::Trust(_) | Self::None => None,
        }
    }
}
