//! The tower service of [`RequireSession`], and its future.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use super::{RequireSession, Verdict};
use crate::web::ResponseBody;

impl<S> Layer<S> for RequireSession {
    type Service = RequireSessionService<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireSessionService { inner, require: Arc::new(self.clone()) }
    }
}

/// A service behind [`RequireSession`].
#[derive(Clone, Debug)]
pub struct RequireSessionService<S> {
    inner: S,
    require: Arc<RequireSession>,
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for RequireSessionService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = RequireSessionFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let state = match self.require.check((&request).into()) {
            Verdict::Preflight => State::Passed { response: self.inner.call(request), private: false },
            Verdict::Pass => State::Passed { response: self.inner.call(request), private: true },
            Verdict::Deny(response) => State::Denied { response: Some(response) },
        };
        RequireSessionFuture { state }
    }
}

pin_project! {
    /// The future of a [`RequireSessionService`].
    pub struct RequireSessionFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Passed { #[pin] response: F, private: bool },
        Denied { response: Option<Response<Bytes>> },
    }
}

impl<F, ResBody, E> Future for RequireSessionFuture<F>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
{
    type Output = Result<Response<ResponseBody<ResBody>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match self.project().state.project() {
            StateProjection::Passed { response, private } => {
                let mut response = ready!(response.poll(cx))?;
                if *private {
                    keep_private(response.headers_mut());
                }
                Ok(ResponseBody::inner(response))
            }
            StateProjection::Denied { response } => {
                Ok(ResponseBody::own(response.take().expect("polled after completion")))
            }
        })
    }
}

/// C8: what needs a session is for its user only, unless the handler says otherwise.
fn keep_private(headers: &mut HeaderMap) {
    let private = HeaderValue::from_static("private, no-store");
    headers.entry(header::CACHE_CONTROL).or_insert(private);
}

impl<F> fmt::Debug for RequireSessionFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequireSessionFuture").finish_non_exhaustive()
    }
}
