//! All sessions of a realm, for administration.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use serde::Serialize;

#[cfg(feature = "management")]
use crate::engine::SettingValues;
use crate::{
    Error, Policy, SessionId, Timestamp,
    engine::{Engine, LivePage, RealmState},
    record::{Change, Metadata, Record, UpdateOutcome},
    session::SessionSummary,
    settings::LayerConfig,
};

/// The sessions of one realm, to list, revoke and sweep them. Cheap to clone.
///
/// Get it from [`SessionLayer::sessions`](crate::SessionLayer::sessions).
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
/// // "Sign out everywhere": binds the very next request.
/// sessions.revoke_all("alice", None).await?;
/// assert_eq!(sessions.list(Some("alice"), None, 50).await?.sessions, []);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Sessions {
    layer: Arc<LayerSettings>,
    /// `None` for that of the layer.
    realm: Option<Arc<str>>,
}

/// The settings of a layer: also those that are set after its [`Sessions`] were handed out.
pub(crate) type LayerSettings = ArcSwap<LayerConfig>;

/// The settings and the realm at the time of a call.
struct View {
    config: Arc<LayerConfig>,
    realm: Arc<RealmState>,
}

/// A page of live sessions; see [`Sessions::list`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SessionPage {
    /// The sessions, oldest first.
    pub sessions: Vec<SessionSummary>,
    /// Where the next page starts; `None` on the last page.
    ///
    /// A page may have fewer sessions than asked for, or none, and still not be the last: one call
    /// looks at a bounded number of sessions, and leaves out those that are over.
    pub next: Option<(Timestamp, SessionId)>,
}

/// What one batch of a sweep did; see [`Sessions::sweep`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SweepReport {
    /// How many sessions were over, and were ended.
    pub ended: usize,
    /// How many tombstones were removed.
    pub removed: usize,
    /// Whether nothing is left to do for now.
    pub finished: bool,
}

impl View {
    fn now(&self) -> Timestamp {
        self.config.engine.clock.now()
    }

    fn engine(&self) -> &Engine {
        &self.config.engine
    }

    /// The policy by which sessions are judged that have no request.
    fn policy(&self) -> Policy {
        self.config.policy_without_request(&self.realm)
    }
}

impl Sessions {
    pub(crate) const fn new(layer: Arc<LayerSettings>, realm: Option<Arc<str>>) -> Self {
        Self { layer, realm }
    }

    fn view(&self) -> View {
        let config = self.layer.load_full();
        let realm = match &self.realm {
            Some(name) => config.engine.realm(name),
            None => Arc::clone(&config.home),
        };
        View { config, realm }
    }

    /// The realm that these sessions belong to.
    pub fn realm(&self) -> Arc<str> {
        Arc::clone(&self.view().realm.name)
    }

    /// Whether the store answers: one small read, within the time that a call may take.
    ///
    /// For the readiness check of a load balancer. A node whose store is unavailable answers 503 to
    /// every request with a cookie. So it should get no requests while another node is ready.
    ///
    /// # Errors
    ///
    /// When the store fails or does not answer in time. If an outage begins with this failure, it
    /// is an [event](crate::events).
    ///
    /// # Example
    ///
    /// ```
    /// use axum::{Router, http::StatusCode, routing::get};
    /// use tower_tenure::{MemoryStore, SessionLayer};
    ///
    /// let layer = SessionLayer::new(MemoryStore::new());
    /// let sessions = layer.sessions();
    /// let app: Router = Router::new().layer(layer).route(
    ///     "/ready",
    ///     get(async move || match sessions.ready().await {
    ///         Ok(()) => StatusCode::NO_CONTENT,
    ///         Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    ///     }),
    /// );
    /// ```
    pub async fn ready(&self) -> Result<(), Error> {
        let view = self.view();
        view.config.engine.ask_not_before(&view.realm, view.now()).await
    }

    /// A live session; `None` when this id has none.
    pub async fn load(&self, sid: SessionId) -> Result<Option<SessionSummary>, Error> {
        let found = self.find(sid).await?;
        Ok(found.map(|record| SessionSummary::of(&record, &self.view().policy())))
    }

    /// The record of a live session.
    pub(crate) async fn find(&self, sid: SessionId) -> Result<Option<Record>, Error> {
        let view = self.view();
        view.engine().find_live(sid, &view.realm, &view.policy(), view.now()).await
    }

    /// Up to `limit` live sessions of a user, or of all users when `None`: oldest first, and only
    /// those `after` the given one.
    ///
    /// Sessions are judged by the live policy, and those that are over are ended. A page that found
    /// many of those is shorter, perhaps empty. It is the last one only when
    /// [`next`](SessionPage::next) is `None`.
    pub async fn list(
        &self,
        subject: Option<&str>,
        after: Option<(Timestamp, SessionId)>,
        limit: usize,
    ) -> Result<SessionPage, Error> {
        let page = self.records(subject, after, limit).await?;
        let policy = self.view().policy();
        let sessions = page.sessions.iter().map(|record| SessionSummary::of(record, &policy)).collect();
        Ok(SessionPage { sessions, next: page.next })
    }

    /// The records of [`Sessions::list`].
    pub(crate) async fn records(
        &self,
        subject: Option<&str>,
        after: Option<(Timestamp, SessionId)>,
        limit: usize,
    ) -> Result<LivePage, Error> {
        let view = self.view();
        view.engine().list_live(subject, after, limit, &view.realm, &view.policy(), view.now()).await
    }

    /// Replaces all metadata of a live session; no deadline moves.
    ///
    /// Returns the changed session; `None` when this id has no live session.
    pub async fn set_metadata(
        &self,
        sid: SessionId,
        metadata: Metadata,
    ) -> Result<Option<SessionSummary>, Error> {
        let changed = self.replace_metadata(sid, metadata).await?;
        Ok(changed.map(|record| SessionSummary::of(&record, &self.view().policy())))
    }

    /// The changed record of [`Sessions::set_metadata`].
    pub(crate) async fn replace_metadata(
        &self,
        sid: SessionId,
        metadata: Metadata,
    ) -> Result<Option<Record>, Error> {
        let view = self.view();
        let Some(mut record) = self.find(sid).await? else { return Ok(None) };
        let change = Change { metadata: Some(Box::new(metadata)), ..Change::at(view.now()) };
        let updated = {
            let engine = view.engine();
            engine.update(sid, &record.realm, engine.hint(&record), change.clone()).await?
        };
        Ok(matches!(updated, UpdateOutcome::Applied(_)).then(|| {
            change.apply(&mut record);
            record
        }))
    }

    /// Ends a session for the reason `revoked`. Returns whether this call revoked it: `false` when
    /// this id has no session, or it was over before.
    ///
    /// The session is over afterwards in any case, whatever the clocks of the nodes say.
    pub async fn revoke(&self, sid: SessionId) -> Result<bool, Error> {
        let view = self.view();
        view.engine().revoke(sid, &view.realm, view.now()).await
    }

    /// Ends all sessions of a user, except one if given ("sign out everywhere"), in one write
    /// whatever their number.
    ///
    /// It binds the very next request on every node, and logins that are in flight. The end of each
    /// session is an event of its own; with very many sessions, the sweep emits most of them. A
    /// session of another user as `except` has no effect.
    pub async fn revoke_all(&self, subject: &str, except: Option<SessionId>) -> Result<(), Error> {
        self.revoke_all_by(None, subject, except).await
    }

    /// As [`Sessions::revoke_all`], with the name of who did it for the event.
    pub(crate) async fn revoke_all_by(
        &self,
        by: Option<&str>,
        subject: &str,
        except: Option<SessionId>,
    ) -> Result<(), Error> {
        let view = self.view();
        let (policy, now) = (view.policy(), view.now());
        view.engine().sign_out_everywhere(subject, except, by, &view.realm, &policy, now).await
    }

    /// Signs out all users of the realm, in one write whatever their number.
    ///
    /// Every session that was authenticated until now is over, for the reason `revoked`: at once on
    /// this node, within two seconds on the others. Anonymous sessions stay.
    pub async fn revoke_everybody(&self) -> Result<(), Error> {
        self.revoke_everybody_by(None).await
    }

    /// As [`Sessions::revoke_everybody`], with the name of who did it for the event.
    pub(crate) async fn revoke_everybody_by(&self, by: Option<&str>) -> Result<(), Error> {
        let view = self.view();
        view.engine().revoke_everybody(&view.realm, view.now(), by).await
    }

    /// Emits an event for each setting that is another after a change.
    #[cfg(feature = "management")]
    pub(crate) fn report_changes(&self, by: Option<&str>, before: &SettingValues, after: &SettingValues) {
        let view = self.view();
        view.engine().report_changes(&view.realm.name, view.now(), by, before, after);
    }

    /// Runs one batch of a sweep: ends at most `limit` sessions that are over, with an event for
    /// each, and removes at most `limit` old tombstones.
    ///
    /// It does nothing while this node's clock disagrees with the store's
    /// ([S12](crate::rules#s12)).
    pub async fn sweep(&self, limit: usize) -> Result<SweepReport, Error> {
        let view = self.view();
        let policy = view.policy();
        let only_this_realm = view.config.realm_by.is_none();
        let now = view.now();
        let swept = view.engine().sweep(&view.realm, &policy, only_this_realm, now, limit).await?;
        Ok(SweepReport { ended: swept.ended, removed: swept.removed, finished: swept.finished })
    }

    /// Sweeps in batches, for as long as it is polled: spawn it.
    ///
    /// Whenever nothing is left to do it waits for `pause`, at most 30 seconds. A failure is an
    /// event, and the sweep continues after the pause.
    ///
    /// One node of several is enough; several at once do no harm. Without a sweep, a session whose
    /// holder never returns ends without an event, and stores other than
    /// [`MemoryStore`](crate::MemoryStore) keep what is over.
    pub async fn sweep_every(self, pause: Duration) {
        const BATCH: usize = 1000;
        const LONGEST_PAUSE: Duration = Duration::from_secs(30);
        loop {
            while self.sweep(BATCH).await.is_ok_and(|swept| !swept.finished) {
                tokio::time::sleep(Duration::from_millis(1)).await; // lets other calls reach the store
            }
            tokio::time::sleep(pause.min(LONGEST_PAUSE)).await;
        }
    }
}
