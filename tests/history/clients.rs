//! Random actions of clients, the same in each run of a seed.

use std::time::Duration;

use super::record::{Ask, Sid, User};

/// Pseudorandom numbers from a seed: `SplitMix64` (Steele, Lea and Flood 2014).
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub(crate) fn one_in(&mut self, limit: u64) -> bool {
        self.below(limit) == 0
    }
}

/// The parameters of a run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) calls: usize,
    pub(crate) cap: u32,
    /// Whether the cap refuses a login instead of evicting a session.
    pub(crate) refuses: bool,
    pub(crate) idle: Duration,
    pub(crate) absolute: Duration,
    pub(crate) granularity: Duration,
    pub(crate) grace: Duration,
    /// How far the clock of the second node is ahead, in milliseconds.
    pub(crate) ahead: i64,
    /// One in this many calls to the store fails or loses its answer. 0 for none.
    pub(crate) faults: u64,
    /// Whether nodes are killed from time to time.
    pub(crate) kills: bool,
    /// How often each call to the store yields at most, so that other calls interleave with it.
    pub(crate) pauses: u64,
    /// Whether the server itself has faults.
    pub(crate) bad_server: bool,
}

pub(crate) const USERS: u64 = 3;
pub(crate) const BROWSERS: u8 = 5;
pub(crate) const TABS: u8 = 2;
pub(crate) const REGISTERS: u64 = 3;

impl Plan {
    /// A run of this many calls. The seed determines everything else.
    pub(crate) fn of(seed: u64, calls: usize) -> Self {
        let mut dice = Dice::new(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ 7);
        let seconds = Duration::from_secs;
        Self {
            seed,
            calls,
            cap: u32::try_from(2 + dice.below(2)).expect("a small number"),
            refuses: dice.one_in(2),
            idle: seconds(20),
            absolute: seconds(90),
            granularity: if dice.one_in(2) { Duration::ZERO } else { seconds(3) },
            grace: if dice.one_in(3) { Duration::ZERO } else { seconds(10) },
            // Not a whole number of steps, so that two nodes never have the same time.
            ahead: i64::try_from(dice.below(400)).expect("a small number") * 10 - 1995,
            faults: 0,
            kills: false,
            pauses: 4,
            bad_server: false,
        }
    }

    /// With calls to the store that fail or lose their answers.
    pub(crate) const fn with_faults(self) -> Self {
        Self { faults: 40, ..self }
    }

    /// With nodes that are killed.
    pub(crate) const fn with_kills(self) -> Self {
        Self { kills: true, ..self }
    }
}

/// The next step: a call, a change of the policy, or the kill of a node.
pub(crate) enum Step {
    Call(Ask),
    SetPolicy { idle: Duration, absolute: Duration },
    KillNode,
}

/// How much time passes before a call, in steps of ten milliseconds.
pub(crate) fn time_passes(dice: &mut Dice) -> Duration {
    let tens = match dice.below(200) {
        0 => 1500 + dice.below(1000),
        1..=4 => 200 + dice.below(600),
        _ => 1 + dice.below(5),
    };
    Duration::from_millis(10 * tens)
}

/// What a tab does next. `sids` is the number of sessions so far.
pub(crate) fn step(dice: &mut Dice, plan: &Plan, number: u32, sids: u32) -> Step {
    let user = |dice: &mut Dice| User::try_from(dice.below(USERS)).expect("a few users");
    let recent = |dice: &mut Dice| -> Option<Sid> {
        let back = u32::try_from(1 + dice.below(12)).expect("a small number");
        sids.checked_sub(back)
    };
    let key = u8::try_from(dice.below(REGISTERS)).expect("a few registers");
    Step::Call(match dice.below(100) {
        20..26 => Ask::Peek,
        26..48 => Ask::Append(number),
        48..60 => Ask::Write { key, value: number },
        60..63 => Ask::FailingWrite { key, value: number },
        63..69 => Ask::Rotate,
        69..71 => Ask::RotateNow,
        71..84 => Ask::LogIn(user(dice)),
        84..88 => Ask::LogOut,
        88..91 => recent(dice).map_or(Ask::Read, Ask::RevokeOne),
        91..93 => {
            let except = if dice.one_in(2) { recent(dice) } else { None };
            Ask::RevokeSubject { user: user(dice), except }
        }
        93 if dice.one_in(3) => Ask::RevokeEverybody,
        94 | 95 => Ask::List(user(dice)),
        96 => Ask::Sweep,
        97 if dice.one_in(4) => {
            let part = |dice: &mut Dice, whole: Duration| {
                if dice.one_in(2) { whole } else { whole / 2 + whole / 5 }
            };
            return Step::SetPolicy { idle: part(dice, plan.idle), absolute: part(dice, plan.absolute) };
        }
        98 if plan.kills && dice.one_in(4) => return Step::KillNode,
        _ => Ask::Read,
    })
}
