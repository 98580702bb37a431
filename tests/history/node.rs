//! A node: the layer with its own engine, clock and connection, over a shared store.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, Response, StatusCode, header};
use tower::{Layer, Service, util::BoxCloneSyncService};
use tower_tenure::{
    Clock, Error, ErrorKind, Key, LivePolicy, Outcome as Saved, Session, SessionLayer, SessionStore,
    Sessions,
    events::{Event, EventKind},
    middleware::ResponseBody,
    policy::Refusal,
    testing::ManualClock,
};

use super::{
    clients::{Plan, REGISTERS},
    connection::{Connection, Life, NodeClock, Weather, pause},
    record::{Answer, Ask, Cookie, Found, Outcome, Recorder, User},
};

/// What a handler must do, and how often it yields.
#[derive(Clone)]
struct Task {
    ask: Ask,
    waits: u64,
}

type Layered = BoxCloneSyncService<Request<Task>, Response<ResponseBody<String>>, Infallible>;

#[derive(Clone)]
pub(crate) struct Node {
    pub(crate) clock: NodeClock,
    pub(crate) sessions: Sessions,
    pub(crate) life: Arc<Life>,
    service: Layered,
    recorder: Arc<Recorder>,
}

const LIST: Key<Vec<u32>> = Key::new("list");

fn register(key: u8) -> Key<u32> {
    Key::named(format!("register-{key}"))
}

/// The maximum length of a list of numbers.
const LONGEST_LIST: usize = 30;

impl Node {
    /// Starts a node.
    pub(crate) fn start<S: SessionStore>(
        index: usize,
        store: Arc<S>,
        plan: &Plan,
        policy: &LivePolicy,
        recorder: &Arc<Recorder>,
        true_time: &ManualClock,
        weather: &Arc<Mutex<Weather>>,
    ) -> Self {
        let life = Arc::new(Life::default());
        let ahead = if index == 0 { 0 } else { plan.ahead };
        let clock = NodeClock { true_time: true_time.clone(), ahead };
        let (true_time, weather) = (true_time.clone(), Arc::clone(weather));
        let connection = Connection { store, life: Arc::clone(&life), true_time, weather };
        let is_sound = plan.faults == 0 && !plan.bad_server;
        let observer = {
            let (life, recorder, time) = (Arc::clone(&life), Arc::clone(recorder), clock.true_time.clone());
            move |event: &Event<'_>| {
                if let (EventKind::StoreFailed { operation, error, .. }, true) =
                    (event.kind, is_sound && !life.is_over())
                {
                    println!("node {index}, {operation}: {error:?}");
                }
                if let (EventKind::Ended(reason), Some(sid), false) = (event.kind, event.sid, life.is_over())
                {
                    recorder.emitted(recorder.sid(sid), reason, index, time.now().as_unix_millis());
                }
            }
        };
        // A long timeout, because a busy machine is not a fault.
        let budget = Duration::from_secs(if plan.bad_server { 2 } else { 30 });
        let layer = SessionLayer::new(connection)
            .with_realm(format!("history-{}", plan.seed))
            .with_policy(policy.clone())
            .with_clock(clock.clone())
            .with_store_budget(budget)
            .with_observer_fn(observer);
        let handler = {
            let recorder = Arc::clone(recorder);
            tower::service_fn(move |request: Request<Task>| {
                let recorder = Arc::clone(&recorder);
                async move { Ok::<_, Infallible>(handle(request, &recorder).await) }
            })
        };
        let sessions = layer.sessions();
        let service = BoxCloneSyncService::new(layer.layer(handler));
        Self { clock, sessions, life, service, recorder: Arc::clone(recorder) }
    }

    /// A request of a browser, and its cookie afterwards. `None` if the cookie is unchanged.
    pub(crate) async fn request(
        &self,
        ask: &Ask,
        waits: u64,
        cookie: Option<&str>,
    ) -> (Answer, Option<Option<String>>) {
        let mut request = Request::new(Task { ask: ask.clone(), waits });
        if let Some(cookie) = cookie {
            request.headers_mut().insert(header::COOKIE, cookie.parse().expect("a cookie of ours"));
        }
        if *ask == Ask::Peek {
            request.headers_mut().insert("sec-purpose", header::HeaderValue::from_static("prefetch"));
        }
        let Ok(response) = self.service.clone().call(request).await;
        let mut answer = response.extensions().get::<Answer>().cloned().unwrap_or_default();
        match response.status() {
            StatusCode::SERVICE_UNAVAILABLE => answer.outcome = Outcome::Unavailable,
            StatusCode::FORBIDDEN if answer.outcome == Outcome::Done => answer.outcome = Outcome::Full,
            _ => {}
        }
        let line = response.headers().get(header::SET_COOKIE).and_then(|line| line.to_str().ok());
        let Some(line) = line else { return (answer, None) };
        if line.contains("Max-Age=0") {
            answer.cookie = Cookie::Removed;
            return (answer, Some(None));
        }
        let pair = line.split(';').next().unwrap_or_default().to_owned();
        answer.cookie = Cookie::Set(self.recorder.token(&pair));
        (answer, Some(Some(pair)))
    }

    /// A call of an administrator.
    pub(crate) async fn administer(&self, ask: &Ask) -> Answer {
        let name = |user: &User| user_name(*user);
        let mut listed = Vec::new();
        let done = match ask {
            Ask::RevokeOne(sid) => self.sessions.revoke(self.recorder.session(*sid)).await.map(drop),
            Ask::RevokeSubject { user, except } => {
                let except = except.map(|sid| self.recorder.session(sid));
                self.sessions.revoke_all(&name(user), except).await
            }
            Ask::RevokeEverybody => self.sessions.revoke_everybody().await,
            Ask::List(user) => self.sessions.list(Some(&name(user)), None, 1000).await.map(|page| {
                listed = page.sessions.iter().map(|session| self.recorder.sid(session.sid)).collect();
            }),
            Ask::Sweep => self.sweep().await,
            _ => unreachable!("asked by browsers"),
        };
        let outcome = if done.is_ok() { Outcome::Done } else { Outcome::Unavailable };
        Answer { outcome, listed, ..Answer::default() }
    }

    /// The number of batches is limited, because a store with a planted bug may never finish.
    async fn sweep(&self) -> Result<(), Error> {
        for _ in 0..100 {
            if self.sessions.sweep(50).await?.finished {
                break;
            }
        }
        Ok(())
    }
}

pub(crate) fn user_name(user: User) -> String {
    format!("user-{user}")
}

async fn handle(request: Request<Task>, recorder: &Recorder) -> Response<String> {
    let session = request.extensions().get::<Session>().expect("the layer is around").clone();
    let Task { ask, waits } = request.into_body();
    let mut answer = Answer { handled: true, found: find(&session, recorder), ..Answer::default() };
    if answer.found.is_none() {
        answer.past = session.end_reason();
    }
    pause(waits).await;
    answer.outcome = match act(&ask, &session, &mut answer).await {
        Ok(outcome) => outcome,
        Err(error) if error.kind() == ErrorKind::Ended => Outcome::Over,
        Err(_) => Outcome::Unavailable,
    };
    answer.sid = session.sid().map(|sid| recorder.sid(sid));
    let mut response = Response::new(String::new());
    *response.status_mut() = match answer.outcome {
        Outcome::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        Outcome::Failed => StatusCode::INTERNAL_SERVER_ERROR,
        Outcome::Over => StatusCode::CONFLICT,
        Outcome::Full | Outcome::SignedOut => StatusCode::FORBIDDEN,
        _ => StatusCode::OK,
    };
    response.extensions_mut().insert(answer);
    response
}

fn find(session: &Session, recorder: &Recorder) -> Option<Found> {
    let info = session.info()?;
    let user = info.subject.as_deref().map(|name| name["user-".len()..].parse().expect("a user of ours"));
    let registers = (0..u8::try_from(REGISTERS).expect("a few"))
        .filter_map(|key| Some((key, session.get(&register(key)).expect("a number")?)));
    Some(Found {
        sid: recorder.sid(info.sid),
        user,
        created: info.created_at.as_unix_millis(),
        idle_expires: info.idle_expires_at.as_unix_millis(),
        expires: info.expires_at.as_unix_millis(),
        list: session.get(&LIST).expect("numbers").unwrap_or_default(),
        registers: registers.collect(),
    })
}

async fn act(ask: &Ask, session: &Session, answer: &mut Answer) -> Result<Outcome, Error> {
    match ask {
        Ask::Append(number) => {
            let append = |list: Option<Vec<u32>>| {
                let mut list = list.unwrap_or_default();
                if list.len() == LONGEST_LIST {
                    return list;
                }
                list.push(*number);
                list
            };
            let list = session.update(&LIST, append).await?;
            if list.last() != Some(number) {
                return Ok(Outcome::Over);
            }
            answer.appended = Some(list);
        }
        Ask::Write { key, value } => {
            let is_new = session.sid().is_none();
            session.insert(&register(*key), value)?;
            if is_new {
                session.save().await?.accepted()?;
            }
        }
        Ask::FailingWrite { key, value } => {
            session.insert(&register(*key), value)?;
            return Ok(Outcome::Failed);
        }
        Ask::Rotate => session.rotate()?,
        Ask::RotateNow => session.rotate_now()?,
        Ask::LogIn(user) => {
            session.login(user_name(*user)).await?.accepted()?;
            match session.save().await? {
                Saved::Done => {}
                Saved::Refused(Refusal::TooManySessions) => return Ok(Outcome::Full),
                Saved::Refused(_) => return Ok(Outcome::SignedOut),
            }
        }
        Ask::LogOut => session.logout()?,
        _ => {}
    }
    Ok(Outcome::Done)
}
