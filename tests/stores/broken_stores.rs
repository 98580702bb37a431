//! The conformance suite finds stores that break the contract (SPEC S8): each defect fails the
//! check that is named for it.

use std::sync::Arc;

use tower_tenure::testing::conformance;

use crate::broken::{Broken, Defect as D};

#[tokio::test]
async fn s8_the_store_without_a_defect_passes() {
    conformance::check(Broken::new(D::None)).await;
}

const CAUGHT_BY: &[(D, &str)] = &[
    (D::RoundsToSeconds, "s8_a_record_comes_back_exactly"),
    (D::CreateOverwrites, "s2_create_on_a_known_id_changes_nothing"),
    (D::IgnoresTheRevision, "s3_a_condition_on_the_revision_that_does_not_hold_writes_nothing"),
    (D::WritesHalfOfWhatIsTooLarge, "s13_a_change_that_is_too_large_changes_nothing"),
    (D::StaleRecordOverwrites, "s3_a_write_of_who_knows_an_older_record_loses_nothing"),
    (D::EndsTheStaleRecord, "s3_an_end_of_who_knows_an_older_record_ends_what_is_there"),
    (D::UpdateStoresWhatIsGone, "s4_who_knows_a_swept_session_brings_nothing_back"),
    (D::UpdateRevivesTombstones, "s4_no_change_reaches_a_session_that_has_ended"),
    (D::KeepsNoTombstones, "e3_an_end_leaves_a_tombstone_without_data"),
    (D::EndIsNotRepeatable, "s3_the_same_end_again_answers_the_same_and_another_call_does_not"),
    (D::EveryEndEnds, "o2_of_parallel_ends_exactly_one_ends_the_session"),
    (D::EndIgnoresConditions, "s2_an_end_keeps_to_its_conditions"),
    (D::EndIgnoresConditions, "s9_an_end_that_goes_first_spares_a_session_that_was_used_since"),
    (D::EndManyStopsAtTheUnknown, "s2_ending_many_does_what_ending_each_does"),
    (D::ForgetsSuccessors, "s9_tombstones_lead_from_login_to_login"),
    (D::TakesNothingOver, "l3_the_new_session_takes_over_the_data_and_the_old_one_is_superseded"),
    (D::LosesTheGrace, "c6_the_old_cookie_works_within_the_grace_and_not_after"),
    (D::SecondDeviceWins, "b4_the_first_device_that_a_session_is_bound_to_stays"),
    (D::WorkIsTakenTwice, "l13_work_waits_in_the_tombstone_and_is_taken_once"),
    (D::WorkIsTakenTwice, "l13_of_parallel_logins_one_takes_the_work"),
    (D::WorkGoesToAnybody, "l13_work_is_for_its_user_and_its_time_only"),
    (D::CapIsNotOneStep, "s9_a_refusing_cap_holds_under_parallel_logins"),
    (D::CapIsNotOneStep, "s9_an_evicting_cap_holds_under_parallel_logins"),
    (D::CapCountsTombstones, "s9_what_is_over_makes_room_and_what_is_not_theirs_does_not_count"),
    (D::CapIgnoresRealms, "c10_a_subject_is_another_in_another_realm"),
    (D::CapCountsWhatIsReplaced, "s9_the_replaced_session_does_not_count"),
    (D::FullEndsAllTheSame, "s9_a_full_cap_ends_nothing"),
    (D::CreationIsNotOneStep, "s2_a_creation_given_up_halfway_is_whole_or_nothing"),
    (D::TagIsTakenForTheSubject, "s11_subjects_that_share_a_tag_are_compared_whole"),
    (D::PlacesMove, "s11_the_key_of_places_stays_the_same"),
    (D::LoadIgnoresMarks, "l14_a_foreign_exception_protects_nothing"),
    (D::UpdateIgnoresMarks, "s10_no_write_is_acknowledged_after_a_revocation"),
    (D::UpdateTrustsTheMarkItKnows, "l14_a_revocation_ends_every_stored_session_but_one"),
    (D::CreateIgnoresMarks, "l14_a_login_that_arrived_before_is_not_stored_and_a_later_one_is"),
    (D::CreateIsOfNoEpoch, "l14_others_stay"),
    (D::ExceptionsIgnoreEpochs, "l14_what_is_covered_cannot_be_excepted_later"),
    (D::RevokesByTime, "l14_clocks_that_differ_end_no_more_and_no_less"),
    (D::RevokesOneByOne, "s10_a_revocation_misses_none_under_parallel_logins"),
    (D::RevokesOneByOne, "s10_a_revocation_can_be_given_up_and_tried_again"),
    (D::MarkGoesWithItsSessions, "l14_a_mark_survives_a_sweep_while_it_is_needed"),
    (D::MarkIsKeptForTheLast, "l14_a_mark_survives_a_sweep_for_the_longest_of_its_revocations"),
    (D::EpochsBeginAgain, "l14_a_revocation_reaches_what_is_older_than_a_swept_mark"),
    (D::MomentMovesBack, "l14_the_moment_of_a_realm_moves_forward_only"),
    (D::MomentIsOfAllRealms, "l14_the_moment_of_a_realm_moves_forward_only"),
    (D::ListsEveryRealm, "c10_a_list_of_a_realm_is_its_own"),
    (D::ListsWhatHasEnded, "s2_a_list_has_the_sessions_of_a_subject_oldest_first"),
    (D::ListsShortPages, "s14_a_page_is_full_while_there_are_more"),
    (D::SweepRemovesWhatIsOver, "o2_a_sweep_finds_what_is_over_and_nothing_else"),
    (D::SweepMissesTheRevoked, "o2_a_sweep_finds_what_a_revocation_covers"),
    (D::SweepEndsTooSoon, "o2_a_sweep_keeps_to_its_limit_and_comes_to_an_end"),
    (D::SweepIgnoresRealms, "c10_a_sweep_of_a_realm_finds_its_own_only"),
    (D::SweepForgetsTooEarly, "e3_a_sweep_removes_tombstones_that_may_be_forgotten"),
    (D::DueMomentStays, "o2_a_sweep_finds_what_is_over_sooner_than_it_was_going_to_be"),
    (D::RescheduledStays, "o2_a_sweep_finds_a_rescheduled_session_at_its_new_moment"),
    (D::TimeInSeconds, "s12_the_time_of_a_store_goes_on"),
];

#[tokio::test]
async fn s8_the_suite_catches_the_defects_that_stores_have() {
    let mut missed = Vec::new();
    for (defect, caught_by) in CAUGHT_BY {
        let checks = conformance::checks();
        let check = checks.into_iter().find(|check| check.name() == *caught_by).expect(caught_by);
        let store = Arc::new(Broken::new(*defect));
        let run = tokio::spawn(async move { check.run(&store).await });
        match run.await {
            Ok(()) => missed.push(format!("{defect:?} passes {caught_by}")),
            Err(failed) => {
                let panic = failed.into_panic();
                let message = panic.downcast_ref::<String>().map_or("", String::as_str);
                if !message.contains(caught_by) {
                    missed.push(format!("{defect:?} fails {caught_by} with {message:?}"));
                }
            }
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
}
