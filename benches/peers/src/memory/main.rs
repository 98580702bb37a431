//! The cost that each session layer adds to a request, with sessions in memory:
//! `benches/peers/run.sh memory`.
//!
//! - Allocations: counted by the global allocator of `allocation-counter`, exact.
//! - Instructions: callgrind's count for 2N requests less that for N. Callgrind hides the CPU's SHA
//!   instructions, so a SHA-256 counts for about 3,600 instructions where a current CPU executes
//!   some 200.
//! - CPU time: of the thread, for batches of requests. The stacks take turns within a round. A
//!   stack's cost is the median over the rounds of its time less that of a layer that does nothing
//!   in the same round.
//! - Two threads: requests in parallel tasks on a runtime with one worker, then two.
//!
//! `memory --quick` measures little and writes no results. It only checks that everything works.

#[path = "../../../measure/allocations.rs"]
#[expect(dead_code, reason = "the benchmark of the crate uses the rest")]
mod allocations;
mod cpu;
#[path = "../../../measure/instructions.rs"]
mod instructions;
mod scenarios;
mod threads;

use scenarios::{Stack, Visit};
use serde_json::{Value, json};
use tower_tenure_peers::results;

fn main() {
    let args: Vec<_> = std::env::args().skip(1).collect();
    let _entered = scenarios::RUNTIME.enter();
    if let Some(run) = instructions::Run::parse(&args) {
        return allocation_counter::opt_out(|| run.serve());
    }
    let is_quick = args.iter().any(|arg| arg == "--quick");
    if let Err(why) = instructions::available() {
        eprintln!("instructions are left out: {why}");
    }
    let mut rows = Vec::new();
    for visit in Visit::ALL {
        rows.extend(requests(visit, is_quick));
    }
    for visit in [Visit::Read, Visit::ReadScattered] {
        allocation_counter::opt_out(|| rows.extend(threads::compare(visit, is_quick)));
    }
    if !is_quick {
        results::write("memory", &rows);
    }
}

/// A row for each stack.
fn requests(visit: Visit, is_quick: bool) -> Vec<Value> {
    let stacks: Vec<_> = Stack::ALL.into_iter().filter(|stack| stack.serves(visit)).collect();
    let mut times = Vec::new();
    allocation_counter::opt_out(|| times = cpu::compare(&stacks, visit, if is_quick { 3 } else { 41 }));
    let row = |(stack, time): (Stack, cpu::Time)| {
        // Visits in random order differ only in the CPU caches, not in any count.
        let is_counted = !visit.is_scattered() && !is_quick;
        let counted = is_counted.then(|| allocations::each(stack, visit));
        let row = json!({
            "kind": "request",
            "request": visit.name(),
            "stack": stack.name(),
            "allocations": counted.map(|(allocations, _)| allocations),
            "bytes": counted.map(|(_, bytes)| bytes),
            "instructions": is_counted.then(|| instructions::each(stack, visit)).flatten(),
            "cpu_ns": time.each,
            "cpu_ns_added": time.added,
            "cpu_ns_added_quartiles": time.quartiles,
        });
        eprintln!("{row}");
        row
    };
    std::iter::zip(stacks.iter().copied(), times).map(row).collect()
}
