//! Every deadline, one tick before it, at it and after it, and the rules about lifetimes by example
//! (SPEC L2 to L10).
//!
//! A tick is a millisecond, the finest unit of time here. All times count from the login.

use std::time::Duration;

use tower_tenure::{
    Lifetimes, Mode, Policy, Timestamp,
    policy::{
        Activity::{self, Interaction, Passive},
        Clamped, Limits, Overrides, Verdict, decide, open,
    },
    record::{
        CallId, Change, EndOutcome, EndReason, EndRequest, Record, Rotation, SecretHash, TimingChange,
        UpdateOutcome,
    },
    testing,
};

const MODES: [Mode; 2] = [Mode::Persistent, Mode::NonPersistent];

/// Idle before absolute, a tie, idle after absolute, and the shortest possible lifetimes.
const PAIRS: [(i64, i64); 6] = [(7, 20), (20, 20), (30, 20), (1, 1), (1, 2), (2, 1)];

fn tick(ticks: i64) -> Timestamp {
    Timestamp::from_unix_millis(1_700_000_000_000 + ticks)
}

fn ticks(count: i64) -> Duration {
    Duration::from_millis(count.try_into().unwrap())
}

fn lifetimes(idle: i64, absolute: i64) -> Lifetimes {
    Lifetimes::new(ticks(idle), ticks(absolute)).unwrap()
}

/// A policy with these lifetimes for both modes, which records every interaction.
fn policy(idle: i64, absolute: i64) -> Policy {
    Policy::new(lifetimes(idle, absolute), lifetimes(idle, absolute)).with_granularity(Duration::ZERO)
}

fn wishes(wish: impl FnOnce(&mut Overrides)) -> Overrides {
    let mut overrides = Overrides::default();
    wish(&mut overrides);
    overrides
}

/// A session in its own store.
struct Session(Record);

impl Session {
    fn login(policy: &Policy) -> Self {
        Self::login_with(policy, |_| ())
    }

    fn login_with(policy: &Policy, wish: impl FnOnce(&mut Overrides)) -> Self {
        Self(testing::record(open(policy, tick(0), &wishes(wish)).unwrap().timing))
    }

    /// Decides about a request and records its touch if one is due. `None` if the session is live.
    fn request(&mut self, policy: &Policy, now: i64, activity: Activity) -> Option<EndReason> {
        match decide(&self.0, policy, tick(now), activity) {
            Verdict::Live(next) => {
                let updated = Change { timing: next.change, ..Change::at(tick(now)) }.apply(&mut self.0);
                let UpdateOutcome::Applied(applied) = updated else { panic!("{updated:?}") };
                assert_eq!(applied.timing, next.timing, "the verdict foresees what is recorded");
                None
            }
            Verdict::Over { reason, .. } => {
                self.0.end(&EndRequest::new(reason, tick(now), CallId::new(1)));
                Some(reason)
            }
        }
    }

    #[track_caller]
    fn assert_live(&mut self, policy: &Policy, now: i64, activity: Activity) {
        assert_eq!(self.request(policy, now, activity), None, "at {now}");
    }

    /// The recorded idle and absolute deadlines, in ticks.
    fn deadlines(&self) -> (i64, i64) {
        let ticks = |moment: Timestamp| moment.as_unix_millis() - tick(0).as_unix_millis();
        (ticks(self.0.timing.idle_expires_at()), ticks(self.0.timing.expires_at()))
    }
}

/// A login, and when its session is over by the text of the SPEC.
#[derive(Debug)]
struct Login {
    what: &'static str,
    overrides: Overrides,
    /// The idle deadline, until the first interaction.
    first_idle: i64,
    /// The idle lifetime from then on.
    idle: i64,
    absolute: i64,
}

/// Every way to set a deadline, each below, at and above the policy's value.
fn logins(idle: i64, absolute: i64) -> Vec<Login> {
    let plain = Login { what: "plain", overrides: Overrides::default(), first_idle: idle, idle, absolute };
    let mut logins = vec![plain];
    for asked in [1, idle, idle + 5, absolute, absolute + 5] {
        logins.push(Login {
            what: "one-off idle",
            overrides: wishes(|o| o.idle_expires_at(tick(asked))),
            first_idle: asked,
            idle,
            absolute,
        });
        logins.push(Login {
            what: "sticky idle",
            overrides: wishes(|o| o.idle_lifetime(ticks(asked)).unwrap()),
            first_idle: asked,
            idle: asked,
            absolute,
        });
        logins.push(Login {
            what: "one-off and sticky idle",
            overrides: wishes(|o| {
                o.idle_expires_at(tick(asked));
                o.idle_lifetime(ticks(asked + 2)).unwrap();
            }),
            first_idle: asked,
            idle: asked + 2,
            absolute,
        });
        logins.push(Login {
            what: "expires_at",
            overrides: wishes(|o| o.expires_at(tick(asked))),
            first_idle: idle,
            idle,
            absolute: asked,
        });
        logins.push(Login {
            what: "not_after",
            overrides: wishes(|o| o.not_after(tick(asked))),
            first_idle: idle,
            idle,
            absolute: absolute.min(asked),
        });
        logins.push(Login {
            what: "not_after under expires_at",
            overrides: wishes(|o| {
                o.expires_at(tick(absolute + 9));
                o.not_after(tick(asked));
            }),
            first_idle: idle,
            idle,
            absolute: asked.min(absolute + 9),
        });
    }
    logins
}

/// L2: live before both deadlines, otherwise over by the one that came first. A tie is absolute.
fn reason_at(now: i64, idle_deadline: i64, absolute_deadline: i64) -> Option<EndReason> {
    if now < idle_deadline && now < absolute_deadline {
        None
    } else if idle_deadline < absolute_deadline {
        Some(EndReason::Idle)
    } else {
        Some(EndReason::Absolute)
    }
}

/// Around every deadline of a login, with both kinds of request, and with and without an earlier
/// interaction.
fn walk(policy: &Policy, login: &Login) {
    for interaction in [None, Some(login.first_idle.min(login.absolute) / 2)] {
        let idle_deadline = interaction.map_or(login.first_idle, |at| at + login.idle);
        for deadline in [idle_deadline, login.absolute] {
            for now in deadline - 1..=deadline + 1 {
                for activity in [Interaction, Passive] {
                    let mut session =
                        Session(testing::record(open(policy, tick(0), &login.overrides).unwrap().timing));
                    if let Some(at) = interaction {
                        session.assert_live(policy, at, Interaction);
                    }
                    let what = login.what;
                    let seen =
                        format!("{what}: {login:?}, interaction {interaction:?}, {activity:?} at {now}");
                    assert_eq!(session.deadlines(), (idle_deadline, login.absolute), "{seen}");

                    let expected = reason_at(now, idle_deadline, login.absolute);
                    assert_eq!(session.request(policy, now, activity), expected, "{seen}");
                    if expected.is_some() {
                        assert_eq!(session.0.ended.map(|ended| ended.reason), expected, "{seen}");
                    } else {
                        let moved = activity == Interaction;
                        let idle_deadline = if moved { now + login.idle } else { idle_deadline };
                        assert_eq!(session.deadlines(), (idle_deadline, login.absolute), "{seen}");
                    }
                }
            }
        }
    }
}

#[test]
fn l2_l3_l6_l7_every_deadline_is_exact_to_the_tick() {
    for mode in MODES {
        for (idle, absolute) in PAIRS {
            let pair = lifetimes(idle, absolute);
            // The other mode's lifetimes are much longer, so that a wrong choice shows.
            let policy = match mode {
                Mode::Persistent => policy(900, 1000).with_persistent(pair),
                Mode::NonPersistent => policy(900, 1000).with_non_persistent(pair),
            };
            for login in logins(idle, absolute) {
                walk(&policy.with_default_mode(mode), &login);
            }
        }
    }
}

#[test]
fn l6_a_mode_asked_for_picks_the_pair_of_lifetimes_for_life() {
    let policy = policy(10, 100).with_non_persistent(lifetimes(4, 40));
    let mut session = Session::login_with(&policy, |o| o.mode(Mode::NonPersistent));
    assert_eq!(session.deadlines(), (4, 40));

    let other_default = policy.with_default_mode(Mode::Persistent).with_persistent(lifetimes(1, 1));
    session.assert_live(&other_default, 3, Interaction);
    assert_eq!(session.deadlines(), (7, 40), "the other pair is not this session's");
}

#[test]
fn l1_an_anonymous_session_is_non_persistent() {
    let policy = policy(10, 100).with_non_persistent(lifetimes(4, 40));
    let mut session = Session(testing::record(policy.anonymous(tick(0))));
    assert_eq!(session.deadlines(), (4, 40));
    assert_eq!(session.0.timing.authenticated_at, None);
    session.assert_live(&policy, 3, Interaction);
    assert_eq!(session.deadlines(), (7, 40));
    assert_eq!(session.request(&policy, 7, Interaction), Some(EndReason::Idle));
}

#[test]
fn l2_a_session_that_is_over_stays_over() {
    let policy = policy(5, 50);
    let mut session = Session::login(&policy);
    assert_eq!(session.request(&policy, 5, Interaction), Some(EndReason::Idle));
    let longer = self::policy(500, 500);
    assert_eq!(session.request(&longer, 6, Interaction), Some(EndReason::Idle));
    assert_eq!(session.request(&longer, 1, Interaction), Some(EndReason::Idle), "the clock stepped back");
}

#[test]
fn l3_a_rotation_of_the_token_moves_no_deadline() {
    let policy = policy(10, 100);
    let mut session = Session::login(&policy);
    let before = session.0.timing;
    let to = SecretHash::from_bytes([8; 32]);
    let rotation = Rotation { from: session.0.secret, to, until: tick(7) };
    Change { rotation: Some(Box::new(rotation)), ..Change::at(tick(4)) }.apply(&mut session.0);
    assert_eq!(session.0.secret, to);
    assert_eq!(session.0.timing, before);
}

#[test]
fn l7_a_new_authentication_resets_both_clocks() {
    let policy = policy(10, 100);
    let again = open(&policy, tick(60), &Overrides::default()).unwrap().timing;
    assert_eq!(again.idle_expires_at(), tick(70));
    assert_eq!(again.expires_at(), tick(160));
    assert_eq!(again.authenticated_at, Some(tick(60)));
}

// L4: limits.

#[test]
fn l4_a_value_above_the_limit_is_superseded_and_that_is_visible() {
    let limits = Limits::new(ticks(8), ticks(80)).unwrap();
    let policy = policy(8, 80).with_persistent(lifetimes(9, 80)).with_limits(limits);
    assert!(policy.is_superseded(Mode::Persistent));
    assert!(!policy.is_superseded(Mode::NonPersistent), "a value at the limit stands");
    assert_eq!(policy.configured(Mode::Persistent), lifetimes(9, 80));
    assert_eq!(policy.effective(Mode::Persistent), lifetimes(8, 80));
    assert_eq!(Session::login(&policy).deadlines(), (8, 80));
    // The same holds for anonymous sessions.
    let policy = policy.with_anonymous(Some(lifetimes(9, 81)));
    assert_eq!(policy.effective_anonymous(), lifetimes(8, 80));
    let visitor = testing::record(policy.anonymous(tick(0)));
    assert_eq!(visitor.timing.lifetimes, lifetimes(8, 80));
}

#[test]
fn l4_zero_is_refused_and_the_longest_is_accepted() {
    let (tick, none, longest) = (ticks(1), Duration::ZERO, Lifetimes::LONGEST);
    assert!(Lifetimes::new(tick, none).is_err());
    assert!(Lifetimes::new(none, tick).is_err());
    assert!(Lifetimes::new(tick / 2, tick).is_err(), "less than a tick would be zero in a store");
    assert!(Lifetimes::new(longest + tick, tick).is_err());
    assert!(Lifetimes::new(longest, longest).is_ok());
    assert!(Limits::new(none, tick).is_err());
    assert!(Overrides::default().idle_lifetime(none).is_err());
}

#[test]
fn l6_overrides_above_the_limit_are_clamped_and_reported() {
    let policy = policy(5, 50).with_limits(Limits::new(ticks(8), ticks(80)).unwrap());
    let at_the_limit = wishes(|o| {
        o.expires_at(tick(80));
        o.idle_expires_at(tick(8));
        o.idle_lifetime(ticks(8)).unwrap();
    });
    assert_eq!(open(&policy, tick(0), &at_the_limit).unwrap().clamped, []);

    let over_it = wishes(|o| {
        o.expires_at(tick(81));
        o.idle_expires_at(tick(9));
        o.idle_lifetime(ticks(9)).unwrap();
    });
    let clamped = open(&policy, tick(0), &over_it).unwrap();
    assert_eq!(clamped.timing, open(&policy, tick(0), &at_the_limit).unwrap().timing);
    assert_eq!(clamped.clamped, [Clamped::ExpiresAt, Clamped::IdleLifetime, Clamped::IdleExpiresAt]);
}

// L5: raising and lowering the policy.

#[test]
fn l5_raising_never_changes_a_live_session() {
    let mut session = Session::login(&policy(10, 100));
    let raised = policy(50, 500);
    session.assert_live(&raised, 9, Interaction);
    assert_eq!(session.deadlines(), (19, 100));
    assert_eq!(session.request(&raised, 19, Interaction), Some(EndReason::Idle));
}

#[test]
fn l5_lowering_binds_at_the_next_request_of_either_kind_before_the_decision() {
    for activity in [Interaction, Passive] {
        for (now, lowered, expected) in [
            (3, policy(4, 100), None),
            (4, policy(4, 100), Some(EndReason::Idle)),
            (3, policy(10, 4), None),
            (4, policy(10, 4), Some(EndReason::Absolute)),
            (4, policy(4, 4), Some(EndReason::Absolute)),
        ] {
            let mut session = Session::login(&policy(10, 100));
            assert_eq!(session.request(&lowered, now, activity), expected, "{activity:?} at {now}");
        }
    }
}

#[test]
fn l5_each_lifetime_is_lowered_on_its_own() {
    let mut session = Session::login(&policy(10, 100));
    session.assert_live(&policy(4, 900), 1, Passive);
    assert_eq!(session.deadlines(), (4, 100));
    session.assert_live(&policy(90, 60), 1, Passive);
    assert_eq!(session.deadlines(), (4, 60));
}

#[test]
fn l5_a_lowering_is_remembered_so_that_a_later_raise_does_not_undo_it() {
    for activity in [Interaction, Passive] {
        let mut session = Session::login(&policy(10, 100));
        session.assert_live(&policy(4, 40), 0, activity);
        assert_eq!(session.deadlines(), (4, 40), "{activity:?}");
        session.assert_live(&policy(10, 100), 2, Interaction);
        assert_eq!(session.deadlines(), (6, 40), "{activity:?}");
    }
}

#[test]
fn l5_a_lowering_taken_back_before_the_next_request_never_bound() {
    // The policy was (4, 40) for a while. The session made no request in that time.
    let (day_of_login, taken_back) = (policy(10, 100), policy(10, 100));
    let mut session = Session::login(&day_of_login);
    session.assert_live(&taken_back, 9, Interaction);
    assert_eq!(session.deadlines(), (19, 100));

    // Part of the lowering remained, and only that part applies.
    session.assert_live(&policy(8, 100), 10, Interaction);
    assert_eq!(session.deadlines(), (18, 100));
}

#[test]
fn l5_nothing_is_recorded_when_nothing_is_lowered() {
    let policy = policy(10, 100);
    let session = Session::login(&policy);
    for same_or_higher in [policy, self::policy(11, 101)] {
        let Verdict::Live(next) = decide(&session.0, &same_or_higher, tick(5), Passive) else { panic!() };
        assert_eq!(next.change, TimingChange::default());
    }
    let limited = policy.with_limits(Limits::new(ticks(30), ticks(200)).unwrap());
    let at_the_limit = Session::login_with(&limited, |o| o.idle_expires_at(tick(30)));
    let Verdict::Live(next) = decide(&at_the_limit.0, &limited, tick(5), Passive) else { panic!() };
    assert_eq!(next.change, TimingChange::default(), "a one-off that is as long as the limit");
}

#[test]
fn l5_an_override_longer_than_the_policy_survives_until_the_policy_falls_below_that_of_its_day() {
    let mut session = Session::login_with(&policy(10, 100), |o| {
        o.expires_at(tick(300));
        o.idle_lifetime(ticks(30)).unwrap();
    });
    for not_below in [policy(10, 100), policy(20, 200), policy(10, 100)] {
        session.assert_live(&not_below, 0, Interaction);
        assert_eq!(session.deadlines(), (30, 300), "{not_below:?}");
    }
    session.assert_live(&policy(9, 100), 0, Passive);
    assert_eq!(session.deadlines(), (9, 300), "only the idle lifetime was lowered");
    session.assert_live(&policy(9, 99), 0, Passive);
    assert_eq!(session.deadlines(), (9, 99));
}

#[test]
fn l5_an_override_shorter_than_the_policy_yields_only_to_what_is_shorter_still() {
    let mut session = Session::login_with(&policy(10, 100), |o| o.idle_lifetime(ticks(4)).unwrap());
    session.assert_live(&policy(6, 60), 0, Passive);
    assert_eq!(session.deadlines(), (4, 60));
    session.assert_live(&policy(3, 60), 0, Passive);
    assert_eq!(session.deadlines(), (3, 60));
}

#[test]
fn l5_limits_lowered_bind_overrides_too() {
    let policy = policy(10, 100);
    let mut session = Session::login_with(&policy, |o| {
        o.expires_at(tick(300));
        o.idle_lifetime(ticks(30)).unwrap();
    });
    // The override is still above the policy, so the policy does not apply.
    let limited = policy.with_limits(Limits::new(ticks(20), ticks(200)).unwrap());
    session.assert_live(&limited, 0, Passive);
    assert_eq!(session.deadlines(), (20, 200));
    session.assert_live(&policy, 0, Passive);
    assert_eq!(session.deadlines(), (20, 200), "taking the limits back undoes nothing");
}

#[test]
fn l5_a_pending_one_off_is_bound_by_a_lowering_and_by_the_limits() {
    let policy = policy(10, 100);
    let pending = || Session::login_with(&policy, |o| o.idle_expires_at(tick(30)));
    let lowered = [
        (self::policy(9, 100), 9, "below the policy of its day"),
        (self::policy(10, 90), 30, "the idle lifetime is as it was"),
        (policy.with_limits(Limits::new(ticks(20), ticks(200)).unwrap()), 20, "the limits"),
    ];
    for (lowered, idle_deadline, why) in lowered {
        let mut session = pending();
        session.assert_live(&lowered, 1, Passive);
        assert_eq!(session.deadlines().0, idle_deadline, "{why}");
    }
}

#[test]
fn l5_a_lowering_says_nothing_about_a_session_that_was_over_before() {
    // Over at 50 by its absolute lifetime. With the lowering, its idle deadline at 10 would have
    // come first. But a lowering applies only to live sessions, and the tombstone must have the
    // same reason as the response.
    let mut session = Session::login(&policy(100, 50));
    let lowered = policy(10, 50);
    assert_eq!(session.request(&lowered, 60, Interaction), Some(EndReason::Absolute));
    assert_eq!(session.request(&lowered, 61, Interaction), Some(EndReason::Absolute));
}

#[test]
fn l5_a_session_that_a_lowering_ends_keeps_the_reason_that_was_reported() {
    let mut session = Session::login(&policy(100, 500));
    assert_eq!(session.request(&policy(10, 500), 60, Passive), Some(EndReason::Idle));
    let end = session.0.end(&EndRequest::new(EndReason::SignedOut, tick(61), CallId::new(2)));
    assert!(matches!(end, EndOutcome::AlreadyEnded { tombstone, .. } if tombstone.reason == EndReason::Idle));
}

// L6: the one-off.

#[test]
fn l6_a_one_off_is_replaced_by_the_first_interaction_only() {
    let policy = policy(10, 100);
    for asked in [3, 30] {
        let mut session = Session::login_with(&policy, |o| o.idle_expires_at(tick(asked)));
        session.assert_live(&policy, 1, Passive);
        assert_eq!(session.deadlines(), (asked, 100));
        session.assert_live(&policy, 2, Interaction);
        assert_eq!(session.deadlines(), (12, 100), "longer or shorter, back to the policy's");
    }
}

// L9: coalescing.

#[test]
fn l9_an_interaction_is_recorded_only_when_the_recorded_one_is_older_than_the_granularity() {
    let policy = policy(100, 1000).with_granularity(ticks(10));
    for (now, recorded) in [(9, false), (10, false), (11, true)] {
        let mut session = Session::login(&policy);
        session.assert_live(&policy, now, Interaction);
        let last = if recorded { now } else { 0 };
        assert_eq!(session.0.timing.last_interaction_at, tick(last), "at {now}");
    }
}

#[test]
fn l9_the_default_granularity_is_a_64th_of_the_idle_lifetime_and_at_most_a_minute() {
    let hour = 3_600_000;
    for (idle, granularity) in [(640, 10), (hour, 56_250), (64 * 60_000, 60_000), (72 * hour, 60_000)] {
        let policy = Policy::new(lifetimes(idle, 200 * hour), lifetimes(idle, 200 * hour));
        for (now, recorded) in [(granularity, false), (granularity + 1, true)] {
            let mut session = Session::login(&policy);
            session.assert_live(&policy, now, Interaction);
            assert_eq!(session.0.timing.last_interaction_at > tick(0), recorded, "idle {idle}, at {now}");
        }
    }
}

#[test]
fn l9_the_default_granularity_follows_the_sessions_own_idle_lifetime() {
    let policy = Policy::default();
    let mut session = Session::login_with(&policy, |o| o.idle_lifetime(ticks(640)).unwrap());
    session.assert_live(&policy, 11, Interaction);
    assert_eq!(session.0.timing.last_interaction_at, tick(11));
}

#[test]
fn l9_a_one_off_is_replaced_at_once_within_the_granularity() {
    let policy = policy(100, 1000).with_granularity(ticks(10));
    let mut session = Session::login_with(&policy, |o| o.idle_expires_at(tick(5)));
    session.assert_live(&policy, 1, Interaction);
    assert_eq!(session.deadlines(), (101, 1000));
    session.assert_live(&policy, 2, Interaction);
    assert_eq!(session.deadlines(), (101, 1000), "and then coalesced as usual");
}

#[test]
fn l9_a_lowering_is_recorded_within_the_granularity_too() {
    let policy = policy(100, 1000).with_granularity(ticks(10));
    let mut session = Session::login(&policy);
    session.assert_live(&policy.with_persistent(lifetimes(50, 1000)), 1, Interaction);
    assert_eq!(session.deadlines(), (50, 1000), "lowered, and the interaction coalesced");
}

#[test]
fn l9_a_slow_old_request_never_moves_the_last_interaction_back() {
    let policy = policy(10, 100);
    let mut session = Session::login(&policy);
    let Verdict::Live(slow) = decide(&session.0, &policy, tick(2), Interaction) else { panic!() };
    session.assert_live(&policy, 8, Interaction);
    Change { timing: slow.change, ..Change::at(tick(2)) }.apply(&mut session.0);
    assert_eq!(session.deadlines(), (18, 100));
    assert_eq!(session.0.updated_at, tick(8));
}

// L10: the clock.

#[test]
fn l10_a_clock_that_steps_back_moves_no_deadline() {
    for granularity in [0, 5] {
        let policy = policy(20, 100).with_granularity(ticks(granularity));
        let mut session = Session::login(&policy);
        session.assert_live(&policy, 12, Interaction);
        for stepped_back in [11, 1, 0, -1, -1_000_000] {
            session.assert_live(&policy, stepped_back, Interaction);
            assert_eq!(session.deadlines(), (32, 100), "at {stepped_back}");
            assert_eq!(session.0.timing.longest_gap.as_duration(), ticks(12), "at {stepped_back}");
        }
        assert_eq!(session.request(&policy, 32, Interaction), Some(EndReason::Idle));
    }
}

#[test]
fn l10_the_ends_of_time_do_not_panic() {
    let policy = Policy::default().with_limits(Limits::NONE);
    let moments = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX].map(Timestamp::from_unix_millis);
    for login in moments {
        for wish in moments {
            let overrides = wishes(|o| {
                o.expires_at(wish);
                o.idle_expires_at(wish);
            });
            let Ok(opening) = open(&policy, login, &overrides) else { continue };
            let record = testing::record(opening.timing);
            for now in moments {
                for activity in [Interaction, Passive] {
                    let _ = decide(&record, &policy, now, activity);
                }
            }
        }
    }
}
