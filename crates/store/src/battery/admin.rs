//! What a store of accounts and of the audit log promises.

use std::time::Duration;

use super::{Backend, at, done};
use crate::admin::{
    AUDIT_REFUSED_MAX, Account, AccountConflict, Accounts, Audit, AuditEntry, AuditOutcome, AuditQuery, GUESSES_MAX,
    Given, Guessed, Guesses, Pass, PassKind, PasswordHash, RETIRED_MAX, RoleSeen, SESSIONS_PER_ACCOUNT, TOKENS_MAX,
};

fn account(name: &str) -> Account {
    Account {
        name: name.into(),
        password: Some(PasswordHash::new("$argon2id$secret")),
        certificate: None,
        roles: vec!["CsHelpDesk".into()],
        disabled: false,
        created: at(1),
        created_by: "root".into(),
        changed: at(2),
        changed_by: "ann".into(),
        version: 0,
    }
}

fn pass(id: &str, kind: PassKind, created: u64) -> Pass {
    Pass {
        id: id.into(),
        kind,
        digest: [7; 32],
        account: "bob".into(),
        comment: String::new(),
        created: at(created),
        created_by: "ann".into(),
        expires: at(1_000_000),
        used: None,
    }
}

fn entry(author: &str, cmdlet: &str, outcome: AuditOutcome, at_millis: u64) -> AuditEntry {
    AuditEntry {
        number: 0,
        at: at(at_millis),
        author: author.into(),
        from: "local".into(),
        cmdlet: cmdlet.into(),
        parameters: "{}".into(),
        outcome,
        detail: String::new(),
        millis: 3,
    }
}

pub(super) fn an_account_reads_back_as_it_was_put_also_after_opening_again<B: Backend<Store: Accounts>>(backend: &B) {
    let store = backend.open();
    let put = Account { certificate: Some([9; 32]), disabled: true, ..account("bob") };
    let version = done(|told| store.put_account(put.clone(), 0, Given::default(), told)).unwrap();
    let store = backend.reopen(store);
    assert_eq!(store.account("BOB").unwrap(), Some(Account { version, ..put.clone() }));
    assert_eq!(store.accounts().unwrap().len(), 1);
    assert!(!format!("{put:?}").contains("secret"));
    assert_eq!(store.account("carol").unwrap(), None);
}

pub(super) fn whoever_comes_second_to_an_account_is_told_who_was_first<B: Backend<Store: Accounts>>(backend: &B) {
    let store = backend.open();
    let first = done(|told| store.put_account(account("bob"), 0, Given::default(), told)).unwrap();
    let exists = done(|told| store.put_account(account("bob"), 0, Given::default(), told)).unwrap_err();
    assert_eq!(exists, AccountConflict::Exists { name: "bob".into() });
    let second = done(|told| store.put_account(account("bob"), first, Given::default(), told)).unwrap();
    assert!(second > first);
    let late = done(|told| store.put_account(account("bob"), first, Given::default(), told)).unwrap_err();
    assert_eq!(late, AccountConflict::Changed { name: "bob".into(), by: "ann".into(), at: at(2) });
    assert_eq!(done(|told| store.remove_account("bob", first, told)).unwrap_err(), late);
    done(|told| store.remove_account("bob", second, told)).unwrap();
    let gone = done(|told| store.put_account(account("bob"), second, Given::default(), told)).unwrap_err();
    assert_eq!(gone, AccountConflict::Gone { name: "bob".into() });
    let again = done(|told| store.put_account(account("bob"), 0, Given::default(), told)).unwrap();
    assert!(again > second, "a version is never given twice");
}

pub(super) fn a_certificate_stands_for_one_account_only<B: Backend<Store: Accounts>>(backend: &B) {
    let store = backend.open();
    let with = |name| Account { certificate: Some([1; 32]), ..account(name) };
    let version = done(|told| store.put_account(with("bob"), 0, Given::default(), told)).unwrap();
    let taken = done(|told| store.put_account(with("carol"), 0, Given::default(), told)).unwrap_err();
    assert_eq!(taken, AccountConflict::CertificateTaken { name: "bob".into() });
    done(|told| store.put_account(with("bob"), version, Given::default(), told)).unwrap();
}

pub(super) fn the_account_of_a_certificate_is_found_by_it<B: Backend<Store: Accounts>>(backend: &B) {
    let store = backend.open();
    let bob = Account { certificate: Some([1; 32]), ..account("bob") };
    done(|told| store.put_account(bob, 0, Given::default(), told)).unwrap();
    done(|told| store.put_account(account("carol"), 0, Given::default(), told)).unwrap();
    assert_eq!(store.certified(&[1; 32]).unwrap().unwrap().name, "bob");
    assert_eq!(store.certified(&[0; 32]).unwrap(), None);
}

pub(super) fn a_role_that_is_being_removed_is_nobodys_and_nobody_is_given_it<B: Backend<Store: Accounts>>(backend: &B) {
    let store = backend.open();
    let with =
        |name, roles: &[&str]| Account { roles: roles.iter().map(ToString::to_string).collect(), ..account(name) };
    let role = RoleSeen { name: "TMP".into(), version: 7 };
    let both = with("bob", &["CsHelpDesk", "Tmp"]);
    let version = done(|told| store.put_account(both, 0, Given::default(), told)).unwrap();
    done(|told| store.put_account(with("carol", &["CsHelpDesk"]), 0, Given::default(), told)).unwrap();
    done(|told| store.put_pass(pass("s", PassKind::Session, 5), told)).unwrap();
    let before = store.moment().unwrap();
    let (begun, freed) = done(|told| store.retire_role(role.clone(), "ann", at(9), told));
    assert_eq!(freed, ["bob"]);
    let store = backend.reopen(store);
    assert_eq!(store.open_retirements().unwrap(), std::slice::from_ref(&begun), "what was begun is known after a stop");
    assert_eq!((begun.role.name.as_str(), begun.role.version, begun.by.as_str()), ("tmp", 7, "ann"));
    let bob = store.account("bob").unwrap().unwrap();
    assert_eq!((bob.roles.join(","), bob.changed_by.as_str(), bob.changed), ("CsHelpDesk".into(), "ann", at(9)));
    assert!(bob.version > version && store.pass("s").unwrap().is_none(), "sessions with more rights are over");
    let give = |as_of| {
        let given = Given { roles: vec!["Tmp".into()], as_of };
        done(|told| store.put_account(with("bob", &["Tmp"]), bob.version, given, told))
    };
    let refused = Err(AccountConflict::RoleGone { name: "bob".into(), role: "Tmp".into() });
    assert_eq!(give(store.moment().unwrap()), refused, "it may still be seen in the settings");
    done(|told| store.end_retirement("Tmp", begun.moment - 1, told));
    assert_eq!(store.open_retirements().unwrap().len(), 1, "the end of an earlier removal is not that of this one");
    done(|told| store.end_retirement("Tmp", begun.moment, told));
    assert_eq!(store.open_retirements().unwrap(), []);
    assert_eq!(give(before), refused, "it was seen before it was removed");
    assert!(give(store.moment().unwrap()).is_ok(), "it was made anew");
}

pub(super) fn removals_that_are_over_are_forgotten_some_time_and_the_others_never<B: Backend<Store: Accounts>>(
    backend: &B,
) {
    let store = backend.open();
    let begin = |number: usize| {
        let role = RoleSeen { name: format!("r{number}"), version: 1 };
        done(|told| store.retire_role(role, "ann", at(1), told)).0
    };
    let begun: Vec<_> = (0..3).map(begin).collect();
    done(|told| store.end_retirement("r1", begun[1].moment, told));
    for number in 3..RETIRED_MAX + 3 {
        let begun = begin(number);
        done(|told| store.end_retirement(&begun.role.name, begun.moment, told));
    }
    let open: Vec<String> = store.open_retirements().unwrap().into_iter().map(|it| it.role.name).collect();
    assert_eq!(open, ["r0", "r2"]);
    let given = |role: &str| Given { roles: vec![role.into()], as_of: 0 };
    assert!(done(|told| store.put_account(account("bob"), 0, given("r1"), told)).is_ok(), "it is forgotten");
    let last = format!("r{}", RETIRED_MAX + 2);
    assert!(done(|told| store.put_account(account("carol"), 0, given(&last), told)).is_err());
}

pub(super) fn guesses_are_counted_for_a_time_and_the_most_are_remembered<B: Backend<Store: Guesses>>(backend: &B) {
    let (store, forget) = (backend.open(), Duration::from_millis(900));
    let keys = |keys: &[&str]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    let known = |wrong, millis| Some(Guessed { wrong, last: at(millis) });
    for millis in [1, 2, 3] {
        done(|told| store.guess(keys(&["account bob", "address 192.0.2.1"]), at(millis), forget, told));
    }
    done(|told| store.guess(keys(&["account bob"]), at(4), forget, told));
    let store = backend.reopen(store);
    assert_eq!(store.guessed("account bob").unwrap(), known(4, 4));
    assert_eq!(store.guessed("address 192.0.2.1").unwrap(), known(3, 3));
    done(|told| store.guess(keys(&["address 192.0.2.1"]), at(903), forget, told));
    assert_eq!(store.guessed("address 192.0.2.1").unwrap(), known(1, 903), "the old ones are forgotten");
    done(|told| store.forget_guesses("account bob", told));
    assert_eq!(store.guessed("account bob").unwrap(), None);
    // A stranger with many names pushes out himself, and not who has guessed much.
    let (sender, told) = std::sync::mpsc::channel();
    let many = GUESSES_MAX + 10;
    for _ in 0..2 {
        done(|told| store.guess(keys(&["account bob"]), at(1000), forget, told));
    }
    for number in 0..many {
        let sender = sender.clone();
        let done = Box::new(move |outcome| drop(sender.send(outcome)));
        store.guess(vec![format!("account x{number}")], at(1001), forget, done);
    }
    assert!(told.iter().take(many).all(|outcome| outcome.is_ok()));
    assert_eq!(store.guessed("account bob").unwrap(), known(2, 1000));
    let left = (0..many).filter(|number| store.guessed(&format!("account x{number}")).unwrap().is_some()).count();
    assert!((GUESSES_MAX * 8 / 10..=GUESSES_MAX).contains(&left), "{left}");
}

pub(super) fn a_change_ends_sessions_and_a_removal_tokens_too<B: Backend<Store: Accounts>>(backend: &B) {
    let store = backend.open();
    let version = done(|told| store.put_account(account("bob"), 0, Given::default(), told)).unwrap();
    done(|told| store.put_pass(pass("s", PassKind::Session, 5), told)).unwrap();
    done(|told| store.put_pass(pass("t", PassKind::Token, 5), told)).unwrap();
    assert_eq!(store.pass("s").unwrap(), Some(pass("s", PassKind::Session, 5)));
    let version = done(|told| store.put_account(account("bob"), version, Given::default(), told)).unwrap();
    assert_eq!((store.pass("s").unwrap(), store.passes(PassKind::Token).unwrap().len()), (None, 1));
    done(|told| store.touch_pass("t", at(9), told));
    let store = backend.reopen(store);
    assert_eq!(store.pass("t").unwrap().unwrap().used, Some(at(9)));
    done(|told| store.remove_account("bob", version, told)).unwrap();
    assert_eq!(store.pass("t").unwrap(), None);
    let nobodys = done(|told| store.put_pass(pass("u", PassKind::Token, 5), told)).unwrap_err();
    assert_eq!(nobodys, AccountConflict::Gone { name: "bob".into() });
}

pub(super) fn passes_are_bounded_and_what_is_over_goes<B: Backend<Store: Accounts>>(backend: &B) {
    let store = backend.open();
    done(|told| store.put_account(account("bob"), 0, Given::default(), told)).unwrap();
    for number in 0..=SESSIONS_PER_ACCOUNT as u64 {
        done(|told| store.put_pass(pass(&format!("s{number}"), PassKind::Session, number), told)).unwrap();
    }
    let sessions = store.passes(PassKind::Session).unwrap();
    assert_eq!((sessions.len(), store.pass("s0").unwrap()), (SESSIONS_PER_ACCOUNT, None));
    assert_eq!(sessions[0].id, format!("s{SESSIONS_PER_ACCOUNT}"), "the newest comes first");
    for number in 0..TOKENS_MAX {
        done(|told| store.put_pass(pass(&format!("t{number}"), PassKind::Token, 1), told)).unwrap();
    }
    let full = done(|told| store.put_pass(pass("more", PassKind::Token, 1), told)).unwrap_err();
    assert_eq!(full, AccountConflict::TooMany { what: "tokens", most: TOKENS_MAX });
    assert!(done(|told| store.remove_pass("t1", told)) && !done(|told| store.remove_pass("t1", told)));
    let late = Pass { expires: at(2_000_000), ..pass("late", PassKind::Token, 1_000_000) };
    done(|told| store.put_pass(late, told)).unwrap();
    assert_eq!(store.passes(PassKind::Token).unwrap().len(), 1, "what has expired made room");
}

pub(super) fn an_entry_is_found_by_who_did_what_when_and_how_it_ended<B: Backend<Store: Audit>>(backend: &B) {
    let store = backend.open();
    done(|told| store.note(entry("ann", "New-CsAllowedDomain", AuditOutcome::Done, 10), told));
    let begun = done(|told| store.note(entry("bob", "Set-CsMcxConfiguration", AuditOutcome::Begun, 20), told));
    done(|told| store.close_note(begun, AuditOutcome::Failed, "why not", 12, told));
    done(|told| store.close_note(begun, AuditOutcome::Done, "", 1, told));
    done(|told| store.note(entry("bob", "New-CsAllowedDomain", AuditOutcome::Refused, 30), told));
    let store = backend.reopen(store);
    let found = |query: AuditQuery| -> Vec<u64> {
        store.audit(&query).unwrap().iter().map(|entry| entry.at.millis()).collect()
    };
    let all = AuditQuery { limit: 10, ..AuditQuery::default() };
    for (query, expected) in [
        (all.clone(), vec![30, 20, 10]),
        (AuditQuery { limit: 1, ..all.clone() }, vec![30]),
        (AuditQuery { author: Some("BOB".into()), ..all.clone() }, vec![30, 20]),
        (AuditQuery { cmdlet: Some("new-csalloweddomain".into()), ..all.clone() }, vec![30, 10]),
        (AuditQuery { outcome: Some(AuditOutcome::Failed), ..all.clone() }, vec![20]),
        (AuditQuery { since: Some(at(20)), until: Some(at(30)), ..all.clone() }, vec![20]),
    ] {
        assert_eq!(found(query.clone()), expected, "{query:?}");
    }
    let failed = store.audit(&AuditQuery { outcome: Some(AuditOutcome::Failed), ..all }).unwrap().remove(0);
    assert_eq!((failed.number, failed.detail.as_str(), failed.millis), (begun, "why not", 12), "an end is not changed");
}

pub(super) fn who_is_refused_often_pushes_nobodys_deeds_out<B: Backend<Store: Audit>>(backend: &B) {
    let store = backend.open();
    done(|told| store.note(entry("ann", "New-CsAllowedDomain", AuditOutcome::Done, 1), told));
    let (sender, told) = std::sync::mpsc::channel();
    let many = AUDIT_REFUSED_MAX + 500;
    for number in 0..many as u64 {
        let refused = entry("eve", "Set-CsAdminAccount", AuditOutcome::Refused, number + 2);
        let sender = sender.clone();
        store.note(refused, Box::new(move |outcome| drop(sender.send(outcome))));
    }
    assert!(told.iter().take(many).all(|outcome| outcome.is_ok()));
    let all = AuditQuery { limit: usize::MAX, ..AuditQuery::default() };
    let kept = store.audit(&all).unwrap();
    assert_eq!(kept.len(), AUDIT_REFUSED_MAX + 1);
    assert_eq!(kept.last().unwrap().author, "ann");
}
