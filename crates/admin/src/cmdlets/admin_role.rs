//! `CsAdminRole`: who may run what (lync.md §1.7). The predefined roles are part of the product and cannot be changed; a
//! role of one's own starts from one of them.

use reveille_core::settings::{AdminRole, Setting, SettingKey, Snapshot};

use super::admin_account::unavailable;
use crate::call::{Call, Caller};
use crate::cmdlet::{About, Area, Cmdlet, Name, Outcome, Parameter, Pipeline, Running, Verb};
use crate::cmdlets::find;
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::family::{Family, Planned, central, fits, settled};
use crate::kind::Kind;
use crate::roles::{self, ConfigReach, Excess, Grant, PREDEFINED, Role, UserReach, custom, removal};
use crate::value::{Object, Value};

const NOUN: &str = "CsAdminRole";
const OUTPUTS: &[&str] =
    &["Identity", "SID", "IsStandardRole", "Cmdlets", "ScriptModules", "ConfigScopes", "UserScopes", "Template"];
const FAMILY: Family = Family::new("CsAdminRole", Area::Administration, OUTPUTS);
const LIST: Kind = Kind::Modifier(&Kind::Text);
const CMDLET_LIST: Parameter = Parameter::new("Cmdlets", LIST, "The cmdlets; those of the template when left out");
const CONFIG_SCOPES: Parameter =
    Parameter::new("ConfigScopes", LIST, "What of the configuration it changes: global, site:Name");
const USER_SCOPES: Parameter = Parameter::new(
    "UserScopes",
    LIST,
    "Whom it looks after: global, domain:contoso.com, user:alice@contoso.com (there are no organisational units)",
);
const SCRIPT_MODULES: Parameter =
    Parameter::new("ScriptModules", LIST, "Kept and shown; scripts run with the rights of whoever runs them");
const FORCE: Parameter = Parameter::new("Force", Kind::Switch, "Does not ask");
const SID: &str = "Accepted for old scripts; no role has one here";

/// `Get-CsAdminRole`
pub(super) struct Get;

impl Cmdlet for Get {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Get, NOUN),
                summary: "Shows roles: their cmdlets and what they reach",
                description: "The predefined roles come first. Locally the groups of [admin.groups] say who may do what, \
                              remotely the roles of an account.",
                parameters: &[
                    Parameter::new("Identity", Kind::Text, "The role's name")
                        .at(2)
                        .of(&["Identity"])
                        .from(Pipeline::ByValue),
                    Parameter::new("Filter", Kind::Text, "A pattern with * that the name must fit").of(&["Filter"]),
                    Parameter::new("Sid", Kind::Text, SID).at(2).of(&["SID"]),
                    Parameter::new("LocalStore", Kind::Switch, "Reads this machine's replica"),
                    Parameter::new("CanRun", Kind::Text, "Only roles that have this cmdlet"),
                ],
                sets: &["Identity", "Filter", "SID"],
                outputs: OUTPUTS,
                area: Area::Administration,
                notes: &[
                    "-CanRun takes a cmdlet's whole name; -match finds parts of names too, unless \\b stands around.",
                ],
                examples: &[
                    (
                        "Get-CsAdminRole | Where-Object {$_.Cmdlets -match \"\\bTest-CsMcxPushNotification\\b\"}",
                        "Shows who may run the push test.",
                    ),
                    (
                        "Get-CsAdminRole -CanRun Test-CsMcxPushNotification",
                        "The same, and says if there is no such cmdlet.",
                    ),
                ],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async { get(call, desk) })
    }
}

fn get(call: &Call, desk: &Desk) -> Result<Outcome, Failure> {
    let wanted = call.text("Identity");
    let runs =
        call.text("CanRun").map(|name| find(name).map(|it| it.about().name).ok_or_else(|| custom::no_cmdlet(name)));
    let runs = runs.transpose()?;
    let fit = |name: &str| {
        wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(name))
            && call.text("Filter").is_none_or(|pattern| fits(pattern, name))
            && call.text("Sid").is_none()
    };
    let settings = if call.is_on("LocalStore") { desk.settings.snapshot() } else { central(desk)? };
    let has = |grant: Grant| runs.is_none_or(|name| grant.cmdlets.contains(&name));
    let standard = PREDEFINED.iter().filter(|role| fit(role.name) && has(role.grant())).map(standard);
    let customs = settings.admin_roles().filter(|role| fit(&role.identity) && has(Grant::of_custom(role))).map(object);
    let found: Vec<Object> = standard.chain(customs).collect();
    match wanted {
        Some(wanted) if found.is_empty() => Err(not_found(wanted)),
        _ => Ok(Outcome::of(found)),
    }
}

/// `New-CsAdminRole`
pub(super) struct New;

impl Cmdlet for New {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::New, NOUN),
                summary: "Makes a role of one's own from a predefined one",
                description: "It has the template's cmdlets unless -Cmdlets says otherwise, and reaches what its scopes \
                              name and nothing else. Nobody can make a role that gives more than his own do.",
                parameters: &[
                    Parameter::new("Identity", Kind::Text, "Its name: letters, digits, '.', '-', '_'").required().at(2),
                    Parameter::new("Template", Kind::Text, "The predefined role that it starts from").required(),
                    CMDLET_LIST,
                    CONFIG_SCOPES,
                    USER_SCOPES,
                    SCRIPT_MODULES,
                    Parameter::new("InMemory", Kind::Switch, "Makes the object only"),
                    FORCE,
                ],
                outputs: OUTPUTS,
                area: Area::Administration,
                changes: true,
                notes: &["At least one of ConfigScopes and UserScopes must be given."],
                examples: &[(
                    "New-CsAdminRole -Identity RedmondAdministrator -Template CsServerAdministrator -ConfigScopes site:Redmond",
                    "A role whose holders change the records of the site Redmond only.",
                )],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async move {
            let name = call.text("Identity").unwrap_or_default();
            let template = call.text("Template").unwrap_or_default();
            let all = |role: &Role| role.grant().cmdlets.iter().map(ToString::to_string).collect();
            let mut start = AdminRole {
                identity: name.to_owned(),
                template: template.to_owned(),
                cmdlets: roles::predefined(template).map(all).unwrap_or_default(),
                script_modules: Vec::new(),
                config_scopes: Vec::new(),
                user_scopes: Vec::new(),
            };
            apply(call, &mut start);
            custom::check_new(&mut start, Some(&desk.sites))?;
            may_hold(&call.caller, &start)?;
            // Of a role that there is, its holders are no obstacle: that it is there is.
            if roles::made(name, &*central(desk)?).is_none() {
                custom::check_unheld(name, &desk.accounts.accounts().map_err(unavailable)?)?;
            }
            let mut outcome = FAMILY.create(&spelt_out(call, &start), desk).await?;
            for made in &mut outcome.objects {
                if let Some(record) = made.as_object() {
                    *made = completed(&start, record).into();
                }
            }
            Ok(outcome)
        })
    }
}

/// `Set-CsAdminRole`
pub(super) struct Set;

impl Cmdlet for Set {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Set, NOUN),
                summary: "Changes the cmdlets or the reach of a role of one's own",
                parameters: &[
                    Parameter::new("Identity", Kind::Text, "The role's name").required().at(2).from(Pipeline::ByName),
                    CMDLET_LIST,
                    CONFIG_SCOPES,
                    USER_SCOPES,
                    SCRIPT_MODULES,
                    FORCE,
                ],
                area: Area::Administration,
                changes: true,
                notes: &["It holds from the next call of everybody who has the role."],
                examples: &[(
                    "Set-CsAdminRole -Identity RedmondAdministrator -Cmdlets @{Add=\"Grant-CsMobilityPolicy\"} -UserScopes global",
                    "Adds a cmdlet that is about users, and the users that it may be used for.",
                )],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async move {
            let name = changeable(call.text("Identity").unwrap_or_default(), desk)?.identity;
            let edit = |role: &mut AdminRole| {
                // Before and after: who could cripple a role that is mightier than his own would rule over its holders.
                may_hold(&call.caller, role)?;
                apply(call, role);
                custom::spell(role, Some(&desk.sites))?;
                may_hold(&call.caller, role)
            };
            rewrite(&name, call, desk, edit).await
        })
    }
}

/// `Remove-CsAdminRole`
pub(super) struct Remove;

impl Cmdlet for Remove {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Remove, NOUN),
                summary: "Removes a role of one's own; whoever has it loses what it gave",
                parameters: &[
                    Parameter::new("Identity", Kind::Text, "The role's name")
                        .required()
                        .at(2)
                        .of(&["Identity"])
                        .from(Pipeline::ByName),
                    Parameter::new("Filter", Kind::Text, "A pattern with * that the name must fit").of(&["Filter"]),
                    Parameter::new("Sid", Kind::Text, SID).required().of(&["SID"]),
                    FORCE,
                ],
                sets: &["Identity", "Filter", "SID"],
                area: Area::Administration,
                changes: true,
                asks: true,
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async move {
            let names: Vec<String> = match (call.text("Identity"), call.text("Filter")) {
                (Some(name), _) => vec![changeable(name, desk)?.identity],
                (None, Some(pattern)) => {
                    let settings = central(desk)?;
                    settings
                        .admin_roles()
                        .map(|role| role.identity.clone())
                        .filter(|name| fits(pattern, name))
                        .collect()
                }
                (None, None) => match call.text("Sid") {
                    Some(sid) => return Err(not_found(sid)),
                    None => return Err(custom::invalid("", "is no role: give -Identity or -Filter")),
                },
            };
            let mut done = Outcome::default();
            for name in names {
                let said =
                    if call.what_if { would_go(&name, call, desk).await? } else { go(&name, call, desk).await? };
                done.verbose.extend(said.verbose);
                done.what_if.extend(said.what_if);
                done.warnings.extend(said.warnings);
            }
            Ok(done)
        })
    }
}

/// `Update-CsAdminRole`
pub(super) struct Update;

impl Cmdlet for Update {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Update, NOUN),
                summary: "Compares roles of one's own with their templates as this version has them",
                description: "Names of cmdlets that no longer exist are taken out. What a template has gained is named \
                              and not given: nobody's rights grow by an upgrade.",
                parameters: &[FORCE],
                area: Area::Administration,
                changes: true,
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async move {
            let settings = central(desk)?;
            let mut done = Outcome::default();
            for role in settings.admin_roles() {
                let template = roles::predefined(&role.template).map(Role::grant);
                let gained: Vec<String> = template
                    .iter()
                    .flat_map(|grant| &grant.cmdlets)
                    .map(ToString::to_string)
                    .filter(|name| !role.cmdlets.iter().any(|own| own.eq_ignore_ascii_case(name)))
                    .collect();
                if !gained.is_empty() {
                    done.warnings.push(format!(
                        "{} lacks what {} has: {}. Set-CsAdminRole -Identity {} -Cmdlets @{{Add=…}} adds it.",
                        role.identity,
                        role.template,
                        gained.join(", "),
                        role.identity
                    ));
                }
                if role.cmdlets.iter().all(|name| find(name).is_some()) {
                    continue;
                }
                let edit = |role: &mut AdminRole| {
                    role.cmdlets.retain(|name| find(name).is_some());
                    Ok(())
                };
                let outcome = rewrite(&role.identity, call, desk, edit).await?;
                done.verbose.extend(outcome.verbose);
                done.what_if.extend(outcome.what_if);
            }
            Ok(done)
        })
    }
}

/// Changes a role as it is when it is written: made and judged anew whenever somebody else was faster, so that no list of
/// an earlier version comes back.
async fn rewrite(
    name: &str,
    call: &Call,
    desk: &Desk,
    edit: impl Fn(&mut AdminRole) -> Result<(), Failure>,
) -> Result<Outcome, Failure> {
    let key = SettingKey::new(FAMILY.kind, name);
    let plan = |settings: &Snapshot| {
        let row = settings.row(&key).cloned().ok_or_else(|| not_found(name))?;
        let Setting::AdminRole(mut role) = row.setting.clone() else { return Err(not_found(name)) };
        edit(&mut role)?;
        Ok(Planned::put(&FAMILY, Setting::AdminRole(role), Some(row), None))
    };
    settled(call, desk, plan).await
}

/// What the call's lists make of a role.
fn apply(call: &Call, role: &mut AdminRole) {
    for (parameter, list) in [
        ("Cmdlets", &mut role.cmdlets),
        ("ConfigScopes", &mut role.config_scopes),
        ("UserScopes", &mut role.user_scopes),
        ("ScriptModules", &mut role.script_modules),
    ] {
        if let Some(value) = call.value(parameter) {
            *list = changed(list, value);
        }
    }
}

/// A list after a modifier, or replaced by another list.
fn changed(before: &[String], value: &Value) -> Vec<String> {
    let side = |object: &Object, name: &str| -> Option<Vec<String>> {
        let items = object.property(name)?.clone().into_items();
        Some(items.iter().map(ToString::to_string).collect())
    };
    let Some(modifier) = value.as_object() else {
        return value.clone().into_items().iter().map(ToString::to_string).collect();
    };
    if let Some(replaced) = side(modifier, "Replace") {
        return replaced;
    }
    let removed = side(modifier, "Remove").unwrap_or_default();
    let is_among = |names: &[String], name: &str| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    let mut after: Vec<String> = before.iter().filter(|name| !is_among(&removed, name)).cloned().collect();
    for name in side(modifier, "Add").unwrap_or_default() {
        if !is_among(&after, &name) {
            after.push(name);
        }
    }
    after
}

/// The call with the role's lists as they shall be.
fn spelt_out(call: &Call, role: &AdminRole) -> Call {
    let mut call = call.clone();
    call.values.insert("Cmdlets", role.cmdlets.clone().into());
    call.values.insert("ConfigScopes", role.config_scopes.clone().into());
    call.values.insert("UserScopes", role.user_scopes.clone().into());
    if let Some(template) = call.values.get_mut("Template") {
        *template = role.template.as_str().into();
    }
    call
}

fn may_hold(caller: &Caller, role: &AdminRole) -> Result<(), Failure> {
    let excess = |excess: Excess| excess.failure(caller, &format!("make or change the role {}", role.identity));
    caller.rights.covers(&Grant::of_custom(role)).map_err(excess)
}

/// Removes one role, from its accounts and then itself.
async fn go(name: &str, call: &Call, desk: &Desk) -> Result<Outcome, Failure> {
    let files = removal::Files { settings: &*desk.settings, accounts: &*desk.accounts };
    let may = |role: &AdminRole| may_hold(&call.caller, role);
    let removed = removal::remove(name, &call.caller.name, desk.clock.now(), files, may).await?;
    let freed = removed.ok_or_else(|| not_found(name))?;
    let mut done = Outcome { verbose: vec![format!("AdminRole \"{name}\" is removed.")], ..Outcome::default() };
    if !freed.is_empty() {
        done.warnings.push(format!("{name} was a role of {}; they do not have it any more.", freed.join(", ")));
    }
    Ok(done)
}

/// What the removal of one role would do.
async fn would_go(name: &str, call: &Call, desk: &Desk) -> Result<Outcome, Failure> {
    may_hold(&call.caller, &changeable(name, desk)?)?;
    let mut one = call.clone();
    one.values.insert("Identity", name.into());
    let mut said = FAMILY.remove(&one, desk).await?;
    let has = |roles: &[String]| roles.iter().any(|role| role.eq_ignore_ascii_case(name));
    let accounts = desk.accounts.accounts().map_err(unavailable)?;
    let holders: Vec<String> = accounts.into_iter().filter(|it| has(&it.roles)).map(|it| it.name).collect();
    if !holders.is_empty() {
        said.warnings.push(format!("{name} would be taken from {}.", holders.join(", ")));
    }
    Ok(said)
}

/// A role that somebody has made, to be changed.
fn changeable(name: &str, desk: &Desk) -> Result<AdminRole, Failure> {
    if custom::is_standard(name) {
        return Err(Failure::new(
            Category::InvalidData,
            "StandardRole",
            format!("{name} is predefined and cannot be changed or removed. New-CsAdminRole -Template {name} makes one that can."),
        )
        .of(name));
    }
    roles::made(name, &*central(desk)?).cloned().ok_or_else(|| not_found(name))
}

fn standard(role: &'static Role) -> Object {
    let grant = role.grant();
    let config: Vec<&str> = match grant.config {
        ConfigReach::Everywhere => vec!["global"],
        ConfigReach::EverySite => vec!["site:*"],
        ConfigReach::Nothing | ConfigReach::Sites(_) => Vec::new(),
    };
    let users: Vec<&str> = if grant.users == UserReach::Everyone { vec!["global"] } else { Vec::new() };
    Object::new(FAMILY.kind)
        .with("Identity", role.name)
        .with("SID", Value::Null)
        .with("IsStandardRole", true)
        .with("Cmdlets", grant.cmdlets.iter().map(ToString::to_string).collect::<Vec<_>>())
        .with("ScriptModules", Vec::<String>::new())
        .with("ConfigScopes", config)
        .with("UserScopes", users)
        .with("Template", Value::Null)
        .with("@summary", role.summary)
}

fn object(role: &AdminRole) -> Object {
    Object::new(FAMILY.kind)
        .with("Identity", role.identity.as_str())
        .with("SID", Value::Null)
        .with("IsStandardRole", false)
        .with("Cmdlets", role.cmdlets.clone())
        .with("ScriptModules", role.script_modules.clone())
        .with("ConfigScopes", role.config_scopes.clone())
        .with("UserScopes", role.user_scopes.clone())
        .with("Template", role.template.as_str())
}

/// A role as Get-CsAdminRole shows it, with what of its record is for programs.
fn completed(role: &AdminRole, record: &Object) -> Object {
    let hidden = record.all().filter(|(name, _)| name.starts_with('@'));
    hidden.fold(object(role), |object, (name, value)| object.with(name, value.clone()))
}

fn not_found(name: &str) -> Failure {
    Failure::new(
        Category::ObjectNotFound,
        "ObjectNotFound",
        format!("There is no role \"{name}\". Get-CsAdminRole shows which there are."),
    )
    .of(name)
}

#[cfg(test)]
mod tests;
