//! Our border with a foreign organisation whose edge others wrote: Kamailio over mutual TLS, with SIPp as its user, and
//! SIPp, linphonec or a phone of our own as ours.
//!
//! `cargo xtask partners` installs them. Where one is missing its test says so and is skipped, unless
//! REVEILLE_PARTNERS=required.

#[path = "partners/contoso.rs"]
mod contoso;
#[path = "partners/kamailio.rs"]
mod kamailio;
#[path = "partners/linphone.rs"]
mod linphone;
#[path = "partners/party.rs"]
mod party;
#[path = "partners/presence.rs"]
mod presence;
mod support;

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};
use reveille_sim::certs::Leaf;

use crate::contoso::Contoso;
use crate::kamailio::Kamailio;
use crate::linphone::Linphone;
use crate::party::{Party, Place};
use crate::presence::{here, on_path};
use crate::support::{Process, STEP, until};

#[test]
fn messages_pass_between_a_user_of_ours_and_a_user_behind_kamailio() -> Result<()> {
    if !here(&[on_path("kamailio"), on_path("sipp")])? {
        return Ok(());
    }
    let contoso = Contoso::start("kamailio-messages", FABRIKAM_ALLOWED)?;
    let kamailio = Kamailio::start(&contoso, "fabrikam.com", fabrikam())?;
    let runtime = tokio::runtime::Runtime::new()?;
    let bob = contoso.phone("bob")?;
    runtime.block_on(bob.sign_in())?;

    // In: Carol writes to Bob, who is there. What she hears is his own answer.
    let carol = Carol::of(&contoso);
    carol.party(&contoso, "abroad-message", BOB)?.done()?;
    let received = runtime.block_on(bob.wait_received(1, STEP))?;
    ensure!(received.len() == 1 && received[0].from == "carol@fabrikam.com", "{received:?}");
    ensure!(received[0].text.trim() == "Greetings from abroad.", "Bob reads another text");

    // Out: Bob writes to Carol, who takes it.
    let mut inbox = carol.party(&contoso, "abroad-receives", BOB)?;
    inbox.listens()?;
    let status = runtime.block_on(bob.send("carol@fabrikam.com", "Greetings back."))?;
    ensure!(status == 200, "Bob hears {status}; Kamailio said:\n{}", kamailio.said());
    let heard = inbox.done()?;
    ensure!(heard.contains("Greetings back."), "{heard}");
    ensure!(!heard.to_ascii_lowercase().contains("ms-edge-proxy"), "what our inside says has left it:\n{heard}");

    runtime.block_on(bob.shutdown());
    kamailio.stop()?;
    contoso.stop()
}

#[test]
fn a_kamailio_whose_certificate_names_another_domain_is_refused_and_nothing_of_it_arrives() -> Result<()> {
    if !here(&[on_path("kamailio"), on_path("sipp")])? {
        return Ok(());
    }
    let contoso = Contoso::start("kamailio-impostor", FABRIKAM_ALLOWED)?;
    let leaf = Leaf::new("edge.litware.com", &["edge.litware.com", "litware.com"]);
    let kamailio = Kamailio::start(&contoso, "fabrikam.com", leaf)?;
    let runtime = tokio::runtime::Runtime::new()?;
    let bob = contoso.phone("bob")?;
    runtime.block_on(bob.sign_in())?;

    for scenario in ["abroad-message-refused", "abroad-call-refused"] {
        Carol::of(&contoso).party(&contoso, scenario, BOB)?.done()?;
    }
    let refused = contoso.refusal("fabrikam.com")?;
    ensure!(refused["reason"] == "certificate-names-another", "{refused}");
    ensure!(kamailio.said().contains("partner answered 403"), "{}", kamailio.said());
    // The other way: what answers at the partner's address is not the partner.
    let status = runtime.block_on(bob.send("carol@fabrikam.com", "Greetings back."))?;
    ensure!(status == 504, "Bob hears {status}");
    ensure!(bob.received().is_empty() && contoso.user("bob")?["unread"] == 0, "something was relayed");

    runtime.block_on(bob.shutdown());
    kamailio.stop()?;
    contoso.stop()
}

#[test]
fn a_kamailio_whose_certificate_has_expired_does_not_get_a_connection() -> Result<()> {
    if !here(&[on_path("kamailio"), on_path("sipp")])? {
        return Ok(());
    }
    let contoso = Contoso::start("kamailio-expired", FABRIKAM_ALLOWED)?;
    let kamailio = Kamailio::start(&contoso, "fabrikam.com", expired(fabrikam()))?;
    let carol = Carol::of(&contoso);
    carol.party(&contoso, "abroad-message-lost", BOB)?.done().with_context(|| kamailio.said())?;
    let refused = contoso.refusal("expired")?;
    ensure!(refused["advice"].as_str().is_some_and(|advice| !advice.is_empty()), "{refused}");
    ensure!(contoso.user("bob")?["unread"] == 0, "something was relayed");
    kamailio.stop()?;
    contoso.stop()
}

#[test]
fn a_kamailio_of_a_domain_that_nobody_has_allowed_is_refused() -> Result<()> {
    if !here(&[on_path("kamailio"), on_path("sipp")])? {
        return Ok(());
    }
    let contoso = Contoso::start("kamailio-stranger", FABRIKAM_ALLOWED)?;
    let leaf = Leaf::new("edge.litware.com", &["edge.litware.com", "litware.com"]);
    let kamailio = Kamailio::start(&contoso, "litware.com", leaf)?;
    let carol = Carol { from: "carol@litware.com", ..Carol::of(&contoso) };
    carol.party(&contoso, "abroad-message-refused", BOB)?.done()?;
    let refused = contoso.refusal("litware.com is not an allowed domain")?;
    ensure!(refused["advice"].as_str().is_some_and(|advice| advice.contains("AllowedDomain")), "{refused}");
    ensure!(contoso.user("bob")?["unread"] == 0, "something was relayed");
    kamailio.stop()?;
    contoso.stop()
}

#[test]
fn two_of_ours_call_each_other_over_tcp_and_udp_and_either_may_hang_up() -> Result<()> {
    if !here(&[on_path("sipp")])? {
        return Ok(());
    }
    let contoso = Contoso::start("calls-at-home", FABRIKAM_ALLOWED)?;
    for (caller, caller_over, callee, callee_over) in [
        ("home-calls", "t1", "home-answers", "t1"),
        ("home-is-hung-up-on", "u1", "home-hangs-up", "t1"),
        ("home-calls", "t1", "home-answers", "u1"),
    ] {
        let (alice, bob) = (Ours::of(&contoso, "alice", caller_over, 4), Ours::of(&contoso, "bob", callee_over, 5));
        let callee = bob.party(&contoso, callee, "alice@contoso.com")?;
        contoso.user_until("bob", "he is there", |bob| bob["presence"] == "online")?;
        let caller = alice.party(&contoso, caller, BOB)?;
        caller.done().with_context(|| contoso.said())?;
        callee.done()?;
        contoso
            .user_until("bob", "his connection is gone", |bob| callee_over == "u1" || bob["presence"] != "online")?;
    }
    contoso.stop()
}

#[test]
fn calls_pass_in_both_directions_between_us_and_kamailio_and_end_at_either_side() -> Result<()> {
    if !here(&[on_path("kamailio"), on_path("sipp")])? {
        return Ok(());
    }
    let contoso = Contoso::start("kamailio-calls", FABRIKAM_ALLOWED)?;
    let kamailio = Kamailio::start(&contoso, "fabrikam.com", fabrikam())?;
    let carol = Carol::of(&contoso);
    // Out: Alice calls Carol and hangs up, or gives up while it rings.
    for (caller, callee) in [("home-calls", "abroad-answers"), ("home-cancels", "abroad-is-cancelled")] {
        let mut callee = carol.party(&contoso, callee, "alice@contoso.com")?;
        callee.listens()?;
        let caller = Ours::of(&contoso, "alice", "t1", 5).party(&contoso, caller, "carol@fabrikam.com")?;
        caller.done().with_context(|| format!("{}\n{}", contoso.said(), kamailio.said()))?;
        let heard = callee.done()?;
        for secret in ["ms-edge-proxy", "Proxy-Authorization", "pn-prid"] {
            ensure!(!heard.contains(secret), "{secret} has left us:\n{heard}");
        }
    }
    // In: Carol calls Bob; either hangs up, or she gives up while it rings.
    for (caller, callee) in [
        ("abroad-calls", "home-answers"),
        ("abroad-is-hung-up-on", "home-hangs-up"),
        ("abroad-cancels", "home-is-cancelled"),
    ] {
        let callee = Ours::of(&contoso, "bob", "t1", 5).party(&contoso, callee, "carol@fabrikam.com")?;
        contoso.user_until("bob", "he is there", |bob| bob["presence"] == "online")?;
        let caller = carol.party(&contoso, caller, BOB)?;
        caller.done().with_context(|| format!("{}\n{}", contoso.said(), kamailio.said()))?;
        callee.done()?;
        contoso.user_until("bob", "his connection is gone", |bob| bob["presence"] != "online")?;
    }
    kamailio.stop()?;
    contoso.stop()
}

#[test]
fn linphone_calls_another_of_ours_and_hangs_up_cleanly() -> Result<()> {
    if !here(&[on_path("linphonec"), on_path("sipp")])? {
        return Ok(());
    }
    let contoso = Contoso::start("linphone-at-home", FABRIKAM_ALLOWED)?;
    // The callee knows neither Call-ID nor connection beforehand: it registers its address, then waits there.
    let bob = Ours::of(&contoso, "bob", "u1", 5);
    bob.party(&contoso, "home-registers", "alice@contoso.com")?.done()?;
    let mut callee = bob.party(&contoso, "abroad-answers", "alice@contoso.com")?;
    callee.listens()?;
    calls_and_hangs_up(&contoso, BOB)?;
    callee.done()?;
    contoso.stop()
}

#[test]
fn linphone_calls_somebody_behind_kamailio_and_hangs_up_cleanly() -> Result<()> {
    if !here(&[on_path("kamailio"), on_path("linphonec"), on_path("sipp")])? {
        return Ok(());
    }
    let contoso = Contoso::start("linphone-abroad", FABRIKAM_ALLOWED)?;
    let kamailio = Kamailio::start(&contoso, "fabrikam.com", fabrikam())?;
    let mut callee = Carol::of(&contoso).party(&contoso, "abroad-answers", "alice@contoso.com")?;
    callee.listens()?;
    calls_and_hangs_up(&contoso, "carol@fabrikam.com").with_context(|| kamailio.said())?;
    let heard = callee.done()?;
    ensure!(!heard.contains("pn-prid"), "push parameters have left us:\n{heard}");
    kamailio.stop()?;
    contoso.stop()
}

/// Alice's Linphone over TLS, with a push identity, calls somebody, is answered, and hangs up.
fn calls_and_hangs_up(contoso: &Contoso, to: &str) -> Result<()> {
    let files = contoso.issue("alice-phone", Leaf::new("alice", &["alice.clients.contoso.com"]))?;
    let phone = Linphone {
        folder: contoso.folder(),
        user: "alice",
        password: contoso::password("alice"),
        home: &format!("{}:5061", contoso.host(1)),
        ca: contoso.folder().path().join("ca.pem"),
        identity: Some((files.certificate, files.key)),
        push: format!("pn-provider=apns;pn-param=TEAM.app.voip&remote;pn-prid={}:voip", "a1".repeat(32)),
    };
    let mut app = phone.start()?;
    let online = contoso.user_until("alice", "her phone registers", |alice| alice["presence"] == "online");
    online.with_context(|| format!("linphonec said: {}", app.said()))?;
    let log = contoso.folder().path().join("alice.log");
    let told = |app: &mut Process, what: &str, signs: &[&str]| {
        let found = app.until(what, |said| signs.iter().all(|sign| said.contains(sign)).then_some(()));
        found.with_context(|| format!("{}\nlinphonec's log: {}", contoso.said(), tail(&log)))
    };
    app.tell(&format!("call sip:{to}"))?;
    told(&mut app, "she is answered", &["connected"])?;
    app.tell("terminate")?;
    told(&mut app, "she hears the end", &["Call", "ended (No error)"])?;
    until("her BYE is answered", || {
        Ok(bye_is_answered(&std::fs::read_to_string(&log).unwrap_or_default()).then_some(()))
    })
    .with_context(|| tail(&log))?;
    app.tell("quit")?;
    let status = app.wait(STEP)?;
    ensure!(status.success(), "linphonec ended with {status}: {}", app.said());
    Ok(())
}

/// Whether linphonec has received a 200 to its BYE: an entry of its log is one message.
fn bye_is_answered(log: &str) -> bool {
    let answers = log.split("belle-sip-message-").filter(|entry| entry.contains("SIP/2.0 200"));
    answers
        .filter_map(|entry| entry.lines().find(|line| line.starts_with("CSeq:")))
        .any(|cseq| cseq.trim().ends_with("BYE"))
}

/// The end of a file, for whoever looks for a fault.
fn tail(path: &std::path::Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.chars().skip(text.chars().count().saturating_sub(20_000)).collect()
}

/// Whom Carol writes to.
const BOB: &str = "bob@contoso.com";

/// contoso.com's settings: one partner, which is found by its SRV record and must prove its domain.
const FABRIKAM_ALLOWED: &str = r#"{
  "settings": [
    { "Kind": "AllowedDomain", "Identity": "fabrikam.com", "Comment": "their edge is a Kamailio" },
    { "Kind": "AccessEdgeConfiguration", "AllowFederatedUsers": true }
  ]
}
"#;

/// The certificate that fabrikam.com's edge ought to have.
fn fabrikam() -> Leaf<'static> {
    Leaf::new("edge.fabrikam.com", &["edge.fabrikam.com", "fabrikam.com"])
}

#[allow(clippy::disallowed_methods, reason = "a certificate's dates are the wall clock's")]
fn expired(leaf: Leaf<'static>) -> Leaf<'static> {
    let (now, day) = (SystemTime::now(), Duration::from_secs(86_400));
    Leaf { not_before: now - 30 * day, not_after: now - day, ..leaf }
}

/// Carol, a user of the organisation behind Kamailio, on UDP.
struct Carol {
    from: &'static str,
    own: String,
    proxy: String,
}

impl Carol {
    fn of(contoso: &Contoso) -> Self {
        Self { from: "carol@fabrikam.com", own: contoso.host(4), proxy: format!("{}:5060", contoso.host(3)) }
    }

    /// Her client, with one scenario.
    fn party(&self, contoso: &Contoso, scenario: &str, to: &str) -> Result<Party> {
        let place = Place { own: &self.own, proxy: &self.proxy, transport: "u1", user: None };
        Party::start(contoso.folder(), scenario, &place, &[("from", self.from), ("from_user", "carol"), ("to", to)])
            .context("Carol's client")
    }
}

/// A user of ours with SIPp.
struct Ours {
    user: &'static str,
    transport: &'static str,
    own: String,
    proxy: String,
}

impl Ours {
    fn of(contoso: &Contoso, user: &'static str, transport: &'static str, host: u8) -> Self {
        Self { user, transport, own: contoso.host(host), proxy: format!("{}:5060", contoso.host(1)) }
    }

    /// The user's client, with one scenario.
    fn party(&self, contoso: &Contoso, scenario: &str, to: &str) -> Result<Party> {
        let Self { user, transport, own, proxy } = self;
        let place = Place { own, proxy, transport, user: Some((user, contoso::password(user))) };
        let from = format!("{user}@contoso.com");
        let keys = [("from", from.as_str()), ("from_user", user), ("to", to)];
        Party::start(contoso.folder(), scenario, &place, &keys).with_context(|| format!("{user}'s client"))
    }
}
