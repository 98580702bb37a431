//! The table of the store, and its operations under the lock.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
};

use tower_tenure::{
    SessionId, Timestamp,
    record::{Binding, Change, EndOutcome, EndRequest, Record, SubjectMark, Tag, UpdateOutcome},
    store::{CreateOutcome, Creation, CreationPlan, Page, Revocation, Sweep, Swept},
};

use super::Defect::{self, self as D};

pub(super) struct Table {
    defect: Defect,
    pub(super) sessions: BTreeMap<SessionId, Record>,
    /// When a sweep reads each session.
    pub(super) due: HashMap<SessionId, Timestamp>,
    pub(super) rescheduled: HashSet<SessionId>,
    marks: Vec<SignedOut>,
    pub(super) not_before: HashMap<Arc<str>, Timestamp>,
    versions: u64,
}

struct SignedOut {
    realm: Arc<str>,
    subject: Arc<str>,
    tag: Tag,
    mark: SubjectMark,
    keep_until: Timestamp,
}

impl Table {
    pub(super) fn new(defect: Defect) -> Self {
        Self {
            defect,
            sessions: BTreeMap::new(),
            due: HashMap::new(),
            rescheduled: HashSet::new(),
            marks: Vec::new(),
            not_before: HashMap::new(),
            versions: 0,
        }
    }

    fn is(&self, defect: Defect) -> bool {
        self.defect == defect
    }

    fn mark(&self, realm: &str, subject: &str, tag: Tag) -> Option<&SignedOut> {
        self.marks.iter().find(|mark| {
            let whole = *mark.realm == *realm && *mark.subject == *subject;
            if self.is(D::TagIsTakenForTheSubject) { mark.tag == tag } else { whole }
        })
    }

    /// The record with its subject's mark applied.
    fn see(&self, record: &Record) -> Record {
        let mut record = record.clone();
        let Some(subject) = record.subject.clone() else { return record };
        let Some(SignedOut { mark, .. }) = self.mark(&record.realm, &subject, record.sid.tag()) else {
            return record;
        };
        record.see_mark(mark);
        let excepted = mark.except.is_some_and(|(sid, _)| sid == record.sid);
        let covered = match self.defect {
            D::ExceptionsIgnoreEpochs => record.epoch < mark.epoch && !excepted,
            D::RevokesByTime => record.timing.created_at <= mark.not_before && !excepted,
            _ => return record,
        };
        record.revoked_at = covered.then_some(mark.not_before);
        record
    }

    pub(super) fn find(&self, sid: SessionId) -> Option<Record> {
        self.sessions.get(&sid).map(|record| self.see(record))
    }

    pub(super) fn put(&mut self, mut record: Record) {
        self.versions += 1;
        record.version = self.versions;
        record.revoked_at = None;
        if self.is(D::RoundsToSeconds) {
            let millis = record.timing.created_at.as_unix_millis();
            record.timing.created_at = Timestamp::from_unix_millis(millis / 1000 * 1000);
        }
        let known = self.due.get(&record.sid).copied();
        let stays = self.is(D::DueMomentStays)
            || (self.is(D::RescheduledStays) && self.rescheduled.contains(&record.sid));
        let due =
            known.map_or(record.due_at(), |known| if stays { known } else { known.min(record.due_at()) });
        self.due.insert(record.sid, due);
        if self.is(D::KeepsNoTombstones) && record.ended.is_some() {
            self.sessions.remove(&record.sid);
        } else {
            self.sessions.insert(record.sid, record);
        }
    }

    /// The record that a write starts from: the one that the caller has seen, if it is up to date.
    fn begin(&self, sid: SessionId, seen: Option<Box<Record>>, trusts: bool) -> Option<Record> {
        let found = self.find(sid);
        let Some(seen) = seen.map(|seen| *seen) else { return found };
        let version = self.sessions.get(&sid).map(|record| record.version);
        let is_current = version == Some(seen.version);
        if trusts || (is_current && self.is(D::UpdateTrustsTheMarkItKnows)) { Some(seen) } else { found }
    }

    pub(super) fn update(
        &mut self,
        sid: SessionId,
        change: &Change,
        seen: Option<Box<Record>>,
    ) -> UpdateOutcome {
        let trusts = match self.defect {
            D::StaleRecordOverwrites => self.find(sid).is_some_and(|record| record.ended.is_none()),
            D::UpdateStoresWhatIsGone => self.find(sid).is_none(),
            D::UpdateRevivesTombstones => true,
            _ => false,
        };
        let Some(mut record) = self.begin(sid, seen, trusts) else { return UpdateOutcome::Gone(None) };
        if self.is(D::UpdateIgnoresMarks) {
            record.revoked_at = None;
        }
        let mut change = change.clone();
        match (self.defect, &mut change.rotation) {
            (D::IgnoresTheRevision, _) => change.if_revision = None,
            (D::LosesTheGrace, Some(rotation)) => rotation.until = change.at,
            _ => {}
        }
        if let (Some(binding), Some(_), true) =
            (&record.binding, &change.bind_to, self.is(D::SecondDeviceWins))
        {
            record.binding = Some(Arc::new(Binding::new(*binding.seed())));
        }
        let outcome = change.apply(&mut record);
        let half = outcome == UpdateOutcome::TooLarge && self.is(D::WritesHalfOfWhatIsTooLarge);
        if half {
            record.timing.apply(&change.timing);
        }
        if half || matches!(outcome, UpdateOutcome::Applied(_)) {
            self.put(record);
        }
        outcome
    }

    pub(super) fn end(
        &mut self,
        sid: SessionId,
        request: &EndRequest,
        seen: Option<Box<Record>>,
    ) -> EndOutcome {
        let trusts = self.is(D::EndsTheStaleRecord);
        let Some(mut record) = self.begin(sid, seen, trusts) else { return EndOutcome::Unknown };
        let before = record.clone();
        let outcome = self.end_record(&mut record, request);
        if record != before {
            self.put(record);
        }
        outcome
    }

    fn end_record(&self, record: &mut Record, request: &EndRequest) -> EndOutcome {
        let before = record.clone();
        let mut request = request.clone();
        match self.defect {
            D::EndIgnoresConditions => {
                (request.options.if_realm, request.options.if_secret) = (None, None);
                request.options.if_idle_since = None;
            }
            D::EveryEndEnds => record.ended = None,
            D::WorkGoesToAnybody => {
                if let (Some(new), Some(subject)) = (&mut request.options.replaced_by, &record.subject) {
                    new.subject = Arc::clone(subject);
                }
            }
            _ => {}
        }
        if let (D::TakesNothingOver, Some(new)) = (self.defect, &mut request.options.replaced_by) {
            new.takes_data = false;
        }
        let outcome = record.end(&request);
        match (self.defect, &outcome, before.ended, &mut record.ended) {
            (D::EndIsNotRepeatable, EndOutcome::Ended(_), Some(tombstone), _) => {
                EndOutcome::AlreadyEnded { tombstone, work: None }
            }
            (D::WorkIsTakenTwice, EndOutcome::AlreadyEnded { work: Some(_), .. }, before_that, _) => {
                (record.data, record.ended) = (before.data, before_that);
                outcome
            }
            (D::ForgetsSuccessors, _, _, Some(tombstone)) => {
                tombstone.successor = None;
                outcome
            }
            _ => outcome,
        }
    }

    fn count(&self, creation: &Creation) -> Vec<Record> {
        let new = &creation.record;
        let counts = |other: &&Record| match self.defect {
            D::CapCountsTombstones => other.realm == new.realm && other.subject == new.subject,
            D::CapIgnoresRealms => other.subject == new.subject && other.ended.is_none(),
            D::TagIsTakenForTheSubject => other.sid.tag() == new.sid.tag() && other.ended.is_none(),
            _ => creation.counts(other),
        };
        let others = self.sessions.values().filter(|_| new.subject.is_some());
        others.filter(counts).map(|record| self.see(record)).collect()
    }

    /// Decides about a creation. The caller stores the result.
    pub(super) fn plan(
        &self,
        creation: &Creation,
    ) -> Result<(Record, Vec<Record>, Vec<EndOutcome>), Box<CreateOutcome>> {
        let record = &creation.record;
        if self.sessions.contains_key(&record.sid) && !self.is(D::CreateOverwrites) {
            return Err(Box::new(CreateOutcome::Exists));
        }
        let mark = record.subject.as_deref();
        let mark = mark.and_then(|subject| self.mark(&record.realm, subject, record.sid.tag()));
        let mut mark = mark.map(|mark| mark.mark);
        match (self.defect, &mut mark) {
            (D::CreateIgnoresMarks, Some(mark)) => mark.not_before = Timestamp::from_unix_millis(i64::MIN),
            (D::CreateIsOfNoEpoch, Some(mark)) if !mark.covers_login(record.admitted_at) => mark.epoch = 0,
            _ => {}
        }
        let found = creation.ends.iter().map(|(sid, _)| self.find(*sid)).collect();
        let others = self.count(creation);
        let mut creation = creation.clone();
        for (_, request) in &mut creation.ends {
            match (self.defect, &mut request.options.replaced_by) {
                (D::TakesNothingOver, Some(new)) => new.takes_data = false,
                (D::EndIgnoresConditions, _) => request.options.if_idle_since = None,
                _ => {}
            }
        }
        let mut count = others.len();
        if self.is(D::CapCountsWhatIsReplaced) {
            count += creation.ends.len();
        }
        match creation.plan(mark.as_ref(), found, count) {
            CreationPlan::Store { record, mut ended, outcomes } => {
                if self.is(D::ForgetsSuccessors) {
                    ended
                        .iter_mut()
                        .filter_map(|record| record.ended.as_mut())
                        .for_each(|t| t.successor = None);
                }
                if self.is(D::WorkIsTakenTwice) {
                    ended.retain(|record| self.sessions[&record.sid].ended.is_none());
                }
                Ok((*record, ended, outcomes))
            }
            CreationPlan::Full => {
                Err(Box::new(CreateOutcome::Full { count: others.len(), sessions: others }))
            }
            CreationPlan::SignedOutEverywhere => Err(Box::new(CreateOutcome::SignedOutEverywhere)),
            CreationPlan::TooLarge => Err(Box::new(CreateOutcome::TooLarge)),
        }
    }

    pub(super) fn revoke(&mut self, revocation: Revocation) {
        let Revocation { realm, subject, at, except, keep_until } = revocation;
        let Some((tag, subject)) = subject else {
            let realm = if self.is(D::MomentIsOfAllRealms) { "".into() } else { realm };
            let moves_back = self.is(D::MomentMovesBack);
            let moment = self.not_before.entry(realm).or_insert(at);
            *moment = if moves_back { at } else { at.max(*moment) };
            return;
        };
        let known = self.mark(&realm, &subject, tag);
        let last = self.is(D::MarkIsKeptForTheLast);
        let keep_until = known
            .map_or(keep_until, |known| if last { keep_until } else { known.keep_until.max(keep_until) });
        let mut mark = known.map(|known| known.mark).unwrap_or_default();
        let begins_again = self.is(D::EpochsBeginAgain);
        let counted = mark.epoch + 1;
        mark = mark.revoked(at, except);
        if begins_again {
            mark.epoch = counted;
        }
        self.marks.retain(|known| known.realm != realm || known.subject != subject);
        self.marks.push(SignedOut { realm, subject, tag, mark, keep_until });
    }

    pub(super) fn list(&self, page: &Page) -> Vec<Record> {
        let place = |record: &Record| (record.timing.created_at, record.sid);
        let mut found: Vec<_> = self.sessions.values().collect();
        found.retain(|record| record.realm == page.realm || self.is(D::ListsEveryRealm));
        found.retain(|record| {
            page.subject.as_ref().is_none_or(|(tag, subject)| match self.defect {
                D::TagIsTakenForTheSubject => record.sid.tag() == *tag && record.subject.is_some(),
                _ => record.subject.as_ref() == Some(subject),
            })
        });
        found.retain(|record| page.after.is_none_or(|after| place(record) > after));
        found.sort_unstable_by_key(|record| place(record));
        if self.is(D::ListsShortPages) {
            found.truncate(page.limit);
        }
        found.retain(|record| record.ended.is_none() || self.is(D::ListsWhatHasEnded));
        found.into_iter().take(page.limit).map(|record| self.see(record)).collect()
    }

    pub(super) fn sweep(&mut self, sweep: &Sweep) -> Swept {
        let Sweep { realm, now, limit } = sweep;
        let early = self.is(D::SweepForgetsTooEarly);
        let forget_at =
            |record: &Record| record.ended.map(|ended| if early { ended.at } else { ended.forget_at });
        let old = self.sessions.values().filter(|record| forget_at(record).is_some_and(|at| at <= *now));
        let old: Vec<_> = old.map(|record| record.sid).take(*limit).collect();
        for sid in &old {
            self.sessions.remove(sid);
        }
        let (goes, sessions) = (self.is(D::MarkGoesWithItsSessions), &self.sessions);
        self.marks.retain(|mark| {
            let has_sessions =
                || sessions.values().any(|record| record.subject.as_ref() == Some(&mark.subject));
            *now < mark.keep_until && (!goes || has_sessions())
        });
        let due = |record: &Record| {
            let covered = record.revoked_at.is_some() && !self.is(D::SweepMissesTheRevoked);
            record.ended.is_none() && (self.due[&record.sid] <= *now || covered)
        };
        let theirs = |record: &Record| {
            self.is(D::SweepIgnoresRealms) || realm.as_ref().is_none_or(|realm| *realm == record.realm)
        };
        let found = self.sessions.values().map(|record| self.see(record));
        let found: Vec<_> = found.filter(due).filter(theirs).take(*limit).collect();
        let more = old.len() == *limit || found.len() == *limit;
        if self.is(D::SweepRemovesWhatIsOver) {
            for record in &found {
                self.sessions.remove(&record.sid);
            }
            return Swept { found: Vec::new(), removed: old.len(), finished: !more };
        }
        Swept { found, removed: old.len(), finished: !more || self.is(D::SweepEndsTooSoon) }
    }
}
