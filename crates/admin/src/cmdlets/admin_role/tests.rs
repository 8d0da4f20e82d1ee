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
