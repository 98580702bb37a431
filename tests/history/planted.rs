//! Bugs planted in a store. Its rule finds each bug, and the same seeds pass without the bug.

use std::sync::Arc;

use tower_tenure::SessionStore;

use super::{
    bugs::{Bug, Planted},
    check::check,
    clients::Plan,
    memory::stepped,
};
use crate::broken::{Broken, Defect};

/// Each bug with the rule that finds it.
const BUGS: &[(Bug, &str)] = &[
    (Bug::LosesAWrite, "writes"),
    (Bug::WritesTwice, "writes"),
    (Bug::ReadsStale, "writes"),
    (Bug::ReadsStale, "ends"),
    (Bug::LogoutWithoutEffect, "ends"),
    (Bug::RevokeOneIgnored, "ends"),
    (Bug::RevokeSubjectMissesOne, "revocations"),
    (Bug::RevokeSubjectMissesLoginsInFlight, "revocations"),
    (Bug::RevokeSubjectTakesAnothers, "causes"),
    (Bug::RevokeEverybodyIgnored, "revocations"),
    (Bug::DeadlineTooLate, "deadlines"),
    (Bug::AbsoluteDeadlineMoves, "deadlines"),
    (Bug::IdleDeadlineTooLate, "deadlines"),
    (Bug::IdleDeadlineStays, "causes"),
    (Bug::DiesEarly, "causes"),
    (Bug::CapByOne, "caps"),
    (Bug::EndEmittedTwice, "events"),
    (Bug::EndNotEmitted, "events"),
    (Bug::EndEmittedOtherwise, "events"),
    (Bug::RotationKeepsTheOld, "rotations"),
    (Bug::RotationLosesTheNew, "causes"),
    (Bug::SessionOfAnother, "identity"),
    (Bug::TouchRevives, "ends"),
    (Bug::SweepRemovesLive, "causes"),
    (Bug::LoweringIgnored, "deadlines"),
    (Bug::ListMissesOne, "lists"),
    (Bug::LoginNotStored, "causes"),
];

/// The defects of the conformance suite that clients can see.
const DEFECTS: &[(Defect, &str)] = &[
    (Defect::IgnoresTheRevision, "writes"),
    (Defect::StaleRecordOverwrites, "writes"),
    (Defect::TakesNothingOver, "writes"),
    (Defect::UpdateRevivesTombstones, "ends"),
    (Defect::KeepsNoTombstones, "causes"),
    (Defect::LosesTheGrace, "causes"),
    (Defect::EveryEndEnds, "events"),
    (Defect::CapIsNotOneStep, "caps"),
    (Defect::CapCountsTombstones, "causes"),
    (Defect::LoadIgnoresMarks, "writes"),
    (Defect::CreateIgnoresMarks, "revocations"),
    (Defect::CreateIsOfNoEpoch, "causes"),
    (Defect::RevokesOneByOne, "revocations"),
    (Defect::SweepRemovesWhatIsOver, "events"),
];

/// The number of runs in the search for a bug.
const SEEDS: u64 = 12;
const CALLS: usize = 500;

/// Searches for a violation of a rule. If there is none, returns which other rules were broken.
fn is_found<S: SessionStore>(rule: &str, store: impl Fn() -> S) -> Result<(), Vec<&'static str>> {
    let mut others = Vec::new();
    for seed in 0..SEEDS {
        if let Err(broken) = check(&stepped(Arc::new(store()), &Plan::of(seed, CALLS))) {
            if broken.violations.iter().any(|violation| violation.rule == rule) {
                return Ok(());
            }
            others.extend(broken.violations.iter().map(|violation| violation.rule));
        }
    }
    others.sort_unstable();
    others.dedup();
    Err(others)
}

#[test]
fn each_planted_bug_is_found_by_its_rule() {
    let missed = BUGS.iter().filter_map(|(bug, rule)| {
        let others = is_found(rule, || Planted::new(*bug)).err()?;
        Some(format!("{bug:?} by {rule}, but by {others:?}"))
    });
    let missed: Vec<_> = missed.collect();
    assert!(missed.is_empty(), "not found: {missed:#?}");
}

#[test]
fn defects_that_the_conformance_suite_finds_are_found_from_the_record_as_well() {
    let missed = DEFECTS.iter().filter_map(|(defect, rule)| {
        let others = is_found(rule, || Broken::new(*defect)).err()?;
        Some(format!("{defect:?} by {rule}, but by {others:?}"))
    });
    let missed: Vec<_> = missed.collect();
    assert!(missed.is_empty(), "not found: {missed:#?}");
}

#[test]
fn the_same_seeds_pass_without_a_bug() {
    for seed in 0..SEEDS {
        let plan = Plan::of(seed, CALLS);
        check(&stepped(Arc::new(Planted::new(Bug::None)), &plan)).unwrap();
        check(&stepped(Arc::new(Broken::new(Defect::None)), &plan)).unwrap();
    }
}
