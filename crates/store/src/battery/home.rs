//! What home's store promises.

use reveille_core::delivery::PushState;
use reveille_core::identity::RegisteredToken;
use reveille_core::{
    Aor, AppKey, Channel, DeviceToken, Environment, Event, IdentityId, MessageId, Provider, PushId, PushIdentity,
    Reason,
};

use super::{Backend, at, done};
use crate::home::{DeviceRecord, HomeChange, HomeStore, KnownPush, OwedPush, StoredMessage};

fn user(name: &str) -> Aor {
    format!("{name}@contoso.com").parse().unwrap()
}

fn commit(home: &impl HomeStore, changes: Vec<HomeChange>) {
    done(|done| home.commit(changes, done));
}

fn message(n: u128, to: &str) -> StoredMessage {
    StoredMessage {
        id: MessageId::from_u128(n),
        to: user(to),
        from: user("alice"),
        content_type: "text/plain".into(),
        body: format!("hello {n}").into_bytes(),
        conversation: "c1".into(),
        taken: at(100),
        expires: at(1000 + n as u64),
    }
}

fn owed(n: u128, of: &str, due: u64) -> OwedPush {
    OwedPush {
        push: PushId::from_u128(n),
        user: user(of),
        device: "phone".into(),
        identity: IdentityId::from_u128(n + 7),
        generation: 2,
        channel: Channel::Message,
        event: Event::MissedInvitation,
        message: n.is_multiple_of(2).then(|| MessageId::from_u128(n)),
        clearing_house: "push.example.net".parse().unwrap(),
        created: at(100),
        expires: at(900),
        due: at(due),
        attempt: 0,
        state: PushState::Owed,
    }
}

fn moved(n: u128, state: PushState, due: u64) -> HomeChange {
    let push = PushId::from_u128(n);
    HomeChange::MovePush { push, state, at: at(due), due: at(due), attempt: 1, detail: "504 no route".into() }
}

fn device(of: &str, name: &str) -> DeviceRecord {
    let app = AppKey { provider: Provider::Fcm, app: "project".into(), environment: Environment::Production };
    let token = RegisteredToken { token: DeviceToken::new("token-1"), registered: at(50) };
    DeviceRecord {
        user: user(of),
        device: name.into(),
        identity: Some(PushIdentity {
            id: IdentityId::from_u128(9),
            app,
            message: Some(token),
            voip: None,
            generation: 4,
            dead: Vec::new(),
            buried: Vec::new(),
        }),
        dead_tokens: vec![DeviceToken::new("dead-1")],
        user_agent: "Reveille/1 \"quoted\"".into(),
        last_registered: at(60),
        session_expires: at(70),
        suspended_since: Some(at(65)),
        last_push: Some((PushId::from_u128(5), PushState::NotPushed(Reason::Throttled), at(66))),
    }
}

pub(super) fn a_device_reads_back_as_it_was_put_and_is_replaced_whole<B: Backend<Store: HomeStore>>(backend: &B) {
    let home = backend.open();
    let (bob, carol) = (device("bob", "phone"), device("carol", "phone"));
    let bare = DeviceRecord {
        identity: None,
        dead_tokens: vec![],
        suspended_since: None,
        last_push: None,
        ..device("bob", "tablet")
    };
    let put = [&carol, &bare, &bob].map(|record| HomeChange::PutDevice(record.clone()));
    commit(&home, put.to_vec());
    let home = backend.reopen(home);
    assert_eq!(home.devices().unwrap(), [bob, bare.clone(), carol]);
    let changed = DeviceRecord { device: "phone".into(), ..bare.clone() };
    commit(
        &home,
        vec![
            HomeChange::PutDevice(changed.clone()),
            HomeChange::RemoveDevice { user: user("carol"), device: "phone".into() },
            HomeChange::RemoveDevice { user: user("carol"), device: "phone".into() },
        ],
    );
    assert_eq!(home.devices().unwrap(), [changed, bare]);
}

pub(super) fn a_user_who_is_forgotten_leaves_nothing_and_others_stay<B: Backend<Store: HomeStore>>(backend: &B) {
    let home = backend.open();
    let all = |user: &str, n| {
        vec![
            HomeChange::PutDevice(device(user, "phone")),
            HomeChange::KeepMessage(message(n, user)),
            HomeChange::OwePush(owed(n, user, 100)),
            HomeChange::KeepMessage(message(n + 1, user)),
        ]
    };
    commit(&home, [all("bob", 2), all("carol", 4)].concat());
    commit(&home, vec![HomeChange::Delivered { id: MessageId::from_u128(2), to: user("bob"), at: at(500) }]);
    commit(&home, vec![HomeChange::ForgetUser { user: user("bob") }]);
    let home = backend.reopen(home);
    assert_eq!(home.devices().unwrap(), [device("carol", "phone")]);
    assert_eq!(home.undelivered(&user("bob"), at(1), 9).unwrap(), []);
    assert_eq!(home.latest_pushes(None, None, 9).unwrap().len(), 1);
    assert_eq!(home.undelivered(&user("carol"), at(1), 9).unwrap(), [message(4, "carol"), message(5, "carol")]);
    // The one that was delivered is gone as well: kept once more, it waits once more.
    commit(&home, vec![HomeChange::KeepMessage(message(2, "bob"))]);
    assert_eq!(home.undelivered(&user("bob"), at(1), 9).unwrap(), [message(2, "bob")]);
}

pub(super) fn only_the_newest_dead_tokens_are_kept<B: Backend<Store: HomeStore>>(backend: &B) {
    let home = backend.open();
    let tokens = |from: u32| (from..20).map(|n| DeviceToken::new(format!("dead-{n}"))).collect::<Vec<_>>();
    commit(&home, vec![HomeChange::PutDevice(DeviceRecord { dead_tokens: tokens(0), ..device("bob", "phone") })]);
    assert_eq!(home.devices().unwrap()[0].dead_tokens, tokens(12));
}

pub(super) fn a_message_and_its_push_are_there_together_after_opening_again<B: Backend<Store: HomeStore>>(backend: &B) {
    let home = backend.open();
    commit(&home, vec![HomeChange::KeepMessage(message(2, "bob")), HomeChange::OwePush(owed(2, "bob", 100))]);
    let home = backend.reopen(home);
    assert_eq!(home.undelivered(&user("bob"), at(1), 9).unwrap(), [message(2, "bob")]);
    assert_eq!(home.open_pushes(9, None).unwrap(), [owed(2, "bob", 100)]);
}

pub(super) fn messages_come_in_the_order_of_their_ids<B: Backend<Store: HomeStore>>(backend: &B) {
    let home = backend.open();
    for n in [300, 2, 1 << 100, 70_000] {
        commit(&home, vec![HomeChange::KeepMessage(StoredMessage { expires: at(u64::MAX), ..message(n, "bob") })]);
    }
    commit(&home, vec![HomeChange::KeepMessage(message(5, "carol"))]);
    let ids = |limit| {
        let messages = home.undelivered(&user("bob"), at(1), limit).unwrap();
        messages.iter().map(|message| message.id.to_u128()).collect::<Vec<_>>()
    };
    assert_eq!(ids(10), [2, 300, 70_000, 1 << 100]);
    assert_eq!(ids(2), [2, 300]);
}

pub(super) fn delivered_and_expired_messages_are_not_unread<B: Backend<Store: HomeStore>>(backend: &B) {
    let home = backend.open();
    commit(&home, (1..=5).map(|n| HomeChange::KeepMessage(message(n, "bob"))).collect());
    let delivered = |n, to| HomeChange::Delivered { id: MessageId::from_u128(n), to: user(to), at: at(500) };
    // Nobody can take delivery of another one's message.
    commit(&home, vec![delivered(2, "bob"), delivered(3, "carol"), delivered(77, "bob")]);
    for (now, expected) in [(1, vec![1, 3, 4, 5]), (1003, vec![4, 5]), (1005, vec![])] {
        let messages = home.undelivered(&user("bob"), at(now), 10).unwrap();
        assert_eq!(messages.iter().map(|message| message.id.to_u128()).collect::<Vec<_>>(), expected, "at {now}");
        assert_eq!(home.unread_count(&user("bob"), at(now)).unwrap(), expected.len() as u64);
    }
    assert_eq!(home.unread_count(&user("carol"), at(1)).unwrap(), 0);
}

pub(super) fn the_first_of_two_equal_ids_is_kept<B: Backend<Store: HomeStore>>(backend: &B) {
    let home = backend.open();
    let other = StoredMessage { body: b"other".to_vec(), ..message(1, "bob") };
    commit(&home, vec![HomeChange::KeepMessage(message(1, "bob")), HomeChange::OwePush(owed(1, "bob", 5))]);
    commit(&home, vec![HomeChange::KeepMessage(other), HomeChange::OwePush(owed(1, "carol", 6))]);
    assert_eq!(home.undelivered(&user("bob"), at(1), 9).unwrap(), [message(1, "bob")]);
    assert_eq!(home.open_pushes(9, None).unwrap(), [owed(1, "bob", 5)]);
}

pub(super) fn open_pushes_come_by_due_time_and_page_by_page<B: Backend<Store: HomeStore>>(backend: &B) {
    let home = backend.open();
    let dues = [(1, 500), (2, 300), (3, 300), (4, 900), (5, 100)];
    commit(&home, dues.iter().map(|&(n, due)| HomeChange::OwePush(owed(n, "bob", due))).collect());
    let (mut read, mut after) = (Vec::new(), None);
    loop {
        let page = home.open_pushes(2, after).unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.due, last.push));
        read.extend(page.iter().map(|owed| owed.push.to_u128()));
    }
    assert_eq!(read, [5, 2, 3, 1, 4]);
}

pub(super) fn a_push_moves_through_its_states_and_leaves_the_open_ones<B: Backend<Store: HomeStore>>(backend: &B) {
    let home = backend.open();
    commit(&home, (1..=3).map(|n| HomeChange::OwePush(owed(n, "bob", 100))).collect());
    commit(
        &home,
        vec![
            moved(1, PushState::Requested, 200),
            moved(2, PushState::Journaled, 201),
            moved(3, PushState::NotPushed(Reason::NoRoute), 202),
            moved(99, PushState::Accepted, 203),
        ],
    );
    let home = backend.reopen(home);
    let open = home.open_pushes(9, None).unwrap();
    assert_eq!(open, [OwedPush { state: PushState::Requested, due: at(200), attempt: 1, ..owed(1, "bob", 0) }]);
    let third = home.push(PushId::from_u128(3)).unwrap().unwrap();
    assert_eq!(third.owed.state, PushState::NotPushed(Reason::NoRoute));
    assert_eq!((third.detail.as_str(), third.moved), ("504 no route", at(202)));
    assert!(home.push(PushId::from_u128(99)).unwrap().is_none());
}

pub(super) fn the_pushes_of_a_user_come_newest_first<B: Backend<Store: HomeStore>>(backend: &B) {
    let home = backend.open();
    commit(&home, [4, 1, 3, 2].map(|n| HomeChange::OwePush(owed(n, "bob", 100))).to_vec());
    commit(&home, vec![HomeChange::OwePush(owed(9, "carol", 100))]);
    let pushes = home.pushes_of(&user("bob"), 3).unwrap();
    let numbers =
        |pushes: Vec<KnownPush>| pushes.into_iter().map(|known| known.owed.push.to_u128()).collect::<Vec<_>>();
    assert_eq!(numbers(pushes), [4, 3, 2]);
    let latest = |of: Option<&str>, before: Option<u128>, limit| {
        let (user, before) = (of.map(user), before.map(PushId::from_u128));
        numbers(home.latest_pushes(user.as_ref(), before, limit).unwrap())
    };
    assert_eq!(latest(None, None, 3), [9, 4, 3]);
    assert_eq!(latest(None, Some(3), 3), [2, 1]);
    assert_eq!(latest(Some("bob"), Some(4), 2), [3, 2]);
    assert_eq!(latest(Some("dave"), None, 2), [0; 0]);
}

pub(super) fn the_purge_removes_what_is_over_and_leaves_what_is_not<B: Backend<Store: HomeStore>>(backend: &B) {
    let home = backend.open();
    // Messages 1..=20 expire at 1001..=1020, number 15 was delivered at 500; pushes 1..=20 expire at 900.
    commit(&home, (1..=20).map(|n| HomeChange::KeepMessage(message(n, "bob"))).collect());
    commit(&home, vec![HomeChange::Delivered { id: MessageId::from_u128(15), to: user("bob"), at: at(500) }]);
    commit(&home, (1..=20).map(|n| HomeChange::OwePush(owed(n, "bob", 100))).collect());
    commit(&home, vec![moved(3, PushState::Accepted, 400), moved(4, PushState::Requested, 400)]);
    let purge = |before| (0..12).map(|_| done(|done| home.purge(at(before), 4, done))).sum::<usize>();
    assert_eq!(purge(450), 1, "only the push that ended before 450");
    assert!(home.push(PushId::from_u128(3)).unwrap().is_none());
    assert_eq!(purge(600), 1, "only the message that was delivered before 600");
    assert_eq!(purge(1006), 5 + 19, "what expired before 1006");
    assert_eq!(home.unread_count(&user("bob"), at(1)).unwrap(), 14);
    assert!(home.open_pushes(9, None).unwrap().is_empty());
}
