//! A node: its operation, its next call, and what it knows at the end.

use crate::{
    Bug,
    server::{Answer, Call, Server},
};

/// The one operation of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Op {
    /// Adds one to a number in the session, as `Session::update` does.
    Add,
    /// Records an interaction.
    Touch,
    Rotate,
    LogOut,
    /// Logs the same user in again, which replaces the session.
    LogIn,
    /// Ends the session if it finds that it has timed out.
    Sweep,
    SignOutEverywhere,
}

impl Op {
    pub(crate) const ALL: [Self; 7] = [
        Self::Add,
        Self::Touch,
        Self::Rotate,
        Self::LogOut,
        Self::LogIn,
        Self::Sweep,
        Self::SignOutEverywhere,
    ];

    pub(crate) const fn first_call(self) -> Call {
        match self {
            Self::Add | Self::Rotate | Self::Sweep => Call::Load,
            Self::Touch => Call::Touch,
            Self::LogOut => Call::End,
            Self::LogIn => Call::Create,
            Self::SignOutEverywhere => Call::Revoke,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) op: Op,
    pub(crate) stage: Stage,
    /// Whether an answer said that its call ended the session, so that it emits the event.
    pub(crate) emits_end: bool,
    /// The secret that its rotation replaces.
    pub(crate) replaces: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    Waits { call: Call, tries: u8 },
    Done(Outcome),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Succeeded,
    /// It certainly had no effect.
    Failed,
    /// It may have taken effect, or may still do so.
    Unknown,
}

pub(crate) enum Next {
    Call(Call),
    Done(Outcome),
}

impl Node {
    pub(crate) fn succeeded(&self) -> bool {
        self.stage == Stage::Done(Outcome::Succeeded)
    }

    /// Whether the node knows the outcome.
    pub(crate) fn knows(&self) -> bool {
        matches!(self.stage, Stage::Done(Outcome::Succeeded | Outcome::Failed))
    }

    pub(crate) fn answered(&mut self, node: usize, call: Call, answer: Answer) -> Next {
        use Outcome::{Failed, Succeeded};
        match (call, answer) {
            (Call::Load, Answer::Found { revision, count, secret, idle_since }) => match self.op {
                Op::Add => Next::Call(Call::Add { revision, count: count + 1 }),
                Op::Rotate => {
                    self.replaces = Some(secret);
                    Next::Call(Call::Rotate { from: secret })
                }
                _ if Server::has_timed_out(idle_since) => Next::Call(Call::EndIdle { idle_since }),
                _ => Next::Done(Failed),
            },
            (Call::Add { .. }, Answer::Conflict) => Next::Call(Call::Load),
            // An earlier attempt took effect. A background task finds what it ended.
            (Call::Create, Answer::Exists) => Next::Call(Call::Look),
            (Call::Look, answer) => {
                self.emits_end |= answer == Answer::Ended;
                match (self.op, answer) {
                    (Op::LogIn, _) => Next::Call(Call::LoadLogin),
                    (_, Answer::Ended) | (Op::LogOut, Answer::AlreadyEnded) => Next::Done(Succeeded),
                    (_, Answer::AlreadyEnded) => Next::Done(Failed),
                    // It may take effect later.
                    _ => Next::Done(Outcome::Unknown),
                }
            }
            (Call::Create, Answer::Created { ended_before }) => {
                self.emits_end |= ended_before;
                Next::Done(Succeeded)
            }
            (Call::LoadLogin, Answer::Found { .. }) | (Call::Revoke, Answer::Revoked) => {
                Next::Done(Succeeded)
            }
            (Call::Rotate { .. }, Answer::Applied { rotated: false }) => Next::Done(Failed),
            (Call::Add { .. } | Call::Touch | Call::Rotate { .. }, Answer::Applied { .. }) => {
                Next::Done(Succeeded)
            }
            (Call::End | Call::EndIdle { .. }, Answer::Ended) => {
                self.emits_end = true;
                Next::Done(Succeeded)
            }
            // The session is over, by any node.
            (Call::End, Answer::AlreadyEnded) => Next::Done(Succeeded),
            (_, Answer::Gone | Answer::AlreadyEnded | Answer::Spared | Answer::Refused) => Next::Done(Failed),
            (call, answer) => unreachable!("node {node}: {answer:?} to {call:?}"),
        }
    }
}

impl Call {
    /// What a node does without an answer: it retries, or gives up.
    pub(crate) fn after_timeout(self, tries: u8, bug: Option<Bug>) -> Option<Self> {
        match self {
            // A retry might count twice.
            Self::Add { .. } if bug == Some(Bug::WriteIsRepeated) => Some(Self::Load),
            // A background task finds out whether it took effect.
            Self::End | Self::EndIdle { .. } => Some(Self::Look),
            // A retry takes effect only once.
            _ if self.may_be_repeated() => Some(self).filter(|_| tries < 2),
            _ => None,
        }
    }

    /// What a node knows when it gives up this call.
    pub(crate) const fn given_up(self) -> Outcome {
        // Nothing was written so far, or the earlier write had no effect.
        if matches!(self, Self::Load) { Outcome::Failed } else { Outcome::Unknown }
    }

    /// Whether a driver may retry it: a condition fails the second time, and a retried read changes
    /// nothing.
    pub(crate) const fn may_be_repeated(self) -> bool {
        !matches!(self, Self::Add { .. }) && !self.only_reads()
    }

    pub(crate) const fn only_reads(self) -> bool {
        matches!(self, Self::Load | Self::LoadLogin | Self::Look)
    }
}
