//! Whether a browser sees a site over plain http (E14).

use std::net::{Ipv4Addr, Ipv6Addr};

use http::{HeaderName, header, uri::Authority};

use super::RequestHead;

impl<'a> RequestHead<'a> {
    /// The host, if the browser certainly sees this site over plain http, where it drops cookies
    /// that are `Secure`.
    ///
    /// A request does not say how it came, and behind a proxy the last hop says nothing about the
    /// first. So the browser's own word counts: the page that sent this request has the same host
    /// and `http`. A page over http may send to the same host over https, but then browsers add
    /// `Sec-Fetch-Site`, which they do not do over http. They take loopback for secure.
    pub(crate) fn plain_http_host(self) -> Option<&'a str> {
        let tls_outside = || {
            let proto = self.header("x-forwarded-proto").is_some_and(|proto| proto.contains("https"));
            proto || self.header("forwarded").is_some_and(|value| value.contains("proto=https"))
        };
        // By constants, whose names need not be parsed: each login passes here.
        let header = |name: HeaderName| self.headers.get(name)?.to_str().ok();
        let page = match header(header::ORIGIN) {
            Some(origin) => origin,
            None => header(header::REFERER)?,
        };
        let page = page.strip_prefix("http://")?;
        let page = page.split_once('/').map_or(page, |(authority, _)| authority);
        let host = header(header::HOST).or(self.uri.authority().map(Authority::as_str))?;
        let is_here = page.eq_ignore_ascii_case(host) && !is_loopback(host);
        (is_here && !self.headers.contains_key("sec-fetch-site") && !tls_outside()).then_some(host)
    }
}

/// Whether browsers take a host for this machine (Secure Contexts, section 3.1).
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost"
        || name.ends_with(".localhost")
        || name.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
        || name.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    type Headers = &'static [(&'static str, &'static str)];

    #[test]
    fn e14_only_what_the_browser_itself_says_counts() {
        const ORIGIN: (&str, &str) = ("origin", "http://nas.lan:8080");
        let cases: &[(&str, Headers, bool)] = &[
            ("nas.lan:8080", &[ORIGIN], true),
            ("NAS.lan:8080", &[ORIGIN], true),
            ("nas.lan", &[("referer", "http://nas.lan/login?x=1")], true),
            ("192.168.1.5", &[("origin", "http://192.168.1.5")], true),
            // What the browser sees over TLS, whatever the last hop was.
            ("nas.lan", &[("origin", "https://nas.lan")], false),
            ("nas.lan", &[("referer", "https://nas.lan/")], false),
            // Another page's host, or a proxy that rewrote ours: nothing is certain.
            ("nas.lan:8080", &[("origin", "http://other.lan:8080")], false),
            ("app:3000", &[ORIGIN], false),
            // A page over http that sends to https.
            ("nas.lan:8080", &[ORIGIN, ("sec-fetch-site", "cross-site")], false),
            ("nas.lan:8080", &[ORIGIN, ("x-forwarded-proto", "https")], false),
            ("nas.lan:8080", &[ORIGIN, ("forwarded", "for=10.0.0.1;proto=https")], false),
            // Browsers keep the cookie there.
            ("localhost:3000", &[("origin", "http://localhost:3000")], false),
            ("127.0.0.1:3000", &[("origin", "http://127.0.0.1:3000")], false),
            ("[::1]:3000", &[("origin", "http://[::1]:3000")], false),
            ("app.localhost", &[("origin", "http://app.localhost")], false),
            // No browser.
            ("nas.lan", &[], false),
            ("nas.lan", &[("origin", "null")], false),
        ];
        for (host, headers, expected) in cases {
            let mut request = Request::post("/login").header("host", *host);
            for (name, value) in *headers {
                request = request.header(*name, *value);
            }
            let request = request.body(()).unwrap();
            let head = RequestHead::from(&request);
            assert_eq!(head.plain_http_host().is_some(), *expected, "{host} {headers:?}");
        }
    }
}
