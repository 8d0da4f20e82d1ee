//! Feedback at the border: whoever is not the publisher that was asked, or says what cannot be, changes nothing at home; and
//! what the publisher says twice, as it does after a crash, is heard once.

use anyhow::{Context as _, Result, ensure};
use reveille_core::Clock as _;
use reveille_server::SystemClock;
use reveille_sim::phone::{Phone, RawSip};
use reveille_sim::recorder::Query;
use reveille_tests::{PATIENCE, TOKEN, World};
use serde_json::{Value, json};
use tokio::time::timeout;

/// What home knows of Bob, as far as feedback could change it.
async fn known(world: &World) -> Result<Value> {
    let bob = world.contoso.desk().context("contoso has a home")?.user("bob").await.context("home knows Bob")?;
    let bob = serde_json::to_value(&bob)?;
    Ok(json!({ "pushes": bob["pushes"], "devices": bob["devices"] }))
}

/// The push that has woken Bob's phone, as it names itself.
struct Push {
    push: String,
    identity: String,
}

/// Alice has written, and Bob's phone was woken.
async fn woken(world: &World) -> Result<(Phone, Phone, Push)> {
    let (alice, bob) = (world.alice().await?, world.bob_suspended().await?);
    ensure!(alice.send("bob@contoso.com", "Are you there?").await? == 202, "Alice's message is kept");
    let payload = world.shown_on_bobs_phone().await?.payload();
    let named = |name: &str| {
        let text = [&payload[name], &payload["reveille"][name]].into_iter().find_map(Value::as_str);
        text.map(str::to_owned).with_context(|| format!("no {name} in {payload}"))
    };
    let push = Push { push: named("push")?, identity: named("identity")? };
    world.until("the clearing house has it", |bob| bob.pushes.iter().all(|push| push.state == "journaled")).await?;
    Ok((alice, bob, push))
}

fn item(push: &str, identity: &str, verdict: &str) -> Value {
    let at = SystemClock.now().millis();
    json!({ "push": push, "identity": identity, "verdict": verdict, "reason": "Unregistered", "at": at })
}

/// Says it in the name of `sip:push@` that domain; answers the status that comes back.
async fn say(link: &mut RawSip, domain: &str, body: &str) -> Result<u16> {
    let number: u64 = rand::random();
    let text = format!(
        "MESSAGE sip:mcx@contoso.com SIP/2.0\r\nVia: SIP/2.0/TLS {};branch=z9hG4bK{number:x}\r\nMax-Forwards: 70\r\n\
         From: <sip:push@{domain}>;tag={number:x}\r\nTo: <sip:mcx@contoso.com>\r\nCall-ID: {number:x}\r\n\
         CSeq: 1 MESSAGE\r\nContent-Type: application/vnd.reveille.feedback+json;v=1\r\nContent-Length: {}\r\n\r\n{body}",
        link.local(),
        body.len(),
    );
    link.send_and_wait(text, PATIENCE).await?.status().context("a response has a status")
}

fn told(items: &[Value]) -> String {
    json!({ "id": 1, "items": items }).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn feedback_of_whoever_was_not_asked_or_of_what_cannot_be_changes_nothing() -> Result<()> {
    let world = World::start().await?;
    let line = "New-CsAllowedDomain -Identity fabrikam.com -ProxyFqdn edge.fabrikam.com";
    world.shell("contoso")?.run(line).await?;
    let (alice, bob, Push { push, identity }) = woken(&world).await?;
    let before = known(&world).await?;
    ensure!(before["devices"][0]["message_token"].is_string(), "{before}");
    let mut fabrikam = world.speaker("edge.fabrikam.com", "fabrikam.com").await?;
    let mut publisher = world.speaker("edge.push.example.net", "push.example.net").await?;
    let other = "01JD3Z8X4Q6W2N5V7B9M1C3K5T";

    // A partner that may speak to us, and knows all that there is to know, was not sent this push.
    for verdict in ["forget", "reversed", "state"] {
        let status = say(&mut fabrikam, "fabrikam.com", &told(&[item(&push, &identity, verdict)])).await?;
        ensure!((status, known(&world).await?) == (403, before.clone()), "{verdict}: {status}");
    }
    // Nor may it speak in the publisher's name.
    let status = say(&mut fabrikam, "push.example.net", &told(&[item(&push, &identity, "forget")])).await?;
    ensure!((status, known(&world).await?) == (403, before.clone()), "in another's name: {status}");
    // The publisher itself, about a push that we never sent, an identity that it was not for, and what cannot be read.
    let good = item(&push, &identity, "forget");
    let mut misspelt = good.clone();
    misspelt["verdict"] = json!("kill");
    for (what, body, expected) in [
        ("a push that nobody knows", told(&[item(other, &identity, "forget")]), 403),
        ("another identity", told(&[item(&push, other, "forget")]), 403),
        ("no JSON", "{\"id\":1,".into(), 400),
        ("no items", told(&[]), 400),
        ("too many items", told(&vec![good.clone(); 65]), 413),
        ("a verdict that there is none of", told(&[misspelt]), 400),
        ("something else", "[]".into(), 400),
    ] {
        let status = say(&mut publisher, "push.example.net", &body).await?;
        ensure!((status, known(&world).await?) == (expected, before.clone()), "{what}: {status}");
    }

    // Bob's phone is woken as before.
    let after = world.apns.recorder().latest();
    bob.sign_in().await?;
    bob.suspend().await;
    world.until("Bob is away again", |bob| bob.presence == "away").await?;
    ensure!(alice.send("bob@contoso.com", "Still there?").await? == 202, "Alice's message is kept");
    let next = Query { after, token: Some(TOKEN), delivered: true };
    timeout(PATIENCE, world.apns.recorder().wait(next)).await.context("no push reached the phone")?;
    bob.shutdown().await;
    alice.shutdown().await;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_publisher_repeats_after_a_crash_is_heard_once_and_ends_as_its_last_word() -> Result<()> {
    let world = World::start().await?;
    let (alice, bob, Push { push, identity }) = woken(&world).await?;
    let alive = known(&world).await?;
    let mut publisher = world.speaker("edge.push.example.net", "push.example.net").await?;
    let word = |verdict: &str| item(&push, &identity, verdict);

    // The token is dead; to hear it again changes nothing.
    ensure!(say(&mut publisher, "push.example.net", &told(&[word("forget")])).await? == 200, "it is believed");
    let dead = known(&world).await?;
    ensure!(dead["devices"][0]["message_token"].is_null() && dead["pushes"][0]["reason"] == "identity-dead", "{dead}");
    for _ in 0..2 {
        ensure!(say(&mut publisher, "push.example.net", &told(&[word("forget")])).await? == 200, "it is taken again");
        let again = known(&world).await?;
        ensure!(again["devices"] == dead["devices"], "{again}");
        ensure!(again["pushes"].as_array().map(Vec::len) == Some(1), "{again}");
    }
    // It was wrong, and then all is said once more in its order, by one MESSAGE or by two.
    ensure!(say(&mut publisher, "push.example.net", &told(&[word("reversed")])).await? == 200, "it is believed");
    let back = known(&world).await?;
    ensure!(back["devices"][0]["message_token"] == alive["devices"][0]["message_token"], "{back}");
    for round in
        [vec![told(&[word("forget"), word("reversed")])], vec![told(&[word("forget")]), told(&[word("reversed")])]]
    {
        for body in &round {
            ensure!(say(&mut publisher, "push.example.net", body).await? == 200, "it is taken again");
        }
        ensure!(known(&world).await?["devices"] == back["devices"], "after {round:?}");
    }
    bob.shutdown().await;
    alice.shutdown().await;
    world.stop().await
}
