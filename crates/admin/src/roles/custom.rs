//! What a role must be that somebody makes: the same for a cmdlet and for a file of settings that is imported.

use reveille_core::settings::{AdminRole, Scope};
use reveille_core::spelling::distance;
use reveille_store::Account;

use super::{LOCAL_GROUPS, PREDEFINED, UserScope, predefined};
use crate::accounts::is_name;
use crate::cmdlets::{CMDLETS, find};
use crate::failure::{Category, Failure};

/// A role that is made: with a name of its own, from a predefined one, of cmdlets and scopes that exist; all of them then
/// spelt as they are. `sites` are those that the configuration declares; without them a site is believed.
pub fn check_new(role: &mut AdminRole, sites: Option<&[String]>) -> Result<(), Failure> {
    let name = &role.identity;
    if !is_name(name) {
        return Err(invalid(name, "is no name for a role: letters, digits, '.', '-' and '_', at most 64"));
    }
    if is_standard(name) {
        return Err(Failure::new(
            Category::ResourceExists,
            "AlreadyExists",
            format!("{name} is a predefined role or group, and its name cannot be used for another."),
        )
        .of(name.as_str()));
    }
    let Some(template) = predefined(&role.template) else {
        return Err(invalid(&role.template, "is no predefined role, and only one of those can be a template"));
    };
    template.name.clone_into(&mut role.template);
    spell(role, sites)?;
    if role.config_scopes.is_empty() && role.user_scopes.is_empty() {
        return Err(invalid(
            &role.identity,
            "would reach nothing, since a role takes the cmdlets of its template and not its reach: give -ConfigScopes (global, \
             site:Name), -UserScopes (global, domain:Name, user:address) or both; -UserScopes global for one that looks after, or \
             looks at, all users",
        ));
    }
    Ok(())
}

/// Each cmdlet and scope of a role once, and as it is spelt. Those that do not exist are refused.
pub fn spell(role: &mut AdminRole, sites: Option<&[String]>) -> Result<(), Failure> {
    let cmdlet = |name: &str| find(name).map(|it| it.about().name.to_string()).ok_or_else(|| no_cmdlet(name));
    each(&mut role.cmdlets, cmdlet)?;
    each(&mut role.config_scopes, |scope| config_scope(scope, sites))?;
    each(&mut role.user_scopes, user_scope)?;
    each(&mut role.script_modules, |module| Ok(module.to_owned()))
}

/// Whether this is the name of a predefined role or group.
pub fn is_standard(name: &str) -> bool {
    PREDEFINED.iter().chain(&LOCAL_GROUPS).any(|role| role.name.eq_ignore_ascii_case(name))
}

/// Whoever still carries the name of a role that there is not would have a new one of that name without anybody having
/// given it to him.
pub fn check_unheld(name: &str, accounts: &[Account]) -> Result<(), Failure> {
    let has = |account: &&Account| account.roles.iter().any(|role| role.eq_ignore_ascii_case(name));
    let holders: Vec<&str> = accounts.iter().filter(has).map(|account| account.name.as_str()).collect();
    if holders.is_empty() {
        return Ok(());
    }
    Err(Failure::new(
        Category::ResourceExists,
        "NameStillHeld",
        format!(
            "{name} cannot be made while {} still carries that name from an earlier role: they would have it at once. \
             Set-CsAdminAccount -Roles @{{Remove=\"{name}\"}} takes it from each.",
            holders.join(", ")
        ),
    )
    .of(name))
}

/// The failure of whoever names a role that cannot be what he wants.
pub(crate) fn invalid(name: &str, why: &str) -> Failure {
    Failure::new(Category::InvalidArgument, "InvalidRole", format!("\"{name}\" {why}.")).of(name)
}

/// The failure of whoever names a cmdlet that there is not.
pub(crate) fn no_cmdlet(name: &str) -> Failure {
    let known = CMDLETS.iter().map(|cmdlet| cmdlet.about().name.to_string());
    let nearest = known.min_by_key(|known| distance(known, name)).unwrap_or_default();
    Failure::new(
        Category::ObjectNotFound,
        "CmdletNotFound",
        format!("There is no cmdlet \"{name}\" that a role could have. Did you mean {nearest}?"),
    )
    .of(name)
}

/// The items as `spelt` has them, each once.
fn each(items: &mut Vec<String>, spelt: impl Fn(&str) -> Result<String, Failure>) -> Result<(), Failure> {
    let mut known = std::collections::HashSet::new();
    let mut kept = Vec::new();
    for item in &*items {
        let item = spelt(item)?;
        if known.insert(item.to_ascii_lowercase()) {
            kept.push(item);
        }
    }
    *items = kept;
    Ok(())
}

fn config_scope(text: &str, sites: Option<&[String]>) -> Result<String, Failure> {
    let site = match text.parse::<Scope>() {
        Ok(Scope::Global) => return Ok("global".into()),
        Ok(Scope::Site(site)) => site,
        _ => return Err(bad_scope(format!("\"{text}\" is not a role's scope: it is global or site:Name."))),
    };
    let Some(sites) = sites else { return Ok(format!("site:{site}")) };
    match sites.iter().find(|known| known.eq_ignore_ascii_case(&site)) {
        Some(known) => Ok(format!("site:{known}")),
        None => Err(bad_scope(format!(
            "There is no site \"{site}\": the configuration declares {}.",
            if sites.is_empty() { "none".into() } else { sites.join(", ") }
        ))),
    }
}

fn user_scope(text: &str) -> Result<String, Failure> {
    if text.eq_ignore_ascii_case("global") {
        return Ok("global".into());
    }
    let read: UserScope = text.parse().map_err(|why: String| bad_scope(why + "."))?;
    Ok(read.to_string())
}

fn bad_scope(why: String) -> Failure {
    Failure::new(Category::InvalidArgument, "BadScope", why)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn role(name: &str, template: &str, cmdlets: &[&str], config: &[&str], users: &[&str]) -> AdminRole {
        let texts = |items: &[&str]| items.iter().map(ToString::to_string).collect();
        AdminRole {
            identity: name.into(),
            template: template.into(),
            cmdlets: texts(cmdlets),
            script_modules: Vec::new(),
            config_scopes: texts(config),
            user_scopes: texts(users),
        }
    }

    #[test]
    fn what_a_role_names_exists_and_stands_in_it_once_and_as_it_is_spelt() {
        let sites = ["Redmond".to_owned()];
        let twice = ["get-csadminrole", "Get-CsAdminRole", "TEST-csmcxp2pim"];
        let mut spelt =
            role("R", "cshelpdesk", &twice, &["SITE:redmond", "site:Redmond"], &["GLOBAL", "Domain:A.example"]);
        check_new(&mut spelt, Some(&sites)).unwrap();
        let expected = ["Get-CsAdminRole", "Test-CsMcxP2PIM"];
        assert_eq!(spelt, role("R", "CsHelpDesk", &expected, &["site:Redmond"], &["global", "domain:a.example"]));
        let mut unknown = role("R", "CsHelpDesk", &[], &["site:Dublin"], &[]);
        check_new(&mut unknown, None).unwrap();
        for (wrong, id, part) in [
            (unknown, "BadScope", "declares Redmond"),
            (role("", "CsHelpDesk", &[], &["global"], &[]), "InvalidRole", "no name"),
            (role("a b", "CsHelpDesk", &[], &["global"], &[]), "InvalidRole", "no name"),
            (role("csadministrator", "CsHelpDesk", &[], &["global"], &[]), "AlreadyExists", "predefined"),
            (role("rtcuniversalserveradmins", "CsHelpDesk", &[], &["global"], &[]), "AlreadyExists", "predefined"),
            (role("R", "Boss", &[], &["global"], &[]), "InvalidRole", "Boss"),
            (role("R", "CsHelpDesk", &["Get-CsAdminRol"], &["global"], &[]), "CmdletNotFound", "Get-CsAdminRole"),
            (role("R", "CsHelpDesk", &[], &["tag:x"], &[]), "BadScope", "global or site:Name"),
            (role("R", "CsHelpDesk", &[], &[], &["OU=x"]), "BadScope", "organisational"),
            (role("R", "CsHelpDesk", &[], &[], &[]), "InvalidRole", "reach nothing"),
        ] {
            let failure = check_new(&mut wrong.clone(), Some(&sites)).unwrap_err();
            assert!(&*failure.id == id && failure.message.contains(part), "{wrong:?}: {failure:?}");
        }
    }
}
