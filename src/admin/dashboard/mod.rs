//! The dashboard (feature `management`): one page for the settings and the live sessions (D1).
//!
//! A page, a stylesheet and a script, without a build step, requests to other sites or inline code.
//! They get everything from the [management API](crate::management), with a token that the user
//! enters.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use tower::Service;

use crate::{Error, ErrorKind, require, web::Asset};

/// The dashboard as a tower service: nest it in a router under its path, or serve it with hyper.
///
/// It shows settings and live sessions through the [management API](crate::management), with a
/// token that the user enters. All URLs in the page are relative. So it also works behind a proxy
/// that strips a path prefix, if the API is below the same prefix.
///
/// # Example
///
/// ```
/// use tower_tenure::Dashboard;
///
/// # fn main() -> Result<(), tower_tenure::Error> {
/// let app: axum::Router = axum::Router::new().nest_service("/admin", Dashboard::at("/admin")?);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Dashboard {
    base: Arc<str>,
    /// By name below the base; the page has the empty name.
    files: Arc<[(&'static str, Asset); 3]>,
}

/// Allows no script, style, picture or frame from another origin, and none inline.
const CSP: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

/// The colours are shared with the demo.
const STYLE: &str = concat!(include_str!("../../web/palette.css"), include_str!("dashboard.css"));

impl Dashboard {
    /// A dashboard at this path, over the management API at `/api/v2`.
    ///
    /// # Errors
    ///
    /// As [`Dashboard::with_api`].
    pub fn at(base: impl Into<Arc<str>>) -> Result<Self, Error> {
        Self::with_api(base, "/api/v2")
    }

    /// A dashboard at this path, over the management API at `api`.
    ///
    /// # Errors
    ///
    /// When one is not a path such as `/admin`, of letters, digits and `/-_.`, without a trailing
    /// slash.
    pub fn with_api(base: impl Into<Arc<str>>, api: &str) -> Result<Self, Error> {
        let base = base.into();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.".contains(&byte);
        let is_path = |path: &str| {
            require::is_same_origin_path(path) && !path.ends_with('/') && path.bytes().all(is_plain)
        };
        if !is_path(&base) || !is_path(api) {
            let message = "the path of a dashboard must be like /admin: letters, digits and /-_., without a trailing slash";
            return Err(Error::new(ErrorKind::Configuration, message));
        }
        // The page is at `/admin` or at `/admin/`, and only the browser knows which, and below
        // which prefix of a proxy. So it refers to its files as `admin/…`, which both find (see
        // `respond`), and its script finds the API from the page's own address.
        let last = base.rsplit('/').next().unwrap_or_default();
        let up = "../".repeat(base.matches('/').count());
        let api = format!("{up}{}", &api[1..]);
        let page = include_str!("page.html").replace("{base}", last).replace("{api}", &api);
        let files = [
            ("", Asset::new("text/html; charset=utf-8", page)),
            ("dashboard.css", Asset::new("text/css; charset=utf-8", STYLE)),
            ("dashboard.js", Asset::new("text/javascript; charset=utf-8", include_str!("dashboard.js"))),
        ];
        Ok(Self { base, files: Arc::new(files) })
    }

    fn respond(&self, method: &Method, path: &str, headers: &HeaderMap) -> Response<Full<Bytes>> {
        // A router may have removed the base.
        let name = path.strip_prefix(&*self.base).unwrap_or(path).trim_start_matches('/');
        // The page at `/admin/` asks for `/admin/admin/dashboard.js`.
        let last = self.base.rsplit('/').next().unwrap_or_default();
        let name = name.strip_prefix(last).and_then(|rest| rest.strip_prefix('/')).unwrap_or(name);
        let Some((_, file)) = self.files.iter().find(|(known, _)| *known == name) else {
            let mut response = Response::new(Full::default());
            *response.status_mut() = StatusCode::NOT_FOUND;
            return response;
        };
        let mut response = file.respond(method, headers, "no-cache");
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(CSP));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response.map(Full::new)
    }
}

impl<B> Service<Request<B>> for Dashboard {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        ready(Ok(self.respond(request.method(), request.uri().path(), request.headers())))
    }
}
