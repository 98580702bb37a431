//! How a service is called, in the same way for all stacks.

use std::{convert::Infallible, hint::black_box, pin::pin};

use axum::body::Body;
use http::{Request, Response};
use http_body_util::BodyExt;
use tower::{Service, ServiceExt};

use super::RUNTIME;
pub(crate) use super::service::{Noop, Serve, plain};

/// A type-erased stack. Each request runs on a runtime, because axess spawns a task at its end.
pub(crate) fn erased<S, B>(mut service: S) -> Serve
where
    S: Service<Request<Body>, Response = Response<B>, Error = Infallible> + 'static,
    B: http_body::Body<Error: std::fmt::Debug>,
{
    Box::new(move |request| {
        RUNTIME.block_on(async {
            let Ok(ready) = service.ready().await;
            let Ok(response) = ready.call(request).await;
            let (parts, body) = response.into_parts();
            let mut body = pin!(body);
            while let Some(frame) = body.frame().await {
                drop(black_box(frame));
            }
            parts
        })
    })
}
