//! Three nodes and a store with one session, in every order of messages (SPEC S2, S3, S9, S10,
//! L14).
//!
//! ```text
//! cargo test --manifest-path tests/model/Cargo.toml --target-dir target/model
//! ```
//!
//! Each node does one thing: counts, logs out, logs in, and so on. A message may arrive late, twice
//! or never. A node that waits too long retries its call, or gives up with an unknown outcome. A
//! conditional write is never retried, neither by a node nor by a driver; `Bug::WriteIsRepeated`
//! shows why. The store decides with the same functions as every store of the crate:
//! `Change::apply`, `Record::end`, `Creation::plan` and `SubjectMark`. `TENURE_SEARCH=2` lets
//! drivers retry two calls instead of one, `TENURE_SEARCH=3` three.
//!
//! A lost message needs no separate step: it is a message that has not arrived yet, and every such
//! state is checked.
#![cfg(test)]

#[path = "../../common/search.rs"]
mod search;

mod node;
mod server;

use stateright::{Checker, HasDiscoveries, Model, Property};
use tower_tenure::EndReason;

use self::{
    node::{Next, Node, Op, Stage},
    server::{Answer, Call, Server},
};

/// How many calls drivers may retry.
fn copies() -> u8 {
    u8::try_from(search::cases(1).min(3)).unwrap()
}

/// A mistake that a store or a driver could make. The search must find each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    /// A retried end is answered as "already ended", so no node emits the end.
    RepeatedEndIsAnother,
    /// An end of a session that is over is answered as if it had ended the session.
    EndIsEmittedAgain,
    /// A write revives a session that is over.
    WriteRevives,
    /// A conditional write is applied even if the condition fails.
    WriteIsUnconditional,
    /// The driver retries a write that must not be retried.
    WriteIsRepeated,
    /// A rotation does not check which secret it replaces.
    RotationIsUnconditional,
    /// A login in flight is stored although its user was signed out everywhere after it arrived.
    LoginMissesRevocation,
    /// A revocation compares only arrival times, and misses a session that was stored before it.
    RevocationComparesClocks,
    /// A sweep ends a session that was used since it was found.
    SweepIsUnconditional,
    /// A retried login is stored again, without the data that the first attempt took over.
    RepeatedLoginIsAnother,
}

const BUGS: [Bug; 10] = [
    Bug::RepeatedEndIsAnother,
    Bug::EndIsEmittedAgain,
    Bug::WriteRevives,
    Bug::WriteIsUnconditional,
    Bug::WriteIsRepeated,
    Bug::RotationIsUnconditional,
    Bug::LoginMissesRevocation,
    Bug::RevocationComparesClocks,
    Bug::SweepIsUnconditional,
    Bug::RepeatedLoginIsAnother,
];

/// The number of a node's attempt. An answer to an earlier attempt is not used for a later one.
type Try = u8;

/// Three nodes, one store.
struct System {
    ops: [Op; 3],
    copies: u8,
    bug: Option<Bug>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    server: Server,
    nodes: [Node; 3],
    /// Calls in flight to the store, sorted, because the network keeps no order.
    calls: Vec<(usize, Call, Try)>,
    /// Answers in flight to the nodes.
    answers: Vec<(usize, Call, Try, Answer)>,
    copies_left: u8,
    /// Whether the session was ever over.
    was_over: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    /// A call arrives at the store.
    Arrive(usize),
    /// A call arrives, but the connection is lost before the answer, and the driver retries the
    /// call.
    ArriveAndRepeat(usize),
    /// An answer arrives at its node.
    Answer(usize),
    /// A node's timeout passes.
    Timeout(usize),
}

impl State {
    fn send(&mut self, node: usize, call: Call) {
        self.nodes[node].stage = Stage::Waits { call, tries: 1 };
        self.put(node, call, 1);
    }

    fn put(&mut self, node: usize, call: Call, number: Try) {
        self.calls.push((node, call, number));
        self.calls.sort_unstable();
    }

    /// Removes what cannot matter any more: answers that no node waits for, and reads whose answer
    /// no node waits for.
    fn tidy(&mut self) {
        let waits =
            |node: usize, call: Call, tries: Try| self.nodes[node].stage == Stage::Waits { call, tries };
        self.answers.retain(|(node, call, number, _)| waits(*node, *call, *number));
        self.calls.retain(|(node, call, number)| !call.only_reads() || waits(*node, *call, *number));
        self.answers.sort_unstable();
    }

    fn go_on(&mut self, node: usize, next: Next) {
        match next {
            Next::Call(call) => self.send(node, call),
            Next::Done(outcome) => self.nodes[node].stage = Stage::Done(outcome),
        }
    }
}

impl Model for System {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let nodes = self.ops.map(|op| Node {
            op,
            stage: Stage::Waits { call: op.first_call(), tries: 1 },
            emits_end: false,
            replaces: None,
        });
        let mut calls: Vec<_> =
            self.ops.iter().enumerate().map(|(node, op)| (node, op.first_call(), 1)).collect();
        calls.sort_unstable();
        let (server, answers) = (Server::new(), Vec::new());
        vec![State { server, nodes, calls, answers, copies_left: self.copies, was_over: false }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Step>) {
        for at in 0..state.calls.len() {
            steps.push(Step::Arrive(at));
            if state.copies_left > 0 && state.calls[at].1.may_be_repeated() {
                steps.push(Step::ArriveAndRepeat(at));
            }
        }
        steps.extend((0..state.answers.len()).map(Step::Answer));
        let waits = |node: &usize| matches!(state.nodes[*node].stage, Stage::Waits { .. });
        steps.extend((0..state.nodes.len()).filter(waits).map(Step::Timeout));
    }

    fn next_state(&self, before: &State, step: Step) -> Option<State> {
        let mut state = before.clone();
        match step {
            Step::Arrive(at) | Step::ArriveAndRepeat(at) => {
                let (node, call, number) = state.calls[at];
                let answer = state.server.take(node, call, self.bug);
                if step == Step::Arrive(at) {
                    state.calls.remove(at);
                    state.answers.push((node, call, number, answer));
                } else {
                    state.copies_left -= 1;
                }
                state.was_over |= state.server.is_over(Server::SESSION);
            }
            Step::Answer(at) => {
                let (node, call, _, answer) = state.answers.remove(at);
                let next = state.nodes[node].answered(node, call, answer);
                state.go_on(node, next);
            }
            Step::Timeout(node) => {
                let Stage::Waits { call, tries } = state.nodes[node].stage else { return None };
                match call.after_timeout(tries, self.bug) {
                    Some(again) if again == call => {
                        state.nodes[node].stage = Stage::Waits { call, tries: tries + 1 };
                        state.put(node, call, tries + 1);
                    }
                    Some(other) => state.send(node, other),
                    None => state.nodes[node].stage = Stage::Done(call.given_up()),
                }
            }
        }
        state.tidy();
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("a session that is over stays over", |_, state: &State| {
                !state.was_over || state.server.is_over(Server::SESSION)
            }),
            Property::always(
                "who received an acknowledged end finds the session ended",
                |_, state: &State| {
                    let ends = |node: &Node| matches!(node.op, Op::LogOut | Op::LogIn) && node.succeeded();
                    !state.nodes.iter().any(ends) || state.server.is_over(Server::SESSION)
                },
            ),
            Property::always("an end is emitted at most once", |_, state: &State| state.emitted() <= 1),
            Property::always("an end is emitted if no answer is missing", |_, state: &State| {
                let all_know = state.nodes.iter().all(Node::knows);
                !all_know || state.server.ended().is_none() || state.emitted() == 1
            }),
            Property::always("each acknowledged increment is there, once", |_, state: &State| {
                let adds = || state.nodes.iter().filter(|node| node.op == Op::Add);
                let done = adds().filter(|node| node.succeeded()).count();
                let possible = adds().filter(|node| node.succeeded() || !node.knows()).count();
                state.server.count().is_none_or(|count| (done..=possible).contains(&count))
            }),
            Property::always("a new secret is replaced only by who knew it", |_, state: &State| {
                let (mut of_winners, secret) = (state.winners(), state.server.secret());
                of_winners
                    .all(|mine| secret == mine || state.nodes.iter().any(|node| node.replaces == Some(mine)))
            }),
            Property::always("a session that was used does not time out", |_, state: &State| {
                let is_used = state.nodes.iter().any(|node| node.op == Op::Touch && node.succeeded());
                !is_used || state.server.ended() != Some(EndReason::Idle)
            }),
            Property::always(
                "after signing out everywhere nothing from before it lives",
                |_, state: &State| {
                    let revoked = |(at, node): (usize, &Node)| {
                        node.op != Op::SignOutEverywhere
                            || !node.succeeded()
                            || state.server.none_lives_from_before(at)
                    };
                    state.nodes.iter().enumerate().all(revoked)
                },
            ),
            Property::always("an acknowledged login is there, unless it was revoked", |_, state: &State| {
                let mut logins = state.nodes.iter().enumerate().filter(|(_, node)| node.op == Op::LogIn);
                let has_revocation = state.nodes.iter().any(|node| node.op == Op::SignOutEverywhere);
                logins.all(|(at, node)| {
                    !node.succeeded() || has_revocation || !state.server.is_over(Server::login(at))
                })
            }),
        ]
    }
}

impl State {
    fn emitted(&self) -> usize {
        self.nodes.iter().filter(|node| node.emits_end).count()
    }

    /// The new secrets of the rotations whose success is known to their nodes.
    fn winners(&self) -> impl Iterator<Item = u8> {
        let nodes = self.nodes.iter().enumerate();
        nodes
            .filter(|(_, node)| node.op == Op::Rotate && node.succeeded())
            .map(|(at, _)| Server::new_secret(at))
    }
}

/// Every combination of three operations. The order of the nodes counts only where it matters,
/// because their arrivals differ. There is at most one login: how several logins interact is the
/// engine's part, which `tests/history` tests.
fn every_three() -> impl Iterator<Item = [Op; 3]> {
    let all = Op::ALL.into_iter();
    let pairs = all.flat_map(|a| Op::ALL.into_iter().map(move |b| (a, b)));
    let threes = pairs.flat_map(|(a, b)| Op::ALL.into_iter().map(move |c| [a, b, c]));
    threes.filter(|ops| {
        // The order of arrival matters only for these.
        let arrivals_matter = ops.contains(&Op::SignOutEverywhere) && ops.contains(&Op::LogIn);
        let logins = ops.iter().filter(|op| **op == Op::LogIn).count();
        logins <= 1 && (arrivals_matter || ops.is_sorted())
    })
}

#[test]
fn s3_s9_l14_no_order_of_messages_breaks_a_promise() {
    let (mut systems, mut states) = (0, 0);
    for ops in every_three() {
        let checker = System { ops, copies: copies(), bug: None }.checker().threads(2).spawn_bfs().join();
        checker.assert_properties();
        systems += 1;
        states += checker.unique_state_count();
    }
    println!("{systems} systems, {states} states");
    assert!(systems > 80 && states > 100_000, "{systems} systems, {states} states: too few to mean anything");
}

#[test]
fn each_mistake_is_found() {
    for bug in BUGS {
        let found = every_three().find_map(|ops| {
            let checker = System { ops, copies: 1, bug: Some(bug) }.checker().threads(2);
            let checker = checker.finish_when(HasDiscoveries::Any).spawn_bfs().join();
            let discoveries = checker.discoveries();
            let (rule, path) = discoveries.into_iter().next()?;
            Some((ops, rule, path.into_actions()))
        });
        let Some((ops, rule, steps)) = found else { panic!("{bug:?} is not found") };
        println!("{bug:?}: {ops:?} break \"{rule}\" by {steps:?}");
    }
}
