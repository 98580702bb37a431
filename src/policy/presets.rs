//! Policies from published guidance, each with its source (L12).
//!
//! A preset with one pair of numbers uses it for both modes: a source that names one timeout does
//! not loosen it for "remember me". The strict presets do not keep cookies over a browser restart
//! by default.

use super::Policy;
use crate::record::{Lifetimes, Mode};

const HOUR: u32 = 60;
const DAY: u32 = 24 * HOUR;

const fn strict(idle: u32, absolute: u32) -> Policy {
    Policy::both(Lifetimes::from_minutes(idle, absolute)).with_default_mode(Mode::NonPersistent)
}

impl Policy {
    /// Auth0's tenant defaults, which are the defaults here too: persistent idle 72 h and absolute
    /// 168 h, non-persistent idle 24 h and absolute 72 h, logins persistent.
    ///
    /// Source: Auth0, "Session Lifetime Limits" and "Configure Session Lifetime Settings".
    pub const fn auth0() -> Self {
        Self::new(Lifetimes::from_minutes(3 * DAY, 7 * DAY), Lifetimes::from_minutes(DAY, 3 * DAY))
    }

    /// Idle 5 minutes, absolute 4 hours.
    ///
    /// Source: OWASP Session Management Cheat Sheet, "Session Expiration": common idle timeouts are
    /// "2-5 minutes for high-value applications", an absolute one "between 4 and 8 hours" where
    /// users work a full day. This preset takes the longer idle and the shorter absolute value.
    pub const fn owasp_high_value() -> Self {
        strict(5, 4 * HOUR)
    }

    /// Idle 30 minutes, absolute 8 hours.
    ///
    /// Source: OWASP Session Management Cheat Sheet, "Session Expiration": "15-30 minutes for low
    /// risk applications".
    pub const fn owasp_low_risk() -> Self {
        strict(30, 8 * HOUR)
    }

    /// Absolute 30 days, idle 30 days: the source asks for no idle timeout.
    ///
    /// Source: NIST SP 800-63B-4, section 2.1.3: the overall timeout "SHOULD be no more than 30
    /// days"; an inactivity timeout is optional.
    pub const fn nist_aal1() -> Self {
        Self::both(Lifetimes::from_minutes(30 * DAY, 30 * DAY))
    }

    /// Idle 1 hour, absolute 24 hours.
    ///
    /// Source: NIST SP 800-63B-4, section 2.2.3: an overall timeout of "no more than 24 hours" and
    /// an inactivity timeout of "no more than 1 hour".
    pub const fn nist_aal2() -> Self {
        strict(HOUR, DAY)
    }

    /// Idle 15 minutes, absolute 12 hours.
    ///
    /// Source: NIST SP 800-63B-4, section 2.3.3: an overall timeout of "no more than 12 hours" and
    /// an inactivity timeout of "no more than 15 minutes".
    pub const fn nist_aal3() -> Self {
        strict(15, 12 * HOUR)
    }

    /// Idle 15 minutes, absolute 8 hours.
    ///
    /// Source: PCI DSS 4.0.1, requirement 8.2.8: a session "idle for more than 15 minutes" requires
    /// a new authentication. It names no absolute lifetime; 8 hours are this crate's choice.
    pub const fn pci_dss() -> Self {
        strict(15, 8 * HOUR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn l12_presets_have_the_numbers_of_their_sources() {
        let minutes = |policy: Policy, mode| {
            let lifetimes = policy.effective(mode);
            (lifetimes.idle().as_secs() / 60, lifetimes.absolute().as_secs() / 60)
        };
        let both = |policy| (minutes(policy, Mode::Persistent), minutes(policy, Mode::NonPersistent));
        assert_eq!(both(Policy::default()), ((72 * 60, 168 * 60), (24 * 60, 72 * 60)));
        assert_eq!(both(Policy::owasp_high_value()), ((5, 240), (5, 240)));
        assert_eq!(both(Policy::owasp_low_risk()), ((30, 480), (30, 480)));
        assert_eq!(both(Policy::nist_aal1()), ((43200, 43200), (43200, 43200)));
        assert_eq!(both(Policy::nist_aal2()), ((60, 1440), (60, 1440)));
        assert_eq!(both(Policy::nist_aal3()), ((15, 720), (15, 720)));
        assert_eq!(both(Policy::pci_dss()), ((15, 480), (15, 480)));
        assert_eq!(Policy::default().default_mode(), Mode::Persistent);
    }
}
