//! A device that seals its token: contoso's home registers, keeps and sends what it cannot open, the push arrives at the
//! real token, the provider's verdict finds the identity, and nothing of contoso ever holds the token.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use reveille_sim::apns::Answer;
use reveille_sim::handle::{Bound, seal};
use reveille_sim::script::Times;
use reveille_tests::{PATIENCE, TOKEN, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_sealed_token_wakes_bobs_phone_and_contoso_never_learns_it() -> Result<()> {
    let world = World::start().await?;
    let mut publisher = world.shell("publisher")?;
    publisher.run("New-CsPushHandleKey").await?;
    let shown = publisher.json("Get-CsPushHandleKey -Document").await?;
    let document = shown[0]["Document"].as_str().with_context(|| format!("a document in {shown}"))?.to_owned();

    // On the device: each token by itself, for this organisation.
    let calls = TOKEN.replace("0b", "0c");
    let bound = Bound { provider: "apns", app: "org.example.app", environment: "production", origin: "contoso.com" };
    let (message, voip) = (seal(&document, bound, TOKEN)?, seal(&document, bound, &calls)?);
    let bob = world.bob_with(format!(
        "pn-provider=apns;pn-param=TESTTEAM01.org.example.app.voip&remote;pn-prid={voip}:voip&{message}:remote"
    ));
    bob.sign_in().await.context("Bob signs in")?;
    bob.suspend().await;
    let known = world.until("Bob is away", |bob| bob.presence == "away").await?;
    assert_eq!(known.devices[0].message_token.as_deref(), Some(&message[message.len() - 4..]), "opaque, as any token");

    let alice = world.alice().await?;
    assert_eq!(alice.send("bob@contoso.com", "Are you there?").await?, 202);
    let push = world.shown_on_bobs_phone().await?;
    assert_eq!(push.topic.as_deref(), Some("org.example.app"));
    let used = publisher.json("Get-CsPushHandleKey | Select-Object State, Opened").await?;
    assert_eq!((&used[0]["State"], &used[0]["Opened"]), (&"sealing".into(), &1.into()));

    // The app is deleted: the verdict about the token finds the identity that registered the handle.
    world.apns.script(Some(TOKEN), vec![Answer::unregistered(u64::MAX / 2)], Times::Always)?;
    assert_eq!(alice.send("bob@contoso.com", "Are you still there?").await?, 202);
    let forgotten = |bob: &reveille_server::UserStatus| bob.devices.iter().all(|it| it.message_token.is_none());
    let known = world.until("home forgets the handle", forgotten).await?;
    assert!(known.devices[0].voip_token.is_some(), "the token of calls is another one");
    // What is known in memory is on disk, where the trace is read, a moment later.
    let mut shell = world.shell("contoso")?;
    let traced = async {
        loop {
            let told = shell.run("Get-CsPushTrace | Format-List").await?;
            if told.contains("identity-dead") {
                return anyhow::Ok(told);
            }
            tokio::task::yield_now().await;
        }
    };
    let told = tokio::time::timeout(PATIENCE, traced).await.context("the trace never has the verdict")??;
    assert!(!told.contains(TOKEN), "{told}");

    bob.shutdown().await;
    alice.shutdown().await;
    let folder = world.folder().to_owned();
    let (ours, theirs) = (folder.join("contoso"), folder.join("publisher"));
    ensure!(holds(&ours, message.as_bytes())?, "contoso's store holds the handle");
    ensure!(!holds(&ours, TOKEN.as_bytes())? && !holds(&ours, calls.as_bytes())?, "contoso's store holds a token");
    // The publisher keeps what it has accepted opened: a crash must not make it depend on a key.
    ensure!(holds(&theirs, TOKEN.as_bytes())?, "the search finds what is there");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handle_that_was_sealed_for_another_organisation_wakes_nobody_and_says_so() -> Result<()> {
    let world = World::start().await?;
    let mut publisher = world.shell("publisher")?;
    publisher.run("New-CsPushHandleKey").await?;
    let shown = publisher.json("Get-CsPushHandleKey -Document").await?;
    let document = shown[0]["Document"].as_str().context("a document")?.to_owned();
    let bound = Bound { provider: "apns", app: "org.example.app", environment: "production", origin: "fabrikam.com" };
    let stolen = seal(&document, bound, TOKEN)?;
    let bob = world.bob_with(format!("pn-provider=apns;pn-param=TESTTEAM01.org.example.app;pn-prid={stolen}"));
    bob.sign_in().await?;
    bob.suspend().await;
    world.until("Bob is away", |bob| bob.presence == "away").await?;
    let alice = world.alice().await?;
    assert_eq!(alice.send("bob@contoso.com", "Are you there?").await?, 202);
    let refused = world.until("home has the reason", |bob| bob.pushes.iter().any(|push| push.reason.is_some())).await?;
    assert_eq!(refused.pushes[0].reason, Some("handle-not-yours"));
    assert_eq!(world.apns.recorder().counts().received, 0);
    // What was kept is there when Bob comes back by himself.
    bob.sign_in().await?;
    assert_eq!(bob.wait_received(1, PATIENCE).await?[0].text, "Are you there?");
    bob.shutdown().await;
    alice.shutdown().await;
    world.stop().await
}

/// Whether any file below `folder` holds these bytes.
fn holds(folder: &Path, wanted: &[u8]) -> Result<bool> {
    for entry in std::fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let found = match path.is_dir() {
            true => holds(&path, wanted)?,
            false => path.is_file() && std::fs::read(&path)?.windows(wanted.len()).any(|window| window == wanted),
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}
