//! The command line: settings, or one line that says what to correct.

use std::{
    ffi::OsString,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroU32,
    time::Duration,
};

use axum::http::HeaderName;
use base64ct::{Base64UrlUnpadded, Encoding};
use lexopt::{
    Arg::{Long, Short, Value},
    Parser,
};
use tower_tenure::{
    DeviceBinding, Error, Lifetimes, Mode, Policy, PublicUrl,
    browser::LogoutUrls,
    management::{Caller, Scopes, StaticTokens},
    policy::{Cap, Limits, Overflow},
    store::StoreUrl,
};

use crate::{tls, tls::Tls};

pub(crate) const USAGE: &str = "\
A demo site with session lifetimes.

Usage: demo [FLAGS]

  --listen ADDR                  where to listen [127.0.0.1:3000]; port 0 picks a free one
  --store STORE                  memory, sqlite:PATH, postgres://... or redis://... [memory]
                                 settings in the store take precedence over the lifetimes below
  --public-url URL               behind a proxy: where browsers reach the site, with the prefix that the proxy strips
  --client-ip-header NAME        behind a proxy that sets it: the header with the client's address, such as X-Real-IP
  --tls CERT,KEY                 serve https: a certificate chain and its key, as PEM files

Lifetimes, like 2s, 15m, 72h:
  --idle D                       of persistent sessions, without activity [72h]
  --absolute D                   of persistent sessions, in any case [168h]
  --ephemeral-idle D             of the others, without activity [24h]
  --ephemeral-absolute D         of the others, in any case [72h]
  --limits PLAN                  self-service, enterprise or none [enterprise]
  --granularity D                how old a recorded interaction may get; 0s records every one

  --resume D                     how long the data of a session that timed out waits for its user to sign in again [0s]

Sessions bound to the device of the browser, so that a stolen cookie expires within minutes:
  --bind MODE                    observe or enforce; browsers bind sessions over https only [off]
  --bound-cookie D               how long a proof of the device holds, 1s to 1day [10m]

  --realm NAME                            name space of the sessions in the store [__Host-id]
  --max-sessions N[:refuse|:evict]        sessions per user [1000]; over it, the least active one ends or the login is refused
  --management-token TOKEN[=SCOPE,...]    16 characters or more; may be repeated; scopes like read:sessions [a random token]
  --allowed-logout-url URL                URL that a logout may redirect to; may be repeated
  --client ID=URL[,URL...]                the same for a client; may be repeated
  --help                         print this help

Each flag has an environment variable, such as TENURE_MAX_SESSIONS for --max-sessions; flags win.
Those that may be repeated hold several values between spaces.

Logging: RUST_LOG [info].
";

/// The result of parsing the command line.
pub(crate) enum Asked {
    /// Run the server.
    Run(Box<Flags>),
    /// Print the flags.
    Help,
}

/// The settings from the flags.
pub(crate) struct Flags {
    pub(crate) listen: SocketAddr,
    pub(crate) store: StoreUrl,
    pub(crate) tls: Option<Tls>,
    pub(crate) public_url: Option<PublicUrl>,
    pub(crate) client_ip_header: Option<HeaderName>,
    pub(crate) policy: Policy,
    pub(crate) binding: Option<DeviceBinding>,
    pub(crate) realm: Option<String>,
    /// The logout URLs of the clients.
    pub(crate) logout_urls: LogoutUrls,
    /// The logout URLs of the tenant, for an empty store.
    pub(crate) allowed_logout_urls: Vec<String>,
    pub(crate) management: Vec<ManagementToken>,
}

/// A bearer token of the management API. Not `Debug`: it is a secret.
pub(crate) struct ManagementToken {
    token: String,
    /// Empty means all scopes.
    scopes: Vec<String>,
    random: bool,
}

impl Flags {
    /// The tokens of the management API.
    ///
    /// # Errors
    ///
    /// None: parsing has checked them.
    pub(crate) fn management_tokens(&self) -> Result<StaticTokens, Error> {
        (1..).zip(&self.management).try_fold(StaticTokens::new(), |tokens, (number, one)| {
            let scopes = if one.scopes.is_empty() { Scopes::all() } else { Scopes::of(&one.scopes) };
            tokens.with(&one.token, Caller::new(scopes).with_name(format!("token {number}")))
        })
    }

    /// The random token, to print at the start; `None` if tokens were given.
    pub(crate) fn random_management_token(&self) -> Option<String> {
        self.management.iter().find(|token| token.random).map(|token| token.token.clone())
    }
}

/// The flags with a value, and whether they may be repeated.
const FLAGS: [(&str, bool); 19] = [
    ("listen", false),
    ("store", false),
    ("tls", false),
    ("public-url", false),
    ("client-ip-header", false),
    ("idle", false),
    ("absolute", false),
    ("ephemeral-idle", false),
    ("ephemeral-absolute", false),
    ("limits", false),
    ("granularity", false),
    ("resume", false),
    ("bind", false),
    ("bound-cookie", false),
    ("realm", false),
    ("max-sessions", false),
    ("management-token", true),
    ("allowed-logout-url", true),
    ("client", true),
];

/// The environment variable of a flag: `TENURE_MAX_SESSIONS` for `--max-sessions`.
fn variable(flag: &str) -> String {
    format!("TENURE_{}", flag.to_ascii_uppercase().replace('-', "_"))
}

/// Flags from the environment, for those that the command line does not have.
fn from_environment(
    args: &[OsString],
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<(&'static str, String)>, String> {
    let given = |flag: &str| {
        args.iter()
            .filter_map(|arg| arg.to_str()?.strip_prefix("--"))
            .any(|arg| arg.strip_prefix(flag).is_some_and(|rest| rest.is_empty() || rest.starts_with('=')))
    };
    let mut found = Vec::new();
    for (flag, is_repeatable) in FLAGS.into_iter().filter(|(flag, _)| !given(flag)) {
        let name = variable(flag);
        let Some(value) = environment(&name).filter(|value| !value.is_empty()) else { continue };
        let value = value.into_string().map_err(|_| format!("{name}: the value is not UTF-8"))?;
        if is_repeatable {
            found.extend(value.split_whitespace().map(|value| (flag, value.to_owned())));
        } else {
            found.push((flag, value));
        }
    }
    Ok(found)
}

/// Reads the command line, and the environment for flags that are absent there.
///
/// # Errors
///
/// One line that says what is wrong and how to correct it.
#[expect(clippy::too_many_lines, reason = "an arm for each flag")]
pub(crate) fn parse(
    args: Vec<OsString>,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Result<Asked, String> {
    let from_environment = from_environment(&args, environment)?;
    let values = from_environment.iter();
    let before = values.flat_map(|(flag, value)| [format!("--{flag}").into(), value.into()]);
    let before: Vec<OsString> = before.collect();
    let is_from_environment = |flag: &str| from_environment.iter().any(|(known, _)| *known == flag);
    let mut args = Parser::from_args(before.into_iter().chain(args));
    let mut listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 3000));
    let mut store = StoreUrl::default();
    let mut tls = None;
    let (mut public_url, mut client_ip_header) = (None, None);
    let mut policy = Policy::default();
    let mut binding: Option<DeviceBinding> = None;
    let mut bound_cookie = None;
    let mut realm = None;
    let mut logout_urls = LogoutUrls::new();
    let mut allowed_logout_urls = Vec::new();
    let mut management = Vec::new();

    while let Some(arg) = args.next().map_err(|error| error.to_string())? {
        let flag = match arg {
            Long("help") | Short('h') => {
                return match args.optional_value() {
                    None => Ok(Asked::Help),
                    Some(_) => Err("--help takes no value".to_owned()),
                };
            }
            Long(flag) => flag.to_owned(),
            Short(_) | Value(_) => return Err(arg.unexpected().to_string()),
        };
        let mut value = || {
            let value = args.value().map_err(|error| error.to_string())?;
            value.into_string().map_err(|_| format!("--{flag}: the value is not UTF-8"))
        };
        let about = |hint: &str| {
            if is_from_environment(&flag) {
                format!("{}: {hint}", variable(&flag))
            } else {
                format!("--{flag}: {hint}")
            }
        };
        match &*flag {
            "listen" => {
                let hint = "use an address with a port, such as 127.0.0.1:3000";
                listen = value()?.parse().map_err(|_| about(hint))?;
            }
            "store" => {
                store = StoreUrl::parse(&value()?).map_err(|error| about(&error.to_string()))?;
            }
            "public-url" => {
                public_url = Some(PublicUrl::new(&value()?).map_err(|error| about(&error.to_string()))?);
            }
            "client-ip-header" => {
                let hint = "use the name of a header, such as X-Real-IP";
                client_ip_header = Some(value()?.parse().map_err(|_| about(hint))?);
            }
            "tls" => tls = Some(tls::parse(&value()?).map_err(|hint| about(&hint))?),
            "bind" => binding = Some(device_binding(&value()?).map_err(about)?),
            "bound-cookie" => {
                let lifetime = duration(&value()?).map_err(|hint| about(&hint))?;
                let check = DeviceBinding::observe().with_cookie_lifetime(lifetime);
                let _ = check.map_err(|error| about(&error.to_string()))?;
                bound_cookie = Some((lifetime, about("needs --bind observe or --bind enforce")));
            }
            "idle" | "absolute" | "ephemeral-idle" | "ephemeral-absolute" => {
                let lifetime = duration(&value()?).map_err(|hint| about(&hint))?;
                policy = with_lifetime(policy, &flag, lifetime).map_err(|hint| about(&hint))?;
            }
            "limits" => {
                policy = policy.with_limits(match &*value()? {
                    "self-service" => Limits::SELF_SERVICE,
                    "enterprise" => Limits::ENTERPRISE,
                    "none" => Limits::NONE,
                    _ => return Err(about("use self-service, enterprise or none")),
                });
            }
            "granularity" => {
                let granularity = bounded(&value()?).map_err(|hint| about(&hint))?;
                policy = policy.with_granularity(granularity);
            }
            "resume" => {
                policy = policy.with_resume_for(bounded(&value()?).map_err(|hint| about(&hint))?);
            }
            "realm" => realm = Some(realm_name(value()?).map_err(about)?),
            "max-sessions" => policy = policy.with_cap(Some(cap(&value()?).map_err(about)?)),
            "management-token" => management.push(token(&value()?).map_err(about)?),
            "allowed-logout-url" => {
                let url = value()?;
                drop(LogoutUrls::new().allow(&url).map_err(|error| about(&error.to_string()))?);
                allowed_logout_urls.push(url);
            }
            "client" => logout_urls = client(logout_urls, &value()?).map_err(|hint| about(&hint))?,
            _ => return Err(format!("there is no flag --{flag}")),
        }
    }
    if management.is_empty() {
        management.push(random_token()?);
    }
    if let Some((lifetime, without_binding)) = bound_cookie {
        let checked = binding.ok_or(without_binding)?.with_cookie_lifetime(lifetime);
        binding = Some(checked.map_err(|error| error.to_string())?);
    }
    let flags = Flags {
        listen,
        store,
        tls,
        public_url,
        client_ip_header,
        policy,
        binding,
        realm,
        logout_urls,
        allowed_logout_urls,
        management,
    };
    Ok(Asked::Run(Box::new(flags)))
}

fn duration(value: &str) -> Result<Duration, String> {
    humantime::parse_duration(value)
        .map_err(|_| format!("{value:?} is not a duration: write it like 2s, 15m or 72h"))
}

/// A duration that may be zero.
fn bounded(value: &str) -> Result<Duration, String> {
    let length = duration(value)?;
    let fits = length <= Lifetimes::LONGEST;
    fits.then_some(length).ok_or_else(|| "use at most ten years (3650 days)".to_owned())
}

fn realm_name(name: String) -> Result<String, &'static str> {
    let fits = !name.is_empty() && name.len() <= 256 && !name.chars().any(char::is_control);
    fits.then_some(name).ok_or("a realm is a name of 1 to 256 bytes, without control characters")
}

fn device_binding(mode: &str) -> Result<DeviceBinding, &'static str> {
    match mode {
        "observe" => Ok(DeviceBinding::observe()),
        "enforce" => Ok(DeviceBinding::enforce()),
        _ => Err("use observe or enforce"),
    }
}

fn with_lifetime(policy: Policy, flag: &str, lifetime: Duration) -> Result<Policy, String> {
    let persistent = !flag.starts_with("ephemeral");
    let now = policy.configured(if persistent { Mode::Persistent } else { Mode::NonPersistent });
    let lifetimes = if flag.ends_with("idle") {
        Lifetimes::new(lifetime, now.absolute())
    } else {
        Lifetimes::new(now.idle(), lifetime)
    };
    let lifetimes = lifetimes.map_err(|error| error.to_string())?;
    Ok(if persistent { policy.with_persistent(lifetimes) } else { policy.with_non_persistent(lifetimes) })
}

fn cap(value: &str) -> Result<Cap, &'static str> {
    let (most, overflow) = match value.split_once(':') {
        None | Some((_, "evict")) => (value.split(':').next().unwrap_or_default(), Overflow::Evict),
        Some((most, "refuse")) => (most, Overflow::Refuse),
        Some(_) => return Err("after the number, use :refuse, :evict or nothing"),
    };
    let most: NonZeroU32 = most.parse().map_err(|_| "use a number from 1, such as 3 or 3:refuse")?;
    Ok(Cap::new(most, overflow))
}

fn token(value: &str) -> Result<ManagementToken, &'static str> {
    let (token, scopes) = match value.split_once('=') {
        Some((token, scopes)) => (token, scopes.split(',').map(str::to_owned).collect()),
        None => (value, Vec::new()),
    };
    // RFC 6750, section 2.1, without padding, since `=` separates the scopes.
    let is_bearer = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    if token.len() < StaticTokens::MIN_LENGTH || !token.bytes().all(is_bearer) {
        return Err(
            "a token is 16 or more letters, digits or -._~+/; leave the flag out for a random one, or make one by `openssl rand -hex 24`",
        );
    }
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let is_scope =
        |scope: &String| scope.split_once(':').is_some_and(|(verb, what)| is_word(verb) && is_word(what));
    if !scopes.iter().all(is_scope) {
        return Err("after the =, write scopes like read:sessions,delete:sessions");
    }
    Ok(ManagementToken { token: token.to_owned(), scopes, random: false })
}

fn base64(bytes: &[u8; 24]) -> String {
    let mut text = [0; 32];
    Base64UrlUnpadded::encode(bytes, &mut text).unwrap_or_default().to_owned()
}

fn random_token() -> Result<ManagementToken, String> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes)
        .map_err(|error| format!("no random bytes for a management token: {error}"))?;
    Ok(ManagementToken { token: base64(&bytes), scopes: Vec::new(), random: true })
}

fn client(mut logout_urls: LogoutUrls, value: &str) -> Result<LogoutUrls, String> {
    let named = value.split_once('=').filter(|(id, _)| !id.trim().is_empty());
    let (id, urls) = named.ok_or("write it ID=URL[,URL...], such as shop=https://shop.example/")?;
    for url in urls.split(',') {
        logout_urls = logout_urls.allow_for_client(id, url).map_err(|error| error.to_string())?;
    }
    Ok(logout_urls)
}
