//! `Test-CsMcxPushNotification`: whether push requests reach the clearing house (seed 002; lync.md §2.3).

use std::time::Duration;

use reveille_federation::probe::{Goal, Order, TestDevice};

use crate::call::Call;
use crate::cmdlet::{About, Cmdlet, Name, Parameter, Running, Verb};
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::kind::Kind;
use crate::probes::report;
use crate::probes::{TEST, road};

const NAME: Name = Name::new(Verb::Test, "CsMcxPushNotification");
/// What the documents print when the IM filter stands in the way.
const REJECTED: &str = "Push Notification request was rejected.";
/// How long a device may take, in seconds, if nobody says.
const PATIENCE_SECS: i64 = 30;

/// `Test-CsMcxPushNotification`
pub(super) struct Test;

impl Cmdlet for Test {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: NAME,
                summary: "Tests whether push requests reach the push notification clearing house",
                description: "Sends a probe to PushNotificationProxyUri by the named Access Edge. The clearing house journals \
                              and answers it as it would a real push request, and wakes nobody. With -User the test device of \
                              that user is woken, and must acknowledge.",
                parameters: &[
                    road::edge("AccessEdgeFqdn", &["fqdn"]),
                    Parameter::new(
                        "User",
                        Kind::SipAddress,
                        "A test user (New-CsHealthMonitoringConfiguration) whose device is woken",
                    ),
                    Parameter::new(
                        "Device",
                        Kind::Text,
                        "Which device of the user; the one that registered last when absent",
                    ),
                    Parameter::new(
                        "AcknowledgeWithin",
                        Kind::Int { min: 1, max: 300 },
                        "How many seconds the device may take",
                    )
                    .or("30"),
                    road::CERTIFICATE.alias(&["cert"]),
                    road::DETAILED,
                    road::IGNORE_OWN_NAME,
                    road::FORCE,
                    road::LOGGER,
                    road::VERBOSE,
                ],
                notes: &[
                    "A test that does not come to its end is a terminating error, as documented; with -Detailed it is always an \
                     object, with stage, fault and remedy.",
                    "An IM filter that blocks http: or https: rejects the test, as documented. Real push requests do not pass \
                     the filter.",
                ],
                examples: &[
                    (
                        "Test-CsMcxPushNotification -AccessEdgeFqdn accessproxy.contoso.com",
                        "The documents' test of the push road.",
                    ),
                    (
                        "Test-CsMcxPushNotification -AccessEdgeFqdn accessproxy.contoso.com -User kenmyer@litwareinc.com -Detailed",
                        "Wakes the test user's device, and shows how long each stage took.",
                    ),
                ],
                ..TEST
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async move {
            let order = Order {
                edge: call.domain("AccessEdgeFqdn"),
                ignore_own_name: call.is_on("IgnoreOwnName"),
                goal: goal(call)?,
            };
            let report = road::walk(desk, order).await?;
            let detailed = call.is_on("Detailed");
            match report::terminating(NAME, &report, REJECTED).filter(|_| !detailed) {
                // The documents print no name here: `OperationStopped: (:)`.
                Some(failure) => Err(failure),
                None => Ok(road::warn(call, report::outcome(NAME, &report, detailed))),
            }
        })
    }
}

fn goal(call: &Call) -> Result<Goal, Failure> {
    let wrong = |message: &str| Failure::new(Category::InvalidArgument, "InvalidParameter", message);
    let device = call.text("Device").map(ToOwned::to_owned);
    let device = match call.text("User") {
        Some(user) => {
            let address = user.strip_prefix("sip:").unwrap_or(user);
            let user = address.parse().map_err(|error| wrong(&format!("-User: {error}")))?;
            Some(TestDevice { user, device })
        }
        None if device.is_some() => return Err(wrong("-Device needs -User: the test user whose device it is.")),
        None => None,
    };
    let secs = call.int("AcknowledgeWithin").unwrap_or(PATIENCE_SECS);
    Ok(Goal::Push { device, patience: Duration::from_secs(secs.unsigned_abs()) })
}

#[cfg(test)]
mod tests {
    use reveille_core::diagnosis;
    use reveille_core::stage::{Stage, Trouble};

    use super::*;
    use crate::probes::report::tests::{no_record, report};
    use crate::probes::road::tests::{Fixed, run};

    const LINE: (&str, &str) = ("AccessEdgeFqdn", "atl-edge-001.litwareinc.com");
    const TEST: &str = "Test-CsMcxPushNotification";

    #[tokio::test]
    async fn the_documents_success_and_its_two_errors() {
        let success = run(TEST, &[LINE], &Fixed::new(report(None))).await.unwrap();
        assert_eq!(
            success.objects[0].to_string(),
            "@{TargetFqdn=atl-cs-001.litwareinc.com; Result=Success; Latency=00:01:01; Error=; Diagnosis=}"
        );
        let lost = run(TEST, &[LINE], &Fixed::new(report(Some(no_record())))).await.unwrap_err();
        assert!(lost.message.starts_with("A 504 (Server time-out) response was received"), "{lost}");
        assert_eq!((lost.category, &*lost.exception), (Category::OperationStopped, "FailureResponseException"));
        let filter = Trouble::new(Stage::Settings, diagnosis::Failure::ImFilterRejects, "it blocks http:", "");
        let rejected = run(TEST, &[LINE], &Fixed::new(report(Some(filter)))).await.unwrap_err();
        assert_eq!(rejected.message, "Push Notification request was rejected.");
        assert_eq!((&*rejected.exception, &*rejected.id), ("SyntheticTransactionException", "WorkflowNotCompleted"));
    }

    #[tokio::test]
    async fn with_detailed_a_failure_is_an_object_too() {
        let home = Fixed::new(report(Some(no_record())));
        let outcome = run(TEST, &[LINE, ("Detailed", "true")], &home).await.unwrap();
        let text = outcome.objects[0].to_string();
        assert!(text.contains("FailedStage=name") && text.contains("Remedy=publish it"), "{text}");
    }

    #[tokio::test]
    async fn a_device_is_a_users_and_has_so_long_to_answer() {
        let home = Fixed::new(report(None));
        let more = [LINE, ("User", "sip:kenmyer@litwareinc.com"), ("AcknowledgeWithin", "5")];
        run(TEST, &more, &home).await.unwrap();
        let Goal::Push { device, patience } = home.orders.lock().unwrap().remove(0).goal else { panic!("a push") };
        assert_eq!(device.map(|device| device.user.to_string()).as_deref(), Some("kenmyer@litwareinc.com"));
        assert_eq!(patience, Duration::from_secs(5));
        let lone = run(TEST, &[LINE, ("Device", "phone")], &home).await.unwrap_err();
        assert!(lone.message.contains("-Device needs -User"), "{lone}");
    }
}
