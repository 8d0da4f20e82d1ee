//! Digest authentication of clients (RFC 3261 §22, RFC 8760): challenges that need no memory, and replays that do.

use std::collections::HashMap;

use parking_lot::Mutex;
use reveille_core::{Aor, Timestamp};
use reveille_sip::auth::{Credentials, Refusal, Server};
use reveille_sip::{Message, Method, Millis, Name};
use reveille_sip_net::Transport;

use crate::users::Users;

/// How long a nonce may be used.
const NONCE_LIFE: Millis = Millis(300_000);
/// Nonces whose counts are remembered.
const NONCES_MAX: usize = 50_000;

/// Tells users from strangers.
pub(crate) struct Authenticator {
    server: Server,
    order: Digests,
    counts: Mutex<Counts>,
}

/// The highest count seen of each nonce, in two generations: the older is dropped when every nonce in it has expired.
#[derive(Default)]
struct Counts {
    current: HashMap<String, u32>,
    previous: HashMap<String, u32>,
    begun: u64,
}

/// In which order the digests are offered. A client takes the first that it knows (RFC 8760 §2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Digests {
    /// For clients that look at the first challenge only and know nothing but MD5 (SIPp 3.6, old Asterisk, pjsip
    /// before 2.11).
    Md5First,
    /// As it should be.
    Sha256First,
}

/// Why a request must be challenged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unproven {
    /// No credentials, or wrong ones.
    Wrong,
    /// Right ones with an old nonce, or with one that was used before.
    Stale,
}

impl Authenticator {
    pub(crate) fn new(realm: &str, order: Digests) -> Self {
        let secret: [u8; 32] = rand::random();
        Self { server: Server::new(realm, &secret, NONCE_LIFE), order, counts: Mutex::default() }
    }

    /// The two header values of a challenge for a client over this transport.
    pub(crate) fn challenges(&self, transport: Transport, now: Timestamp, stale: bool) -> [String; 2] {
        let nonce = self.server.nonce(Millis(now.millis()), rand::random());
        let mut values = self.server.challenges(&nonce, stale).map(|challenge| challenge.to_string());
        // What runs in web pages (JsSIP, SIP.js) keeps the last of several challenges and knows nothing but MD5.
        let in_page = matches!(transport, Transport::Ws | Transport::Wss);
        if self.order == Digests::Md5First && !in_page {
            values.reverse();
        }
        values
    }

    /// Who has sent this request, if it proves that.
    pub(crate) fn verify(&self, request: &Message, users: &Users, now: Timestamp) -> Result<Aor, Unproven> {
        let method = request.method().unwrap_or(Method::Other("")).as_str();
        let values = request.headers(Name::Authorization).chain(request.headers(Name::ProxyAuthorization));
        let mut unproven = Unproven::Wrong;
        // A client may answer several challenges at once; one that holds is enough.
        for credentials in values.filter_map(|value| Credentials::parse(value).ok()) {
            let Some(user) = users.user(&credentials.username) else { continue };
            let ha1 = user.ha1(credentials.algorithm);
            match self.server.verify(&credentials, method, ha1, Millis(now.millis())) {
                Ok(verified) if self.rises(&credentials.nonce, verified.nonce_count(), now) => {
                    if let Ok(aor) = Aor::new(&credentials.username, users.domain().clone()) {
                        return Ok(aor);
                    }
                }
                Ok(_) | Err(Refusal::Stale) => unproven = Unproven::Stale,
                Err(Refusal::AlgorithmAnother | Refusal::RealmAnother | Refusal::Wrong) => {}
            }
        }
        Err(unproven)
    }

    /// Whether the nonce count has risen: else somebody plays a request back (RFC 7616 §5.12). The form without a
    /// count may use its nonce once.
    fn rises(&self, nonce: &str, count: Option<u32>, now: Timestamp) -> bool {
        let count = count.unwrap_or(1);
        let mut counts = self.counts.lock();
        if now.millis().saturating_sub(counts.begun) > NONCE_LIFE.0 || counts.current.len() >= NONCES_MAX {
            counts.previous = std::mem::take(&mut counts.current);
            counts.begun = now.millis();
        }
        let seen = counts.current.get(nonce).or_else(|| counts.previous.get(nonce)).copied().unwrap_or(0);
        if count <= seen {
            return false;
        }
        counts.current.insert(nonce.to_owned(), count);
        true
    }
}

#[cfg(test)]
mod tests {
    use reveille_sip::auth::{Challenge, Ha1, answer};
    use reveille_sip::{Limits, parse_datagram};

    use super::*;
    use crate::users::User;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn users() -> Users {
        let bob: Aor = "bob@contoso.com".parse().unwrap();
        let user = User::with_password(&bob, "secret");
        Users::new(bob.domain().clone(), [(bob, user)])
    }

    fn request(authorization: &str) -> Message {
        let text = format!(
            "REGISTER sip:contoso.com SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\nFrom: <sip:bob@contoso.com>;tag=1\r\n\
             To: <sip:bob@contoso.com>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\nMax-Forwards: 70\r\n{authorization}\
             Content-Length: 0\r\n\r\n"
        );
        parse_datagram(text.into(), &Limits::default()).unwrap()
    }

    fn credentials(challenge: &str, password: &str, count: u32) -> String {
        let challenge = Challenge::parse(challenge).unwrap();
        let ha1 = Ha1::of_password(challenge.algorithm, "bob", "contoso.com", password);
        let value = answer(&challenge, "bob", &ha1, "REGISTER", "sip:contoso.com", "cnonce", count).unwrap();
        format!("Authorization: {value}\r\n")
    }

    #[test]
    fn both_algorithms_are_taken_and_a_replay_is_not() {
        let (authenticator, users) = (Authenticator::new("contoso.com", Digests::Sha256First), users());
        for challenge in authenticator.challenges(Transport::Tls, NOW, false) {
            // One nonce serves both algorithms, so its count rises over both.
            let count = if challenge.contains("SHA-256") { 1 } else { 2 };
            let first = request(&credentials(&challenge, "secret", count));
            assert_eq!(authenticator.verify(&first, &users, NOW).unwrap().to_string(), "bob@contoso.com");
            assert_eq!(authenticator.verify(&first, &users, NOW), Err(Unproven::Stale), "{challenge}");
        }
    }

    #[test]
    fn a_wrong_password_and_no_password_are_challenged() {
        let (authenticator, users) = (Authenticator::new("contoso.com", Digests::Sha256First), users());
        let [challenge, _] = authenticator.challenges(Transport::Tls, NOW, false);
        let wrong = request(&credentials(&challenge, "guess", 1));
        assert_eq!(authenticator.verify(&wrong, &users, NOW), Err(Unproven::Wrong));
        assert_eq!(authenticator.verify(&request(""), &users, NOW), Err(Unproven::Wrong));
    }

    #[test]
    fn an_old_nonce_is_stale() {
        let (authenticator, users) = (Authenticator::new("contoso.com", Digests::Sha256First), users());
        let [challenge, _] = authenticator.challenges(Transport::Tls, NOW, false);
        let later = NOW.plus(std::time::Duration::from_secs(301));
        let request = request(&credentials(&challenge, "secret", 1));
        assert_eq!(authenticator.verify(&request, &users, later), Err(Unproven::Stale));
    }

    #[test]
    fn the_digests_are_offered_in_the_order_configured() {
        for (order, first) in [(Digests::Sha256First, "SHA-256"), (Digests::Md5First, "MD5")] {
            let [challenge, _] = Authenticator::new("contoso.com", order).challenges(Transport::Tls, NOW, false);
            assert!(challenge.contains(first), "{order:?}: {challenge}");
            let [_, last] = Authenticator::new("contoso.com", order).challenges(Transport::Wss, NOW, false);
            assert!(last.contains("algorithm=MD5"), "{order:?}: {last}");
        }
    }
}
