//! `CsPushRecipe`: the whole push recipe at a glance, and with one command.

use reveille_core::settings::{SettingChange, Snapshot};
use reveille_store::Edit;

use crate::call::Call;
use crate::cmdlet::{About, Area, Cmdlet, Name, Outcome, Parameter, Running, Verb};
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::family::parameters::{FORCE, LOCAL_STORE};
use crate::family::{central, refusal};
use crate::kind::Kind;
use crate::recipe::{Recipe, SERVICES, State, Step, Wanted};
use crate::value::{Object, Value};

const NOUN: &str = "CsPushRecipe";
const OUTPUTS: &[&str] = &["Step", "Record", "State", "Need", "Found", "Command"];
const SERVICE: Kind = Kind::List(&Kind::Choice(&["Apple", "Google", "Microsoft", "WebPush", "Windows"]));
const DOMAIN: Parameter =
    Parameter::new("Domain", Kind::Domain, "The push service's domain; that of PushNotificationProxyUri when left out")
        .at(1);
const PROXY: Parameter = Parameter::new(
    "ProxyFqdn",
    Kind::Domain,
    "The publisher's edge; sipfed.online.lync.com for push.lync.com, else the domain's SRV record leads to it",
);
const DIRECT: Parameter = Parameter::new(
    "DirectPartner",
    Kind::Switch,
    "The edge stands in the allowed domain, without a hosting provider: the recipe of OCS 2007 R2",
);
const NAME: Parameter = Parameter::new("ProviderName", Kind::Text, "What a new hosting provider is called");
const SWITCHES: Parameter =
    Parameter::new("Service", SERVICE, "Which push providers are to be on; those that are, else Apple and Microsoft");

/// `Get-CsPushRecipe`
pub(super) struct Get;

impl Cmdlet for Get {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Get, NOUN),
                summary: "Shows what pushes need of the settings: what is done, missing or wrong, and the command for it",
                parameters: &[DOMAIN, PROXY, DIRECT, NAME, SWITCHES, LOCAL_STORE],
                outputs: OUTPUTS,
                area: Area::Topology,
                notes: &["Test-CsMcxPushNotification tries the road itself: names, certificates, the publisher."],
                examples: &[
                    ("Get-CsPushRecipe", "The recipe for the push service that the settings name."),
                    ("Get-CsPushRecipe | Where-Object State -ne Done", "What is left to do."),
                ],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async move {
            let settings = if call.is_on("LocalStore") { desk.settings.snapshot() } else { central(desk)? };
            Ok(Outcome::of(rows(&recipe(call, &settings)?.steps(&settings))))
        })
    }
}

/// `Enable-CsPushRecipe`
pub(super) struct Enable;

impl Cmdlet for Enable {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Enable, NOUN),
                summary: "Does whatever the push recipe still needs, all of it or nothing",
                description: "What is done already is left alone, so that it may be run again at any time. What a person \
                              has to decide, for instance that a domain is blocked, is refused with the command for it.",
                parameters: &[DOMAIN, PROXY, DIRECT, NAME, SWITCHES, FORCE],
                outputs: OUTPUTS,
                area: Area::Topology,
                changes: true,
                notes: &["-WhatIf shows the commands that would be run one by one."],
                examples: &[
                    ("Enable-CsPushRecipe push.lync.com", "The recipe of the documents, with its hosting provider."),
                    (
                        "Enable-CsPushRecipe push.example.net -ProxyFqdn edge.push.example.net -DirectPartner -Service Apple",
                        "A publisher of your own choice as a direct partner.",
                    ),
                ],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(apply(call, desk))
    }
}

async fn apply(call: &Call, desk: &Desk) -> Result<Outcome, Failure> {
    let settings = central(desk)?;
    let recipe = recipe(call, &settings)?;
    let steps = recipe.steps(&settings);
    let open: Vec<&Step> = steps.iter().filter(|step| step.state != State::Done).collect();
    if let Some(step) = open.iter().find(|step| step.put.is_none()) {
        let message = format!("{}: {}. Nothing is changed.", step.record, step.found);
        let failure = Failure::new(Category::InvalidData, "PersonDecides", message).of(step.record.as_str());
        return Err(step.command.iter().fold(failure, |failure, command| failure.advise(command.as_str())));
    }
    let mut outcome = Outcome::default();
    let commands = open.iter().filter_map(|step| step.command.as_deref());
    let edits: Vec<Edit> = open.iter().filter_map(|step| edit(step, &settings)).collect();
    if call.what_if {
        let mut next = (*settings).clone();
        for edit in &edits {
            let checked = next.apply(&edit.change, &call.caller.name, desk.clock.now());
            checked.map_err(|conflict| refusal(&conflict.into(), &edit.change.key().identity))?;
        }
        outcome.what_if.extend(commands.map(|command| format!("What if: {command}")));
        return Ok(outcome);
    }
    outcome.verbose.extend(commands.map(str::to_owned));
    if edits.is_empty() {
        outcome.verbose.push("Everything is done already; nothing is changed.".into());
    } else {
        let done = desk.settings.edit(&call.caller.name, desk.clock.now(), edits).await;
        done.map_err(|error| refusal(&error, recipe.domain.as_str()))?;
    }
    let settings = central(desk)?;
    outcome.objects.extend(rows(&recipe.steps(&settings)).into_iter().map(Value::from));
    outcome.warnings.extend(settings.warnings().iter().map(|warning| crate::family::sentence(warning)));
    outcome.verbose.push("Test-CsMcxPushNotification tries the road.".into());
    Ok(outcome)
}

/// The step's record in its place, as it was when the steps were made.
fn edit(step: &Step, settings: &Snapshot) -> Option<Edit> {
    let setting = step.put.clone()?;
    let read = Some(settings.row(&setting.key()).map_or(0, |row| row.version));
    Some(Edit { change: SettingChange::Put(setting), read })
}

fn recipe(call: &Call, settings: &Snapshot) -> Result<Recipe, Failure> {
    if call.is_on("DirectPartner") && call.domain("ProxyFqdn").is_none() {
        let message = "-DirectPartner needs -ProxyFqdn: the publisher's edge, which the allowed domain then names.";
        return Err(Failure::new(Category::InvalidArgument, "MissingMandatoryParameter", message));
    }
    let words = call.value("Service").cloned().unwrap_or_default().into_items();
    let property = |word: &Value| SERVICES.iter().find(|(known, _)| word.as_text() == Some(known)).map(|(_, it)| *it);
    let wanted = Wanted {
        domain: call.domain("Domain"),
        proxy: call.domain("ProxyFqdn"),
        direct: call.is_on("DirectPartner"),
        name: call.text("ProviderName").map(str::to_owned),
        services: words.iter().filter_map(property).collect(),
    };
    Ok(Recipe::of(wanted, settings))
}

fn rows(steps: &[Step]) -> Vec<Object> {
    let row = |(index, step): (usize, &Step)| {
        Object::new("PushRecipeStep")
            .with("Step", i64::try_from(index + 1).unwrap_or(i64::MAX))
            .with("Record", step.record.as_str())
            .with("State", step.state.as_str())
            .with("Need", step.need.as_str())
            .with("Found", step.found.as_str())
            .with("Command", step.command.clone())
    };
    steps.iter().enumerate().map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::Caller;
    use crate::run::run;
    use crate::testing::desk;

    async fn asked(name: &str, parameters: Object, desk: &Desk) -> Outcome {
        run(name, &parameters, &Caller::owner("ann"), desk).await.unwrap_or_else(|failure| panic!("{name}: {failure}"))
    }

    fn states(outcome: &Outcome) -> String {
        let text = |row: &Object, name: &str| row.property(name).map(ToString::to_string).unwrap_or_default();
        let rows = outcome.objects.iter().filter_map(Value::as_object);
        rows.map(|row| format!("{}: {}\n", text(row, "Record"), text(row, "State"))).collect()
    }

    fn commands(outcome: &Outcome) -> Vec<String> {
        let rows = outcome.objects.iter().filter_map(Value::as_object);
        rows.filter_map(|row| row.property("Command")?.as_text().map(str::to_owned)).collect()
    }

    #[tokio::test]
    async fn an_empty_store_is_told_the_documents_own_commands_and_one_command_does_them_all() {
        let desk = desk();
        let empty = asked("Get-CsPushRecipe", Object::default(), &desk).await;
        assert_eq!(
            commands(&empty),
            [
                "New-CsHostingProvider -Identity \"LyncOnline\" -Enabled $True -ProxyFqdn \"sipfed.online.lync.com\" \
                 -VerificationLevel UseSourceVerification",
                "New-CsAllowedDomain -Identity \"push.lync.com\"",
                "Set-CsPushNotificationConfiguration -EnableApplePushNotificationService $True \
                 -EnableMicrosoftPushNotificationService $True",
                "Set-CsAccessEdgeConfiguration -AllowFederatedUsers $True",
            ]
        );
        let told = asked("Enable-CsPushRecipe", Object::default().with("WhatIf", true), &desk).await;
        assert_eq!((told.what_if.len(), desk.settings.fresh().unwrap().version()), (4, 0));
        let done = asked("Enable-CsPushRecipe", Object::default(), &desk).await;
        assert_eq!(
            states(&done),
            "HostingProvider LyncOnline: Done\nAllowedDomain push.lync.com: Done\nMcxConfiguration global: Done\n\
             PushNotificationConfiguration global: Done\nAccessEdgeConfiguration global: Done\nMobilityPolicy global: \
             Done\nImFilterConfiguration global: Done\n"
        );
        assert!(done.warnings.is_empty(), "{:?}", done.warnings);
        asked("Enable-CsPushRecipe", Object::default(), &desk).await;
        assert_eq!(desk.settings.fresh().unwrap().version(), 4, "it may be run again");
    }

    #[tokio::test]
    async fn what_is_set_otherwise_is_mended_and_at_every_site() {
        let desk = desk();
        for (name, parameters) in [
            (
                "New-CsHostingProvider",
                Object::default()
                    .with("Identity", "Online")
                    .with("Enabled", false)
                    .with("ProxyFqdn", "sipfed.online.lync.com"),
            ),
            (
                "Set-CsMcxConfiguration",
                Object::default()
                    .with("Identity", "site:Redmond")
                    .with("PushNotificationProxyUri", "sip:push@elsewhere.example"),
            ),
            ("Set-CsMobilityPolicy", Object::default().with("EnablePushNotifications", false)),
            ("Set-CsImFilterConfiguration", Object::default().with("Action", "Block")),
        ] {
            asked(name, parameters, &desk).await;
        }
        let wanted = || Object::default().with("Domain", "push.lync.com").with("Service", "Apple");
        let found = asked("Get-CsPushRecipe", wanted(), &desk).await;
        assert_eq!(
            commands(&found),
            [
                "Enable-CsHostingProvider -Identity \"Online\"",
                "New-CsAllowedDomain -Identity \"push.lync.com\"",
                "Set-CsMcxConfiguration -Identity \"site:Redmond\" -PushNotificationProxyUri \"sip:push@push.lync.com\"",
                "Set-CsPushNotificationConfiguration -EnableApplePushNotificationService $True",
                "Set-CsAccessEdgeConfiguration -AllowFederatedUsers $True",
                "Set-CsMobilityPolicy -EnablePushNotifications $True",
                "Set-CsImFilterConfiguration -Prefixes @{Remove=\"http:\",\"https:\"}",
            ]
        );
        let done = asked("Enable-CsPushRecipe", wanted(), &desk).await;
        assert!(!states(&done).contains("Wrong") && !states(&done).contains("Missing"), "{}", states(&done));
    }

    #[tokio::test]
    async fn a_direct_partner_needs_no_provider_and_a_blocked_domain_a_person() {
        let desk = desk();
        let direct = || {
            Object::default()
                .with("Domain", "push.example.net")
                .with("ProxyFqdn", "edge.push.example.net")
                .with("DirectPartner", true)
        };
        let block = Object::default().with("Identity", "push.example.net");
        asked("New-CsBlockedDomain", block.clone(), &desk).await;
        let refused = run("Enable-CsPushRecipe", &direct(), &Caller::owner("ann"), &desk).await.unwrap_err();
        assert_eq!(refused.advice.as_deref(), Some("Remove-CsBlockedDomain -Identity push.example.net"));
        asked("Remove-CsBlockedDomain", block, &desk).await;
        let done = asked("Enable-CsPushRecipe", direct(), &desk).await;
        assert!(states(&done).starts_with("AllowedDomain push.example.net: Done\n"), "{}", states(&done));
        // What is there tells the way: nothing more need be said the next time.
        let again = asked("Get-CsPushRecipe", Object::default(), &desk).await;
        assert!(commands(&again).is_empty(), "{:?}", commands(&again));
    }
}
