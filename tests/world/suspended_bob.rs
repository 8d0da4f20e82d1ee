//! A message from Alice to suspended Bob, step by step as ARCHITECTURE.md tells it; then each agreement that can be
//! missing between the two organisations, and what contoso's own home shows of it.

use anyhow::{Context as _, Result};
use reveille_core::Reason;
use reveille_core::delivery::PushState;
use reveille_tests::{Agreement, PATIENCE, World};

/// Why a push that waited did not go: a newer one of its conversation did.
const COALESCED: Option<&str> = Some("coalesced");

#[tokio::test(flavor = "multi_thread")]
async fn a_message_wakes_bobs_phone_and_is_fetched_in_order_when_he_taps() -> Result<()> {
    let world = World::start().await?;
    let (alice, bob) = (world.alice().await?, world.bob_suspended().await?);

    // 1 to 4: home keeps the messages, decides that Bob must be woken, and asks the publisher for it.
    let texts = ["Are you there?", "The train is late.", "Platform 9."];
    for text in texts {
        assert_eq!(alice.send("bob@contoso.com", text).await?, 202, "kept for later, and Alice knows");
    }

    // 5 to 8: through both edges into the clearing house's journal, and the answer back.
    let known = world.until("the clearing house has all of it", |bob| {
        bob.pushes.len() == 3 && bob.pushes.iter().all(|push| push.state == "journaled" || push.reason == COALESCED)
    });
    let bob_at_home = known.await?;
    assert_eq!((bob_at_home.presence, bob_at_home.unread), ("away", 3));
    assert!(bob_at_home.pushes.iter().all(|push| push.reason.is_none() || push.reason == COALESCED));

    // 9 to 11: APNs is asked, in Apple's words; a push is a bell and carries no message text.
    let push = world.shown_on_bobs_phone().await?;
    assert_eq!((push.topic.as_deref(), push.priority), (Some("org.example.app"), Some(10)));
    let payload = push.payload();
    assert_eq!(payload["aps"]["alert"]["loc-key"], "IM_MSG");
    assert!(texts.iter().all(|text| !payload.to_string().contains(text)), "{payload}");
    // A push that still waits gives way to the next of its conversation: the bell that rings last says it all.
    let mut rung = 0;
    for push in &bob_at_home.pushes {
        let id = push.push.parse().context("a push id")?;
        let traced = async {
            loop {
                let traced = world.publisher.trace(&"contoso.com".parse().unwrap(), id).expect("it was journaled");
                if traced.state != PushState::Journaled {
                    return traced.state;
                }
                tokio::task::yield_now().await;
            }
        };
        let state = tokio::time::timeout(PATIENCE, traced).await?;
        assert!(matches!(state, PushState::Accepted | PushState::NotPushed(Reason::Coalesced)), "{state:?}");
        rung += usize::from(state == PushState::Accepted);
    }
    assert!(rung > 0, "the newest push gives way to nobody");

    // 12: Bob taps. His client comes back, fetches what was kept, and he is no longer away.
    bob.sign_in().await?;
    let received = bob.wait_received(3, PATIENCE).await?;
    assert_eq!(received.iter().map(|message| message.text.as_str()).collect::<Vec<_>>(), texts);
    assert!(received.iter().all(|message| message.from.contains("alice@contoso.com")));
    let bob_at_home = world.until("everything is read", |bob| bob.unread == 0).await?;
    assert_eq!(bob_at_home.presence, "online");
    assert_eq!(world.apns.recorder().counts().received as usize, rung, "none has rung twice");

    bob.shutdown().await;
    alice.shutdown().await;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_recipe_for_ocs_on_an_empty_store_makes_the_road_work() -> Result<()> {
    let world = World::by_the_recipe_for_ocs().await?;
    let (alice, bob) = (world.alice().await?, world.bob_suspended().await?);
    assert_eq!(alice.send("bob@contoso.com", "Are you there?").await?, 202);
    world.shown_on_bobs_phone().await?;
    bob.sign_in().await?;
    assert_eq!(bob.wait_received(1, PATIENCE).await?[0].text, "Are you there?");
    bob.shutdown().await;
    alice.shutdown().await;
    world.stop().await
}

/// Alice writes to suspended Bob; home keeps the message, and says why nobody was woken.
async fn not_woken(forgotten: Agreement, reason: &str, diagnosis: &str) -> Result<World> {
    let world = World::without(forgotten).await?;
    let (alice, bob) = (world.alice().await?, world.bob_suspended().await?);
    assert_eq!(alice.send("bob@contoso.com", "Are you there?").await?, 202);
    let known = world.until("home has the reason", |bob| bob.pushes.iter().any(|push| push.reason.is_some())).await?;
    let push = &known.pushes[0];
    assert_eq!((push.state, push.reason), ("not-pushed", Some(reason)));
    assert!(push.detail.contains(diagnosis), "{}", push.detail);
    assert_eq!((world.apns.recorder().counts().received, known.unread), (0, 1), "kept, and no bell");
    // What was kept is there when Bob comes back by himself.
    bob.sign_in().await?;
    assert_eq!(bob.wait_received(1, PATIENCE).await?[0].text, "Are you there?");
    bob.shutdown().await;
    alice.shutdown().await;
    Ok(world)
}

#[tokio::test(flavor = "multi_thread")]
async fn home_says_that_its_own_settings_do_not_allow_the_publisher() -> Result<()> {
    let world = not_woken(Agreement::ContosoAllowsThePublisher, "domain-not-allowed", "").await?;
    // Home saw it by itself, at the last of its five gates: neither edge was ever asked.
    for server in [&world.contoso, &world.publisher] {
        assert_eq!(server.status().as_json()["edge"]["refusals"], serde_json::json!([]));
    }
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn home_says_that_the_publisher_does_not_allow_contoso() -> Result<()> {
    let forgotten = Agreement::ThePublisherAllowsContoso;
    let world = not_woken(forgotten, "partner-does-not-allow-us", "contoso.com is not an allowed domain").await?;
    let refused = world.publisher.status().as_json();
    assert_eq!(refused["edge"]["refusals"][0]["reason"], "domain-not-allowed");
    assert_eq!(refused["edge"]["refusals"][0]["advice"], "New-CsAllowedDomain -Identity contoso.com");
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn home_says_that_the_publisher_has_not_granted_the_app() -> Result<()> {
    let forgotten = Agreement::ThePublisherGrantsTheApp;
    let world = not_woken(forgotten, "app-not-granted", "has not granted this app to the organisation").await?;
    // The publisher's edge let contoso in; its clearing house refused the request.
    assert_eq!(world.publisher.status().as_json()["edge"]["refusals"], serde_json::json!([]));
    world.stop().await
}
