//! What keeps home from its own edge, and what mends it: both ends are ours, so that nearly all of it is configuration.

use reveille_core::Timestamp;
use reveille_core::diagnosis::{Failure, Fault};
use reveille_core::stage::{Stage, Trouble};
use reveille_sip_net::{ConnectError, HandshakeRefusal};

/// The trouble with the way to our edge, of that name; `now` is what this home's clock says.
pub(super) fn unreachable(edge: &str, error: &ConnectError, now: Timestamp) -> Trouble {
    let sentence = format!("home does not reach its Access Edge {edge}: {error}");
    let trouble = |remedy: String| Trouble::new(Stage::OurEdge, Failure::EdgeUnreachable, sentence.clone(), remedy);
    let ConnectError::Tls { refusal, .. } = error else { return trouble(String::new()) };
    let (fault, remedy) = match &**refusal {
        HandshakeRefusal::NotYetValid { .. } => (
            Fault::Ours,
            format!(
                "set the clock of this machine, which says {now}: timedatectl set-ntp true; if it is right, give the edge a \
                 certificate that has begun"
            ),
        ),
        HandshakeRefusal::Expired { .. } => (
            Fault::Configuration,
            format!(
                "renew the certificate of the edge (edge.internal_tls, else edge.tls, in its reveille.toml); unless the clock of \
                 this machine is wrong, which says {now}"
            ),
        ),
        HandshakeRefusal::NamesAnother { offered, .. } => (
            Fault::Configuration,
            format!(
                "let home.edge.name in home's reveille.toml be a name of the edge's certificate ({}), or the certificate name \
                 {edge}",
                offered.first().map_or("it has none", String::as_str)
            ),
        ),
        HandshakeRefusal::UnknownIssuer { issuer, .. } => (
            Fault::Configuration,
            format!("append the certificate of {issuer} to the file that home.tls.roots names; home reads it again within seconds"),
        ),
        HandshakeRefusal::PeerRejectedOurs { .. } | HandshakeRefusal::DroppedOurs { .. } => (
            Fault::Configuration,
            "let the edge trust home's certificate (home.tls.certificate): its authority in edge.internal_tls.roots, else \
             edge.tls.roots, and one of its names in edge.inside"
                .to_owned(),
        ),
        HandshakeRefusal::NotTls => (
            Fault::Configuration,
            "let home.edge.address be the inner side of the edge (edge.internal in its reveille.toml): something else answers \
             there"
                .to_owned(),
        ),
        _ => return trouble(String::new()),
    };
    trouble(remedy).by(fault)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reveille_sim::certs::{Ca, Leaf};
    use reveille_sip_net::PeerCertificate;

    use super::*;

    #[test]
    fn what_is_wrong_between_home_and_edge_names_the_key_that_mends_it() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let leaf = Leaf::new("edge.other.example", &["edge.other.example"]);
        let identity = Ca::new("An authority").and_then(|ca| ca.issue(leaf)).expect("a certificate");
        let shown = Arc::new(PeerCertificate::read(&identity.certificate()).expect("it reads"));
        let (subject, address) = (shown.subject.clone(), "192.0.2.2:5070".parse().expect("an address"));
        let offered = vec!["edge.other.example".to_owned()];
        let tls = |refusal| ConnectError::Tls { name: "edge.contoso.com".into(), address, refusal: Box::new(refusal) };
        let wanted = "edge.contoso.com".to_owned();
        for (error, fault, remedy) in [
            (ConnectError::Refused { address }, Fault::Ours, "start the edge"),
            (
                tls(HandshakeRefusal::NotYetValid {
                    subject: subject.clone(),
                    not_before: 0,
                    shown: Arc::clone(&shown),
                }),
                Fault::Ours,
                "which says 2023-11-14T22:13:20",
            ),
            (
                tls(HandshakeRefusal::Expired { subject, not_after: 0, shown: Arc::clone(&shown) }),
                Fault::Configuration,
                "renew the certificate of the edge",
            ),
            (
                tls(HandshakeRefusal::NamesAnother { wanted, offered, shown: Arc::clone(&shown) }),
                Fault::Configuration,
                "certificate (edge.other.example)",
            ),
            (
                tls(HandshakeRefusal::UnknownIssuer { issuer: "CN=X".into(), shown: Arc::clone(&shown) }),
                Fault::Configuration,
                "append the certificate of CN=X to the file that home.tls.roots names",
            ),
            (tls(HandshakeRefusal::DroppedOurs { ours: shown }), Fault::Configuration, "edge.inside"),
            (tls(HandshakeRefusal::NotTls), Fault::Configuration, "home.edge.address"),
            (tls(HandshakeRefusal::TimedOut), Fault::Ours, "start the edge"),
        ] {
            let trouble = unreachable("edge.contoso.com", &error, now);
            assert_eq!((trouble.stage, trouble.fault), (Stage::OurEdge, fault), "{trouble:?}");
            assert!(trouble.remedy.contains(remedy), "{}", trouble.remedy);
        }
    }
}
