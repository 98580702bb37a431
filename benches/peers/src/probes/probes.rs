//! The steps of each probe, and its right result.

use std::{pin::Pin, sync::Arc, time::Duration};

use http::StatusCode;
use tokio::time::sleep;

use crate::{
    browser::id,
    subjects::{Library, Subject},
};

/// The result of a probe.
pub(crate) struct Saw {
    pub(crate) text: String,
    pub(crate) is_right: bool,
}

type Run = fn(Library) -> Pin<Box<dyn Future<Output = Option<Saw>>>>;

pub(crate) struct Probe {
    pub(crate) name: &'static str,
    pub(crate) does: &'static str,
    pub(crate) run: Run,
}

macro_rules! probes {
    ($($run:ident, $name:literal, $does:literal;)*) => {
        pub(crate) const ALL: &[Probe] = &[
            $(Probe { name: $name, does: $does, run: |library| Box::pin($run(library)) },)*
        ];
    };
}

probes! {
    lost_updates, "lost updates", "100 requests at once, each stores its own value and works 10 ms; right: all that got 200 are there";
    lost_while_waiting, "lost updates, by a store that waits", "the same, where each call of the store lets other tasks run first, as the call of a store over a network does; right: all that got 200 are there";
    resurrection, "resurrection", "logout while a request that writes is in flight; right: nobody is logged in afterwards";
    adoption, "fixation, by an id", "a well-formed id from elsewhere stores a value; right: the session has another id";
    login_id, "fixation, by a login", "an anonymous session logs in; right: another id, and the old one is nobody's";
    reads, "expiry on reads", "idle timeout 2 s, a read each 0.5 s for 3 s, then a pause of 2.6 s; right: alive after the reads, over after the pause";
    junk, "junk cookies", "a malformed cookie of the same name before the good one, and after it; right: the user both times";
    bogus, "bogus cookies", "20 well-formed ids from elsewhere, which only read; right: no rows";
    rotation, "rotation in flight", "the id is rotated while a request that writes is in flight; right: the browser has the new id and is still logged in, and a write that got 200 is there";
    old_id, "the old id", "a request with the old id 100 ms after a logout, and the logout's own response; right: nobody, and the browser does not keep the id";
    cancelled, "a cancelled request", "a request that writes is dropped while it works, as when its browser leaves; then a logout; right: the user before the logout, nobody after it";
    outage, "outage", "the store fails for a read, a write and a login, and recovers; right: no success that is not true, no user silently nobody, and the session is there afterwards";
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Long enough for another request to complete.
const WORK_MILLIS: u64 = 60;

#[expect(clippy::unnecessary_wraps, reason = "as all probes")]
const fn saw(is_right: bool, text: String) -> Option<Saw> {
    Some(Saw { text, is_right })
}

async fn start(library: Library) -> Arc<Subject> {
    Arc::new(library.start(DAY).await)
}

/// Cookies that another server issued.
async fn foreign(library: Library, count: usize) -> Vec<String> {
    let other = library.start(DAY).await;
    let mut cookies = Vec::new();
    for _ in 0..count {
        cookies.push(other.login().await);
    }
    cookies
}

async fn lost_updates(library: Library) -> Option<Saw> {
    lost(start(library).await).await
}

async fn lost_while_waiting(library: Library) -> Option<Saw> {
    let subject = start(library).await;
    subject.set_waits();
    lost(subject).await
}

async fn lost(subject: Arc<Subject>) -> Option<Saw> {
    const WRITERS: u64 = 100;
    let cookies = subject.login().await;
    let writers = (0..WRITERS).map(|key| {
        let (subject, cookies) = (Arc::clone(&subject), cookies.clone());
        tokio::spawn(async move { subject.post(&format!("/set/{key}/10"), &cookies).await.status })
    });
    let mut acknowledged = 0;
    for writer in writers.collect::<Vec<_>>() {
        acknowledged += u64::from(writer.await.expect("no panic") == StatusCode::OK);
    }
    let kept = subject.get(&format!("/count/{WRITERS}"), &cookies).await.who();
    saw(
        kept == acknowledged.to_string() && acknowledged == WRITERS,
        format!("{acknowledged} got 200, {kept} are there"),
    )
}

/// A request in flight that writes the value `0`. It has already loaded the session.
async fn writer(subject: &Arc<Subject>, cookies: &str) -> tokio::task::JoinHandle<crate::browser::Answer> {
    let (subject, cookies) = (Arc::clone(subject), cookies.to_owned());
    let writer = tokio::spawn(async move { subject.post(&format!("/set/0/{WORK_MILLIS}"), &cookies).await });
    sleep(Duration::from_millis(WORK_MILLIS / 3)).await;
    writer
}

async fn resurrection(library: Library) -> Option<Saw> {
    let subject = start(library).await;
    let cookies = subject.login().await;
    let writer = writer(&subject, &cookies).await;
    let logout = subject.post("/logout", &cookies).await;
    let written = writer.await.expect("no panic");
    let old = subject.who(&cookies).await;
    let of_writer = subject.who(&written.cookies).await;
    saw(
        !old.is_alice() && !of_writer.is_alice(),
        format!(
            "logout {}, writer {}; then the old cookie is {}, the writer's is {}",
            logout.status.as_u16(),
            written.status.as_u16(),
            old.who(),
            of_writer.who()
        ),
    )
}

async fn adoption(library: Library) -> Option<Saw> {
    let cookies = foreign(library, 1).await.remove(0);
    let subject = start(library).await;
    let written = subject.post("/set/0/0", &cookies).await;
    let by_old = subject.get("/count/1", &cookies).await.who();
    let is_another = id(&written.cookies) != id(&cookies);
    let issued = if is_another { "another id is issued" } else { "no other id is issued" };
    let holds = if by_old == "1" { "finds the value" } else { "finds nothing" };
    saw(
        is_another && by_old != "1",
        format!("write {}; {issued}; the foreign id {holds}", written.status.as_u16()),
    )
}

async fn login_id(library: Library) -> Option<Saw> {
    let subject = start(library).await;
    let anonymous = subject.post("/set/0/0", "").await.cookies;
    let logged_in = subject.post("/login", &anonymous).await.cookies;
    let is_another = id(&anonymous) != id(&logged_in);
    let (old, new) = (subject.who(&anonymous).await, subject.who(&logged_in).await);
    let which = if is_another { "another id" } else { "the same id" };
    saw(
        is_another && !old.is_alice() && new.is_alice(),
        format!("{which}; the old one is {}, the new one {}", old.who(), new.who()),
    )
}

async fn reads(library: Library) -> Option<Saw> {
    let subject = library.start(Duration::from_secs(2)).await;
    let cookies = subject.login().await;
    for _ in 0..6 {
        sleep(Duration::from_millis(500)).await;
        subject.who(&cookies).await;
    }
    let after_reads = subject.who(&cookies).await;
    sleep(Duration::from_millis(2600)).await;
    let after_pause = subject.who(&cookies).await;
    saw(
        after_reads.is_alice() && !after_pause.is_alice(),
        format!("after the reads {}, after the pause {}", after_reads.who(), after_pause.who()),
    )
}

async fn junk(library: Library) -> Option<Saw> {
    let subject = start(library).await;
    let cookies = subject.login().await;
    let before = subject.who(&format!("__Host-id=junk; {cookies}")).await;
    let after = subject.who(&format!("{cookies}; __Host-id=junk")).await;
    let removed = if before.sets_cookie || after.sets_cookie { "; a cookie was set" } else { "" };
    saw(
        before.is_alice() && after.is_alice(),
        format!("junk first: {}; junk last: {}{removed}", before.who(), after.who()),
    )
}

async fn bogus(library: Library) -> Option<Saw> {
    const COOKIES: usize = 20;
    let bogus = foreign(library, COOKIES).await;
    let subject = start(library).await;
    let before = subject.rows()?;
    for cookies in &bogus {
        subject.who(cookies).await;
    }
    let made = subject.rows()? - before;
    saw(made == 0, format!("{made} rows"))
}

async fn rotation(library: Library) -> Option<Saw> {
    let subject = start(library).await;
    let cookies = subject.login().await;
    let writer = writer(&subject, &cookies).await;
    let rotated = subject.post("/rotate", &cookies).await;
    let written = writer.await.expect("no panic");
    // The writer's response comes last, so its cookie replaces that of the rotation.
    let jar = if written.sets_cookie { &written.cookies } else { &rotated.cookies };
    let browser = subject.who(jar).await;
    let is_there = subject.get("/count/1", jar).await.text == "1";
    let old = subject.who(&cookies).await;
    let is_kept = is_there || written.status != StatusCode::OK;
    saw(
        browser.is_alice() && is_kept && id(jar) != id(&cookies),
        format!(
            "rotate {}, writer {}; the browser has {} id and is {}; the write is {}; with the old id {}",
            rotated.status.as_u16(),
            written.status.as_u16(),
            if id(jar) == id(&cookies) { "the old" } else { "a new" },
            browser.who(),
            if is_there { "there" } else { "lost" },
            old.who()
        ),
    )
}

async fn old_id(library: Library) -> Option<Saw> {
    let subject = start(library).await;
    let cookies = subject.login().await;
    let logout = subject.post("/logout", &cookies).await;
    sleep(Duration::from_millis(100)).await;
    let old = subject.who(&cookies).await;
    let held = id(&logout.cookies);
    let is_kept = held == id(&cookies);
    let cookie = match held {
        None => "the cookie is removed",
        Some(_) if is_kept => "the browser keeps the id",
        Some(_) => "the cookie has another id",
    };
    saw(!old.is_alice() && !is_kept, format!("{cookie}; the old id is {}", old.who()))
}

async fn cancelled(library: Library) -> Option<Saw> {
    let subject = start(library).await;
    let cookies = subject.login().await;
    let writer = writer(&subject, &cookies).await;
    writer.abort();
    let is_dropped = writer.await.is_err();
    assert!(is_dropped, "the request was still at work");
    let before = subject.who(&cookies).await;
    subject.post("/logout", &before.cookies).await;
    sleep(Duration::from_millis(100)).await;
    let after = subject.who(&cookies).await;
    saw(
        before.is_alice() && !after.is_alice(),
        format!("before the logout {}, after it {}", before.who(), after.who()),
    )
}

async fn outage(library: Library) -> Option<Saw> {
    let subject = start(library).await;
    let cookies = subject.login().await;
    if !subject.set_fails(true) {
        return None;
    }
    let read = subject.who(&cookies).await;
    let write = subject.post("/set/0/0", &cookies).await;
    let login = subject.post("/login", "").await;
    subject.set_fails(false);
    let is_there = subject.get("/count/1", &cookies).await.text == "1";
    let logged_in = subject.who(&login.cookies).await;
    let after = subject.who(&read.cookies).await;
    let is_true = (is_there || write.status.is_server_error())
        && (logged_in.is_alice() || login.status.is_server_error());
    saw(
        is_true && (read.is_alice() || read.status.is_server_error()) && after.is_alice(),
        format!(
            "read {}, write {}, login {}; afterwards the session is {}, the write is {}, the login is {}",
            read.who(),
            write.status.as_u16(),
            login.status.as_u16(),
            after.who(),
            if is_there { "there" } else { "not there" },
            logged_in.who()
        ),
    )
}
