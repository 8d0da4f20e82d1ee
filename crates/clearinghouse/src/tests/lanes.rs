//! The organisations of a lane among each other: turns, shares, replacement, expiry, and what each has on disk.

use reveille_core::Reason;

use super::*;

fn not(reason: Reason) -> PushState {
    PushState::NotPushed(reason)
}

/// A message that replaces, and is replaced by, others with the same collapse key to the same device.
fn collapsing(number: u128, device: u128, key: &str) -> PushRequest {
    let like = message(device);
    PushRequest { to: like.to, identity: like.identity, collapse: Some(key.into()), ..message(number) }
}

/// The lane takes `room` more pushes.
fn allow(lane: &FakeLane, house: &House, room: usize) {
    lane.room.store(room, Ordering::SeqCst);
    house.dispatch.pump();
}

#[tokio::test]
async fn a_push_of_a_quiet_organisation_waits_for_one_turn_of_a_flood_and_not_for_the_flood() {
    let house = House::new().await;
    house.messages.room.store(0, Ordering::SeqCst);
    let flood: Vec<PushRequest> = (1..=3000).map(message).collect();
    for batch in flood.chunks(30) {
        house.submit("contoso.com", batch).await.unwrap();
    }
    allow(&house.messages, &house, 100);
    for round in 0..20 {
        let quiet = 100_000 + round;
        house.submit("fabrikam.com", &[message(quiet)]).await.unwrap();
        let before = house.messages.pushes().len();
        allow(&house.messages, &house, 40);
        let waited = house.messages.pushes()[before..].iter().position(|push| *push == id(quiet));
        let turn = (crate::turns::QUANTUM / 512) as usize;
        assert!(waited.is_some_and(|waited| waited <= turn), "round {round}: {waited:?} went before");
    }
}

#[tokio::test]
async fn a_flood_that_waits_for_its_answers_leaves_places_and_a_quiet_organisation_waits_for_none_of_them() {
    let house = House::new().await;
    house.messages.kept.store(6, Ordering::SeqCst);
    house.messages.room.store(100, Ordering::SeqCst);
    let flood: Vec<PushRequest> = (1..=300).map(message).collect();
    house.flood("contoso.com", &flood).await;
    assert_eq!(house.messages.keys().len(), 94, "the flood has what is not kept, and no answer has come");
    for number in 1001..=1003 {
        house.submit("fabrikam.com", &[message(number)]).await.unwrap();
    }
    assert_eq!(house.messages.pushes()[94..], [1001, 1002, 1003].map(id), "at once, each");
    // What is kept is for whoever has little under way, and not for another flood.
    house.messages.room.store(50, Ordering::SeqCst);
    house.messages.kept.store(50, Ordering::SeqCst);
    let second: Vec<PushRequest> = (2001..=2100).map(message).collect();
    house.flood("fabrikam.com", &second).await;
    assert_eq!(house.messages.pushes()[97..], [2001, 2002, 2003, 2004, 2005].map(id));
    // Answers make room: the turns go on where they were, and nobody is left behind.
    house.messages.room.store(1000, Ordering::SeqCst);
    house.dispatch.pump();
    assert_eq!(house.messages.keys().len(), 403);
}

#[tokio::test]
async fn a_hundred_thousand_of_one_organisation_leave_the_others_their_places_and_their_order() {
    let house = House::with_window(1000).await;
    house.messages.room.store(0, Ordering::SeqCst);
    for first in (0..100_000).step_by(1000) {
        let batch: Vec<PushRequest> = (first + 1..=first + 1000).map(message).collect();
        house.flood("contoso.com", &batch).await;
    }
    let (held, spilled) = house.dispatch.load();
    assert_eq!((held, spilled), (1000, true), "the window, and not a hundred thousand");
    // Its own window is full, and another organisation's first pushes have places.
    for number in 200_001..=200_005 {
        house.submit("fabrikam.com", &[message(number)]).await.unwrap();
    }
    assert_eq!(house.dispatch.load().0, 1005);
    allow(&house.messages, &house, 64);
    let quiet: Vec<_> = house.messages.pushes().into_iter().filter(|push| push.to_u128() > 200_000).collect();
    assert_eq!(quiet, (200_001..=200_005).map(id).collect::<Vec<_>>());
    // The flood goes on from disk, in order, and is never in memory beyond its window.
    let mut answered = 0;
    while answered < 3000 {
        let keys = house.messages.keys();
        for &key in &keys[answered..] {
            house.dispatch.report(vec![accepted(key, house.now())]);
        }
        answered = keys.len();
        house.settle().await;
        house.dispatch.refill().await;
        assert!(house.dispatch.load().0 <= 1000 + 64);
        allow(&house.messages, &house, 500);
    }
    let flood: Vec<_> = house.messages.pushes().into_iter().filter(|push| push.to_u128() <= 200_000).collect();
    assert!(flood.len() > 2500 && flood.iter().enumerate().all(|(at, push)| *push == id(at as u128 + 1)));
    let shown = house.dispatch.lanes();
    let loud = shown.iter().find(|lane| lane.key == lane_key(Channel::Message)).unwrap();
    assert_eq!(loud.noisiest.as_ref().map(|(origin, _)| origin.as_str()), Some("contoso.com"));
    assert!(loud.on_disk > 90_000 && loud.flows == 1, "{loud:?}");
}

#[tokio::test]
async fn a_lane_that_stands_still_fills_its_own_window_and_no_other() {
    let house = House::with_window(20).await;
    house.messages.room.store(0, Ordering::SeqCst);
    for number in 1..=200 {
        house.submit("contoso.com", &[message(number)]).await.unwrap();
    }
    for number in 1001..=1040 {
        house.submit("contoso.com", &[call(number)]).await.unwrap();
        house.answer(*house.calls.keys().last().unwrap(), Verdict::Accepted).await;
    }
    assert_eq!(house.calls.pushes(), (1001..=1040).map(id).collect::<Vec<_>>());
    assert_eq!((house.messages.keys().len(), house.dispatch.load()), (0, (20, true)));
}

#[tokio::test]
async fn a_newer_push_takes_the_place_of_a_queued_one_with_its_collapse_key() {
    let house = House::new().await;
    house.messages.room.store(0, Ordering::SeqCst);
    let all = [
        collapsing(1, 1, "talk"),
        message(2),
        collapsing(3, 1, "talk"),
        // Another conversation, another device: none of the first.
        collapsing(4, 1, "other"),
        collapsing(5, 2, "talk"),
        collapsing(6, 1, "talk"),
    ];
    house.submit("contoso.com", &all).await.unwrap();
    // Nor is another organisation's.
    house.submit("fabrikam.com", &[collapsing(7, 1, "talk")]).await.unwrap();
    allow(&house.messages, &house, 99);
    assert_eq!(house.messages.pushes(), [6, 2, 7].map(id), "one to a device at a time");
    for at in 0..2 {
        house.answer(house.messages.keys()[at], Verdict::Accepted).await;
    }
    assert_eq!(house.messages.pushes(), [6, 2, 7, 4, 5].map(id));
    for number in [1, 3] {
        assert_eq!(house.state("contoso.com", id(number)), not(Reason::Coalesced));
    }
    let told: Vec<_> = house.owed().into_iter().map(|owed| (owed.item.push, owed.item.reason)).collect();
    assert_eq!(told, [(id(1), "coalesced".to_owned()), (id(3), "coalesced".to_owned())]);
    for &key in &house.messages.keys()[2..] {
        house.answer(key, Verdict::Accepted).await;
    }
    assert_eq!((house.state("contoso.com", id(6)), house.dispatch.load()), (PushState::Accepted, (0, false)));
}

#[tokio::test]
async fn pushes_to_one_device_keep_their_order_when_one_is_sent_again_or_ends() {
    let house = House::new().await;
    let to_device_1 = |number| PushRequest { to: message(1).to, ..message(number) };
    let short = PushRequest { expires: house.now().plus(Duration::from_secs(5)), ..to_device_1(3) };
    house.submit("contoso.com", &[to_device_1(1), to_device_1(2), short, to_device_1(4), message(5)]).await.unwrap();
    // Another organisation's pushes to that token are none of theirs.
    house.submit("fabrikam.com", &[to_device_1(6)]).await.unwrap();
    assert_eq!(house.messages.pushes(), [1, 5, 6].map(id));
    house.answer(house.messages.keys()[0], retry(true)).await;
    assert_eq!(house.messages.pushes(), [1, 5, 6].map(id), "the younger ones do not overtake it");
    house.clock.turn(Duration::from_secs(5));
    house.dispatch.expire(house.now());
    house.dispatch.send_due(house.now());
    assert_eq!(house.messages.pushes(), [1, 5, 6, 1].map(id));
    house.answer(house.messages.keys()[3], Verdict::Accepted).await;
    house.answer(house.messages.keys()[4], Verdict::Accepted).await;
    assert_eq!(house.messages.pushes(), [1, 5, 6, 1, 2, 4].map(id));
    assert_eq!(house.state("contoso.com", id(3)), not(Reason::Expired));
    // And who comes when all of them are over goes at once.
    house.answer(house.messages.keys()[5], Verdict::Accepted).await;
    house.submit("contoso.com", &[to_device_1(7)]).await.unwrap();
    assert_eq!(house.messages.pushes().last(), Some(&id(7)));
}

#[tokio::test]
async fn a_push_that_is_put_off_for_long_holds_back_no_other_conversation_of_its_device() {
    let house = House::new().await;
    let later = |secs| Verdict::Retry {
        reason: "TooManyRequests".into(),
        after: Some(Duration::from_secs(secs)),
        unprocessed: true,
    };
    let expires = house.now().plus(Duration::from_secs(3600));
    let asked = |request| PushRequest { expires, ..request };
    let keyless = |number| asked(PushRequest { to: message(1).to, ..message(number) });
    let keyed = |number, key| asked(collapsing(number, 1, key));
    house.submit("contoso.com", &[keyed(1, "a"), keyed(2, "b"), keyless(3), keyless(4)]).await.unwrap();
    house.answer(house.messages.keys()[0], later(5)).await;
    assert_eq!(house.messages.pushes(), [1].map(id), "a moment is no reason to change the order");
    house.clock.turn(Duration::from_secs(10));
    house.dispatch.send_due(house.now());
    house.answer(house.messages.keys()[1], later(60)).await;
    assert_eq!(house.messages.pushes(), [1, 1, 2].map(id));
    house.answer(house.messages.keys()[2], Verdict::Accepted).await;
    // Of a push without a collapse key nobody knows what it is about: those behind it wait.
    house.answer(house.messages.keys()[3], later(60)).await;
    assert_eq!(house.messages.pushes(), [1, 1, 2, 3].map(id));
    // A newer one of the first conversation takes the place of the one that waits, and goes.
    house.submit("contoso.com", &[PushRequest { sent: house.now(), ..keyed(5, "a") }]).await.unwrap();
    assert_eq!(house.messages.pushes(), [1, 1, 2, 3, 5].map(id));
    house.answer(house.messages.keys()[4], Verdict::Accepted).await;
    assert_eq!(house.state("contoso.com", id(1)), not(Reason::Coalesced));
    house.clock.turn(Duration::from_secs(120));
    house.dispatch.send_due(house.now());
    house.answer(house.messages.keys()[5], Verdict::Accepted).await;
    house.answer(house.messages.keys()[6], Verdict::Accepted).await;
    assert_eq!(house.messages.pushes(), [1, 1, 2, 3, 5, 3, 4].map(id));
    assert_eq!(house.dispatch.load(), (0, false));
}

#[tokio::test]
async fn what_is_being_sent_is_not_replaced_and_the_newest_follows_its_answer() {
    let house = House::new().await;
    house.submit("contoso.com", &[collapsing(1, 1, "talk")]).await.unwrap();
    house.submit("contoso.com", &[collapsing(2, 1, "talk")]).await.unwrap();
    house.submit("contoso.com", &[collapsing(3, 1, "talk"), message(4)]).await.unwrap();
    assert_eq!(house.messages.pushes(), [1, 4].map(id), "two under way at once could arrive in any order");
    assert_eq!(house.state("contoso.com", id(2)), not(Reason::Coalesced));
    house.answer(house.messages.keys()[0], Verdict::Accepted).await;
    assert_eq!(house.messages.pushes(), [1, 4, 3].map(id));
    assert_eq!(house.state("contoso.com", id(1)), PushState::Accepted);
    // And where the first is to be sent again, it has become too old for that.
    house.submit("contoso.com", &[collapsing(5, 1, "talk")]).await.unwrap();
    house.answer(house.messages.keys()[2], retry(true)).await;
    assert_eq!(house.state("contoso.com", id(3)), not(Reason::Coalesced));
    assert_eq!(house.messages.pushes(), [1, 4, 3, 5].map(id));
    house.answer(house.messages.keys()[3], Verdict::Accepted).await;
    house.answer(house.messages.keys()[1], Verdict::Accepted).await;
    assert_eq!((house.dispatch.load(), house.dispatch.send_due(house.now())), ((0, false), None));
}

#[tokio::test]
async fn one_that_waits_for_its_next_attempt_is_replaced_and_the_newer_goes_at_once() {
    let house = House::new().await;
    house.submit("contoso.com", &[collapsing(1, 1, "talk")]).await.unwrap();
    house.answer(house.messages.keys()[0], retry(true)).await;
    house.submit("contoso.com", &[collapsing(2, 1, "talk")]).await.unwrap();
    assert_eq!(house.messages.pushes(), [1, 2].map(id));
    house.clock.turn(Duration::from_secs(60));
    house.dispatch.send_due(house.now());
    assert_eq!((house.messages.pushes().len(), house.state("contoso.com", id(1))), (2, not(Reason::Coalesced)));
}

#[tokio::test]
async fn calls_are_never_replaced() {
    let house = House::new().await;
    house.calls.room.store(0, Ordering::SeqCst);
    let ring = |number| PushRequest { collapse: Some("ring".into()), to: call(1).to, ..call(number) };
    house.submit("contoso.com", &[ring(1), ring(2)]).await.unwrap();
    allow(&house.calls, &house, 9);
    house.settle().await;
    assert_eq!(house.calls.pushes(), [1, 2].map(id));
}

/// A call to the first device.
fn ring(number: u128) -> PushRequest {
    PushRequest { to: call(1).to, ..call(number) }
}

#[tokio::test]
async fn a_call_that_waits_is_not_overtaken_by_a_newer_one_to_its_device() {
    let house = House::new().await;
    house.journal.refuse("mark", disk_full());
    house.submit("contoso.com", &[ring(1)]).await.unwrap();
    assert_eq!(house.calls.pushes(), [], "it could not be marked, and waits for a moment");
    // The connection waits still, and these are promised to it: another device's, and another organisation's, go.
    house.submit("contoso.com", &[ring(2), call(3)]).await.unwrap();
    house.submit("fabrikam.com", &[ring(4)]).await.unwrap();
    assert_eq!(house.calls.pushes(), [3, 4].map(id));
    house.clock.turn(Duration::from_secs(1));
    house.dispatch.send_due(house.now());
    house.settle().await;
    assert_eq!(house.calls.pushes(), [3, 4, 1, 2].map(id));
    assert_eq!(*house.calls.marked.lock(), [true; 4], "the file said so before the lane was asked");
    // And when all of them are over, nothing is left of their order.
    for key in house.calls.keys() {
        house.answer(key, Verdict::Accepted).await;
    }
    house.submit("contoso.com", &[ring(5)]).await.unwrap();
    assert_eq!((house.calls.pushes().last(), house.dispatch.load().0), (Some(&id(5)), 1));
}

#[tokio::test]
async fn a_call_that_is_sent_again_goes_before_a_newer_one_that_has_waited_meanwhile() {
    let house = House::new().await;
    house.calls.room.store(1, Ordering::SeqCst);
    house.submit("contoso.com", &[ring(1)]).await.unwrap();
    house.submit("contoso.com", &[ring(2)]).await.unwrap();
    house.submit("contoso.com", &[ring(3), call(4)]).await.unwrap();
    assert_eq!(house.calls.pushes(), [1].map(id));
    house.answer(house.calls.keys()[0], retry(true)).await;
    allow(&house.calls, &house, 9);
    house.settle().await;
    house.settle().await;
    let to_first: Vec<_> = house.calls.pushes().into_iter().filter(|push| *push != id(4)).collect();
    assert_eq!((to_first, house.calls.keys().len()), ([1, 1, 2, 3].map(id).to_vec(), 5));
    assert_eq!(*house.calls.marked.lock(), [true; 5]);
}

#[tokio::test]
async fn a_call_that_ends_while_others_wait_behind_it_lets_them_go() {
    let house = House::new().await;
    house.calls.room.store(0, Ordering::SeqCst);
    let short = PushRequest { expires: house.now().plus(Duration::from_secs(5)), ..ring(1) };
    house.submit("contoso.com", &[short, ring(2)]).await.unwrap();
    house.clock.turn(Duration::from_secs(6));
    house.dispatch.expire(house.now());
    house.settle().await;
    allow(&house.calls, &house, 9);
    house.settle().await;
    assert_eq!((house.calls.pushes(), house.state("contoso.com", id(1))), (vec![id(2)], not(Reason::Expired)));
}

#[tokio::test]
async fn a_call_of_a_former_life_goes_before_a_newer_one_that_waits() {
    let house = House::new().await;
    house.calls.room.store(0, Ordering::SeqCst);
    house.submit("contoso.com", &[ring(1)]).await.unwrap();
    let (folder, clock) = (Arc::clone(&house.folder), house.clock.clone());
    drop(house);
    let house = House::over(folder, clock, 10_000);
    house.calls.room.store(0, Ordering::SeqCst);
    // Nothing has been read back yet, and no connection is there.
    house.submit("contoso.com", &[ring(2)]).await.unwrap();
    house.dispatch.refill().await;
    allow(&house.calls, &house, 9);
    house.settle().await;
    house.settle().await;
    assert_eq!(house.calls.pushes(), [1, 2].map(id));
}

#[tokio::test]
async fn after_a_clean_stop_calls_that_no_connection_has_had_are_sent() {
    let house = House::new().await;
    house.submit("contoso.com", &[call(1)]).await.unwrap();
    // The connection has gone, and nobody knows yet: these are journaled as being sent.
    house.calls.room.store(0, Ordering::SeqCst);
    house.submit("contoso.com", &[call(2), ring(3)]).await.unwrap();
    assert_eq!(house.calls.pushes(), [1].map(id));
    assert_eq!(house.state("contoso.com", id(2)), PushState::Sending);
    house.dispatch.take_back_marks();
    let house = house.restarted().await;
    assert_eq!(house.calls.pushes(), [2, 3].map(id));
    assert_eq!(*house.calls.marked.lock(), [true; 2], "the file said so before the lane was asked");
    // What a connection has had may have rung.
    assert_eq!(house.state("contoso.com", id(1)), not(Reason::OutcomeUnknown));
}

#[tokio::test]
async fn what_was_replaced_stays_so_over_a_restart_and_what_was_not_yet_is_then() {
    let house = House::with_window(3).await;
    house.messages.room.store(0, Ordering::SeqCst);
    let all = [collapsing(1, 1, "talk"), collapsing(2, 1, "talk"), message(3), message(4), message(5)];
    house.submit("contoso.com", &all).await.unwrap();
    // These two wait on disk, where nobody has looked at them.
    house.submit("contoso.com", &[collapsing(6, 6, "talk"), collapsing(7, 6, "talk")]).await.unwrap();
    let house = house.restarted().await;
    let mut sent = house.messages.pushes();
    assert_eq!(sent.remove(0), id(2));
    assert_eq!(sent[..3], [3, 4, 5].map(id));
    assert_eq!(house.state("contoso.com", id(1)), not(Reason::Coalesced));
    // A new life sends what it finds before it finds the next; what it holds at once it replaces.
    let sixth = house.state("contoso.com", id(6));
    assert!(sent.contains(&id(6)) != (sixth == not(Reason::Coalesced)), "{sixth:?}");
}

#[tokio::test]
async fn what_waits_ends_when_its_time_is_over_in_memory_on_disk_and_before_its_next_attempt() {
    let house = House::with_window(3).await;
    let short = |number| {
        let expires = house.now().plus(Duration::from_secs(30));
        PushRequest { expires, ..message(number) }
    };
    house.submit("contoso.com", &[short(1)]).await.unwrap();
    let late =
        Verdict::Retry { reason: "ServiceUnavailable".into(), after: Some(Duration::from_secs(29)), unprocessed: true };
    house.answer(house.messages.keys()[0], late).await;
    house.messages.room.store(0, Ordering::SeqCst);
    house.submit("contoso.com", &[short(2), message(3), message(4), short(5), message(6)]).await.unwrap();
    assert_eq!(house.dispatch.load(), (3, true));
    house.clock.turn(Duration::from_secs(30));
    house.dispatch.expire(house.now());
    house.dispatch.end_on_disk(house.now()).await;
    house.settle().await;
    for number in [1, 2, 5] {
        assert_eq!(house.state("contoso.com", id(number)), not(Reason::Expired), "{number}");
    }
    house.dispatch.refill().await;
    allow(&house.messages, &house, 99);
    assert_eq!(house.messages.pushes(), [1, 3, 4, 6].map(id), "the first was sent before it had to wait");
    assert_eq!(house.owed().len(), 3);
}

#[tokio::test]
async fn pushes_that_end_while_nothing_moves_leave_no_traces_in_memory() {
    let house = House::with_window(50).await;
    house.messages.room.store(0, Ordering::SeqCst);
    for round in 0..40_u128 {
        let expires = house.now().plus(Duration::from_secs(5));
        let now = house.now();
        let batch: Vec<_> =
            (1..=30).map(|number| PushRequest { sent: now, expires, ..message(round * 100 + number) }).collect();
        house.submit("contoso.com", &batch).await.unwrap();
        house.clock.turn(Duration::from_secs(6));
        house.dispatch.expire(house.now());
        house.settle().await;
        assert_eq!(house.dispatch.load(), (0, false), "round {round}");
    }
    allow(&house.messages, &house, 99);
    assert_eq!(house.messages.keys().len(), 0);
}

#[tokio::test]
async fn more_on_disk_than_may_be_noted_is_found_again_and_comes_back_in_order() {
    let house = House::with_window(8).await;
    house.messages.room.store(0, Ordering::SeqCst);
    let lane = house.dispatch.lane(&lane_key(Channel::Message)).unwrap();
    // Each alone is a block of its own, and four stretches of a flow are all that may be noted.
    house.dispatch.noted_usual.store(4, Ordering::SeqCst);
    for number in 1..=40 {
        let from = if number % 4 == 0 { "fabrikam.com" } else { "contoso.com" };
        house.submit(from, &[message(number)]).await.unwrap();
    }
    assert!(lane.stretches() <= 8, "{} stretches", lane.stretches());
    house.messages.room.store(100, Ordering::SeqCst);
    house.dispatch.pump();
    let mut answered = 0;
    for _ in 0..100 {
        for &key in &house.messages.keys()[answered..] {
            house.dispatch.report(vec![accepted(key, house.now())]);
            answered += 1;
        }
        house.settle().await;
        house.dispatch.refill().await;
    }
    let pushes = house.messages.pushes();
    let (theirs, ours): (Vec<_>, Vec<_>) = pushes.into_iter().map(PushId::to_u128).partition(|push| push % 4 == 0);
    assert_eq!(ours, (1..=40).filter(|number| number % 4 != 0).collect::<Vec<_>>());
    assert_eq!(theirs, (1..=40).filter(|number| number % 4 == 0).collect::<Vec<_>>());
    assert_eq!(house.dispatch.load(), (0, false));
}

fn accepted(key: u64, sent: Timestamp) -> Outcome {
    Outcome { key, verdict: Verdict::Accepted, sent, status: 200, provider_id: None }
}
