//! The page about the border names every refusal with its status and number.

use std::path::Path;
use std::time::Duration;

use reveille_core::SipDomain;
use reveille_federation::{Refusal, answer};

/// One of each, except for single push requests, whose reasons are those of `docs/settings.md`.
fn each() -> Vec<Refusal> {
    let domain: SipDomain = "a.example".parse().unwrap();
    let host = || domain.clone();
    let why = String::new;
    vec![
        Refusal::AddressNotFound { domain: host(), host: host(), why: why(), remedy: None },
        Refusal::AssertionMissing { domain: host() },
        Refusal::BadBody(why()),
        Refusal::BadFrom,
        Refusal::CertificateNamesAnother { domain: host(), wanted: host() },
        Refusal::DomainBlocked { domain: host() },
        Refusal::DomainNotAllowed { domain: host() },
        Refusal::FederationOff,
        Refusal::ForgedTrust,
        Refusal::MethodNotFederated { method: "REGISTER".into() },
        Refusal::NoSuchDialog,
        Refusal::NoSuchUser { user: why(), domain: host() },
        Refusal::NotItsDomain { domain: host() },
        Refusal::NoTrust,
        Refusal::Overloaded,
        Refusal::OwnDomain { domain: host() },
        Refusal::PartnerBusy { domain: host(), what: why() },
        Refusal::PartnerThrottled { domain: host(), per_second: 1 },
        Refusal::PartnerWatched { domain: host(), most: 1 },
        Refusal::PeerPaused { domain: host(), why: why(), retry_after: Duration::ZERO },
        Refusal::PeerRejectsUs { domain: host(), why: why() },
        Refusal::PeerUnreachable { domain: host(), why: why() },
        Refusal::PeerUntrusted { domain: host(), why: why() },
        Refusal::Shed { what: "messages" },
        Refusal::SrvNamesAnother { domain: host(), target: host() },
        Refusal::SrvNotFound { domain: host(), why: why(), remedy: None },
        Refusal::Stopping,
        Refusal::StoreFull,
        Refusal::TooLarge(why()),
        Refusal::HeaderTooLong { fields: 90, bytes: 1 },
        Refusal::Looped,
        Refusal::TooManyHops,
        Refusal::UnsupportedExtension,
        Refusal::UnknownDestination { domain: host() },
        Refusal::UnknownScheme,
        Refusal::UnsupportedType,
    ]
}

#[test]
fn every_refusal_has_its_row() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/border.md");
    let page = std::fs::read_to_string(page).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| 4") || line.starts_with("| 5")).count();
    let refusals = each();
    assert_eq!(rows, refusals.len());
    for refusal in refusals {
        let row = format!("| {} | {} | `{}` | ", answer::status(&refusal), refusal.diagnosis().id, refusal.as_str());
        assert!(page.contains(&row), "docs/border.md lacks the row {row}");
    }
}

#[test]
fn no_number_means_two_things_that_repeating_treats_differently() {
    let mut known: Vec<(u32, bool)> = Vec::new();
    for refusal in each() {
        let diagnosis = refusal.diagnosis();
        let other = known.iter().find(|(id, _)| *id == diagnosis.id);
        // 1010 is one thing about a caller and another about whom we call; who reads it knows which.
        if diagnosis.id != 1010 {
            assert!(other.is_none_or(|(_, helps)| *helps == diagnosis.retry_helps), "{}", diagnosis.id);
        }
        known.push((diagnosis.id, diagnosis.retry_helps));
    }
}
