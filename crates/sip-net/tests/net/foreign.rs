//! Every kind of refusal with OpenSSL at the other end, in both directions, with TLS 1.2 and 1.3: what it does on the
//! wire is what partners do. Skipped, and said so, where there is no `openssl`, unless REVEILLE_PARTNERS=required.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};

use rcgen::ExtendedKeyUsagePurpose;
use reveille_sip_net::{
    ClientAuth, ConnectError, HandshakeRefusal, Identity, ListenLimits, Pool, PoolLimits, RefusedBy, TlsClient,
    Transport, TrustRoots,
};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::support::{Authority, Fate, Fates, Running, Seen, Wish, Witness, parcel, server, target, within};

/// Whether OpenSSL is there; tests without it are skipped.
fn here() -> bool {
    let found = std::process::Command::new("openssl").arg("version").output().is_ok_and(|done| done.status.success());
    let required = std::env::var_os("REVEILLE_PARTNERS").is_some_and(|word| word == "required");
    assert!(found || !required, "openssl is not installed");
    found
}

/// A folder of one test with what OpenSSL reads.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("openssl-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("room on the disk");
        path.display().to_string()
    }

    /// The arguments that show a certificate.
    fn showing(&self, (chain, key): &(String, String)) -> Vec<String> {
        let (certificate, key) = (self.write("own.pem", chain), self.write("own.key", key));
        ["-cert", &certificate, "-cert_chain", &certificate, "-key", &key].map(str::to_owned).to_vec()
    }

    /// The arguments that trust an authority.
    fn trusting(&self, authority: &Authority) -> Vec<String> {
        let file = self.write("ca.pem", &authority.pem);
        ["-CAfile", &file, "-verify_return_error"].map(str::to_owned).to_vec()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// OpenSSL at work, which ends with this value.
fn openssl(args: &[String]) -> Child {
    let mut command = Command::new("openssl");
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
    command.spawn().expect("openssl starts")
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

const VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];

/// What a row of the tables expects.
#[derive(Clone, Copy)]
struct Wanted {
    label: &'static str,
    by: RefusedBy,
    /// In the sentence.
    says: &'static str,
    /// In the subject of the certificate that the refusal shows; empty if it shows none.
    shows: &'static str,
}

fn compare(row: &str, version: &str, refusal: &HandshakeRefusal, wanted: Wanted) {
    let Wanted { label, by, says, shows } = wanted;
    assert_eq!(refusal.label(), label, "{row} {version}: {refusal:?}");
    assert_eq!(refusal.refused_by(), by, "{row} {version}: {refusal:?}");
    assert!(refusal.to_string().contains(says), "{row} {version}: {refusal}");
    assert!(!refusal.advice().is_empty(), "{row} {version}");
    match refusal.certificate() {
        Some(certificate) => {
            assert!(!shows.is_empty() && certificate.subject.contains(shows), "{row} {version}: {certificate}");
            assert!(certificate.sha256_fingerprint.len() == 64 && !certificate.serial_hex.is_empty());
        }
        None => assert_eq!(shows, "", "{row} {version}: no certificate is told"),
    }
}

const US: RefusedBy = RefusedBy::Us;
const PEER: RefusedBy = RefusedBy::Peer;

/// How a client that is OpenSSL differs from one that would be taken.
#[derive(Default)]
struct Client {
    wish: Option<Wish>,
    silent: bool,
    of_another: bool,
    distrusts: bool,
    extra: &'static str,
    ours: Option<Wish>,
}

#[tokio::test]
async fn a_client_that_is_openssl_is_refused_or_refuses_and_both_are_told() {
    if !here() {
        return;
    }
    let expired = || Wish { dns: vec!["fabrikam.com"], years: Some((2020, 2021)), ..Wish::default() };
    let early = || Wish { dns: vec!["fabrikam.com"], years: Some((2080, 2090)), ..Wish::default() };
    let revoked = || Wish { dns: vec!["fabrikam.com"], serial: 13, ..Wish::default() };
    let signer =
        || Wish { dns: vec!["fabrikam.com"], purposes: vec![ExtendedKeyUsagePurpose::CodeSigning], ..Wish::default() };
    let old_edge = || Wish { dns: vec!["edge.contoso.com"], years: Some((2020, 2021)), ..Wish::default() };
    let of = |wish| Client { wish: Some(wish), ..Client::default() };
    let wanted = |label, by, says, shows| Wanted { label, by, says, shows };
    let rows: Vec<(&str, Client, Wanted)> = vec![
        (
            "shows none",
            Client { silent: true, ..Client::default() },
            wanted("no-certificate", US, "presented no certificate", ""),
        ),
        ("expired", of(expired()), wanted("expired", US, "expired on Jan  1 00:00:00 2021", "fabrikam.com")),
        ("not yet", of(early()), wanted("not-yet-valid", US, "not valid before Jan  1 00:00:00 2080", "fabrikam.com")),
        ("revoked", of(revoked()), wanted("revoked", US, "serial number 2a0d was revoked", "fabrikam.com")),
        ("signs code", of(signer()), wanted("not-for-this-purpose", US, "may not be used", "fabrikam.com")),
        (
            "of another authority",
            Client { of_another: true, ..Client::default() },
            wanted("unknown-issuer", US, "was issued by CN=Other CA", "fabrikam.com"),
        ),
        (
            "does not trust us",
            Client { distrusts: true, ..Client::default() },
            wanted(
                "peer-rejected-ours",
                PEER,
                "the peer does not trust our certificate (alert unknown_ca)",
                "edge.contoso.com",
            ),
        ),
        (
            "looks for another",
            Client { extra: "-verify_hostname push.example.net", ..Client::default() },
            wanted("peer-rejected-ours", PEER, "naming somebody else (alert bad_certificate)", "edge.contoso.com"),
        ),
        (
            "finds ours expired",
            Client { ours: Some(old_edge()), ..Client::default() },
            wanted("peer-rejected-ours", PEER, "has expired (alert certificate_expired)", "edge.contoso.com"),
        ),
    ];
    for version in VERSIONS {
        for (row, client, wanted) in &rows {
            compare(row, version, &accepted(version, client).await, *wanted);
        }
    }
    let old = Client { extra: "-tls1_1 -cipher DEFAULT@SECLEVEL=0", ..Client::default() };
    let refusal = accepted("", &old).await;
    assert_eq!(refusal.label(), "no-common-ground", "TLS 1.1: {refusal:?}");
}

/// What our listener says of such a client.
async fn accepted(version: &str, client: &Client) -> HandshakeRefusal {
    let (folder, authority, other) = (Folder::new(), Authority::new("Contoso CA"), Authority::new("Other CA"));
    let list = authority.list(&[13], (2021, 2090));
    let roots = authority.roots().with_revocations(list.der()).expect("a list");
    let usual = Wish { dns: vec!["edge.contoso.com"], ..Wish::default() };
    let ours = authority.issue(client.ours.as_ref().unwrap_or(&usual));
    let mut listener = Running::tls(server(&ours, ClientAuth::Required, &roots), ListenLimits::default());
    let mut args = words(&format!("s_client -connect {} {version} {} -quiet", listener.address, client.extra));
    let issuer = if client.of_another { &other } else { &authority };
    let usual = Wish { dns: vec!["fabrikam.com"], ..Wish::default() };
    if !client.silent {
        args.extend(folder.showing(&issuer.issue_pem(client.wish.as_ref().unwrap_or(&usual))));
    }
    args.extend(folder.trusting(if client.distrusts { &other } else { &authority }));
    let _client = openssl(&args);
    listener.refused().await
}

/// How a server that is OpenSSL differs from one that would take us.
#[derive(Default)]
struct Server {
    wish: Option<Wish>,
    of_another: bool,
    distrusts: bool,
    lists: bool,
    ours: Option<Wish>,
    we_show_none: bool,
}

#[tokio::test]
async fn a_server_that_is_openssl_is_refused_or_refuses_and_both_are_told() {
    if !here() {
        return;
    }
    let named = |dns| Wish { dns: vec![dns], ..Wish::default() };
    let expired = |dns| Wish { dns: vec![dns], years: Some((2020, 2021)), ..Wish::default() };
    let client_only = || Wish {
        dns: vec!["push.example.net"],
        purposes: vec![ExtendedKeyUsagePurpose::ClientAuth],
        ..Wish::default()
    };
    let of = |wish| Server { wish: Some(wish), ..Server::default() };
    let ours = |wish| Server { ours: Some(wish), ..Server::default() };
    let wanted = |label, by, says, shows| Wanted { label, by, says, shows };
    let rows: Vec<(&str, Server, Wanted)> = vec![
        (
            "names another",
            of(named("fabrikam.com")),
            wanted("names-another", US, "names fabrikam.com, not push.example.net", "fabrikam.com"),
        ),
        ("expired", of(expired("push.example.net")), wanted("expired", US, "expired on", "push.example.net")),
        ("is a client", of(client_only()), wanted("not-for-this-purpose", US, "may not be used", "push.example.net")),
        (
            "of another authority",
            Server { of_another: true, ..Server::default() },
            wanted("unknown-issuer", US, "was issued by CN=Other CA", "push.example.net"),
        ),
        (
            "does not trust us",
            Server { distrusts: true, ..Server::default() },
            wanted(
                "peer-rejected-ours",
                PEER,
                "the peer does not trust our certificate (alert unknown_ca)",
                "edge.contoso.com",
            ),
        ),
        (
            "finds ours expired",
            ours(expired("edge.contoso.com")),
            wanted("peer-rejected-ours", PEER, "has expired (alert certificate_expired)", "edge.contoso.com"),
        ),
        (
            "has ours on its list",
            Server { lists: true, ours: Some(Wish { serial: 13, ..named("edge.contoso.com") }), ..Server::default() },
            wanted("peer-rejected-ours", PEER, "was revoked (alert certificate_revoked)", "edge.contoso.com"),
        ),
    ];
    for version in VERSIONS {
        for (row, server, wanted) in &rows {
            compare(row, version, &connected(version, server).await, *wanted);
        }
    }
    let none = || Server { we_show_none: true, ..Server::default() };
    let refusal = connected("-tls1_3", &none()).await;
    let says = "the peer wants a certificate and we presented none (alert certificate_required)";
    compare("we show none", "-tls1_3", &refusal, wanted("peer-rejected-ours", PEER, says, ""));
    let old = connected("-tls1_1 -cipher DEFAULT@SECLEVEL=0", &Server::default()).await;
    compare("is old", "", &old, wanted("no-common-ground", RefusedBy::Nobody, "alert protocol_version", ""));
    // TLS 1.2 has no alert for it.
    let refusal = connected("-tls1_2", &none()).await;
    assert!(refusal.to_string().contains("alert handshake_failure"), "{refusal}");
}

/// What our pool says of such a server, whenever it comes to say so: with TLS 1.3 a server judges us after our handshake.
async fn connected(version: &str, server: &Server) -> HandshakeRefusal {
    let (folder, authority, other) = (Folder::new(), Authority::new("Contoso CA"), Authority::new("Other CA"));
    let usual = Wish { dns: vec!["push.example.net"], ..Wish::default() };
    let issuer = if server.of_another { &other } else { &authority };
    let mut args = words(&format!("s_server -accept 127.0.0.1:0 {version} -Verify 3 -quiet"));
    args.extend(folder.showing(&issuer.issue_pem(server.wish.as_ref().unwrap_or(&usual))));
    args.extend(folder.trusting(if server.distrusts { &other } else { &authority }));
    if server.lists {
        let list = authority.list(&[13], (2021, 2090)).pem().expect("PEM");
        args.extend(["-CRL".into(), folder.write("ca.crl", &list), "-crl_check".into()]);
    }
    // Without -quiet it says where it listens.
    args.retain(|word| word != "-quiet");
    let mut process = openssl(&args);
    let mut said = BufReader::new(process.stdout.take().expect("its output")).lines();
    let address = loop {
        let line = within(said.next_line()).await.expect("its output").expect("it goes on");
        if let Some(address) = line.strip_prefix("ACCEPT ") {
            break address.parse().expect("an address");
        }
    };
    let usual = Wish { dns: vec!["edge.contoso.com"], ..Wish::default() };
    let ours: Option<Identity> =
        (!server.we_show_none).then(|| authority.issue(server.ours.as_ref().unwrap_or(&usual)));
    let client = TlsClient::new(ours.as_ref(), &authority.roots());
    refusal_of_pool(client, address).await
}

/// Sends one message, and answers the refusal that its sender and the handler were told.
async fn refusal_of_pool(client: TlsClient, address: std::net::SocketAddr) -> HandshakeRefusal {
    let ((witness, mut seen), (fates, mut told)) = (Witness::new(), Fates::new());
    let stop = CancellationToken::new();
    let pool = Pool::new(witness, fates, Some(client.into()), None, PoolLimits::default(), stop.clone());
    pool.send(&target("push.example.net", address, Transport::Tls), parcel(1)).expect("it waits");
    let refusal = loop {
        match within(told.recv()).await.expect("its fate") {
            Fate::Sent(_) => {}
            Fate::Failed(1, ConnectError::Tls { refusal, .. }) => break *refusal,
            other => panic!("{other:?}"),
        }
    };
    loop {
        if let Seen::Refused(same) = within(seen.recv()).await.expect("the handler is told too") {
            assert_eq!(same, refusal);
            break;
        }
    }
    stop.cancel();
    within(pool.finish()).await;
    refusal
}

/// A certificate of OpenSSL's own making, with its key; it is its own authority.
async fn made(folder: &Folder, how: &str) -> (String, String) {
    let (certificate, key) = (folder.0.join("made.pem"), folder.0.join("made.key"));
    let mut args = words(&format!("req -x509 -nodes -days 30 -subj /CN=push.example.net {how}"));
    args.extend(["-addext".into(), "subjectAltName=DNS:push.example.net".into()]);
    // An authority's own certificate may not stand for a server.
    args.extend(["-addext".into(), "basicConstraints=critical,CA:FALSE".into()]);
    args.extend(["-keyout".into(), key.display().to_string(), "-out".into(), certificate.display().to_string()]);
    let done = within(openssl(&args).wait()).await.expect("openssl ends");
    assert!(done.success(), "{how}");
    let read = |path| std::fs::read_to_string(path).expect("a file of openssl's");
    (read(&certificate), read(&key))
}

#[tokio::test]
async fn keys_that_are_too_short_are_told_as_such() {
    if !here() {
        return;
    }
    let (folder, authority) = (Folder::new(), Authority::new("Contoso CA"));
    let (certificate, key) = made(&folder, "-newkey rsa:1024").await;
    let both = TrustRoots::from_pem((certificate.clone() + &authority.pem).as_bytes()).expect("roots");
    let listener = Running::tls(
        server(&authority.named("edge.contoso.com"), ClientAuth::Required, &both),
        ListenLimits::default(),
    );
    let mut listener = listener;
    let mut args = words(&format!("s_client -connect {} -quiet -cipher DEFAULT@SECLEVEL=0", listener.address));
    args.extend(folder.showing(&(certificate, key)));
    args.extend(folder.trusting(&authority));
    let _client = openssl(&args);
    let refusal = listener.refused().await;
    let Some(shown) = refusal.certificate() else { panic!("{refusal:?}") };
    assert_eq!(shown.rsa_bits, Some(1024));
    assert!(refusal.to_string().contains("its RSA key has 1024 bits"), "{refusal}");
}

#[tokio::test]
async fn a_server_that_drops_us_without_a_word_has_most_likely_seen_enough_of_our_certificate() {
    let authority = Authority::new("Contoso CA");
    let dropping = server(&authority.named("push.example.net"), ClientAuth::Required, &authority.roots());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let dropped = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a guest");
        let (stream, _) = dropping.accept(stream).await.expect("a handshake");
        // As lync.md §3.2 has it: a reset, Winsock's 10054.
        socket2::SockRef::from(stream.get_ref().0).set_linger(Some(std::time::Duration::ZERO)).expect("a socket");
    });
    let client = TlsClient::new(Some(&authority.named("edge.contoso.com")), &authority.roots());
    let refusal = refusal_of_pool(client, address).await;
    within(dropped).await.expect("it ends well");
    assert_eq!((refusal.label(), refusal.refused_by()), ("dropped-ours", PEER), "{refusal:?}");
    assert!(refusal.to_string().contains("without a word after it had seen our certificate, CN=edge.contoso.com"));
    assert!(refusal.advice().contains("does not trust the authority that issued our certificate"));
}

#[tokio::test]
async fn a_client_that_drops_us_having_seen_our_certificate_is_told_from_one_that_only_knocks() {
    use std::io::Write as _;
    let authority = Authority::new("Contoso CA");
    let ours = server(&authority.named("edge.contoso.com"), ClientAuth::Required, &authority.roots());
    let mut listener = Running::tls(ours, ListenLimits::default());
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = "edge.contoso.com".try_into().expect("a name");
    let mut hello = rustls::ClientConnection::new(config.into(), name).expect("a client");
    let address = listener.address;
    let knocking = tokio::task::spawn_blocking(move || {
        let mut stream = std::net::TcpStream::connect(address).expect("a connection");
        hello.write_tls(&mut stream).expect("room to write");
        stream.flush().expect("room to write");
        // Something of the server's answer, which holds its certificate, has come; it is not even read.
        stream.peek(&mut [0]).expect("an answer");
    });
    within(knocking).await.expect("it ends well");
    let refusal = listener.refused().await;
    assert_eq!((refusal.label(), refusal.refused_by()), ("dropped-ours", PEER), "{refusal:?}");
    assert!(refusal.certificate().is_some_and(|ours| ours.names("edge.contoso.com")));
    drop(std::net::TcpStream::connect(address).expect("a connection"));
    let refusal = listener.refused().await;
    assert_eq!((refusal.label(), refusal.refused_by()), ("hung-up", RefusedBy::Nobody), "{refusal:?}");
}

#[tokio::test]
async fn trust_in_those_who_call_is_not_trust_in_those_we_call() {
    let (theirs, ours) = (Authority::new("Partners CA"), Authority::new("Public CA"));
    let edge = theirs.named("fabrikam.com");
    let listener = Running::tls(server(&edge, ClientAuth::Required, &theirs.roots()), ListenLimits::default());
    let client = TlsClient::new(Some(&theirs.named("edge.contoso.com")), &ours.roots());
    let stream = crate::support::Raw::connect(listener.address).await.0;
    let refusal = within(client.connect(stream, "fabrikam.com")).await.err();
    assert!(matches!(&refusal, Some(HandshakeRefusal::UnknownIssuer { .. })), "{refusal:?}");
}
