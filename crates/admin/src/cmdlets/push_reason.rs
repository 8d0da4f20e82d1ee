//! `CsPushReason`: every reason for which a push is not sent, what it means, and what mends it.

use reveille_core::Reason;
use reveille_core::reason::PLACEHOLDERS;

use crate::call::Call;
use crate::cmdlet::{About, Area, Cmdlet, Name, Outcome, Parameter, Pipeline, Running, Verb};
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::family::fits;
use crate::kind::Kind;
use crate::value::Object;

/// `Get-CsPushReason`
pub(super) struct Get;

impl Cmdlet for Get {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Get, "CsPushReason"),
                summary: "Lists the reasons for which a push is not sent, with what each means and what mends it",
                description: "The names are the same in logs, metrics, answers between organisations and all output of this \
                              shell. Words in capitals in Remedy stand for what is known where it happened: \
                              Get-CsPushTrace, Get-CsPushDevice and Test-CsPushEligibility put the values in.",
                parameters: &[Parameter::new("Reason", Kind::Text, "One reason, or a pattern with *")
                    .at(1)
                    .from(Pipeline::ByName)],
                outputs: &["Reason", "Meaning", "DecidedBy", "Remedy"],
                area: Area::Topology,
                examples: &[("Get-CsPushReason no-route", "What no-route means, and how to mend it.")],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, _desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let wanted = call.text("Reason").unwrap_or("*");
            let reasons = Reason::ALL.iter().filter(|reason| fits(wanted, reason.as_str()));
            let outcome = Outcome::of(reasons.map(|reason| object(*reason)));
            match outcome.objects.is_empty() {
                false => Ok(outcome),
                true => {
                    let message = format!("No reason is called \"{wanted}\". Get-CsPushReason lists them.");
                    Err(Failure::new(Category::ObjectNotFound, "ReasonNotFound", message).of(wanted))
                }
            }
        })
    }
}

fn object(reason: Reason) -> Object {
    let remedy = if reason.remedy().is_empty() { "nothing is broken" } else { reason.remedy() };
    Object::new("PushReason")
        .with("Reason", reason.as_str())
        .with("Meaning", reason.sentence())
        .with("DecidedBy", reason.decided_by().as_str())
        .with("Remedy", remedy)
        .with("@placeholders", PLACEHOLDERS.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmdlets::fakes::{self, column, run};

    #[tokio::test]
    async fn every_reason_is_listed_and_one_can_be_picked() {
        let desk = fakes::desk(None, None);
        let all = run(&desk, "Get-CsPushReason", &[]).await.expect("all");
        assert_eq!(all.objects.len(), Reason::ALL.len());
        let one = run(&desk, "Get-CsPushReason", &[("Reason", "no-*-token")]).await.expect("two");
        assert_eq!(column(&one, "Reason"), ["no-message-token", "no-voip-token"]);
        let none = run(&desk, "Get-CsPushReason", &[("Reason", "because")]).await.expect_err("no such reason");
        assert_eq!(&*none.id, "ReasonNotFound");
    }
}
