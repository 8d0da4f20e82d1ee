//! The auditor is no blind one: each promise is broken before its eyes, once, and it must say which.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use reveille_core::delivery::PushState;
use reveille_core::{AppKey, Channel, Environment, LaneKey, Provider, PushId, Reason, SipDomain, Timestamp};
use reveille_store::{Appended, Completed, Journal as _, JournalEntry, SqliteJournal, wait};
use serde_json::{Value, json};

use crate::auditor::{self, Arrival};
use crate::ledger::{Asked, Ledger, now_ms};
use crate::support::Folder;

/// A step of a story. Pushes are named by numbers; 1 to 5 are messages and 6 to 9 are calls.
enum Step {
    /// Asked for and answered as kept; the journal has it.
    Kept(u64),
    /// Answered as kept, and the journal has never heard of it.
    KeptNowhere(u64),
    /// The provider has received it, and did this.
    Received(u64, Value),
    /// The provider has received something under this apns-id, to this token.
    ReceivedAs(u64, &'static str, &'static str),
    /// The journal has its end.
    Ended(u64, PushState),
    /// Its home is told, so long ago, that its token is dead.
    Told(u64, u64),
}

use Step::{Ended, Kept, KeptNowhere, Received, ReceivedAs, Told};

fn taken() -> Value {
    json!({ "outcome": "answered", "status": 200 })
}

fn refused(reason: &str) -> Value {
    json!({ "outcome": "answered", "status": 410, "reason": reason })
}

fn unanswered(delivered: bool) -> Value {
    json!({ "outcome": "closed", "delivered": delivered })
}

const ACCEPTED: PushState = PushState::Accepted;
const DEAD: PushState = PushState::NotPushed(Reason::IdentityDead);
const EXPIRED: PushState = PushState::NotPushed(Reason::Expired);
const UNKNOWN: PushState = PushState::NotPushed(Reason::OutcomeUnknown);

#[test]
fn each_promise_that_is_broken_is_seen_and_what_is_right_is_not_called_a_fault() -> Result<()> {
    let stories: Vec<(&str, Vec<Step>, Option<&str>)> = vec![
        ("all is well", vec![Kept(1), Received(1, taken()), Ended(1, ACCEPTED)], None),
        ("known to nobody", vec![KeptNowhere(1)], Some("accepted and lost")),
        ("open for ever", vec![Kept(1)], Some("accepted and lost")),
        ("ended and never sent", vec![Kept(1), Ended(1, ACCEPTED)], Some("accepted and lost")),
        (
            "ended and only refused",
            vec![Kept(1), Received(1, refused("ServiceUnavailable")), Ended(1, ACCEPTED)],
            Some("accepted and lost"),
        ),
        ("a message given up", vec![Kept(1), Ended(1, EXPIRED)], Some("ended without need")),
        ("a message unknown", vec![Kept(1), Ended(1, UNKNOWN)], Some("ended without need")),
        ("a call unknown", vec![Kept(6), Received(6, unanswered(true)), Ended(6, UNKNOWN)], None),
        (
            "a message twice under one id",
            vec![Kept(1), Received(1, unanswered(true)), Received(1, taken()), Ended(1, ACCEPTED)],
            None,
        ),
        (
            "a message again under another id",
            vec![Kept(1), Received(1, taken()), ReceivedAs(1, "another", "t1"), Ended(1, ACCEPTED)],
            Some("repeated under another id"),
        ),
        (
            "to another phone",
            vec![Kept(1), ReceivedAs(1, "1", "t2"), Ended(1, ACCEPTED)],
            Some("repeated under another id, or to another token"),
        ),
        (
            "two under one id",
            vec![
                Kept(1),
                Kept(2),
                Received(1, taken()),
                ReceivedAs(2, "1", "t1"),
                Ended(1, ACCEPTED),
                Ended(2, ACCEPTED),
            ],
            Some("share an apns-id"),
        ),
        ("what nobody asked for", vec![ReceivedAs(3, "3", "t3")], Some("nobody has asked for")),
        (
            "a call that rings twice",
            vec![Kept(6), Received(6, taken()), Received(6, taken()), Ended(6, ACCEPTED)],
            Some("a call that may have rung twice"),
        ),
        (
            "a call repeated after a kill",
            vec![Kept(6), Received(6, unanswered(false)), Received(6, taken()), Ended(6, ACCEPTED)],
            Some("a call that may have rung twice"),
        ),
        (
            "a call that was refused first",
            vec![Kept(6), Received(6, json!({ "outcome": "refused" })), Received(6, taken()), Ended(6, ACCEPTED)],
            None,
        ),
        ("a token that dies", vec![Kept(1), Received(1, refused("Unregistered")), Ended(1, DEAD), Told(1, 0)], None),
        (
            "a death that no home hears of",
            vec![Kept(1), Received(1, refused("Unregistered")), Ended(1, DEAD)],
            Some("ended as dead, and no home is told"),
        ),
        (
            "a live token killed",
            vec![Kept(1), Received(1, refused("ServiceUnavailable")), Ended(1, DEAD), Told(1, 0)],
            Some("no provider has called a token dead"),
        ),
        (
            "a verdict that is not heeded",
            vec![Kept(1), Received(1, refused("BadDeviceToken")), Ended(1, DEAD), Told(1, 5000), Received(1, taken())],
            Some("pushed to a token after its home was told"),
        ),
        (
            "the younger first",
            vec![Kept(1), Kept(2), Received(2, taken()), Received(1, taken()), Ended(1, ACCEPTED), Ended(2, ACCEPTED)],
            Some("out of order"),
        ),
    ];
    for (name, steps, fault) in stories {
        let figures = told(steps)?;
        let said = figures.faults.join("; ");
        match fault {
            Some(part) => ensure!(figures.broken(false) && said.contains(part), "{name}: {said:?}"),
            None => ensure!(!figures.broken(true) && figures.faults.is_empty(), "{name}: {said:?}"),
        }
    }
    Ok(())
}

#[test]
fn a_call_that_overtakes_another_is_counted_and_a_fault_where_it_is_strict() -> Result<()> {
    let steps =
        vec![Kept(6), Kept(7), Received(7, taken()), Received(6, taken()), Ended(6, ACCEPTED), Ended(7, ACCEPTED)];
    let figures = told(steps)?;
    ensure!(!figures.broken(false) && figures.broken(true), "{:?}", figures.faults);
    Ok(())
}

/// What the auditor says of a story.
fn told(steps: Vec<Step>) -> Result<auditor::Figures> {
    let folder = Folder::new("auditor")?;
    let journal = SqliteJournal::open(&folder.path().join("clearinghouse.db"))?;
    let ledger = Ledger::default();
    let (mut numbers, mut by_push) = (HashMap::new(), HashMap::<String, Vec<Arrival>>::new());
    let mut seq = 0;
    let mut received = |n: u64, apns_id: &str, token: &str, outcome: Value| -> Result<()> {
        seq += 1;
        let mut entry = json!({
            "seq": seq, "unix_ms": now_ms(), "token": token, "apns_id": apns_id,
            "payload": { "reveille": { "push": PushId::from_u128(n.into()).to_string() } },
        });
        entry.as_object_mut().expect("an object").extend(outcome.as_object().expect("an object").clone());
        by_push.entry(PushId::from_u128(n.into()).to_string()).or_default().push(Arrival::read(&entry)?);
        Ok(())
    };
    for step in steps {
        match step {
            Kept(n) | KeptNowhere(n) => {
                let number = ledger.ask(asked(n));
                ledger.accepted(number);
                if matches!(step, Kept(_)) {
                    let answers = wait(|done| journal.append(vec![entry(n)], done)).block()?;
                    let [Appended::New { seq }] = answers[..] else { anyhow::bail!("{answers:?}") };
                    numbers.insert(n, seq);
                }
            }
            Received(n, outcome) => received(n, &n.to_string(), &token(n), outcome)?,
            ReceivedAs(n, apns_id, token) => received(n, apns_id, token, taken())?,
            Ended(n, state) => {
                let (at, detail) = (Timestamp::from_millis(now_ms()), String::new());
                let end = Completed { seq: numbers[&n], state, detail, at, feedback: None, death: None };
                wait(|done| journal.complete(vec![end], done)).block()?;
            }
            Told(n, ago) => ledger.forget_at(PushId::from_u128(n.into()), now_ms() - ago),
        }
    }
    let figures = auditor::audit(&ledger, by_push, &journal)?;
    journal.close();
    folder.remove()?;
    Ok(figures)
}

fn channel(n: u64) -> Channel {
    if n > 5 { Channel::Voip } else { Channel::Message }
}

/// All messages of a story go to one phone, and all calls to another.
fn token(n: u64) -> String {
    if n > 5 { "t6".into() } else { "t1".into() }
}

fn origin() -> SipDomain {
    "contoso.com".parse().expect("a domain")
}

fn asked(n: u64) -> Asked {
    let (id, channel) = (PushId::from_u128(n.into()), channel(n));
    Asked { origin: origin(), id, token: token(n), channel, conversation: 0, accepted: None, too_late: false }
}

fn entry(n: u64) -> JournalEntry {
    let app = AppKey { provider: Provider::Apns, app: "org.example".into(), environment: Environment::Production };
    JournalEntry {
        origin: origin(),
        asked: "push.example.net".parse().expect("a domain"),
        id: PushId::from_u128(n.into()),
        lane: LaneKey { app, channel: channel(n) },
        received: Timestamp::from_millis(n),
        expires: Timestamp::from_millis(u64::MAX),
        fingerprint: n,
        sending: false,
        request: b"a request".as_slice().into(),
    }
}
