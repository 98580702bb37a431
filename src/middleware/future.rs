//! Load, call, commit, respond.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use pin_project_lite::pin_project;
use tower::Service;

use crate::{
    Error, ErrorKind, Outcome, Session,
    policy::Refusal,
    store::Answer,
    web::{Problem, ResponseBody},
};

// Boxed, because it is large and seldom there: a store that answers at once is never waited for.
type Loading = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;
type Answering = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Error>> + Send>>;
type Committing = Answer<'static, Result<Outcome, Error>>;
type Touching = Answer<'static, Result<(), Error>>;

pin_project! {
    /// The future of a [`SessionService`](super::SessionService).
    ///
    /// Dropping it before it is done writes nothing that the handler changed; dropped within the
    /// one call to the store that commits, the change took place whole or not at all.
    pub struct ResponseFuture<S, ReqBody, ResBody>
    where
        S: Service<Request<ReqBody>>,
    {
        // `None` when the request is none of our business.
        session: Option<Session>,
        #[pin]
        state: State<S, S::Future, ReqBody, ResBody>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S, F, ReqBody, ResBody> {
        // Waits for the store to say what the cookie leads to.
        Loading { arrival: Loading, then: Option<(S, Request<ReqBody>)> },
        // Waits for an endpoint of this crate, from the loading to the commit.
        Answering { answer: Answering },
        // Waits for the inner service, and for the store to record the interaction beside it.
        Running { touch: Option<Touching>, #[pin] response: F, answered: Option<Response<ResBody>> },
        // Waits for the store to take what changed.
        Committing { committed: Committing, response: Option<Response<ResponseBody<ResBody>>> },
        // Waits for nothing.
        Answered { response: Option<Response<Bytes>> },
    }
}

impl<S, ReqBody, ResBody> ResponseFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    pub(super) fn untouched(response: S::Future) -> Self {
        Self { session: None, state: State::running(None, response) }
    }

    pub(super) fn answered(response: Response<Bytes>) -> Self {
        Self { session: None, state: State::Answered { response: Some(response) } }
    }

    pub(super) fn running(session: Session, response: S::Future) -> Self {
        Self { session: Some(session), state: State::running(None, response) }
    }

    pub(super) fn loading(session: Session, arrival: Loading, service: S, request: Request<ReqBody>) -> Self {
        let then = Some((service, request));
        Self { session: Some(session), state: State::Loading { arrival, then } }
    }

    pub(super) fn answering(session: Session, answer: Answering) -> Self {
        Self { session: Some(session), state: State::Answering { answer } }
    }
}

impl<S, ReqBody, ResBody> Future for ResponseFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                StateProjection::Loading { arrival, then } => {
                    let arrival = ready!(arrival.as_mut().poll(cx));
                    let session = this.session.as_ref().expect("a session is being loaded");
                    if arrival.is_err() {
                        let response = ResponseBody::own(Problem::store_unavailable());
                        return Poll::Ready(Ok(finish(this.session, response, true)));
                    }
                    let (mut service, request) = then.take().expect("polled after completion");
                    let touch = session.start_touch();
                    let response = service.call(request);
                    this.state.set(State::running(touch, response));
                }
                StateProjection::Answering { answer } => {
                    let (response, store_failed) = match ready!(answer.as_mut().poll(cx)) {
                        Ok(response) => (response, false),
                        Err(_) => (Problem::store_unavailable(), true),
                    };
                    // It holds the session.
                    this.state.set(State::Answered { response: None });
                    return Poll::Ready(Ok(finish(this.session, ResponseBody::own(response), store_failed)));
                }
                StateProjection::Running { touch, response, answered } => {
                    // First, so that the store is asked before the handler goes on.
                    if let Some(touching) = touch
                        && Pin::new(touching).poll(cx).is_ready()
                    {
                        *touch = None; // what came of it is in the session's state
                    }
                    let response = if let Some(response) = answered.take() {
                        response
                    } else if let Poll::Ready(response) = response.poll(cx) {
                        response?
                    } else {
                        this.session.as_ref().inspect(|session| session.handler_waits());
                        return Poll::Pending;
                    };
                    if touch.is_some() {
                        *answered = Some(response);
                        return Poll::Pending;
                    }
                    let mut response = ResponseBody::inner(response);
                    let Some(session) = this.session.as_ref() else { return Poll::Ready(Ok(response)) };
                    if session.respond_at_once(response.headers_mut()) {
                        this.session.take().into_iter().for_each(Session::recycle);
                        return Poll::Ready(Ok(response));
                    }
                    let committed =
                        commit(session, session.has_failed(response.status(), response.headers()));
                    this.state.set(State::Committing { committed, response: Some(response) });
                }
                StateProjection::Committing { committed, response } => {
                    let outcome = ready!(Pin::new(&mut *committed).poll(cx));
                    // What is left of it holds the session.
                    *committed = Answer::Ready(None);
                    let response = response.take().expect("polled after completion");
                    let (response, store_failed) = match outcome {
                        Ok(Outcome::Done) => (response, false),
                        Ok(Outcome::Refused(refusal)) => (ResponseBody::own(refused(&refusal)), false),
                        // The write came before the end, which wiped it: the response stands,
                        // without a cookie (S4).
                        Err(error) if error.kind() == ErrorKind::Ended => (response, false),
                        Err(error) if error.kind() == ErrorKind::TooLarge => {
                            (ResponseBody::own(too_large(&error)), false)
                        }
                        Err(_) => (ResponseBody::own(Problem::store_unavailable()), true),
                    };
                    return Poll::Ready(Ok(finish(this.session, response, store_failed)));
                }
                StateProjection::Answered { response } => {
                    return Poll::Ready(Ok(ResponseBody::own(
                        response.take().expect("polled after completion"),
                    )));
                }
            }
        }
    }
}

impl<S, F, ReqBody, ResBody> State<S, F, ReqBody, ResBody> {
    const fn running(touch: Option<Touching>, response: F) -> Self {
        Self::Running { touch, response, answered: None }
    }
}

/// Starts to store what changed in a session that is closed.
fn commit(session: &Session, has_failed: bool) -> Committing {
    let committing = session.clone();
    session.answer(|| async move { committing.commit(has_failed).await })
}

fn finish<B>(
    session: &mut Option<Session>,
    mut response: Response<ResponseBody<B>>,
    store_failed: bool,
) -> Response<ResponseBody<B>> {
    if let Some(session) = session.take() {
        session.respond(response.headers_mut(), store_failed);
        session.recycle();
    }
    response
}

fn too_large(error: &Error) -> Response<Bytes> {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "Session data too large")
        .with_detail(error.to_string())
        .into_response()
}

fn refused(refusal: &Refusal) -> Response<Bytes> {
    Problem::new(StatusCode::FORBIDDEN, "Sign-in refused").with_detail(refusal.to_string()).into_response()
}

impl<S, ReqBody, ResBody> fmt::Debug for ResponseFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("session", &self.session).finish_non_exhaustive()
    }
}
