//! `CsFederationPartner`: the partners of an edge as they are at this moment, and the domains to which no way is found.

use reveille_core::settings::Snapshot;

use crate::call::Call;
use crate::cmdlet::{About, Area, Cmdlet, Name, Outcome, Parameter, Pipeline, Running, Verb};
use crate::cmdlets::push_lane::count;
use crate::desk::Desk;
use crate::family::fits;
use crate::kind::Kind;
use crate::ports::border::Partner;
use crate::value::Object;

/// `Get-CsFederationPartner`
pub(super) struct Get;

impl Cmdlet for Get {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Get, "CsFederationPartner"),
                summary: "Shows the partners that an edge has seen: connections, figures, and what went wrong last",
                description: "State is the first that holds: not-found (no way to the domain), blocked, watched (a discovered \
                              partner that wrote to too many addresses), failing, connected, idle. The same is at GET \
                              /edge/partners of the ops listener, with more figures.",
                parameters: &[Parameter::new("Domain", Kind::Text, "One partner, or those that fit a pattern with *")
                    .at(1)
                    .alias(&["Identity"])
                    .from(Pipeline::ByName)],
                outputs: &[
                    "Domain",
                    "State",
                    "LastError",
                    "LastErrorAt",
                    "Explanation",
                    "Remedy",
                    "Remote",
                    "Source",
                    "Listed",
                    "ConnectionsIn",
                    "ConnectionsOut",
                    "InFlight",
                    "Received",
                    "ReceivedLastMinute",
                    "Sent",
                    "SentLastMinute",
                    "LatencyMs",
                    "Refused",
                    "Failures",
                    "FailingSince",
                    "Addresses",
                    "CertificateEnds",
                ],
                area: Area::Topology,
                examples: &[
                    ("Get-CsFederationPartner push.lync.com", "How the push publisher is reached at this moment."),
                    (
                        "Get-CsFederationPartner | Where-Object {$_.LastError} | Format-Table Domain, State, Explanation, Remedy",
                        "What went wrong with whom.",
                    ),
                ],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let partners = desk.ports.edge()?.partners();
            let settings = desk.settings.snapshot();
            let wanted = call.text("Domain").unwrap_or("*");
            let outcome =
                Outcome::of(partners.iter().filter(|it| fits(wanted, &it.domain)).map(|it| object(it, &settings)));
            match (outcome.objects.is_empty(), call.text("Domain")) {
                (true, Some(domain)) => Ok(Outcome {
                    warnings: vec![format!(
                        "This edge has not met {domain} since it was started. Test-CsFederatedPartner asks for it."
                    )],
                    ..outcome
                }),
                _ => Ok(outcome),
            }
        })
    }
}

fn object(partner: &Partner, settings: &Snapshot) -> Object {
    let listed = partner.domain.parse().is_ok_and(|domain| settings.allowed_domain(&domain).is_some());
    let error = partner.last_error.as_ref();
    let refused: Vec<_> = partner.refused.iter().map(|(reason, times)| format!("{reason}: {times}")).collect();
    let whole = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    Object::new("FederationPartner")
        .with("Domain", partner.domain.as_str())
        .with("State", partner.state)
        .with("LastError", error.map(|it| it.reason.as_str()))
        .with("LastErrorAt", error.map(|it| it.at.as_str()))
        .with("Explanation", error.map(|it| it.sentence.as_str()))
        .with("Remedy", error.map(|it| it.advice.as_str()))
        .with("Remote", partner.remote.as_str())
        .with("Source", partner.source)
        .with("Listed", listed)
        .with("ConnectionsIn", count(partner.connections_in))
        .with("ConnectionsOut", count(partner.connections_out))
        .with("InFlight", count(partner.in_flight))
        .with("Received", whole(partner.received.0))
        .with("ReceivedLastMinute", partner.received.1)
        .with("Sent", whole(partner.sent.0))
        .with("SentLastMinute", partner.sent.1)
        .with("LatencyMs", partner.latency_ms.map_or(crate::Value::Null, crate::Value::Double))
        .with("Refused", refused)
        .with("Failures", partner.failing.as_ref().map(|(times, _)| *times))
        .with("FailingSince", partner.failing.as_ref().map(|(_, since)| since.as_str()))
        .with("Addresses", partner.addresses.clone())
        .with("CertificateEnds", partner.certificate_ends.map(|at| at.to_string()))
}
