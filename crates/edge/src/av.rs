//! The A/V edge: hands out credentials for a TURN server, good for some hours, to users that home has signed in.
//!
//! The TURN server (coturn with `use-auth-secret`, say) and this edge know one secret, and nothing passes between them: the
//! user name says until when it holds, and the password is made of it (draft-uberti-behave-turn-rest-00 §2.2).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use parking_lot::RwLock;
use reveille_core::{Aor, Clock, Timestamp};
use reveille_federation::media_relay::{Ask, CONTENT_TYPE, Credentials, Grant, METHOD, Relay};
use reveille_sip::{Message, Method, Name, ResponseBuilder};
use tracing::{debug, info};

/// What an edge must know to hand out credentials.
#[derive(Clone, Debug)]
pub struct AvConfig {
    /// The TURN servers.
    pub relays: Vec<Relay>,
    /// What they and this edge know.
    pub secret: RelaySecret,
    /// How long credentials hold at the most.
    pub life: Duration,
}

/// A secret shared with TURN servers, which may be replaced while the edge runs. A clone is the same secret.
#[derive(Clone)]
pub struct RelaySecret(Arc<RwLock<hmac::Key>>);

impl RelaySecret {
    /// Of these bytes.
    pub fn new(secret: &[u8]) -> Self {
        Self(Arc::new(RwLock::new(Self::key(secret))))
    }

    /// Takes other bytes from now on. Credentials that were handed out hold as long as the TURN server knows the old ones.
    pub fn replace(&self, secret: &[u8]) {
        *self.0.write() = Self::key(secret);
    }

    fn key(secret: &[u8]) -> hmac::Key {
        // The form that TURN servers have agreed on; HMAC with SHA-1 is not touched by that hash's collisions.
        hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret)
    }

    /// Credentials for `user` that hold until `until`.
    pub fn credentials(&self, user: &str, until: Timestamp) -> Credentials {
        let username = format!("{}:{user}", until.secs());
        let password = STANDARD.encode(hmac::sign(&self.0.read(), username.as_bytes()));
        Credentials { username, password }
    }
}

impl fmt::Debug for RelaySecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RelaySecret")
    }
}

/// Whether a request asks for credentials of a media relay.
pub(crate) fn asks_for_relay(request: &Message) -> bool {
    request.method() == Some(Method::Other(METHOD))
        && request.media_type().is_some_and(|media| media.eq_ignore_ascii_case(CONTENT_TYPE))
}

/// The answer to a request of one of our homes, which has authenticated whoever From names.
pub(crate) fn answer(config: Option<&AvConfig>, clock: &dyn Clock, request: &Message) -> Bytes {
    let Some(config) = config else {
        return plain(request, 404, "this Access Edge has no A/V edge: give it [edge.av] with its TURN servers");
    };
    let ask = match Ask::read(request.body_bytes()) {
        Ok(ask) => ask,
        Err(fault) => return plain(request, 400, &fault.to_string()),
    };
    let from = request.from().ok().and_then(|from| from.uri().ok().map(|uri| uri.to_string()));
    let Some(user) = from.as_deref().and_then(|from| same_user(from, &ask.identity)) else {
        metrics::counter!("reveille_edge_relay_credentials_total", "outcome" => "forbidden").increment(1);
        debug!("credentials were asked for in another's name");
        return with_body(request, 403, &Grant::refuse(&ask, "Forbidden"));
    };
    let life = match u64::from(ask.minutes) * 60 {
        0 => config.life,
        asked => Duration::from_secs(asked).min(config.life),
    };
    let now = clock.now();
    let grant = Grant {
        credentials: config.secret.credentials(&user.to_string(), now.plus(life)),
        minutes: u32::try_from(life.as_secs() / 60).unwrap_or(u32::MAX),
        relays: config.relays.clone(),
    };
    metrics::counter!("reveille_edge_relay_credentials_total", "outcome" => "granted").increment(1);
    info!(user = %user, minutes = grant.minutes, "credentials for the A/V edge were handed out");
    with_body(request, 200, &grant.write(&ask))
}

/// The user that both mean, if they mean the same.
fn same_user(from: &str, identity: &str) -> Option<Aor> {
    let read = |text: &str| text.split([';', '?']).next().unwrap_or_default().parse::<Aor>().ok();
    read(from).filter(|from| read(identity).as_ref() == Some(from))
}

fn plain(request: &Message, status: u16, sentence: &str) -> Bytes {
    let sentence = sentence.replace(['"', '\\'], "'");
    reveille_federation::message::respond(request, status, "av", |response| {
        response.header(Name::Warning, format_args!("399 reveille \"{sentence}\""));
    })
}

fn with_body(request: &Message, status: u16, body: &str) -> Bytes {
    let mut out = BytesMut::with_capacity(512 + body.len());
    let written =
        ResponseBuilder::to(&mut out, request, status).to_tag("av").content(CONTENT_TYPE, body.as_bytes()).finish();
    match written {
        Ok(()) => out.freeze(),
        Err(fault) => plain(request, 500, &fault.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use reveille_federation::media_relay::DocumentError;
    use reveille_sip::{Limits, parse_datagram};

    use super::*;

    struct Stopped;

    impl Clock for Stopped {
        fn now(&self) -> Timestamp {
            Timestamp::from_millis(1_700_000_000_000)
        }
    }

    fn config() -> AvConfig {
        let relay = Relay { host: "turn.contoso.com".into(), udp: Some(3478), tcp: Some(3478), tls: None };
        AvConfig { relays: vec![relay], secret: RelaySecret::new(b"north"), life: Duration::from_secs(8 * 3600) }
    }

    fn request(from: &str, body: &str) -> Message {
        let text = format!(
            "SERVICE sip:mras@contoso.com SIP/2.0\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nFrom: <{from}>;tag=1\r\n\
             To: <sip:mras@contoso.com>\r\nCall-ID: 1\r\nCSeq: 1 SERVICE\r\nContent-Type: {CONTENT_TYPE}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        parse_datagram(text.into(), &Limits::default()).unwrap()
    }

    fn ask(identity: &str, minutes: u32) -> String {
        Ask { request_id: "1".into(), identity: identity.into(), minutes, ..Ask::default() }.write()
    }

    fn answered(config: Option<&AvConfig>, from: &str, body: &str) -> (u16, Result<Grant, DocumentError>) {
        let bytes = answer(config, &Stopped, &request(from, body));
        let response = parse_datagram(bytes, &Limits::default()).unwrap();
        (response.status().unwrap(), Grant::read(response.body_bytes()))
    }

    #[test]
    fn the_password_is_the_one_that_coturn_computes() {
        // echo -n 1700028800:ken@contoso.com | openssl dgst -binary -sha1 -hmac north | openssl base64
        let (status, grant) = answered(Some(&config()), "sip:ken@contoso.com", &ask("sip:ken@contoso.com", 480));
        let grant = grant.unwrap();
        assert_eq!((status, grant.minutes), (200, 480));
        assert_eq!(grant.credentials.username, "1700028800:ken@contoso.com");
        assert_eq!(grant.credentials.password, "o/LUPQ69symUMmqR+598UGUGMug=");
        assert_eq!(grant.relays, config().relays);
    }

    #[test]
    fn they_hold_no_longer_than_is_asked_for_nor_than_is_allowed() {
        for (minutes, expected) in [(0, 480), (10, 10), (481, 480), (u32::MAX, 480)] {
            let (_, grant) = answered(Some(&config()), "sip:a@b.c", &ask("sip:a@b.c", minutes));
            assert_eq!(grant.unwrap().minutes, expected, "{minutes}");
        }
    }

    #[test]
    fn nobody_gets_credentials_in_anothers_name() {
        for (from, identity, expected) in [
            ("sip:a@b.c", "sip:a@b.c", 200),
            ("sip:a@b.c;transport=tls", "sip:a@B.c", 200),
            ("sip:a@b.c", "sip:eve@b.c", 403),
            ("sip:a@b.c", "a", 403),
            ("sip:b.c", "sip:b.c", 403),
        ] {
            let (status, grant) = answered(Some(&config()), from, &ask(identity, 10));
            assert_eq!((status, grant.is_ok()), (expected, expected == 200), "{from} for {identity}");
        }
        assert_eq!(answered(Some(&config()), "sip:a@b.c", "hello").0, 400);
        assert_eq!(answered(None, "sip:a@b.c", &ask("sip:a@b.c", 10)).0, 404);
    }

    #[test]
    fn a_new_secret_counts_at_once_and_none_is_shown() {
        let secret = RelaySecret::new(b"north");
        let before = secret.credentials("a", Timestamp::from_millis(1000));
        let known_elsewhere = secret.clone();
        secret.replace(b"south");
        let after = known_elsewhere.credentials("a", Timestamp::from_millis(1000));
        assert_eq!(before.username, after.username);
        assert_ne!(before.password, after.password);
        assert_eq!(format!("{secret:?}"), "RelaySecret");
    }
}
