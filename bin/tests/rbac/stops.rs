//! A server that is killed while roles are made, given and removed: no account keeps a name that another role may have
//! later, and what was begun is done when the server starts again.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use reveille_admin::Object;
use reveille_admin::roles::{grant_of, made};
use reveille_shell::remote::Remote;
use reveille_store::{Accounts as _, Settings as _, SqliteAdmin, SqliteSettings};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::scene::{Scene, ok};

/// Whatever happens, the test ends.
const LIMIT: Duration = Duration::from_secs(120);
/// How often the server is killed at most, and how many kills must have come in the middle of a removal.
const KILLS: usize = 60;
const CUT_SHORT: usize = 3;
/// Roles that are made, given and removed beside each other.
const ROLES: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_killed_while_roles_are_removed_leaves_no_name_behind() -> Result<()> {
    tokio::time::timeout(LIMIT, kills()).await?
}

async fn kills() -> Result<()> {
    let mut scene = Scene::start("rbac-stops", None, None, "")?;
    let local = scene.local()?;
    for number in 0..ROLES {
        ok(local.run("New-CsAdminAccount", &Object::default().with("Identity", format!("bob{number}"))).await)?;
    }
    let (mut cut_short, mut removed) = (0, 0);
    for _ in 0..KILLS {
        if cut_short >= CUT_SHORT {
            break;
        }
        let removing = Arc::new(Notify::new());
        let mut busy = JoinSet::new();
        for number in 0..ROLES {
            let (local, removing) = (scene.local()?, Arc::clone(&removing));
            busy.spawn(async move {
                let mut rounds = 0;
                // Until the server is gone.
                while round(&local, number, &removing).await? {
                    rounds += 1;
                }
                anyhow::Ok(rounds)
            });
        }
        // One removal is on its way, and the others are somewhere.
        tokio::select! {
            () = removing.notified() => {}
            Some(ended) = busy.join_next() => bail!("nobody could do anything: {:?}", ended?),
        }
        tokio::time::sleep(Duration::from_micros(rand::random_range(0..25_000))).await;
        scene.kill()?;
        for rounds in busy.join_all().await {
            removed += rounds?;
        }
        let admin = SqliteAdmin::open(&scene.store("admin.db"))?;
        cut_short += admin.open_retirements()?.len();
        admin.close();
        scene.start_again()?;
        check(&scene)?;
    }
    ensure!(
        cut_short >= CUT_SHORT,
        "{cut_short} of {KILLS} kills came in the middle of a removal: {removed} were done"
    );
    scene.end()
}

/// Makes a role, gives it and removes it; false once the server is gone.
async fn round(local: &Remote, number: usize, removing: &Notify) -> Result<bool> {
    let role = Object::default().with("Identity", format!("Tmp{number}"));
    let new = role.clone().with("Template", "CsHelpDesk").with("ConfigScopes", "global");
    let given = Object::default()
        .with("Identity", format!("bob{number}"))
        .with("Roles", vec!["CsHelpDesk".to_owned(), format!("Tmp{number}")]);
    for (cmdlet, parameters) in [("New-CsAdminRole", new), ("Set-CsAdminAccount", given), ("Remove-CsAdminRole", role)]
    {
        if cmdlet.starts_with("Remove") {
            removing.notify_one();
        }
        if let Err(failure) = local.run(cmdlet, &parameters).await {
            match &*failure.id {
                // A role may be there from before a kill, and that is no fault.
                "AlreadyExists" => {}
                "NoAnswer" | "ServerNotReached" => return Ok(false),
                id => bail!("{cmdlet}: {id}: {failure}"),
            }
        }
    }
    Ok(true)
}

/// Every role that an account has is there, and no removal is half done.
fn check(scene: &Scene) -> Result<()> {
    let admin = SqliteAdmin::open(&scene.store("admin.db"))?;
    let settings = SqliteSettings::open(&scene.store("settings.db"))?;
    let (snapshot, accounts, half) = (settings.fresh()?, admin.accounts()?, admin.open_retirements()?);
    admin.close();
    settings.close();
    for account in accounts {
        for role in &account.roles {
            ensure!(grant_of(role, &snapshot).is_some(), "{} carries the name of {role}, which is gone", account.name);
        }
    }
    ensure!(
        half.is_empty(),
        "half removed: {half:?}; of them there {:?}",
        half.iter().map(|it| made(&it.role.name, &snapshot)).collect::<Vec<_>>()
    );
    Ok(())
}
