//! RFC 5922 on real connections: which certificate is taken for which name, and by which rule.

use rcgen::ExtendedKeyUsagePurpose;
use reveille_sip_net::{ClientAuth, HandshakeRefusal, ListenLimits, NameRule, TlsClient, TrustRoots};

use crate::support::{Authority, Raw, Running, Wish, server, within};

/// What our client says to a server with this certificate, when it looks for `name` by this rule.
async fn said(authority: &Authority, wish: &Wish, name: &str, rule: NameRule) -> Result<(), HandshakeRefusal> {
    let listener =
        Running::tls(server(&authority.issue(wish), ClientAuth::None, &TrustRoots::none()), ListenLimits::default());
    let client = TlsClient::new(None, &authority.roots().with_names(rule));
    let stream = Raw::connect(listener.address).await.0;
    within(client.connect(stream, name)).await.map(drop)
}

#[tokio::test]
async fn a_server_is_taken_for_the_names_of_its_certificate_only() {
    let authority = Authority::new("Contoso CA");
    let strict = NameRule::Rfc5922;
    let dns = |dns: &[&'static str]| Wish { dns: dns.to_vec(), ..Wish::default() };
    let uri = |uri| Wish { sip_uri: Some(uri), ..Wish::default() };
    let both = || Wish { dns: vec!["edge.contoso.com"], sip_uri: Some("sip:contoso.com"), ..Wish::default() };
    for (row, wish, name, rule, taken) in [
        ("a DNS name", dns(&["edge.contoso.com"]), "edge.contoso.com", strict, true),
        ("in other letters", dns(&["edge.contoso.com"]), "Edge.Contoso.COM.", strict, true),
        ("a wildcard", dns(&["*.contoso.com"]), "edge.contoso.com", strict, false),
        ("a URI", uri("sip:contoso.com"), "contoso.com", strict, true),
        ("a URI with a user", uri("sip:push@contoso.com"), "contoso.com", strict, false),
        ("the URI before the DNS name", both(), "contoso.com", strict, true),
        ("the DNS name behind a URI", both(), "edge.contoso.com", strict, false),
        ("punycode", dns(&["xn--bcher-kva.example"]), "XN--bcher-kva.example", strict, true),
        // What support issues without names has the subject CN=nobody.
        ("a common name that does not count", dns(&[]), "nobody", strict, false),
        ("a common name that counts", dns(&[]), "nobody", NameRule::WithCommonName, true),
        ("a common name behind a DNS name", both(), "edge.contoso.com", NameRule::WithCommonName, false),
    ] {
        let outcome = said(&authority, &wish, name, rule).await;
        match outcome {
            Ok(()) => assert!(taken, "{row} is taken"),
            Err(HandshakeRefusal::NamesAnother { shown, .. }) => {
                assert!(!taken, "{row} is refused: {shown}");
                assert!(shown.issuer.contains("Contoso CA"), "{row}: {shown:?}");
            }
            Err(other) => panic!("{row}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn purposes_that_will_do_for_a_server() {
    let authority = Authority::new("Contoso CA");
    // RFC 5924 §4 and RFC 5280 §4.2.1.12.
    let sip_domain = ExtendedKeyUsagePurpose::Other(vec![1, 3, 6, 1, 5, 5, 7, 3, 20]);
    for (purposes, taken) in [
        (vec![], true),
        (vec![ExtendedKeyUsagePurpose::ServerAuth], true),
        (vec![sip_domain.clone()], true),
        (vec![ExtendedKeyUsagePurpose::Any], true),
        (vec![ExtendedKeyUsagePurpose::CodeSigning, sip_domain], true),
        (vec![ExtendedKeyUsagePurpose::ClientAuth], false),
        (vec![ExtendedKeyUsagePurpose::CodeSigning, ExtendedKeyUsagePurpose::EmailProtection], false),
    ] {
        let wish = Wish { dns: vec!["edge.contoso.com"], purposes: purposes.clone(), ..Wish::default() };
        let outcome = said(&authority, &wish, "edge.contoso.com", NameRule::Rfc5922).await;
        match outcome {
            Ok(()) => assert!(taken, "{purposes:?} are taken"),
            Err(HandshakeRefusal::NotForThisPurpose { .. }) => assert!(!taken, "{purposes:?} are refused"),
            Err(other) => panic!("{purposes:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn the_rule_goes_with_the_peer_for_whoever_asks_later() {
    let authority = Authority::new("Contoso CA");
    for (rule, named) in [(NameRule::Rfc5922, false), (NameRule::WithCommonName, true)] {
        let roots = authority.roots().with_names(rule);
        let ours = server(&authority.named("edge.contoso.com"), ClientAuth::Required, &roots);
        let mut listener = Running::tls(ours, ListenLimits::default());
        let client = TlsClient::new(Some(&authority.issue(&Wish::default())), &authority.roots());
        let stream = Raw::connect(listener.address).await.0;
        let _stream = within(client.connect(stream, "edge.contoso.com")).await.expect("a connection");
        let flow = listener.opened().await;
        assert_eq!(flow.peer().is_some_and(|peer| peer.names("nobody")), named, "{rule:?}");
    }
}
