//! The memory store, shared by two nodes. A seed always gives the same history.

use std::sync::Arc;

use tower_tenure::{MemoryStore, SessionStore};

use super::{
    check::check,
    clients::Plan,
    record::History,
    run::{Pace, run},
};
use crate::common::search::cases;

/// A runtime with a paused clock, which advances only when all tasks are idle.
pub(crate) fn stepped<S: SessionStore>(store: Arc<S>, plan: &Plan) -> History {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(run([Arc::clone(&store), store], plan, Pace::Stepped))
}

fn all_keep_the_rules(plans: impl IntoIterator<Item = Plan>) {
    let mut calls = 0;
    for plan in plans {
        let history = stepped(Arc::new(MemoryStore::new()), &plan);
        calls += history.calls.len();
        check(&history).unwrap_or_else(|broken| panic!("seed {}: {plan:?}\n{broken}", plan.seed));
    }
    println!("{calls} calls");
}

const CALLS: usize = 500;

fn seeds(base: u32) -> std::ops::Range<u64> {
    0..u64::from(cases(base))
}

#[test]
fn two_nodes_over_the_store_in_memory_keep_the_rules() {
    all_keep_the_rules(seeds(16).map(|seed| Plan::of(seed, CALLS)));
}

#[test]
fn they_keep_the_rules_when_calls_to_the_store_fail_or_lose_their_answers() {
    all_keep_the_rules(seeds(8).map(|seed| Plan::of(seed, CALLS).with_faults()));
}

#[test]
fn they_keep_the_rules_when_nodes_are_killed() {
    all_keep_the_rules(seeds(8).map(|seed| Plan::of(seed, CALLS).with_kills()));
}

#[test]
fn a_seed_gives_the_same_record_again() {
    for plan in [Plan::of(1, 500), Plan::of(2, 500).with_faults(), Plan::of(3, 500).with_kills()] {
        let record = || stepped(Arc::new(MemoryStore::new()), &plan);
        let (one, other) = (record(), record());
        let differ = one.calls.iter().zip(&other.calls).find(|(one, other)| one != other);
        assert!(differ.is_none(), "{differ:?}");
        // A sweep ends sessions with the same due time in the order of their ids, which are random.
        let emitted = |history: &History| {
            let mut emitted: Vec<_> = history
                .emitted
                .iter()
                .map(|emitted| (emitted.when.at, emitted.sid, emitted.reason))
                .collect();
            emitted.sort_unstable_by_key(|(at, sid, _)| (*at, *sid));
            emitted
        };
        assert_eq!(emitted(&one), emitted(&other));
    }
}
