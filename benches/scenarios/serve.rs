//! How a service is called, in the same way for all stacks.

use std::{
    convert::Infallible,
    hint::black_box,
    pin::pin,
    task::{Context, Poll},
};

use axum::body::Body;
use futures_util::FutureExt;
use http::{Request, Response, response::Parts};
use http_body_util::BodyExt;
use tower::{Service, ServiceExt};

/// A type-erased stack. The call through the box costs the same for all.
pub(crate) type Serve = Box<dyn FnMut(Request<Body>) -> Parts>;

pub(crate) async fn plain() -> &'static str {
    "hello"
}

pub(crate) fn erased<S, B>(mut service: S) -> Serve
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + 'static,
    B: http_body::Body<Error: std::fmt::Debug>,
{
    const AT_ONCE: &str = "nothing here waits";
    Box::new(move |request| {
        let ready = service.ready().now_or_never().expect(AT_ONCE);
        let Ok(response) = ready.map(|service| service.call(request).now_or_never().expect(AT_ONCE));
        let Ok(response) = response;
        let (parts, body) = response.into_parts();
        let mut body = pin!(body);
        while let Some(frame) = body.frame().now_or_never().expect(AT_ONCE) {
            drop(black_box(frame));
        }
        parts
    })
}

/// A layer that does nothing.
#[derive(Clone)]
pub(crate) struct Noop<S>(pub(crate) S);

impl<S: Service<R>, R> Service<R> for Noop<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        self.0.call(request)
    }
}
