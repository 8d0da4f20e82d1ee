//! The file's shape, one struct per table; the documented reference of every key.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use reveille_core::{Environment, Provider, SipDomain};
use serde::{Deserialize, Serialize};

use super::admin::Admin;
use super::av::Av;
use super::handles::HandleKeys;
use super::proxies::Proxies;
use super::rest::Rest;

/// `reveille.toml`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Raw {
    /// The sites that settings may name; `home.site` is one of them in any case.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sites: Vec<String>,
    /// Where everything durable lies.
    pub store: Store,
    /// How to tell what happens.
    #[serde(default)]
    pub log: Log,
    /// Health, metrics and status over HTTP; off when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops: Option<Ops>,
    /// How administrators reach this server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<Admin>,
    /// How names are looked up.
    #[serde(default)]
    pub resolver: Resolver,
    /// The mobility service, if this machine is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home: Option<Home>,
    /// The Access Edge, if this machine is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edge: Option<Edge>,
    /// The clearing house, if this machine is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clearinghouse: Option<ClearingHouse>,
}

/// `[store]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// The folder of the role's files: `home.db`, `clearinghouse.db`.
    pub dir: PathBuf,
    /// The settings file; `settings.db` in `dir` when absent. Roles of one organisation on one machine may share it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<PathBuf>,
}

/// `[log]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `text` for people, `json` for machines.
    pub format: LogFormat,
    /// What to tell, in tracing's filter words; `info` when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines: one object a line.
    Json,
}

/// `[ops]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Ops {
    /// The address of `/health`, `/ready`, `/metrics` and `/status`. Loopback only: it asks nobody for a password.
    pub listen: SocketAddr,
}

/// `[resolver]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Resolver {
    /// Name servers to ask instead of the system's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub name_servers: Vec<SocketAddr>,
    /// Hosts known without asking.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub hosts: BTreeMap<SipDomain, Vec<IpAddr>>,
    /// SRV records known without asking.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub srv: Vec<SrvRecord>,
}

/// `[[resolver.srv]]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SrvRecord {
    /// The owner, for instance `_sipfederationtls._tcp.contoso.com`.
    pub owner: SipDomain,
    /// The host that serves it.
    pub target: SipDomain,
    /// The port there.
    pub port: u16,
    /// Lower is tried first.
    #[serde(default)]
    pub priority: u16,
    /// Share among equals.
    #[serde(default)]
    pub weight: u16,
}

/// The certificate files of one role.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// The certificate and its chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// The authorities that the certificates of those who call must come from, PEM.
    pub roots: PathBuf,
    /// The authorities that the certificates of those we call must come from, PEM; `roots` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots_out: Option<PathBuf>,
    /// What authorities took back, PEM or DER.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub revocation_lists: Vec<PathBuf>,
    /// Whether certificates whose authority's list has run out are still taken.
    #[serde(default)]
    pub when_lists_run_out: RunOut,
    /// Where a certificate's names are looked for.
    #[serde(default)]
    pub names: Names,
}

/// What becomes of certificates whose authority's list has run out.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunOut {
    /// The list goes on counting, and an alarm says that it is old.
    #[default]
    Alarm,
    /// They are refused.
    Refuse,
}

/// Where a certificate's names are looked for.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Names {
    /// In subjectAltName only.
    #[default]
    Rfc5922,
    /// In the common name too, if there is no subjectAltName.
    WithCommonName,
}

impl Tls {
    /// With everything that may be left out left out.
    pub fn new(certificate: PathBuf, key: PathBuf, roots: PathBuf) -> Self {
        Self {
            certificate,
            key,
            roots,
            roots_out: None,
            revocation_lists: Vec::new(),
            when_lists_run_out: RunOut::default(),
            names: Names::default(),
        }
    }

    /// Every file with its key.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let always = [("certificate", &self.certificate), ("key", &self.key), ("roots", &self.roots)];
        let roots_out = self.roots_out.iter().map(|path| ("roots_out", path));
        let lists = self.revocation_lists.iter().map(|path| ("revocation_lists", path));
        always.into_iter().chain(roots_out).chain(lists).map(|(key, path)| (key, path.as_path()))
    }
}

/// Another process of ours, reached over mutual TLS.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Hop {
    /// The name that its certificate must hold.
    pub name: SipDomain,
    /// Where it listens for its own side.
    pub address: SocketAddr,
    /// Other names of that side, by which administrators know it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<SipDomain>,
}

/// `[home]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Home {
    /// The organisation's domain.
    pub domain: SipDomain,
    /// More SIP domains of the organisation: its users are the same under each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_domains: Vec<SipDomain>,
    /// This server's own name.
    pub name: SipDomain,
    /// More names of this server, by which administrators and clients may call it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_named: Vec<SipDomain>,
    /// The site whose settings hold here.
    #[serde(default = "default_site")]
    pub site: String,
    /// Certificates.
    pub tls: Tls,
    /// Clients over UDP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sip_udp: Option<SocketAddr>,
    /// Clients over TCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sip_tcp: Option<SocketAddr>,
    /// Clients over TLS; a client certificate is welcome and not required.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sip_tls: Option<SocketAddr>,
    /// Clients over WebSocket (RFC 7118), in the clear: for a reverse proxy on the same machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip_ws: Option<SocketAddr>,
    /// Clients over WebSocket and TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sip_wss: Option<SocketAddr>,
    /// The web pages that may open a WebSocket, for instance `https://phone.contoso.com`; without any, every page may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ws_origins: Vec<String>,
    /// What apps ask over HTTP, in the clear: for a reverse proxy on the same machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api: Option<SocketAddr>,
    /// Our edge and trusted proxies, mutual TLS.
    pub internal: SocketAddr,
    /// The way out.
    pub edge: Hop,
    /// Certificate names of proxies that have authenticated their users themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<SipDomain>,
    /// The users and their passwords, TOML: `[users.alice]` with `password`.
    pub users: PathBuf,
    /// The digests that clients may prove themselves with, in the order in which they are offered. A client should take
    /// the first that it knows; some look at the first only and know nothing but MD5 (SIPp 3.6, old Asterisk, pjsip
    /// before 2.11).
    #[serde(default = "default_digests")]
    pub digests: Vec<Digest>,
    /// How long after a flow is gone its phone counts as suspended, in milliseconds.
    #[serde(default = "default_grace_ms")]
    pub grace_ms: u64,
}

impl Home {
    /// All SIP domains of the organisation, the first one first.
    pub(crate) fn domains(&self) -> Vec<SipDomain> {
        std::iter::once(&self.domain).chain(&self.also_domains).cloned().collect()
    }
}

/// A digest of RFC 8760.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub enum Digest {
    /// For old clients.
    #[serde(rename = "MD5")]
    Md5,
    /// What most know.
    #[serde(rename = "SHA-256")]
    Sha256,
    /// As strong, and known to fewer.
    #[serde(rename = "SHA-512-256")]
    Sha512_256,
}

fn default_digests() -> Vec<Digest> {
    vec![Digest::Sha256, Digest::Md5]
}

fn default_site() -> String {
    "Default".into()
}

const fn default_grace_ms() -> u64 {
    2000
}

/// `[edge]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// This edge's own name, stamped on what goes inward.
    pub name: SipDomain,
    /// Certificates for the outside.
    pub tls: Tls,
    /// Certificates for the inside; those for the outside when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub internal_tls: Option<Tls>,
    /// Partners, mutual TLS, by custom on port 5061.
    pub external: SocketAddr,
    /// Our own servers, mutual TLS.
    pub internal: SocketAddr,
    /// Certificate names that may use the internal listener.
    pub inside: Vec<SipDomain>,
    /// The domains that live behind this edge.
    pub domains: Vec<ServedDomain>,
    /// What each partner may have of this edge.
    #[serde(default)]
    pub limits: EdgeLimits,
    /// The TURN servers that users get credentials for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub av: Option<Av>,
}

/// `[edge.limits]`
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdgeLimits {
    /// Requests per second that a partner on the allow list may send.
    pub messages_per_s: u32,
    /// Requests of one partner, or to one, that may wait for their answers.
    pub in_flight_per_partner: usize,
    /// Bytes of them.
    pub bytes_in_flight_per_partner: usize,
    /// Connections that one partner may have to this edge.
    pub connections_per_partner: usize,
    /// How long a stop waits for answers, in milliseconds.
    pub drain_ms: u64,
}

impl Default for EdgeLimits {
    fn default() -> Self {
        let limits = reveille_edge::Limits::default();
        Self {
            messages_per_s: limits.messages_per_s,
            in_flight_per_partner: limits.in_flight_per_partner,
            bytes_in_flight_per_partner: limits.bytes_in_flight_per_partner,
            connections_per_partner: limits.connections_per_partner,
            drain_ms: limits.drain.as_millis() as u64,
        }
    }
}

/// `[[edge.domains]]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ServedDomain {
    /// The domain.
    pub domain: SipDomain,
    /// The name that the server behind must show.
    pub name: SipDomain,
    /// Where it listens for its edge.
    pub address: SocketAddr,
}

/// `[clearinghouse]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClearingHouse {
    /// This server's own name.
    pub name: SipDomain,
    /// The publisher's domain.
    pub domain: SipDomain,
    /// Other domains of it that push requests are sent to. Feedback comes from the one that was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also_domains: Vec<SipDomain>,
    /// Certificates.
    pub tls: Tls,
    /// Our edges, mutual TLS.
    pub listen: SocketAddr,
    /// Certificate names of the edges whose trust header is believed.
    pub edges: Vec<SipDomain>,
    /// The way out for feedback.
    pub edge: Hop,
    /// The keys for sealed handles; without them none are taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handles: Option<HandleKeys>,
    /// The ways to push services, where there is none without a proxy.
    #[serde(default, skip_serializing_if = "Proxies::is_empty")]
    pub proxies: Proxies,
    /// Push requests over HTTPS; none without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<Rest>,
    /// The publisher's apps.
    #[serde(default)]
    pub apps: Vec<App>,
}

/// `[[clearinghouse.apps]]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// `apns` or `fcm`.
    pub provider: Provider,
    /// APNs: the bundle id. FCM: the project id.
    pub app: String,
    /// APNs only.
    #[serde(default)]
    pub environment: Environment,
    /// The credential: APNs `.p8` key, or certificate and key in PEM; FCM service-account JSON.
    pub credential: PathBuf,
    /// APNs: the 10 characters of the team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// APNs: the 10 characters of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_id: Option<String>,
    /// `host:port` instead of the provider's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// Authorities to trust instead of the system's, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots: Option<PathBuf>,
    /// Connections per lane, at least 2.
    #[serde(default = "default_connections")]
    pub connections: usize,
    /// The most connections of one lane: more are opened while those have no room, and closed again.
    #[serde(default = "default_connections_max")]
    pub connections_max: usize,
}

const fn default_connections() -> usize {
    2
}

const fn default_connections_max() -> usize {
    8
}

impl Raw {
    /// The settings file.
    pub fn settings_path(&self) -> PathBuf {
        self.store.settings.clone().unwrap_or_else(|| self.store.dir.join("settings.db"))
    }

    /// The file of accounts and of the audit log: beside that of the settings and named after it, so that who shares the
    /// one shares the other, and two organisations on one machine share neither.
    pub fn accounts_path(&self) -> PathBuf {
        Self::accounts_beside(&self.settings_path())
    }

    /// The file of accounts of that settings file.
    pub(crate) fn accounts_beside(settings: &Path) -> PathBuf {
        let name = settings.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let own = match name.rsplit_once("settings") {
            Some((before, after)) => format!("{before}admin{after}"),
            None => format!("{name}.admin"),
        };
        settings.with_file_name(own)
    }

    /// The socket of this machine's administrators.
    pub fn admin_socket(&self) -> PathBuf {
        let given = self.admin.as_ref().and_then(|admin| admin.socket.clone());
        given.unwrap_or_else(|| self.store.dir.join("admin").join("reveille.sock"))
    }

    /// The sites that settings may name, each once, as they are spelt.
    pub fn declared_sites(&self) -> Vec<String> {
        let mut declared: Vec<String> = Vec::new();
        for site in self.sites.iter().chain(self.home.iter().map(|home| &home.site)) {
            if !declared.iter().any(|known| known.eq_ignore_ascii_case(site)) {
                declared.push(site.clone());
            }
        }
        declared
    }

    /// Makes every relative path start at `folder`.
    pub(super) fn resolve_paths(&mut self, folder: &Path) {
        let at = |path: &mut PathBuf| {
            if path.is_relative() {
                *path = folder.join(&*path);
            }
        };
        let tls = |tls: &mut Tls| {
            [&mut tls.certificate, &mut tls.key, &mut tls.roots].into_iter().for_each(at);
            tls.roots_out.iter_mut().chain(&mut tls.revocation_lists).for_each(at);
        };
        at(&mut self.store.dir);
        self.store.settings.iter_mut().for_each(at);
        if let Some(admin) = &mut self.admin {
            admin.socket.iter_mut().for_each(at);
            admin.tls.iter_mut().for_each(tls);
        }
        if let Some(home) = &mut self.home {
            tls(&mut home.tls);
            at(&mut home.users);
        }
        if let Some(edge) = &mut self.edge {
            tls(&mut edge.tls);
            edge.internal_tls.iter_mut().for_each(tls);
            edge.av.iter_mut().for_each(|av| at(&mut av.secret));
        }
        for app in self.clearinghouse.iter_mut().flat_map(|house| {
            tls(&mut house.tls);
            house.handles.iter_mut().for_each(|handles| at(&mut handles.keys));
            house.proxies.files().for_each(at);
            if let Some(rest) = &mut house.rest {
                tls(&mut rest.tls);
                rest.files().for_each(at);
            }
            &mut house.apps
        }) {
            at(&mut app.credential);
            app.roots.iter_mut().for_each(at);
        }
    }
}
