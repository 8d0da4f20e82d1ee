//! `CsCertificate`: the certificates that this server shows, those that it trusts, and those that others have shown.

use reveille_core::Timestamp;

use crate::call::Call;
use crate::cmdlet::{About, Area, Cmdlet, Name, Outcome, Parameter, Running, Verb};
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::family::fits;
use crate::kind::Kind;
use crate::ports::machine::{Certificate, Machine};
use crate::value::Object;

/// Days before its end at which a certificate is worth a word.
pub(super) const SOON_DAYS: i64 = 30;

/// `Get-CsCertificate`
pub(super) struct Get;

impl Cmdlet for Get {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Get, "CsCertificate"),
                summary: "Shows the certificates of this server: names, issuer, end, and which listeners show them",
                description: "Use says what a certificate is here: own (shown by our listeners), own-issuer (sent with it), \
                              authority (trusted to issue others), and with -Peer also peer and peer-issuer (shown by others).",
                parameters: &[
                    Parameter::new(
                        "Filter",
                        Kind::Text,
                        "A pattern with * that the subject or one of the names must fit",
                    )
                    .at(1),
                    Parameter::new(
                        "ExpiresWithin",
                        Kind::Int { min: 0, max: 36_500 },
                        "Only those that end within this many days",
                    ),
                    Parameter::new("Peer", Kind::Switch, "Also those that others have shown"),
                ],
                outputs: &[
                    "Subject",
                    "Names",
                    "Issuer",
                    "NotBefore",
                    "NotAfter",
                    "DaysLeft",
                    "Use",
                    "Role",
                    "Listeners",
                    "Key",
                    "SerialNumber",
                    "Thumbprint",
                ],
                area: Area::Topology,
                examples: &[(
                    "Get-CsCertificate -ExpiresWithin 30 -Peer",
                    "What has to be renewed soon, here and at partners.",
                )],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let (machine, now) = (machine(desk)?, desk.clock.now());
            let mut all = machine.certificates(call.is_on("Peer"));
            if let Some(pattern) = call.text("Filter") {
                all.retain(|it| fits(pattern, &it.subject) || it.names.iter().any(|name| fits(pattern, name)));
            }
            if let Some(days) = call.int("ExpiresWithin") {
                all.retain(|it| days_left(it, now) < days);
            }
            let mut outcome = Outcome::of(all.iter().map(|it| object(it, now)));
            outcome.warnings = machine.unread();
            Ok(outcome)
        })
    }
}

/// The process; there is one wherever a desk runs, except in tests.
pub(super) fn machine(desk: &Desk) -> Result<&dyn Machine, Failure> {
    desk.ports.machine.as_deref().ok_or_else(|| {
        Failure::new(
            Category::ResourceUnavailable,
            "NoServer",
            "This desk runs without a server, so there is nothing to see.",
        )
    })
}

/// Whole days until its end; negative once it is over.
pub(super) fn days_left(certificate: &Certificate, now: Timestamp) -> i64 {
    let secs = |at: Timestamp| i64::try_from(at.secs()).unwrap_or(i64::MAX);
    (secs(certificate.not_after) - secs(now)).div_euclid(86_400)
}

fn object(certificate: &Certificate, now: Timestamp) -> Object {
    Object::new("Certificate")
        .with("Subject", certificate.subject.as_str())
        .with("Names", certificate.names.clone())
        .with("Issuer", certificate.issuer.as_str())
        .with("NotBefore", certificate.not_before.to_string())
        .with("NotAfter", certificate.not_after.to_string())
        .with("DaysLeft", days_left(certificate, now))
        .with("Use", certificate.which)
        .with("Role", certificate.role.as_str())
        .with("Listeners", certificate.listeners.clone())
        .with("Key", certificate.key.as_str())
        .with("SerialNumber", certificate.serial.as_str())
        .with("Thumbprint", certificate.sha256.as_str())
}
