//! The rules of a route, as pure functions: what denies a request, and why (E1, E2, E4).

use std::{borrow::Cow, time::Duration};

use crate::{
    EndReason, Timestamp,
    record::{AuthenticationMethod, DeviceProof, Timing},
};

/// What a route asks of a session. Each rule that is set must hold; none makes the policy looser.
#[derive(Clone, Debug, Default)]
pub(super) struct Rules {
    /// Whether a session without a user is enough.
    pub(super) anonymous: bool,
    /// The login must be younger than this.
    pub(super) authenticated_within: Option<Duration>,
    /// No gap between interactions since the login may be this long.
    pub(super) idle: Option<Duration>,
    /// The ways in which the user must have proved who they are.
    pub(super) methods: Vec<RequiredMethod>,
    /// Whether the session must be bound to a device, and the request prove it.
    pub(super) device: bool,
}

/// An authentication method that a route asks for.
#[derive(Clone, Debug)]
pub(super) struct RequiredMethod {
    pub(super) name: Cow<'static, str>,
    /// It must be younger than this.
    pub(super) within: Option<Duration>,
}

/// What is known of a request's session on arrival.
#[derive(Clone, Debug)]
pub(super) struct Evidence<'a> {
    /// The timing of a live session before this request.
    pub(super) timing: Option<Timing>,
    /// Why the session that the request's cookie led to is over.
    pub(super) end_reason: Option<EndReason>,
    /// How the user of a live session proved who they are.
    pub(super) methods: &'a [AuthenticationMethod],
    /// What the request proves of the session's device.
    pub(super) device: DeviceProof,
    pub(super) now: Timestamp,
}

/// Why a request is denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Denial {
    /// There is no session, or none with a user.
    NoSession,
    /// The session is over, at least for this route.
    Over(EndReason),
    /// The login is too old.
    OldLogin,
    /// An authentication method is missing, or was used too long ago.
    Method,
    /// The request does not prove the device that the session is bound to, or it is not bound.
    Unproven,
}

impl Rules {
    /// Why a request is denied; `None` lets it through.
    pub(super) fn deny(&self, seen: &Evidence<'_>) -> Option<Denial> {
        let Some(timing) = &seen.timing else {
            let absent = match seen.device {
                DeviceProof::Unproven => Denial::Unproven,
                DeviceProof::NotBound | DeviceProof::Proven(_) => Denial::NoSession,
            };
            return Some(seen.end_reason.map_or(absent, Denial::Over));
        };
        if timing.authenticated_at.is_none() && !self.anonymous {
            return Some(Denial::NoSession);
        }
        let longest_gap = || {
            let open_gap = seen.now.since(timing.last_interaction_at);
            timing.longest_gap.as_duration().max(open_gap)
        };
        if self.idle.is_some_and(|idle| longest_gap() >= idle) {
            return Some(Denial::Over(EndReason::Idle));
        }
        if self.device && !seen.device.is_proven() {
            return Some(Denial::Unproven);
        }
        let is_within = |at: Timestamp, age: Option<Duration>| age.is_none_or(|age| seen.now < at + age);
        let login_is_within = |age| timing.authenticated_at.is_some_and(|at| is_within(at, Some(age)));
        if !self.authenticated_within.is_none_or(login_is_within) {
            return Some(Denial::OldLogin);
        }
        let is_met = |required: &RequiredMethod| {
            let mut same_name = seen.methods.iter().filter(|method| method.name == required.name);
            same_name.any(|method| is_within(method.at, required.within))
        };
        (!self.methods.iter().all(is_met)).then_some(Denial::Method)
    }
}

impl Denial {
    /// The `reason` of the problem document, of the redirect and of the event.
    pub(super) const fn reason(self) -> &'static str {
        match self {
            Self::NoSession => "none",
            Self::Over(reason) => reason.as_str(),
            Self::OldLogin | Self::Method => "step_up",
            Self::Unproven => "unproven",
        }
    }

    /// The same for people.
    pub(super) const fn detail(self) -> &'static str {
        match self {
            Self::NoSession => "There is no session. Please sign in.",
            Self::Over(EndReason::Idle) => {
                "The session ended after a time without activity. Please sign in again."
            }
            Self::Over(EndReason::Absolute) => {
                "The session reached its maximum lifetime. Please sign in again."
            }
            Self::Over(EndReason::SignedOut) => "You have signed out.",
            Self::Over(EndReason::Revoked) => "The session was revoked. Please sign in again.",
            Self::Over(EndReason::Evicted) => {
                "The session ended because you signed in on too many other devices."
            }
            Self::Over(EndReason::Superseded) => {
                "The session was replaced by a newer sign-in in this browser."
            }
            Self::OldLogin => "This needs a more recent sign-in. Please sign in again.",
            Self::Unproven => "This needs a proof that the request comes from the device of the session.",
            Self::Method => {
                "This needs another proof of who you are, or a more recent one. Please sign in with it."
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Lifetimes, Policy};

    const TICK: Duration = Duration::from_millis(1);
    const MINUTE: Duration = Duration::from_secs(60);

    const START: Timestamp = Timestamp::from_unix_millis(1_000_000_000);

    /// Of a session that began at the start, with its last interaction a minute later.
    fn timing(authenticated: bool) -> Timing {
        let anonymous = Policy::both(Lifetimes::from_minutes(600, 6000)).anonymous(START);
        Timing {
            authenticated_at: authenticated.then_some(START),
            last_interaction_at: START + MINUTE,
            longest_gap: MINUTE.into(),
            ..anonymous
        }
    }

    fn method(name: &'static str, within: Option<Duration>) -> RequiredMethod {
        RequiredMethod { name: name.into(), within }
    }

    #[test]
    fn e1_e2_e4_each_rule_denies_exactly_from_its_boundary_on_and_with_its_reason() {
        let plain = Rules::default();
        let any = Rules { anonymous: true, ..Rules::default() };
        let recent = Rules { authenticated_within: Some(5 * MINUTE), ..Rules::default() };
        let recent_any = Rules { anonymous: true, ..recent.clone() };
        let strict = Rules { idle: Some(5 * MINUTE), ..Rules::default() };
        let gap = Rules { idle: Some(MINUTE), ..Rules::default() };
        let otp = Rules { methods: vec![method("otp", None)], ..Rules::default() };
        let fresh_otp = Rules { methods: vec![method("otp", Some(5 * MINUTE))], ..Rules::default() };
        let both = Rules { methods: vec![method("pwd", None), method("otp", None)], ..Rules::default() };
        let missing = Rules { methods: vec![method("pwd", None), method("hwk", None)], ..Rules::default() };
        let all = Rules { idle: Some(5 * MINUTE), ..recent.clone() };

        let idle = Some(Denial::Over(EndReason::Idle));
        for (n, (rules, age, expected)) in [
            (&plain, 599 * MINUTE, None),
            (&any, 599 * MINUTE, None),
            (&recent, 5 * MINUTE - TICK, None),
            (&recent, 5 * MINUTE, Some(Denial::OldLogin)),
            (&recent_any, 5 * MINUTE, Some(Denial::OldLogin)),
            // Since the interaction a minute after the start.
            (&strict, 6 * MINUTE - TICK, None),
            (&strict, 6 * MINUTE, idle),
            (&gap, 2 * MINUTE - TICK, idle), // an earlier gap was as long
            (&otp, 599 * MINUTE, None),
            (&both, 599 * MINUTE, None),
            (&missing, MINUTE, Some(Denial::Method)),
            // Used twice: at the start and two minutes later.
            (&fresh_otp, 7 * MINUTE - TICK, None),
            (&fresh_otp, 7 * MINUTE, Some(Denial::Method)),
            (&all, 6 * MINUTE - TICK, Some(Denial::OldLogin)),
            (&all, 6 * MINUTE, idle),
        ]
        .into_iter()
        .enumerate()
        {
            let used = |name: &str, at| AuthenticationMethod { name: name.to_owned(), at };
            let methods = [used("otp", START), used("pwd", START), used("otp", START + 2 * MINUTE)];
            let seen = Evidence {
                timing: Some(timing(true)),
                end_reason: None,
                methods: &methods,
                device: DeviceProof::NotBound,
                now: START + age,
            };
            assert_eq!(rules.deny(&seen), expected, "row {n}");
        }
    }

    #[test]
    fn e1_who_has_no_session_or_no_user_is_denied_whatever_the_rules() {
        let rules = [
            Rules::default(),
            Rules { authenticated_within: Some(MINUTE), ..Rules::default() },
            Rules { idle: Some(MINUTE), ..Rules::default() },
            Rules { methods: vec![method("otp", None)], ..Rules::default() },
        ];
        for (rules, anonymous) in rules.iter().flat_map(|rules| [(rules, false), (rules, true)]) {
            let rules = Rules { anonymous, ..rules.clone() };
            let device = DeviceProof::NotBound;
            let seen = |timing, end_reason| Evidence { timing, end_reason, methods: &[], device, now: START };
            assert_eq!(rules.deny(&seen(None, None)), Some(Denial::NoSession));
            let revoked = Some(EndReason::Revoked);
            assert_eq!(rules.deny(&seen(None, revoked)), Some(Denial::Over(EndReason::Revoked)));
            if !anonymous {
                assert_eq!(rules.deny(&seen(Some(timing(false)), None)), Some(Denial::NoSession));
            }
        }
        let any = Rules { anonymous: true, ..Rules::default() };
        let device = DeviceProof::NotBound;
        let seen =
            Evidence { timing: Some(timing(false)), end_reason: None, methods: &[], device, now: START };
        assert_eq!(any.deny(&seen), None);
    }
}
