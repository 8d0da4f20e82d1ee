//! What waits on disk: read back in order, after a full window and after a restart, nothing twice and nothing lost.

use reveille_core::Reason;

use super::*;
use crate::dispatch::Fresh;

fn not(reason: Reason) -> PushState {
    PushState::NotPushed(reason)
}

#[tokio::test]
async fn what_the_window_has_no_room_for_waits_and_comes_back_in_order() {
    let house = House::with_window(10).await;
    let all: Vec<PushRequest> = (1..=200).map(message).collect();
    for batch in all.chunks(7) {
        house.submit("contoso.com", batch).await.unwrap();
    }
    // 10 were taken, and from then on everything waited.
    assert_eq!((house.messages.keys().len(), house.dispatch.load()), (10, (10, true)));
    let mut answered = 0;
    while answered < all.len() {
        house.dispatch.refill().await;
        house.settle().await;
        let keys = house.messages.keys();
        assert!(keys.len() > answered, "it goes on while anything waits");
        assert!(keys.len() - answered <= 10, "no more in memory than the window holds");
        for &key in &keys[answered..] {
            house.answer(key, Verdict::Accepted).await;
        }
        answered = keys.len();
    }
    assert_eq!(house.messages.pushes(), (1..=200).map(id).collect::<Vec<_>>());
    house.dispatch.refill().await;
    assert_eq!((house.dispatch.load(), house.journal.open(0, 10).unwrap()), ((0, false), vec![]));
    // And the straight way is open again.
    house.submit("contoso.com", &[message(201)]).await.unwrap();
    assert_eq!(house.messages.pushes().last(), Some(&id(201)));
}

#[tokio::test]
async fn a_call_goes_ahead_of_messages_that_fill_the_window_and_rings_once() {
    let house = House::with_window(2).await;
    house.submit("contoso.com", &[message(1), message(2)]).await.unwrap();
    // The provider of the messages is down: they stay, and newer ones wait on disk.
    for key in house.messages.keys() {
        house.answer(key, retry(true)).await;
    }
    house.submit("contoso.com", &[message(3), call(4), message(5)]).await.unwrap();
    house.submit("contoso.com", &[call(6)]).await.unwrap();
    assert_eq!((house.messages.pushes(), house.calls.pushes()), (vec![id(1), id(2)], vec![id(4), id(6)]));
    // One of the calls is over before the messages are read back, the other is not.
    house.answer(house.calls.keys()[0], Verdict::Accepted).await;
    house.clock.turn(Duration::from_secs(10));
    assert_eq!(house.dispatch.send_due(house.now()), None);
    for round in 0..3 {
        for &key in house.messages.keys().iter().skip(2 + round).take(2) {
            house.answer(key, Verdict::Accepted).await;
        }
        house.dispatch.refill().await;
        house.settle().await;
    }
    let mut again: Vec<_> = house.messages.pushes().into_iter().skip(2).collect();
    // Which of the two is due first is left to chance.
    again[..2].sort_unstable();
    assert_eq!((again, house.calls.keys().len()), ([1, 2, 3, 5].map(id).to_vec(), 2));
    assert_eq!(house.dispatch.load(), (1, false), "only the call that has no answer yet is open");
    house.answer(house.calls.keys()[1], Verdict::Accepted).await;
    assert_eq!(house.state("contoso.com", id(6)), PushState::Accepted);
}

#[tokio::test]
async fn calls_that_no_connection_takes_wait_for_it_until_they_have_run_out_and_make_room_for_others() {
    let house = House::with_window(2).await;
    house.calls.room.store(0, Ordering::SeqCst);
    house.submit("contoso.com", &[call(4), call(5), call(6)]).await.unwrap();
    assert_eq!(house.dispatch.load(), (2, true), "as many as the window holds");
    house.clock.turn(Duration::from_secs(26));
    house.dispatch.expire(house.now());
    house.settle().await;
    house.dispatch.refill().await;
    house.settle().await;
    for number in [4, 5, 6] {
        assert_eq!(house.state("contoso.com", id(number)), not(Reason::Expired), "{number}");
    }
    let (sent, expires) = (house.now(), house.now().plus(Duration::from_secs(25)));
    house.submit("contoso.com", &[PushRequest { sent, expires, ..call(7) }]).await.unwrap();
    house.calls.room.store(9, Ordering::SeqCst);
    house.dispatch.pump();
    house.settle().await;
    assert_eq!((house.calls.pushes(), house.dispatch.load()), (vec![id(7)], (1, false)));
}

#[tokio::test]
async fn a_call_that_comes_before_a_restarted_house_has_read_its_journal_rings_once() {
    let house = House::new().await;
    house.submit("contoso.com", &[message(1), call(2)]).await.unwrap();
    house.settle().await;
    let (folder, clock) = (Arc::clone(&house.folder), house.clock.clone());
    drop(house);
    let house = House::over(folder, clock, 10_000);
    house.submit("contoso.com", &[message(4), call(3)]).await.unwrap();
    assert_eq!((house.messages.pushes(), house.calls.pushes()), (vec![], vec![id(3)]));
    house.dispatch.refill().await;
    house.settle().await;
    assert_eq!((house.messages.pushes(), house.calls.pushes()), (vec![id(1), id(4)], vec![id(3)]));
    assert_eq!(house.state("contoso.com", id(2)), not(Reason::OutcomeUnknown));
    assert_eq!(house.state("contoso.com", id(3)), PushState::Sending);
}

#[tokio::test]
async fn a_push_that_is_committed_before_it_is_handed_over_is_sent_once() {
    let house = House::with_window(3).await;
    house.submit("contoso.com", &[message(1), message(2), message(3)]).await.unwrap();
    house.submit("contoso.com", &[message(4)]).await.unwrap();
    assert!(house.dispatch.load().1, "the fourth waits on disk");
    for key in house.messages.keys() {
        house.answer(key, Verdict::Accepted).await;
    }
    // A message and a call are committed; the writer thread has not come to hand them over when the task looks.
    let requests = [message(5), call(6)];
    let entry = |request: &PushRequest| JournalEntry {
        origin: domain("contoso.com"),
        asked: domain("push.example.net"),
        id: request.id,
        lane: lane_key(request.channel),
        received: house.now(),
        expires: request.expires,
        fingerprint: 5,
        sending: false,
        request: write_body(std::slice::from_ref(request)).into(),
    };
    let appended = wait(|done| house.journal.append(requests.iter().map(entry).collect(), done)).await.unwrap();
    house.dispatch.refill().await;
    house.settle().await;
    assert_eq!((house.messages.pushes().last(), house.calls.keys().len()), (Some(&id(4)), 0));
    let fresh = requests.into_iter().zip(appended).map(|(request, appended)| {
        let Appended::New { seq } = appended else { panic!("{appended:?}") };
        let (origin, lane, received) = (domain("contoso.com"), lane_key(request.channel), house.now());
        let expires = request.expires;
        Fresh { seq, origin, request, lane, received, expires, attempt: 0, due: None, sending: false }
    });
    house.dispatch.take(fresh.collect());
    house.settle().await;
    house.dispatch.refill().await;
    house.settle().await;
    assert_eq!((house.messages.pushes(), house.calls.pushes()), ((1..=5).map(id).collect(), vec![id(6)]));
}

#[tokio::test]
async fn after_a_restart_a_message_is_offered_again_under_the_same_name() {
    let house = House::new().await;
    house.submit("contoso.com", &[message(1), message(2), message(3)]).await.unwrap();
    let before = house.messages.offered.lock().clone();
    house.answer(before[1].key, Verdict::Accepted).await;
    let house = house.restarted().await;
    assert_eq!(house.messages.pushes(), [id(1), id(3)], "what had ended stays over");
    let after = house.messages.offered.lock().clone();
    // The key is that of a place in memory; everything else is the same.
    let of_key = |key, push: &Notification| Notification { key, ..push.clone() };
    assert_eq!(after[0], of_key(after[0].key, &before[0]));
    assert_eq!(after[1], of_key(after[1].key, &before[2]));
    // A repetition from home is still known.
    let again = house.submit("contoso.com", &[message(2)]).await.unwrap();
    assert_eq!(again, [reveille_federation::PushResult::new(reveille_federation::Taken::Duplicate)]);
}

#[tokio::test]
async fn after_a_restart_a_call_that_may_have_rung_is_over_and_one_that_was_not_marked_rings() {
    let house = House::new().await;
    house.calls.room.store(1, Ordering::SeqCst);
    house.submit("contoso.com", &[call(1)]).await.unwrap();
    // The connection is full with that one.
    house.submit("contoso.com", &[call(2)]).await.unwrap();
    assert_eq!((house.calls.pushes(), house.state("contoso.com", id(2))), (vec![id(1)], PushState::Journaled));
    let house = house.restarted().await;
    assert_eq!(house.calls.pushes(), [id(2)]);
    assert_eq!(*house.calls.marked.lock(), [true]);
    assert_eq!(house.state("contoso.com", id(1)), not(Reason::OutcomeUnknown));
    let owed: Vec<_> = house.owed().into_iter().map(|owed| (owed.item.push, owed.item.verdict)).collect();
    assert_eq!(owed, [(id(1), "state".to_owned())]);
    // Once more: what is over stays over, and the second has been marked by now.
    let house = house.restarted().await;
    assert_eq!((house.calls.keys().len(), house.owed().len()), (0, 2));
}

#[tokio::test]
async fn after_a_restart_what_has_expired_meanwhile_is_over_and_told() {
    let house = House::new().await;
    house.submit("contoso.com", &[message(1)]).await.unwrap();
    house.clock.turn(Duration::from_secs(3600));
    let house = house.restarted().await;
    assert_eq!(house.messages.keys().len(), 0);
    assert_eq!(house.state("contoso.com", id(1)), not(Reason::Expired));
    assert_eq!(house.owed().len(), 1);
    assert_eq!(house.dispatch.load(), (0, false));
}

#[tokio::test]
async fn after_a_restart_a_message_still_waits_for_its_next_attempt() {
    let house = House::new().await;
    house.submit("contoso.com", &[message(1)]).await.unwrap();
    let after = Some(Duration::from_secs(60));
    let verdict = Verdict::Retry { reason: "ServiceUnavailable".into(), after, unprocessed: false };
    house.answer(house.messages.keys()[0], verdict).await;
    let house = house.restarted().await;
    let due = house.dispatch.send_due(house.now()).expect("it is due later");
    assert_eq!((due.since(house.now()), house.messages.keys().len()), (Duration::from_secs(60), 0));
    house.clock.turn(Duration::from_secs(60));
    house.dispatch.send_due(house.now());
    assert_eq!(house.messages.pushes(), [id(1)]);
}

#[tokio::test]
async fn a_running_dispatch_sends_again_and_stops_when_told() {
    let house = House::new().await;
    let stop = tokio_util::sync::CancellationToken::new();
    let running = tokio::spawn(Arc::clone(&house.dispatch).run(stop.clone()));
    house.submit("contoso.com", &[call(1)]).await.unwrap();
    let key = house.calls.keys()[0];
    house.answer(key, retry(true)).await;
    // The task is woken for it; no test turns a handle here.
    let again = async {
        while house.calls.keys().len() < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, again).await.expect("the second try");
    house.answer(key, Verdict::Accepted).await;
    assert_eq!(house.state("contoso.com", id(1)), PushState::Accepted);
    stop.cancel();
    timeout(PATIENCE, running).await.expect("it stops").unwrap();
}
