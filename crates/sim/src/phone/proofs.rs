//! What the phone proves itself with before it is asked: sessions that a server gave the next nonce for.

use parking_lot::Mutex;
use reveille_sip::auth::{AuthenticationInfo, Session};
use reveille_sip::{Message, Method, Name};

/// A session, and the header field that brings its proof.
pub(super) type Proof = (Name, Session);

/// Sessions for requests to come: the proxy's and the registrar's.
#[derive(Default)]
pub(super) struct Proofs(Mutex<Vec<Proof>>);

impl Proofs {
    /// Those that a request of this method goes with. Until they are kept again, others go without.
    pub(super) fn take(&self, method: Method<'_>) -> Vec<Proof> {
        self.0.lock().extract_if(.., |(name, _)| serves(*name, method)).collect()
    }

    /// Keeps those which this answer gives a nonce for.
    pub(super) fn keep(&self, proofs: Vec<Proof>, method: Method<'_>, response: &Message) {
        for (name, mut session) in proofs {
            if serves(name, method) && has_next_nonce(response, name, &mut session) {
                let mut kept = self.0.lock();
                kept.retain(|(other, _)| *other != name);
                kept.push((name, session));
            }
        }
    }
}

/// The registrar asks for itself, and everything else is the proxy's to ask (RFC 3261 §22.2, §22.3).
fn serves(name: Name, method: Method<'_>) -> bool {
    let answers = if method == Method::Register { Name::Authorization } else { Name::ProxyAuthorization };
    name == answers
}

/// RFC 7616 §3.5, RFC 7615 §4.
fn has_next_nonce(response: &Message, name: Name, session: &mut Session) -> bool {
    let said = if name == Name::Authorization { "Authentication-Info" } else { "Proxy-Authentication-Info" };
    let info = response.other_header(said).and_then(|value| AuthenticationInfo::parse(value).ok());
    info.is_some_and(|info| session.heard(&info, response.body_bytes()))
}
