//! From the journal to the lanes, and what becomes of the providers' answers.

use reveille_core::Reason;

use super::*;
use crate::notification::provider_id;

fn not(reason: Reason) -> PushState {
    PushState::NotPushed(reason)
}

fn gone(since: Option<u64>) -> Verdict {
    Verdict::Forget { reason: "Unregistered".into(), since: since.map(Timestamp::from_millis) }
}

/// What is owed to homes: the push, the verdict and the reason of each.
fn told(house: &House) -> Vec<(String, PushId, String, String)> {
    let told = |owed: OwedFeedback| (owed.origin.to_string(), owed.item.push, owed.item.verdict, owed.item.reason);
    house.owed().into_iter().map(told).collect()
}

#[tokio::test]
async fn a_push_is_offered_to_its_own_lane_once() {
    let house = House::new().await;
    house.submit("contoso.com", &[message(1), call(2), message(3)]).await.unwrap();
    // Nothing of what looks around later finds it again.
    house.dispatch.refill().await;
    house.dispatch.pump();
    assert_eq!(house.dispatch.send_due(house.now()), None);
    house.settle().await;
    assert_eq!((house.messages.pushes(), house.calls.pushes()), (vec![id(1), id(3)], vec![id(2)]));
    let first = house.messages.offered.lock()[0].clone();
    assert_eq!(first.provider_id, provider_id(&domain("contoso.com"), id(1)));
    assert_eq!(first.expires, message(1).expires);
}

#[tokio::test]
async fn a_lane_without_room_keeps_the_order_and_goes_on_when_an_answer_comes() {
    let house = House::new().await;
    house.messages.room.store(2, Ordering::SeqCst);
    let first: Vec<_> = (1..=5).map(message).collect();
    house.submit("contoso.com", &first).await.unwrap();
    assert_eq!(house.messages.pushes(), [id(1), id(2)]);
    // One place is free, and a newer push comes: it must not overtake.
    house.messages.room.store(1, Ordering::SeqCst);
    house.submit("contoso.com", &[message(6)]).await.unwrap();
    assert_eq!(house.messages.pushes(), [id(1), id(2), id(3)]);
    house.messages.room.store(1, Ordering::SeqCst);
    let done = house.messages.keys()[0];
    house.answer(done, Verdict::Accepted).await;
    assert_eq!(house.messages.pushes(), [id(1), id(2), id(3), id(4)]);
    house.messages.room.store(9, Ordering::SeqCst);
    house.dispatch.pump();
    assert_eq!(house.messages.pushes(), (1..=6).map(id).collect::<Vec<_>>());
    // A lane that stands still is no matter of another's.
    house.messages.room.store(0, Ordering::SeqCst);
    house.submit("contoso.com", &[message(7), call(8)]).await.unwrap();
    assert_eq!((house.messages.keys().len(), house.calls.pushes()), (6, vec![id(8)]));
}

#[tokio::test]
async fn a_call_is_offered_only_when_its_mark_is_on_disk() {
    let house = House::new().await;
    house.journal.hold_marks();
    house.submit("contoso.com", &[call(1), call(2), message(3)]).await.unwrap();
    assert_eq!((house.calls.keys().len(), house.messages.keys().len()), (0, 1), "a message needs no mark");
    house.journal.release_marks();
    house.settle().await;
    assert_eq!(house.calls.pushes(), [id(1), id(2)]);
    assert_eq!(*house.calls.marked.lock(), [true, true], "the file said so before the lane was asked");
    assert_eq!(*house.messages.marked.lock(), [false]);
}

#[tokio::test]
async fn a_call_that_could_not_be_marked_is_tried_again_and_not_sent_unmarked() {
    let house = House::new().await;
    house.journal.refuse("mark", disk_full());
    house.submit("contoso.com", &[call(1)]).await.unwrap();
    assert_eq!(house.calls.keys().len(), 0);
    let due = house.dispatch.send_due(house.now()).expect("it is due again");
    assert!(due > house.now());
    house.clock.turn(due.since(house.now()));
    house.dispatch.send_due(house.now());
    house.settle().await;
    assert_eq!((house.calls.pushes(), house.calls.marked.lock().clone()), (vec![id(1)], vec![true]));
}

#[tokio::test]
async fn a_call_that_a_connection_waits_for_is_journaled_as_being_sent_and_needs_no_mark() {
    let house = House::new().await;
    // Nobody has come yet.
    house.submit("contoso.com", &[call(1)]).await.unwrap();
    assert_eq!(*house.journal.asked_to_mark.lock(), [1]);
    house.submit("contoso.com", &[call(2)]).await.unwrap();
    house.submit("fabrikam.com", &[message(3), call(4)]).await.unwrap();
    assert_eq!(house.calls.pushes(), [1, 2, 4].map(id));
    assert_eq!(*house.calls.marked.lock(), [true; 3], "the file said so before the lane was asked");
    assert_eq!(*house.journal.asked_to_mark.lock(), [1]);
    let restarted = house.restarted().await;
    assert_eq!(restarted.calls.keys().len(), 0);
    for (from, number) in [("contoso.com", 1), ("contoso.com", 2), ("fabrikam.com", 4)] {
        assert_eq!(restarted.state(from, id(number)), not(Reason::OutcomeUnknown));
    }
}

#[tokio::test]
async fn a_call_is_marked_only_when_a_connection_has_room_for_it() {
    let house = House::new().await;
    house.calls.room.store(0, Ordering::SeqCst);
    house.submit("contoso.com", &[call(1), call(2), call(3)]).await.unwrap();
    assert_eq!(*house.journal.asked_to_mark.lock(), [0; 0]);
    house.calls.room.store(2, Ordering::SeqCst);
    house.dispatch.pump();
    house.settle().await;
    assert_eq!((house.calls.pushes(), house.journal.asked_to_mark.lock().clone()), (vec![id(1), id(2)], vec![2]));
    assert_eq!(house.state("contoso.com", id(3)), PushState::Journaled);
    // What was never given out rings after a restart.
    let house = house.restarted().await;
    assert_eq!((house.calls.pushes(), house.calls.marked.lock().clone()), (vec![id(3)], vec![true]));
}

#[tokio::test]
async fn a_call_that_is_not_journaled_takes_no_other_calls_place() {
    let house = House::new().await;
    house.submit("contoso.com", &[call(1)]).await.unwrap();
    for number in 100..170 {
        house.submit("contoso.com", &[call(number)]).await.unwrap();
        house.submit("contoso.com", &[call(number)]).await.unwrap();
        house.journal.refuse("append", disk_full());
        house.submit("contoso.com", &[call(100 + number)]).await.unwrap_err();
    }
    house.submit("contoso.com", &[call(3)]).await.unwrap();
    assert_eq!((house.calls.pushes().len(), house.journal.asked_to_mark.lock().clone()), (72, vec![1]));
}

#[tokio::test]
async fn an_accepted_push_is_over_and_nobody_is_told() {
    let house = House::new().await;
    house.submit("contoso.com", &[message(1)]).await.unwrap();
    house.answer(house.messages.keys()[0], Verdict::Accepted).await;
    assert_eq!(house.state("contoso.com", id(1)), PushState::Accepted);
    assert_eq!((house.dispatch.load(), told(&house)), ((0, false), vec![]));
    assert_eq!(house.journal.open(0, 10).unwrap(), []);
}

#[tokio::test]
async fn a_dead_token_is_journaled_together_with_what_home_must_hear() {
    let house = House::new().await;
    house.submit("contoso.com", &[message(1)]).await.unwrap();
    house.answer(house.messages.keys()[0], gone(Some(NOON + 5))).await;
    assert_eq!(house.state("contoso.com", id(1)), not(Reason::IdentityDead));
    assert_eq!(told(&house), [("contoso.com".into(), id(1), "forget".into(), "Unregistered".into())]);
    assert_eq!(house.owed()[0].item.provider_time, Some(Timestamp::from_millis(NOON + 5)));
    // In one commit: the outcome was never given to the journal without its feedback.
    let completed = house.journal.completed.lock().clone();
    assert_eq!(completed.len(), 1);
    assert!(completed[0].feedback.is_some());
    timeout(PATIENCE, house.feedback.notified()).await.expect("the outbox is woken");
}

#[tokio::test]
async fn a_push_that_is_refused_for_good_is_told_home_as_a_state() {
    let house = House::new().await;
    house.submit("contoso.com", &[message(1)]).await.unwrap();
    house.answer(house.messages.keys()[0], Verdict::Reject { reason: "PayloadTooLarge".into() }).await;
    assert_eq!(house.state("contoso.com", id(1)), not(Reason::RejectedByProvider));
    assert_eq!(told(&house), [("contoso.com".into(), id(1), "state".into(), "rejected-by-provider".into())]);
}

#[tokio::test]
async fn a_message_is_offered_again_at_its_time_and_not_before() {
    let house = House::new().await;
    house.submit("contoso.com", &[message(1)]).await.unwrap();
    let key = house.messages.keys()[0];
    let after = Some(Duration::from_secs(30));
    house.answer(key, Verdict::Retry { reason: "TooManyRequests".into(), after, unprocessed: false }).await;
    let due = house.dispatch.send_due(house.now()).expect("it is due again");
    assert_eq!(due, house.now().plus(Duration::from_secs(30)), "what the provider asked for is the least");
    assert_eq!(house.messages.keys(), [key]);
    // A crash in between would find the same timetable.
    let open = house.journal.open(0, 10).unwrap();
    assert_eq!((open[0].due, open[0].attempt, open[0].sending), (due, 1, false));
    house.clock.turn(Duration::from_secs(29));
    assert_eq!(house.dispatch.send_due(house.now()), Some(due));
    assert_eq!(house.messages.keys(), [key]);
    house.clock.turn(Duration::from_secs(1));
    assert_eq!(house.dispatch.send_due(house.now()), None);
    assert_eq!(house.messages.keys(), [key, key]);
    let names: Vec<_> = house.messages.offered.lock().iter().map(|push| push.provider_id).collect();
    assert_eq!(names[0], names[1], "the phone shows it once");
    house.answer(key, Verdict::Accepted).await;
    assert_eq!(house.state("contoso.com", id(1)), PushState::Accepted);
}

#[tokio::test]
async fn a_message_whose_life_ends_before_its_next_attempt_is_over() {
    let house = House::new().await;
    house.submit("contoso.com", &[message(1)]).await.unwrap();
    let after = Some(Duration::from_secs(3600));
    let key = house.messages.keys()[0];
    house.answer(key, Verdict::Retry { reason: "ServiceUnavailable".into(), after, unprocessed: true }).await;
    assert_eq!(house.state("contoso.com", id(1)), not(Reason::Expired));
    assert_eq!(told(&house), [("contoso.com".into(), id(1), "state".into(), "expired".into())]);
}

#[tokio::test]
async fn a_call_that_was_not_processed_has_one_more_try_and_no_third() {
    let house = House::new().await;
    house.submit("contoso.com", &[call(1)]).await.unwrap();
    let key = house.calls.keys()[0];
    house.answer(key, retry(true)).await;
    assert_eq!(house.dispatch.send_due(house.now()), None, "it is due at once");
    house.settle().await;
    assert_eq!(house.calls.keys(), [key, key]);
    assert_eq!(*house.calls.marked.lock(), [true, true], "marked again before it was sent again");
    house.answer(key, retry(true)).await;
    assert_eq!(house.dispatch.send_due(house.now()), None);
    house.settle().await;
    assert_eq!((house.calls.keys().len(), house.state("contoso.com", id(1))), (2, not(Reason::Expired)));
}

#[tokio::test]
async fn a_call_that_may_have_been_processed_is_never_sent_again() {
    let house = House::new().await;
    house.submit("contoso.com", &[call(1)]).await.unwrap();
    house.answer(house.calls.keys()[0], retry(false)).await;
    assert_eq!(house.dispatch.send_due(house.now()), None);
    house.settle().await;
    assert_eq!((house.calls.keys().len(), house.state("contoso.com", id(1))), (1, not(Reason::OutcomeUnknown)));
    assert_eq!(told(&house), [("contoso.com".into(), id(1), "state".into(), "outcome-unknown".into())]);
}

#[tokio::test]
async fn a_dead_token_stops_later_pushes_of_its_origin_and_of_no_other() {
    let house = House::new().await;
    let to_device_1 = |number| PushRequest { to: message(1).to, identity: message(1).identity, ..message(number) };
    house.submit("contoso.com", &[message(1)]).await.unwrap();
    house.answer(house.messages.keys()[0], gone(None)).await;
    // On its way before home could hear of it.
    house.submit("contoso.com", &[to_device_1(2)]).await.unwrap();
    assert_eq!(house.messages.pushes(), [id(1)]);
    assert_eq!(house.state("contoso.com", id(2)), not(Reason::IdentityDead));
    let verdicts: Vec<_> = told(&house).into_iter().map(|(_, push, verdict, _)| (push, verdict)).collect();
    assert_eq!(verdicts, [(id(1), "forget".into()), (id(2), "forget".into())]);
    // Another origin with the same token, another device, and the same token registered anew are all none of it.
    house.submit("fabrikam.com", &[to_device_1(3)]).await.unwrap();
    house.submit("contoso.com", &[message(4)]).await.unwrap();
    house.clock.turn(Duration::from_secs(2));
    let anew = PushRequest { registered: house.now(), ..to_device_1(5) };
    house.submit("contoso.com", &[anew]).await.unwrap();
    assert_eq!(house.messages.pushes(), [id(1), id(3), id(4), id(5)]);
}

#[tokio::test]
async fn an_outcome_that_the_journal_cannot_take_is_kept_and_written_later() {
    let house = House::new().await;
    house.submit("contoso.com", &[message(1)]).await.unwrap();
    house.journal.refuse("complete", disk_full());
    house.answer(house.messages.keys()[0], gone(None)).await;
    assert_eq!(house.dispatch.load(), (1, false), "it is not forgotten before it is on disk");
    assert_eq!((house.state("contoso.com", id(1)), told(&house).len()), (PushState::Journaled, 0));
    house.dispatch.rewrite();
    house.settle().await;
    assert_eq!((house.state("contoso.com", id(1)), told(&house).len()), (not(Reason::IdentityDead), 1));
    assert_eq!((house.dispatch.load(), house.messages.keys().len()), ((0, false), 1));
}
