//! The tests that every backend passes: what the traits promise, seen only through the traits.
//!
//! A case is a function generic over the backend. A new backend is one [`Backend`] for each store and one line in each
//! table below.

mod admin;
mod home;
mod journal;
mod model;
mod settings;
mod verdicts;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use reveille_core::Timestamp;

use crate::completion::{Completion, Pending, wait};
use crate::error::StoreError;
use crate::{SqliteAdmin, SqliteHome, SqliteJournal, SqliteSettings};

/// A store that can be opened, closed and opened again.
trait Backend {
    type Store;

    fn open(&self) -> Self::Store;

    /// Closes the store and opens it again: what is there now was on disk.
    fn reopen(&self, store: Self::Store) -> Self::Store;
}

macro_rules! sqlite {
    ($name:ident, $store:ident, $file:literal) => {
        struct $name(Folder);

        impl $name {
            fn new() -> Self {
                Self(Folder::new())
            }
        }

        impl Backend for $name {
            type Store = $store;

            fn open(&self) -> $store {
                $store::open(&self.0.path().join($file)).unwrap()
            }

            fn reopen(&self, store: $store) -> $store {
                store.close();
                self.open()
            }
        }
    };
}

sqlite!(AdminFile, SqliteAdmin, "admin.db");
sqlite!(JournalFile, SqliteJournal, "clearinghouse.db");
sqlite!(HomeFile, SqliteHome, "home.db");
sqlite!(SettingsFile, SqliteSettings, "settings.db");

macro_rules! pass {
    ($module:ident on $backend:ident: $($case:ident,)*) => {
        mod $module {
            $(
                #[test]
                fn $case() {
                    super::super::$module::$case(&super::super::$backend::new());
                }
            )*
        }
    };
}

mod sqlite {
    pass! { admin on AdminFile:
        a_certificate_stands_for_one_account_only,
        a_change_ends_sessions_and_a_removal_tokens_too,
        a_role_that_is_being_removed_is_nobodys_and_nobody_is_given_it,
        an_account_reads_back_as_it_was_put_also_after_opening_again,
        an_entry_is_found_by_who_did_what_when_and_how_it_ended,
        guesses_are_counted_for_a_time_and_the_most_are_remembered,
        passes_are_bounded_and_what_is_over_goes,
        removals_that_are_over_are_forgotten_some_time_and_the_others_never,
        the_account_of_a_certificate_is_found_by_it,
        who_is_refused_often_pushes_nobodys_deeds_out,
        whoever_comes_second_to_an_account_is_told_who_was_first,
    }

    pass! { journal on JournalFile:
        a_rescheduled_push_waits_with_its_new_time_and_attempt,
        a_push_that_was_being_sent_reads_back_as_sending,
        a_push_that_is_kept_as_being_sent_reads_back_so_and_can_be_put_back,
        a_lane_is_read_in_the_order_in_which_it_was_accepted,
        an_ended_push_is_gone_from_the_open_ones_and_stays_in_the_trace,
        the_newest_pushes_and_all_of_one_id_can_be_looked_up,
        another_request_under_the_same_id_is_told_apart,
        ending_twice_owes_feedback_once_and_keeps_the_first_outcome,
        everything_survives_being_opened_again,
        feedback_of_one_origin_never_hides_that_of_another,
        feedback_that_was_taken_is_gone_and_the_rest_keeps_its_order,
        of_two_equal_entries_exactly_one_is_new,
        the_trace_keeps_when_home_came_to_be_owed_news_and_how_that_ended,
        feedback_is_owed_in_the_name_that_was_asked,
        old_feedback_is_given_up,
        open_pushes_are_read_in_order_and_page_by_page,
        the_same_id_of_another_origin_is_another_push,
        what_is_purged_is_new_again_and_what_is_open_stays,
        what_was_received_since_is_counted_for_each_organisation,
    }

    pass! { verdicts on JournalFile:
        a_brake_holds_what_came_just_before_it_and_takes_it_back_at_home,
        a_frozen_verdict_takes_effect_or_is_forgotten_as_somebody_decides,
        a_verdict_is_there_with_the_end_of_its_push_after_opening_again,
        one_organisations_brake_leaves_the_verdicts_of_others,
        old_verdicts_are_forgotten,
    }

    pass! { model on JournalFile:
        it_answers_as_the_simplest_journal_would,
    }

    pass! { home on HomeFile:
        a_device_reads_back_as_it_was_put_and_is_replaced_whole,
        a_message_and_its_push_are_there_together_after_opening_again,
        a_push_moves_through_its_states_and_leaves_the_open_ones,
        delivered_and_expired_messages_are_not_unread,
        messages_come_in_the_order_of_their_ids,
        a_user_who_is_forgotten_leaves_nothing_and_others_stay,
        only_the_newest_dead_tokens_are_kept,
        open_pushes_come_by_due_time_and_page_by_page,
        the_first_of_two_equal_ids_is_kept,
        the_pushes_of_a_user_come_newest_first,
        the_purge_removes_what_is_over_and_leaves_what_is_not,
    }

    pass! { settings on SettingsFile:
        a_change_against_the_rules_leaves_everything_as_it_was,
        changes_of_one_call_see_one_another,
        each_change_is_in_the_history_with_its_author,
        everything_survives_being_opened_again,
        the_history_is_bounded_and_the_version_goes_on,
        the_history_is_found_by_record_by_author_and_by_time,
        the_watch_fires_and_the_snapshot_is_new_when_the_change_is_known,
        who_comes_second_to_a_record_is_told_who_was_first_and_changes_nothing,
    }
}

/// Makes a change and waits for it.
fn done<T: Send + 'static>(start: impl FnOnce(Completion<T>)) -> T {
    outcome(start).unwrap()
}

/// Makes a change and waits for how it ended.
pub(crate) fn outcome<T: Send + 'static>(start: impl FnOnce(Completion<T>)) -> Result<T, StoreError> {
    let pending: Pending<T> = wait(start);
    pending.block()
}

const fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

/// A folder that is removed with the value.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("reveille-store-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}
