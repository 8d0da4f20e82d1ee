//! Bob's phone stays silent: an administrator finds out why in the management shell, runs the command that it names, and
//! follows the next push through both organisations.

use anyhow::{Context as _, Result};
use reveille_tests::{Agreement, PATIENCE, Shell, World};
use serde_json::Value;

/// One property of the first object that a line gives.
async fn told(shell: &mut Shell, line: &str, property: &str) -> Result<String> {
    let objects = shell.json(line).await?;
    let found = objects[0].get(property).with_context(|| format!("{line} gives no {property}: {objects}"))?;
    Ok(match found {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    })
}

/// Runs the line until the property is as it should be: what others do shows a little later.
async fn until(shell: &mut Shell, line: &str, property: &str, expected: &str) -> Result<()> {
    let wait = async {
        loop {
            if told(shell, line, property).await.is_ok_and(|found| found == expected) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.with_context(|| format!("{line}: {property} never was {expected}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn each_closed_gate_names_the_command_that_opens_it() -> Result<()> {
    let world = World::start().await?;
    let (alice, bob) = (world.alice().await?, world.bob_suspended().await?);
    let mut shell = world.shell("contoso")?;
    let asked = "Test-CsPushEligibility bob";
    assert_eq!(told(&mut shell, asked, "WouldPush").await?, "true");
    for (breaks, gate, reason) in [
        (
            "Set-CsPushNotificationConfiguration -EnableApplePushNotificationService $False",
            "provider-switch",
            "provider-switched-off",
        ),
        (
            "New-CsMobilityPolicy NoPush -EnablePushNotifications $False; \
             Grant-CsMobilityPolicy sip:bob@contoso.com -PolicyName NoPush",
            "mobility-policy",
            "policy-forbids",
        ),
        ("Set-CsAccessEdgeConfiguration -AllowFederatedUsers $False", "federation", "federation-off"),
        ("Remove-CsAllowedDomain push.example.net", "federation", "domain-not-allowed"),
        (
            "Remove-CsAllowedDomain push.example.net; New-CsBlockedDomain push.example.net",
            "federation",
            "domain-blocked",
        ),
    ] {
        shell.run(breaks).await?;
        until(&mut shell, asked, "Reason", reason).await?;
        assert_eq!(told(&mut shell, asked, "ClosedGate").await?, gate);
        // What really happens is what was foretold.
        assert_eq!(alice.send("bob@contoso.com", "Are you there?").await?, 202);
        until(&mut shell, "Get-CsPushTrace -User bob -Last 1", "Reason", reason).await?;
        assert_eq!(told(&mut shell, "Get-CsPushDevice bob", "ReachedBy").await?, "unreachable");
        // Each remedy is a whole command; the last case takes two, one after the other.
        while told(&mut shell, asked, "WouldPush").await? != "true" {
            let remedy = told(&mut shell, asked, "Remedy").await?;
            shell.run(&remedy).await.with_context(|| format!("the remedy of {reason}"))?;
        }
    }
    assert_eq!(alice.send("bob@contoso.com", "And now?").await?, 202);
    world.shown_on_bobs_phone().await?;
    bob.shutdown().await;
    alice.shutdown().await;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_followed_through_both_organisations_and_a_device_is_forgotten() -> Result<()> {
    let world = World::start().await?;
    let (alice, bob) = (world.alice().await?, world.bob_suspended().await?);
    let (mut contoso, mut publisher) = (world.shell("contoso")?, world.shell("publisher")?);
    assert_eq!(told(&mut contoso, "Get-CsPushDevice bob", "ReachedBy").await?, "push");
    assert_eq!(alice.send("bob@contoso.com", "Are you there?").await?, 202);
    world.shown_on_bobs_phone().await?;

    // Its id is the same on both sides.
    until(&mut contoso, "Get-CsPushTrace -User bob -Last 1", "State", "journaled").await?;
    let id = told(&mut contoso, "Get-CsPushTrace -User bob -Last 1", "Id").await?;
    let there = format!("Get-CsPushTrace {id} -Origin contoso.com");
    until(&mut publisher, &there, "State", "accepted").await?;
    assert_eq!(told(&mut publisher, &there, "App").await?, "apns/org.example.app");
    let stranger = publisher.run(&format!("Get-CsPushTrace {id} -Origin fabrikam.com")).await;
    assert!(stranger.is_err_and(|error| error.to_string().contains("No push")));

    // Lanes, credentials, partners and the servers themselves are well.
    assert_eq!(told(&mut publisher, "Get-CsPushLane org.example.app", "State").await?, "ready");
    assert_eq!(told(&mut publisher, "Get-CsPushCredential", "KeyId").await?, "TESTKEY001");
    let tested = publisher.json("Test-CsPushCredential").await?;
    assert_eq!((&tested[0]["Result"], &tested[0]["Answer"]), (&"Success".into(), &"400 BadDeviceToken".into()));
    assert_eq!(world.apns.recorder().counts().delivered, 1, "the test woke nobody");
    assert_eq!(told(&mut contoso, "Get-CsFederationPartner push.example.net", "State").await?, "connected");
    assert_eq!(told(&mut publisher, "Get-CsFederationPartner contoso.com", "ConnectionsIn").await?, "1");
    let trouble = contoso.json("Get-CsServiceStatus -Trouble | Where-Object {$_.Kind -ne \"certificate\"}").await?;
    assert_eq!(trouble, serde_json::json!([]));
    let shown = told(&mut contoso, "Get-CsCertificate edge.contoso.com", "Listeners").await?;
    assert!(shown.contains("edge.external 127.") && shown.contains("edge.internal 127."), "{shown}");

    // A forgotten device is not pushed to, and comes back when its app registers again.
    contoso.run("Get-CsPushDevice bob | Remove-CsPushDevice -Force").await?;
    assert_eq!(told(&mut contoso, "Test-CsPushEligibility bob", "Reason").await?, "no-identity");
    assert_eq!(alice.send("bob@contoso.com", "Still there?").await?, 202);
    until(&mut contoso, "Get-CsPushTrace -User bob -Last 1", "Reason", "no-identity").await?;
    bob.sign_in().await?;
    assert_eq!(told(&mut contoso, "Get-CsPushDevice bob", "ReachedBy").await?, "directly");
    bob.shutdown().await;
    alice.shutdown().await;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_publisher_refuses_is_its_to_mend_and_everybody_is_told_so() -> Result<()> {
    let world = World::without(Agreement::ThePublisherAllowsContoso).await?;
    let (alice, bob) = (world.alice().await?, world.bob_suspended().await?);
    let (mut contoso, mut publisher) = (world.shell("contoso")?, world.shell("publisher")?);
    let trace = "Get-CsPushTrace -User bob -Last 1";
    let trouble = "Get-CsServiceStatus -Trouble | Where-Object Kind -eq push";
    assert_eq!(contoso.json(trouble).await?, serde_json::json!([]));
    assert_eq!(alice.send("bob@contoso.com", "Are you there?").await?, 202);
    until(&mut contoso, trace, "Reason", "partner-does-not-allow-us").await?;
    let remedy = told(&mut contoso, trace, "Remedy").await?;
    assert_eq!(remedy, "ask push.example.net to run: New-CsAllowedDomain -Identity contoso.com");
    for line in ["Get-CsPushDevice bob", "Test-CsPushEligibility bob", trouble] {
        assert_eq!(told(&mut contoso, line, "Remedy").await?, remedy, "{line}");
    }
    assert_eq!(told(&mut contoso, "Get-CsPushDevice bob", "Reason").await?, "partner-does-not-allow-us");
    assert!(told(&mut contoso, trouble, "Detail").await?.starts_with("1 push refused: partner-does-not-allow-us"));

    // What the publisher is asked to run is all that it takes, and the trouble goes with the next push.
    publisher.run(remedy.split_once("run: ").context("a command")?.1).await?;
    assert_eq!(alice.send("bob@contoso.com", "And now?").await?, 202);
    world.shown_on_bobs_phone().await?;
    until(&mut contoso, trace, "State", "journaled").await?;
    assert_eq!(contoso.json(trouble).await?, serde_json::json!([]));
    bob.shutdown().await;
    alice.shutdown().await;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_file_that_is_replaced_is_used_and_one_that_cannot_be_is_told_of() -> Result<()> {
    let world = World::start().await?;
    let mut publisher = world.shell("publisher")?;
    let asked = "Test-CsPushCredential org.example.app";
    let trouble = "Get-CsServiceStatus -Trouble | Where-Object Kind -eq credential";
    let first = world.file("apns.p8")?;
    assert_eq!(told(&mut publisher, asked, "Result").await?, "Success");

    // What is no key changes nothing, and is told of.
    world.replace("apns.p8", "garbage")?;
    until(&mut publisher, asked, "Result", "Failure").await?;
    let tested = publisher.json(asked).await?;
    let explanation = tested[0]["Explanation"].as_str().unwrap_or_default();
    let says = "no PKCS #8 private key in PEM";
    assert!(explanation.contains(says) && explanation.contains("has taken the credential"), "{explanation}");
    assert_eq!(tested[0]["Answer"], "400 BadDeviceToken");
    assert!(told(&mut publisher, trouble, "Detail").await?.contains(says));
    assert!(told(&mut publisher, asked, "Remedy").await?.contains("read again by itself"));

    // Apple does not know this one: that it is refused shows that it is used.
    world.replace("apns.p8", &reveille_sim::certs::apns_key()?.p8_pem)?;
    until(&mut publisher, asked, "Answer", "403 InvalidProviderToken").await?;
    until(&mut publisher, "Get-CsPushLane org.example.app | Where-Object Channel -eq message", "State", "refused")
        .await?;

    // And with the right one back everything is as it was.
    world.replace("apns.p8", &first)?;
    until(&mut publisher, asked, "Result", "Success").await?;
    until(&mut publisher, "Get-CsPushLane org.example.app | Where-Object Channel -eq voip", "State", "ready").await?;
    assert_eq!(publisher.json(trouble).await?, serde_json::json!([]));
    world.stop().await
}
