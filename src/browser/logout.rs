//! The allow-list of URLs that a logout may redirect to.

use std::{collections::BTreeMap, fmt};

use url::{Position, Url, form_urlencoded};

use crate::{Error, ErrorKind};

/// The URLs that a logout may redirect to: a list of the tenant, and one for each client
/// application.
///
/// An entry is an absolute `http(s)` URL. Scheme and host are compared without regard to case, the
/// path with it; query and fragment are ignored. The leftmost label of the host may contain one
/// `*`, which matches one label or a part of it. Both sides are parsed as browsers do (WHATWG URL),
/// so default ports and dot segments make no difference.
///
/// A `*` directly above a public suffix is refused, because anybody can register a name there:
/// `https://*.co.uk`, and also `https://*.github.io`. The list is that of
/// <https://publicsuffix.org> at the time of the `psl` crate's release.
///
/// # Example
///
/// ```
/// use tower_tenure::browser::LogoutUrls;
///
/// let urls = LogoutUrls::new()
///     .allow("https://*.example.com/bye")?
///     .allow_for_client("shop", "https://shop.example/")?;
///
/// let target = urls.redirect(Some("https://www.Example.com:443/bye?x=1"), None).unwrap();
/// assert_eq!(target.as_deref(), Some("https://www.example.com/bye?x=1"));
/// assert!(urls.redirect(Some("https://evil.example/"), None).is_err());
/// assert_eq!(urls.redirect(None, Some("shop")).unwrap().as_deref(), Some("https://shop.example/"));
/// # Ok::<(), tower_tenure::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct LogoutUrls {
    tenant: Vec<Allowed>,
    clients: BTreeMap<String, Vec<Allowed>>,
    exact: bool,
}

#[derive(Clone, Debug)]
struct Allowed {
    text: String,
    url: Url,
}

/// Why a logout does not redirect. The user is still logged out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogoutRefusal {
    /// `returnTo` is not on the list of the client, or of the tenant.
    NotAllowed,
    /// There is no such `client_id`.
    UnknownClient,
}

impl fmt::Display for LogoutRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAllowed => "The returnTo URL is not on the list of allowed logout URLs.",
            Self::UnknownClient => "The client_id is not known.",
        })
    }
}

impl LogoutUrls {
    /// An empty list: a logout redirects nowhere.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a URL to the tenant's list.
    ///
    /// # Errors
    ///
    /// When it is not an absolute `http(s)` URL without userinfo, when its `*` is not in the
    /// leftmost of at least three labels, or when it is directly above a public suffix.
    pub fn allow(mut self, url: &str) -> Result<Self, Error> {
        self.tenant.push(Allowed::parse(url)?);
        Ok(self)
    }

    /// Adds a URL to a client's list. A logout with that `client_id` and no `returnTo` redirects to
    /// the first one.
    ///
    /// # Errors
    ///
    /// As [`LogoutUrls::allow`].
    pub fn allow_for_client(mut self, client_id: impl Into<String>, url: &str) -> Result<Self, Error> {
        self.clients.entry(client_id.into()).or_default().push(Allowed::parse(url)?);
        Ok(self)
    }

    /// Replaces the tenant's list, for example by the one in the stored settings. An invalid URL is
    /// ignored.
    pub fn with_tenant_list<'a>(mut self, urls: impl IntoIterator<Item = &'a str>) -> Self {
        self.tenant = urls.into_iter().filter_map(|url| Allowed::parse(url).ok()).collect();
        self
    }

    /// Compares as OpenID Connect RP-Initiated Logout requires: character by character, without
    /// `*`.
    pub const fn with_exact_match(mut self) -> Self {
        self.exact = true;
        self
    }

    /// The URL to redirect to after a logout with these parameters; `None` for no redirect.
    ///
    /// # Errors
    ///
    /// The refusal; answer it with 400.
    pub fn redirect(
        &self,
        return_to: Option<&str>,
        client_id: Option<&str>,
    ) -> Result<Option<String>, LogoutRefusal> {
        let list = match client_id {
            Some(client_id) => self.clients.get(client_id).ok_or(LogoutRefusal::UnknownClient)?,
            None => &self.tenant,
        };
        let Some(return_to) = return_to else {
            let first = list.first().filter(|first| client_id.is_some() && !first.has_wildcard());
            return Ok(first.map(|first| first.url.to_string()));
        };
        let target = parse(return_to).filter(|url| !url.host_str().is_some_and(|host| host.contains('*')));
        let target = target.ok_or(LogoutRefusal::NotAllowed)?;
        let matches = |allowed: &Allowed| {
            if self.exact { allowed.text == return_to } else { allowed.matches(&target) }
        };
        if list.iter().any(matches) { Ok(Some(target.into())) } else { Err(LogoutRefusal::NotAllowed) }
    }

    /// As [`LogoutUrls::redirect`], with `returnTo` and `client_id` from a request's query. An
    /// empty parameter counts as absent.
    ///
    /// # Errors
    ///
    /// As [`LogoutUrls::redirect`].
    pub fn redirect_for_query(&self, query: Option<&str>) -> Result<Option<String>, LogoutRefusal> {
        let parameter = |wanted: &str| {
            let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
            pairs.find(|(name, value)| name == wanted && !value.is_empty()).map(|(_, value)| value)
        };
        self.redirect(parameter("returnTo").as_deref(), parameter("client_id").as_deref())
    }
}

impl Allowed {
    fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |message: &'static str| Err(Error::new(ErrorKind::Configuration, message));
        let Some(url) = parse(text) else {
            return refuse(
                "a logout URL is absolute, http or https, with // and without user name or password",
            );
        };
        let host = url.host_str().unwrap_or_default();
        let (label, parent) = host.split_once('.').unwrap_or((host, ""));
        let elsewhere = parent.contains('*') || url[Position::AfterHost..].contains('*');
        if label.matches('*').count() > 1 || elsewhere {
            return refuse("a logout URL may have one `*`, in the leftmost label of its host");
        }
        let parent = parent.strip_suffix('.').unwrap_or(parent);
        if label.contains('*') && !(parent.contains('.') || parent == "localhost") {
            return refuse(
                "the `*` of a logout URL needs a domain of at least two labels after it, such as https://*.example.com",
            );
        }
        if label.contains('*') && is_public_suffix(parent) {
            return refuse(
                "the `*` of a logout URL cannot be directly above a public suffix such as co.uk, where anybody can register a name; put your own domain after it",
            );
        }
        Ok(Self { text: text.to_owned(), url })
    }

    fn has_wildcard(&self) -> bool {
        self.url.host_str().is_some_and(|host| host.contains('*'))
    }

    fn matches(&self, target: &Url) -> bool {
        let same_host = match (self.url.host_str(), target.host_str()) {
            (Some(pattern), Some(host)) => host_matches(pattern, host),
            _ => false,
        };
        same_host
            && self.url.scheme() == target.scheme()
            && self.url.port_or_known_default() == target.port_or_known_default()
            && self.url.path() == target.path()
    }
}

/// Whether anybody can register a name directly below this domain.
fn is_public_suffix(domain: &str) -> bool {
    let suffix = psl::suffix(domain.as_bytes()).filter(psl::Suffix::is_known);
    suffix.is_some_and(|suffix| suffix.as_bytes() == domain.as_bytes())
}

/// Parses an absolute `http(s)` URL without userinfo.
fn parse(text: &str) -> Option<Url> {
    // The URL standard tolerates missing slashes, white space and control characters; this list
    // does not.
    let lower = text.get(..8)?.to_ascii_lowercase();
    let written_out = lower.starts_with("http://") || lower.starts_with("https://");
    let plain = text.bytes().all(|byte| byte > 0x20 && byte != 0x7f);
    let url = Url::parse(text).ok().filter(|_| written_out && plain)?;
    // `https://@host` has empty userinfo, which the parser drops. `https:///user@host` has an empty
    // authority, which it skips.
    let authority = text.split(['/', '\\']).nth(2).unwrap_or_default();
    let authority = authority.split(['?', '#']).next().unwrap_or_default();
    (!authority.is_empty() && !authority.contains('@') && url.has_host()).then_some(url)
}

fn host_matches(pattern: &str, host: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == host };
    let middle = host.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
    middle.is_some_and(|middle| !middle.is_empty() && !middle.contains('.'))
}
