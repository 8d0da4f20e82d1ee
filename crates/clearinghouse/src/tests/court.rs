//! Dead tokens and brakes over a real journal: who is told what, what is sent no more, and what survives a restart.

use reveille_core::Reason;
use reveille_store::BrakeScope;

use super::*;
use crate::court::Decided;

/// The answer to a token of the other environment: nothing in it tells that from a dead one (reference: Apple, "Handling
/// notification responses from APNs").
fn bad_token() -> Verdict {
    Verdict::Forget { reason: "BadDeviceToken".into(), since: None }
}

fn scope(origin: Option<&str>) -> BrakeScope {
    BrakeScope { app: app(), origin: origin.map(domain) }
}

impl House {
    /// Sends a push to each of these devices, and has the provider answer each in the same way.
    async fn storm(&self, from: &str, devices: std::ops::Range<u128>, verdict: &Verdict) {
        for device in devices {
            // As of now: a request whose clock is far off is refused.
            let (sent, expires) = (self.now(), self.now().plus(Duration::from_secs(3600)));
            self.submit(from, &[PushRequest { sent, expires, ..message(device) }]).await.unwrap();
            let key = *self.messages.keys().last().expect("it was sent");
            self.answer(key, verdict.clone()).await;
        }
        self.court.look_after_brakes().await.unwrap();
        self.settle().await;
    }

    fn became(&self, from: &str, number: u128) -> PushState {
        self.journal.trace(&domain(from), id(number)).unwrap().expect("it is known").state
    }

    fn is_dead(&self, from: &str, device: u128) -> bool {
        let Some(to) = message(device).to else { unreachable!("a message has a target") };
        self.court.dead(&domain(from), &app(), &to.token, message(device).registered).is_some()
    }

    /// The last word that each home was told about each push's token, where that is `forget`.
    fn forgotten(&self) -> Vec<u128> {
        let mut last = std::collections::BTreeMap::new();
        for owed in self.journal.feedback_open(10_000).unwrap() {
            last.insert((owed.origin, owed.item.push), owed.item.verdict);
        }
        last.into_iter().filter(|(_, verdict)| verdict == "forget").map(|((_, push), _)| push.to_u128()).collect()
    }

    async fn brakes(&self) -> Vec<(BrakeScope, u64)> {
        self.court.held().await.unwrap().into_iter().map(|held| (held.brake.scope, held.frozen)).collect()
    }
}

const DEAD: PushState = PushState::NotPushed(Reason::IdentityDead);
const SUSPENDED: PushState = PushState::NotPushed(Reason::AppSuspendedByBrake);

#[tokio::test]
async fn no_push_goes_to_a_token_after_its_verdict_also_after_a_restart() {
    let house = House::new().await;
    house.submit("contoso.com", &[message(1)]).await.unwrap();
    house.messages.room.store(0, Ordering::SeqCst);
    // One that is in the lane while the verdict comes, to the same device, and one of another organisation.
    let again = |number| PushRequest { id: id(number), ..message(1) };
    house.submit("contoso.com", &[again(2)]).await.unwrap();
    house.submit("fabrikam.com", &[again(3)]).await.unwrap();
    house.answer(house.messages.keys()[0], bad_token()).await;
    house.messages.room.store(9, Ordering::SeqCst);
    house.dispatch.pump();
    house.dispatch.expire(house.now());
    house.settle().await;
    assert_eq!(house.messages.pushes(), [id(1), id(3)]);
    assert_eq!((house.became("contoso.com", 2), house.became("fabrikam.com", 3)), (DEAD, PushState::Journaled));

    let house = house.restarted().await;
    house.clock.turn(Duration::from_secs(1));
    house.submit("contoso.com", &[again(4)]).await.unwrap();
    house.submit("contoso.com", &[PushRequest { registered: house.now(), ..again(5) }]).await.unwrap();
    // The device that has registered the token again since lives.
    assert_eq!(house.messages.pushes(), [id(3), id(5)]);
    assert_eq!(house.became("contoso.com", 4), DEAD);
}

#[tokio::test]
async fn a_token_that_was_registered_after_the_invalidation_time_survives() {
    let house = House::new().await;
    let since = Some(Timestamp::from_millis(NOON - 5000));
    house.submit("contoso.com", &[message(1)]).await.unwrap();
    house.answer(house.messages.keys()[0], Verdict::Forget { reason: "Unregistered".into(), since }).await;
    assert!(!house.is_dead("contoso.com", 1) && house.forgotten().is_empty());
    assert_eq!(house.became("contoso.com", 1), PushState::NotPushed(Reason::RejectedByProvider));
    house.submit("contoso.com", &[PushRequest { id: id(2), ..message(1) }]).await.unwrap();
    assert_eq!(house.messages.pushes(), [id(1), id(2)]);
}

#[tokio::test]
async fn in_a_storm_of_bad_tokens_no_token_dies_and_what_was_told_is_taken_back() {
    let house = House::new().await;
    house.storm("contoso.com", 1..81, &bad_token()).await;
    assert_eq!(house.brakes().await, [(scope(Some("contoso.com")), 80)]);
    assert_eq!((house.became("contoso.com", 49), house.became("contoso.com", 50)), (DEAD, SUSPENDED));
    assert_eq!(house.forgotten(), [] as [u128; 0]);
    assert!((1..81).all(|device| !house.is_dead("contoso.com", device)));
    // Still frozen after a restart, and pushes go out all the same.
    let house = house.restarted().await;
    house.storm("contoso.com", 81..83, &bad_token()).await;
    assert_eq!(house.became("contoso.com", 82), SUSPENDED);
    assert_eq!(house.brakes().await, [(scope(Some("contoso.com")), 82)]);
    // The environment was wrong: nobody ever hears of it again.
    assert_eq!(house.court.release(&scope(Some("contoso.com")), Decided::Wrong).await.unwrap(), 82);
    assert_eq!((house.brakes().await, house.forgotten()), (Vec::new(), Vec::new()));
    assert!((1..83).all(|device| !house.is_dead("contoso.com", device)));
    // And a phone that is really gone is believed to be so again.
    house.storm("contoso.com", 90..91, &bad_token()).await;
    assert_eq!((house.forgotten(), house.is_dead("contoso.com", 90)), (vec![90], true));
}

#[tokio::test]
async fn if_the_provider_was_right_the_frozen_verdicts_take_effect() {
    let house = House::new().await;
    house.storm("contoso.com", 1..61, &bad_token()).await;
    assert_eq!(house.court.release(&scope(Some("contoso.com")), Decided::Right).await.unwrap(), 60);
    assert_eq!(house.forgotten(), (1..61).collect::<Vec<_>>());
    let house = house.restarted().await;
    assert!((1..61).all(|device| house.is_dead("contoso.com", device)));
    assert_eq!(house.brakes().await, []);
}

#[tokio::test]
async fn a_wrong_topic_or_sender_puts_the_brake_on_and_kills_nobody() {
    let of_another = Verdict::Reject { reason: "DeviceTokenNotForTopic".into() };
    let mismatch = Verdict::Configuration { reason: "SENDER_ID_MISMATCH".into() };
    for verdict in [of_another, mismatch] {
        let house = House::new().await;
        house.storm("contoso.com", 1..51, &verdict).await;
        assert_eq!(house.brakes().await, [(scope(Some("contoso.com")), 0)], "{verdict:?}");
        // What is said meanwhile of tokens may be as wrong.
        house.storm("contoso.com", 51..52, &bad_token()).await;
        assert_eq!((house.became("contoso.com", 51), house.forgotten()), (SUSPENDED, Vec::new()));
    }
}

#[tokio::test]
async fn a_wrong_topic_for_calls_is_noticed_however_many_messages_are_well() {
    for verdict in [
        Verdict::Reject { reason: "DeviceTokenNotForTopic".into() },
        Verdict::Configuration { reason: "TopicDisallowed".into() },
    ] {
        let house = House::new().await;
        house.storm("contoso.com", 1001..1401, &Verdict::Accepted).await;
        for device in 1..51 {
            house.submit("contoso.com", &[call(device)]).await.unwrap();
            let key = *house.calls.keys().last().expect("it was sent");
            house.answer(key, verdict.clone()).await;
        }
        house.court.look_after_brakes().await.unwrap();
        assert_eq!(house.brakes().await, [(scope(Some("contoso.com")), 0)], "{verdict:?}");
        // Messages alone would be no storm with so many.
        let house = House::new().await;
        house.storm("contoso.com", 1001..1401, &Verdict::Accepted).await;
        house.storm("contoso.com", 1..51, &verdict).await;
        assert_eq!(house.brakes().await, [], "{verdict:?}");
    }
}

#[tokio::test]
async fn one_organisations_list_of_rubbish_freezes_nobody_elses_verdicts() {
    let house = House::new().await;
    house.storm("fabrikam.com", 1001..1101, &Verdict::Accepted).await;
    house.storm("contoso.com", 1..61, &bad_token()).await;
    assert_eq!(house.brakes().await, [(scope(Some("contoso.com")), 60)]);
    house.storm("fabrikam.com", 2001..2002, &bad_token()).await;
    assert_eq!((house.became("fabrikam.com", 2001), house.forgotten()), (DEAD, vec![2001]));
    // A storm of both is one of the app.
    house.storm("fabrikam.com", 3001..3201, &bad_token()).await;
    assert!(house.brakes().await.iter().any(|(braked, _)| braked.origin.is_none()));
    assert_eq!(house.forgotten(), [] as [u128; 0]);
}

#[tokio::test]
async fn a_brake_that_holds_nothing_goes_off_when_the_storm_is_over_and_one_that_does_stays() {
    let house = House::new().await;
    let mismatch = Verdict::Configuration { reason: "SENDER_ID_MISMATCH".into() };
    house.storm("contoso.com", 1..51, &mismatch).await;
    house.clock.turn(Duration::from_secs(11 * 60));
    house.court.look_after_brakes().await.unwrap();
    assert_eq!(house.brakes().await.len(), 1, "silence proves nothing");
    house.storm("contoso.com", 101..103, &Verdict::Accepted).await;
    assert_eq!(house.brakes().await, []);
    house.storm("contoso.com", 201..261, &bad_token()).await;
    house.clock.turn(Duration::from_secs(11 * 60));
    house.storm("contoso.com", 301..303, &Verdict::Accepted).await;
    assert_eq!(house.brakes().await.len(), 1);
}

#[tokio::test]
async fn whoever_notices_late_takes_back_by_hand_what_was_told() {
    let house = House::new().await;
    house.storm("contoso.com", 1..4, &bad_token()).await;
    assert_eq!(house.forgotten(), [1, 2, 3]);
    let reach = Timestamp::from_millis(NOON - 1);
    house.court.apply(scope(None), reach, "by hand".into()).await.unwrap();
    assert_eq!((house.forgotten(), house.brakes().await), (Vec::new(), vec![(scope(None), 3)]));
    assert_eq!(house.court.release(&scope(None), Decided::Wrong).await.unwrap(), 3);
    assert!(!house.is_dead("contoso.com", 1));
}

#[tokio::test]
async fn an_app_whose_brake_is_off_has_its_verdicts_believed_at_once() {
    let house = House::new().await;
    let app = PushApp { brake_enabled: false, ..PushApp::new(APP, vec![domain("contoso.com")]) };
    let change = SettingChange::Put(Setting::PushApp(app));
    let changed = Snapshot::default().with(&change, "tester", Timestamp::from_millis(1)).unwrap();
    house.settings.send(Arc::new(changed)).unwrap();
    house.storm("contoso.com", 1..71, &bad_token()).await;
    assert_eq!((house.forgotten().len(), house.brakes().await.len()), (70, 0));
}

#[tokio::test]
async fn a_few_pushes_that_wait_for_a_mended_key_are_no_storm_however_often_they_are_tried() {
    let house = House::new().await;
    let (sent, expires) = (house.now(), house.now().plus(Duration::from_secs(20 * 3600)));
    let pushes: Vec<_> = (1..9).map(|device| PushRequest { sent, expires, ..message(device) }).collect();
    house.submit("contoso.com", &pushes).await.unwrap();
    let mut answered = 0;
    // The longest wait doubles each time: all of it takes less than the brake's window.
    for round in 0..8 {
        let keys = house.messages.keys();
        assert_eq!(keys.len(), answered + pushes.len(), "round {round}");
        for key in &keys[answered..] {
            house.answer(*key, Verdict::Configuration { reason: "InvalidProviderToken".into() }).await;
        }
        answered = keys.len();
        house.clock.turn(Duration::from_secs(2 << round));
        house.dispatch.send_due(house.now());
    }
    assert_eq!((answered, house.brakes().await), (64, Vec::new()));
}

#[tokio::test]
async fn a_storm_goes_on_where_it_was_when_the_process_starts_again() {
    let house = House::new().await;
    house.storm("contoso.com", 1..41, &bad_token()).await;
    assert_eq!((house.brakes().await, house.forgotten().len()), (Vec::new(), 40));
    let house = house.restarted().await;
    house.storm("contoso.com", 41..52, &bad_token()).await;
    assert_eq!(house.brakes().await, [(scope(Some("contoso.com")), 51)]);
    assert_eq!(house.forgotten(), [] as [u128; 0]);
}

#[tokio::test]
async fn what_was_taken_before_a_start_keeps_a_few_dead_tokens_from_being_a_storm() {
    let house = House::new().await;
    house.storm("contoso.com", 1001..1301, &Verdict::Accepted).await;
    house.storm("contoso.com", 1..41, &bad_token()).await;
    let house = house.restarted().await;
    house.storm("contoso.com", 41..61, &bad_token()).await;
    assert_eq!((house.brakes().await, house.forgotten().len()), (Vec::new(), 60));
}
