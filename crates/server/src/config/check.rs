//! What can be wrong with values that parse: each fault is a sentence with the key.

use std::fmt;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use reveille_core::{Provider, SipDomain, Timestamp};
use reveille_providers::apns::Keyring;

use super::admin::Admin;
use super::raw::{App, Edge, EdgeLimits, Raw, Tls};
use crate::certificates::{Urgency, day};
use crate::obstacle::{Unheard, Unread};
use crate::tls::Material;
use crate::{clearinghouse, push_keys, users_file};

/// Far more than any push service takes from one sender.
const CONNECTIONS_MAX: usize = 64;

/// One thing that must be changed before the configuration can work.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// The key, as a path through the file's tables.
    pub key: String,
    /// What is wrong with it.
    pub sentence: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.sentence)
    }
}

/// Everything that is wrong, in the order of the file. `bind` also tries whether the listeners' ports are free.
pub fn check(raw: &Raw, bind: bool) -> Vec<Fault> {
    let mut faults = Faults(Vec::new());
    if raw.home.is_none() && raw.edge.is_none() && raw.clearinghouse.is_none() {
        faults.add("home", "no role is configured: give at least one of [home], [edge] and [clearinghouse]");
    }
    if let Some(ops) = &raw.ops
        && !ops.listen.ip().is_loopback()
    {
        faults.add(
            "ops.listen",
            format!("{} is not a loopback address, and this listener asks for no password", ops.listen),
        );
    }
    if let Some(admin) = &raw.admin {
        faults.admin(raw, admin);
    }
    if let Some(home) = &raw.home {
        faults.tls("home.tls", &home.tls);
        if let Err(fault) = users_file::read(&home.users, home.domains()) {
            faults.add("home.users", fault.to_string().trim_start_matches("home.users: "));
        }
        let doors = [home.sip_udp, home.sip_tcp, home.sip_tls, home.sip_ws, home.sip_wss];
        if doors.iter().all(Option::is_none) {
            let sentence =
                "no listener for clients: give at least one of sip_udp, sip_tcp, sip_tls, sip_ws and sip_wss";
            faults.add("home.sip_tls", sentence);
        }
        let mut known = std::collections::HashSet::new();
        for domain in home.domains().iter().filter(|domain| !known.insert(*domain)) {
            faults.add("home.also_domains", format!("{domain} stands there twice, or is home.domain already"));
        }
        if home.digests.is_empty() {
            faults.add("home.digests", "no digest is named, so nobody could ever sign in");
        }
        for origin in home.ws_origins.iter().filter(|origin| !is_origin(origin)) {
            faults.add(
                "home.ws_origins",
                format!("{origin:?} is no origin: scheme, host and port only, such as https://phone.contoso.com"),
            );
        }
    }
    if let Some(edge) = &raw.edge {
        faults.tls("edge.tls", &edge.tls);
        if let Some(tls) = &edge.internal_tls {
            faults.tls("edge.internal_tls", tls);
        }
        if edge.domains.is_empty() {
            faults.add("edge.domains", "no domain lives behind this edge, so nothing could ever come in");
        }
        faults.edge_limits(edge.limits);
        faults.0.extend(edge.av.iter().flat_map(super::av::check));
    }
    if let Some(house) = &raw.clearinghouse {
        faults.tls("clearinghouse.tls", &house.tls);
        if house.edges.is_empty() {
            faults.add("clearinghouse.edges", "no edge is named, so every push request would be refused");
        }
        faults.0.extend(house.handles.iter().flat_map(super::handles::check));
        if let Some(rest) = &house.rest {
            faults.tls("clearinghouse.rest.tls", &rest.tls);
            faults.0.extend(super::rest::check(rest));
        }
        let before = faults.0.len();
        for (index, app) in house.apps.iter().enumerate() {
            faults.app(&format!("clearinghouse.apps[{index}]"), app);
        }
        if faults.0.len() == before
            && let Err((key, sentence)) = clearinghouse::approaches(house, &Keyring::default())
        {
            faults.add(&key, sentence);
        }
    }
    faults.listeners(raw, bind);
    faults.0
}

/// Everything that works and will not go well, or not for long, at `now`. Only for a configuration without faults.
pub fn warnings(raw: &Raw, now: Timestamp) -> Vec<Fault> {
    let mut found = Faults(Vec::new());
    let now = i64::try_from(now.secs()).unwrap_or(i64::MAX);
    if let Some(admin) = &raw.admin
        && let Some(tls) = &admin.tls
    {
        for name in &admin.names {
            found.warn_tls("admin.tls", tls, "admin.names", name, now);
        }
    }
    if let Some(home) = &raw.home {
        found.warn_tls("home.tls", &home.tls, "home.name", &home.name, now);
    }
    if let Some(edge) = &raw.edge {
        found.warn_tls("edge.tls", &edge.tls, "edge.name", &edge.name, now);
        found.warn_served(edge);
        if let Some(tls) = &edge.internal_tls {
            found.warn_tls("edge.internal_tls", tls, "edge.name", &edge.name, now);
        }
    }
    if let Some(house) = &raw.clearinghouse {
        found.warn_tls("clearinghouse.tls", &house.tls, "clearinghouse.name", &house.name, now);
        if let Some(rest) = &house.rest
            && let Some(name) = rest.name()
        {
            found.warn_tls("clearinghouse.rest.tls", &rest.tls, "clearinghouse.rest.url", &name, now);
        }
    }
    found.0
}

/// RFC 6454 §6.2: scheme, host, and the port unless it is the scheme's own; no path.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@', ' ']))
}

/// The listeners of a configuration: key, address, whether UDP.
pub(crate) fn listeners(raw: &Raw) -> Vec<(&'static str, SocketAddr, bool)> {
    let home = raw.home.iter().flat_map(|home| {
        [
            ("home.sip_udp", home.sip_udp, true),
            ("home.sip_tcp", home.sip_tcp, false),
            ("home.sip_tls", home.sip_tls, false),
            ("home.sip_ws", home.sip_ws, false),
            ("home.sip_wss", home.sip_wss, false),
            ("home.internal", Some(home.internal), false),
        ]
    });
    let edge = raw.edge.iter().flat_map(|edge| {
        [("edge.external", Some(edge.external), false), ("edge.internal", Some(edge.internal), false)]
    });
    let house = raw.clearinghouse.iter().flat_map(|house| {
        let rest = house.rest.as_ref().map(|rest| rest.listen);
        [("clearinghouse.listen", Some(house.listen), false), ("clearinghouse.rest.listen", rest, false)]
    });
    let ops = raw.ops.iter().map(|ops| ("ops.listen", Some(ops.listen), false));
    let admin = raw.admin.iter().map(|admin| ("admin.listen", admin.listen, false));
    home.chain(edge).chain(house).chain(ops).chain(admin).filter_map(|(key, at, udp)| Some((key, at?, udp))).collect()
}

struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, key: &str, sentence: impl Into<String>) {
        self.0.push(Fault { key: key.into(), sentence: sentence.into() });
    }

    fn tls(&mut self, key: &str, tls: &Tls) {
        let before = self.0.len();
        for (name, path) in tls.files() {
            self.readable(&format!("{key}.{name}"), path);
        }
        // What can be opened must also be what it should be: the same reader as at the start says so.
        if self.0.len() == before
            && let Err(fault) = Material::read(key, tls)
        {
            self.add(&fault.key, fault.source.to_string());
        }
    }

    fn warn_tls(&mut self, key: &str, tls: &Tls, name_key: &str, name: &SipDomain, now: i64) {
        let Ok(material) = Material::read(key, tls) else { return };
        let own = &material.chain()[0];
        if !own.names(name.as_str()) {
            let names = own.identities().collect::<Vec<_>>().join(", ");
            let names = if names.is_empty() { "nobody".into() } else { names };
            self.add(
                &format!("{key}.certificate"),
                format!("the certificate names {names}, not {name} as {name_key} says; who looks for that refuses it"),
            );
        }
        let ends = |urgency: Urgency, not_after| urgency.sentence(&day(not_after));
        for certificate in material.chain() {
            if let Some(urgency) = Urgency::of(certificate.not_after, now) {
                let sentence = ends(urgency, certificate.not_after);
                self.add(
                    &format!("{key}.certificate"),
                    format!("the certificate of {} {sentence}", certificate.subject),
                );
            }
            if certificate.not_before > now {
                let from = day(certificate.not_before);
                self.add(
                    &format!("{key}.certificate"),
                    format!("the certificate of {} is not valid before {from}", certificate.subject),
                );
            }
        }
        for certificate in material.authorities() {
            if let Some(urgency) = Urgency::of(certificate.not_after, now) {
                let sentence = ends(urgency, certificate.not_after);
                self.add(&format!("{key}.roots"), format!("the authority {} {sentence}", certificate.subject));
            }
        }
        for list in material.lists().filter(|list| list.has_run_out(now)) {
            let due = day(list.next_update.unwrap_or_default());
            self.add(
                &format!("{key}.revocation_lists"),
                format!("the list of {} in {} has run out: its next one was due on {due}", list.issuer, list.origin),
            );
        }
    }

    /// RFC 5922 §7.3: who comes by a domain's SRV record wants to see that domain.
    fn warn_served(&mut self, edge: &Edge) {
        let Ok(material) = Material::read("edge.tls", &edge.tls) else { return };
        let own = &material.chain()[0];
        for (index, served) in edge.domains.iter().enumerate().filter(|(_, served)| !own.names(served.domain.as_str()))
        {
            self.add(
                &format!("edge.domains[{index}].domain"),
                format!(
                    "the certificate in edge.tls.certificate does not name {}: partners that find it by its SRV record \
                     refuse this edge, and only those that were given {} as its ProxyFqdn do not",
                    served.domain, edge.name
                ),
            );
        }
    }

    fn readable(&mut self, key: &str, path: &Path) {
        if let Err(error) = File::open(path) {
            self.add(key, Unread(path, &error).to_string());
        }
    }

    fn admin(&mut self, raw: &Raw, admin: &Admin) {
        let socket = raw.admin_socket();
        // unix(7): the path of a socket has 108 bytes with its end.
        if socket.as_os_str().len() > 107 {
            self.add("admin.socket", format!("{} is longer than a socket's path may be, 107 bytes", socket.display()));
        }
        match (admin.listen, &admin.tls) {
            (Some(_), None) => self.add("admin.tls", "admin.listen is given, and nobody is listened to without TLS"),
            (Some(_), Some(tls)) => self.tls("admin.tls", tls),
            (None, Some(_)) => self.add("admin.listen", "certificates are given in admin.tls, and no address for them"),
            (None, None) => {}
        }
        if admin.listen.is_some() && admin.names.is_empty() {
            self.add("admin.names", "no name is given, and what is addressed to none of them is refused");
        }
        for (key, group) in admin.mapped() {
            let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '@' | '\\');
            if group.is_empty() || group.starts_with('-') || !group.chars().all(plain) {
                self.add(&format!("admin.groups.{key}"), format!("{group:?} is no name of a group"));
            }
        }
    }

    fn edge_limits(&mut self, limits: EdgeLimits) {
        // A message of the greatest size that is taken must find a place (its header 32 KiB, its body 64 KiB).
        const MESSAGE: u64 = 96 * 1024;
        for (key, value, least, most) in [
            ("edge.limits.messages_per_s", u64::from(limits.messages_per_s), 1, 10_000_000),
            ("edge.limits.in_flight_per_partner", limits.in_flight_per_partner as u64, 1, 100_000),
            ("edge.limits.bytes_in_flight_per_partner", limits.bytes_in_flight_per_partner as u64, MESSAGE, 1 << 29),
            ("edge.limits.connections_per_partner", limits.connections_per_partner as u64, 1, 20_000),
            ("edge.limits.drain_ms", limits.drain_ms, 0, 15_000),
        ] {
            if !(least..=most).contains(&value) {
                self.add(key, format!("{value} is not between {least} and {most}"));
            }
        }
    }

    fn app(&mut self, key: &str, app: &App) {
        self.readable(&format!("{key}.credential"), &app.credential);
        if let Some(roots) = &app.roots {
            self.readable(&format!("{key}.roots"), roots);
        }
        match app.provider {
            Provider::Apns => {
                // Who comes with a certificate needs neither.
                for (name, value) in [("team", &app.team), ("key_id", &app.key_id)] {
                    if push_keys::holds_certificate(app) {
                        break;
                    }
                    if value.as_deref().is_none_or(str::is_empty) {
                        self.add(&format!("{key}.{name}"), "APNs needs it beside the .p8 key, and it is missing");
                    }
                }
            }
            Provider::Fcm => {}
            other => self.add(&format!("{key}.provider"), format!("this version has no sender for {other}")),
        }
        if app.connections < 2 {
            self.add(&format!("{key}.connections"), "at least 2 connections are held per lane");
        }
        if !(app.connections..=CONNECTIONS_MAX).contains(&app.connections_max) {
            let sentence = format!(
                "{} is not between connections, {}, and {CONNECTIONS_MAX}",
                app.connections_max, app.connections
            );
            self.add(&format!("{key}.connections_max"), sentence);
        }
    }

    fn listeners(&mut self, raw: &Raw, bind: bool) {
        let all = listeners(raw);
        for (index, (key, address, udp)) in all.iter().enumerate() {
            let clash = all[..index].iter().find(|(_, other, other_udp)| {
                let any = other.ip().is_unspecified() || address.ip().is_unspecified();
                address.port() != 0
                    && other.port() == address.port()
                    && other_udp == udp
                    && (any || other.ip() == address.ip())
            });
            if let Some((other, ..)) = clash {
                self.add(
                    key,
                    format!("{address} is already claimed by {other}: each listener needs a port of its own"),
                );
                continue;
            }
            let bound = match (bind, udp) {
                (false, _) => Ok(()),
                (true, true) => UdpSocket::bind(address).map(drop),
                (true, false) => TcpListener::bind(address).map(drop),
            };
            if let Err(error) = bound {
                self.add(key, Unheard(*address, &error).to_string());
            }
        }
    }
}
