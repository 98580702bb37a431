//! A browser's requests.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, Request, Uri, header};

/// A browser's request as hyper produces it: the target and the values are slices of the read
/// buffer.
pub(crate) fn request(method: Method, path: &str, cookies: Option<&str>) -> Request<Body> {
    const FIXED: [(HeaderName, &str); 5] = [
        (header::HOST, "www.example.com"),
        (header::USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        (header::ACCEPT, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        (header::ACCEPT_LANGUAGE, "en-GB,en;q=0.5"),
        (header::ACCEPT_ENCODING, "gzip, deflate, br, zstd"),
    ];
    let cookies = cookies.map(|cookies| format!("theme=dark; {cookies}; lang=en"));
    let mut values: Vec<(Option<HeaderName>, &str)> = vec![(None, path)];
    values.extend(FIXED.map(|(name, value)| (Some(name), value)));
    values.extend(cookies.as_deref().map(|cookies| (Some(header::COOKIE), cookies)));

    let buffer = Bytes::from(values.iter().map(|(_, value)| *value).collect::<String>());
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    let mut at = 0;
    for (name, value) in values {
        let slice = buffer.slice(at..at + value.len());
        at += value.len();
        match name {
            None => *request.uri_mut() = Uri::from_maybe_shared(slice).expect("a path is a target"),
            Some(name) => {
                let value = HeaderValue::from_maybe_shared(slice).expect("visible ASCII");
                request.headers_mut().insert(name, value);
            }
        }
    }
    request
}
