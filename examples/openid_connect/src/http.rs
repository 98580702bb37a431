//! The HTTP client that `openidconnect` is given. It follows no redirects.

use std::io;

use axum::http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

/// Plain HTTP, which is enough on one machine. For `https`, take `reqwest` and its feature of
/// `openidconnect` instead.
pub async fn send(request: Request<Vec<u8>>) -> io::Result<Response<Vec<u8>>> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = request.map(|body| Full::from(axum::body::Bytes::from(body)));
    let (head, body) = client.request(request).await.map_err(io::Error::other)?.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    Ok(Response::from_parts(head, body.to_vec()))
}
