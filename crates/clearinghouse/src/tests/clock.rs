//! The wall clock is set by hours while pushes wait (docs/journal.md, "Clocks").

use reveille_core::Reason;
use reveille_federation::Taken;

use super::*;

const HOURS: Duration = Duration::from_secs(3 * 3600);

/// The dispatch's own task, until the value goes.
fn run(house: &House) -> tokio_util::sync::DropGuard {
    let stop = tokio_util::sync::CancellationToken::new();
    tokio::spawn(Arc::clone(&house.dispatch).run(stop.clone()));
    stop.drop_guard()
}

async fn offered(house: &House, times: usize) {
    let come = async {
        while house.messages.keys().len() < times {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, come).await.expect("it is offered in time");
}

#[tokio::test]
async fn a_push_that_waits_for_its_next_attempt_does_not_wait_for_hours_when_the_clock_is_set_back() {
    let house = House::new().await;
    house.submit("contoso.com", &[message(1)]).await.unwrap();
    let _running = run(&house);
    house.answer(house.messages.keys()[0], retry(true)).await;
    assert_eq!(house.messages.keys().len(), 1, "it waits");
    house.clock.turn_back(HOURS);
    offered(&house, 2).await;
    house.answer(house.messages.keys()[1], Verdict::Accepted).await;
    assert_eq!(house.state("contoso.com", id(1)), PushState::Accepted);
    assert_eq!(house.messages.keys().len(), 2, "once, and not again");
}

#[tokio::test]
async fn nor_after_a_restart_with_a_clock_that_was_set_back() {
    let house = House::new().await;
    house.submit("contoso.com", &[message(1)]).await.unwrap();
    house.answer(house.messages.keys()[0], retry(true)).await;
    house.clock.turn_back(HOURS);
    let house = house.restarted().await;
    assert_eq!(house.messages.pushes(), [id(1)]);
}

#[tokio::test]
async fn a_clock_that_is_set_forth_ends_what_is_over_by_it_and_sends_the_rest() {
    let house = House::new().await;
    let short = PushRequest { expires: house.now().plus(Duration::from_secs(600)), ..message(1) };
    let long = PushRequest { expires: house.now().plus(Duration::from_secs(20 * 3600)), ..message(2) };
    house.submit("contoso.com", &[short, long]).await.unwrap();
    let keys = house.messages.keys();
    house.answer(keys[0], retry(true)).await;
    house.answer(keys[1], retry(true)).await;
    house.clock.turn(HOURS);
    let _running = run(&house);
    offered(&house, 3).await;
    house.dispatch.expire(house.now());
    house.settle().await;
    assert_eq!(house.messages.pushes()[2], id(2));
    assert_eq!(house.state("contoso.com", id(1)), PushState::NotPushed(Reason::Expired));
}

#[tokio::test]
async fn a_request_that_is_repeated_after_the_clock_was_set_is_known_either_way() {
    let house = House::new().await;
    house.submit("contoso.com", &[message(1)]).await.unwrap();
    house.answer(house.messages.keys()[0], Verdict::Accepted).await;
    for set in [Turned::turn as fn(&Turned, Duration), Turned::turn_back, Turned::turn_back] {
        set(&house.clock, HOURS);
        // A home renews `sent` and `expires` at each transmission.
        let now = house.now();
        let again = PushRequest { sent: now, expires: now.plus(Duration::from_secs(3600)), ..message(1) };
        let receipt = house.submit("contoso.com", &[again]).await.unwrap();
        assert_eq!(receipt[0].taken, Taken::Duplicate);
    }
    assert_eq!(house.messages.keys().len(), 1);
}
