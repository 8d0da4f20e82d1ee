//! A phone whose app is frozen while its connection lives on: home finds out by asking, and believes what comes later.

use anyhow::Result;
use reveille_tests::{PATIENCE, World};

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_does_not_answer_counts_as_suspended_and_is_woken() -> Result<()> {
    let world = World::start().await?;
    let (alice, bob) = (world.alice().await?, world.bob());
    bob.sign_in().await?;
    bob.set_answer(None);
    assert_eq!(alice.send("bob@contoso.com", "Hello?").await?, 202, "kept, since Bob's phone said nothing");
    // It was not pushed at first, since the phone seemed to be on screen; and is now, since it was not.
    world.shown_on_bobs_phone().await?;
    assert_eq!(world.until("Bob is away", |bob| bob.presence == "away").await?.unread, 1);
    bob.set_answer(Some(200));
    bob.sign_in().await?;
    assert_eq!(bob.wait_received(1, PATIENCE).await?[0].text, "Hello?");
    bob.shutdown().await;
    alice.shutdown().await;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_that_comes_back_over_another_connection_is_not_thrown_out_by_its_dead_one() -> Result<()> {
    let world = World::start().await?;
    let (alice, frozen, back) = (world.alice().await?, world.bob(), world.bob());
    frozen.sign_in().await?;
    frozen.set_answer(None);
    // Alice is told after five seconds at the latest; meanwhile the phone is back over a new connection.
    let (told, returned) = tokio::join!(alice.send("bob@contoso.com", "Hello?"), back.sign_in());
    assert!(matches!(told?, 200 | 202));
    returned?;
    assert_eq!(back.wait_received(1, PATIENCE).await?[0].text, "Hello?");
    let bob = world.until("it is read", |bob| bob.unread == 0).await?;
    assert_eq!(bob.presence, "online", "the connection that answered stays");
    for phone in [frozen, back, alice] {
        phone.shutdown().await;
    }
    world.stop().await
}
