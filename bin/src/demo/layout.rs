//! What the demo's two organisations look like on disk: addresses, certificates, configurations, settings.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, bail};
use reveille_core::settings::Setting;
use reveille_core::{Environment, Provider};
use reveille_server::config::{
    Admin, App, Av, AvServer, ClearingHouse, Digest, Edge, EdgeLimits, HandleKeys, Home, Hop, Log, Ops, Proxies, Raw,
    Resolver, ServedDomain, SrvRecord, Store, Tls,
};
use reveille_sim::certs::{Ca, Leaf};

use crate::simulate::{KEY_ID, TEAM, write};

/// The organisation.
pub(crate) const CONTOSO: &str = "contoso.com";
/// Its second SIP domain, with the same users: the one of the documents' examples.
pub(crate) const LITWARE: &str = "litwareinc.com";
/// What the documents call its home.
pub(crate) const DOCUMENTED_HOME: &str = "atl-cs-001.litwareinc.com";
/// What the documents call the inner side of its edge.
pub(crate) const DOCUMENTED_EDGES: [&str; 2] = ["accessproxy.contoso.com", "atl-edge-001.litwareinc.com"];
/// Its TURN server.
pub(crate) const TURN_NAME: &str = "turn.contoso.com";
/// The publisher.
pub(crate) const PUBLISHER: &str = "push.example.net";
/// The APNs apps that the publisher runs: the demo's own, and the one that the documentation's examples name.
pub(crate) const APNS_APPS: [&str; 2] = ["org.reveille.demo", "app"];
/// The FCM project that the publisher runs.
pub(crate) const FCM_PROJECT: &str = "reveille-demo";
/// The users, each with a password of its own kind.
pub(crate) const USERS: [(&str, &str); 3] =
    [("alice", "alice-wonder"), ("bob", "bob-builds"), ("kenmyer", "ken-9-stars")];

/// Four machines' worth of loopback addresses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Addresses {
    net: (u8, u8),
}

impl Addresses {
    /// Addresses that nobody uses: each edge needs port 5061 of its own.
    pub(crate) fn find() -> Result<Self> {
        for _ in 0..100 {
            let found = Self { net: (rand::random_range(16..250), rand::random_range(1..250)) };
            let needed = [found.home_tls(), found.contoso_edge(), found.publisher_edge(), found.house()];
            if needed.iter().all(|address| TcpListener::bind(address).is_ok()) {
                return Ok(found);
            }
        }
        bail!("no free loopback addresses were found for port 5061")
    }

    fn at(self, host: u8, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, self.net.0, self.net.1, host)), port)
    }

    pub(crate) fn home_plain(self) -> SocketAddr {
        self.at(1, 5060)
    }

    pub(crate) fn home_tls(self) -> SocketAddr {
        self.at(1, 5061)
    }

    pub(crate) fn home_ws(self) -> SocketAddr {
        self.at(1, 5062)
    }

    pub(crate) fn home_wss(self) -> SocketAddr {
        self.at(1, 5063)
    }

    pub(crate) fn home_internal(self) -> SocketAddr {
        self.at(1, 5070)
    }

    pub(crate) fn home_api(self) -> SocketAddr {
        self.at(1, 8080)
    }

    pub(crate) fn home_ops(self) -> SocketAddr {
        self.at(1, 9090)
    }

    pub(crate) fn contoso_edge(self) -> SocketAddr {
        self.at(2, 5061)
    }

    pub(crate) fn contoso_edge_internal(self) -> SocketAddr {
        self.at(2, 5070)
    }

    pub(crate) fn publisher_edge(self) -> SocketAddr {
        self.at(3, 5061)
    }

    pub(crate) fn publisher_edge_internal(self) -> SocketAddr {
        self.at(3, 5070)
    }

    pub(crate) fn publisher_edge_ops(self) -> SocketAddr {
        self.at(3, 9090)
    }

    pub(crate) fn house(self) -> SocketAddr {
        self.at(4, 5061)
    }

    pub(crate) fn house_ops(self) -> SocketAddr {
        self.at(4, 9090)
    }

    pub(crate) fn turn(self) -> SocketAddr {
        self.at(6, 3478)
    }

    pub(crate) fn simulators(self, port: u16) -> SocketAddr {
        self.at(5, port)
    }
}

/// One certificate's files.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// Issues certificates into the demo's folder.
pub(crate) struct Office<'a> {
    pub(crate) ca: &'a Ca,
    pub(crate) dir: &'a Path,
}

impl Office<'_> {
    /// A certificate with these names, valid from now on.
    pub(crate) fn issue(&self, file: &str, common_name: &str, dns: &[&str]) -> Result<Files> {
        self.write(file, Leaf::new(common_name, dns))
    }

    /// A certificate whose time is over.
    #[allow(clippy::disallowed_methods, reason = "a certificate's dates are the wall clock's")]
    pub(crate) fn issue_expired(&self, file: &str, common_name: &str, dns: &[&str]) -> Result<Files> {
        let now = SystemTime::now();
        let (day, leaf) = (Duration::from_secs(86_400), Leaf::new(common_name, dns));
        self.write(file, Leaf { not_before: now - 30 * day, not_after: now - day, ..leaf })
    }

    fn write(&self, file: &str, leaf: Leaf<'_>) -> Result<Files> {
        let identity = self.ca.issue(leaf)?;
        let (certificate, key) = (format!("{file}.pem"), format!("{file}.key"));
        write(self.dir, &certificate, &identity.chain_pem())?;
        write(self.dir, &key, &identity.key_pem())?;
        Ok(Files { certificate: self.dir.join(certificate), key: self.dir.join(key) })
    }

    fn tls(&self, file: &str, common_name: &str, dns: &[&str]) -> Result<Tls> {
        let Files { certificate, key } = self.issue(file, common_name, dns)?;
        Ok(Tls::new(certificate, key, self.dir.join("ca.pem")))
    }
}

/// The three configurations.
pub(crate) struct Configurations {
    /// Home and edge of the organisation.
    pub(crate) contoso: Raw,
    /// The publisher's edge.
    pub(crate) edge: Raw,
    /// The publisher's clearing house.
    pub(crate) house: Raw,
}

/// Makes all configurations and writes them where `reveille serve -c` finds them.
pub(crate) fn configurations(office: &Office<'_>, at: Addresses, apns: SocketAddr) -> Result<Configurations> {
    let name = |text: &str| text.parse().with_context(|| format!("the demo's own name {text}"));
    let dir = office.dir;
    let resolver = Resolver {
        name_servers: Vec::new(),
        hosts: [
            ("edge.contoso.com", at.contoso_edge()),
            (DOCUMENTED_EDGES[0], at.contoso_edge_internal()),
            (DOCUMENTED_EDGES[1], at.contoso_edge_internal()),
            ("home.contoso.com", at.home_tls()),
            (DOCUMENTED_HOME, at.home_tls()),
            (TURN_NAME, at.turn()),
            ("edge.push.example.net", at.publisher_edge()),
            ("sipfed.online.lync.com", at.publisher_edge()),
        ]
        .into_iter()
        .map(|(host, address)| Ok((name(host)?, vec![address.ip()])))
        .collect::<Result<_>>()?,
        srv: [
            ("_sipfederationtls._tcp.contoso.com", "edge.contoso.com"),
            ("_sipfederationtls._tcp.litwareinc.com", "edge.contoso.com"),
            ("_sipfederationtls._tcp.push.example.net", "edge.push.example.net"),
            ("_sipfederationtls._tcp.push.lync.com", "sipfed.online.lync.com"),
        ]
        .into_iter()
        .map(|(owner, target)| {
            Ok(SrvRecord { owner: name(owner)?, target: name(target)?, port: 5061, priority: 0, weight: 0 })
        })
        .collect::<Result<_>>()?,
    };
    let log = Log::default();
    let users = USERS.iter().map(|(user, password)| format!("[users.{user}]\npassword = \"{password}\"\n\n"));
    write(dir, "users.toml", &users.collect::<String>())?;
    let mut contoso_edge_names = vec!["edge.contoso.com", CONTOSO, LITWARE];
    contoso_edge_names.extend(DOCUMENTED_EDGES);
    let contoso = Raw {
        sites: Vec::new(),
        admin: None,
        store: Store { dir: dir.join("contoso"), settings: None },
        log: log.clone(),
        ops: Some(Ops { listen: at.home_ops() }),
        resolver: resolver.clone(),
        home: Some(Home {
            domain: name(CONTOSO)?,
            also_domains: vec![name(LITWARE)?],
            name: name("home.contoso.com")?,
            also_named: vec![name(DOCUMENTED_HOME)?],
            site: "Redmond".into(),
            tls: office.tls(
                "home.contoso.com",
                "home.contoso.com",
                &["home.contoso.com", CONTOSO, LITWARE, DOCUMENTED_HOME],
            )?,
            sip_udp: Some(at.home_plain()),
            sip_tcp: Some(at.home_plain()),
            sip_tls: Some(at.home_tls()),
            sip_ws: Some(at.home_ws()),
            sip_wss: Some(at.home_wss()),
            ws_origins: Vec::new(),
            api: Some(at.home_api()),
            internal: at.home_internal(),
            edge: Hop {
                name: name("edge.contoso.com")?,
                address: at.contoso_edge_internal(),
                // What the documents call its inner side.
                also: vec![name("accessproxy.contoso.com")?, name("atl-edge-001.litwareinc.com")?],
            },
            trusted_proxies: Vec::new(),
            users: dir.join("users.toml"),
            // So that SIPp, which looks at the first challenge only, can join.
            digests: vec![Digest::Md5, Digest::Sha256],
            grace_ms: 300,
        }),
        edge: Some(Edge {
            name: name("edge.contoso.com")?,
            tls: office.tls("edge.contoso.com", "edge.contoso.com", &contoso_edge_names)?,
            internal_tls: None,
            limits: EdgeLimits::default(),
            av: Some(media_relay(office, at)?),
            external: at.contoso_edge(),
            internal: at.contoso_edge_internal(),
            inside: vec![name("home.contoso.com")?],
            domains: [CONTOSO, LITWARE]
                .into_iter()
                .map(|domain| {
                    let address = at.home_internal();
                    Ok(ServedDomain { domain: name(domain)?, name: name("home.contoso.com")?, address })
                })
                .collect::<Result<_>>()?,
        }),
        clearinghouse: None,
    };
    let publisher_settings = Some(dir.join("publisher").join("settings.db"));
    let served = |domain: &str| -> Result<ServedDomain> {
        Ok(ServedDomain { domain: name(domain)?, name: name("house.push.example.net")?, address: at.house() })
    };
    let edge = Raw {
        sites: Vec::new(),
        // Beside that of the clearing house, which has the usual name.
        admin: Some(Admin { socket: Some(dir.join("publisher").join("admin").join("edge.sock")), ..Admin::default() }),
        store: Store { dir: dir.join("publisher"), settings: publisher_settings.clone() },
        log: log.clone(),
        ops: Some(Ops { listen: at.publisher_edge_ops() }),
        resolver,
        home: None,
        edge: Some(Edge {
            name: name("edge.push.example.net")?,
            tls: office.tls(
                "edge.push.example.net",
                "edge.push.example.net",
                &["edge.push.example.net", PUBLISHER, "push.lync.com", "sipfed.online.lync.com"],
            )?,
            internal_tls: None,
            limits: EdgeLimits::default(),
            av: None,
            external: at.publisher_edge(),
            internal: at.publisher_edge_internal(),
            inside: vec![name("house.push.example.net")?],
            domains: vec![served(PUBLISHER)?, served("push.lync.com")?],
        }),
        clearinghouse: None,
    };
    let mut apps: Vec<App> = APNS_APPS
        .iter()
        .map(|app| App {
            provider: Provider::Apns,
            app: (*app).into(),
            environment: Environment::Production,
            credential: dir.join("apns.p8"),
            team: Some(TEAM.into()),
            key_id: Some(KEY_ID.into()),
            server: Some(apns.to_string()),
            roots: Some(dir.join("ca.pem")),
            connections: 2,
            connections_max: 8,
        })
        .collect();
    apps.push(App {
        provider: Provider::Fcm,
        app: FCM_PROJECT.into(),
        environment: Environment::Production,
        credential: dir.join("service-account.json"),
        team: None,
        key_id: None,
        server: Some(at.simulators(8444).to_string()),
        roots: Some(dir.join("ca.pem")),
        connections: 2,
        connections_max: 8,
    });
    let house = Raw {
        sites: Vec::new(),
        admin: None,
        store: Store { dir: dir.join("publisher"), settings: publisher_settings },
        log,
        ops: Some(Ops { listen: at.house_ops() }),
        resolver: Resolver::default(),
        home: None,
        edge: None,
        clearinghouse: Some(ClearingHouse {
            name: name("house.push.example.net")?,
            domain: name(PUBLISHER)?,
            also_domains: vec![name("push.lync.com")?],
            tls: office.tls("house.push.example.net", "house.push.example.net", &["house.push.example.net"])?,
            listen: at.house(),
            edges: vec![name("edge.push.example.net")?],
            edge: Hop { name: name("edge.push.example.net")?, address: at.publisher_edge_internal(), also: Vec::new() },
            handles: Some(HandleKeys { keys: dir.join("handle-keys"), keep_days: 90 }),
            proxies: Proxies::default(),
            rest: None,
            apps,
        }),
    };
    for (file, raw) in [("contoso.toml", &contoso), ("publisher-edge.toml", &edge), ("clearinghouse.toml", &house)] {
        write(dir, file, &toml::to_string_pretty(raw)?)?;
    }
    Ok(Configurations { contoso, edge, house })
}

/// The secret that contoso's edge and the demo's TURN server share.
pub(crate) const TURN_SECRET: &str = "demo-turn-secret";

/// Contoso's A/V edge: the demo's own TURN server.
fn media_relay(office: &Office<'_>, at: Addresses) -> Result<Av> {
    write(office.dir, "turn.secret", TURN_SECRET)?;
    let port = Some(at.turn().port());
    Ok(Av {
        secret: office.dir.join("turn.secret"),
        life_min: 480,
        servers: vec![AvServer { host: TURN_NAME.into(), udp: port, tcp: port, tls: None }],
    })
}

/// What contoso.com wants: push for APNs and FCM, through its publisher, whom it allows.
pub(crate) const CONTOSO_SETTINGS: &str = r#"{
  "settings": [
    { "Kind": "AllowedDomain", "Identity": "push.example.net", "Comment": "our app's publisher, found by its SRV record" },
    { "Kind": "AccessEdgeConfiguration", "AllowFederatedUsers": true },
    { "Kind": "McxConfiguration", "Identity": "global", "PushNotificationProxyUri": "sip:push@push.example.net" },
    { "Kind": "PushNotificationConfiguration", "Identity": "global",
      "EnableApplePushNotificationService": true, "EnableGooglePushNotificationService": true }
  ]
}
"#;

/// What push.example.net wants: it serves contoso.com, whose edge it knows.
pub(crate) const PUBLISHER_SETTINGS: &str = r#"{
  "settings": [
    { "Kind": "AllowedDomain", "Identity": "contoso.com", "ProxyFqdn": "edge.contoso.com" },
    { "Kind": "AccessEdgeConfiguration", "AllowFederatedUsers": true },
    { "Kind": "PushApp", "Identity": "org.reveille.demo", "Serves": ["contoso.com"] },
    { "Kind": "PushApp", "Identity": "app", "Serves": ["contoso.com"] },
    { "Kind": "PushApp", "Identity": "reveille-demo", "Serves": ["contoso.com"] }
  ]
}
"#;

/// The records of one of the texts above.
pub(crate) fn settings(dir: &Path, file: &str, text: &str) -> Result<Vec<Setting>> {
    write(dir, file, text)?;
    Ok(reveille_server::settings_file::read(&dir.join(file))?)
}
