//! Tenants are apart (DESIGN.md §7): two organisations that hold the same token, the same push id and the same collapse
//! key, and every way in which one of them could see, replace, slow or kill what is the other's.

use reveille_core::Reason;
use reveille_core::settings::PushQuota;
use reveille_federation::{PushResult, Taken};

use super::*;
use crate::notification::provider_id;

/// Each of the two may be the one who does harm.
const PAIRS: [(&str, &str); 2] = [("contoso.com", "fabrikam.com"), ("fabrikam.com", "contoso.com")];

fn journaled() -> PushResult {
    PushResult::new(Taken::Journaled)
}

/// A push that both send: of the same id, to the same token, with the same collapse key.
fn same(number: u128) -> PushRequest {
    PushRequest { collapse: Some("unread".into()), to: message(1).to, identity: message(1).identity, ..message(number) }
}

fn dead() -> Verdict {
    Verdict::Forget { reason: "Unregistered".into(), since: None }
}

#[tokio::test]
async fn an_id_that_another_has_used_is_no_duplicate() {
    for (first, second) in PAIRS {
        let house = House::new().await;
        for origin in [first, second] {
            assert_eq!(house.submit(origin, &[same(1)]).await, Ok(vec![journaled()]), "{origin}");
        }
        assert_eq!(house.messages.pushes(), [id(1), id(1)]);
        for origin in [first, second] {
            assert_eq!(house.submit(origin, &[same(1)]).await, Ok(vec![PushResult::new(Taken::Duplicate)]));
        }
    }
}

#[tokio::test]
async fn nobody_can_take_an_id_that_another_will_use_and_so_have_it_refused() {
    let house = House::new().await;
    // Ids are not secret: who has guessed one sends something else under it first.
    let other = PushRequest { to: message(2).to, ..same(7) };
    house.submit("fabrikam.com", &[other]).await.unwrap();
    assert_eq!(house.submit("contoso.com", &[same(7)]).await, Ok(vec![journaled()]));
}

#[tokio::test]
async fn a_newer_push_of_another_replaces_nothing_here_nor_at_the_provider() {
    for (first, second) in PAIRS {
        let house = House::new().await;
        house.messages.room.store(0, Ordering::SeqCst);
        house.submit(first, &[same(1)]).await.unwrap();
        house.submit(second, &[same(2)]).await.unwrap();
        house.messages.room.store(9, Ordering::SeqCst);
        house.dispatch.pump();
        let mut pushes = house.messages.pushes();
        pushes.sort_unstable();
        assert_eq!(pushes, [id(1), id(2)], "both are sent");
        let offered = house.messages.offered.lock();
        let keys: Vec<_> = offered.iter().map(|push| push.collapse.clone().expect("a collapse key")).collect();
        assert_ne!(keys[0], keys[1], "the provider replaces what has the same collapse key and the same token");
    }
}

#[tokio::test]
async fn pushes_of_the_same_id_have_different_names_at_the_provider() {
    let house = House::new().await;
    house.submit("contoso.com", &[same(1)]).await.unwrap();
    house.submit("fabrikam.com", &[same(1)]).await.unwrap();
    let names: Vec<_> = house.messages.offered.lock().iter().map(|push| push.provider_id).collect();
    assert_eq!(names.len(), 2);
    assert_ne!(names[0], names[1], "one apns-id is one push");
}

#[tokio::test]
async fn a_token_that_is_dead_for_one_is_still_tried_for_the_other() {
    for (first, second) in PAIRS {
        let house = House::new().await;
        house.submit(first, &[same(1)]).await.unwrap();
        house.answer(house.messages.keys()[0], dead()).await;
        assert_eq!(house.state(first, id(1)), PushState::NotPushed(Reason::IdentityDead));
        house.submit(second, &[same(2)]).await.unwrap();
        assert_eq!(house.messages.pushes(), [id(1), id(2)]);
        // And only whose push it was is told.
        let told: Vec<_> = house.owed().iter().map(|owed| owed.origin.to_string()).collect();
        assert_eq!(told, [first]);
        house.submit(first, &[same(3)]).await.unwrap();
        assert_eq!(house.messages.pushes().len(), 2, "its own next push is not");
    }
}

#[tokio::test]
async fn feedback_on_one_id_goes_to_each_origin_about_its_own_push() {
    let house = House::new().await;
    for origin in ["contoso.com", "fabrikam.com"] {
        house.submit(origin, &[PushRequest { collapse: None, ..same(1) }]).await.unwrap();
    }
    let keys = house.messages.keys();
    house.answer(keys[1], dead()).await;
    house.answer(keys[0], Verdict::Accepted).await;
    let states = ["contoso.com", "fabrikam.com"].map(|origin| house.state(origin, id(1)));
    assert_eq!(states, [PushState::Accepted, PushState::NotPushed(Reason::IdentityDead)]);
    let owed = house.owed();
    assert_eq!(owed.iter().map(|owed| owed.origin.as_str().to_owned()).collect::<Vec<_>>(), ["fabrikam.com"]);
}

#[tokio::test]
async fn nobody_reads_the_trace_of_another_s_push() {
    let house = House::new().await;
    house.submit("contoso.com", &[same(1), same(2)]).await.unwrap();
    house.submit("fabrikam.com", &[same(2)]).await.unwrap();
    let (contoso, fabrikam) = (domain("contoso.com"), domain("fabrikam.com"));
    assert!(house.journal.trace(&fabrikam, id(1)).unwrap().is_none());
    assert!(house.journal.traces(id(1), Some(&fabrikam)).unwrap().is_empty());
    let shared = house.journal.traces(id(2), Some(&fabrikam)).unwrap();
    assert_eq!(shared.iter().map(|push| &push.origin).collect::<Vec<_>>(), [&fabrikam]);
    let latest = house.journal.latest(Some(&contoso), 10).unwrap();
    assert_eq!(latest.iter().map(|push| &push.origin).collect::<Vec<_>>(), [&contoso, &contoso]);
}

#[tokio::test]
async fn who_wakes_a_device_too_often_does_not_use_up_what_the_other_may() {
    for (first, second) in PAIRS {
        let house = House::new().await;
        let burst = PushQuota::default().device_messages_burst;
        let flood: Vec<_> =
            (0..u128::from(burst) + 5).map(|n| PushRequest { collapse: None, ..same(100 + n) }).collect();
        house.flood(first, &flood).await;
        let one_more = PushRequest { collapse: None, ..same(1) };
        let refused = house.submit(first, std::slice::from_ref(&one_more)).await.unwrap();
        assert_eq!(refused[0].taken, Taken::Refused(Reason::Throttled));
        assert_eq!(house.submit(second, &[one_more]).await, Ok(vec![journaled()]));
    }
}

#[tokio::test]
async fn who_has_used_up_his_quota_or_floods_leaves_the_other_s_as_it_was() {
    let house = House::new().await;
    let mut settings = granted(&["contoso.com", "fabrikam.com"]);
    let quota = PushQuota { messages_burst: 10, messages_per_second: 1, per_day: 10, ..PushQuota::default() };
    settings.apply(&SettingChange::Put(Setting::PushQuota(quota)), "tester", house.now()).unwrap();
    house.settings.send_replace(Arc::new(settings));
    let flood: Vec<_> = (1..=500).map(message).collect();
    house.flood("contoso.com", &flood).await;
    assert_eq!(house.messages.pushes().len(), 10);
    let (receipt, standing) = house.ask("fabrikam.com", &[same(1)]).await;
    assert_eq!(receipt, Ok(vec![journaled()]));
    let quota = standing.unwrap().quota;
    assert_eq!((quota.messages.remaining, quota.day.remaining), (9, 9));
}

#[tokio::test]
async fn who_fills_the_window_does_not_make_the_other_wait() {
    let house = House::with_window(16).await;
    house.messages.room.store(0, Ordering::SeqCst);
    let flood: Vec<_> = (1..=500).map(message).collect();
    house.flood("contoso.com", &flood).await;
    house.submit("fabrikam.com", &[same(1)]).await.unwrap();
    // A turn is a few pushes long.
    house.messages.room.store(12, Ordering::SeqCst);
    house.dispatch.pump();
    let first: Vec<_> = house.messages.offered.lock().iter().map(|push| push.provider_id).collect();
    assert!(first.contains(&provider_id(&domain("fabrikam.com"), id(1))), "it is among the first {}", first.len());
    assert_eq!(first.len(), 12);
}

#[tokio::test]
async fn who_is_no_longer_served_loses_his_own_and_nobody_else_does() {
    let house = House::new().await;
    house.settings.send_replace(Arc::new(granted(&["fabrikam.com"])));
    let refused = PushResult::new(Taken::Refused(Reason::AppNotGranted));
    let (receipt, standing) = house.ask("contoso.com", &[same(1)]).await;
    assert_eq!((receipt, standing), (Ok(vec![refused]), None), "nor is a stranger told of any quota");
    assert_eq!(house.submit("fabrikam.com", &[same(1)]).await, Ok(vec![journaled()]));
}

#[tokio::test]
async fn one_organisation_s_storm_of_rejections_does_not_freeze_what_another_learns() {
    let house = House::new().await;
    let storm: Vec<_> = (1000..1200).map(message).collect();
    house.flood("contoso.com", &storm).await;
    for key in house.messages.keys() {
        house.answer(key, dead()).await;
    }
    house.submit("fabrikam.com", &[message(1)]).await.unwrap();
    let key = *house.messages.keys().last().unwrap();
    house.answer(key, dead()).await;
    let told: Vec<_> = house.owed().into_iter().filter(|owed| owed.origin == domain("fabrikam.com")).collect();
    assert_eq!(told.len(), 1);
    assert_eq!(house.state("fabrikam.com", id(1)), PushState::NotPushed(Reason::IdentityDead));
}
