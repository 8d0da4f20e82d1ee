//! Quotas, devices that are woken too often, and a machine that runs short: what is refused, and what is not.

use reveille_core::Reason;
use reveille_core::settings::PushQuota;
use reveille_federation::{PushResult, Taken};

use super::*;

fn journaled() -> PushResult {
    PushResult::new(Taken::Journaled)
}

fn throttled(secs: u64) -> PushResult {
    PushResult { taken: Taken::Refused(Reason::Throttled), retry_after: Some(Duration::from_secs(secs)) }
}

/// Has these quotas hold from now on, beside the grants.
fn set(house: &House, quotas: impl IntoIterator<Item = PushQuota>) {
    let mut settings = Snapshot::clone(&house.settings.borrow());
    for quota in quotas {
        settings.apply(&SettingChange::Put(Setting::PushQuota(quota)), "tester", house.now()).unwrap();
    }
    house.settings.send_replace(Arc::new(settings));
}

fn of(identity: &str, change: impl FnOnce(&mut PushQuota)) -> PushQuota {
    let mut quota = PushQuota { identity: identity.into(), ..PushQuota::default() };
    change(&mut quota);
    quota
}

/// The push `number` for the device `device`.
fn for_device(number: u128, device: u128) -> PushRequest {
    PushRequest { to: message(device).to, identity: message(device).identity, ..message(number) }
}

#[tokio::test]
async fn what_is_over_an_organisation_s_rate_is_refused_by_itself_and_taken_after_the_time_that_was_named() {
    let house = House::new().await;
    set(&house, [of("contoso.com", |quota| (quota.messages_per_second, quota.messages_burst) = (1, 3))]);
    let batch: Vec<_> = (1..=5).map(message).chain([call(6)]).collect();
    let (receipt, standing) = house.ask("contoso.com", &batch).await;
    let results = [journaled(), journaled(), journaled(), throttled(1), throttled(1), journaled()];
    assert_eq!(receipt, Ok(results.to_vec()));
    let quota = standing.expect("what is left").quota;
    assert_eq!((quota.messages.limit, quota.messages.remaining, quota.messages.reset_secs), (3, 0, 3));
    assert_eq!(quota.day.limit - quota.day.remaining, 4, "what is refused does not count");
    // Nobody else is the poorer for it.
    assert_eq!(house.submit("fabrikam.com", &batch).await, Ok(vec![journaled(); 6]));
    house.clock.turn(Duration::from_secs(1));
    assert_eq!(house.submit("contoso.com", &[message(4)]).await, Ok(vec![journaled()]));
    assert_eq!(house.submit("contoso.com", &[message(5)]).await, Ok(vec![throttled(1)]));
    assert!(house.journal.trace(&domain("contoso.com"), id(5)).unwrap().is_none(), "nothing of it is kept");
}

#[tokio::test]
async fn a_restart_gives_no_day_back() {
    let house = House::new().await;
    let limit = || of("global", |quota| quota.per_day = 4);
    set(&house, [limit()]);
    let first: Vec<_> = (1..=3).map(message).collect();
    assert_eq!(house.submit("contoso.com", &first).await, Ok(vec![journaled(); 3]));
    assert_eq!(house.submit("fabrikam.com", &first[..1]).await, Ok(vec![journaled()]));
    let house = house.restarted().await;
    set(&house, [limit()]);
    // One comes before they are counted, and is counted once.
    assert_eq!(house.submit("fabrikam.com", &[message(9)]).await, Ok(vec![journaled()]));
    house.intake.recount(|| false);
    let to_midnight = 24 * 3600 - NOON / 1000 % (24 * 3600);
    let batch = [message(4), message(5)];
    assert_eq!(house.submit("contoso.com", &batch).await, Ok(vec![journaled(), throttled(to_midnight)]));
    let (receipt, standing) = house.ask("fabrikam.com", &batch).await;
    assert_eq!((receipt, standing.unwrap().quota.day.remaining), (Ok(vec![journaled(); 2]), 0));
    house.clock.turn(Duration::from_secs(to_midnight));
    let late = PushRequest { sent: house.now(), expires: house.now().plus(Duration::from_secs(60)), ..message(5) };
    assert_eq!(house.submit("contoso.com", &[late]).await, Ok(vec![journaled()]));
}

#[tokio::test]
async fn an_organisation_with_too_many_open_pushes_is_refused_until_some_are_over() {
    let house = House::new().await;
    house.messages.room.store(0, Ordering::SeqCst);
    set(&house, [of("contoso.com", |quota| quota.open_pushes = 3)]);
    let batch: Vec<_> = (1..=4).map(message).collect();
    let expected = vec![journaled(), journaled(), journaled(), throttled(10)];
    assert_eq!(house.submit("contoso.com", &batch).await, Ok(expected));
    assert_eq!(house.submit("fabrikam.com", &batch).await, Ok(vec![journaled(); 4]));
    house.messages.room.store(100, Ordering::SeqCst);
    house.dispatch.pump();
    for key in house.messages.keys() {
        house.answer(key, Verdict::Accepted).await;
    }
    house.clock.turn(Duration::from_secs(10));
    assert_eq!(house.submit("contoso.com", &[message(4)]).await, Ok(vec![journaled()]));
}

#[tokio::test]
async fn of_messages_that_replace_each_other_the_newest_is_sent_when_the_device_may_get_one() {
    let house = House::new().await;
    set(&house, [of("global", |quota| (quota.device_messages_burst, quota.device_message_seconds) = (2, 30))]);
    let collapsing = |number| PushRequest { collapse: Some("unread".into()), ..for_device(number, 1) };
    for number in 1..=2 {
        house.submit("contoso.com", &[collapsing(number)]).await.unwrap();
        let key = *house.messages.keys().last().unwrap();
        house.answer(key, Verdict::Accepted).await;
    }
    for number in 3..=5 {
        assert_eq!(house.submit("contoso.com", &[collapsing(number)]).await, Ok(vec![journaled()]), "{number}");
    }
    assert_eq!(house.messages.pushes(), [id(1), id(2)]);
    // What replaces nothing is refused, and so is a call only when there are too many calls.
    assert_eq!(house.submit("contoso.com", &[for_device(6, 1)]).await, Ok(vec![throttled(60)]));
    let ring = |number| PushRequest { to: call(1).to, identity: call(1).identity, ..call(number) };
    let rings: Vec<_> = (11..=21).map(ring).collect();
    let rung = house.submit("contoso.com", &rings).await.unwrap();
    assert_eq!((rung[..10].to_vec(), rung[10]), (vec![journaled(); 10], throttled(10)));
    // Another device, and another organisation that holds the same token, are not concerned.
    assert_eq!(house.submit("contoso.com", &[for_device(7, 2)]).await, Ok(vec![journaled()]));
    assert_eq!(house.submit("fabrikam.com", &[collapsing(1)]).await, Ok(vec![journaled()]));
    let before = house.messages.pushes().len();
    house.clock.turn(Duration::from_secs(30));
    house.dispatch.send_due(house.now());
    assert_eq!(house.messages.pushes()[before..], [id(5)]);
    house.settle().await;
    for number in [3, 4] {
        let state = house.state("contoso.com", id(number));
        assert_eq!(state, PushState::NotPushed(Reason::Coalesced), "{number}");
    }
}

#[tokio::test]
async fn when_the_machine_runs_short_badges_give_way_first_and_calls_last() {
    let house = House::new().await;
    let badge = |number| PushRequest { event: Event::Badge, ..message(number) };
    let room = |queue_percent| Some(Room { queue_percent, disk_bytes: u64::MAX });
    let (yes, no) = (journaled(), throttled(5));
    for (round, percent, expected) in [
        (1, 10, [yes, yes, yes]),
        (2, 60, [no, yes, yes]),
        (3, 80, [no, no, yes]),
        (4, 99, [no, no, no]),
        (5, 0, [yes, yes, yes]),
    ] {
        *house.journal.room.lock() = room(percent);
        house.clock.turn(Duration::from_secs(1));
        let batch = [badge(10 * round + 1), message(10 * round + 2), call(10 * round + 3)];
        assert_eq!(house.submit("contoso.com", &batch).await, Ok(expected.to_vec()), "{percent} %");
    }
}
