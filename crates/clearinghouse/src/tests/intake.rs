//! Intake: what is answered, when, and in which order.

use std::sync::mpsc;

use reveille_core::Reason;
use reveille_federation::request::{Call, Caller, Media};
use reveille_federation::{PushResult, Refusal, Taken};

use super::*;

fn journaled() -> PushResult {
    PushResult::new(Taken::Journaled)
}

fn refused(reason: Reason) -> PushResult {
    PushResult::new(Taken::Refused(reason))
}

#[tokio::test]
async fn an_answer_comes_only_when_the_journal_has_the_request() {
    let house = House::new().await;
    let (told, answers) = mpsc::channel();
    let journal = Arc::clone(&house.journal);
    // What the file says at the moment of the answer, seen by a reader of its own.
    let answer = Box::new(move |receipt: Receipt, _: Option<&Standing>| {
        let known = journal.trace(&domain("contoso.com"), id(1)).unwrap();
        told.send((receipt, known.map(|known| known.state))).unwrap();
    });
    let requests = vec![message(1)];
    let body = write_body(&requests).into();
    house.intake.accept(vec![Submission {
        from: peer("contoso.com"),
        asked: domain("push.example.net"),
        requests,
        body,
        answer,
    }]);
    house.settle().await;
    assert_eq!(answers.try_recv().unwrap(), (Ok(vec![journaled()]), Some(PushState::Journaled)));
}

#[tokio::test]
async fn the_same_request_again_is_a_duplicate_and_another_under_its_id_is_refused() {
    let house = House::new().await;
    assert_eq!(house.submit("contoso.com", &[message(1)]).await, Ok(vec![journaled()]));
    // A repetition renews the time of sending, and nothing else.
    house.clock.turn(Duration::from_secs(5));
    let again = PushRequest { sent: house.now(), ..message(1) };
    assert_eq!(house.submit("contoso.com", &[again]).await, Ok(vec![PushResult::new(Taken::Duplicate)]));
    let other = PushRequest { to: message(2).to, ..message(1) };
    assert_eq!(house.submit("contoso.com", &[other]).await, Ok(vec![refused(Reason::InvalidRequest)]));
    assert_eq!(house.messages.pushes(), [id(1)], "only the first was sent");
    // Another organisation may have chosen the same id.
    assert_eq!(house.submit("fabrikam.com", &[message(1)]).await, Ok(vec![journaled()]));
    let names: Vec<_> = house.messages.offered.lock().iter().map(|push| push.provider_id).collect();
    assert_eq!(names.len(), 2);
    assert_ne!(names[0], names[1], "the provider must not take them for one");
}

#[tokio::test]
async fn each_request_of_a_batch_has_its_own_result_in_order() {
    let house = House::new().await;
    let to = |change: fn(&mut To)| {
        let mut to = message(0).to.unwrap();
        change(&mut to);
        Some(to)
    };
    let elsewhere = PushRequest { to: to(|to| to.app = "org.example.other".into()), ..message(2) };
    let sandbox = PushRequest { to: to(|to| to.environment = Environment::Sandbox), ..message(3) };
    let early = PushRequest { sent: Timestamp::from_millis(NOON - 700_000), ..message(4) };
    let probe = PushRequest { to: None, event: Event::Probe, ..message(5) };
    let batch = [message(1), elsewhere, sandbox, early, message(1), probe, message(6), call(7)];
    let results = house.submit("contoso.com", &batch).await.unwrap();
    let expected = [
        journaled(),
        refused(Reason::NoSuchApp),
        refused(Reason::NoSuchApp),
        refused(Reason::ClockSkew),
        PushResult::new(Taken::Duplicate),
        journaled(),
        journaled(),
        journaled(),
    ];
    assert_eq!(results, expected);
    assert_eq!((house.messages.pushes(), house.calls.pushes()), (vec![id(1), id(6)], vec![id(7)]));
    assert_eq!(house.state("contoso.com", id(5)), PushState::Accepted, "a probe without a target is only answered");
}

#[tokio::test]
async fn an_app_serves_only_whom_the_publisher_has_granted_it_to() {
    let house = House::new().await;
    let no = Ok(vec![refused(Reason::AppNotGranted)]);
    assert_eq!(house.submit("stranger.example", &[message(1)]).await, no);
    assert!(house.journal.trace(&domain("stranger.example"), id(1)).unwrap().is_none(), "nothing of it is kept");
    // A grant counts for the next request, and so does taking it back.
    house.settings.send_replace(Arc::new(granted(&["stranger.example"])));
    assert_eq!(house.submit("stranger.example", &[message(1)]).await, Ok(vec![journaled()]));
    assert_eq!(house.submit("contoso.com", &[message(2)]).await, no);
}

#[tokio::test]
async fn a_journal_that_cannot_take_is_said_and_nothing_is_sent() {
    let house = House::new().await;
    house.journal.refuse("append", StoreError::Full { file: "clearinghouse.db".into(), records: 9 });
    assert_eq!(house.submit("contoso.com", &[message(1)]).await, Err(Refusal::Overloaded));
    house.journal.refuse("append", disk_full());
    assert_eq!(house.submit("contoso.com", &[message(1)]).await, Err(Refusal::StoreFull));
    assert_eq!((house.messages.keys().len(), house.dispatch.load()), (0, (0, false)));
    // The sender repeats it when there is room again.
    assert_eq!(house.submit("contoso.com", &[message(1)]).await, Ok(vec![journaled()]));
    assert_eq!(house.messages.pushes(), [id(1)]);
}

#[tokio::test]
async fn what_comes_in_together_is_answered_one_by_one() {
    let house = House::new().await;
    let (told, answers) = mpsc::channel();
    let submission = |number: u128, requests: Vec<PushRequest>| {
        let told = told.clone();
        let answer = Box::new(move |receipt: Receipt, _: Option<&Standing>| told.send((number, receipt)).unwrap());
        Submission {
            from: peer("contoso.com"),
            asked: domain("push.example.net"),
            body: write_body(&requests).into(),
            requests,
            answer,
        }
    };
    let skewed = PushRequest { sent: Timestamp::from_millis(NOON + 700_000), ..message(3) };
    house.intake.accept(vec![
        submission(1, vec![message(1), message(2)]),
        submission(2, vec![PushRequest { expires: Timestamp::from_millis(u64::MAX), ..skewed }]),
        submission(3, vec![message(2)]),
    ]);
    house.settle().await;
    let told: Vec<_> = answers.try_iter().collect();
    assert_eq!(
        told,
        [
            (1, Ok(vec![journaled(), journaled()])),
            (2, Ok(vec![refused(Reason::ClockSkew)])),
            (3, Ok(vec![PushResult::new(Taken::Duplicate)])),
        ]
    );
}

#[tokio::test]
async fn a_call_of_before_a_restore_is_refused_and_a_message_is_not() {
    let mut house = House::new().await;
    let restored = house.now();
    house.intake.refuse_calls_before(restored);
    let born = |at: Timestamp, request: PushRequest| PushRequest { id: PushId::from_parts(at, 1), ..request };
    let early = Timestamp::from_millis(restored.millis() - 1);
    assert_eq!(house.submit("contoso.com", &[born(early, call(1))]).await, Ok(vec![refused(Reason::OutcomeUnknown)]));
    assert_eq!(house.submit("contoso.com", &[born(early, message(2))]).await, Ok(vec![journaled()]));
    assert_eq!(house.submit("contoso.com", &[born(restored, call(3))]).await, Ok(vec![journaled()]));
}

#[tokio::test]
async fn what_is_sealed_goes_on_unchanged_and_what_no_provider_takes_is_refused() {
    let house = House::new().await;
    let sealed = |bytes: usize| Some("s".repeat(bytes).into());
    let caller = |bytes: usize| {
        let caller = Some(Caller::Sealed { sealed: "c".repeat(bytes).into() });
        Some(Call { id: "call-1".into(), media: Media::Audio, caller })
    };
    let results = house
        .submit(
            "contoso.com",
            &[
                PushRequest { sealed: sealed(3500), ..message(1) },
                PushRequest { sealed: sealed(4096), ..message(2) },
                PushRequest { call: caller(4500), ..call(3) },
                PushRequest { call: caller(5120), ..call(4) },
                PushRequest { sealed: sealed(3000), call: caller(2200), ..call(5) },
            ],
        )
        .await
        .unwrap();
    let large = refused(Reason::PayloadTooLarge);
    assert_eq!(results, [journaled(), large, journaled(), large, large]);
    let offered = house.messages.offered.lock();
    assert_eq!(offered[0].sealed, sealed(3500));
    drop(offered);
    let offered = house.calls.offered.lock();
    let sealed_caller = offered[0].call.as_ref().and_then(|call| call.caller_sealed.as_deref());
    assert_eq!(sealed_caller.map(str::len), Some(4500));
}

#[tokio::test]
async fn while_the_journal_stands_still_messages_are_refused_at_once_and_calls_and_what_was_taken_are_not() {
    let house = House::new().await;
    house.journal.stall();
    let (told, answers) = mpsc::channel();
    let submit = |requests: Vec<PushRequest>| {
        let told = told.clone();
        house.intake.accept(vec![Submission {
            from: peer("contoso.com"),
            asked: domain("push.example.net"),
            body: write_body(&requests).into(),
            requests,
            answer: Box::new(move |receipt, _| told.send(receipt).unwrap()),
        }]);
    };
    let begun = std::time::Instant::now();
    let mut taken = 0;
    let refusal = loop {
        submit(vec![message(taken + 1)]);
        match answers.try_recv() {
            Ok(refusal) => break refusal,
            Err(_) => taken += 1,
        }
        assert!(begun.elapsed() < PATIENCE, "{taken} wait, and nobody is told");
        // A few hundred are enough.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    };
    assert!(begun.elapsed() > crate::shed::patience(crate::shed::Class::Message), "{taken} were let wait");
    let over = PushResult { taken: Taken::Refused(Reason::Throttled), retry_after: Some(crate::shed::COME_BACK) };
    assert_eq!(refusal, Ok(vec![over]));
    // A call beside a message is taken where that is refused, and one by itself is not held up by them.
    submit(vec![message(900_001), call(900_002)]);
    house.settle().await;
    assert_eq!(answers.try_recv(), Ok(Ok(vec![over, journaled()])));
    assert_eq!(house.submit("contoso.com", &[call(900_003)]).await, Ok(vec![journaled()]));
    house.journal.go_on();
    house.settle().await;
    let told: Vec<_> = answers.try_iter().collect();
    assert_eq!(told.len(), usize::try_from(taken).unwrap());
    assert!(told.iter().all(|receipt| *receipt == Ok(vec![journaled()])), "what was taken is kept");
    assert_eq!(house.submit("contoso.com", &[message(900_004)]).await, Ok(vec![journaled()]));
}

#[tokio::test]
async fn who_has_next_to_nothing_waiting_does_not_wait_behind_another_s_flood_nor_is_he_refused_for_it() {
    let house = House::new().await;
    house.journal.stall();
    let (told, answers) = mpsc::channel();
    let submit = |from: &'static str, numbers: std::ops::Range<u128>| {
        let told = told.clone();
        let requests: Vec<_> = numbers.map(message).collect();
        house.intake.accept(vec![Submission {
            from: peer(from),
            asked: domain("push.example.net"),
            body: write_body(&requests).into(),
            requests,
            answer: Box::new(move |receipt, _| told.send((from, receipt)).unwrap()),
        }]);
    };
    (0..20).for_each(|number| submit("contoso.com", 10 * number..10 * number + 10));
    tokio::time::sleep(crate::shed::patience(crate::shed::Class::Message)).await;
    submit("contoso.com", 200..201);
    let over = PushResult { taken: Taken::Refused(Reason::Throttled), retry_after: Some(crate::shed::COME_BACK) };
    assert_eq!(answers.try_recv(), Ok(("contoso.com", Ok(vec![over]))));
    assert_eq!(house.submit("fabrikam.com", &[message(300), message(301)]).await, Ok(vec![journaled(), journaled()]));
    assert!(answers.try_recv().is_err(), "the flood waits still");
    house.journal.go_on();
    house.settle().await;
    assert_eq!(answers.try_iter().count(), 20);
}
