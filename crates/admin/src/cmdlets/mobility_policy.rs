//! `CsMobilityPolicy`: what mobile users may do (lync.md §1.5).

use reveille_core::Aor;
use reveille_core::names::NameError;
use reveille_core::settings::{MobilityPolicy, PolicyGrant, Setting, SettingKey};

use super::policy_grant::GRANTS;
use crate::call::Call;
use crate::cmdlet::{About, Area, Cmdlet, Name, Outcome, Parameter, Pipeline, Running, Verb};
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::family::cmdlet::{cmdlet, joined};
use crate::family::parameters::{
    FILTER, FORCE, IN_MEMORY, LOCAL_STORE, TENANT, changed, instance, named, removed, wanted,
};
use crate::family::{Family, central, sentence};
use crate::kind::Kind;
use crate::value::Object;

const OUTPUTS: &[&str] = &[
    "Identity",
    "Description",
    "EnableMobility",
    "EnablePushNotifications",
    "EnableOutsideVoice",
    "EnableIPAudioVideo",
    "RequireWIFIForIPAudio",
    "RequireWIFIForIPVideo",
    "RequireWiFiForSharing",
    "AllowAutomaticPstnFallback",
    "AllowCustomerExperienceImprovementProgram",
    "AllowDeviceContactsSync",
    "AllowExchangeConnectivity",
    "AllowSaveCallLogs",
    "AllowSaveCredentials",
    "AllowSaveIMHistory",
    "EncryptAppData",
    "RequireIntune",
    "VoiceSettings",
];
const IDENTITY: &str = "Where it applies: global, site:Name, or a name of your choice that is granted to users";
const FAMILY: Family = Family {
    default: Some(|| Setting::MobilityPolicy(MobilityPolicy::default())),
    ..Family::new("CsMobilityPolicy", Area::Scoped, OUTPUTS)
};
const INSTANCE: Parameter = instance("MobilityPolicy", "The object, as Get-CsMobilityPolicy gives it");
const APPLICABLE_TO: Parameter = Parameter::new(
    "ApplicableTo",
    Kind::User,
    "The user whose policy is asked for: the one that holds, wherever it comes from",
);
const INCLUDE: Parameter = Parameter::new(
    "Include",
    Kind::Choice(&["Automatic", "SubscriptionDefaults", "TenantDefinedOnly"]),
    "Accepted for old scripts",
);
/// The properties that New and Set take.
const PROPERTIES: &[Parameter] = &[
    Parameter::new(
        "AllowAutomaticPstnFallback",
        Kind::Bool,
        "Whether a call falls back to the mobile network by itself",
    )
    .or("False"),
    Parameter::new(
        "AllowCustomerExperienceImprovementProgram",
        Kind::Bool,
        "Whether clients may report how they are used",
    )
    .or("True"),
    Parameter::new("AllowDeviceContactsSync", Kind::Bool, "Whether contacts of the device are read").or("True"),
    Parameter::new("AllowExchangeConnectivity", Kind::Bool, "Whether the mailbox may be reached").or("True"),
    Parameter::new("AllowSaveCallLogs", Kind::Bool, "Whether the client keeps a list of calls").or("True"),
    Parameter::new("AllowSaveCredentials", Kind::Bool, "Whether the client keeps the password").or("True"),
    Parameter::new("AllowSaveIMHistory", Kind::Bool, "Whether the client keeps what was written").or("True"),
    Parameter::new("Description", Kind::Text, "For people"),
    Parameter::new("EnableIPAudioVideo", Kind::Bool, "Whether sound and pictures go over IP").or("True"),
    Parameter::new("EnableMobility", Kind::Bool, "Whether mobile apps may be used at all").or("True"),
    Parameter::new("EnableOutsideVoice", Kind::Bool, "Whether calls may be made by the work number from outside")
        .or("True"),
    Parameter::new("EnablePushNotifications", Kind::Bool, "Whether their phones may be woken").or("True"),
    Parameter::new("EncryptAppData", Kind::Bool, "Whether the client encrypts what it keeps").or("False"),
    Parameter::new("RequireIntune", Kind::Bool, "Whether the device must be managed").or("False"),
    Parameter::new("RequireWIFIForIPVideo", Kind::Bool, "Whether pictures over IP need Wi-Fi").or("False"),
    Parameter::new("RequireWiFiForSharing", Kind::Bool, "Whether sharing needs Wi-Fi").or("False"),
    Parameter::new(
        "VoiceSettings",
        Kind::Choice(&["VoIPAlways", "VoIPOverWiFi", "Cellular"]),
        "Over which network calls are made; the client's choice when absent",
    ),
];
const REQUIRE_WIFI_FOR_IP_AUDIO: Parameter =
    Parameter::new("RequireWIFIForIPAudio", Kind::Bool, "Whether sound over IP needs Wi-Fi").or("False");

/// `Get-CsMobilityPolicy`
pub(super) struct Get;

impl Cmdlet for Get {
    fn about(&self) -> &'static About {
        const {
            &About {
                summary: "Shows mobility policies, or the one that holds for a user",
                parameters: &[wanted(Kind::PolicyScope, IDENTITY), FILTER, APPLICABLE_TO, INCLUDE, LOCAL_STORE, TENANT],
                examples: &[(
                    "Get-CsMobilityPolicy -ApplicableTo sip:kenmyer@litwareinc.com",
                    "The policy that holds for a user: the one granted, else the site's, else the global one.",
                )],
                ..FAMILY.about(Verb::Get)
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async move {
            match call.text("ApplicableTo").map(|text| user(text, desk)).transpose()? {
                Some(user) => applicable(&user, desk),
                None => FAMILY.get(call, desk).await,
            }
        })
    }
}

cmdlet!(
    /// `New-CsMobilityPolicy`
    New of FAMILY {
        summary: "Makes a mobility policy",
        description: "The second of the five gates that a push passes: EnableMobility and EnablePushNotifications. \
                      The other properties are for clients, which read them.",
        parameters: joined![[named(Kind::PolicyScope, IDENTITY)], PROPERTIES, [IN_MEMORY, TENANT, FORCE]],
        examples: &[(
            "New-CsMobilityPolicy -Identity \"NoPush\" -EnablePushNotifications $False",
            "A policy for those whose phones are left alone; Grant-CsMobilityPolicy gives it to them.",
        )],
    }
);

cmdlet!(
    /// `Set-CsMobilityPolicy`
    Set of FAMILY {
        summary: "Changes a mobility policy",
        parameters: joined![
            [changed(Kind::PolicyScope, IDENTITY).at(1), INSTANCE],
            PROPERTIES,
            [REQUIRE_WIFI_FOR_IP_AUDIO, TENANT, FORCE],
        ],
    }
);

cmdlet!(
    /// `Remove-CsMobilityPolicy`
    Remove of FAMILY {
        summary: "Removes a mobility policy that nobody has; the global one has its defaults again",
        parameters: &[removed(Kind::PolicyScope, IDENTITY), TENANT, FORCE],
    }
);

/// `Grant-CsMobilityPolicy`
pub(super) struct Grant;

impl Cmdlet for Grant {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Grant, FAMILY.noun),
                summary: "Gives a user a mobility policy of their own, or takes it away",
                parameters: &[
                    Parameter::new("Identity", Kind::User, "The user: bob, bob@contoso.com, sip:bob@contoso.com")
                        .required()
                        .at(1)
                        .from(Pipeline::Both),
                    Parameter::new(
                        "PolicyName",
                        Kind::Text,
                        "The policy's name; with $null the site's policy holds again, else the global one",
                    )
                    .at(2),
                    Parameter::new("PassThru", Kind::Switch, "Gives the user with the policy"),
                    Parameter::new("DomainController", Kind::Domain, "Accepted for old scripts: there is no directory"),
                    TENANT,
                ],
                outputs: &["Identity", "MobilityPolicy"],
                area: Area::Users,
                changes: true,
                notes: &["A policy stays as long as somebody has it."],
                examples: &[
                    ("Grant-CsMobilityPolicy -Identity sip:kenmyer@litwareinc.com -PolicyName NoPush", "From now on."),
                    (
                        "Grant-CsMobilityPolicy -Identity sip:kenmyer@litwareinc.com -PolicyName $null",
                        "As others again.",
                    ),
                ],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async move {
            let text = call.text("Identity").unwrap_or_default();
            let user = user(text, desk)?;
            let policy = call.text("PolicyName").unwrap_or_default();
            let policy =
                policy.get(..4).filter(|tag| tag.eq_ignore_ascii_case("tag:")).map_or(policy, |_| &policy[4..]);
            let mut outcome = match policy {
                "" => GRANTS.take(&user.to_string(), call, desk).await?,
                policy => {
                    let doubt = known(&user, text, desk)?;
                    let grant = PolicyGrant { identity: user.clone(), mobility_policy: policy.to_owned() };
                    let mut outcome = GRANTS.put(Setting::PolicyGrant(grant), call, desk).await?;
                    outcome.warnings.extend(doubt);
                    outcome
                }
            };
            if call.is_on("PassThru") {
                let granted = Object::new("PolicyGrant").with("Identity", user.to_sip_uri());
                outcome.objects.push(granted.with("MobilityPolicy", policy).into());
            }
            Ok(outcome)
        })
    }
}

/// The user of that name; a short one only where their home is.
fn user(text: &str, desk: &Desk) -> Result<Aor, Failure> {
    if let Some(known) = desk.ports.devices.as_ref().and_then(|home| home.named(text)) {
        return Ok(known);
    }
    text.parse().map_err(|why: NameError| {
        let message = format!("{} Here no home knows such a user by a shorter name.", sentence(&why.to_string()));
        Failure::new(Category::InvalidArgument, "InvalidUser", message).of(text)
    })
}

/// Whether there is such a user: refused where the home that would know says no; a doubt where no home can be asked.
fn known(user: &Aor, text: &str, desk: &Desk) -> Result<Option<String>, Failure> {
    match &desk.ports.devices {
        Some(home) if home.named(text).is_some() => Ok(None),
        Some(home) => {
            let name = home.name();
            let message = format!(
                "There is no user {user} at this home, {name}: a user is named as in its users file, or as sip:name@domain \
                 in a domain of it. A user of another home is granted a policy there."
            );
            Err(Failure::new(Category::ObjectNotFound, "UserNotFound", message).of(text))
        }
        None => Ok(Some(format!(
            "No home runs in this server, so nobody has looked whether there is a user {user}; Get-CsMobilityPolicy \
             -ApplicableTo {user}, asked of the home, says what holds."
        ))),
    }
}

/// The policy that holds for a user: at the site of the home in this process, else at the first that is declared.
fn applicable(user: &Aor, desk: &Desk) -> Result<Outcome, Failure> {
    let settings = central(desk)?;
    let home = desk.ports.devices.as_ref().map(|home| home.site());
    let site = home.or_else(|| desk.sites.first().cloned()).unwrap_or_default();
    let policy = settings.mobility_policy_of(user, &site);
    let from = policy.to_string();
    let key = policy.from.map(|scope| SettingKey::new("MobilityPolicy", &scope.to_string()));
    let written = key.and_then(|key| settings.row(&key).cloned());
    let row = written.unwrap_or_else(|| FAMILY.rows(&settings).swap_remove(0));
    let mut outcome = Outcome::of([FAMILY.object(&row)]);
    outcome.verbose.push(format!("{user} has it from {from}."));
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use crate::cmdlets::fakes::{self, Home, run};

    #[tokio::test]
    async fn a_policy_is_not_granted_to_a_slip_of_the_pen() {
        let desk = fakes::desk(Some(Home::default()), None);
        run(&desk, "New-CsMobilityPolicy", &[("Identity", "NoPush")]).await.expect("a policy");
        let grant = |user: &'static str| [("Identity", user), ("PolicyName", "NoPush")];
        let nobody = run(&desk, "Grant-CsMobilityPolicy", &grant("bbo@contoso.com")).await.expect_err("nobody");
        assert_eq!(&*nobody.id, "UserNotFound");
        assert!(nobody.message.contains("no user bbo@contoso.com at this home, home.contoso.com"), "{nobody}");
        let bob = run(&desk, "Grant-CsMobilityPolicy", &grant("bob@contoso.com")).await.expect("he is known");
        assert!(bob.warnings.is_empty(), "{bob:?}");
        // What was granted before a user left can be taken back.
        let back = [("Identity", "bbo@contoso.com"), ("PolicyName", "")];
        assert!(run(&desk, "Grant-CsMobilityPolicy", &back).await.is_ok());
    }

    #[tokio::test]
    async fn where_no_home_runs_a_grant_says_that_nobody_has_looked() {
        let desk = fakes::desk(None, None);
        run(&desk, "New-CsMobilityPolicy", &[("Identity", "NoPush")]).await.expect("a policy");
        let grant = [("Identity", "bbo@contoso.com"), ("PolicyName", "NoPush")];
        let granted = run(&desk, "Grant-CsMobilityPolicy", &grant).await.expect("it is taken");
        assert!(granted.warnings[0].contains("nobody has looked"), "{granted:?}");
    }
}
