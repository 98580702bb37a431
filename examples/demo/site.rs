//! The address of the site, as browsers see it behind a proxy.

use std::sync::OnceLock;

use tower_tenure::{
    PublicUrl, RequestHead,
    browser::{Scheme, is_same_origin, is_same_origin_as},
};

/// Set once at the start; a site without a proxy has none.
static PUBLIC: OnceLock<PublicUrl> = OnceLock::new();

pub(crate) fn publish(url: PublicUrl) {
    let _ = PUBLIC.set(url);
}

/// A path of this server, as browsers see it.
pub(crate) fn path(path: &str) -> String {
    PUBLIC.get().map_or_else(|| path.to_owned(), |url| url.path(path))
}

/// Whether a page of this site sent the request. `scheme` counts for a site without a proxy.
pub(crate) fn has_sent(head: RequestHead<'_>, scheme: Scheme) -> bool {
    match PUBLIC.get() {
        Some(url) => is_same_origin_as(head, url),
        None => is_same_origin(head, scheme),
    }
}
