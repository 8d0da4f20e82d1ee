//! Every reason that Apple and Google give, from simulators that speak as strictly as they do, to its end: what becomes of the
//! push, what its home is told, whether the token lives, whether the app is stopped, and who is alarmed. And storms of
//! rejections, in which no token may die.

#![allow(dead_code, reason = "what tests of processes share is more than this one needs")]
#![allow(clippy::disallowed_methods, reason = "the test plays an organisation, and these have the wall clock")]

#[path = "rest/client.rs"]
mod client;
mod support;
#[path = "verdicts/world.rs"]
mod world;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use reveille_sim::apns::{Answer, Reason};
use reveille_sim::fcm::{FcmAnswer, FcmCode};
use reveille_sim::script::Times;

use support::push::millis;
use world::{App, Sent, World};

/// How a push ends that was answered so.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    /// The token is dead: nothing goes there any more, unless it is registered anew.
    Dead,
    /// The pause that the provider asks for is longer than the push's life.
    Expired,
    /// The app or its credential is refused: the push waits, somebody is alarmed, and it goes out once that is mended.
    Held,
    /// A call cannot wait for that.
    Refused,
    /// This push is wrong; others to the token are not.
    Rejected,
    /// It is sent once more, under the same name, and taken.
    Repeated,
    /// Whether a call got through nobody knows, so that it is not sent again.
    Unknown,
}

impl End {
    /// What the push has become.
    const fn state(self) -> &'static str {
        match self {
            Self::Dead => "identity-dead",
            Self::Expired => "expired",
            Self::Held => "journaled",
            Self::Refused => "configuration-broken",
            Self::Rejected => "rejected-by-provider",
            Self::Repeated => "accepted",
            Self::Unknown => "outcome-unknown",
        }
    }

    /// What home is told, if anything.
    const fn verdict(self) -> Option<&'static str> {
        match self {
            Self::Dead => Some("forget"),
            Self::Held | Self::Repeated => None,
            Self::Expired | Self::Refused | Self::Rejected | Self::Unknown => Some("state"),
        }
    }
}

/// What follows from Apple's reasons: for a message, and for a call. Without `_`, so that a new reason needs its line.
const fn of_apple(reason: Reason) -> (End, End) {
    match reason {
        Reason::BadDeviceToken | Reason::ExpiredToken | Reason::Unregistered => (End::Dead, End::Dead),
        Reason::BadCertificate
        | Reason::BadCertificateEnvironment
        | Reason::BadEnvironmentKeyIdInToken
        | Reason::BadTopic
        | Reason::Forbidden
        | Reason::InvalidProviderToken
        | Reason::MissingProviderToken
        | Reason::MissingTopic
        | Reason::TopicDisallowed
        // The provider token is seconds old, so that it is the clocks.
        | Reason::ExpiredProviderToken
        // On a connection that has not served before: a new one would do no better.
        | Reason::UnrelatedKeyIdInToken => (End::Held, End::Refused),
        Reason::BadCollapseId
        | Reason::BadExpirationDate
        | Reason::BadMessageId
        | Reason::BadPath
        | Reason::BadPriority
        | Reason::DeviceTokenNotForTopic
        | Reason::DuplicateHeaders
        | Reason::InvalidPushType
        | Reason::MethodNotAllowed
        | Reason::MissingDeviceToken
        | Reason::PayloadEmpty
        | Reason::PayloadTooLarge => (End::Rejected, End::Rejected),
        Reason::IdleTimeout
        | Reason::ServiceUnavailable
        | Reason::Shutdown
        | Reason::TooManyProviderTokenUpdates => (End::Repeated, End::Repeated),
        Reason::InternalServerError => (End::Repeated, End::Unknown),
        // This device gets too much, and a minute is longer than the pushes of this test live. A call is repeated at once.
        Reason::TooManyRequests => (End::Expired, End::Repeated),
    }
}

/// The same for Google's codes.
const fn of_google(code: FcmCode) -> (End, End) {
    match code {
        // Nothing says that it is the token which is wrong.
        FcmCode::InvalidArgument => (End::Rejected, End::Rejected),
        // Google: ten seconds at the least, or what Retry-After says.
        FcmCode::Internal | FcmCode::Unavailable | FcmCode::UnspecifiedError => (End::Repeated, End::Unknown),
        FcmCode::QuotaExceeded => (End::Repeated, End::Repeated),
        // The token is of another project; no repetition changes that.
        FcmCode::SenderIdMismatch => (End::Refused, End::Refused),
        FcmCode::ThirdPartyAuthError => (End::Held, End::Refused),
        FcmCode::Unregistered => (End::Dead, End::Dead),
    }
}

/// One push, what it is answered, and how it has to end.
#[derive(Debug)]
struct Row {
    word: &'static str,
    push: Sent,
    end: End,
    /// Whether the word concerns the app itself, or its topic: somebody is alarmed, and `Get-CsPushLane` shows that pushes are
    /// refused.
    alarms: bool,
    /// Whether the provider asks for a pause with it, which somebody is told; it is over before one can look.
    pauses: bool,
}

/// Has Apple or Google answer the row's token so, once; or until it is mended.
fn script(world: &World, row: &Row) -> Result<()> {
    let (token, times) = (Some(row.push.token.as_str()), Times::Exactly(1));
    let times = if row.end == End::Held { Times::Always } else { times };
    let answer = |status| Answer { status, reason: Some(row.word.into()), ..Answer::default() };
    match row.push.app {
        App::Apns(_) if row.word == LIVE_SPELLING => world.apns.script(token, vec![answer(Some(403))], times)?,
        App::Apns(_) => world.apns.script(token, vec![answer(None)], times)?,
        App::Fcm(_) => {
            let refused = FcmAnswer { code: Some(row.word.to_owned()), ..FcmAnswer::default() };
            world.fcm.script(token, vec![refused.retry_after(1)], times)?;
        }
    }
    Ok(())
}

/// Seen live though Apple documents another spelling.
const LIVE_SPELLING: &str = "BadEnvironmentKeyInToken";
/// How long pushes live that are not to be repeated: longer than a provider takes, shorter than what it asks for.
const SHORT: Duration = Duration::from_secs(30);

fn rows() -> Result<Vec<Row>> {
    let apple = Reason::ALL.into_iter().map(|reason| (reason.name(), of_apple(reason)));
    let apple = apple.chain([(LIVE_SPELLING, (End::Held, End::Refused))]);
    let google = FcmCode::ALL.into_iter().map(|code| (code.name(), of_google(code)));
    let (mut rows, mut apns, mut fcm) = (Vec::new(), 0, 0);
    let words = apple.map(|row| (true, row)).chain(google.map(|row| (false, row)));
    for (is_apple, (word, ends)) in words {
        for (is_call, end) in [(false, ends.0), (true, ends.1)] {
            // Each has an app of its own: what is wrong with one stops none of the others.
            let next = if is_apple { &mut apns } else { &mut fcm };
            let app = if is_apple { App::Apns(*next) } else { App::Fcm(*next) };
            *next += 1;
            let life = if end == End::Expired || is_call { SHORT } else { Duration::from_secs(600) };
            let push = Sent { is_call, life, ..Sent::message(app)? };
            let of_tokens = ["SENDER_ID_MISMATCH", "THIRD_PARTY_AUTH_ERROR"].contains(&word);
            let alarms = matches!(end, End::Held | End::Refused) && !of_tokens;
            // A call waits for nobody.
            let pauses = word == FcmCode::Unavailable.name() && !is_call;
            rows.push(Row { word, push, end, alarms, pauses });
        }
    }
    Ok(rows)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_reason_of_apple_and_google_comes_to_its_end() -> Result<()> {
    let rows = rows()?;
    let apns_apps = rows.iter().filter(|row| matches!(row.push.app, App::Apns(_))).count();
    let mut world = World::start("verdicts", apns_apps, rows.len() - apns_apps).await?;
    rows.iter().try_for_each(|row| script(&world, row))?;
    let pushes: Vec<Sent> = rows.iter().map(|row| row.push.clone()).collect();
    world.send(&pushes).await?;

    // What becomes of each push, and what the provider saw of it.
    for row in &rows {
        world.becomes(&row.push, row.end.state()).await.with_context(|| format!("{row:?}"))?;
        let seen = world.seen(&row.push.token);
        let requests = if row.end == End::Repeated { 2 } else { 1 };
        ensure!(row.end == End::Held || seen.len() == requests, "{row:?}: the provider saw {seen:?}");
        let names = seen.iter().filter_map(|one| one.split_once(' ').map(|(id, _)| id.to_owned()));
        let names: BTreeSet<_> = names.collect();
        ensure!(
            matches!(row.push.app, App::Fcm(_)) || names.len() <= 1,
            "{row:?}: repeated under another name {seen:?}"
        );
    }
    // What home is told, in whose words, and that it is told of nothing else.
    let expected: Vec<&Row> = rows.iter().filter(|row| row.end.verdict().is_some()).collect();
    world.home.until("all feedback", |last| last.len() >= expected.len()).await?;
    let last = world.home.last();
    for row in &rows {
        let told = last.get(&row.push.id).map(|(verdict, reason)| (verdict.as_str(), reason.as_str()));
        let word = if row.end == End::Dead { row.word } else { row.end.state() };
        ensure!(told == row.end.verdict().map(|verdict| (verdict, word)), "{row:?}: home was told {told:?}");
    }
    // Which lanes show that pushes are refused, and who is alarmed about which. What asks the provider about nobody's token
    // is answered well here, so that a lane may be seen between two refusals.
    let apps = |which: fn(&&Row) -> bool| rows.iter().filter(which).map(|row| row.push.app.name()).collect();
    let (expected, paused): (BTreeSet<String>, BTreeSet<String>) = (apps(|row| row.alarms), apps(|row| row.pauses));
    let (mut shown, end) = (BTreeSet::new(), Instant::now() + world::PATIENCE);
    while shown != expected {
        ensure!(Instant::now() < end, "{:?} were not shown", expected.difference(&shown));
        let lanes = world.told("Get-CsPushLane | Where-Object State -ne ready").await?;
        let apps = lanes.as_array().into_iter().flatten().filter_map(|lane| lane["App"].as_str().map(str::to_owned));
        shown.extend(apps.filter(|app| !paused.contains(app)));
        ensure!(shown.is_subset(&expected), "{lanes}");
    }
    let said = world.said();
    for row in &rows {
        let app = row.push.app.name();
        let is_alarm = |line: &&str| line.contains("push-app-refused") || line.contains("push-circuit-open");
        let names =
            |line: &&str| line.split(&app).skip(1).any(|rest| !rest.starts_with(|next: char| next.is_ascii_digit()));
        let alarms: Vec<&str> = said.lines().filter(is_alarm).filter(names).collect();
        ensure!(alarms.is_empty() != (row.alarms || row.pauses), "{row:?}: {alarms:?}");
        let refused = alarms.iter().any(|line| line.contains("push-app-refused"));
        ensure!(refused == row.alarms, "{row:?}: {alarms:?}");
    }
    ensure!(world.shell("Get-CsPushBrake").await?.trim().is_empty(), "one rejection is no storm");

    // Somebody mends it: what waited goes out, and every token lives that was not said to be dead.
    world.apns.clear_scripts();
    world.fcm.clear_scripts();
    let to = |row: &Row| Sent::to(row.push.app, row.push.token.clone()).map(|push| Sent { is_call: false, ..push });
    let later: Vec<Sent> = rows.iter().map(to).collect::<Result<_>>()?;
    world.send(&later).await?;
    for (row, later) in rows.iter().zip(&later) {
        let state = if row.end == End::Dead { "identity-dead" } else { "accepted" };
        world.becomes(later, state).await.with_context(|| format!("after {row:?}"))?;
        if row.end == End::Held {
            world.becomes(&row.push, "accepted").await.with_context(|| format!("{row:?}"))?;
        }
        ensure!(row.end != End::Dead || world.seen(&row.push.token).len() == 1, "{row:?}: sent to a dead token");
    }
    // The app on the phone has fetched the same token again: it lives.
    let dead = rows.iter().filter(|row| row.end == End::Dead);
    let again: Vec<Sent> =
        dead.map(|row| to(row).map(|push| Sent { registered: millis(), ..push })).collect::<Result<_>>()?;
    world.send(&again).await?;
    for push in &again {
        world.becomes(push, "accepted").await.context("registered again")?;
    }
    world.finish()
}

/// How many pushes make a storm, and a few more.
const STORM: usize = 60;

/// The pushes of one storm, sent, each to a token of its own, and each answered so.
async fn storm(world: &mut World, app: App, word: &'static str) -> Result<Vec<Sent>> {
    let pushes: Vec<Sent> = (0..STORM).map(|_| Sent::message(app)).collect::<Result<_>>()?;
    for push in &pushes {
        let token = Some(push.token.as_str());
        match app {
            App::Apns(_) => {
                let answer = Answer { reason: Some(word.into()), ..Answer::default() };
                world.apns.script(token, vec![answer], Times::Always)?;
            }
            App::Fcm(_) => {
                let answer = FcmAnswer { code: Some(word.to_owned()), ..FcmAnswer::default() };
                world.fcm.script(token, vec![answer], Times::Always)?;
            }
        }
    }
    world.send(&pushes).await?;
    Ok(pushes)
}

/// Pushes to the same tokens, sent, all of which have to end so.
async fn again(world: &mut World, pushes: &[Sent], state: &str) -> Result<()> {
    let pushes: Vec<Sent> = pushes.iter().map(|push| Sent::to(push.app, push.token.clone())).collect::<Result<_>>()?;
    world.send(&pushes).await?;
    for push in &pushes {
        world.becomes(push, state).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn in_a_storm_of_rejections_no_token_dies_until_somebody_has_decided() -> Result<()> {
    let mut world = World::start("storms", 2, 2).await?;
    let mut storms = Vec::new();
    for (app, word, ends) in [
        // The wrong topic, the sandbox's tokens at the production service, another project's key, and an app that is gone.
        (App::Apns(0), "DeviceTokenNotForTopic", "rejected-by-provider"),
        (App::Apns(1), "BadDeviceToken", "app-suspended-by-brake"),
        (App::Fcm(0), "SENDER_ID_MISMATCH", "configuration-broken"),
        (App::Fcm(1), "UNREGISTERED", "app-suspended-by-brake"),
    ] {
        let pushes = storm(&mut world, app, word).await?;
        // Some were believed before the brake was on; on two connections it is not the first of them.
        let mut held = 0;
        for push in &pushes {
            let found = [ends, "identity-dead"];
            let end = Instant::now() + world::PATIENCE;
            while !found.contains(&world.became(&push.id).await?.as_str()) {
                ensure!(Instant::now() < end, "{word}: {}", world.became(&push.id).await?);
            }
            held += usize::from(world.became(&push.id).await? == ends);
        }
        ensure!(held > 0, "{word}: none is {ends}");
        storms.push((app, word, pushes));
    }
    // Each brake is on, its verdicts are frozen, and whoever looks for trouble finds it, and the alarm.
    for (app, word, _) in &storms {
        let frozen = if ["BadDeviceToken", "UNREGISTERED"].contains(word) { STORM } else { 0 };
        let line = format!("Get-CsPushBrake -App {}", app.name());
        let end = Instant::now() + world::PATIENCE;
        loop {
            let brake = world.told(&line).await?;
            if brake[0]["Frozen"] == frozen && brake[0]["Organisation"] == "contoso.com" {
                break;
            }
            ensure!(Instant::now() < end, "{word}: {brake}");
        }
        let of_it = |line: &&str| line.contains("brake-on") && line.contains(&app.name()) && line.contains(word);
        ensure!(world.said().lines().filter(of_it).count() == 1, "{word}: {}", world.said());
    }
    let trouble = world.told("Get-CsServiceStatus -Trouble | Where-Object Kind -eq brake").await?;
    ensure!(trouble.as_array().is_some_and(|all| all.len() == storms.len()), "{trouble}");
    // What homes were told before the brake is taken back: at the end no token is to be forgotten.
    let forgotten = |last: &std::collections::HashMap<String, (String, String)>| {
        last.values().filter(|(verdict, _)| verdict == "forget").count()
    };
    let all = storms.len() * STORM;
    world.home.until("all are told, and no token dies", |last| last.len() == all && forgotten(last) == 0).await?;
    let reversed = world.home.last().values().filter(|(verdict, _)| verdict == "reversed").count();
    ensure!(reversed > 0, "some were believed before the brake, and taken back: {:?}", world.home.last());

    // While it is on pushes go out to all of them, also to those whose verdicts are frozen.
    world.apns.clear_scripts();
    world.fcm.clear_scripts();
    for (_, word, pushes) in &storms {
        again(&mut world, pushes, "accepted").await.with_context(|| (*word).to_owned())?;
    }
    // The environment was wrong: nobody hears of it again.
    let (_, _, sandbox) = &storms[1];
    world.shell(&format!("Clear-CsPushBrake -App {} -Verdict Wrong -Force", App::Apns(1).name())).await?;
    again(&mut world, sandbox, "accepted").await?;
    ensure!(forgotten(&world.home.last()) == 0, "{:?}", world.home.last());
    // The app was withdrawn: its tokens are dead, their home is told so, and whoever has registered since lives.
    let (_, _, gone) = &storms[3];
    world.shell(&format!("Clear-CsPushBrake -App {} -Verdict Right -Force", App::Fcm(1).name())).await?;
    world
        .home
        .until("the tokens are dead", |last| {
            gone.iter().all(|push| last.get(&push.id).is_some_and(|(verdict, _)| verdict == "forget"))
        })
        .await?;
    ensure!(forgotten(&world.home.last()) == STORM, "others too: {:?}", world.home.last());
    again(&mut world, gone, "identity-dead").await?;
    let back = Sent { registered: millis(), ..Sent::to(gone[0].app, gone[0].token.clone())? };
    world.send(std::slice::from_ref(&back)).await?;
    world.becomes(&back, "accepted").await?;
    world.finish()
}

/// Apple's clock is off, and so is the one of the home: what decides is which of two events Apple and home put first, and
/// home's word never goes beyond the moment at which we have heard it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_token_dies_of_news_that_are_younger_than_it_whatever_the_clocks_say() -> Result<()> {
    const MINUTE: u64 = 60_000;
    let mut world = World::start("skew", 1, 0).await?;
    let now = millis();
    for (what, registered, invalid, dies) in [
        ("registered a day ago, gone since an hour", now - 1440 * MINUTE, now - 60 * MINUTE, true),
        ("gone an hour ago, registered again since", now - 10 * MINUTE, now - 60 * MINUTE, false),
        ("gone and registered in the same millisecond", now - MINUTE, now - MINUTE, false),
        ("Apple's clock is five minutes ahead", now - 10 * MINUTE, now + 5 * MINUTE, true),
        (
            "home's clock is a day ahead: it cannot have been registered after we have heard of it",
            now + 1440 * MINUTE,
            now + MINUTE,
            true,
        ),
    ] {
        let push = Sent { registered, ..Sent::message(App::Apns(0))? };
        world.apns.script(Some(&push.token), vec![Answer::unregistered(invalid)], Times::Exactly(1))?;
        world.send(std::slice::from_ref(&push)).await?;
        let (state, after) = match dies {
            true => ("identity-dead", "identity-dead"),
            false => ("rejected-by-provider", "accepted"),
        };
        world.becomes(&push, state).await.context(what)?;
        let next = Sent { registered, ..Sent::to(push.app, push.token.clone())? };
        world.send(std::slice::from_ref(&next)).await?;
        // Home's impossible time is now later than the news, as it would be for a token that was fetched since.
        let after = if registered > now + MINUTE { "identity-dead" } else { after };
        world.becomes(&next, after).await.context(what)?;
    }
    world.finish()
}

/// `reveille trace` on a server that serves, at each place of a push's life; and what others learn of it: nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_push_is_traced_on_a_live_server_and_only_for_whom_it_concerns() -> Result<()> {
    let mut world = World::start("trace", 1, 0).await?;
    let app = App::Apns(0);
    let (taken, dead, waits) = (Sent::message(app)?, Sent::message(app)?, Sent::message(app)?);
    world.apns.script(Some(&dead.token), vec![Answer::unregistered(millis())], Times::Exactly(1))?;
    world.send(&[taken.clone(), dead.clone()]).await?;
    world.becomes(&taken, "accepted").await?;
    world.becomes(&dead, "identity-dead").await?;
    world.apns.hold();
    world.send(std::slice::from_ref(&waits)).await?;
    for (push, says) in [
        (&taken, vec!["has taken it from contoso.com for apns/org.example.app0", "the push service has taken it"]),
        (&dead, vec!["it was not pushed: identity-dead", "Unregistered", "its home is owed the news of that"]),
        (&waits, vec!["has taken it from contoso.com", "it is on disk"]),
    ] {
        let traced = world.run(&["trace", &push.id, "-c", "CONFIG"]).await?;
        ensure!(traced.code == 0, "{}: {}", traced.out, traced.err);
        for part in says {
            ensure!(traced.out.contains(part), "{part:?} is not in {}", traced.out);
        }
        // Whoever reads it can wake no phone.
        ensure!(!traced.out.contains(&push.token) && !traced.err.contains(&push.token), "{}", traced.out);
        let traced = world.run(&["trace", &push.id, "-c", "CONFIG", "--origin", "fabrikam.com"]).await?;
        ensure!(traced.code == 1 && traced.out.is_empty(), "fabrikam's is another: {}", traced.out);
        let others = format!("Get-CsPushTrace {} -Origin fabrikam.com", push.id);
        ensure!(world.shell(&others).await.is_err_and(|error| error.to_string().contains("No push")), "{others}");
    }
    // When its home has heard of it is told too.
    let end = Instant::now() + world::PATIENCE;
    loop {
        let traced = world.run(&["trace", &dead.id, "-c", "CONFIG", "--origin", "contoso.com"]).await?;
        if traced.out.contains("its home has taken the news") {
            break;
        }
        ensure!(Instant::now() < end, "{}", traced.out);
    }
    world.apns.release();
    world.becomes(&waits, "accepted").await?;
    for (id, code, says) in [(support::push::ulid().as_str(), 1, "No push"), ("17", 1, "not the id of a push")] {
        let traced = world.run(&["trace", id, "-c", "CONFIG"]).await?;
        ensure!(traced.code == code && traced.err.contains(says) && traced.out.is_empty(), "{id}: {}", traced.err);
    }
    world.finish()
}
