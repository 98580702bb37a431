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
use crate::EndReason;

impl Session {
    /// Resolves when the session is over, by time or because it was ended, on this node or another (SPEC H4): within 1 s
    /// on this node, 2 s from another. Resolves at once without a session; `None` when no reason is known.
    ///
    /// For handlers that hold a connection open, such as WebSockets. It keeps nothing alive: waiting is not an interaction.
    /// Needs a tokio runtime with timers. While the store cannot be reached, the last known deadline counts.
    ///
    /// A session costs at most one load a second on this node, however many wait for it. One that has more than 32 open streams
    /// loses the oldest: that one resolves with `None`. [`SessionLayer::with_max_streams`](crate::SessionLayer::with_max_streams)
    /// sets another number.
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

    /// Wraps a body or a stream so that it closes when the session is over (SPEC H4).
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
