//! A login on a cluster, where what it touches is in several partitions, each changed in one step, but not all at once.
//!
//! In this order, so that a crash between two steps may cost the login, and no more:
//!
//! 1. With a cap: all sessions of the subject are listed, then the login queues up behind those that are on their way. Each
//!    answers for those before it, so it replays the queue over the list by the rules of the cap, and knows whether it is
//!    refused or whom it evicts.
//! 2. The session that it replaces ends, and gives its data.
//! 3. The session is created, in one step with the sets by which its subject finds it.
//! 4. The evicted end. One that is still on its way finds a mark, and ends as soon as it is created.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use sha2::{Digest, Sha256};

use super::{
    RedisStore,
    answer::{self, Queued},
    scripts,
};
use crate::{
    Error,
    policy::{Admission, admit},
    record::{Edits, Ending, Record},
    store::{Created, Creation, Page, SessionStore},
};

/// A login whose session is not there so long after it queued up has failed.
const ON_ITS_WAY: Duration = Duration::from_secs(10);

/// How long a login stays in the queue: longer than any that may have missed it in the list.
const QUEUED: Duration = Duration::from_secs(60);

impl RedisStore {
    /// Goes on to its end when the caller gives up.
    pub(super) async fn create_spread(&self, creation: Creation) -> Result<Created, Error> {
        let store = self.clone();
        let task = tokio::spawn(async move {
            // A second try waits for the first.
            let stripe = usize::from(creation.record.sid.as_bytes()[0]) % store.0.logins.len();
            let _turn = store.0.logins[stripe].lock().await;
            store.create_in_steps(creation).await
        });
        task.await.map_err(Error::store)?
    }

    async fn create_in_steps(&self, creation: Creation) -> Result<Created, Error> {
        let (sid, eviction) = (creation.record.sid, creation.eviction());
        if self.load(sid).await?.is_some() {
            return Ok(Created::Exists);
        }
        let Admission::Admit(victims) = self.admission(&creation).await? else { return Ok(Created::Refused) };
        let (creation, replaced) = self.replace(creation).await?;
        let created = self.create_here(creation).await?;
        let Created::Done { record, .. } = created else { return Ok(created) };
        let mut evicted = Vec::new();
        for victim in victims {
            let (ending, _) = self.finish(victim, &eviction, false, true).await?;
            if ending == Ending::Done(eviction.reason) {
                evicted.push(victim);
            }
        }
        Ok(Created::Done { record, replaced, evicted })
    }

    /// Ends the session that it replaces; what is left to do is a creation in one partition.
    async fn replace(&self, mut creation: Creation) -> Result<(Creation, Option<Ending>), Error> {
        creation.cap = None;
        let Some(order) = creation.replaces.take() else { return Ok((creation, None)) };
        let (ending, data) = self.finish(order.sid, &order.end, order.keep_data, false).await?;
        let mut edits = Edits::default();
        for (name, value) in data.iter() {
            edits.set(name, value.clone());
        }
        for (name, value) in creation.edits.iter() {
            match value {
                Some(value) => edits.set(name, value.clone()),
                None => edits.remove(name),
            }
        }
        creation.edits = edits;
        Ok((creation, Some(ending).filter(|ending| *ending != Ending::Unknown)))
    }

    /// What the cap says, and whom it evicts.
    async fn admission(&self, creation: &Creation) -> Result<Admission, Error> {
        let record = &creation.record;
        let Some(subject) = record.subject.as_ref().filter(|_| creation.cap.is_some()) else {
            return Ok(Admission::Admit(Vec::new()));
        };
        let now = record.timing.created_at;
        let page = Page { subject: Some(Arc::clone(subject)), after: None, limit: usize::MAX, now };
        let listed = self.list(page).await?;
        let queue = self.queue_of(subject);
        let before = scripts::Call::new(&self.0.scripts.admit, &queue)
            .arg(answer::digits(record.sid))
            .arg(now.as_unix_millis())
            .arg(answer::millis(QUEUED));
        let before = answer::queue(self.run(before).await?)?;
        let replay = self.replay(creation, listed, before).await;
        if !matches!(replay, Ok(Admission::Admit(_))) {
            let mut leave = redis::cmd("ZREM");
            leave.arg(&queue).arg(format!("{},{}", answer::digits(record.sid), now.as_unix_millis()));
            self.0.connection.ask(&leave).await.map_err(|error| scripts::failed(&error))?;
        }
        replay
    }

    /// Lets the logins of the queue in, one after the other and this one last, as a single server would have.
    async fn replay(
        &self,
        creation: &Creation,
        listed: Vec<Record>,
        queue: Vec<Queued>,
    ) -> Result<Admission, Error> {
        let now = creation.record.timing.created_at;
        let mut live: BTreeMap<_, _> = listed.into_iter().map(|record| (record.sid, record)).collect();
        let mut evicted = Vec::new();
        for login in queue {
            let sid = login.sid;
            let Some(queued) = self.queued(creation, live.remove(&sid), login).await? else { continue };
            if let Admission::Admit(victims) =
                admit(creation.cap, live.values(), creation.replaced_sid(), now)
            {
                for victim in victims {
                    live.remove(&victim);
                    evicted.push(victim);
                }
                live.insert(sid, queued);
            }
        }
        Ok(match creation.admit(live.values()) {
            Admission::Refuse => Admission::Refuse,
            Admission::Admit(victims) => {
                evicted.extend(victims);
                Admission::Admit(evicted)
            }
        })
    }

    /// The session of a login in the queue, as it is or as it will be; `None` when it has ended, or will never come.
    async fn queued(
        &self,
        creation: &Creation,
        listed: Option<Record>,
        login: Queued,
    ) -> Result<Option<Record>, Error> {
        if listed.is_some() {
            return Ok(listed);
        }
        let now = creation.record.timing.created_at;
        Ok(match self.load(login.sid).await? {
            Some(record) => record.is_live(now).then_some(record),
            None if login.age < ON_ITS_WAY => {
                let mut awaited = Record { sid: login.sid, ..creation.record.clone() };
                awaited.timing.created_at = login.created_at;
                awaited.timing.last_interaction_at = login.created_at;
                Some(awaited)
            }
            None => None,
        })
    }

    /// In a slot of its own, which the subject's name chooses.
    fn queue_of(&self, subject: &str) -> String {
        let digest = Sha256::digest(subject.as_bytes());
        format!("{}:logins:{{{}}}", self.0.prefix, answer::hex(&digest[..16]))
    }
}
