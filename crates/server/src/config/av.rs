//! `[edge.av]`: the TURN servers that users get credentials for.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::check::Fault;

/// `[edge.av]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Av {
    /// The file with the secret that the TURN servers know too (coturn: `static-auth-secret`). Its last line break does
    /// not count. A new secret counts as soon as the file has it.
    pub secret: PathBuf,
    /// How many minutes credentials hold at the most.
    #[serde(default = "default_life_min")]
    pub life_min: u32,
    /// The TURN servers.
    pub servers: Vec<AvServer>,
}

/// `[[edge.av.servers]]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AvServer {
    /// Its name or address, as users reach it.
    pub host: String,
    /// Its port for UDP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub udp: Option<u16>,
    /// Its port for TCP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp: Option<u16>,
    /// Its port for TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<u16>,
}

/// Eight hours, which is what Lync clients ask for.
const fn default_life_min() -> u32 {
    480
}

/// What is wrong with it.
pub(super) fn check(av: &Av) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut add = |key: String, sentence: String| faults.push(Fault { key, sentence });
    if let Err(error) = crate::relay_secret::read(&av.secret) {
        add("edge.av.secret".into(), format!("the file {} cannot be used: {error}", av.secret.display()));
    }
    if !(1..=10_080).contains(&av.life_min) {
        add("edge.av.life_min".into(), format!("{} is not between 1 minute and 10080, which is a week", av.life_min));
    }
    if av.servers.is_empty() || av.servers.len() > 16 {
        add("edge.av.servers".into(), format!("{} servers are named, and 1 to 16 are possible", av.servers.len()));
    }
    for (index, server) in av.servers.iter().enumerate() {
        if server.host.parse::<std::net::IpAddr>().is_err() && server.host.parse::<reveille_core::SipDomain>().is_err()
        {
            add(
                format!("edge.av.servers[{index}].host"),
                format!("{:?} is neither a name nor an address", server.host),
            );
        }
        if [server.udp, server.tcp, server.tls].iter().all(Option::is_none) {
            add(format!("edge.av.servers[{index}].udp"), "the server has no port: give one of udp, tcp and tls".into());
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_said_at_its_key() {
        let secret = std::env::temp_dir().join(format!("reveille-av-{:016x}", rand::random::<u64>()));
        let server = |host: &str, udp| AvServer { host: host.into(), udp, tcp: None, tls: None };
        let av = |life_min, servers| Av { secret: secret.clone(), life_min, servers };
        let keys = |av: &Av| check(av).into_iter().map(|fault| fault.key).collect::<Vec<_>>();
        let good = av(480, vec![server("turn.contoso.com", Some(3478)), server("192.0.2.1", Some(3478))]);
        assert_eq!(keys(&good), ["edge.av.secret"]);
        std::fs::write(&secret, "north\n").unwrap();
        assert!(keys(&good).is_empty());
        assert_eq!(keys(&av(0, Vec::new())), ["edge.av.life_min", "edge.av.servers"]);
        let bad = av(10, vec![server("turn server", None)]);
        assert_eq!(keys(&bad), ["edge.av.servers[0].host", "edge.av.servers[0].udp"]);
        std::fs::write(&secret, "\n").unwrap();
        assert_eq!(keys(&good), ["edge.av.secret"]);
        std::fs::remove_file(&secret).unwrap();
    }
}
