//! From a request to its future.

use std::{
    fmt, mem,
    sync::Arc,
    task::{Context, Poll},
};

use http::{Request, Response, StatusCode};
use tower::Service;

use super::{ResponseFuture, extensions};
use crate::{
    Session,
    browser::{Call, Endpoints},
    session::Skipped,
    settings::LayerConfig,
    store::Answer,
    web::{Problem, ResponseBody},
};

/// A service with sessions around it; made by [`SessionLayer`](crate::SessionLayer).
#[derive(Clone)]
pub struct SessionService<S> {
    inner: S,
    config: Arc<LayerConfig>,
    endpoints: Option<Arc<Endpoints>>,
}

impl<S> SessionService<S> {
    pub(super) fn new(inner: S, config: Arc<LayerConfig>, endpoints: Option<Arc<Endpoints>>) -> Self {
        Self { inner, config, endpoints }
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for SessionService<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody, ResBody>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<ReqBody>) -> Self::Future {
        let head = self.config.head(&request);
        if self.config.skips(head) {
            // A session of a layer further out is not this one's: behind a skip there is none (C9,
            // C10).
            if request.extensions_mut().remove::<Session>().is_some() {
                request.extensions_mut().insert(Skipped { cookie: self.config.cookie.name().into() });
            }
            return ResponseFuture::untouched(self.inner.call(request));
        }
        if let Some(file) = self.endpoints.as_ref().and_then(|endpoints| endpoints.file(head)) {
            return ResponseFuture::answered(file);
        }
        let cookie = &self.config.cookie;
        if head.extensions.get::<Session>().is_some_and(|outer| outer.named(cookie.name()).is_some()) {
            return ResponseFuture::answered(same_cookie_twice(cookie.name()));
        }
        let now = self.config.engine.clock.now();
        let policy = self.config.policy(head);
        let endpoint = self.endpoints.as_ref().and_then(|endpoints| endpoints.route(head));
        let is_wanted = |sid| endpoint.as_ref().is_none_or(|endpoint| endpoint.is_about(sid));
        let candidates = cookie.read_those(head.headers, is_wanted);
        let realm = self.config.realm(head);
        if let Some(realm) = &realm {
            realm.remember(&policy);
        }
        let session = Session::new(&self.config, realm, policy, now, head, &candidates);
        if endpoint.as_ref().is_some_and(Call::leaves_cookie) {
            session.keep_cookie();
        }

        if candidates.is_empty() && endpoint.is_none() {
            // A stranger: nothing to look up, and no endpoint to answer.
            extensions::insert(request.extensions_mut(), session.clone());
            return ResponseFuture::running(session, self.inner.call(request));
        }
        let activity = endpoint.as_ref().map_or_else(|| self.config.activity(head), Call::activity);
        if endpoint.as_ref().is_some_and(Call::touch_must_succeed) {
            session.touch_must_succeed();
        }
        let proves_device = endpoint.as_ref().is_some_and(Call::proves_device);
        let device = self.config.device.as_ref().filter(|_| !proves_device);
        let device = device.map(|device| device.visit(head.headers));
        let arriving = session.clone();
        let arrival = self.config.engine.answer(|| arriving.arrive(candidates, device, activity));

        if let Some(call) = endpoint {
            let answering = session.clone();
            let answer = async move {
                arrival.await?;
                call.respond(&answering).await
            };
            return ResponseFuture::answering(session, Box::pin(answer));
        }
        extensions::insert(request.extensions_mut(), session.clone());
        match arrival {
            Answer::Ready(Some(Ok(()))) => ResponseFuture::running(session, self.inner.call(request)),
            // The inner service that was polled ready is the one to be called; its clone has to
            // become ready again.
            arrival => {
                let clone = self.inner.clone();
                let ready = mem::replace(&mut self.inner, clone);
                ResponseFuture::loading(session, arrival.into_future(), ready, request)
            }
        }
    }
}

/// C9. Not a panic: the stack may be put together from a configuration.
fn same_cookie_twice(name: &str) -> Response<bytes::Bytes> {
    let detail = format!(
        "two session layers in one stack use the cookie `{name}`: drop one of them or rename its cookie"
    );
    tracing::error!(name: "session.misconfigured", target: "tower_tenure", "{detail}");
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "Misconfigured session layers")
        .with_detail(detail)
        .into_response()
}

impl<S: fmt::Debug> fmt::Debug for SessionService<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionService").field("inner", &self.inner).finish_non_exhaustive()
    }
}
