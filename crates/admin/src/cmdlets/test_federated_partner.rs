//! `Test-CsFederatedPartner`: whether requests reach a partner by our Access Edge (seeds 000, 001; lync.md §2).

use reveille_federation::probe::{Goal, Order};

use crate::call::Call;
use crate::cmdlet::{About, Cmdlet, Name, Parameter, Running, Verb};
use crate::desk::Desk;
use crate::kind::Kind;
use crate::probes::report;
use crate::probes::{NEVER_AN_ERROR, TEST, road};

const NAME: Name = Name::new(Verb::Test, "CsFederatedPartner");

/// `Test-CsFederatedPartner`
pub(super) struct Test;

impl Cmdlet for Test {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: NAME,
                summary: "Tests whether requests reach a federated partner",
                description: "Walks the way to the partner's Access Edge step by step, on a connection of its own, and asks \
                              what stands behind it. The domain must be an allowed one. A partner that says it knows no such \
                              user or method has let us in.",
                parameters: &[
                    road::edge("TargetFqdn", &["t"]),
                    Parameter::new("Domain", Kind::Domain, "The partner's domain").required().at(3).alias(&["d"]),
                    Parameter::new(
                        "ProxyFqdn",
                        Kind::Domain,
                        "The server that the way must lead to; another one is a failure",
                    )
                    .alias(&["pe"]),
                    road::CERTIFICATE.alias(&["ce"]),
                    road::DETAILED,
                    road::IGNORE_OWN_NAME,
                    road::FORCE,
                    road::LOGGER,
                    road::VERBOSE,
                ],
                notes: &[
                    NEVER_AN_ERROR,
                    "Latency has whole seconds, as documented; -Detailed has milliseconds for each stage.",
                ],
                examples: &[(
                    "Test-CsFederatedPartner -TargetFqdn accessproxy.contoso.com -Domain push.lync.com -ProxyFqdn \
                     sipfed.online.lync.com",
                    "The documents' test of the way to the push clearing house.",
                )],
                ..TEST
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async move {
            let goal = Goal::Partner { domain: road::domain(call, "Domain")?, proxy: call.domain("ProxyFqdn") };
            let order = Order { edge: call.domain("TargetFqdn"), ignore_own_name: call.is_on("IgnoreOwnName"), goal };
            let report = road::walk(desk, order).await?;
            Ok(road::warn(call, report::outcome(NAME, &report, call.is_on("Detailed"))))
        })
    }
}

#[cfg(test)]
mod tests {
    use reveille_federation::probe::Goal;

    use crate::cmdlet::Outcome;
    use crate::failure::Category;
    use crate::probes::report::tests::{no_record, report};
    use crate::probes::road::tests::{Fixed, run};

    const LINE: &[(&str, &str)] = &[
        ("TargetFqdn", "accessproxy.contoso.com"),
        ("Domain", "push.lync.com"),
        ("ProxyFqdn", "sipfed.online.lync.com"),
    ];

    #[tokio::test]
    async fn a_failure_is_an_object_and_home_is_asked_for_what_was_typed() {
        let home = Fixed::new(report(Some(no_record())));
        let Outcome { objects, verbose, logger, .. } = run("Test-CsFederatedPartner", LINE, &home).await.unwrap();
        assert!(objects[0].to_string().contains("Result=Failure"), "{objects:?}");
        assert!(verbose.len() > 3 && logger.is_some());
        let order = home.orders.lock().unwrap().remove(0);
        assert_eq!(order.edge.unwrap().as_str(), "accessproxy.contoso.com");
        let Goal::Partner { domain, proxy } = order.goal else { panic!("a partner") };
        assert_eq!((domain.as_str(), proxy.unwrap().as_str()), ("push.lync.com", "sipfed.online.lync.com"));
    }

    #[tokio::test]
    async fn without_a_home_the_test_says_where_it_can_be_run() {
        let failure = run("Test-CsFederatedPartner", LINE, &Fixed::absent()).await.unwrap_err();
        assert_eq!(failure.category, Category::ResourceUnavailable);
        assert!(failure.message.contains("home"), "{failure}");
    }
}
