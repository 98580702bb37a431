//! Whether the response sets, keeps or removes the cookie.

use super::{Follows, KnownSession, Past, RequestContext, RequestState};
use crate::{Timestamp, record::EndReason};

/// What the browser sent under our cookie's name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CookieSent {
    /// Nothing.
    #[default]
    Nothing,
    /// Something, perhaps malformed.
    Something,
    /// Something that this response must not remove: it is not certain that the cookie is dead.
    MustStay,
    /// Something that this response must not remove, nor replace by what the handler wrote: another
    /// response brings the browser a newer cookie of the same name.
    Displaced,
}

/// What the response does with the browser's cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CookieVerdict {
    /// Sends it, in place of what the browser holds.
    Set,
    /// Says nothing of it.
    Keep,
    /// Removes it.
    Remove,
    /// The store has to be asked first: another request may have changed the session.
    Recheck,
}

/// All that the verdict depends on.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts; the test goes through all combinations"
)]
struct CookieFacts {
    session: SessionFact,
    sent: CookieSent,
    /// Whether the request knows a session that its cookie led to and that is over.
    knows_past: bool,
    /// Whether another response brings, or has brought, the browser a newer cookie.
    newer_exists: bool,
    /// Whether data waits for a login that the dead cookie proves.
    work_waits: bool,
    may_be_stale: bool,
    /// Whether the response says that the store failed, in place of the handler's.
    store_failed: bool,
}

/// What the request knows of a live session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SessionFact {
    /// There is none.
    Absent,
    /// The browser has its cookie, or another request will send it.
    Unchanged,
    /// The expiry of its cookie moved.
    Moved,
    /// The browser does not have its token yet.
    NewToken,
}

impl CookieFacts {
    const fn verdict(self) -> CookieVerdict {
        match self.session {
            SessionFact::Unchanged => CookieVerdict::Keep,
            // No other request has the token. So it is sent even beside a failure, and not made to
            // depend on a recheck that may fail.
            SessionFact::NewToken if self.store_failed => CookieVerdict::Set,
            // The next response can refresh it.
            SessionFact::Moved if self.store_failed => CookieVerdict::Keep,
            // A logout or a login that came between has answered the browser, and this cookie
            // would overwrite its answer.
            SessionFact::NewToken | SessionFact::Moved if self.may_be_stale => CookieVerdict::Recheck,
            SessionFact::NewToken | SessionFact::Moved => CookieVerdict::Set,
            SessionFact::Absent => match self.sent {
                CookieSent::Nothing | CookieSent::MustStay | CookieSent::Displaced => CookieVerdict::Keep,
                CookieSent::Something if self.store_failed || self.newer_exists || self.work_waits => {
                    CookieVerdict::Keep
                }
                // A login that came between, in the same browser, has sent a cookie of the same
                // name: removing it would sign the user out.
                CookieSent::Something if self.may_be_stale && self.knows_past => CookieVerdict::Recheck,
                CookieSent::Something => CookieVerdict::Remove,
            },
        }
    }
}

impl CookieSent {
    pub(crate) const fn new(brought: bool) -> Self {
        if brought { Self::Something } else { Self::Nothing }
    }

    /// It is not certain any more that it is dead.
    pub(crate) const fn keep(&mut self) {
        if matches!(self, Self::Nothing | Self::Something) {
            *self = Self::MustStay;
        }
    }

    /// Another response brings the browser a newer one.
    pub(crate) const fn displaced(&mut self) {
        *self = Self::Displaced;
    }
}

impl Past {
    /// Whether a login in the same browser has just replaced the session. Then the browser may not
    /// have had the new cookie when it sent this request.
    pub(super) fn was_just_replaced(&self, ctx: &RequestContext<'_>) -> bool {
        let is_recent = |at: Timestamp| ctx.now.since(at) < ctx.in_flight_window;
        let superseded = self.session.reason == EndReason::Superseded && is_recent(self.session.ended_at);
        superseded || self.successor.is_some_and(|successor| is_recent(successor.at))
    }
}

impl RequestState {
    /// Whether the browser has, or will have, a newer cookie than this request knows of. Then this
    /// response must not send one either: not even that of a session for what the handler wrote.
    pub(super) fn newer_cookie_exists(&self, ctx: &RequestContext<'_>) -> bool {
        self.cookie == CookieSent::Displaced || self.past.is_some_and(|past| past.was_just_replaced(ctx))
    }

    /// What the response does with the cookie. `store_failed`: the response says so, in place of
    /// the handler's.
    pub(crate) fn cookie_verdict(&self, store_failed: bool, ctx: &RequestContext<'_>) -> CookieVerdict {
        let session = match &self.known {
            None => SessionFact::Absent,
            // It is about to be ended, and its cookie would overwrite a login's.
            Some(_) if matches!(self.follows, Follows::Login) => SessionFact::Unchanged,
            Some(known) if !known.cookie_changed(self.keep_longer) => SessionFact::Unchanged,
            Some(known) if known.has_new_token() => SessionFact::NewToken,
            Some(_) => SessionFact::Moved,
        };
        let facts = CookieFacts {
            session,
            sent: self.cookie,
            knows_past: self.past.is_some(),
            newer_exists: self.newer_cookie_exists(ctx),
            work_waits: self.past.is_some_and(|past| past.work_waits(ctx.now)),
            may_be_stale: self.may_be_stale,
            store_failed,
        };
        facts.verdict()
    }

    /// The session whose cookie is to be set.
    pub(crate) fn cookie_to_set(&self) -> Option<(&KnownSession, Timestamp)> {
        let known = self.known.as_ref()?;
        Some((known, known.cookie_expires_at(self.keep_longer)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSIONS: [SessionFact; 4] =
        [SessionFact::Absent, SessionFact::Unchanged, SessionFact::Moved, SessionFact::NewToken];
    const SENT: [CookieSent; 4] =
        [CookieSent::Nothing, CookieSent::Something, CookieSent::MustStay, CookieSent::Displaced];

    fn every_combination() -> impl Iterator<Item = CookieFacts> {
        let bits = |number: u32| move |bit: u32| number >> bit & 1 == 1;
        SESSIONS.into_iter().flat_map(move |session| {
            SENT.into_iter().flat_map(move |sent| {
                (0..32).map(move |number| {
                    let bit = bits(number);
                    CookieFacts {
                        session,
                        sent,
                        knows_past: bit(0),
                        newer_exists: bit(1),
                        work_waits: bit(2),
                        may_be_stale: bit(3),
                        store_failed: bit(4),
                    }
                })
            })
        })
    }

    /// C3, C4, S4, S6, L13: each rule by itself, over all 512 combinations.
    #[test]
    fn c3_c4_the_verdict_keeps_each_rule_in_every_combination() {
        use CookieVerdict::{Keep, Recheck, Remove, Set};
        let mut count = 0;
        for facts in every_combination() {
            count += 1;
            let verdict = facts.verdict();
            let CookieFacts { session, sent, newer_exists, work_waits, may_be_stale, store_failed, .. } =
                facts;
            // C3: a cookie is set for a live session and a change of it, and for nothing else.
            let changed = matches!(session, SessionFact::Moved | SessionFact::NewToken);
            assert!(verdict != Set || changed, "{facts:?}");
            // C4: it is removed only if the browser sent one and there is no session.
            let is_dead = session == SessionFact::Absent && sent == CookieSent::Something;
            assert!(verdict != Remove || is_dead, "{facts:?}");
            // S6: a failure of the store removes nothing.
            assert!(verdict != Remove || !store_failed, "{facts:?}");
            // C4: a newer cookie, or work that waits (L13), is never removed.
            assert!(verdict != Remove || !(newer_exists || work_waits), "{facts:?}");
            // S4: nothing is set by what may be out of date, unless the token would be lost.
            assert!(verdict != Set || !may_be_stale || store_failed, "{facts:?}");
            // A new token always reaches the browser, or the store is asked before.
            assert!(session != SessionFact::NewToken || matches!(verdict, Set | Recheck), "{facts:?}");
            // What need not be asked is not asked; after the look it is not asked again.
            assert!(verdict != Recheck || (may_be_stale && !store_failed), "{facts:?}");
            let settled = CookieFacts { may_be_stale: false, ..facts }.verdict();
            assert_ne!(settled, Recheck, "{facts:?}");
            // A look changes nothing by itself.
            assert!(verdict == Recheck || verdict == settled || store_failed, "{facts:?}");
            // C4: what is dead for certain goes.
            let must_go = is_dead && !store_failed && !newer_exists && !work_waits && !may_be_stale;
            assert!(!must_go || verdict == Remove, "{facts:?}");
            assert!(changed || is_dead || verdict == Keep, "{facts:?}");
        }
        assert_eq!(count, 4 * 4 * 32);
    }
}
