//! What a settings store promises.

use reveille_core::settings::{AllowedDomain, BlockedDomain, Setting, SettingChange, Snapshot};

use super::{Backend, at, outcome};
use crate::settings::{Edit, Past, Settings, SettingsError};

fn allowed(domain: &str) -> Setting {
    let allowed = AllowedDomain::new(domain.parse().unwrap());
    Setting::AllowedDomain(AllowedDomain { comment: "a \"comment\"".into(), ..allowed })
}

fn blocked(domain: &str) -> Setting {
    Setting::BlockedDomain(BlockedDomain { identity: domain.parse().unwrap(), comment: String::new() })
}

fn put(setting: Setting) -> SettingChange {
    SettingChange::Put(setting)
}

fn change(settings: &impl Settings, author: &str, changes: Vec<SettingChange>) -> Result<u64, SettingsError> {
    let edits = changes.into_iter().map(Edit::from).collect();
    Ok(outcome(|done| settings.apply(author, at(5), edits, done))??)
}

/// The same for one change of a record that was read at a version.
fn edit(settings: &impl Settings, author: &str, change: SettingChange, read: u64) -> Result<u64, SettingsError> {
    let edits = vec![Edit { change, read: Some(read) }];
    Ok(outcome(|done| settings.apply(author, at(6), edits, done))??)
}

fn last(limit: usize) -> Past {
    Past { limit, ..Past::default() }
}

fn names(snapshot: &Snapshot) -> Vec<String> {
    snapshot.rows().map(|row| row.setting.key().identity).collect()
}

pub(super) fn the_watch_fires_and_the_snapshot_is_new_when_the_change_is_known<B: Backend<Store: Settings>>(
    backend: &B,
) {
    let settings = backend.open();
    let mut watch = settings.watch();
    assert_eq!(*watch.borrow_and_update().as_ref(), Snapshot::default());
    let version = change(&settings, "ann", vec![put(allowed("a.example"))]).unwrap();
    assert_eq!((version, settings.snapshot().version()), (1, 1));
    assert!(watch.has_changed().unwrap());
    let snapshot = watch.borrow_and_update().clone();
    assert_eq!(names(&snapshot), ["a.example"]);
    let row = snapshot.rows().next().unwrap();
    assert_eq!((row.author.as_str(), row.at, row.version), ("ann", at(5), 1));
}

pub(super) fn everything_survives_being_opened_again<B: Backend<Store: Settings>>(backend: &B) {
    let settings = backend.open();
    change(&settings, "ann", vec![put(allowed("a.example")), put(blocked("b.example"))]).unwrap();
    change(&settings, "ann", vec![SettingChange::Remove(allowed("a.example").key())]).unwrap();
    let before = settings.snapshot();
    let settings = backend.reopen(settings);
    assert_eq!(settings.snapshot(), before);
    assert_eq!((names(&before), before.version()), (vec!["b.example".to_owned()], 3));
}

pub(super) fn a_change_against_the_rules_leaves_everything_as_it_was<B: Backend<Store: Settings>>(backend: &B) {
    let settings = backend.open();
    change(&settings, "ann", vec![put(blocked("b.example"))]).unwrap();
    let before = settings.snapshot();
    let refused = change(&settings, "ann", vec![put(allowed("a.example")), put(allowed("b.example"))]).unwrap_err();
    assert!(matches!(&refused, SettingsError::Conflict(_)), "{refused}");
    assert!(!refused.retry_helps());
    let settings = backend.reopen(settings);
    assert_eq!(settings.snapshot(), before);
    assert_eq!(settings.history(&last(10)).unwrap().len(), 1);
}

pub(super) fn changes_of_one_call_see_one_another<B: Backend<Store: Settings>>(backend: &B) {
    let settings = backend.open();
    change(&settings, "ann", vec![put(allowed("a.example"))]).unwrap();
    let swap = vec![SettingChange::Remove(allowed("a.example").key()), put(blocked("a.example"))];
    assert_eq!(change(&settings, "ann", swap).unwrap(), 3);
    assert!(settings.snapshot().is_blocked(&"a.example".parse().unwrap()));
    assert_eq!(change(&settings, "ann", vec![]).unwrap(), 3, "nothing to change is no change");
}

pub(super) fn each_change_is_in_the_history_with_its_author<B: Backend<Store: Settings>>(backend: &B) {
    let settings = backend.open();
    let remove = SettingChange::Remove(allowed("a.example").key());
    change(&settings, "ann", vec![put(allowed("a.example"))]).unwrap();
    change(&settings, "ben", vec![remove.clone()]).unwrap();
    let history = settings.history(&last(10)).unwrap();
    let told = history.iter().map(|entry| (entry.version, entry.author.as_str(), entry.change.clone()));
    assert_eq!(told.collect::<Vec<_>>(), [(2, "ben", remove), (1, "ann", put(allowed("a.example")))]);
    assert_eq!(
        history.iter().map(|entry| entry.before.clone()).collect::<Vec<_>>(),
        [Some(allowed("a.example")), None]
    );
    assert_eq!(settings.history(&last(1)).unwrap().len(), 1);
}

pub(super) fn the_history_is_bounded_and_the_version_goes_on<B: Backend<Store: Settings>>(backend: &B) {
    let settings = backend.open();
    for _ in 0..3 {
        change(&settings, "ann", vec![put(allowed("a.example")); 4000]).unwrap();
    }
    let history = settings.history(&last(20_000)).unwrap();
    assert_eq!((history.len(), history[0].version, history[9_999].version), (10_000, 12_000, 2001));
    let settings = backend.reopen(settings);
    assert_eq!(settings.snapshot().version(), 12_000);
}

pub(super) fn the_history_is_found_by_record_by_author_and_by_time<B: Backend<Store: Settings>>(backend: &B) {
    let settings = backend.open();
    change(&settings, "ann", vec![put(allowed("a.example")), put(allowed("b.example"))]).unwrap();
    change(&settings, "ben", vec![put(blocked("c.example"))]).unwrap();
    edit(&settings, "ben", put(allowed("a.example")), 1).unwrap();
    let versions =
        |past: Past| -> Vec<u64> { settings.history(&past).unwrap().iter().map(|entry| entry.version).collect() };
    let (kind, identity) = (|kind: &str| Some(kind.to_owned()), |name: &str| Some(name.to_owned()));
    for (past, expected) in [
        (last(10), vec![4, 3, 2, 1]),
        (Past { kind: kind("alloweddomain"), ..last(10) }, vec![4, 2, 1]),
        (Past { identity: identity("A.Example"), ..last(10) }, vec![4, 1]),
        (Past { author: identity("ben"), ..last(10) }, vec![4, 3]),
        (Past { author: identity("ben"), kind: kind("BlockedDomain"), ..last(10) }, vec![3]),
        (Past { since: Some(at(6)), ..last(10) }, vec![4]),
        (Past { kind: kind("AllowedDomain"), ..last(1) }, vec![4]),
        (Past { identity: identity("d.example"), ..last(10) }, vec![]),
    ] {
        assert_eq!(versions(past.clone()), expected, "{past:?}");
    }
}

pub(super) fn who_comes_second_to_a_record_is_told_who_was_first_and_changes_nothing<B: Backend<Store: Settings>>(
    backend: &B,
) {
    let settings = backend.open();
    let record = || put(allowed("a.example"));
    assert_eq!(edit(&settings, "ann", record(), 0), Ok(1), "a new one");
    let made = edit(&settings, "ben", record(), 0).unwrap_err();
    assert_eq!(
        made.to_string(),
        "AllowedDomain \"a.example\" was made by ann at 1970-01-01T00:00:00.006Z, after it was read: read it again and \
         repeat the change"
    );
    assert!(!made.retry_helps());
    assert_eq!(edit(&settings, "ann", record(), 1), Ok(2), "as it was read");
    let changed = edit(&settings, "ben", record(), 1).unwrap_err();
    assert!(changed.to_string().contains("was changed by ann"), "{changed}");
    edit(&settings, "cat", SettingChange::Remove(allowed("a.example").key()), 2).unwrap();
    let removed = edit(&settings, "ben", record(), 2).unwrap_err();
    let SettingsError::Changed(removed) = removed else { panic!("{removed:?}") };
    assert_eq!((removed.by.as_str(), removed.version, removed.exists), ("cat", 3, false));
    assert_eq!((settings.snapshot().version(), settings.snapshot().rows().count()), (3, 0));
    // Of several edits none is made if one has been overtaken.
    let both = vec![Edit::from(put(blocked("b.example"))), Edit { change: record(), read: Some(7) }];
    assert!(outcome(|done| settings.apply("ben", at(7), both, done)).unwrap().is_err());
    assert_eq!(settings.fresh().unwrap().version(), 3);
}
