//! The end of the session, for responses that outlast their request.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::Session;
use crate::{
    EndReason, Error, ErrorKind,
    policy::{Activity, Verdict, decide, is_due},
    record::{Change, UpdateOutcome},
};

impl Session {
    /// Resolves when the session is over: within 1 s of its deadline or of a call that ended it on
    /// this node, and within 2 s of a call on another node. Resolves at once without a session;
    /// `None` when no reason is known.
    ///
    /// For handlers that hold a connection open, such as WebSockets. It keeps nothing alive:
    /// waiting is not an interaction. Needs a tokio runtime with timers. While the store cannot be
    /// reached, the last known deadline counts.
    ///
    /// A session costs at most one load a second on this node, however many wait for it. One that
    /// has more than 32 open streams loses the oldest: that one resolves with `None`.
    /// [`SessionLayer::with_max_streams`](crate::SessionLayer::with_max_streams) sets another
    /// number.
    ///
    /// # Example
    ///
    /// ```
    /// use tower_tenure::{EndReason, Session};
    ///
    /// // It holds no borrow, so it may outlive the handler's session.
    /// fn end_of(session: Session) -> impl Future<Output = Option<EndReason>> + Send + 'static {
    ///     session.ended()
    /// }
    /// ```
    pub fn ended(&self) -> impl Future<Output = Option<EndReason>> + Send + use<> {
        let session = self.clone();
        async move { session.wait_for_end().await }
    }

    /// Wraps a body or a stream so that it closes when the session is over.
    ///
    /// # Example
    ///
    /// ```
    /// # use tower_tenure::Session;
    /// use futures_util::{Stream, stream};
    ///
    /// fn ticks(session: &Session) -> impl Stream<Item = &'static str> {
    ///     session.until_ended(stream::repeat("tick"))
    /// }
    /// ```
    pub fn until_ended<T>(&self, inner: T) -> UntilEnded<T> {
        UntilEnded { inner, ended: Some(Box::pin(self.ended())) }
    }

    /// Records that the user is active: an interaction like any other, also after the head of the
    /// response was sent.
    ///
    /// For a long connection, such as a WebSocket, on which the user acts without further requests.
    /// It may be called for every message: an interaction is recorded when the policy's
    /// [granularity](crate::Policy::with_granularity) has passed since the last one, and other
    /// calls ask no store.
    ///
    /// # Errors
    ///
    /// [`Ended`](ErrorKind::Ended) without a live session. When the store failed: the session may
    /// then expire although its user was active.
    ///
    /// # Example
    ///
    /// ```
    /// # use tower_tenure::{Error, Session};
    /// async fn on_message(session: &Session, text: &str) -> Result<(), Error> {
    ///     session.touch().await?;
    ///     println!("{text}");
    ///     Ok(())
    /// }
    /// ```
    pub async fn touch(&self) -> Result<(), Error> {
        let inner = self.inner();
        let (engine, realm, now) = (&inner.config.engine, inner.realm(), inner.config.engine.clock.now());
        let ended =
            || Error::new(ErrorKind::Ended, "there is no live session, so no interaction was recorded");
        let policy = inner.config.policy_of_stream(realm);
        let sid = {
            let state = self.look();
            let known = state.request.lasting().ok_or_else(ended)?;
            if !is_due(&known.next_timing(), &policy, now) {
                return Ok(());
            }
            known.record.sid
        };
        // What this request knows may be old: others may have ended the session, or used it.
        let record = engine.load(sid, now).await?.filter(|record| record.tombstone().is_none());
        let record = record.ok_or_else(ended)?;
        let policy = engine.policy_of(realm, &policy, now).await?;
        let timing = match decide(&record, &policy, now, Activity::Interaction) {
            Verdict::Live(next) if next.change.is_empty() => next.timing,
            Verdict::Live(next) => {
                let change = Change { timing: next.change, ..Change::at(now) };
                match engine.update(sid, &realm.name, engine.hint(&record), change).await? {
                    UpdateOutcome::Applied(applied) => applied.timing,
                    _ => return Err(ended()),
                }
            }
            Verdict::Over { reason, .. } => {
                if let Some(outcome) = engine.end_found_over(&record, &policy, now, reason).await {
                    outcome?;
                }
                return Err(ended());
            }
        };
        self.state().request.touched_outside(sid, timing);
        Ok(())
    }

    async fn wait_for_end(self) -> Option<EndReason> {
        let inner = self.inner();
        let (sid, timing) = {
            let state = self.look();
            let Some(known) = state.request.lasting() else {
                return state.request.past(inner.now).map(|past| past.reason);
            };
            (known.record.sid, known.next_timing())
        };
        let (config, realm) = (&inner.config, inner.realm());
        config.engine.until_over(sid, timing, realm, || config.policy_without_request(realm)).await
    }
}

pin_project! {
    /// A body or a stream that closes when the session is over; see [`Session::until_ended`].
    pub struct UntilEnded<T> {
        #[pin]
        inner: T,
        ended: Option<Pin<Box<dyn Future<Output = Option<EndReason>> + Send>>>,
    }
}

impl<T> UntilEnded<T> {
    /// Whether the session is over.
    fn poll_over(
        ended: &mut Option<Pin<Box<dyn Future<Output = Option<EndReason>> + Send>>>,
        cx: &mut Context<'_>,
    ) -> bool {
        if ended.as_mut().is_some_and(|ended| ended.as_mut().poll(cx).is_ready()) {
            *ended = None;
        }
        ended.is_none()
    }
}

impl<T: Stream> Stream for UntilEnded<T> {
    type Item = T::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<T::Item>> {
        let this = self.project();
        if Self::poll_over(this.ended, cx) { Poll::Ready(None) } else { this.inner.poll_next(cx) }
    }
}

impl<T: Body> Body for UntilEnded<T> {
    type Data = T::Data;
    type Error = T::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        if Self::poll_over(this.ended, cx) { Poll::Ready(None) } else { this.inner.poll_frame(cx) }
    }

    fn is_end_stream(&self) -> bool {
        self.ended.is_none() || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default() // how much will have come by then is not known
    }
}

impl<T> fmt::Debug for UntilEnded<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UntilEnded").field("over", &self.ended.is_none()).finish_non_exhaustive()
    }
}
