//! The rules, each a pure function of the record.

mod caps;
mod causes;
mod deadlines;
mod ends;
mod identity;
mod lists;
mod revocations;
mod rotations;
mod told;
mod writes;

#[cfg(test)]
mod by_hand;

pub(crate) use self::told::NEVER_TOLD;
use super::check::{Findings, View};

type Rule = fn(&View<'_>, &mut Findings);

/// Every rule, with its name.
pub(crate) const ALL: [(&str, Rule); 10] = [
    ("writes", writes::judge),
    ("ends", ends::judge),
    ("revocations", revocations::judge),
    ("deadlines", deadlines::judge),
    ("causes", causes::judge),
    ("caps", caps::judge),
    ("told", told::judge),
    ("identity", identity::judge),
    ("rotations", rotations::judge),
    ("lists", lists::judge),
];
