//! What a store of accounts and of the audit log promises.

use super::{Backend, at, done};
use crate::admin::{
    AUDIT_REFUSED_MAX, Account, AccountConflict, Accounts, Audit, AuditEntry, AuditOutcome, AuditQuery, Pass, PassKind,
    PasswordHash, SESSIONS_PER_ACCOUNT, TOKENS_MAX,
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
    let version = done(|told| store.put_account(put.clone(), 0, told)).unwrap();
    let store = backend.reopen(store);
    assert_eq!(store.account("BOB").unwrap(), Some(Account { version, ..put.clone() }));
    assert_eq!(store.accounts().unwrap().len(), 1);
    assert!(!format!("{put:?}").contains("secret"));
    assert_eq!(store.account("carol").unwrap(), None);
}

pub(super) fn whoever_comes_second_to_an_account_is_told_who_was_first<B: Backend<Store: Accounts>>(backend: &B) {
    let store = backend.open();
    let first = done(|told| store.put_account(account("bob"), 0, told)).unwrap();
    let exists = done(|told| store.put_account(account("bob"), 0, told)).unwrap_err();
    assert_eq!(exists, AccountConflict::Exists { name: "bob".into() });
    let second = done(|told| store.put_account(account("bob"), first, told)).unwrap();
    assert!(second > first);
    let late = done(|told| store.put_account(account("bob"), first, told)).unwrap_err();
    assert_eq!(late, AccountConflict::Changed { name: "bob".into(), by: "ann".into(), at: at(2) });
    assert_eq!(done(|told| store.remove_account("bob", first, told)).unwrap_err(), late);
    done(|told| store.remove_account("bob", second, told)).unwrap();
    let gone = done(|told| store.put_account(account("bob"), second, told)).unwrap_err();
    assert_eq!(gone, AccountConflict::Gone { name: "bob".into() });
    let again = done(|told| store.put_account(account("bob"), 0, told)).unwrap();
    assert!(again > second, "a version is never given twice");
}

pub(super) fn a_certificate_stands_for_one_account_only<B: Backend<Store: Accounts>>(backend: &B) {
    let store = backend.open();
    let with = |name| Account { certificate: Some([1; 32]), ..account(name) };
    let version = done(|told| store.put_account(with("bob"), 0, told)).unwrap();
    let taken = done(|told| store.put_account(with("carol"), 0, told)).unwrap_err();
    assert_eq!(taken, AccountConflict::CertificateTaken { name: "bob".into() });
    done(|told| store.put_account(with("bob"), version, told)).unwrap();
}

pub(super) fn a_change_ends_sessions_and_a_removal_tokens_too<B: Backend<Store: Accounts>>(backend: &B) {
    let store = backend.open();
    let version = done(|told| store.put_account(account("bob"), 0, told)).unwrap();
    done(|told| store.put_pass(pass("s", PassKind::Session, 5), told)).unwrap();
    done(|told| store.put_pass(pass("t", PassKind::Token, 5), told)).unwrap();
    assert_eq!(store.pass("s").unwrap(), Some(pass("s", PassKind::Session, 5)));
    let version = done(|told| store.put_account(account("bob"), version, told)).unwrap();
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
    done(|told| store.put_account(account("bob"), 0, told)).unwrap();
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
