//! A sweep, which looks at a bounded number of records per call and continues where the last one
//! stopped.

use super::{
    SHARDS, Shard, Shared,
    sync::{RwLock, lock, read, write},
};
use crate::{
    SessionId, Timestamp,
    store::{Sweep, Swept},
};

/// How many records a sweep looks at per record of its limit, before it returns.
const LOOKS: usize = 40;

/// Where the next sweep continues, within a shard and within one user's sessions.
#[derive(Default)]
pub(super) struct SweepCursor {
    shard: usize,
    /// The remaining places of the shard; `None` before the first.
    tags: Option<Vec<u64>>,
    /// The last session that was looked at, in the last of these places.
    within: Option<SessionId>,
}

/// What to remove from a shard.
#[derive(Default)]
struct Old {
    sessions: Vec<SessionId>,
    marks: Vec<u64>,
}

impl Shared {
    pub(super) fn sweep(&self, sweep: &Sweep) -> Swept {
        let mut cursor = lock(&self.sweep);
        let mut swept = Swept::default();
        let mut looks = sweep.limit.saturating_mul(LOOKS);
        while looks > 0 {
            let shard = &self.shards[cursor.shard];
            let is_passed = cursor.sweep_shard(shard, sweep, &mut looks, &mut swept);
            if !is_passed {
                break;
            }
            cursor.shard = (cursor.shard + 1) % SHARDS;
            if cursor.shard == 0 {
                swept.finished = true;
                break;
            }
        }
        swept
    }
}

impl SweepCursor {
    /// Whether all of the shard has been looked at.
    fn sweep_shard(
        &mut self,
        shard: &RwLock<Shard>,
        sweep: &Sweep,
        looks: &mut usize,
        swept: &mut Swept,
    ) -> bool {
        *looks = looks.saturating_sub(1);
        let old = self.look(&read(shard), sweep, looks, swept);
        if !old.sessions.is_empty() || !old.marks.is_empty() {
            swept.removed += write(shard).remove(&old, sweep.now);
        }
        let is_passed = self.tags.as_ref().is_some_and(Vec::is_empty);
        if is_passed {
            self.tags = None;
        }
        is_passed
    }

    fn look(&mut self, shard: &Shard, sweep: &Sweep, looks: &mut usize, swept: &mut Swept) -> Old {
        let mut old = Old::default();
        let room = sweep.limit - swept.removed;
        let tags = self.tags.get_or_insert_with(|| shard.places.keys().copied().collect());
        while let Some(&tag) = tags.last() {
            if let Some(place) = shard.places.get(&tag) {
                for entry in place.entries_after(self.within) {
                    if *looks == 0 || old.sessions.len() >= room || swept.found.len() >= sweep.limit {
                        return old;
                    }
                    *looks -= 1;
                    self.within = Some(entry.sid);
                    if let Some(ended) = entry.ended() {
                        old.sessions.extend((ended.forget_at <= sweep.now).then_some(entry.sid));
                    } else if sweep.realm.as_ref().is_none_or(|realm| realm == entry.realm()) {
                        swept.found.extend(place.due(entry, sweep.now));
                    }
                }
                old.marks.extend(place.has_old_marks(sweep.now).then_some(tag));
            }
            self.within = None;
            tags.pop();
        }
        old
    }
}

impl Shard {
    /// How many of these sessions were removed: some may be gone since the look.
    fn remove(&mut self, old: &Old, now: Timestamp) -> usize {
        let mut removed = 0;
        for sid in &old.sessions {
            let tag = sid.tag().as_u64();
            let Some(place) = self.places.get_mut(&tag) else { continue };
            removed += usize::from(place.get(*sid).is_some());
            if place.remove(Some(*sid), now) {
                self.places.remove(&tag);
            }
        }
        for tag in &old.marks {
            if self.places.get_mut(tag).is_some_and(|place| place.remove(None, now)) {
                self.places.remove(tag);
            }
        }
        removed
    }
}
