//! All sessions behind a layer, for whoever administers them.

use std::time::Duration;

use crate::{
    EndReason, Error, SessionId, Timestamp,
    engine::Engine,
    record::{Change, End, Ending, Metadata, Record, Updated},
    store::{Page, Swept},
};

/// All sessions behind a [`SessionLayer`](crate::SessionLayer): to look at, to revoke, to sweep. Cheap to clone.
///
/// # Example
///
/// ```
/// use tower_tenure::{MemoryStore, SessionLayer};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), tower_tenure::Error> {
/// let layer = SessionLayer::new(MemoryStore::new());
/// let sessions = layer.sessions();
///
/// // "Sign out everywhere": seen by the very next request.
/// let ended = sessions.revoke_all("alice", None).await?;
/// assert_eq!(ended, []);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Sessions {
    engine: Engine,
}

impl Sessions {
    pub(crate) const fn new(engine: Engine) -> Self {
        Self { engine }
    }

    /// A live session, as the store keeps it: with its data, which is not for everybody's eyes. `None` when there is none of this id, or it is over.
    pub async fn load(&self, sid: SessionId) -> Result<Option<Record>, Error> {
        let now = self.engine.clock.now();
        Ok(self.engine.load(sid, now).await?.filter(|record| record.is_live(now)))
    }

    /// Up to `limit` live sessions of a user, or of all when `None`, oldest first, after the one named.
    pub async fn list(
        &self,
        subject: Option<&str>,
        after: Option<(Timestamp, SessionId)>,
        limit: usize,
    ) -> Result<Vec<Record>, Error> {
        let now = self.engine.clock.now();
        self.engine.list(Page { subject: subject.map(Into::into), after, limit, now }).await
    }

    /// Puts metadata in place of all that a live session has; no deadline moves. The session as it is then; `None` when there is
    /// none of this id, or it is over.
    pub async fn set_metadata(&self, sid: SessionId, metadata: Metadata) -> Result<Option<Record>, Error> {
        let Some(mut record) = self.load(sid).await? else { return Ok(None) };
        let change = Change { metadata: Some(metadata), ..Change::at(self.engine.clock.now()) };
        let updated = self.engine.update(sid, change.clone()).await?;
        Ok(matches!(updated, Updated::Applied(_)).then(|| {
            change.apply(&mut record);
            record
        }))
    }

    /// Ends a session; its user is told `revoked`. `false` when there is none, or it is over.
    pub async fn revoke(&self, sid: SessionId) -> Result<bool, Error> {
        // Looked at first, so that observers are told whose it was.
        let Some(record) = self.load(sid).await? else { return Ok(false) };
        let end = self.revocation();
        Ok(self.engine.end(sid, end, record.subject.as_deref()).await? == Ending::Done(end.reason))
    }

    /// Ends all sessions of a user, except one if named; tells which.
    pub async fn revoke_all(
        &self,
        subject: &str,
        except: Option<SessionId>,
    ) -> Result<Vec<SessionId>, Error> {
        self.engine.end_subject(subject.into(), self.revocation(), except).await
    }

    fn revocation(&self) -> End {
        End::new(EndReason::Revoked, self.engine.clock.now())
    }

    /// Removes a batch of at most `limit` records that have been over for longer than their end reason is kept.
    pub async fn sweep(&self, limit: usize) -> Result<Swept, Error> {
        self.engine.sweep(self.engine.clock.now(), limit).await
    }

    /// Sweeps for ever, in batches, with a pause whenever there is no more; spawn it. A failure is told as an event and
    /// tried again after the pause. A store in this process is swept without it.
    pub async fn sweep_every(self, pause: Duration) {
        const BATCH: usize = 1000;
        loop {
            while self.sweep(BATCH).await.is_ok_and(|swept| !swept.finished) {
                tokio::time::sleep(Duration::from_millis(1)).await; // lets others have the store
            }
            tokio::time::sleep(pause).await;
        }
    }
}
