//! Revocation lists, and what a reload does to connections that are open.

use std::sync::Arc;

use reveille_sip_net::{
    ClientAuth, CloseReason, HandshakeRefusal, Identity, ListenLimits, ListsRunOut, TlsClient, TlsServer,
    TlsSetupError, TrustRoots,
};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::support::{Authority, Raw, Running, Seen, Wish, request, server, within};

/// Our listener, edge.contoso.com, and the authority of everybody.
struct Scene {
    authority: Authority,
    identity: Identity,
    ours: Arc<TlsServer>,
    listener: Running,
}

impl Scene {
    fn new() -> Self {
        Self::of(Authority::new("Contoso CA"), |roots| roots)
    }

    fn of(authority: Authority, change: impl FnOnce(TrustRoots) -> TrustRoots) -> Self {
        let identity = authority.named("edge.contoso.com");
        let ours = server(&identity, ClientAuth::Required, &change(authority.roots()));
        let listener = Running::tls(ours.clone(), ListenLimits::default());
        Self { authority, identity, ours, listener }
    }

    fn reload(&self, roots: &TrustRoots) {
        self.ours.reload(&self.identity, ClientAuth::Required, roots).expect("a reload");
    }

    async fn connect(&self, identity: &Identity) -> Raw<TlsStream<TcpStream>> {
        let client = TlsClient::new(Some(identity), &self.authority.roots());
        let stream = Raw::connect(self.listener.address).await.0;
        Raw(within(client.connect(stream, "edge.contoso.com")).await.expect("a connection").0)
    }

    /// What this client hears; `None` if it is taken.
    async fn refusal_of(&mut self, identity: &Identity) -> Option<HandshakeRefusal> {
        let mut stream = self.connect(identity).await;
        stream.write(&request(1)).await;
        loop {
            match self.listener.next().await {
                Seen::Refused(refusal) => return Some(refusal),
                Seen::Batch(..) => return None,
                Seen::Opened(_) | Seen::Bad(_) | Seen::Closed(_) => {}
            }
        }
    }
}

fn partner(serial: u8) -> Wish {
    Wish { dns: vec!["fabrikam.com"], serial, ..Wish::default() }
}

#[tokio::test]
async fn lists_are_read_in_both_forms_and_the_newest_counts() {
    for is_pem in [false, true] {
        let authority = Authority::new("Contoso CA");
        let lists = [authority.list(&[14], (2022, 2090)), authority.list(&[13], (2021, 2090))];
        let lists = lists.map(|list| if is_pem { list.pem().expect("PEM").into() } else { list.der().to_vec() });
        let mut scene = Scene::of(authority, |mut roots| {
            // The old one comes last, as a file that was forgotten would.
            for list in &lists {
                roots = roots.with_revocations(list).expect("a list");
            }
            let made: Vec<_> = roots.lists().map(|list| list.this_update).collect();
            assert_eq!(made, [1_640_995_200, 1_609_459_200], "2022 before 2021");
            assert!(roots.lists().all(|list| list.entries == 1 && list.issuer.contains("Contoso CA")));
            roots
        });
        let (taken_back, forgiven) = (scene.authority.issue(&partner(14)), scene.authority.issue(&partner(13)));
        let refusal = scene.refusal_of(&taken_back).await;
        assert!(
            matches!(&refusal, Some(HandshakeRefusal::Revoked { serial, shown, .. })
                if serial == "2a0e" && shown == taken_back.certificate()),
            "{refusal:?}"
        );
        assert_eq!(scene.refusal_of(&forgiven).await, None);
    }
}

#[tokio::test]
async fn a_list_of_one_authority_shuts_out_nobody_of_another() {
    let list = Authority::new("Fabrikam CA").list(&[13], (2021, 2090));
    let mut scene =
        Scene::of(Authority::new("Contoso CA"), |roots| roots.with_revocations(list.der()).expect("a list"));
    let same_serial = scene.authority.issue(&partner(13));
    assert_eq!(scene.refusal_of(&same_serial).await, None);
}

#[tokio::test]
async fn an_authority_that_was_taken_back_takes_its_certificates_along_and_is_named() {
    let authority = Authority::new("Contoso CA");
    let list = authority.list(&[77], (2021, 2090));
    let below = authority.under("Contoso Issuing CA", 77);
    let mut scene = Scene::of(authority, |roots| roots.with_revocations(list.der()).expect("a list"));
    let identity = below.issue(&partner(1));
    let refusal = scene.refusal_of(&identity).await;
    let Some(HandshakeRefusal::Revoked { subject, serial, shown }) = &refusal else { panic!("{refusal:?}") };
    assert!(subject.contains("Contoso Issuing CA") && serial == "2a4d", "{subject} {serial}");
    assert_eq!(shown, identity.certificate());
}

#[tokio::test]
async fn a_list_that_has_run_out_counts_on_or_refuses_as_told() {
    for (then, serial, wanted) in [
        (ListsRunOut::Alarm, 13, Some("revoked")),
        (ListsRunOut::Alarm, 14, None),
        (ListsRunOut::Refuse, 14, Some("list-ran-out")),
    ] {
        let authority = Authority::new("Contoso CA");
        let list = authority.list(&[13], (2020, 2021));
        let mut scene = Scene::of(authority, |roots| {
            let roots = roots.with_revocations(list.der()).expect("a list").when_lists_run_out(then);
            assert!(roots.lists().all(|list| list.has_run_out(1_700_000_000) && !list.has_run_out(1_600_000_000)));
            roots
        });
        let identity = scene.authority.issue(&partner(serial));
        let refusal = scene.refusal_of(&identity).await;
        assert_eq!(refusal.as_ref().map(HandshakeRefusal::label), wanted, "{then:?} {serial}");
        if wanted == Some("list-ran-out") {
            let said = refusal.map(|refusal| refusal.to_string()).unwrap_or_default();
            assert!(said.contains("Contoso CA ran out on Jan  1 00:00:00 2021"), "{said}");
        }
    }
}

#[tokio::test]
async fn an_authority_with_two_keys_has_two_lists_and_each_counts_for_its_own() {
    let (older, newer) = (Authority::new("Roll CA"), Authority::new("Roll CA"));
    let lists = [older.list(&[13], (2021, 2090)), newer.list(&[14], (2022, 2090))];
    let roots = TrustRoots::from_pem(format!("{}{}", older.pem, newer.pem).as_bytes()).expect("two roots");
    let partners =
        [(&older, 13), (&older, 14), (&newer, 13), (&newer, 14)].map(|(by, serial)| by.issue(&partner(serial)));
    let mut scene = Scene::of(newer, |_| {
        lists.iter().fold(roots, |roots, list| roots.with_revocations(list.der()).expect("a list"))
    });
    let mut said = Vec::new();
    for partner in &partners {
        said.push(scene.refusal_of(partner).await.map(|refusal| refusal.label()));
    }
    assert_eq!(said, [Some("revoked"), None, None, Some("revoked")]);
}

#[tokio::test]
async fn a_list_that_its_issuer_did_not_sign_is_our_mistake_to_mend() {
    let impostor = Authority::new("Contoso CA").list(&[14], (2021, 2090));
    let mut scene =
        Scene::of(Authority::new("Contoso CA"), |roots| roots.with_revocations(impostor.der()).expect("a list"));
    let identity = scene.authority.issue(&partner(13));
    let refusal = scene.refusal_of(&identity).await.expect("a refusal");
    assert!(matches!(&refusal, HandshakeRefusal::ListUnusable { .. }), "{refusal:?}");
    assert_eq!(refusal.blame(), reveille_sip_net::Blame::Ours);
}

#[test]
fn what_is_no_list_is_told_as_such() {
    let roots = || Authority::new("Contoso CA").roots();
    let empty = roots().with_revocations(b"nothing here").err();
    assert!(matches!(&empty, Some(TlsSetupError::NoList { .. })), "{empty:?}");
    let garbage = roots().with_revocations(&[0x30, 3, 1, 2, 3]).err().map(|error| error.to_string());
    assert!(garbage.as_ref().is_some_and(|said| said.contains("not a readable revocation list")), "{garbage:?}");
    let certificate = roots().with_revocations(Authority::new("Contoso CA").pem.as_bytes()).err();
    assert!(matches!(&certificate, Some(TlsSetupError::NoList { .. })), "{certificate:?}");
}

#[tokio::test]
async fn a_reload_closes_the_connections_of_the_revoked_in_order_and_leaves_the_others() {
    let mut scene = Scene::new();
    let (bad, good) = (scene.authority.issue(&partner(13)), scene.authority.issue(&partner(14)));
    let (mut first, mut second, mut third) =
        (scene.connect(&bad).await, scene.connect(&bad).await, scene.connect(&good).await);
    for _ in 0..3 {
        scene.listener.opened().await;
    }
    let known = scene.ours.peers();
    let open = |serial: &str| known.iter().find(|peer| peer.chain[0].serial_hex == serial).map(|peer| peer.open);
    assert_eq!((open("2a0d"), open("2a0e")), (Some(2), Some(1)));
    assert!(scene.ours.check_again(NOW).is_empty(), "nothing has changed");

    let list = scene.authority.list(&[13], (2021, 2090));
    scene.reload(&scene.authority.roots().with_revocations(list.der()).expect("a list"));
    let fallen = scene.ours.check_again(NOW);

    assert_eq!(fallen.len(), 1, "one certificate: {fallen:?}");
    assert!(fallen[0].closed && fallen[0].connections == 2);
    assert!(matches!(&fallen[0].refusal, HandshakeRefusal::Revoked { serial, .. } if serial == "2a0d"));
    for stream in [&mut first, &mut second] {
        // An end in order: a clean end of TLS, and not an error.
        let mut rest = Vec::new();
        let ended = within(tokio::io::AsyncReadExt::read_to_end(&mut stream.0, &mut rest)).await;
        assert!(matches!(ended, Ok(0)), "{ended:?}");
    }
    for _ in 0..2 {
        let why = scene.listener.closed().await;
        assert_eq!(why, CloseReason::Asked { why: "the peer's certificate was revoked" });
    }
    third.write(&request(1)).await;
    assert!(third.read(14).await.starts_with(b"SIP/2.0 200 OK"), "the other goes on");
    scene.listener.messages(1).await;
    assert!(matches!(scene.refusal_of(&bad).await, Some(HandshakeRefusal::Revoked { .. })));
}

#[tokio::test]
async fn time_ends_connections_of_the_expired_and_a_withdrawn_root_takes_no_new_ones() {
    let mut scene = Scene::new();
    let wish = Wish { years: Some((2020, 2030)), ..partner(1) };
    let (short, long) = (scene.authority.issue(&wish), scene.authority.issue(&partner(2)));
    let _first = scene.connect(&short).await;
    let mut second = scene.connect(&long).await;
    for _ in 0..2 {
        scene.listener.opened().await;
    }
    let fallen = scene.ours.check_again(IN_2035);
    assert!(matches!(&fallen[..], [one] if one.closed && one.refusal.label() == "expired"), "{fallen:?}");
    assert_eq!(scene.listener.closed().await, CloseReason::Asked { why: "the peer's certificate has expired" });

    scene.reload(&Authority::new("Other CA").roots());
    let fallen = scene.ours.check_again(NOW);
    assert!(matches!(&fallen[..], [one] if !one.closed && one.refusal.label() == "unknown-issuer"), "{fallen:?}");
    second.write(&request(1)).await;
    assert!(second.read(14).await.starts_with(b"SIP/2.0 200 OK"), "what is open stays");
    scene.listener.messages(1).await;
    assert!(matches!(scene.refusal_of(&long).await, Some(HandshakeRefusal::UnknownIssuer { .. })));
}

#[tokio::test]
async fn a_session_that_is_resumed_knows_its_peer_and_a_reload_resumes_none() {
    let mut scene = Scene::new();
    let (chain, key) = scene.authority.issue_pem(&partner(5));
    let client = resuming(&scene.authority, &chain, &key);
    let mut kinds = Vec::new();
    for round in 0..3 {
        if round == 2 {
            scene.reload(&scene.authority.roots());
        }
        let stream = Raw::connect(scene.listener.address).await.0;
        let name = "edge.contoso.com".try_into().expect("a name");
        let connector = tokio_rustls::TlsConnector::from(client.clone());
        let mut stream = Raw(within(connector.connect(name, stream)).await.expect("a connection"));
        stream.write(&request(1)).await;
        stream.read(14).await;
        kinds.push(stream.0.get_ref().1.handshake_kind().expect("it is over"));
        let flow = scene.listener.opened().await;
        assert!(flow.peer().is_some_and(|peer| peer.names("fabrikam.com") && peer.serial_hex == "2a05"));
    }
    assert_eq!(kinds, [rustls::HandshakeKind::Full, rustls::HandshakeKind::Resumed, rustls::HandshakeKind::Full]);
}

/// A client that takes up its sessions again.
fn resuming(authority: &Authority, chain: &str, key: &str) -> Arc<rustls::ClientConfig> {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.pem.as_bytes()).expect("a root")).expect("a root");
    let chain = CertificateDer::pem_slice_iter(chain.as_bytes()).collect::<Result<Vec<_>, _>>().expect("a chain");
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("TLS")
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .expect("an identity");
    Arc::new(config)
}

/// 2023, in Unix seconds.
const NOW: u64 = 1_700_000_000;
/// 2035, in Unix seconds.
const IN_2035: u64 = 2_051_222_400;
