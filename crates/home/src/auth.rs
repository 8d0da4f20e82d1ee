//! Digest authentication of clients (RFC 3261 §22, RFC 8760): challenges that need no memory, and replays that do.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use parking_lot::Mutex;
use reveille_core::{Aor, SipDomain, Timestamp};
use reveille_sip::auth::{Algorithm, Credentials, Ha1, Refusal, Server, Verified};
use reveille_sip::{Message, Method, Millis, Name, Uri};
use reveille_sip_net::Transport;
use tracing::debug;

use crate::front::address;
use crate::users::Users;

/// How long a nonce may be used.
const NONCE_LIFE: Millis = Millis(300_000);
/// Nonces whose counts are remembered in each of two generations.
const NONCES_MAX: usize = 50_000;

/// Tells users from strangers.
pub(crate) struct Authenticator {
    /// One for each realm; the first is the one in doubt. They share their nonces.
    servers: Vec<Server>,
    counts: Mutex<Counts>,
}

/// The highest count seen of each nonce, in two generations: the older is dropped when every nonce in it has expired,
/// or when there are too many.
#[derive(Default)]
struct Counts {
    current: HashMap<String, u32>,
    previous: HashMap<String, u32>,
    /// When the current generation began, in milliseconds.
    begun: u64,
    /// When the previous one did: what was used before is forgotten.
    complete_since: u64,
}

/// Why a request must be challenged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Unproven {
    /// No credentials, or wrong ones.
    Wrong,
    /// Right ones with an old nonce, or with one that was used before.
    Stale,
    /// Right ones, made for another request: no challenge helps who makes such.
    Elsewhere,
}

/// The passwords of those who take part in a test.
pub(crate) type Passwords<'g> = dyn Fn(&Aor) -> Option<&'g str> + 'g;

/// What somebody hears who proves himself for another request than the one he sends.
pub(crate) const ELSEWHERE: &str = "the credentials name another uri than the Request-URI";

impl Authenticator {
    /// `digests` are offered in that order, and no other is accepted. Each domain is a realm of its own.
    pub(crate) fn new(realms: &[SipDomain], digests: &[Algorithm]) -> Self {
        let secret: [u8; 32] = rand::random();
        let server = |realm: &SipDomain| Server::new(realm.as_str(), digests, &secret, NONCE_LIFE);
        Self { servers: realms.iter().map(server).collect(), counts: Mutex::default() }
    }

    /// The header values of a challenge to this request: in the realm of the domain that it speaks for, or wants to
    /// join, as far as that is ours (RFC 3261 §22.1).
    pub(crate) fn challenges(
        &self,
        request: &Message,
        transport: Transport,
        now: Timestamp,
        stale: bool,
    ) -> Vec<String> {
        let of = if request.method() == Some(Method::Register) { Name::To } else { Name::From };
        let domain = address(request, of).map(|aor| aor.domain().clone());
        let is_meant = |server: &&Server| domain.as_ref().is_some_and(|domain| domain.as_str() == server.realm());
        let server = self.servers.iter().find(is_meant).unwrap_or(&self.servers[0]);
        let nonce = server.nonce(Millis(now.millis()), rand::random());
        let mut challenges: Vec<_> = server.challenges(&nonce, stale).collect();
        // What runs in web pages (JsSIP, SIP.js) keeps the last of several challenges and knows nothing but MD5.
        if matches!(transport, Transport::Ws | Transport::Wss) {
            challenges.sort_by_key(|challenge| challenge.algorithm == Algorithm::Md5);
        }
        challenges.iter().map(ToString::to_string).collect()
    }

    /// Who has sent this request, if it proves that. `here` is our address on the connection that it came by; `guests`
    /// knows the passwords of those who take part in a test.
    pub(crate) fn verify<'g>(
        &self,
        request: &Message,
        here: SocketAddr,
        (users, guests): (&Users, &Passwords<'g>),
        now: Timestamp,
    ) -> Result<Aor, Unproven> {
        let method = request.method().unwrap_or(Method::Other("")).as_str();
        let values = request.headers(Name::Authorization).chain(request.headers(Name::ProxyAuthorization));
        let mut unproven = Unproven::Wrong;
        // A client may answer several challenges at once; one that holds is enough.
        for value in values {
            let credentials = match Credentials::parse(value) {
                Ok(credentials) => credentials,
                Err(fault) => {
                    debug!(sip.call_id = request.call_id(), "credentials that cannot be used: {fault}");
                    continue;
                }
            };
            let Some(server) = self.servers.iter().find(|server| server.realm() == credentials.realm) else { continue };
            let proof = users.proof(&credentials.realm, &credentials.username, credentials.algorithm);
            let Some((aor, ha1)) = proof else { continue };
            let judge =
                |ha1: &Ha1| server.verify(&credentials, method, request.body_bytes(), ha1, Millis(now.millis()));
            let judged = judge(ha1).or_else(|refusal| {
                let password = guests(&aor).filter(|_| refusal == Refusal::Wrong).ok_or(refusal)?;
                let Credentials { algorithm, username, realm, .. } = &credentials;
                judge(&Ha1::of_password(*algorithm, username, realm, password))
            });
            match judged {
                Ok(_) if !is_for(&credentials.uri, request, here) => unproven = Unproven::Elsewhere,
                Ok(verified) if self.counts.lock().rises(&credentials.nonce, &verified, now.millis()) => {
                    return Ok(aor);
                }
                Ok(_) | Err(Refusal::Stale) => unproven = Unproven::Stale,
                Err(refusal) => {
                    debug!(sip.call_id = request.call_id(), "credentials were not accepted: {refusal}");
                }
            }
        }
        Err(unproven)
    }
}

/// Whether a digest was made for this request and no other (RFC 7616 §3.4.6): else whoever overhears one over UDP might
/// be first with it, for a target of his own. No proxy is between a client and us that could have rewritten the
/// Request-URI.
fn is_for(uri: &str, request: &Message, here: SocketAddr) -> bool {
    let Some(asked) = request.request_uri() else { return false };
    if uri == asked {
        return true;
    }
    let (Ok(uri), Ok(asked)) = (Uri::parse(uri), Uri::parse(asked)) else { return false };
    // SIPp names the server's own address, whatever it asks for.
    let is_here = |ip: IpAddr| {
        let (own, ip) = (here.ip().to_canonical(), ip.to_canonical());
        uri.port() == Some(here.port()) && (own == ip || own.is_unspecified())
    };
    uri.equivalent(&asked) || uri.user().is_none() && uri.host().and_then(|host| host.ip()).is_some_and(is_here)
}

impl Counts {
    /// Whether the nonce count has risen: else somebody plays a request back (RFC 7616 §5.12). The form without a
    /// count may use its nonce once.
    fn rises(&mut self, nonce: &str, verified: &Verified, now: u64) -> bool {
        let count = verified.nonce_count().unwrap_or(1);
        if now.saturating_sub(self.begun) > NONCE_LIFE.0 || self.current.len() >= NONCES_MAX {
            self.previous = std::mem::take(&mut self.current);
            self.complete_since = std::mem::replace(&mut self.begun, now);
        }
        let seen = match self.current.get(nonce).or_else(|| self.previous.get(nonce)) {
            Some(seen) => *seen,
            // So old that it may have been used and forgotten: a new one costs its owner one round trip.
            None if now.saturating_sub(verified.nonce_age().0) <= self.complete_since => return false,
            None => 0,
        };
        if count <= seen {
            return false;
        }
        self.current.insert(nonce.to_owned(), count);
        true
    }
}

#[cfg(test)]
mod tests {
    use reveille_sip::auth::{Challenge, Covered, answer};
    use reveille_sip::{Limits, parse_datagram};

    use super::*;
    use crate::users::User;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    fn here() -> SocketAddr {
        ([192, 0, 2, 1], 5060).into()
    }

    fn users() -> Users {
        let bob: Aor = "bob@contoso.com".parse().unwrap();
        let domains = vec![bob.domain().clone(), "litwareinc.com".parse().unwrap()];
        let user = User::in_domains("bob", &domains, "secret");
        Users::in_domains(domains, [("bob".to_owned(), user)])
    }

    fn authenticator(digests: &[Algorithm]) -> Authenticator {
        Authenticator::new(&["contoso.com".parse().unwrap(), "litwareinc.com".parse().unwrap()], digests)
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
        credentials_for("sip:contoso.com", challenge, password, count)
    }

    fn credentials_for(uri: &str, challenge: &str, password: &str, count: u32) -> String {
        let challenge = Challenge::parse(challenge).unwrap();
        let ha1 = Ha1::of_password(challenge.algorithm, "bob", "contoso.com", password);
        let covered = Covered { method: "REGISTER", uri, body: b"" };
        let value = answer(&challenge, "bob", &ha1, covered, "cnonce", count).unwrap();
        format!("Authorization: {value}\r\n")
    }

    #[test]
    fn every_algorithm_is_taken_and_a_replay_is_not() {
        let (authenticator, users) = (authenticator(&Algorithm::ALL), users());
        // One nonce serves all algorithms, so its count rises over all.
        for (challenge, count) in authenticator.challenges(&request(""), Transport::Tls, NOW, false).iter().zip(1..) {
            let first = request(&credentials(challenge, "secret", count));
            assert_eq!(
                authenticator.verify(&first, here(), (&users, &|_| None), NOW).unwrap().to_string(),
                "bob@contoso.com"
            );
            assert_eq!(
                authenticator.verify(&first, here(), (&users, &|_| None), NOW),
                Err(Unproven::Stale),
                "{challenge}"
            );
        }
    }

    #[test]
    fn a_wrong_password_and_no_password_are_challenged() {
        let (authenticator, users) = (authenticator(&Algorithm::ALL), users());
        let challenges = authenticator.challenges(&request(""), Transport::Tls, NOW, false);
        let wrong = request(&credentials(&challenges[0], "guess", 1));
        assert_eq!(authenticator.verify(&wrong, here(), (&users, &|_| None), NOW), Err(Unproven::Wrong));
        assert_eq!(authenticator.verify(&request(""), here(), (&users, &|_| None), NOW), Err(Unproven::Wrong));
        let hashed = credentials(&challenges[0], "secret", 1).replace("Digest ", "Digest userhash=true, ");
        assert_eq!(authenticator.verify(&request(&hashed), here(), (&users, &|_| None), NOW), Err(Unproven::Wrong));
    }

    #[test]
    fn what_was_proven_for_one_request_is_no_proof_for_another() {
        let (authenticator, users) = (authenticator(&Algorithm::ALL), users());
        let any: SocketAddr = ([0, 0, 0, 0], 5060).into();
        for (uri, at, expected) in [
            ("sip:contoso.com", here(), Ok(())),
            ("sip:CONTOSO.com", here(), Ok(())),
            ("sip:fabrikam.com", here(), Err(Unproven::Elsewhere)),
            ("sip:carol@contoso.com", here(), Err(Unproven::Elsewhere)),
            ("sips:contoso.com", here(), Err(Unproven::Elsewhere)),
            ("nothing", here(), Err(Unproven::Elsewhere)),
            // What SIPp writes.
            ("sip:192.0.2.1:5060", here(), Ok(())),
            ("sip:192.0.2.1:5060", any, Ok(())),
            ("sip:192.0.2.1:5061", here(), Err(Unproven::Elsewhere)),
            ("sip:192.0.2.2:5060", here(), Err(Unproven::Elsewhere)),
            ("sip:bob@192.0.2.1:5060", here(), Err(Unproven::Elsewhere)),
        ] {
            let challenges = authenticator.challenges(&request(""), Transport::Udp, NOW, false);
            let sent = request(&credentials_for(uri, &challenges[0], "secret", 1));
            assert_eq!(authenticator.verify(&sent, at, (&users, &|_| None), NOW).map(drop), expected, "{uri} at {at}");
            let guessed = request(&credentials_for(uri, &challenges[0], "guess", 2));
            assert_eq!(authenticator.verify(&guessed, at, (&users, &|_| None), NOW), Err(Unproven::Wrong), "{uri}");
        }
    }

    #[test]
    fn an_old_nonce_is_stale() {
        let (authenticator, users) = (authenticator(&Algorithm::ALL), users());
        let challenges = authenticator.challenges(&request(""), Transport::Tls, NOW, false);
        let later = NOW.plus(std::time::Duration::from_secs(301));
        let request = request(&credentials(&challenges[0], "secret", 1));
        assert_eq!(authenticator.verify(&request, here(), (&users, &|_| None), later), Err(Unproven::Stale));
    }

    #[test]
    fn md5_can_be_switched_off() {
        let (strict, users) = (authenticator(&[Algorithm::Sha256]), users());
        let challenges = strict.challenges(&request(""), Transport::Wss, NOW, false);
        assert_eq!(challenges.len(), 1);
        let weak = challenges[0].replace("SHA-256", "MD5");
        assert_eq!(
            strict.verify(&request(&credentials(&weak, "secret", 1)), here(), (&users, &|_| None), NOW),
            Err(Unproven::Wrong)
        );
        assert!(
            strict
                .verify(&request(&credentials(&challenges[0], "secret", 1)), here(), (&users, &|_| None), NOW)
                .is_ok()
        );
    }

    #[test]
    fn the_digests_are_offered_in_the_order_configured_and_md5_last_to_web_pages() {
        let (strong, weak) = (Algorithm::Sha256, Algorithm::Md5);
        for order in [[strong, weak], [weak, strong]] {
            let offered = |transport| {
                let values = authenticator(&order).challenges(&request(""), transport, NOW, false);
                values.iter().map(|value| Challenge::parse(value).unwrap().algorithm).collect::<Vec<_>>()
            };
            assert_eq!(offered(Transport::Tls), order);
            assert_eq!(offered(Transport::Wss), [strong, weak]);
        }
    }

    #[test]
    fn a_nonce_that_may_have_been_forgotten_is_not_believed() {
        let (authenticator, users) = (authenticator(&[Algorithm::Sha256]), users());
        let at = |secs| NOW.plus(std::time::Duration::from_secs(secs));
        let sign_in = |now, challenge: &str, count| {
            authenticator
                .verify(&request(&credentials(challenge, "secret", count)), here(), (&users, &|_| None), now)
                .map(drop)
        };
        let challenge = |now| authenticator.challenges(&request(""), Transport::Tls, now, false).remove(0);
        let [used, unused] = [(); 2].map(|()| challenge(at(0)));
        assert_eq!(sign_in(at(0), &used, 1), Ok(()));
        // As if so many had signed in that both generations were full.
        for secs in [1, 2] {
            let filler = (0..NONCES_MAX).map(|nonce| (nonce.to_string(), 1));
            authenticator.counts.lock().current.extend(filler);
            assert_eq!(sign_in(at(secs), &challenge(at(secs)), 1), Ok(()));
        }
        assert!(authenticator.counts.lock().previous.len() > 1);
        assert_eq!(sign_in(at(2), &used, 1), Err(Unproven::Stale), "played back");
        assert_eq!(sign_in(at(2), &unused, 1), Err(Unproven::Stale), "cannot be told from the other");
        assert_eq!(sign_in(at(2), &challenge(at(2)), 1), Ok(()));
    }

    #[test]
    fn each_domain_is_a_realm_of_its_own_and_the_user_is_the_same() {
        let (authenticator, users) = (authenticator(&[Algorithm::Sha256]), users());
        let asks = |domain: &str| {
            let text = format!(
                "REGISTER sip:{domain} SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\nFrom: <sip:bob@{domain}>;tag=1\r\n\
                 To: <sip:bob@{domain}>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\nContent-Length: 0\r\n\r\n"
            );
            parse_datagram(text.into(), &Limits::default()).unwrap()
        };
        for (domain, realm) in
            [("contoso.com", "contoso.com"), ("litwareinc.com", "litwareinc.com"), ("fabrikam.com", "contoso.com")]
        {
            let values = authenticator.challenges(&asks(domain), Transport::Tls, NOW, false);
            let challenge = Challenge::parse(&values[0]).unwrap();
            assert_eq!(challenge.realm, realm);
            let name = format!("{}\\bob", realm.split('.').next().unwrap());
            for (username, count) in [("bob", 1), (name.as_str(), 2)] {
                let ha1 = Ha1::of_password(challenge.algorithm, username, realm, "secret");
                let covered = Covered { method: "REGISTER", uri: "sip:contoso.com", body: b"" };
                let value = answer(&challenge, username, &ha1, covered, "cnonce", count).unwrap();
                let signed = request(&format!("Authorization: {value}\r\n"));
                let proven = authenticator.verify(&signed, here(), (&users, &|_| None), NOW).map(|aor| aor.to_string());
                assert_eq!(proven.as_deref(), Ok("bob@contoso.com"), "{username} in {realm}");
            }
        }
    }
}
