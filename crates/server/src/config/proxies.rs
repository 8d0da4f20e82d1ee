//! `[clearinghouse.proxies]`: the way to push services through proxies of the organisation.

use std::path::PathBuf;

use reveille_core::Provider;
use reveille_providers::Proxy;
use serde::{Deserialize, Serialize};

/// `[clearinghouse.proxies]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Proxies {
    /// To Apple.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apns: Option<ProxyHop>,
    /// To Google, for pushes and for access tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fcm: Option<ProxyHop>,
}

/// One proxy that takes CONNECT.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyHop {
    /// Where it is, `host:port`.
    pub server: String,
    /// A file with `user:password` on one line; without it the proxy asks for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<PathBuf>,
}

impl Proxies {
    pub(super) const fn is_empty(&self) -> bool {
        self.apns.is_none() && self.fcm.is_none()
    }

    pub(super) fn files(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        self.apns.iter_mut().chain(&mut self.fcm).filter_map(|hop| hop.credentials.as_mut())
    }

    /// The proxy on the way to a provider. A fault is the key and the sentence.
    pub(crate) fn of(&self, provider: Provider) -> Result<Option<Proxy>, (&'static str, String)> {
        let hop = match provider {
            Provider::Apns => &self.apns,
            Provider::Fcm => &self.fcm,
            Provider::Mpns | Provider::WebPush | Provider::Wns => &None,
        };
        hop.as_ref().map(ProxyHop::proxy).transpose().map_err(|sentence| ("proxy", sentence))
    }
}

impl ProxyHop {
    /// The proxy with the credentials that stand in its file.
    pub(super) fn proxy(&self) -> Result<Proxy, String> {
        let parts = self.server.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
        let Some((host, port)) = parts.filter(|(host, _)| !host.is_empty()) else {
            return Err(format!("the proxy \"{}\" needs the form host:port", self.server));
        };
        let proxy = Proxy::new(host.trim_start_matches('[').trim_end_matches(']'), port);
        let Some(path) = &self.credentials else { return Ok(proxy) };
        let text =
            std::fs::read_to_string(path).map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        // RFC 7617 §2: a user has no colon in his name, and nobody has control characters.
        let line = text.trim_end_matches(['\r', '\n']);
        if !line.contains(':') || line.chars().any(char::is_control) {
            return Err(format!("{} has to hold user:password on one line", path.display()));
        }
        Ok(proxy.with_credentials(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_a_host_a_port_and_a_file_of_one_line() {
        let hop = |server: &str, credentials| ProxyHop { server: server.into(), credentials };
        assert_eq!(hop("proxy.example.net:3128", None).proxy(), Ok(Proxy::new("proxy.example.net", 3128)));
        assert_eq!(hop("[2001:db8::1]:3128", None).proxy(), Ok(Proxy::new("2001:db8::1", 3128)));
        for server in ["proxy.example.net", ":3128", "proxy.example.net:http"] {
            assert!(hop(server, None).proxy().unwrap_err().contains("needs the form host:port"), "{server}");
        }
        let path = std::env::temp_dir().join(format!("reveille-proxy-{:016x}", rand::random::<u64>()));
        for (text, good) in [("push:secret\n", true), ("push", false), ("a:b\nc:d\n", false), ("", false)] {
            std::fs::write(&path, text).expect("it is written");
            assert_eq!(hop("p:1", Some(path.clone())).proxy().is_ok(), good, "{text:?}");
        }
        std::fs::remove_file(&path).expect("it is removed");
        assert!(hop("p:1", Some(path)).proxy().unwrap_err().contains("cannot be read"));
    }
}
