//! Names from a name server that others wrote: Knot DNS, with zones of the test's own, on a loopback port.
//!
//! `cargo xtask partners` installs it. Where it is missing the tests say so and are skipped, unless
//! REVEILLE_PARTNERS=required.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reveille_sip_net::{
    Asking, HickoryResolver, ListenLimits, Listener, Pool, PoolLimits, ResolveError, Resolver, Sent, Srv, Target,
    Transport, in_order, locate,
};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::support::{Fate, Fates, PATIENCE, Running, Witness, loopback, parcel, within};

const OWNER: &str = "_sipfederationtls._tcp.contoso.com";

/// A running knotd, stopped when dropped.
struct Knot {
    address: SocketAddr,
    folder: PathBuf,
    serial: u32,
    process: Child,
}

impl Knot {
    /// Starts it with these records of contoso.com, or says that there is none on this machine.
    async fn start(records: &str) -> Option<Self> {
        if !installed() {
            return None;
        }
        let folder =
            std::env::temp_dir().join(format!("reveille-knot-{}-{}", std::process::id(), rand::random::<u32>()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let address = free_port();
        let path = folder.display();
        // broken.com is configured and its file is not there: Knot answers SERVFAIL for it.
        let config = format!(
            "server:\n  listen: 127.0.0.1@{port}\n  rundir: {path}\n\
             control:\n  listen: {path}/knot.sock\n\
             database:\n  storage: {path}\n\
             log:\n  - target: stderr\n    any: error\n\
             zone:\n  - domain: contoso.com\n    storage: {path}\n    file: contoso.com.zone\n    journal-content: none\n\
             \x20 - domain: broken.com\n    storage: {path}\n    file: missing.zone\n",
            port = address.port()
        );
        std::fs::write(folder.join("knot.conf"), config).expect("a file");
        write_zone(&folder, 1, records);
        let process = Command::new("knotd")
            .env("PATH", path_with_sbin())
            .args(["-c", "knot.conf"])
            .current_dir(&folder)
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .expect("knotd starts");
        let knot = Self { address, folder, serial: 1, process };
        within(async {
            while knot.resolver(Asking { cache_records: 0, ..quick() }).addresses("ns.contoso.com").await.is_err() {
                sleep(Duration::from_millis(20)).await;
            }
        })
        .await;
        Some(knot)
    }

    fn resolver(&self, asking: Asking) -> HickoryResolver {
        HickoryResolver::at(&[self.address], asking).expect("a resolver")
    }

    /// Other records, from now on.
    fn change(&mut self, records: &str) {
        self.serial += 1;
        write_zone(&self.folder, self.serial, records);
        let told = Command::new("knotc")
            .env("PATH", path_with_sbin())
            .args(["-s", "knot.sock", "-b", "zone-reload", "contoso.com"])
            .current_dir(&self.folder)
            .stdout(Stdio::null())
            .status();
        assert!(told.is_ok_and(|status| status.success()), "knotc reloads the zone");
    }

    fn stop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Drop for Knot {
    fn drop(&mut self) {
        self.stop();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn write_zone(folder: &Path, serial: u32, records: &str) {
    let zone = format!(
        "$ORIGIN contoso.com.\n$TTL 300\n\
         @ SOA ns.contoso.com. admin.contoso.com. {serial} 3600 600 86400 1\n\
         @ NS ns.contoso.com.\nns A 127.0.0.1\n{records}\n"
    );
    std::fs::write(folder.join("contoso.com.zone"), zone).expect("a file");
}

/// Debian keeps servers where only root looks.
fn path_with_sbin() -> String {
    format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default())
}

#[allow(clippy::print_stderr, reason = "who reads the test's output learns that it showed nothing")]
fn installed() -> bool {
    let is_there = path_with_sbin().split(':').any(|folder| Path::new(folder).join("knotd").is_file());
    if !is_there {
        let required = std::env::var("REVEILLE_PARTNERS").is_ok_and(|wish| wish == "required");
        assert!(!required, "knotd is not installed; `cargo xtask partners` installs it");
        eprintln!("skipped: knotd is not installed; `cargo xtask partners` installs it");
    }
    is_there
}

/// A port that nobody uses, neither over UDP nor over TCP.
fn free_port() -> SocketAddr {
    loop {
        let tcp = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = tcp.local_addr().expect("an address");
        if std::net::UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

fn quick() -> Asking {
    Asking { timeout: Duration::from_millis(500), attempts: 1, ..Asking::default() }
}

fn patient() -> Asking {
    Asking { timeout: Duration::from_secs(5), attempts: 2, ..Asking::default() }
}

#[tokio::test]
async fn each_way_to_have_no_answer_is_told_apart() {
    let records = "edge A 192.0.2.1\n_sip._udp SRV 0 0 0 .";
    let Some(knot) = Knot::start(records).await else { return };
    let resolver = knot.resolver(patient());
    let name = |text: &str| text.to_owned();
    let rows = [
        (
            "_sip._tls.nowhere.contoso.com",
            ResolveError::NoSuchName { name: name("_sip._tls.nowhere.contoso.com") },
            false,
        ),
        ("edge.contoso.com", ResolveError::NoRecords { name: name("edge.contoso.com"), kind: "SRV" }, false),
        ("_sip._udp.contoso.com", ResolveError::NotOffered { name: name("_sip._udp.contoso.com") }, false),
        ("_sip._tls.fabrikam.com", ResolveError::Refused { name: name("_sip._tls.fabrikam.com") }, true),
    ];
    for (owner, expected, passing) in rows {
        let error = within(resolver.srv(owner)).await.expect_err(owner);
        assert_eq!((&error, error.is_passing()), (&expected, passing));
    }
    let failed = within(resolver.srv("_sip._tls.broken.com")).await.expect_err("SERVFAIL");
    assert!(matches!(&failed, ResolveError::ServerFailed { .. }) && failed.is_passing(), "{failed}");
    assert!(failed.to_string().starts_with("the name server failed on _sip._tls.broken.com: "), "{failed}");
    // Nobody listens there, and somebody who never answers; no way there at all is something else.
    let nobody = HickoryResolver::at(&[free_port()], quick()).expect("a resolver");
    assert_eq!(within(nobody.srv(OWNER)).await, Err(ResolveError::TimedOut { name: name(OWNER) }));
    let no_way = HickoryResolver::at(&[([255, 255, 255, 255], 53).into()], quick()).expect("a resolver");
    let error = within(no_way.srv(OWNER)).await.expect_err("no way");
    assert!(matches!(error, ResolveError::Unreachable { .. }), "{error:?}");
    let silent = std::net::UdpSocket::bind(loopback()).expect("a port");
    let mute = HickoryResolver::at(&[silent.local_addr().expect("an address")], quick()).expect("a resolver");
    let error = within(mute.srv(OWNER)).await.expect_err("silence");
    assert_eq!(error, ResolveError::TimedOut { name: name(OWNER) });
    let sentences = [error.advice(), failed.advice(), ResolveError::NoSuchName { name: String::new() }.advice()];
    assert!(sentences[0] != sentences[1] && sentences[1] != sentences[2], "each has its own remedy");
}

#[tokio::test]
async fn equals_are_drawn_by_their_weight() {
    let records = "_sipfederationtls._tcp SRV 10 60 5061 a\n_sipfederationtls._tcp SRV 10 30 5061 b\n\
                   _sipfederationtls._tcp SRV 10 10 5061 c\n_sipfederationtls._tcp SRV 20 100 5061 d";
    let Some(knot) = Knot::start(records).await else { return };
    let found: Vec<Srv> = within(knot.resolver(patient()).srv(OWNER)).await.expect("records");
    assert_eq!(found.len(), 4);
    // Each number that can be drawn, once: RFC 2782 draws from 0 to the sum of the weights, so the first has one more.
    let mut firsts = [0_u32; 3];
    for drawn in 0..=100 {
        let mut draws = std::iter::once(drawn).chain(std::iter::repeat(0));
        let mut sums = Vec::new();
        let order = in_order(found.clone(), |most| {
            sums.push(most);
            draws.next().expect("endless")
        });
        assert_eq!(sums[0], 100, "the sum of the weights of the best priority");
        let at = ["a.contoso.com", "b.contoso.com", "c.contoso.com"].iter().position(|name| *name == order[0].target);
        firsts[at.expect("one of the best priority comes first")] += 1;
        assert_eq!(order[3].target, "d.contoso.com", "a lower priority comes last, whatever its weight");
    }
    let more: Vec<u32> = firsts.iter().zip([60, 30, 10]).map(|(count, weight)| count - weight).collect();
    assert!(more.iter().sum::<u32>() == 1, "{firsts:?}");
}

#[tokio::test]
async fn an_answer_is_kept_for_its_time_and_not_longer() {
    let srv = |target: &str| format!("_sipfederationtls._tcp 2 SRV 10 0 5061 {target}");
    let Some(mut knot) = Knot::start(&srv("old")).await else { return };
    let resolver = knot.resolver(quick());
    let target =
        async |resolver: &HickoryResolver| within(resolver.srv(OWNER)).await.map(|found| found[0].target.clone());
    assert_eq!(target(&resolver).await.as_deref(), Ok("old.contoso.com"));
    let asked = Instant::now();
    let gone = within(resolver.srv("_later._tcp.contoso.com")).await;
    assert!(matches!(gone, Err(ResolveError::NoSuchName { .. })), "{gone:?}");
    knot.change(&format!("{}\n_later._tcp 2 SRV 10 0 5061 later", srv("new")));
    // Whoever looks afresh need not wait for it.
    let afresh = resolver.afresh().expect("answers are kept");
    let now = within(afresh.srv(OWNER)).await.expect("a record");
    assert_eq!(now[0].target, "new.contoso.com");
    // Old until its time is over, then new: and the change is seen, also where there was nothing.
    let deadline = asked + PATIENCE;
    loop {
        let found = target(&resolver).await.expect("a record");
        if found == "new.contoso.com" {
            assert!(asked.elapsed() >= Duration::from_secs(1), "forgotten too early");
            break;
        }
        assert_eq!(found, "old.contoso.com");
        assert!(Instant::now() < deadline, "the change is never seen");
        sleep(Duration::from_millis(50)).await;
    }
    within(async {
        while resolver.srv("_later._tcp.contoso.com").await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    // Without a name server what is kept still serves, and ends with its time: no stale answers.
    assert!(target(&resolver).await.is_ok());
    knot.stop();
    let error = loop {
        match target(&resolver).await {
            Ok(found) => assert_eq!(found, "new.contoso.com"),
            Err(error) => break error,
        }
        assert!(Instant::now() < deadline, "an answer is kept for ever");
        sleep(Duration::from_millis(50)).await;
    };
    assert!(error.is_passing(), "{error}");
}

#[tokio::test]
async fn the_second_server_serves_while_the_first_is_down_and_the_first_again_when_it_is_back() {
    let first = free_port();
    let mut second = Running::tcp(ListenLimits::default());
    let records = format!(
        "_sipfederationtls._tcp SRV 10 0 {} first\n_sipfederationtls._tcp SRV 20 0 {} second\n\
         first A 127.0.0.1\nsecond A 127.0.0.1",
        first.port(),
        second.address.port()
    );
    let Some(knot) = Knot::start(&records).await else { return };
    let resolver = knot.resolver(patient());
    let found = within(resolver.srv(OWNER)).await.expect("records");
    let located = within(locate(&resolver, &found)).await.expect("servers");
    assert_eq!((located.servers.len(), located.missing.len()), (2, 0));
    assert!((299..=300).contains(&located.ttl), "{}", located.ttl);
    let hop = Target::served_by("contoso.com", located.servers, Transport::Tcp);
    let limits = PoolLimits {
        connections_per_target: 1,
        failure_pause: Duration::from_millis(1),
        failure_pause_max: Duration::from_millis(50),
        ..PoolLimits::default()
    };
    let ((witness, _seen), (senders, mut fates)) = (Witness::new(), Fates::new());
    let pool = Pool::new(witness, senders, None, None, limits, CancellationToken::new());
    assert!(matches!(pool.send(&hop, parcel(1)), Ok(Sent::Waiting)));
    assert_eq!(within(fates.recv()).await, Some(Fate::Sent(1)));
    assert_eq!(second.messages(1).await.0.len(), 1);
    let state = pool.state(&hop).expect("it is known");
    let failing: Vec<SocketAddr> =
        state.addresses.iter().filter(|one| one.failures.is_some()).map(|one| one.address).collect();
    assert_eq!(failing, [first]);
    // The first comes back: it is found beside the second's connection, and nothing is lost meanwhile.
    let mut back =
        Running::start(Listener::tcp(first, ListenLimits::default()).expect("its port"), Witness::answering());
    let mut number = 1;
    within(async {
        loop {
            number += 1;
            match pool.send(&hop, parcel(number)) {
                Ok(Sent::On(flow)) if flow.remote() == first && flow.has_heard() => break,
                Ok(Sent::On(_)) => sleep(Duration::from_millis(5)).await,
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    let at_first = back.messages(1).await.0.len();
    assert!(at_first >= 1 && pool.state(&hop).is_some_and(|state| state.addresses[0].failures.is_none()));
}
