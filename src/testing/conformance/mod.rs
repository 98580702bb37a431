//! The conformance suite, which every store must pass.
//!
//! [`check`] runs all checks against a store; [`checks`] lists them, to run one by one. A check
//! that fails panics with its name, and with what the store did and should have done. The name
//! begins with the number of a [rule](crate::rules).
//!
//! # Example
//!
//! As a test of a custom store; here the memory store stands in:
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
//! Ids, subjects and realms are random, and all times are before the year 2000, so the suite does
//! not disturb other data. The next sweep of an application removes what the suite leaves behind,
//! but no such sweep must run during the suite. Two suites can run on one database at once if both
//! skip the checks with `sweep` or `swept` in their names.

// | file | holds |
// |---|---|
// | `bench.rs`, `material.rs`, `hostile.rs`, `together.rs` | the parts of the checks |
// | `records.rs`, `random.rs` | records come back exactly, changes do what the pure functions do (S2, S8) |
// | `retries.rs` | calls made again, and callers that know an older state (S3, O2) |
// | `parallel.rs` | no lost updates, no resurrection (S3, S4) |
// | `cancelled.rs` | calls that are given up halfway (S2) |
// | `rotations.rs` | new secrets (C6) |
// | `devices.rs` | devices that sessions are bound to (B4) |
// | `limits.rs` | limits on data (S13) |
// | `ends.rs`, `work.rs` | tombstones (E3, S4), and the work that waits in them (L13) |
// | `replacing.rs` | a login takes the place of a session (L3, S9) |
// | `logins.rs`, `caps.rs` | at most so many sessions of a subject (S9) |
// | `revocations.rs`, `marks.rs` | sign out everywhere, and how long that is remembered (L14, S10) |
// | `realms.rs` | realms and tags (C10, S11) |
// | `lists.rs`, `sweeping.rs`, `sweeps.rs` | what is listed (S14), what is found and removed (O2) |
// | `shared.rs`, `settings.rs` | what the nodes of a store share (S7, S11, S12) |
// | `site.rs`, `through_the_layer.rs` | the middleware over the store (L2, L13, L14, C2, C6, C10, E1) |

mod bench;
mod cancelled;
mod caps;
mod devices;
mod ends;
mod hostile;
mod limits;
mod lists;
mod logins;
mod marks;
mod material;
mod parallel;
mod random;
mod realms;
mod records;
mod replacing;
mod retries;
mod revocations;
mod rotations;
mod settings;
mod shared;
mod site;
mod sweeping;
mod sweeps;
mod through_the_layer;
mod together;
mod work;

use std::{fmt, pin::Pin, sync::Arc};

use self::bench::Bench;
pub use self::settings::check_settings;
use crate::SessionStore;

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One check of the suite; see [`checks`].
pub struct Check<S> {
    name: &'static str,
    run: fn(Bench<S>) -> Running,
}

impl<S: SessionStore> Check<S> {
    /// The requirement, as a sentence that begins with the number of the rule.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Runs the check. Needs a tokio runtime with timers, as the middleware does.
    ///
    /// # Panics
    ///
    /// When the store violates the requirement, or fails.
    pub async fn run(&self, store: &Arc<S>) {
        (self.run)(Bench::new(Arc::clone(store), self.name)).await;
    }
}

impl<S> fmt::Debug for Check<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Check").field(&self.name).finish()
    }
}

/// Runs all checks against a store. Needs a tokio runtime with timers, as the middleware does.
///
/// # Panics
///
/// When the store violates a requirement, or fails.
pub async fn check<S: SessionStore>(store: S) {
    let store = Arc::new(store);
    for check in checks() {
        check.run(&store).await;
    }
}

/// All checks, to run one by one, for instance to see all that fail. Do not run two at a time on
/// the same store.
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
#[expect(clippy::too_many_lines, reason = "a list")]
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
            o2_random_sessions_are_listed_and_swept_by_their_deadlines,
        }
        retries {
            s3_the_same_end_again_answers_the_same_and_another_call_does_not,
            o2_of_parallel_ends_exactly_one_ends_the_session,
            s3_the_same_creation_again_does_nothing_more,
            s3_a_write_of_who_knows_an_older_record_loses_nothing,
            s3_an_end_of_who_knows_an_older_record_ends_what_is_there,
        }
        parallel {
            s3_parallel_writes_to_different_keys_all_survive,
            s3_of_parallel_writes_to_one_key_one_wins,
            s3_compare_and_set_loses_no_increment,
            l9_of_parallel_interactions_the_latest_counts,
            s4_no_parallel_change_outlives_the_end,
        }
        devices {
            b4_the_first_device_that_a_session_is_bound_to_stays,
        }
        cancelled {
            s2_a_change_given_up_halfway_is_whole_or_nothing,
            s2_an_end_given_up_halfway_is_whole_or_nothing,
            s2_a_creation_given_up_halfway_is_whole_or_nothing,
            s10_a_revocation_can_be_given_up_and_tried_again,
        }
        rotations {
            c6_a_rotation_takes_place_once_and_honours_the_old_secret_for_the_grace,
            c6_a_second_try_after_a_lost_answer_succeeds_and_changes_nothing,
            c6_of_parallel_rotations_one_wins,
        }
        limits {
            s13_a_change_that_is_too_large_changes_nothing,
            s13_a_creation_that_is_too_large_is_not_stored,
        }
        ends {
            e3_an_end_leaves_a_tombstone_without_data,
            e3_the_first_reason_stands,
            l2_an_end_past_the_deadline_is_the_deadlines,
            s2_an_end_on_condition_spares_a_session_that_was_used_since,
            s2_an_end_keeps_to_its_conditions,
            s2_ending_many_does_what_ending_each_does,
            s4_no_change_reaches_a_session_that_has_ended,
        }
        work {
            l13_work_waits_in_the_tombstone_and_is_taken_once,
            l13_work_is_for_its_user_and_its_time_only,
            l13_no_work_waits_but_that_of_a_session_that_was_over_by_time,
            l13_no_work_outlives_a_revocation_that_covers_it,
            l13_work_that_waits_survives_a_sweep,
            l13_of_parallel_logins_one_takes_the_work,
        }
        replacing {
            l3_the_new_session_takes_over_the_data_and_the_old_one_is_superseded,
            l3_an_anonymous_session_hands_over_its_data_as_it_ends,
            l3_the_new_session_of_another_user_starts_empty,
            s4_a_replaced_session_that_has_ended_gives_nothing_and_keeps_its_reason,
            s4_a_write_is_either_taken_over_or_answered_that_it_came_too_late,
            s4_of_two_logins_in_one_browser_one_takes_over_the_data,
            s9_tombstones_lead_from_login_to_login,
            s9_ends_that_go_first_keep_to_their_conditions,
        }
        caps {
            s9_a_full_cap_names_the_sessions_and_changes_nothing,
            s9_a_cap_evicts_the_least_recently_active,
            s9_a_lowered_cap_evicts_several,
            s9_what_is_over_makes_room_and_what_is_not_theirs_does_not_count,
            s9_what_a_revocation_covers_makes_room,
            s9_the_replaced_session_does_not_count,
            s9_a_full_cap_ends_nothing,
            s9_an_end_that_goes_first_spares_a_session_that_was_used_since,
            s9_a_refusing_cap_holds_under_parallel_logins,
            s9_an_evicting_cap_holds_under_parallel_logins,
            s9_a_cap_holds_among_logouts_and_replacements,
        }
        revocations {
            l14_a_revocation_ends_every_stored_session_but_one,
            l14_a_foreign_exception_protects_nothing,
            l14_what_is_covered_cannot_be_excepted_later,
            l14_a_login_that_arrived_before_is_not_stored_and_a_later_one_is,
            l14_a_login_that_is_not_stored_changes_nothing,
            l14_others_stay,
            l14_clocks_that_differ_end_no_more_and_no_less,
            l14_a_deadline_before_the_revocation_is_the_end,
            s10_a_revocation_misses_none_under_parallel_logins,
            s10_no_write_is_acknowledged_after_a_revocation,
            l14_the_moment_of_a_realm_moves_forward_only,
        }
        marks {
            l14_a_mark_survives_a_sweep_while_it_is_needed,
            l14_a_mark_survives_a_sweep_for_the_longest_of_its_revocations,
            l14_a_revocation_reaches_what_is_older_than_a_swept_mark,
        }
        realms {
            c10_a_subject_is_another_in_another_realm,
            s11_subjects_that_share_a_tag_are_compared_whole,
            c10_a_list_of_a_realm_is_its_own,
        }
        lists {
            s2_a_list_has_the_sessions_of_a_subject_oldest_first,
            s2_a_list_of_a_realm_pages_through_every_session,
            s2_pages_are_stable_while_sessions_come_and_go,
            s14_a_page_is_full_while_there_are_more,
            s2_a_list_beside_other_calls_misses_none,
        }
        sweeps {
            o2_a_sweep_finds_what_is_over_and_nothing_else,
            o2_a_sweep_finds_what_is_over_sooner_than_it_was_going_to_be,
            o2_a_sweep_keeps_to_its_limit_and_comes_to_an_end,
            o2_a_sweep_finds_what_a_revocation_covers,
            o2_what_was_found_and_not_ended_is_found_by_the_next_sweep,
            o2_a_sweep_finds_a_rescheduled_session_at_its_new_moment,
            o2_a_sweep_that_comes_late_harms_nothing,
            e3_a_sweep_removes_tombstones_that_may_be_forgotten,
            s4_who_knows_a_swept_session_brings_nothing_back,
            s10_a_swept_subject_can_log_in_again,
            c10_a_sweep_of_a_realm_finds_its_own_only,
        }
        shared {
            s11_the_key_of_places_stays_the_same,
            s12_the_time_of_a_store_goes_on,
        }
        through_the_layer {
            l2_a_session_is_over_exactly_at_its_idle_deadline,
            l2_no_interaction_moves_the_absolute_deadline,
            l3_a_login_keeps_what_an_anonymous_visitor_left,
            s4_a_logged_out_cookie_is_dead_and_says_why,
            e1_a_revocation_is_seen_by_the_very_next_request,
            l14_signing_out_everywhere_ends_what_was_there_and_nothing_else,
            l14_signing_everybody_out_leaves_visitors_and_later_logins,
            c10_a_cookie_of_one_realm_is_nothing_in_another,
            l13_work_waits_unseen_until_its_user_logs_in,
            o2_a_sweep_ends_what_is_over_by_the_live_policy,
            s9_the_evicted_user_learns_why,
            s9_parallel_logins_at_the_cap_all_succeed,
            c2_a_persistent_cookie_is_refreshed_when_the_deadline_moves,
            c6_the_old_cookie_works_within_the_grace_and_not_after,
        }
    }
}
