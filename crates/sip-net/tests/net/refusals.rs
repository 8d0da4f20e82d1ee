//! Each way in which a handshake fails is told apart, on both sides.

use std::time::Duration;

use rcgen::ExtendedKeyUsagePurpose;
use reveille_sip_net::{
    Blame, ClientAuth, ConnectError, ConnectTimes, HandshakeRefusal, Identity, ListenLimits, Side, Stage, TlsClient,
    TlsServer, TlsSetupError, Transport, TrustRoots, Wire, connect,
};
use rustls::AlertDescription;

use crate::support::{Authority, Raw, Running, Seen, Wish, request, server, target, within};

const TIMES: ConnectTimes = ConnectTimes { connect: Duration::from_secs(10), handshake: Duration::from_secs(10) };

/// Our side of every test: edge.contoso.com, trusting `authority` only.
struct Scene {
    authority: Authority,
    listener: Running,
}

impl Scene {
    fn new() -> Self {
        Self::with(ClientAuth::Required, ListenLimits::default(), |_| {})
    }

    fn with(client_auth: ClientAuth, limits: ListenLimits, change: impl FnOnce(&mut TrustRoots)) -> Self {
        let authority = Authority::new("Contoso CA");
        let mut roots = authority.roots();
        change(&mut roots);
        let server = server(&authority.named("edge.contoso.com"), client_auth, &roots);
        Self { authority, listener: Running::tls(server, limits) }
    }

    /// What a client with this identity and these roots meets.
    async fn meet(&self, identity: Option<&Identity>, roots: &TrustRoots) -> Result<Wire, ConnectError> {
        let client = TlsClient::new(identity, roots);
        let addresses = [self.listener.address];
        within(connect("edge.contoso.com", &addresses, Some(&client), TIMES)).await.map(|connected| connected.stream)
    }

    /// What our side says to a client with this identity. Its stream is held until our side has spoken.
    async fn refusal_of(&mut self, identity: Option<&Identity>) -> HandshakeRefusal {
        let _stream = self.meet(identity, &self.authority.roots()).await;
        self.listener.refused().await
    }
}

#[tokio::test]
async fn mutual_tls_tells_each_side_who_the_other_is() {
    let mut scene = Scene::new();
    let identity = scene.authority.issue(&Wish { sip_uri: Some("sip:fabrikam.com"), ..Wish::default() });
    let client = TlsClient::new(Some(&identity), &scene.authority.roots());
    let address = scene.listener.address;
    let connected = within(connect("Edge.Contoso.com.", &[address], Some(&client), TIMES)).await.expect("a connection");
    assert!(connected.peer.as_ref().is_some_and(|peer| peer.names("edge.contoso.com")));
    let Wire::Tls(stream) = connected.stream else { panic!("TLS was asked for") };
    let flow = scene.listener.opened().await;
    assert_eq!((flow.transport(), flow.side()), (Transport::Tls, Side::Accepted));
    assert_eq!(flow.remote(), connected.local);
    let peer = flow.peer().expect("a certificate").clone();
    assert!(peer.names("fabrikam.com") && !peer.names("contoso.com"));
    assert_eq!(peer.sha256_fingerprint, identity.certificate().sha256_fingerprint);
    let mut raw = Raw(stream);
    raw.write(&request(7)).await;
    assert!(raw.read(14).await.starts_with(b"SIP/2.0 200 OK"));
    scene.listener.end().await;
}

#[tokio::test]
async fn no_certificate() {
    let mut scene = Scene::new();
    let refusal = scene.refusal_of(None).await;
    assert_eq!(refusal, HandshakeRefusal::NoCertificate);
    assert_eq!(refusal.blame(), Blame::Peer);
}

#[tokio::test]
async fn no_certificate_is_fine_where_it_is_optional() {
    let mut scene = Scene::with(ClientAuth::Optional, ListenLimits::default(), |_| {});
    let _stream = scene.meet(None, &scene.authority.roots()).await.expect("a connection");
    assert_eq!(scene.listener.opened().await.peer(), None);
    let stranger = Authority::new("Other CA").named("fabrikam.com");
    assert!(matches!(scene.refusal_of(Some(&stranger)).await, HandshakeRefusal::UnknownIssuer { .. }));
}

#[tokio::test]
async fn expired() {
    let mut scene = Scene::new();
    let wish = Wish { dns: vec!["fabrikam.com"], years: Some((2020, 2021)), ..Wish::default() };
    let refusal = scene.refusal_of(Some(&scene.authority.issue(&wish))).await;
    let HandshakeRefusal::Expired { subject, not_after, .. } = &refusal else { panic!("{refusal:?}") };
    assert!(subject.contains("fabrikam.com"));
    assert_eq!(*not_after, 1_609_459_200, "2021-01-01");
    assert!(refusal.to_string().contains("2021"), "{refusal}");
}

#[tokio::test]
async fn not_yet_valid() {
    let mut scene = Scene::new();
    let wish = Wish { dns: vec!["fabrikam.com"], years: Some((2080, 2090)), ..Wish::default() };
    let refusal = scene.refusal_of(Some(&scene.authority.issue(&wish))).await;
    assert!(matches!(&refusal, HandshakeRefusal::NotYetValid { not_before: 3_471_292_800, .. }), "{refusal:?}");
}

#[tokio::test]
async fn unknown_issuer_names_the_authority_to_trust() {
    let mut scene = Scene::new();
    let identity =
        Authority::new("Fabrikam CA").issue(&Wish { dns: vec!["fabrikam.com"], serial: 9, ..Wish::default() });
    let refusal = scene.refusal_of(Some(&identity)).await;
    let HandshakeRefusal::UnknownIssuer { issuer, shown } = &refusal else { panic!("{refusal:?}") };
    assert!(shown.subject.contains("fabrikam.com") && issuer.contains("Fabrikam CA"));
    assert_eq!((shown.serial_hex.as_str(), shown), ("2a09", identity.certificate()));
    assert!(!refusal.may_pass());
}

#[tokio::test]
async fn an_authority_of_the_same_name_with_another_key_is_not_the_same() {
    let mut scene = Scene::new();
    let impostor = Authority::new("Contoso CA").named("fabrikam.com");
    let refusal = scene.refusal_of(Some(&impostor)).await;
    assert!(
        matches!(refusal, HandshakeRefusal::BadSignature { .. } | HandshakeRefusal::UnknownIssuer { .. }),
        "{refusal:?}"
    );
}

#[tokio::test]
async fn revoked_and_not_revoked() {
    let authority = Authority::new("Contoso CA");
    let list = authority.revoking(13);
    let roots = authority.roots().with_revocations(list.as_bytes()).expect("a list");
    let server = server(&authority.named("edge.contoso.com"), ClientAuth::Required, &roots);
    let mut scene = Scene { authority, listener: Running::tls(server, ListenLimits::default()) };
    let issue =
        |scene: &Scene, serial| scene.authority.issue(&Wish { dns: vec!["fabrikam.com"], serial, ..Wish::default() });
    let refusal = scene.refusal_of(Some(&issue(&scene, 13))).await;
    assert!(matches!(&refusal, HandshakeRefusal::Revoked { serial, .. } if serial == "2a0d"), "{refusal:?}");
    let good = issue(&scene, 14);
    let _stream = scene.meet(Some(&good), &scene.authority.roots()).await.expect("a connection");
    scene.listener.opened().await;
}

#[tokio::test]
async fn purposes_server_client_and_sip_domain_will_do_for_a_client_and_others_not() {
    let mut scene = Scene::new();
    let sip_domain = ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 20]);
    for purpose in [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth, sip_domain] {
        let wish = Wish { dns: vec!["fabrikam.com"], purposes: vec![purpose], ..Wish::default() };
        let identity = scene.authority.issue(&wish);
        let _stream = scene.meet(Some(&identity), &scene.authority.roots()).await.expect("a connection");
        scene.listener.opened().await;
    }
    let wish =
        Wish { dns: vec!["fabrikam.com"], purposes: vec![ExtendedKeyUsagePurpose::CodeSigning], ..Wish::default() };
    let refusal = scene.refusal_of(Some(&scene.authority.issue(&wish))).await;
    assert!(matches!(refusal, HandshakeRefusal::NotForThisPurpose { .. }), "{refusal:?}");
}

#[tokio::test]
async fn a_client_certificate_does_not_make_a_server() {
    let authority = Authority::new("Contoso CA");
    let wish =
        Wish { dns: vec!["edge.contoso.com"], purposes: vec![ExtendedKeyUsagePurpose::ClientAuth], ..Wish::default() };
    let server = server(&authority.issue(&wish), ClientAuth::None, &TrustRoots::none());
    let scene = Scene { authority, listener: Running::tls(server, ListenLimits::default()) };
    let error = scene.meet(None, &scene.authority.roots()).await.err();
    assert!(
        matches!(&error, Some(ConnectError::Tls { refusal, .. })
            if matches!(**refusal, HandshakeRefusal::NotForThisPurpose { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_client_that_does_not_trust_us_is_heard() {
    let mut scene = Scene::new();
    let identity = scene.authority.named("fabrikam.com");
    let error = scene.meet(Some(&identity), &Authority::new("Other CA").roots()).await.err();
    assert!(
        matches!(&error, Some(ConnectError::Tls { refusal, .. })
            if matches!(**refusal, HandshakeRefusal::UnknownIssuer { .. })),
        "{error:?}"
    );
    let refusal = scene.listener.refused().await;
    assert!(
        matches!(&refusal, HandshakeRefusal::PeerRejectedOurs { alert: AlertDescription::UnknownCA, ours: Some(ours) }
            if ours.subject.contains("edge.contoso.com")),
        "{refusal:?}"
    );
    assert_eq!(refusal.blame(), Blame::Ours);
}

#[tokio::test]
async fn plain_sip_on_a_tls_port() {
    let mut scene = Scene::new();
    let mut raw = Raw::connect(scene.listener.address).await;
    raw.write(&request(1)).await;
    assert_eq!(scene.listener.refused().await, HandshakeRefusal::NotTls);
}

#[tokio::test]
async fn silence() {
    let limits = ListenLimits { handshake_timeout: Duration::from_millis(100), ..ListenLimits::default() };
    let mut scene = Scene::with(ClientAuth::Required, limits, |_| {});
    let _silent = Raw::connect(scene.listener.address).await;
    assert_eq!(scene.listener.refused().await, HandshakeRefusal::TimedOut);
}

#[tokio::test]
async fn hanging_up() {
    let mut scene = Scene::new();
    let mut cut = Raw::connect(scene.listener.address).await;
    // The beginning of a TLS record that announces more than comes.
    cut.write(&[0x16, 3, 1, 2, 0, 1]).await;
    drop(cut);
    assert_eq!(scene.listener.refused().await, HandshakeRefusal::HungUp);
}

#[tokio::test]
async fn half_open_handshakes_hold_nobody_up() {
    let limits = ListenLimits { handshakes_in_flight: 1, ..ListenLimits::default() };
    let mut scene = Scene::with(ClientAuth::Required, limits, |_| {});
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(Raw::connect(scene.listener.address).await);
    }
    let identity = scene.authority.named("fabrikam.com");
    let _stream = scene.meet(Some(&identity), &scene.authority.roots()).await.expect("a connection");
    scene.listener.opened().await;
}

#[tokio::test]
async fn tls_1_2_is_taken_and_refused_as_clearly() {
    let mut scene = Scene::new();
    let mut roots = rustls::RootCertStore::empty();
    let pem = scene.authority.pem.clone();
    roots.add(rustls::pki_types::pem::PemObject::from_pem_slice(pem.as_bytes()).expect("a root")).expect("a root");
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .expect("TLS 1.2")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = Raw::connect(scene.listener.address).await.0;
    let name = "edge.contoso.com".try_into().expect("a name");
    let outcome = within(tokio_rustls::TlsConnector::from(std::sync::Arc::new(config)).connect(name, stream)).await;
    assert!(outcome.is_err(), "TLS 1.2 tells it within the handshake");
    assert_eq!(scene.listener.refused().await, HandshakeRefusal::NoCertificate);
}

#[tokio::test]
async fn a_server_that_is_somebody_else_is_explained() {
    let scene = Scene::new();
    let identity = scene.authority.named("fabrikam.com");
    let client = TlsClient::new(Some(&identity), &scene.authority.roots());
    let address = scene.listener.address;
    let error = within(connect("push.example.net", &[address], Some(&client), TIMES)).await.err().expect("a refusal");
    assert_eq!((error.stage(), error.blame()), (Stage::Tls, Blame::Peer));
    assert!(
        matches!(&error, ConnectError::Tls { refusal, .. } if matches!(&**refusal,
            HandshakeRefusal::NamesAnother { wanted, offered, .. }
                if wanted == "push.example.net" && *offered == ["edge.contoso.com"])),
        "{error:?}"
    );
    assert!(error.to_string().contains("names edge.contoso.com, not push.example.net"), "{error}");
}

#[tokio::test]
async fn a_reload_changes_new_connections_and_leaves_the_others() {
    let (old, new) = (Authority::new("Old CA"), Authority::new("New CA"));
    let server = server(&old.named("edge.contoso.com"), ClientAuth::Required, &old.roots());
    let mut listener = Running::tls(server.clone(), ListenLimits::default());
    let address = listener.address;
    let before = TlsClient::new(Some(&old.named("fabrikam.com")), &old.roots());
    let first = within(connect("edge.contoso.com", &[address], Some(&before), TIMES)).await.expect("a connection");
    let Wire::Tls(first) = first.stream else { panic!("TLS was asked for") };
    listener.opened().await;

    server.reload(&new.named("edge.contoso.com"), ClientAuth::Required, &new.roots()).expect("a reload");

    let mut first = Raw(first);
    first.write(&request(1)).await;
    assert!(first.read(14).await.starts_with(b"SIP/2.0 200 OK"), "the old connection goes on");
    let refused = within(connect("edge.contoso.com", &[address], Some(&before), TIMES)).await;
    assert!(refused.is_err(), "the new certificate is not trusted by the old client");
    before.reload(Some(&new.named("fabrikam.com")), &new.roots());
    within(connect("edge.contoso.com", &[address], Some(&before), TIMES)).await.expect("a connection");
}

#[tokio::test]
async fn a_failed_reload_keeps_what_was() {
    let authority = Authority::new("Contoso CA");
    let identity = authority.named("edge.contoso.com");
    let server = server(&identity, ClientAuth::Required, &authority.roots());
    let outcome = server.reload(&identity, ClientAuth::Required, &TrustRoots::none());
    assert_eq!(outcome, Err(TlsSetupError::NoRoots));
    let mut scene = Scene { authority, listener: Running::tls(server, ListenLimits::default()) };
    let _stream = scene.meet(Some(&identity), &scene.authority.roots()).await.expect("a connection");
    scene.listener.opened().await;
}

#[test]
fn setup_mistakes_are_told_apart() {
    let authority = Authority::new("Contoso CA");
    let key = rcgen::KeyPair::generate().expect("a key").serialize_pem();
    let outcome = Identity::from_pem(authority.pem.as_bytes(), key.as_bytes());
    assert!(matches!(outcome, Err(TlsSetupError::KeyOfAnother { subject }) if subject.contains("Contoso CA")));
    let outcome = Identity::from_pem(authority.pem.as_bytes(), b"nothing here");
    assert!(matches!(outcome, Err(TlsSetupError::NoKey { .. })));
    let outcome = Identity::from_pem(b"", key.as_bytes());
    assert!(matches!(outcome, Err(TlsSetupError::NoCertificate { .. })));
    let missing = std::path::Path::new("no/such/file.pem");
    let outcome = TrustRoots::from_pem_files(&[missing]);
    assert!(matches!(outcome, Err(TlsSetupError::File { path, .. }) if path == missing));
    let server = TlsServer::new(&authority.named("a.example"), ClientAuth::Optional, &TrustRoots::none());
    assert!(matches!(server, Err(TlsSetupError::NoRoots)));
}

#[test]
fn nothing_shows_a_key() {
    let authority = Authority::new("Contoso CA");
    let identity = authority.named("edge.contoso.com");
    let server = server(&identity, ClientAuth::Required, &authority.roots());
    let shown = format!("{identity:?} {server:?} {:?}", authority.roots());
    assert!(shown.contains("edge.contoso.com") && shown.len() < 400, "{shown}");
}

#[tokio::test]
async fn an_address_that_answers_is_found_behind_one_that_does_not() {
    let mut listener = Running::tcp(ListenLimits::default());
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let dead = closed.local_addr().expect("an address");
    drop(closed);
    let hop = target("edge.contoso.com", dead, Transport::Tcp);
    let error = within(connect(hop.name(), &hop.servers()[0].addresses, None, TIMES)).await.err();
    assert_eq!(error, Some(ConnectError::Refused { address: dead }));
    let both = [dead, listener.address];
    let connected = within(connect(hop.name(), &both, None, TIMES)).await.expect("a connection");
    assert_eq!(connected.remote, listener.address);
    assert!(matches!(listener.next().await, Seen::Opened(_)));
}
