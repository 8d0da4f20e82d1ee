//! `[clearinghouse.rest]`: push requests over HTTPS.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use reveille_clearinghouse::rest::webhook::Net;
use reveille_core::SipDomain;
use reveille_providers::tls::Trust;
use serde::{Deserialize, Serialize};

use super::check::Fault;
use super::raw::Tls;

/// `[clearinghouse.rest]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Rest {
    /// Where it listens, with TLS; a client certificate is welcome and not required.
    pub listen: SocketAddr,
    /// How it is reached, such as `https://push.example.net`: the issuer of its tokens, and what assertions are meant for.
    pub url: String,
    /// Certificates. Its `roots` are the authorities of machine accounts' client certificates.
    pub tls: Tls,
    /// How many seconds an access token is good.
    #[serde(default = "default_token_secs")]
    pub token_secs: u32,
    /// Feedback to organisations without an edge.
    #[serde(default)]
    pub webhooks: Webhooks,
}

/// `[clearinghouse.rest.webhooks]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhooks {
    /// Authorities to trust instead of the system's, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roots: Option<PathBuf>,
    /// Networks that they may lead into though they are not public, such as `10.1.0.0/16`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
}

const fn default_token_secs() -> u32 {
    300
}

impl Rest {
    /// How long an access token is good.
    pub(crate) fn token_life(&self) -> Duration {
        Duration::from_secs(u64::from(self.token_secs))
    }

    /// The name in its address, that its certificate must hold.
    pub(crate) fn name(&self) -> Option<SipDomain> {
        let rest = self.url.strip_prefix("https://")?;
        rest.split([':', '/']).next()?.parse().ok()
    }

    pub(super) fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.webhooks.roots.iter_mut()
    }
}

impl Webhooks {
    /// The networks that are allowed.
    pub(crate) fn allowed(&self) -> Result<Vec<Net>, String> {
        self.allow.iter().map(|text| text.parse()).collect()
    }

    /// Whom webhooks are believed.
    pub(crate) fn trust(&self) -> Result<Trust, String> {
        match &self.roots {
            Some(path) => Trust::read(path),
            None => Trust::system(),
        }
        .map_err(|fault| fault.to_string())
    }
}

/// What is wrong with it, but for its certificates.
pub(super) fn check(rest: &Rest) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut add = |key: &str, sentence: String| {
        faults.push(Fault { key: format!("clearinghouse.rest.{key}"), sentence });
    };
    if rest.name().is_none() || rest.url.ends_with('/') || rest.url.contains(['?', '#', '@', ' ']) {
        let sentence =
            format!("{:?} is no address such as https://push.example.net, without a slash at its end", rest.url);
        add("url", sentence);
    }
    if !(30..=3600).contains(&rest.token_secs) {
        add("token_secs", format!("{} is not between 30 s and 3600, which is an hour", rest.token_secs));
    }
    if let Err(sentence) = rest.webhooks.allowed() {
        add("webhooks.allow", sentence);
    }
    if let Err(sentence) = rest.webhooks.trust() {
        add("webhooks.roots", sentence);
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_work_is_said_at_its_key() {
        let text = "listen = \"127.0.0.1:1\"\nurl = \"https://push.example.net:8443\"\n\
                    [tls]\ncertificate = \"c\"\nkey = \"k\"\nroots = \"r\"\n[webhooks]\nallow = [\"10.1.0.0/16\"]\n";
        let read = |text: &str| toml::from_str::<Rest>(text).unwrap();
        let good = read(text);
        assert_eq!((good.token_secs, good.name()), (300, Some("push.example.net".parse().unwrap())));
        let keys = |rest: &Rest| check(rest).into_iter().map(|fault| fault.key).collect::<Vec<_>>();
        for (from, to, key) in [
            ("https://push", "http://push", "url"),
            (":8443\"", ":8443/\"", "url"),
            ("listen", "token_secs = 10\nlisten", "token_secs"),
            ("10.1.0.0/16", "10.1.0.0", "webhooks.allow"),
            ("[webhooks]", "[webhooks]\nroots = \"/nowhere/ca.pem\"", "webhooks.roots"),
        ] {
            let faults = keys(&read(&text.replace(from, to)));
            assert!(faults.contains(&format!("clearinghouse.rest.{key}")), "{to}: {faults:?}");
        }
    }
}
