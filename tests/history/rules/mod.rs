//! The rules, each a pure function of the record.

mod caps;
mod causes;
mod deadlines;
mod ends;
mod events;
mod identity;
mod lists;
mod revocations;
mod rotations;
mod writes;

#[cfg(test)]
mod by_hand;

pub(crate) use self::events::NEVER_EMITTED;
use super::check::{Findings, View};

type Rule = fn(&View<'_>, &mut Findings);

/// Every rule with its name.
pub(crate) const ALL: [(&str, Rule); 10] = [
    ("writes", writes::judge),
    ("ends", ends::judge),
    ("revocations", revocations::judge),
    ("deadlines", deadlines::judge),
    ("causes", causes::judge),
    ("caps", caps::judge),
    ("events", events::judge),
    ("identity", identity::judge),
    ("rotations", rotations::judge),
    ("lists", lists::judge),
];
