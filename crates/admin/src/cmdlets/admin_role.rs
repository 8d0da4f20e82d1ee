//! `CsAdminRole`: who may run what (lync.md §1.7). The predefined roles are part of the product and cannot be changed; a
//! role of one's own starts from one of them.

use reveille_core::settings::{AdminRole, Scope, Setting, SettingKey, Snapshot};
use reveille_store::{AccountConflict, wait};

use super::admin_account::{conflict, unavailable};
use crate::accounts::is_name;
use crate::bind::distance;
use crate::call::Call;
use crate::cmdlet::{About, Area, Cmdlet, Name, Outcome, Parameter, Pipeline, Running, Verb};
use crate::cmdlets::{CMDLETS, find};
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::family::{Family, Planned, central, fits, settled};
use crate::kind::Kind;
use crate::roles::{self, ConfigReach, Excess, Grant, LOCAL_GROUPS, PREDEFINED, Role, UserReach, UserScope};
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
    let runs = call.text("CanRun").map(|name| find(name).map(|it| it.about().name).ok_or_else(|| no_cmdlet(name)));
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
            if !is_name(name) {
                return Err(invalid(name, "is no name for a role: letters, digits, '.', '-' and '_', at most 64"));
            }
            if is_standard(name) {
                return Err(Failure::new(
                    Category::ResourceExists,
                    "AlreadyExists",
                    format!("{name} is a predefined role or group, and its name cannot be used for another."),
                )
                .of(name));
            }
            let template = call.text("Template").unwrap_or_default();
            let Some(template) = roles::predefined(template) else {
                return Err(invalid(template, "is no predefined role, and only one of those can be a template"));
            };
            let mut start = AdminRole {
                identity: name.to_owned(),
                template: template.name.to_owned(),
                cmdlets: template.grant().cmdlets.iter().map(ToString::to_string).collect(),
                script_modules: Vec::new(),
                config_scopes: Vec::new(),
                user_scopes: Vec::new(),
            };
            apply(call, &mut start, desk)?;
            if start.config_scopes.is_empty() && start.user_scopes.is_empty() {
                return Err(invalid(name, "would reach nothing: give -ConfigScopes, -UserScopes or both"));
            }
            may_hold(call, &start)?;
            // Whoever still carries the name would have the new role without anybody having given it to him.
            let holders = holders(name, desk)?;
            if !holders.is_empty() {
                return Err(Failure::new(
                    Category::ResourceExists,
                    "NameStillHeld",
                    format!(
                        "{name} cannot be made while {} still carries that name from an earlier role: they would have it \
                         at once. Set-CsAdminAccount -Roles @{{Remove=\"{name}\"}} takes it from each.",
                        holders.join(", ")
                    ),
                )
                .of(name));
            }
            FAMILY.create(&spelt_out(call, &start), desk).await
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
                may_hold(call, role)?;
                apply(call, role, desk)?;
                may_hold(call, role)
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
                    None => return Err(invalid("", "is no role: give -Identity or -Filter")),
                },
            };
            let mut done = Outcome::default();
            for name in names {
                may_hold(call, &changeable(&name, desk)?)?;
                let holders = holders(&name, desk)?;
                let mut one = call.clone();
                one.values.insert("Identity", name.as_str().into());
                let outcome = FAMILY.remove(&one, desk).await?;
                done.verbose.extend(outcome.verbose);
                done.what_if.extend(outcome.what_if);
                done.warnings.extend(outcome.warnings);
                if call.what_if && !holders.is_empty() {
                    done.warnings.push(format!("{name} would be taken from {}.", holders.join(", ")));
                } else if !call.what_if {
                    let freed = take_from_all(&name, call, desk).await?;
                    if !freed.is_empty() {
                        done.warnings
                            .push(format!("{name} was a role of {}; they do not have it any more.", freed.join(", ")));
                    }
                }
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

/// What the call's lists make of a role; everything in it exists afterwards.
fn apply(call: &Call, role: &mut AdminRole, desk: &Desk) -> Result<(), Failure> {
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
    for name in &mut role.cmdlets {
        *name = match find(name) {
            Some(cmdlet) => cmdlet.about().name.to_string(),
            None => return Err(no_cmdlet(name)),
        };
    }
    for scope in &mut role.config_scopes {
        *scope = config_scope(scope, desk)?;
    }
    for scope in role.user_scopes.iter_mut().filter(|scope| !scope.eq_ignore_ascii_case("global")) {
        let read: UserScope =
            scope.parse().map_err(|why: String| Failure::new(Category::InvalidArgument, "BadScope", why + "."))?;
        *scope = read.to_string();
    }
    Ok(())
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

fn config_scope(text: &str, desk: &Desk) -> Result<String, Failure> {
    let bad = |why: String| Failure::new(Category::InvalidArgument, "BadScope", why);
    match text.parse::<Scope>() {
        Ok(Scope::Global) => Ok("global".into()),
        Ok(Scope::Site(site)) => match desk.sites.iter().find(|known| known.eq_ignore_ascii_case(&site)) {
            Some(known) => Ok(format!("site:{known}")),
            None => Err(bad(format!(
                "There is no site \"{site}\": the configuration declares {}.",
                if desk.sites.is_empty() { "none".into() } else { desk.sites.join(", ") }
            ))),
        },
        _ => Err(bad(format!("\"{text}\" is not a role's scope: it is global or site:Name."))),
    }
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

fn may_hold(call: &Call, role: &AdminRole) -> Result<(), Failure> {
    let excess = |excess: Excess| excess.failure(&call.caller, &format!("make or change the role {}", role.identity));
    call.caller.rights.covers(&Grant::of_custom(role)).map_err(excess)
}

/// The accounts that have the role.
fn holders(name: &str, desk: &Desk) -> Result<Vec<String>, Failure> {
    let accounts = desk.accounts.accounts().map_err(unavailable)?;
    let has = |roles: &[String]| roles.iter().any(|role| role.eq_ignore_ascii_case(name));
    Ok(accounts.into_iter().filter(|account| has(&account.roles)).map(|account| account.name).collect())
}

/// Takes the name out of every account that holds it: a role that somebody makes under it later is not theirs. After the
/// role is gone nobody can be given it any more.
async fn take_from_all(name: &str, call: &Call, desk: &Desk) -> Result<Vec<String>, Failure> {
    let mut freed = Vec::new();
    for holder in holders(name, desk)? {
        for attempt in 1.. {
            let Some(mut account) = desk.accounts.account(&holder).map_err(unavailable)? else { break };
            let seen = account.version;
            account.roles.retain(|role| !role.eq_ignore_ascii_case(name));
            account.changed = desk.clock.now();
            account.changed_by.clone_from(&call.caller.name);
            match wait(|done| desk.accounts.put_account(account, seen, done)).await.map_err(unavailable)? {
                Ok(_) => break,
                Err(AccountConflict::Changed { .. }) if attempt < TRIES => {}
                Err(AccountConflict::Gone { .. }) => break,
                Err(error) => return Err(conflict(&error)),
            }
        }
        freed.push(holder);
    }
    Ok(freed)
}

/// How often an account is read again that somebody else has just changed.
const TRIES: usize = 16;

fn is_standard(name: &str) -> bool {
    PREDEFINED.iter().chain(&LOCAL_GROUPS).any(|role| role.name.eq_ignore_ascii_case(name))
}

/// A role that somebody has made, to be changed.
fn changeable(name: &str, desk: &Desk) -> Result<AdminRole, Failure> {
    if is_standard(name) {
        return Err(Failure::new(
            Category::InvalidData,
            "StandardRole",
            format!("{name} is predefined and cannot be changed or removed. New-CsAdminRole -Template {name} makes one that can."),
        )
        .of(name));
    }
    roles::custom(name, &*central(desk)?).cloned().ok_or_else(|| not_found(name))
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

fn no_cmdlet(name: &str) -> Failure {
    let known = CMDLETS.iter().map(|cmdlet| cmdlet.about().name.to_string());
    let nearest = known.min_by_key(|known| distance(known, name)).unwrap_or_default();
    Failure::new(
        Category::ObjectNotFound,
        "CmdletNotFound",
        format!("There is no cmdlet \"{name}\" that a role could have. Did you mean {nearest}?"),
    )
    .of(name)
}

fn not_found(name: &str) -> Failure {
    Failure::new(
        Category::ObjectNotFound,
        "ObjectNotFound",
        format!("There is no role \"{name}\". Get-CsAdminRole shows which there are."),
    )
    .of(name)
}

fn invalid(name: &str, why: &str) -> Failure {
    Failure::new(Category::InvalidArgument, "InvalidRole", format!("\"{name}\" {why}.")).of(name)
}

#[cfg(test)]
mod tests;
