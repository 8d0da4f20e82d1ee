//! `[admin]`: how administrators reach this server.

use std::net::SocketAddr;
use std::path::PathBuf;

use reveille_core::SipDomain;
use serde::{Deserialize, Serialize};

use super::raw::Tls;

/// `[admin]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// The socket for this machine's own users; `admin/reveille.sock` in the store's folder when absent. Its folder must
    /// be closed to others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
    /// The group of this machine whose members may use the socket; only root and the server's own user when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_group: Option<String>,
    /// Administrators from elsewhere, over TLS; none when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listen: Option<SocketAddr>,
    /// The names that requests over TLS are addressed to; whatever is addressed to another is refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<SipDomain>,
    /// Certificates for `listen`; a client certificate is welcome and not required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// Which of this machine's groups are those of the documents.
    pub groups: AdminGroups,
}

/// `[admin.groups]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct AdminGroups {
    /// Groups whose members do everything.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rtcuniversalserveradmins: Vec<String>,
    /// Groups whose members look after users.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rtcuniversaluseradmins: Vec<String>,
    /// Groups whose members may look.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rtcuniversalreadonlyadmins: Vec<String>,
}

impl Admin {
    /// Every group that is mapped, with its key.
    pub(super) fn mapped(&self) -> impl Iterator<Item = (&'static str, &String)> {
        let groups = [
            ("rtcuniversalserveradmins", &self.groups.rtcuniversalserveradmins),
            ("rtcuniversaluseradmins", &self.groups.rtcuniversaluseradmins),
            ("rtcuniversalreadonlyadmins", &self.groups.rtcuniversalreadonlyadmins),
        ];
        groups.into_iter().flat_map(|(key, names)| names.iter().map(move |name| (key, name)))
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use crate::config::{check, parse};

    #[test]
    fn accounts_are_shared_by_who_shares_the_settings_and_by_nobody_else() {
        for (settings, accounts) in [
            ("", "/s/admin.db"),
            ("settings = \"/x/contoso-settings.db\"", "/x/contoso-admin.db"),
            ("settings = \"/x/publisher-settings.db\"", "/x/publisher-admin.db"),
            ("settings = \"/x/wishes.db\"", "/x/wishes.db.admin"),
        ] {
            let raw = parse(&format!("[store]\ndir = \"/s\"\n{settings}\n"), Path::new("x.toml")).unwrap();
            assert_eq!(raw.accounts_path(), PathBuf::from(accounts));
        }
    }

    #[test]
    fn what_cannot_work_is_said_at_its_key() {
        let long = format!("socket = \"/{}\"", "x".repeat(120));
        for (admin, key, part) in [
            ("listen = \"127.0.0.1:1\"\nnames = [\"a.example\"]", "admin.tls", "without TLS"),
            ("listen = \"127.0.0.1:1\"", "admin.names", "no name is given"),
            (long.as_str(), "admin.socket", "107 bytes"),
            (
                "[admin.groups]\nrtcuniversaluseradmins = [\"-x\"]",
                "admin.groups.rtcuniversaluseradmins",
                "no name of a group",
            ),
            ("[admin.tls]\ncertificate = \"c\"\nkey = \"k\"\nroots = \"r\"", "admin.listen", "no address"),
        ] {
            let text = format!("[store]\ndir = \"/s\"\n[admin]\n{admin}\n");
            let faults = check(&parse(&text, Path::new("x.toml")).unwrap(), false);
            let said = faults.iter().find(|fault| fault.key == key).map(|fault| fault.sentence.as_str());
            assert!(said.is_some_and(|said| said.contains(part)), "{admin}: {faults:?}");
        }
        let misspelt = parse("[store]\ndir = \"/s\"\n[admin]\nsockte = \"x\"\n", Path::new("x.toml")).unwrap_err();
        assert!(misspelt.to_string().contains("did you mean \"socket\""), "{misspelt}");
    }

    #[test]
    fn sites_are_declared_once_and_the_homes_own_is_one() {
        let text = "sites = [\"Redmond\", \"dublin\", \"REDMOND\"]\n[store]\ndir = \"/s\"\n";
        assert_eq!(parse(text, Path::new("x.toml")).unwrap().declared_sites(), ["Redmond", "dublin"]);
    }
}
