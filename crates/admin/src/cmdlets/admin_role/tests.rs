//! Roles as several administrators change them at once.

use std::sync::Arc;

use parking_lot::Mutex;
use reveille_core::Timestamp;
use reveille_store::{Completion, Edit, Given, Past, Refused, SettingHistory, Settings, StoreError, wait};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::*;
use crate::run::run;
use crate::testing;

async fn role(name: &str, cmdlets: &[&str], desk: &Desk) -> Result<Outcome, Failure> {
    let parameters = Object::default()
        .with("Identity", name)
        .with("Template", "CsHelpDesk")
        .with("Cmdlets", cmdlets.to_vec())
        .with("ConfigScopes", "global");
    run("New-CsAdminRole", &parameters, &Caller::owner("root"), desk).await
}

async fn change(name: &str, side: &str, cmdlet: &str, desk: &Desk) -> Result<Outcome, Failure> {
    let parameters = Object::default().with("Identity", name).with("Cmdlets", Object::default().with(side, cmdlet));
    run("Set-CsAdminRole", &parameters, &Caller::owner("root"), desk).await
}

fn cmdlets(name: &str, desk: &Desk) -> Vec<String> {
    roles::made(name, &desk.settings.snapshot()).unwrap().cmdlets.clone()
}

#[tokio::test]
async fn eight_cmdlets_added_at_once_are_all_there() {
    let desk = testing::desk();
    role("R1", &["Get-CsAdminRole"], &desk).await.unwrap();
    let added = [
        "Get-CsPushDevice",
        "Get-CsPushLane",
        "Get-CsPushReason",
        "Get-CsPushTrace",
        "Get-CsServiceStatus",
        "Get-CsMcxConfiguration",
        "Get-CsCertificate",
        "Get-CsProbeResult",
    ];
    let mut changes = JoinSet::new();
    for cmdlet in added {
        let desk = desk.shared();
        changes.spawn(async move { change("R1", "Add", cmdlet, &desk).await });
    }
    let done = changes.join_all().await;
    assert!(done.iter().all(Result::is_ok), "{done:?}");
    let mut now = cmdlets("R1", &desk);
    now.sort_unstable();
    let mut expected: Vec<&str> = added.into_iter().chain(["Get-CsAdminRole"]).collect();
    expected.sort_unstable();
    assert_eq!(now, expected);
}

#[tokio::test]
async fn a_cmdlet_that_is_revoked_does_not_come_back_with_somebody_elses_change() {
    let desk = testing::desk();
    role("R1", &["Get-CsAdminRole", "Remove-CsPushDevice"], &desk).await.unwrap();
    for _ in 0..5 {
        let done = tokio::join!(
            change("R1", "Remove", "Remove-CsPushDevice", &desk),
            change("R1", "Add", "Get-CsPushLane", &desk)
        );
        assert!(done.0.is_ok() && done.1.is_ok(), "{done:?}");
        assert_eq!(cmdlets("R1", &desk), ["Get-CsAdminRole", "Get-CsPushLane"]);
        change("R1", "Remove", "Get-CsPushLane", &desk).await.unwrap();
        change("R1", "Add", "Remove-CsPushDevice", &desk).await.unwrap();
    }
}

#[tokio::test]
async fn a_role_that_is_removed_and_made_anew_is_nobodys() {
    let desk = testing::desk();
    let owner = Caller::owner("root");
    let held = |name: &str| desk.accounts.account(name).unwrap().unwrap().roles;
    role("Tmp", &["Get-CsAdminRole"], &desk).await.unwrap();
    let mallory = Object::default().with("Identity", "mallory").with("Roles", vec!["CsHelpDesk", "Tmp"]);
    run("New-CsAdminAccount", &mallory, &owner, &desk).await.unwrap();
    let only = Object::default().with("Identity", "tmp").with("WhatIf", true);
    run("Remove-CsAdminRole", &only, &owner, &desk).await.unwrap();
    assert_eq!(held("mallory"), ["CsHelpDesk", "Tmp"], "-WhatIf takes nothing");
    let removed = run("Remove-CsAdminRole", &Object::default().with("Identity", "tmp"), &owner, &desk).await.unwrap();
    assert!(removed.warnings[0].contains("mallory"), "{:?}", removed.warnings);
    assert_eq!(held("mallory"), ["CsHelpDesk"]);
    role("Tmp", &["New-CsBlockedDomain"], &desk).await.unwrap();
    assert_eq!(held("mallory"), ["CsHelpDesk"]);
}

#[tokio::test]
async fn a_role_is_not_made_under_a_name_that_an_account_still_carries() {
    let desk = testing::desk();
    let owner = Caller::owner("root");
    run("New-CsAdminAccount", &Object::default().with("Identity", "eve"), &owner, &desk).await.unwrap();
    let eve = desk.accounts.account("eve").unwrap().unwrap();
    let carrying = reveille_store::Account { roles: vec!["Old".into()], ..eve.clone() };
    wait(|done| desk.accounts.put_account(carrying, eve.version, Given::default(), done)).await.unwrap().unwrap();
    let refused = role("OLD", &["Get-CsAdminRole"], &desk).await.unwrap_err();
    assert_eq!(&*refused.id, "NameStillHeld");
    assert!(refused.message.contains("eve"), "{refused}");
    let taken = Object::default().with("Identity", "eve").with("Roles", Object::default().with("Remove", "Old"));
    run("Set-CsAdminAccount", &taken, &owner, &desk).await.unwrap();
    role("OLD", &["Get-CsAdminRole"], &desk).await.unwrap();
    // Whoever has one that is there is no reason: it is there.
    let given = Object::default().with("Identity", "eve").with("Roles", vec!["OLD"]);
    run("Set-CsAdminAccount", &given, &owner, &desk).await.unwrap();
    let twice = role("old", &["Get-CsAdminRole"], &desk).await.unwrap_err();
    assert_eq!(&*twice.id, "AlreadyExists", "{twice}");
}

/// Settings of a process that stops at the first change.
struct Stopping {
    real: Arc<dyn Settings>,
    reached: Arc<Notify>,
    never_told: Mutex<Vec<Completion<Result<u64, Refused>>>>,
}

impl Settings for Stopping {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.real.snapshot()
    }

    fn fresh(&self) -> Result<Arc<Snapshot>, StoreError> {
        self.real.fresh()
    }

    fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.real.watch()
    }

    fn apply(&self, _: &str, _: Timestamp, _: Vec<Edit>, done: Completion<Result<u64, Refused>>) {
        self.never_told.lock().push(done);
        self.reached.notify_one();
    }

    fn history(&self, past: &Past) -> Result<Vec<SettingHistory>, StoreError> {
        self.real.history(past)
    }
}

fn over(settings: Arc<dyn Settings>, desk: &Desk) -> Desk {
    Desk {
        settings,
        accounts: Arc::clone(&desk.accounts),
        audit: Arc::clone(&desk.audit),
        guesses: Arc::clone(&desk.guesses),
        clock: Arc::clone(&desk.clock),
        sites: desk.sites.clone(),
        ports: crate::ports::Ports::default(),
    }
}

fn of_desk(desk: &Desk) -> removal::Files<'_> {
    removal::Files { settings: &*desk.settings, accounts: &*desk.accounts }
}

#[tokio::test]
async fn a_stop_in_the_middle_of_a_removal_leaves_the_name_to_nobody_and_the_next_start_ends_it() {
    let desk = testing::desk();
    let owner = Caller::owner("root");
    let named = |name: &str| Object::default().with("Identity", name);
    let held = |name: &str| desk.accounts.account(name).unwrap().unwrap().roles;
    role("Tmp", &["Get-CsAdminRole"], &desk).await.unwrap();
    let mallory = named("mallory").with("Roles", vec!["CsHelpDesk", "Tmp"]);
    run("New-CsAdminAccount", &mallory, &owner, &desk).await.unwrap();
    run("New-CsAdminAccount", &named("carol"), &owner, &desk).await.unwrap();
    let reached = Arc::new(Notify::new());
    let stopping =
        Stopping { real: Arc::clone(&desk.settings), reached: Arc::clone(&reached), never_told: Mutex::default() };
    let process = over(Arc::new(stopping), &desk);
    let by = Caller::owner("ann");
    let removing = tokio::spawn(async move { run("Remove-CsAdminRole", &named("tmp"), &by, &process).await.map(drop) });
    reached.notified().await;
    removing.abort();
    assert!(removing.await.unwrap_err().is_cancelled(), "the process stopped between the two files");
    assert_eq!(held("mallory"), ["CsHelpDesk"], "it was taken first");
    let named = |name: &str| Object::default().with("Identity", name);
    let given = named("carol").with("Roles", vec!["Tmp"]);
    let refused = run("Set-CsAdminAccount", &given, &owner, &desk).await.unwrap_err();
    assert!(&*refused.id == "RoleGone" && refused.message.contains("Remove-CsAdminRole ends"), "{refused}");
    // What the next server does when it starts.
    assert_eq!(removal::finish(Timestamp::from_millis(9), of_desk(&desk)).await.unwrap(), ["tmp"]);
    assert!(roles::made("Tmp", &desk.settings.fresh().unwrap()).is_none());
    let past = desk.settings.history(&Past { limit: 1, ..Past::default() }).unwrap();
    assert_eq!(past[0].author, "ann", "whoever began it has done it");
    role("Tmp", &["New-CsBlockedDomain"], &desk).await.unwrap();
    assert_eq!(held("mallory"), ["CsHelpDesk"]);
    run("Set-CsAdminAccount", &given, &owner, &desk).await.unwrap();
    assert_eq!(removal::finish(Timestamp::from_millis(9), of_desk(&desk)).await.unwrap(), Vec::<String>::new());
    assert_eq!((held("carol"), cmdlets("Tmp", &desk)), (vec!["Tmp".into()], vec!["New-CsBlockedDomain".into()]));
}

#[tokio::test]
async fn a_role_that_was_changed_after_a_stop_stays_and_can_be_given_again() {
    let desk = testing::desk();
    role("Tmp", &["Get-CsAdminRole"], &desk).await.unwrap();
    let version = desk.settings.fresh().unwrap().row(&SettingKey::new("AdminRole", "Tmp")).unwrap().version;
    let seen = reveille_store::RoleSeen { name: "Tmp".into(), version };
    wait(|done| desk.accounts.retire_role(seen, "ann", Timestamp::from_millis(1), done)).await.unwrap();
    change("Tmp", "Add", "Get-CsPushLane", &desk).await.unwrap();
    assert_eq!(removal::finish(Timestamp::from_millis(2), of_desk(&desk)).await.unwrap(), Vec::<String>::new());
    assert_eq!(cmdlets("Tmp", &desk), ["Get-CsAdminRole", "Get-CsPushLane"]);
    let bob = Object::default().with("Identity", "bob").with("Roles", vec!["Tmp"]);
    run("New-CsAdminAccount", &bob, &Caller::owner("root"), &desk).await.unwrap();
}

#[tokio::test]
async fn a_role_that_cannot_be_removed_stays_and_whoever_lost_it_is_named() {
    let desk = testing::desk();
    let owner = Caller::owner("root");
    role("Tmp", &["Get-CsAdminRole"], &desk).await.unwrap();
    let bob = Object::default().with("Identity", "bob").with("Roles", vec!["Tmp"]);
    run("New-CsAdminAccount", &bob, &owner, &desk).await.unwrap();
    // Settings that can be read, and take nothing any more.
    let full = Full(Arc::clone(&desk.settings));
    let process = over(Arc::new(full), &desk);
    let failed = run("Remove-CsAdminRole", &Object::default().with("Identity", "Tmp"), &owner, &process).await;
    let failed = failed.unwrap_err();
    assert!(failed.message.contains("It was taken from bob all the same."), "{failed}");
    assert!(roles::made("Tmp", &desk.settings.fresh().unwrap()).is_some());
    let again = Object::default().with("Identity", "bob").with("Roles", vec!["Tmp"]);
    run("Set-CsAdminAccount", &again, &owner, &desk).await.unwrap();
}

/// Settings on a disk without room.
struct Full(Arc<dyn Settings>);

impl Settings for Full {
    fn snapshot(&self) -> Arc<Snapshot> {
        self.0.snapshot()
    }

    fn fresh(&self) -> Result<Arc<Snapshot>, StoreError> {
        self.0.fresh()
    }

    fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.0.watch()
    }

    fn apply(&self, _: &str, _: Timestamp, _: Vec<Edit>, done: Completion<Result<u64, Refused>>) {
        done(Err(StoreError::Closed { file: "settings.db".into() }));
    }

    fn history(&self, past: &Past) -> Result<Vec<SettingHistory>, StoreError> {
        self.0.history(past)
    }
}

#[tokio::test]
async fn a_role_is_shown_when_it_is_made_as_it_is_when_it_is_read() {
    let desk = testing::desk();
    let made = role("R1", &["Get-CsAdminRole"], &desk).await.unwrap();
    let wanted = Object::default().with("Identity", "R1");
    let read = run("Get-CsAdminRole", &wanted, &Caller::owner("root"), &desk).await.unwrap();
    let shown = |outcome: &Outcome| {
        let role = outcome.objects[0].as_object().unwrap();
        role.displayed().map(|(name, value)| (name.to_owned(), value.clone())).collect::<Vec<_>>()
    };
    assert_eq!(shown(&made), shown(&read));
    assert!(shown(&made).contains(&("UserScopes".into(), Value::List(Vec::new()))), "{made:?}");
}
