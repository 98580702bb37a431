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
    browser::Call,
    policy::Refusal,
    store::Answer,
    web::{Problem, ResponseBody},
};

// Boxed, because it is large and seldom there: a store that answers at once is never waited for.
type Loading = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;
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
        Loading { arrival: Loading, then: Option<Then<S, ReqBody>> },
        // Waits for the inner service, and for the store to record the interaction beside it.
        Running { touch: Option<Touching>, #[pin] response: F, answered: Option<Response<ResBody>> },
        // Waits for the store to take what changed.
        Committing { committed: Committing, then: Option<Reply<ResBody>> },
        // Waits for nothing.
        Answered { response: Option<Response<Bytes>> },
    }
}

/// What follows once the session is known.
#[cfg_attr(
    not(feature = "browser"),
    expect(clippy::large_enum_variant, reason = "there are no endpoints then")
)]
enum Then<S, ReqBody> {
    Call { service: S, request: Request<ReqBody> },
    Endpoint(Call),
}

/// What is answered once everything is stored.
enum Reply<ResBody> {
    Response(Response<ResponseBody<ResBody>>),
    Endpoint(Call),
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
        let then = Some(Then::Call { service, request });
        Self { session: Some(session), state: State::Loading { arrival, then } }
    }

    pub(super) fn endpoint(session: Session, arrival: Loading, call: Call) -> Self {
        Self { session: Some(session), state: State::Loading { arrival, then: Some(Then::Endpoint(call)) } }
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
                    match (arrival, then.take().expect("polled after completion")) {
                        (Err(_), _) => {
                            let response = ResponseBody::own(Problem::store_unavailable());
                            return Poll::Ready(Ok(finish(this.session, response, true)));
                        }
                        (Ok(()), Then::Call { mut service, request }) => {
                            let touch = session.start_touch();
                            let response = service.call(request);
                            this.state.set(State::running(touch, response));
                        }
                        (Ok(()), Then::Endpoint(mut call)) => {
                            let committed = match call.prepare(session) {
                                Ok(()) => commit_endpoint(session),
                                Err(error) => Answer::Ready(Some(Err(error))),
                            };
                            this.state
                                .set(State::Committing { committed, then: Some(Reply::Endpoint(call)) });
                        }
                    }
                }
                StateProjection::Running { touch, response, answered } => {
                    // First, so that the store is asked before the handler goes on.
                    if let Some(touching) = touch
                        && Pin::new(touching).poll(cx).is_ready()
                    {
                        *touch = None; // what came of it is in the session's state
                    }
                    if answered.is_none() {
                        let Poll::Ready(response) = response.poll(cx) else {
                            this.session.as_ref().inspect(|session| session.handler_waits());
                            return Poll::Pending;
                        };
                        *answered = Some(response?);
                    }
                    if touch.is_some() {
                        return Poll::Pending;
                    }
                    let response = ResponseBody::inner(answered.take().expect("it was put there above"));
                    let Some(session) = this.session.as_ref() else { return Poll::Ready(Ok(response)) };
                    let committed =
                        commit(session, |session| session.has_failed(response.status(), response.headers()));
                    this.state.set(State::Committing { committed, then: Some(Reply::Response(response)) });
                }
                StateProjection::Committing { committed, then } => {
                    let outcome = ready!(Pin::new(&mut *committed).poll(cx));
                    // What is left of it holds the session.
                    *committed = Answer::Ready(None);
                    let sound = |reply| match reply {
                        Reply::Response(response) => response,
                        Reply::Endpoint(call) => {
                            let session = this.session.as_ref().expect("a session is being stored");
                            ResponseBody::own(call.answer(session))
                        }
                    };
                    let reply = then.take().expect("polled after completion");
                    let (response, store_failed) = match outcome {
                        Ok(Outcome::Done) => (sound(reply), false),
                        Ok(Outcome::Refused(refusal)) => (ResponseBody::own(refused(&refusal)), false),
                        // The write came before the end, which wiped it: the response stands,
                        // without a cookie (S4).
                        Err(error) if error.kind() == ErrorKind::Ended => (sound(reply), false),
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

/// An endpoint waits for its interaction to be recorded, and then stores what changed.
fn commit_endpoint(session: &Session) -> Committing {
    let Some(touch) = session.start_touch() else { return commit(session, |_| false) };
    let committing = session.clone();
    session.answer(|| async move {
        touch.await?;
        committing.close();
        committing.commit(false).await
    })
}

/// Starts to store what changed; after this the handler can change nothing.
fn commit(session: &Session, has_failed: impl FnOnce(&Session) -> bool) -> Committing {
    if !session.close() {
        return Answer::Ready(Some(Ok(Outcome::Done)));
    }
    let (committing, failed) = (session.clone(), has_failed(session));
    session.answer(|| async move { committing.commit(failed).await })
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
    Problem::new(StatusCode::FORBIDDEN, "Login refused").with_detail(refusal.to_string()).into_response()
}

impl<S, ReqBody, ResBody> fmt::Debug for ResponseFuture<S, ReqBody, ResBody>
where
    S: Service<Request<ReqBody>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").field("session", &self.session).finish_non_exhaustive()
    }
}
