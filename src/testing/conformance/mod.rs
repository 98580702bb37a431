//! What every store has to pass (SPEC S8).
//!
//! [`check`] runs all of it against a store; [`checks`] lists it, to run one by one. A check that fails panics with its
//! name, which begins with the rule of the specification, and says what the store did in place of what it should.
//!
//! | file | holds |
//! |---|---|
//! | `mod.rs` | [`check`], [`checks`], [`Check`] |
//! | `bench.rs` | what the checks work with |
//! | `records.rs` | records come back exactly, changes do what [`Change::apply`](crate::record::Change::apply) does (S2, S8) |
//! | `parallel.rs` | no lost updates, no resurrection (S3, S4) |
//! | `rotations.rs` | new secrets (C6) |
//! | `ends.rs` | tombstones (S2, S4, E3) |
//! | `replacing.rs` | a login takes the place of a session (L3) |
//! | `caps.rs` | at most so many sessions of a subject (S9) |
//! | `subjects.rs` | listing and ending by subject (S2, S10) |
//! | `random.rs` | random changes do what [`Change::apply`](crate::record::Change::apply) does, in any order (S2) |
//! | `settings.rs` | [`check_settings`]: settings that all nodes share (S7) |
//! | `sweeps.rs` | what a sweep removes, and what not (S2) |
//! | `cancelled.rs` | calls that are given up halfway (S2) |
//! | `through_the_layer.rs` | the middleware over the store (L2, C2, C6, E1) |
//!
//! # Example
//!
//! As a test of a backend of your own, here played by the memory store:
//!
//! ```
//! use tower_tenure::{MemoryStore, testing::conformance};
//!
//! # /*
//! #[tokio::test]
//! # */
//! # #[tokio::main(flavor = "current_thread")]
//! async fn my_store_keeps_its_promises() {
//!     conformance::check(MemoryStore::new()).await;
//! }
//! # my_store_keeps_its_promises();
//! ```
//!
//! # On a database with other data
//!
//! Ids and subjects are random, and all times lie before the year 2000, so nothing is disturbed, and what the suite leaves
//! behind goes with the next sweep of an application. Such a sweep must not run meanwhile, and neither must the suite a
//! second time on the same database.

mod bench;
mod cancelled;
mod caps;
mod ends;
mod parallel;
mod random;
mod records;
mod replacing;
mod rotations;
mod settings;
mod subjects;
mod sweeps;
mod through_the_layer;

use std::{fmt, pin::Pin, sync::Arc};

use self::bench::Bench;
pub use self::settings::check_settings;
use crate::SessionStore;

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One promise of a store; see [`checks`].
pub struct Check<S> {
    name: &'static str,
    run: fn(Bench<S>) -> Running,
}

impl<S: SessionStore> Check<S> {
    /// What the store promises, as a sentence that begins with the rule.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Tries it. A tokio runtime with timers has to be there, as for the middleware itself.
    ///
    /// # Panics
    ///
    /// When the store does not keep the promise, or fails.
    pub async fn run(&self, store: &Arc<S>) {
        (self.run)(Bench::new(Arc::clone(store), self.name)).await;
    }
}

impl<S> fmt::Debug for Check<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Check").field(&self.name).finish()
    }
}

/// Runs all checks against a store. A tokio runtime with timers has to be there, as for the middleware itself.
///
/// # Panics
///
/// When the store does not keep one of its promises, or fails.
pub async fn check<S: SessionStore>(store: S) {
    let store = Arc::new(store);
    for check in checks() {
        check.run(&store).await;
    }
}

/// All checks, to run one by one, for instance to see all that fail. Not two at a time on the same store.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use tower_tenure::{MemoryStore, testing::conformance};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let store = Arc::new(MemoryStore::new());
/// for check in conformance::checks().iter().filter(|check| check.name().starts_with("s9")) {
///     check.run(&store).await;
/// }
/// # }
/// ```
pub fn checks<S: SessionStore>() -> Vec<Check<S>> {
    macro_rules! all {
        ($($file:ident { $($name:ident,)* })*) => {
            vec![$($(Check { name: stringify!($name), run: |bench| Box::pin($file::$name(bench)) },)*)*]
        };
    }
    all! {
        records {
            s8_a_record_comes_back_exactly,
            s2_every_change_does_what_apply_does,
            s2_an_unknown_id_is_a_value_and_not_an_error,
            s2_create_on_a_known_id_changes_nothing,
            s3_a_condition_on_the_revision_that_does_not_hold_writes_nothing,
            l9_an_interaction_moves_forward_only_and_leaves_the_data_alone,
            l5_lowerings_are_minima_in_any_order,
        }
        random {
            s2_random_changes_and_ends_do_what_the_pure_functions_do,
            s2_random_sessions_are_listed_and_swept_by_their_deadlines,
        }
        parallel {
            s3_parallel_writes_to_different_keys_all_survive,
            s3_of_parallel_writes_to_one_key_one_wins,
            s3_compare_and_set_loses_no_increment,
            l9_of_parallel_interactions_the_latest_counts,
            s4_no_parallel_change_outlives_the_end,
        }
        rotations {
            c6_a_rotation_takes_place_once_and_honours_the_old_secret_for_the_grace,
            c6_a_second_try_after_a_lost_answer_succeeds_and_changes_nothing,
            c6_of_parallel_rotations_one_wins,
        }
        ends {
            e3_an_end_leaves_a_tombstone_without_data,
            e3_the_first_reason_stands,
            l2_an_end_past_the_deadline_is_the_deadlines,
            s2_an_end_on_condition_spares_a_session_that_was_used_since,
            s4_no_change_reaches_a_session_that_has_ended,
        }
        replacing {
            l3_the_new_session_takes_over_the_data_and_the_old_one_is_superseded,
            l3_the_new_session_of_another_user_starts_empty,
            s4_a_replaced_session_that_has_ended_gives_nothing_and_keeps_its_reason,
            s4_a_write_is_either_taken_over_or_told_that_it_came_too_late,
            s4_of_two_logins_in_one_browser_one_takes_over_the_data,
        }
        caps {
            s9_a_cap_refuses_and_changes_nothing,
            s9_a_cap_evicts_the_least_recently_active,
            s9_a_lowered_cap_evicts_several,
            s9_sessions_that_are_over_and_other_users_do_not_count,
            s9_the_replaced_session_does_not_count,
            s9_a_refusing_cap_holds_under_parallel_logins,
            s9_an_evicting_cap_holds_under_parallel_logins,
        }
        subjects {
            s2_a_list_has_the_live_sessions_of_a_subject_oldest_first,
            s2_a_list_of_all_pages_through_every_live_session,
            s2_pages_are_stable_while_sessions_come_and_go,
            s10_ending_a_subject_leaves_none_but_the_one_excepted,
            s10_ending_a_subject_misses_none_under_parallel_logins,
        }
        sweeps {
            s2_a_sweep_removes_what_was_over_before_and_nothing_else,
            s2_a_sweep_finds_what_is_over_sooner_than_it_was_going_to_be,
            s2_a_sweep_keeps_to_its_limit_and_comes_to_an_end,
            s10_a_swept_subject_can_log_in_again,
        }
        cancelled {
            s2_a_change_given_up_halfway_is_whole_or_nothing,
            s2_an_end_given_up_halfway_is_whole_or_nothing,
            s2_a_creation_given_up_halfway_is_whole_or_nothing,
            s10_ending_a_subject_can_be_given_up_and_tried_again,
        }
        through_the_layer {
            l2_a_session_is_over_exactly_at_its_idle_deadline,
            l2_no_interaction_moves_the_absolute_deadline,
            l3_a_login_keeps_what_an_anonymous_visitor_left,
            s4_a_logged_out_cookie_is_dead_and_told_so,
            e1_a_revocation_is_seen_by_the_very_next_request,
            s9_the_evicted_user_is_told,
            c2_a_persistent_cookie_is_refreshed_when_the_deadline_moves,
            c6_the_old_cookie_works_within_the_grace_and_not_after,
        }
    }
}
