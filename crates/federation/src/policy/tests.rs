//! Who may speak for whom, as settings, certificates and records have it.

use reveille_core::settings::{
    BlockedDomain, HostingProvider, PublicProvider, PushAccountSecret, RoutingMethod, Setting,
};

use super::*;

fn domain(text: &str) -> SipDomain {
    text.parse().unwrap()
}

fn snapshot(rows: impl IntoIterator<Item = Setting>) -> Snapshot {
    Snapshot::of(rows).unwrap()
}

fn access_edge(change: impl FnOnce(&mut AccessEdgeConfiguration)) -> Setting {
    let mut record = AccessEdgeConfiguration { allow_federated_users: true, ..Default::default() };
    change(&mut record);
    Setting::AccessEdgeConfiguration(record)
}

fn allowed(name: &str, proxy: Option<&str>, level: Option<VerificationLevel>) -> Setting {
    let proxy_fqdn = proxy.map(domain);
    Setting::AllowedDomain(AllowedDomain { proxy_fqdn, verification_level: level, ..AllowedDomain::new(domain(name)) })
}

/// The documents' recipe beside a direct partner and a domain found by SRV.
fn rows(edge: Setting) -> Vec<Setting> {
    vec![
        edge,
        allowed("direct.example", Some("edge.partner.example"), None),
        allowed("srv.example", None, None),
        allowed("push.lync.com", None, None),
        Setting::BlockedDomain(BlockedDomain { identity: domain("bad.example"), comment: String::new() }),
    ]
}

fn provider(level: VerificationLevel) -> Setting {
    Setting::HostingProvider(HostingProvider {
        enabled: true,
        verification_level: level,
        ..HostingProvider::new("LyncOnline", domain("sipfed.online.lync.com"))
    })
}

fn ask(settings: &Snapshot, speaks_for: &str, certificate: &str) -> Result<Admission, Refusal> {
    let ours = |name: &SipDomain| name.as_str() == "ours.example";
    admit(settings, &ours, &domain(speaks_for), &|name| *name == domain(certificate))
}

/// The standing of a peer whose domain leads to the provider, if that is asked.
fn standing(settings: &Snapshot, speaks_for: &str, certificate: &str) -> Result<Standing, Refusal> {
    match ask(settings, speaks_for, certificate)? {
        Admission::Admitted(standing) => Ok(standing),
        Admission::IfCarriedBy(carriage) => carried_by(carriage, &[domain(certificate)]),
    }
}

#[test]
fn who_may_speak_for_whom() {
    let mut rows = rows(access_edge(|_| ()));
    rows.push(provider(VerificationLevel::AlwaysVerifiable));
    let settings = snapshot(rows);
    let another = |name: &str, wanted: &str| {
        Err(Refusal::CertificateNamesAnother { domain: domain(name), wanted: domain(wanted) })
    };
    let not_allowed = |name: &str| Err(Refusal::DomainNotAllowed { domain: domain(name) });
    for (speaks_for, certificate, expected) in [
        ("direct.example", "edge.partner.example", Ok(SourceType::DirectPartner)),
        // A direct partner must name the proxy, not the domain.
        ("direct.example", "direct.example", another("direct.example", "edge.partner.example")),
        ("srv.example", "srv.example", Ok(SourceType::AutoFederation)),
        ("srv.example", "edge.partner.example", another("srv.example", "srv.example")),
        ("push.lync.com", "sipfed.online.lync.com", Ok(SourceType::AuthorizedServer)),
        ("stranger.example", "stranger.example", not_allowed("stranger.example")),
        ("ours.example", "ours.example", not_allowed("ours.example")),
        ("bad.example", "bad.example", Err(Refusal::DomainBlocked { domain: domain("bad.example") })),
    ] {
        let found = standing(&settings, speaks_for, certificate).map(|standing| standing.source());
        assert_eq!(found, expected, "{certificate} for {speaks_for}");
    }
    let off = snapshot([Setting::AccessEdgeConfiguration(AccessEdgeConfiguration::default())]);
    assert_eq!(ask(&off, "srv.example", "srv.example"), Err(Refusal::FederationOff));
}

#[test]
fn discovery_admits_who_proves_its_domain_and_nobody_admits_who_speaks_for_ours() {
    let settings = snapshot(rows(access_edge(|record| record.enable_partner_discovery = true)));
    let found = standing(&settings, "stranger.example", "stranger.example").unwrap();
    assert!(found.is_discovered() && !found.is_listed());
    assert!(!standing(&settings, "srv.example", "srv.example").unwrap().is_discovered());
    assert!(standing(&settings, "bad.example", "bad.example").is_err());
    assert_eq!(
        ask(&settings, "ours.example", "ours.example"),
        Err(Refusal::OwnDomain { domain: domain("ours.example") })
    );
    // Unless an administrator has named the very edge that may.
    let listed = allowed("ours.example", Some("cloud.example"), None);
    let settings = snapshot([access_edge(|_| ()), listed]);
    assert!(ask(&settings, "ours.example", "cloud.example").is_ok());
}

#[test]
fn the_default_route_speaks_for_everybody_who_has_no_edge_of_its_own() {
    let settings = snapshot(rows(access_edge(|record| {
        record.routing_method = RoutingMethod::UseDefaultRouting;
        record.default_route_fqdn = Some(domain("route.example"));
        record.is_public_provider = true;
        record.verification_level = Some(VerificationLevel::AlwaysVerifiable);
    })));
    let anybody = standing(&settings, "anybody.example", "route.example").unwrap();
    assert_eq!((anybody.source(), anybody.network), (SourceType::AuthorizedServer, Network::PublicCloud));
    assert!(anybody.verified(None) && !anybody.is_discovered());
    assert!(standing(&settings, "srv.example", "route.example").unwrap().is_listed());
    for (speaks_for, certificate) in [
        ("srv.example", "srv.example"),
        ("direct.example", "route.example"),
        ("bad.example", "route.example"),
        ("ours.example", "route.example"),
    ] {
        assert!(ask(&settings, speaks_for, certificate).is_err(), "{certificate} for {speaks_for}");
    }
    assert!(standing(&settings, "direct.example", "edge.partner.example").is_ok());
}

#[test]
fn a_provider_speaks_only_for_domains_whose_srv_points_at_it() {
    let mut rows = rows(access_edge(|_| ()));
    rows.push(provider(VerificationLevel::AlwaysVerifiable));
    let settings = snapshot(rows);
    let carriage = || match ask(&settings, "push.lync.com", "sipfed.online.lync.com") {
        Ok(Admission::IfCarriedBy(carriage)) => carriage,
        other => panic!("{other:?}"),
    };
    let found = carried_by(carriage(), &[domain("sipfed.online.lync.com")]).unwrap();
    assert_eq!((found.domain().as_str(), found.verified(None)), ("push.lync.com", true));
    assert!(carried_by(carriage(), &[domain("elsewhere.example")]).is_err());
    assert!(carried_by(carriage(), &[]).is_err());
}

#[test]
fn whoever_is_several_providers_speaks_for_the_domains_of_each() {
    let mut rows = rows(access_edge(|_| ()));
    rows.push(provider(VerificationLevel::AlwaysVerifiable));
    rows.push(Setting::HostingProvider(HostingProvider {
        enabled: true,
        verification_level: VerificationLevel::AlwaysUnverifiable,
        ..HostingProvider::new("Another", domain("sip.another.example"))
    }));
    let settings = snapshot(rows);
    let both = ["sipfed.online.lync.com", "sip.another.example"];
    for (target, verified) in both.into_iter().zip([true, false]) {
        let names = |name: &SipDomain| both.contains(&name.as_str());
        let Ok(Admission::IfCarriedBy(carriage)) = admit(&settings, &|_| false, &domain("push.lync.com"), &names)
        else {
            panic!("not asked about {target}");
        };
        let found = carried_by(carriage, &[domain(target)]).unwrap();
        assert_eq!((found.remote().as_str(), found.verified(None)), (target, verified));
    }
}

#[test]
fn whom_nobody_has_listed_is_discovered_whoever_brings_it() {
    let mut rows = rows(access_edge(|record| record.enable_partner_discovery = true));
    rows.push(provider(VerificationLevel::AlwaysVerifiable));
    let settings = snapshot(rows);
    for (speaks_for, certificate, discovered, brought) in [
        ("push.lync.com", "sipfed.online.lync.com", false, true),
        ("unknown.example", "sipfed.online.lync.com", true, true),
        ("unknown.example", "unknown.example", true, false),
        ("srv.example", "srv.example", false, false),
        ("direct.example", "edge.partner.example", false, true),
    ] {
        let found = standing(&settings, speaks_for, certificate).unwrap();
        assert_eq!((found.is_discovered(), found.is_brought()), (discovered, brought), "{speaks_for}");
    }
}

#[test]
fn a_public_provider_is_one_of_another_network() {
    let public = Setting::PublicProvider(PublicProvider {
        enabled: true,
        ..PublicProvider::new("Messenger", domain("fed.messenger.example"))
    });
    let settings = snapshot([access_edge(|_| ()), allowed("im.example", None, None), public]);
    let found = standing(&settings, "im.example", "fed.messenger.example").unwrap();
    let mut header = String::new();
    found.trust(&domain("edge.contoso.com"), false).write(&mut header);
    assert_eq!(
        header,
        "ms-source-type=AuthorizedServer;ms-ep-fqdn=edge.contoso.com;ms-source-verified-user=unverified;\
         ms-source-network=publiccloud;ms-remote-fqdn=fed.messenger.example"
    );
}

#[test]
fn what_each_level_makes_of_the_partners_own_word() {
    use Unasserted::{MarkUnverified, Reject};
    use VerificationLevel::{AlwaysUnverifiable, AlwaysVerifiable, UseSourceVerification};
    for (level, unasserted, expected) in [
        // Asserted verified, asserted unverified, asserted nothing.
        (AlwaysVerifiable, Reject, [Some(true), Some(true), Some(true)]),
        (AlwaysUnverifiable, Reject, [Some(false), Some(false), Some(false)]),
        (UseSourceVerification, MarkUnverified, [Some(true), Some(false), Some(false)]),
        (UseSourceVerification, Reject, [Some(true), Some(false), None]),
    ] {
        let edge = |record: &mut AccessEdgeConfiguration| {
            record.enable_partner_discovery = true;
            record.discovered_partner_verification_level = Some(level);
            record.unasserted_source = unasserted;
        };
        let rows = [
            access_edge(edge),
            allowed("direct.example", Some("edge.partner.example"), Some(level)),
            allowed("srv.example", None, Some(level)),
            allowed("push.lync.com", None, None),
            provider(level),
        ];
        let settings = snapshot(rows);
        for (speaks_for, certificate) in [
            ("direct.example", "edge.partner.example"),
            ("srv.example", "srv.example"),
            ("push.lync.com", "sipfed.online.lync.com"),
            ("discovered.example", "discovered.example"),
        ] {
            let found = standing(&settings, speaks_for, certificate).unwrap();
            for (asserted, expected) in [Some(true), Some(false), None].into_iter().zip(expected) {
                let verified = found.admit(asserted).map(|peer| peer.verified());
                let missing = Refusal::AssertionMissing { domain: domain(speaks_for) };
                assert_eq!(verified, expected.ok_or(missing), "{speaks_for}, {level:?}, {asserted:?}");
            }
        }
    }
}

#[test]
fn the_proof_is_rebuilt_only_behind_a_configured_edge() {
    let edges = [domain("edge.push.example.net")];
    assert!(trusted_edge(&edges, &|name| name.as_str() == "other.push.example.net").is_none());
    let edge = trusted_edge(&edges, &|name| name.as_str() == "edge.push.example.net").unwrap();
    let text = "ms-source-type=DirectPartner;ms-ep-fqdn=e;ms-source-verified-user=verified";
    let peer = readmit(&edge, Some(text), &domain("contoso.com")).unwrap();
    assert_eq!((peer.domain().as_str(), peer.source()), ("contoso.com", SourceType::DirectPartner));
    for nobody in [None, Some("trust me"), Some(text.replace("DirectPartner", "EdgeProxyGenerated").as_str())] {
        assert_eq!(readmit(&edge, nobody, &domain("contoso.com")), Err(Refusal::NoTrust), "{nobody:?}");
    }
}

#[test]
fn an_account_is_admitted_while_it_holds_its_proof_and_its_organisation_is_welcome() {
    let account = |name: &str, organisation: &str| PushAccount {
        secrets: vec![PushAccountSecret { id: "s1".into(), digest: "00".repeat(32), made: None }],
        public_keys: vec![r#"{"kty":"EC","crv":"P-256","kid":"k1","x":"AA","y":"BB"}"#.into()],
        certificate_names: vec![domain("push.srv.example")],
        certificate_thumbprints: vec!["ab".repeat(32)],
        ..PushAccount::new(name, domain(organisation))
    };
    let mut rows = rows(access_edge(|_| ()));
    let off = PushAccount { enabled: false, ..account("off", "srv.example") };
    let over = PushAccount { expires: Some(Timestamp::from_millis(5)), ..account("over", "srv.example") };
    let accounts =
        [account("good", "srv.example"), account("bad", "bad.example"), account("new", "new.example"), off, over];
    rows.extend(accounts.map(Setting::PushAccount));
    let settings = snapshot(rows);
    let now = Timestamp::from_millis(5);
    let nobody: &dyn Fn(&SipDomain) -> bool = &|_| false;
    let named: &dyn Fn(&SipDomain) -> bool = &|name| *name == domain("push.srv.example");
    let print = "AB".repeat(32);
    for proof in [
        AccountProof::Secret("s1"),
        AccountProof::Key("k1"),
        AccountProof::Certificate { thumbprint: &print, names: nobody },
        AccountProof::Certificate { thumbprint: "cd", names: named },
    ] {
        let admitted = admit_account(&settings, "good", proof, now).unwrap();
        assert_eq!(admitted.domain(), &domain("srv.example"));
    }
    for proof in [
        AccountProof::Secret("s2"),
        AccountProof::Key("s1"),
        AccountProof::Certificate { thumbprint: "cd", names: nobody },
    ] {
        assert_eq!(admit_account(&settings, "good", proof, now), Err(AccountRefusal::Unknown));
    }
    let secret = AccountProof::Secret("s1");
    let blocked = AccountRefusal::Organisation(Refusal::DomainBlocked { domain: domain("bad.example") });
    let unlisted = AccountRefusal::Organisation(Refusal::DomainNotAllowed { domain: domain("new.example") });
    for (account, refusal) in [
        ("nobody", AccountRefusal::Unknown),
        ("off", AccountRefusal::Closed),
        ("over", AccountRefusal::Closed),
        ("bad", blocked),
        ("new", unlisted),
    ] {
        assert_eq!(admit_account(&settings, account, secret, now), Err(refusal), "{account}");
    }
}
