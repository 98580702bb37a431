//! Streams wait here for the end of their session: one load a second for each session, however many
//! streams it has.

use std::{
    collections::{BTreeSet, HashMap},
    pin::pin,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use tokio::sync::Notify;

use super::{Engine, RealmState, concurrent::first_of, realm::RealmPolicy};
use crate::{EndReason, Policy, SessionId, Timestamp, record::Timing, time::TimerMoment};

/// How often a session is looked at for its streams: an end on another node is seen within 2 s
/// (H4).
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many streams of one session may wait; one more ends the oldest (S13).
pub(crate) const DEFAULT_MAX_STREAMS: usize = 32;

/// The sessions that streams wait for.
#[derive(Debug, Default)]
pub(super) struct Watches(Mutex<HashMap<SessionId, Arc<Watched>>>);

/// A session that streams wait for.
#[derive(Debug)]
struct Watched {
    /// Wakes all streams of the session.
    wake: Notify,
    seen: Mutex<Seen>,
}

/// The session is over; why, where that is known.
type Over = (Option<EndReason>,);

/// What was seen of it last.
#[derive(Debug)]
struct Seen {
    timing: Timing,
    over: Option<Over>,
    looked_at: Option<TimerMoment>,
    /// The number of the next stream, which orders them by age.
    next_stream: u64,
    streams: BTreeSet<u64>,
}

impl Watches {
    /// A session ended on this node.
    pub(super) fn wake(&self, sid: SessionId, reason: EndReason) {
        if let Some(watched) = super::lock(&self.0).get(&sid) {
            watched.seen().over = Some((Some(reason),));
            watched.wake.notify_waiters();
        }
    }

    /// Something may have ended many.
    pub(super) fn wake_all(&self) {
        for watched in super::lock(&self.0).values() {
            watched.seen().looked_at = None;
            watched.wake.notify_waiters();
        }
    }
}

impl Watched {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        super::lock(&self.seen)
    }
}

/// One stream that waits.
struct Stream<'a> {
    watches: &'a Watches,
    sid: SessionId,
    watched: Arc<Watched>,
    number: u64,
}

impl Drop for Stream<'_> {
    fn drop(&mut self) {
        let mut all = super::lock(&self.watches.0);
        let mut seen = self.watched.seen();
        seen.streams.remove(&self.number);
        if seen.streams.is_empty() {
            all.remove(&self.sid);
        }
    }
}

impl Engine {
    /// Resolves when the session is over, or when it has too many streams and this is the oldest:
    /// then with `None`.
    pub(crate) async fn until_over(
        &self,
        sid: SessionId,
        timing: Timing,
        realm: &Arc<RealmState>,
        policy: impl Fn() -> Policy + Send,
    ) -> Option<EndReason> {
        let stream = self.watch(sid, timing);
        loop {
            let woken = stream.watched.wake.notified();
            let mut woken = pin!(woken);
            // Before the load, so that an end that comes between is not missed.
            woken.as_mut().enable();
            let due = {
                let mut seen = stream.watched.seen();
                if let Some((reason,)) = seen.over {
                    return reason;
                }
                if !seen.streams.contains(&stream.number) {
                    return None;
                }
                let due = seen.looked_at.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
                if due {
                    seen.looked_at = Some(TimerMoment::now());
                }
                due
            };
            let now = self.clock.now();
            if due {
                let over = self.look_at(sid, &stream.watched, realm, &policy(), now).await;
                if over.is_some() {
                    stream.watched.seen().over = over;
                    stream.watched.wake.notify_waiters();
                    continue;
                }
            }
            let wait = {
                let seen = stream.watched.seen();
                let to_deadline = seen.timing.deadline().since(self.clock.now());
                let to_look =
                    seen.looked_at.map_or(Duration::ZERO, |at| LOOK_EVERY.saturating_sub(at.elapsed()));
                if to_deadline < to_look && to_deadline > Duration::ZERO { to_deadline } else { to_look }
            };
            first_of(woken, tokio::time::sleep(wait.max(Duration::from_millis(1)))).await;
            let over_by_now = stream.watched.seen().timing.end_reason_at(self.clock.now()).is_some();
            if over_by_now {
                stream.watched.seen().looked_at = None; // the last known deadline has passed: look at once
            }
        }
    }

    fn watch(&self, sid: SessionId, timing: Timing) -> Stream<'_> {
        let all_watches = &self.shared.watches;
        let mut all = super::lock(&all_watches.0);
        let new = || {
            let seen = Seen { timing, over: None, looked_at: None, next_stream: 0, streams: BTreeSet::new() };
            Arc::new(Watched { wake: Notify::new(), seen: Mutex::new(seen) })
        };
        let watched = Arc::clone(all.entry(sid).or_insert_with(new));
        let mut seen = watched.seen();
        let number = seen.next_stream;
        seen.next_stream += 1;
        seen.streams.insert(number);
        if seen.streams.len() > self.max_streams {
            seen.streams.pop_first();
            watched.wake.notify_waiters();
        }
        drop(seen);
        drop(all);
        Stream { watches: all_watches, sid, watched, number }
    }

    /// Looks at the session: `Some` when it is over. While the store cannot be reached, the last
    /// known deadline counts.
    async fn look_at(
        &self,
        sid: SessionId,
        watched: &Watched,
        realm: &Arc<RealmState>,
        policy: &Policy,
        now: Timestamp,
    ) -> Option<Over> {
        let policy = self.policy_of(realm, policy, now).await.unwrap_or(RealmPolicy::Same(policy));
        match self.load(sid, now).await {
            Ok(Some(record)) => {
                watched.seen().timing = record.timing;
                let over = record.end_under(&policy, now);
                if let Some((reason, _)) = over {
                    self.end_found_over(&record, &policy, now, reason).await;
                }
                over.map(|(reason, _)| (Some(reason),))
            }
            Ok(None) => Some((watched.seen().timing.end_reason_at(now),)),
            Err(_) => watched.seen().timing.end_reason_at(now).map(|reason| (Some(reason),)),
        }
    }
}
