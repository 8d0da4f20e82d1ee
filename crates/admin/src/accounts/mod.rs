//! Administrators who come from elsewhere: accounts with a password, a client certificate, tokens and sessions.
//!
//! An account has roles and nothing else; what they give is looked up with each call, so that a role that is taken away
//! is gone at once.

mod secret;

use std::sync::Arc;
use std::time::Duration;

use reveille_core::Timestamp;
use reveille_store::{Account, AccountConflict, Given, Pass, PassKind, StoreError, wait};

use crate::call::Caller;
use crate::cmdlets::unavailable;
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::family::central;
use crate::roles::{self, Excess, Rights};

pub use secret::{Issued, PASSWORD_MAX, PASSWORD_MIN, Presented, check_password, hash, parse, verify};

/// How long a session lasts.
pub const SESSION: Duration = Duration::from_secs(8 * 3600);
/// The longest that a token may last.
pub const TOKEN_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Why somebody is not let in. Outside they are one: which names exist is nobody's business.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotAdmitted {
    /// The account is switched off.
    #[error("the account is disabled")]
    Disabled,
    /// The token's or session's time is over.
    #[error("the token or session has expired")]
    Expired,
    /// Neither account nor pass, or the wrong secret.
    #[error("the name, password, token or certificate is not known")]
    Unknown,
    /// The file of accounts.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The caller that a token or session stands for.
pub fn admit_pass(text: &str, from: &str, desk: &Desk) -> Result<(Caller, Pass), NotAdmitted> {
    let presented = parse(text).ok_or(NotAdmitted::Unknown)?;
    let pass = desk.accounts.pass(presented.id)?;
    // The digest is compared also where there is none, so that time does not tell ids that exist.
    let expected = pass.as_ref().map_or([0; 32], |pass| pass.digest);
    if !secret::same(&presented.digest, &expected) {
        return Err(NotAdmitted::Unknown);
    }
    let pass = pass.filter(|pass| pass.kind == presented.kind).ok_or(NotAdmitted::Unknown)?;
    let now = desk.clock.now();
    if pass.expires <= now {
        return Err(NotAdmitted::Expired);
    }
    let account = desk.accounts.account(&pass.account)?.ok_or(NotAdmitted::Unknown)?;
    let caller = admit_account(&account, from, desk)?;
    let stale = pass.used.is_none_or(|used| now.since(used) >= Duration::from_secs(60));
    if pass.kind == PassKind::Token && stale {
        // Nobody waits for this note: it is a help for whoever looks which tokens are in use.
        desk.accounts.touch_pass(&pass.id, now, Box::new(drop));
    }
    Ok((caller, pass))
}

/// The caller that a client certificate stands for, by its SHA-256 fingerprint. The listener has verified the chain.
pub fn admit_certificate(fingerprint: &[u8; 32], from: &str, desk: &Desk) -> Result<Caller, NotAdmitted> {
    let account = desk.accounts.certified(fingerprint)?.ok_or(NotAdmitted::Unknown)?;
    admit_account(&account, from, desk)
}

/// Signs in with a password: the session's secret, which is shown once. Blocks for as long as a hash takes.
pub fn check_sign_in(name: &str, password: &str, desk: &Desk) -> Result<Account, NotAdmitted> {
    let account = if is_name(name) { desk.accounts.account(name)? } else { None };
    // Verified against something in any case: an account that does not exist costs as much time as one that does.
    let right = verify(password, account.as_ref().and_then(|account| account.password.as_ref()));
    let account = account.filter(|_| right).ok_or(NotAdmitted::Unknown)?;
    if account.disabled { Err(NotAdmitted::Disabled) } else { Ok(account) }
}

/// Begins a session of an account that has proven itself.
pub async fn open_session(account: &Account, from: &str, desk: &Desk) -> Result<(Issued, Timestamp), NotAdmitted> {
    let issued = Issued::new(PassKind::Session);
    let now = desk.clock.now();
    let expires = now.plus(SESSION);
    let pass = Pass {
        id: issued.id.clone(),
        kind: PassKind::Session,
        digest: issued.digest,
        account: account.name.clone(),
        comment: from.to_owned(),
        created: now,
        created_by: account.name.clone(),
        expires,
        used: None,
    };
    match wait(|done| desk.accounts.put_pass(pass, done)).await? {
        Ok(()) => Ok((issued, expires)),
        Err(AccountConflict::Gone { .. }) | Err(_) => Err(NotAdmitted::Unknown),
    }
}

fn admit_account(account: &Account, from: &str, desk: &Desk) -> Result<Caller, NotAdmitted> {
    if account.disabled {
        return Err(NotAdmitted::Disabled);
    }
    let rights = rights_of(account, desk);
    Ok(Caller { name: account.name.clone(), from: from.to_owned(), rights: Arc::new(rights) })
}

/// What an account may do as of now.
pub fn rights_of(account: &Account, desk: &Desk) -> Rights {
    Rights::of_roles(account.roles.iter().map(String::as_str), &desk.settings.snapshot())
}

/// Whether `name` can be an account's: nothing that could be taken for another, for a user of a machine (who is written
/// with an at sign), or for a path.
pub fn is_name(name: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    (1..=64).contains(&name.len()) && name.as_bytes()[0].is_ascii_alphanumeric() && name.as_bytes().iter().all(plain)
}

/// The roles of these names as they are spelt, if they exist and the caller may hand them out.
pub fn roles_to_hand_out(names: &[String], caller: &Caller, desk: &Desk) -> Result<Given, Failure> {
    // Before the settings are looked at: a removal that begins after this is noticed when the account is written.
    let mut given = Given { roles: Vec::new(), as_of: desk.accounts.moment().map_err(unavailable)? };
    let settings = central(desk)?;
    for name in names {
        let Some(grant) = roles::grant_of(name, &settings) else {
            return Err(Failure::new(
                Category::ObjectNotFound,
                "RoleNotFound",
                format!("There is no role \"{name}\". Get-CsAdminRole shows which there are."),
            )
            .of(name.as_str()));
        };
        let excess = |excess: Excess| excess.failure(caller, &format!("give the role {}", grant.role));
        caller.rights.covers(&grant).map_err(excess)?;
        if !given.roles.iter().any(|known| **known == *grant.role) {
            given.roles.push(grant.role.to_string());
        }
    }
    Ok(given)
}

/// Whether the caller may touch an account with these rights: whoever could set the password of somebody mightier, make
/// a token in his name, or shut him out, would have what he has.
pub fn may_touch(account: &Account, caller: &Caller, desk: &Desk) -> Result<(), Failure> {
    let excess = |excess: Excess| excess.failure(caller, &format!("touch the account {}", account.name));
    caller.rights.cover_all(&rights_of(account, desk)).map_err(excess)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn account(name: &str, roles: &[&str]) -> Account {
        Account {
            name: name.into(),
            password: Some(hash("correct horse battery").unwrap()),
            certificate: Some([5; 32]),
            roles: roles.iter().map(ToString::to_string).collect(),
            disabled: false,
            created: Timestamp::from_millis(0),
            created_by: "test".into(),
            changed: Timestamp::from_millis(0),
            changed_by: "test".into(),
            version: 0,
        }
    }

    async fn put(account: Account, seen: u64, desk: &Desk) -> u64 {
        wait(|done| desk.accounts.put_account(account, seen, Given::default(), done)).await.unwrap().unwrap()
    }

    #[tokio::test]
    async fn a_session_stands_for_its_account_until_it_ends_or_the_account_does() {
        let desk = testing::desk();
        let version = put(account("bob", &["CsHelpDesk"]), 0, &desk).await;
        assert_eq!(check_sign_in("bob", "wrong horse battery", &desk).unwrap_err(), NotAdmitted::Unknown);
        assert_eq!(check_sign_in("bobby", "correct horse battery", &desk).unwrap_err(), NotAdmitted::Unknown);
        let signed_in = check_sign_in("BOB", "correct horse battery", &desk).unwrap();
        let (session, expires) = open_session(&signed_in, "192.0.2.1", &desk).await.unwrap();
        let (caller, _) = admit_pass(&session.text, "192.0.2.1", &desk).unwrap();
        assert_eq!((caller.name.as_str(), caller.rights.roles().collect::<Vec<_>>()), ("bob", vec!["CsHelpDesk"]));
        desk.turn_to(expires);
        assert_eq!(admit_pass(&session.text, "", &desk).unwrap_err(), NotAdmitted::Expired);
        desk.turn_to(Timestamp::from_millis(1));
        let certificate = admit_certificate(&[5; 32], "", &desk).unwrap();
        assert_eq!(certificate.name, "bob");
        assert_eq!(admit_certificate(&[0; 32], "", &desk).unwrap_err(), NotAdmitted::Unknown);
        put(Account { disabled: true, ..account("bob", &["CsHelpDesk"]) }, version, &desk).await;
        assert_eq!(admit_pass(&session.text, "", &desk).unwrap_err(), NotAdmitted::Unknown, "a change ends sessions");
        assert_eq!(check_sign_in("bob", "correct horse battery", &desk).unwrap_err(), NotAdmitted::Disabled);
        assert_eq!(admit_certificate(&[5; 32], "", &desk).unwrap_err(), NotAdmitted::Disabled);
    }

    #[tokio::test]
    async fn nobody_hands_out_more_than_he_has_nor_touches_who_has_more() {
        let desk = testing::desk();
        let view = Rights::of_roles(["CsViewOnlyAdministrator"], &desk.settings.snapshot());
        let caller = Caller { name: "vera".into(), from: "local".into(), rights: Arc::new(view) };
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let refused = roles_to_hand_out(&names(&["csadministrator"]), &caller, &desk).unwrap_err();
        assert_eq!(&*refused.id, "MoreThanOwnRights");
        let spelt = roles_to_hand_out(&names(&["csviewonlyadministrator", "CsVoiceAdministrator"]), &caller, &desk);
        assert_eq!(spelt.unwrap().roles, ["CsViewOnlyAdministrator", "CsVoiceAdministrator"]);
        assert_eq!(&*roles_to_hand_out(&names(&["CsKing"]), &caller, &desk).unwrap_err().id, "RoleNotFound");
        assert!(may_touch(&account("bob", &["CsViewOnlyAdministrator"]), &caller, &desk).is_ok());
        let mightier = may_touch(&account("bob", &["CsServerAdministrator"]), &caller, &desk);
        assert!(mightier.is_err(), "it changes sites, and vera does not");
    }

    #[test]
    fn names_that_could_mean_something_else_are_none() {
        for (name, good) in [
            ("ann", true),
            ("ann.lee-2", true),
            ("", false),
            (".ann", false),
            ("root@host", false),
            ("ann ", false),
            ("../ann", false),
            ("ànn", false),
            ("ann\n", false),
        ] {
            assert_eq!(is_name(name), good, "{name:?}");
        }
    }
}
