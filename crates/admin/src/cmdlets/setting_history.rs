//! `CsSettingHistory`: who changed what, when, and what it was before.

use reveille_core::settings::{Setting, SettingChange};
use reveille_store::{Past, SettingHistory};

use super::admin_audit::{WHEN, instant};
use super::remedy::unread;
use crate::call::Call;
use crate::cmdlet::{About, Area, Cmdlet, Name, Outcome, Parameter, Pipeline, Running, Verb};
use crate::desk::Desk;
use crate::failure::Failure;
use crate::family::{difference, record};
use crate::kind::Kind;
use crate::value::Object;

const OUTPUTS: &[&str] = &["Version", "Time", "Author", "Kind", "Identity", "Deed", "Changes"];

/// `Get-CsSettingHistory`
pub(super) struct Get;

impl Cmdlet for Get {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Get, "CsSettingHistory"),
                summary: "Shows who changed which setting, when, and what it was before; the newest first",
                parameters: &[
                    Parameter::new("Kind", Kind::Text, "Of which kind, for instance AllowedDomain or CsAllowedDomain")
                        .at(1),
                    Parameter::new("Identity", Kind::Text, "Of which record").at(2).from(Pipeline::ByName),
                    Parameter::new("Author", Kind::Text, "By whom"),
                    Parameter::new("Since", Kind::Text, WHEN),
                    Parameter::new("First", Kind::Int { min: 1, max: 10_000 }, "How many, of the newest")
                        .alias(&["Last"])
                        .or("100"),
                ],
                outputs: OUTPUTS,
                area: Area::Topology,
                notes: &["The newest 10,000 changes are kept."],
                examples: &[
                    ("Get-CsSettingHistory AllowedDomain push.lync.com", "What happened to one record."),
                    ("Get-CsSettingHistory -Since 24h", "What was changed within a day."),
                ],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async { history(call, desk) })
    }
}

fn history(call: &Call, desk: &Desk) -> Result<Outcome, Failure> {
    let now = desk.clock.now();
    // As cmdlets name it, and as objects show it: Site:Redmond and site:Redmond are one.
    let kind = call.text("Kind").map(|kind| match kind.get(..2) {
        Some(prefix) if prefix.eq_ignore_ascii_case("Cs") => kind[2..].to_owned(),
        _ => kind.to_owned(),
    });
    let shown = call.int("First").and_then(|first| usize::try_from(first).ok()).unwrap_or(100);
    let past = Past {
        kind,
        identity: call.text("Identity").map(str::to_owned),
        author: call.text("Author").map(str::to_owned),
        since: call.text("Since").map(|text| instant(text, now)).transpose()?,
        // One more, to know whether there are more.
        limit: shown + 1,
    };
    let mut entries = desk.settings.history(&past).map_err(|error| unread(desk, &error))?;
    let more = entries.len() > shown;
    entries.truncate(shown);
    let mut outcome = Outcome::of(entries.iter().map(object));
    if more && call.value("First").is_none() {
        outcome
            .warnings
            .push(format!("These are the newest {shown} changes that fit; -First 10000 shows all that are kept."));
    }
    Ok(outcome)
}

fn object(entry: &SettingHistory) -> Object {
    let key = entry.change.key();
    let before = entry.before.as_ref().map(record);
    let (identity, deed, changes) = match &entry.change {
        SettingChange::Put(setting) => {
            let deed = if before.is_some() { "Changed" } else { "Made" };
            // What a new record has like everybody's default is not worth a line.
            let base = before.or_else(|| default_of(setting).as_ref().map(record));
            (setting.identity(), deed, difference(base.as_ref(), &record(setting)))
        }
        SettingChange::Remove(_) => {
            let identity = entry.before.as_ref().map_or_else(|| key.identity.clone(), |setting| setting.identity());
            // What holds then: the defaults, or nothing.
            let after = entry.before.as_ref().and_then(default_of).as_ref().map(record).unwrap_or_default();
            (identity, "Removed", difference(before.as_ref(), &after))
        }
    };
    Object::new("SettingHistory")
        .with("Version", i64::try_from(entry.version).unwrap_or(i64::MAX))
        .with("Time", entry.at.to_string())
        .with("Author", entry.author.as_str())
        .with("Kind", key.kind)
        .with("Identity", identity)
        .with("Deed", deed)
        .with("Changes", changes)
}

/// What holds where nobody has made a record of that kind.
fn default_of(setting: &Setting) -> Option<Setting> {
    Some(match setting {
        Setting::AccessEdgeConfiguration(_) => Setting::AccessEdgeConfiguration(Default::default()),
        Setting::AutodiscoverConfiguration(_) => Setting::AutodiscoverConfiguration(Default::default()),
        Setting::ImFilterConfiguration(_) => Setting::ImFilterConfiguration(Default::default()),
        Setting::McxConfiguration(_) => Setting::McxConfiguration(Default::default()),
        Setting::MobilityPolicy(_) => Setting::MobilityPolicy(Default::default()),
        Setting::PushNotificationConfiguration(_) => Setting::PushNotificationConfiguration(Default::default()),
        Setting::AdminRole(_)
        | Setting::AllowedDomain(_)
        | Setting::BlockedDomain(_)
        | Setting::HealthMonitoringConfiguration(_)
        | Setting::HostingProvider(_)
        | Setting::PolicyGrant(_)
        | Setting::ProbeSchedule(_)
        | Setting::PublicProvider(_)
        | Setting::PushAccount(_)
        | Setting::PushApp(_)
        | Setting::PushQuota(_) => return None,
    })
}

#[cfg(test)]
mod tests {
    use crate::call::Caller;
    use crate::run::run;
    use crate::testing::desk;
    use crate::value::{Object, Value};

    #[tokio::test]
    async fn a_record_s_past_is_told_with_author_deed_and_values() {
        let desk = desk();
        let domain = || Object::default().with("Identity", "contoso.com");
        let steps = [
            ("ann", "New-CsAllowedDomain", domain()),
            ("ben", "Set-CsAllowedDomain", domain().with("Comment", "ours")),
            ("ben", "New-CsBlockedDomain", Object::default().with("Identity", "fabrikam.com")),
            ("cat", "Remove-CsAllowedDomain", domain()),
            ("ann", "Set-CsAccessEdgeConfiguration", Object::default().with("AllowFederatedUsers", true)),
        ];
        for (author, name, parameters) in steps {
            run(name, &parameters, &Caller::owner(author), &desk).await.unwrap();
        }
        let edge = Object::default().with("Kind", "AccessEdgeConfiguration");
        let told = run("Get-CsSettingHistory", &edge, &Caller::owner("ann"), &desk).await.unwrap();
        let row = told.objects[0].as_object().unwrap();
        assert_eq!(row.property("Changes"), Some(&vec!["AllowFederatedUsers: false → true"].into()));
        let asked = Object::default().with("Kind", "CsAllowedDomain").with("Identity", "Contoso.com");
        let told = run("Get-CsSettingHistory", &asked, &Caller::owner("ann"), &desk).await.unwrap();
        let rows: Vec<String> = told
            .objects
            .iter()
            .filter_map(Value::as_object)
            .map(|row| {
                let text = |name: &str| row.property(name).map(ToString::to_string).unwrap_or_default();
                format!("{} {} {}: {}", text("Version"), text("Author"), text("Deed"), text("Changes"))
            })
            .collect();
        assert_eq!(
            rows,
            [
                "4 cat Removed: Comment: ours → nothing MarkForMonitoring: false → nothing VerificationLevel: \
                 UseSourceVerification → nothing",
                "2 ben Changed: Comment: nothing → ours",
                "1 ann Made: MarkForMonitoring: nothing → false VerificationLevel: nothing → UseSourceVerification",
            ]
        );
    }

    #[tokio::test]
    async fn what_a_history_leaves_out_is_said_and_either_word_says_how_many() {
        let desk = desk();
        let told = async |parameters: Object| {
            run("Get-CsSettingHistory", &parameters, &Caller::owner("ann"), &desk).await.unwrap()
        };
        for number in 0..101 {
            let domain = Object::default().with("Identity", format!("d{number}.example"));
            run("New-CsAllowedDomain", &domain, &Caller::owner("ann"), &desk).await.unwrap();
        }
        let newest = told(Object::default()).await;
        assert_eq!(newest.objects.len(), 100);
        assert!(newest.warnings[0].contains("-First 10000"), "{:?}", newest.warnings);
        for (word, shown) in [("First", 2_i64), ("Last", 3), ("First", 200)] {
            let some = told(Object::default().with(word, shown)).await;
            assert_eq!(some.objects.len(), usize::try_from(shown).unwrap().min(101), "{word}");
            assert!(some.warnings.is_empty(), "who says how many knows: {:?}", some.warnings);
        }
    }
}
