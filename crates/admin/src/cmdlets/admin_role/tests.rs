//! Roles as several administrators change them at once.

use super::*;
use crate::call::Caller;
use crate::run::run;
use crate::testing;

use tokio::task::JoinSet;

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
    roles::custom(name, &desk.settings.snapshot()).unwrap().cmdlets.clone()
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
    wait(|done| desk.accounts.put_account(carrying, eve.version, done)).await.unwrap().unwrap();
    let refused = role("OLD", &["Get-CsAdminRole"], &desk).await.unwrap_err();
    assert_eq!(&*refused.id, "NameStillHeld");
    assert!(refused.message.contains("eve"), "{refused}");
    let taken = Object::default().with("Identity", "eve").with("Roles", Object::default().with("Remove", "Old"));
    run("Set-CsAdminAccount", &taken, &owner, &desk).await.unwrap();
    role("OLD", &["Get-CsAdminRole"], &desk).await.unwrap();
}
