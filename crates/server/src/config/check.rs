//! What can be wrong with values that parse: each fault is a sentence with the key.

use std::fmt;
use std::fs::File;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use reveille_core::Provider;
use reveille_sip_net::ClientAuth;

use super::raw::{App, Raw, Tls};
use crate::tls::Side;
use crate::{clearinghouse, users_file};

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
    if let Some(home) = &raw.home {
        faults.tls("home.tls", &home.tls);
        if let Err(fault) = users_file::read(&home.users, &home.domain) {
            faults.add("home.users", fault.to_string().trim_start_matches("home.users: "));
        }
        if home.sip_udp.is_none() && home.sip_tcp.is_none() && home.sip_tls.is_none() {
            faults.add("home.sip_tls", "no listener for clients: give at least one of sip_udp, sip_tcp and sip_tls");
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
    }
    if let Some(house) = &raw.clearinghouse {
        faults.tls("clearinghouse.tls", &house.tls);
        if house.edges.is_empty() {
            faults.add("clearinghouse.edges", "no edge is named, so every push request would be refused");
        }
        let before = faults.0.len();
        for (index, app) in house.apps.iter().enumerate() {
            faults.app(&format!("clearinghouse.apps[{index}]"), app);
        }
        if faults.0.len() == before
            && let Err((key, sentence)) = clearinghouse::accesses(&house.apps)
        {
            faults.add(&key, sentence);
        }
    }
    faults.listeners(raw, bind);
    faults.0
}

/// The listeners of a configuration: key, address, whether UDP.
pub(crate) fn listeners(raw: &Raw) -> Vec<(&'static str, SocketAddr, bool)> {
    let home = raw.home.iter().flat_map(|home| {
        [
            ("home.sip_udp", home.sip_udp, true),
            ("home.sip_tcp", home.sip_tcp, false),
            ("home.sip_tls", home.sip_tls, false),
            ("home.internal", Some(home.internal), false),
        ]
    });
    let edge = raw.edge.iter().flat_map(|edge| {
        [("edge.external", Some(edge.external), false), ("edge.internal", Some(edge.internal), false)]
    });
    let house = raw.clearinghouse.iter().map(|house| ("clearinghouse.listen", Some(house.listen), false));
    let ops = raw.ops.iter().map(|ops| ("ops.listen", Some(ops.listen), false));
    home.chain(edge).chain(house).chain(ops).filter_map(|(key, at, udp)| Some((key, at?, udp))).collect()
}

struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, key: &str, sentence: impl Into<String>) {
        self.0.push(Fault { key: key.into(), sentence: sentence.into() });
    }

    fn tls(&mut self, key: &str, tls: &Tls) {
        let before = self.0.len();
        for (name, path) in [("certificate", &tls.certificate), ("key", &tls.key), ("roots", &tls.roots)] {
            self.readable(&format!("{key}.{name}"), path);
        }
        // What can be opened must also be what it should be: the same reader as at the start says so.
        if self.0.len() == before
            && let Err(fault) = Side::read(tls, ClientAuth::Required)
        {
            self.add(key, fault.to_string());
        }
    }

    fn readable(&mut self, key: &str, path: &Path) {
        if let Err(error) = File::open(path) {
            self.add(key, format!("the file {} cannot be read: {error}", path.display()));
        }
    }

    fn app(&mut self, key: &str, app: &App) {
        self.readable(&format!("{key}.credential"), &app.credential);
        if let Some(roots) = &app.roots {
            self.readable(&format!("{key}.roots"), roots);
        }
        match app.provider {
            Provider::Apns => {
                for (name, value) in [("team", &app.team), ("key_id", &app.key_id)] {
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
                let sentence = match error.kind() {
                    std::io::ErrorKind::AddrInUse => format!("{address} is in use by another program"),
                    _ => format!("{address} cannot be listened on: {error}"),
                };
                self.add(key, sentence);
            }
        }
    }
}
