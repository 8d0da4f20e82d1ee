//! What a settings store promises.

use reveille_core::settings::{AllowedDomain, BlockedDomain, Setting, SettingChange, Snapshot};

use super::{Backend, at, outcome};
use crate::settings::{Settings, SettingsError};

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
    Ok(outcome(|done| settings.apply(author, at(5), changes, done))??)
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
    assert_eq!(settings.history(10).unwrap().len(), 1);
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
    let history = settings.history(10).unwrap();
    let told = history.iter().map(|entry| (entry.version, entry.author.as_str(), entry.change.clone()));
    assert_eq!(told.collect::<Vec<_>>(), [(2, "ben", remove), (1, "ann", put(allowed("a.example")))]);
    assert_eq!(settings.history(1).unwrap().len(), 1);
}

pub(super) fn the_history_is_bounded_and_the_version_goes_on<B: Backend<Store: Settings>>(backend: &B) {
    let settings = backend.open();
    for _ in 0..3 {
        change(&settings, "ann", vec![put(allowed("a.example")); 4000]).unwrap();
    }
    let history = settings.history(20_000).unwrap();
    assert_eq!((history.len(), history[0].version, history[9_999].version), (10_000, 12_000, 2001));
    let settings = backend.reopen(settings);
    assert_eq!(settings.snapshot().version(), 12_000);
}
