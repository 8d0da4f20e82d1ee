//! The six journeys, each a small story that ends well or says why not.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::BytesMut;
use reveille_sim::Outage;
use reveille_sim::apns::{Answer, ApnsPush};
use reveille_sim::phone::{Phone, RawSip, Received};
use reveille_sim::recorder::{Entry, Query};
use reveille_sim::script::Times;
use reveille_sip::{Method, Name, RequestBuilder};

use super::report::Journey;
use super::world::{STEP, World};
use crate::simulate::TEAM;

/// The journeys in their order.
pub(crate) const ALL: [Kind; 6] =
    [Kind::Suspended, Kind::Foreground, Kind::DeadToken, Kind::ProviderDown, Kind::Crash, Kind::Stranger];

/// One story.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Crash,
    DeadToken,
    Foreground,
    ProviderDown,
    Stranger,
    Suspended,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Suspended => "a message wakes a suspended phone and is fetched in order",
            Self::Foreground => "a message to a phone on screen is delivered without a push",
            Self::DeadToken => "a dead token is forgotten at home, and the next message is not pushed",
            Self::ProviderDown => "the provider is down, then up: the push arrives once",
            Self::Crash => "the clearing house is killed while the provider answers: the phone shows the push once",
            Self::Stranger => "an organisation that is not allowed is refused with a diagnosis",
        }
    }
}

/// Runs one story.
pub(crate) async fn run(world: &mut World, kind: Kind) -> Journey {
    world.witness.take();
    let begun = Instant::now();
    let outcome = match kind {
        Kind::Crash => crash(world).await,
        Kind::DeadToken => dead_token(world).await,
        Kind::Foreground => foreground(world).await,
        Kind::ProviderDown => provider_down(world).await,
        Kind::Stranger => stranger(world).await,
        Kind::Suspended => suspended(world).await,
    };
    Journey::new(kind.name(), begun, world.witness.take(), outcome)
}

/// A token like APNs hands them out.
fn token() -> String {
    (0..32).map(|_| format!("{:02x}", rand::random::<u8>())).collect()
}

/// Contact parameters of the demo's own app, with a token for messages and another for calls.
fn contact(message: &str) -> String {
    format!("pn-provider=apns;pn-param={TEAM}.org.reveille.demo.voip&remote;pn-prid={}:voip&{message}:remote", token())
}

/// Bob's phone, registered once and then frozen by its operating system.
async fn bob_suspended(world: &World, message_token: &str) -> Result<Phone> {
    let bob = world.phone("bob", "urn:uuid:00000000-0000-4000-8000-0000000000b0", Some(contact(message_token)));
    bob.sign_in().await.context("Bob's phone signs in")?;
    world.witness.saw("phone", "Bob's phone is signed in, and is suspended");
    bob.suspend().await;
    world.until("bob", "Bob is away", |status| status.presence == "away").await?;
    Ok(bob)
}

async fn alice(world: &World) -> Result<Phone> {
    let alice = world.phone("alice", "urn:uuid:00000000-0000-4000-8000-0000000000a0", None);
    alice.sign_in().await.context("Alice signs in")?;
    Ok(alice)
}

async fn send(world: &World, alice: &Phone, text: &str, expected: u16) -> Result<()> {
    world.witness.saw("alice", format!("writes “{text}” to Bob"));
    let status = alice.send("bob@contoso.com", text).await.context("Alice writes")?;
    world.witness.saw("alice", format!("hears {status}"));
    ensure!(status == expected, "Alice heard {status} and not {expected}");
    Ok(())
}

/// Waits for a push that reaches the phone with this token.
async fn pushed(world: &World, token: &str, after: u64) -> Result<Entry<ApnsPush>> {
    let query = Query { after, token: Some(token), delivered: true };
    let wait = world.apns.recorder().wait(query);
    let entry = tokio::time::timeout(2 * STEP, wait).await.context("no push reached the phone")?;
    world.witness.saw("phone", "APNs delivers the push: the phone shows it");
    Ok(entry)
}

/// Every push for this token that reached the phone.
fn shown(world: &World, token: &str) -> Vec<Entry<ApnsPush>> {
    world.apns.recorder().entries(Query { after: 0, token: Some(token), delivered: true }, 1000)
}

/// Bob taps: his client signs in, and gets what was kept.
async fn fetch(world: &World, bob: &Phone, texts: &[&str]) -> Result<()> {
    let before = bob.received().len();
    bob.sign_in().await.context("Bob's phone comes back")?;
    let all = bob.wait_received(before + texts.len(), STEP).await?;
    let fetched: Vec<&str> = all[before..].iter().map(|Received { text, .. }| text.as_str()).collect();
    ensure!(fetched == texts, "Bob got {fetched:?} and not {texts:?}");
    world.witness.saw("phone", format!("Bob reads {} message(s), in order", texts.len()));
    let status = world.until("bob", "everything is marked delivered", |status| status.unread == 0).await?;
    ensure!(status.presence == "online", "Bob's presence is {} and not online", status.presence);
    Ok(())
}

async fn suspended(world: &World) -> Result<String> {
    let token = token();
    let (alice, bob) = (alice(world).await?, bob_suspended(world, &token).await?);
    let texts = ["Are you there?", "The train is late.", "Platform 9."];
    for text in texts {
        send(world, &alice, text, 202).await?;
    }
    let push = pushed(world, &token, 0).await?;
    let payload = push.push.payload().to_string();
    ensure!(!texts.iter().any(|text| payload.contains(text)), "the push carries message text: {payload}");
    fetch(world, &bob, &texts).await?;
    bob.shutdown().await;
    alice.shutdown().await;
    Ok(format!("Bob was away; woken by apns-id {}; three messages fetched in order; now online", push.push.apns_id))
}

async fn foreground(world: &World) -> Result<String> {
    let token = token();
    let alice = alice(world).await?;
    let bob = world.phone("bob", "urn:uuid:00000000-0000-4000-8000-0000000000b0", Some(contact(&token)));
    bob.sign_in().await.context("Bob's phone signs in")?;
    world.witness.saw("phone", "Bob's phone is on screen");
    send(world, &alice, "Lunch?", 200).await?;
    let received = bob.wait_received(1, STEP).await?;
    ensure!(received[0].text == "Lunch?", "Bob got something else");
    let reason = |status: &reveille_server::UserStatus| status.pushes.first().and_then(|push| push.reason);
    let done = |status: &reveille_server::UserStatus| reason(status) == Some("foreground") && status.unread == 0;
    world.until("bob", "the message is read, and the push has its reason", done).await?;
    ensure!(shown(world, &token).is_empty(), "a push was sent to a phone on screen");
    bob.shutdown().await;
    alice.shutdown().await;
    Ok("delivered directly; no push, with the reason “foreground”".into())
}

async fn dead_token(world: &World) -> Result<String> {
    let token = token();
    let (alice, bob) = (alice(world).await?, bob_suspended(world, &token).await?);
    // Apple says since when: a minute from now is later than any registration of this test.
    world.apns.script(Some(&token), vec![Answer::unregistered(u64::MAX / 2)], Times::Always)?;
    world.witness.saw("apns", "the app is deleted: the token is dead from now on");
    send(world, &alice, "First", 202).await?;
    let gone =
        |status: &reveille_server::UserStatus| status.devices.iter().all(|device| device.message_token.is_none());
    world.until("bob", "home forgets the token", gone).await?;
    let before = world.apns.recorder().latest();
    send(world, &alice, "Second", 202).await?;
    let reason = |status: &reveille_server::UserStatus| status.pushes.first().and_then(|push| push.reason);
    world.until("bob", "the second message has its reason", |status| reason(status) == Some("identity-dead")).await?;
    ensure!(world.apns.recorder().latest() == before, "a dead token was pushed to");
    world.apns.clear_scripts();
    let renewed = world.phone("bob", "urn:uuid:00000000-0000-4000-8000-0000000000b0", Some(contact(&self::token())));
    fetch(world, &renewed, &["First", "Second"]).await?;
    renewed.shutdown().await;
    bob.shutdown().await;
    alice.shutdown().await;
    Ok("410 came home as feedback; the second message was kept, not pushed: “identity-dead”; both fetched later".into())
}

async fn provider_down(world: &World) -> Result<String> {
    let token = token();
    let (alice, bob) = (alice(world).await?, bob_suspended(world, &token).await?);
    world.apns.down(Outage::Refuse).await;
    world.witness.saw("apns", "refuses every connection");
    send(world, &alice, "Still there?", 202).await?;
    let taken =
        |status: &reveille_server::UserStatus| status.pushes.first().is_some_and(|push| push.state == "journaled");
    world.until("bob", "the clearing house has taken the push", taken).await?;
    ensure!(shown(world, &token).is_empty(), "a push came through a provider that is down");
    world.apns.up().await;
    world.witness.saw("apns", "is up again");
    pushed(world, &token, 0).await?;
    fetch(world, &bob, &["Still there?"]).await?;
    let shown = shown(world, &token).len();
    ensure!(shown == 1, "the phone showed the push {shown} times");
    bob.shutdown().await;
    alice.shutdown().await;
    Ok("accepted while the provider was down, delivered once when it was up".into())
}

async fn crash(world: &mut World) -> Result<String> {
    let token = token();
    world.house_as_child().await?;
    world.witness.saw("clearinghouse", "runs as a process of its own");
    let (alice, bob) = (alice(world).await?, bob_suspended(world, &token).await?);
    world.apns.hold();
    send(world, &alice, "Do not lose this.", 202).await?;
    let query = Query { after: 0, token: Some(&token), delivered: false };
    let first = tokio::time::timeout(STEP, world.apns.recorder().wait(query)).await.context("no push came to APNs")?;
    world.witness.saw("apns", "has the push and holds back its answer");
    world.kill_house().await?;
    world.witness.saw("clearinghouse", "SIGKILL");
    world.apns.release();
    world.revive_house().await?;
    world.witness.saw("clearinghouse", "is started again");
    let again = pushed(world, &token, first.seq).await?;
    ensure!(again.push.apns_id == first.push.apns_id, "the repeated push has another apns-id");
    fetch(world, &bob, &["Do not lose this."]).await?;
    let mut ids: Vec<_> = shown(world, &token).iter().map(|entry| entry.push.apns_id.to_string()).collect();
    ids.dedup();
    ensure!(ids.len() == 1, "the phone showed {} pushes", ids.len());
    bob.shutdown().await;
    alice.shutdown().await;
    world.house_here().await?;
    Ok(format!("killed with the push unanswered; repeated after the restart under the same apns-id {}", ids[0]))
}

async fn stranger(world: &World) -> Result<String> {
    let client = world.stranger()?;
    let mut edge = RawSip::tls(world.at.publisher_edge(), &client, "push.example.net").await?;
    world.witness.saw("fabrikam", "connects to the publisher's edge with a good certificate of its own");
    let mut request = BytesMut::new();
    RequestBuilder::new(&mut request, Method::Message, "sip:push@push.example.net")
        .header(Name::Via, "SIP/2.0/TLS edge.fabrikam.com;branch=z9hG4bKstranger")
        .header(Name::MaxForwards, "70")
        .header(Name::From, "<sip:mcx@fabrikam.com>;tag=1")
        .header(Name::To, "<sip:push@push.example.net>")
        .header(Name::CallId, "stranger")
        .header(Name::CSeq, "1 MESSAGE")
        // A trust header of its own making must not help.
        .header(
            Name::EdgeTrust,
            "ms-source-type=DirectPartner;ms-ep-fqdn=edge.push.example.net;ms-source-verified-user=verified",
        )
        .content("application/vnd.reveille.push+json;v=1", b"{}")
        .finish()?;
    let answer = edge.send_and_wait(&request, Duration::from_secs(5)).await?;
    let status = answer.status().unwrap_or_default();
    let Some(diagnosis) = answer.header(Name::MsDiagnosticsPublic) else { bail!("{status} without a diagnosis") };
    world.witness.saw("fabrikam", format!("hears {status}"));
    ensure!(status == 403, "the stranger heard {status}");
    ensure!(diagnosis.contains("fabrikam.com is not an allowed domain"), "the diagnosis is {diagnosis}");
    ensure!(answer.header(Name::MsDiagnostics).is_none(), "inner diagnostics went outside");
    Ok(format!("{status} ms-diagnostics-public: {diagnosis}"))
}
