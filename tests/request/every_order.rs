//! Every order of two and three requests of one browser.
//!
//! The layer, its engine and the memory store are the real ones. A scheduler takes the place of a
//! runtime: each call to the store, each pause of a handler and each arrival is a step. A search
//! runs all orders of the steps. In some runs one call fails, or it takes effect and its answer is
//! lost. After each run the test checks the rules that no order may break (SPEC S3, S4, C3 to C6,
//! H3, O2).

use std::{
    cell::RefCell,
    collections::{BTreeMap, VecDeque},
    convert::Infallible,
    fmt,
    pin::Pin,
    sync::{Arc, LazyLock, Mutex},
    task::{Context, Poll, Waker},
    time::Duration,
};

use http::{HeaderValue, Request, Response, StatusCode, header};
use tower::{Layer, Service, ServiceExt, util::BoxCloneSyncService};
use tower_tenure::{
    DeviceBinding, Error, ErrorKind, Key, MemoryStore, Outcome, Session, SessionId, SessionLayer,
    SessionStore, Sessions, Timestamp,
    browser::Endpoints,
    events::{Event, EventKind},
    middleware::ResponseBody,
    record::{Change, EndOutcome, EndRequest, Record, UpdateOutcome},
    store::{CreateOutcome, Creation, Page, PlaceKey, Revocation, Sweep, Swept},
    testing::ManualClock,
};

use crate::common::{IDLE, SoftwareDevice, bound::parameter, policy, search::cases};

/// The outcome of a call to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Answered,
    /// It has no effect and returns an error.
    Fails,
    /// It takes effect, and its answer is lost.
    Lost,
}

/// Which participant runs, and which ones wait for a step.
#[derive(Default)]
struct World {
    running: usize,
    next_ticket: usize,
    waiting: BTreeMap<usize, VecDeque<Ticket>>,
    granted: BTreeMap<usize, Fate>,
}

#[derive(Clone, Copy)]
struct Ticket {
    number: usize,
    /// Whether the step is a call to the store rather than a pause of the handler.
    is_call: bool,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::default();
}

/// Waits for its turn.
fn turn(is_call: bool) -> impl Future<Output = Fate> + Send {
    let mut ticket = None;
    std::future::poll_fn(move |_| {
        WORLD.with_borrow_mut(|world| {
            let Some(number) = ticket else {
                let number = world.next_ticket;
                world.next_ticket += 1;
                let waiting = world.waiting.entry(world.running).or_default();
                waiting.push_back(Ticket { number, is_call });
                ticket = Some(number);
                return Poll::Pending;
            };
            world.granted.remove(&number).map_or(Poll::Pending, Poll::Ready)
        })
    })
}

/// What a participant waits for first.
fn waits_for(who: usize) -> Option<Ticket> {
    WORLD.with_borrow(|world| world.waiting.get(&who)?.front().copied())
}

/// Lets a participant take its next step.
fn grant(who: usize, fate: Fate) {
    WORLD.with_borrow_mut(|world| {
        let ticket = world.waiting.get_mut(&who).and_then(VecDeque::pop_front);
        world.granted.insert(ticket.expect("it waits for a step").number, fate);
    });
}

fn poll<T>(who: usize, future: &mut Pin<Box<dyn Future<Output = T> + Send>>) -> Poll<T> {
    WORLD.with_borrow_mut(|world| world.running = who);
    future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

/// The result of a call to the store that never waits.
fn now<T>(future: impl Future<Output = Result<T, Error>> + Send) -> T {
    let Poll::Ready(result) = std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("the memory store answers at once")
    };
    result.expect("the memory store does not fail")
}

/// A store whose calls wait for their turn and may fail.
#[derive(Clone)]
struct Stepped(MemoryStore);

async fn step<T>(call: impl Future<Output = Result<T, Error>> + Send) -> Result<T, Error> {
    match turn(true).await {
        Fate::Answered => call.await,
        Fate::Fails => Err(Error::store("it fails")),
        Fate::Lost => {
            let _ = call.await;
            Err(Error::store("the answer is lost"))
        }
    }
}

impl SessionStore for Stepped {
    async fn create(&self, creation: Creation) -> Result<CreateOutcome, Error> {
        step(self.0.create(creation)).await
    }

    async fn load(&self, sid: SessionId) -> Result<Option<Box<Record>>, Error> {
        step(self.0.load(sid)).await
    }

    async fn update(
        &self,
        sid: SessionId,
        change: Change,
        seen: Option<Box<Record>>,
    ) -> Result<UpdateOutcome, Error> {
        step(self.0.update(sid, change, seen)).await
    }

    async fn end(
        &self,
        sid: SessionId,
        request: EndRequest,
        seen: Option<Box<Record>>,
    ) -> Result<EndOutcome, Error> {
        step(self.0.end(sid, request, seen)).await
    }

    async fn revoke(&self, revocation: Revocation) -> Result<(), Error> {
        step(self.0.revoke(revocation)).await
    }

    async fn not_before(&self, realm: &str) -> Result<Option<Timestamp>, Error> {
        self.0.not_before(realm).await
    }

    async fn list(&self, page: Page) -> Result<Vec<Record>, Error> {
        step(self.0.list(page)).await
    }

    async fn sweep(&self, sweep: Sweep) -> Result<Swept, Error> {
        self.0.sweep(sweep).await
    }

    fn place_key(&self) -> PlaceKey {
        self.0.place_key()
    }
}

/// What a participant does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Act {
    /// Asks for the current user.
    Read,
    /// Stores a value, and sees whether it is stored.
    Write,
    /// The same, after the handler has waited for something.
    SlowWrite,
    /// The same, and then the handler fails.
    FailedWrite,
    Rotate,
    /// The same, after the handler has waited for something.
    SlowRotate,
    RotateNow,
    /// Logs the same user in.
    LogIn,
    SlowLogIn,
    LogOut,
    /// An administrator signs the user out everywhere. This is not a request of the browser.
    Revoke,
    /// A thief with a copy of the session cookie, who cannot prove the device, does the same as the
    /// browser. Not in [`Act::ALL`], because it needs a bound session.
    StolenRead,
    StolenWrite,
    StolenRotate,
    StolenLogOut,
    StolenLogIn,
}

impl Act {
    const ALL: [Self; 11] = [
        Self::Read,
        Self::Write,
        Self::SlowWrite,
        Self::FailedWrite,
        Self::Rotate,
        Self::SlowRotate,
        Self::RotateNow,
        Self::LogIn,
        Self::SlowLogIn,
        Self::LogOut,
        Self::Revoke,
    ];

    const STOLEN: [Self; 5] =
        [Self::StolenRead, Self::StolenWrite, Self::StolenRotate, Self::StolenLogOut, Self::StolenLogIn];

    const fn is_stolen(self) -> bool {
        matches!(
            self,
            Self::StolenRead
                | Self::StolenWrite
                | Self::StolenRotate
                | Self::StolenLogOut
                | Self::StolenLogIn
        )
    }

    const fn is_login(self) -> bool {
        matches!(self, Self::LogIn | Self::SlowLogIn)
    }

    /// Whether it begins a session if there is none.
    const fn may_set_a_cookie(self) -> bool {
        self.is_login() || matches!(self, Self::Write | Self::SlowWrite)
    }

    const fn ends(self) -> bool {
        matches!(self, Self::LogOut | Self::Revoke)
    }
}

/// The state of the browser at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Start {
    LoggedIn,
    /// With the cookie of a session that has expired.
    Expired,
    /// Without a cookie.
    Stranger,
    /// Logged in some time ago, with a session that is bound to its device.
    Bound,
}

const VALUES: [Key<u8>; 3] = [Key::new("a"), Key::new("b"), Key::new("c")];

/// The parts of a response that the rules use.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Reply {
    status: StatusCode,
    /// The user that the handler saw at its end.
    user: String,
    set_cookie: Option<String>,
    /// The challenge for binding a device.
    challenge: Option<String>,
}

impl Reply {
    fn is_ok(&self) -> bool {
        self.status == StatusCode::OK
    }
}

const USER: &str = "x-user";

async fn handle(request: Request<(Act, usize)>) -> Response<String> {
    let (act, who) = *request.body();
    let session = request.extensions().get::<Session>().expect("a session").clone();
    let status = match serve(act, who, &session).await {
        Ok(status) => status,
        Err(error) if error.kind() == ErrorKind::Ended => StatusCode::CONFLICT,
        Err(error) if error.kind() == ErrorKind::Refused => StatusCode::FORBIDDEN,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = Response::new(String::new());
    *response.status_mut() = status;
    let user = session.subject().unwrap_or_else(|| "".into());
    response.headers_mut().insert(USER, HeaderValue::from_str(&user).unwrap());
    response
}

async fn serve(act: Act, who: usize, session: &Session) -> Result<StatusCode, Error> {
    if matches!(act, Act::SlowWrite | Act::SlowRotate | Act::SlowLogIn) {
        turn(false).await;
    }
    match act {
        Act::Read | Act::StolenRead | Act::Revoke => {}
        Act::Write | Act::SlowWrite | Act::StolenWrite => {
            session.insert(&VALUES[who], &1)?;
            if session.save().await? != Outcome::Done {
                return Ok(StatusCode::FORBIDDEN);
            }
        }
        Act::FailedWrite => {
            session.insert(&VALUES[who], &1)?;
            return Ok(StatusCode::INTERNAL_SERVER_ERROR);
        }
        Act::Rotate | Act::SlowRotate | Act::StolenRotate => session.rotate()?,
        Act::RotateNow => session.rotate_now()?,
        Act::StolenLogIn => session.login("mallory").await?.accepted()?,
        Act::LogIn | Act::SlowLogIn => session.login("alice").await?.accepted()?,
        Act::LogOut | Act::StolenLogOut => session.logout()?,
    }
    Ok(StatusCode::OK)
}

type Running = Pin<Box<dyn Future<Output = Reply> + Send>>;
type Layered = BoxCloneSyncService<Request<(Act, usize)>, Reply, Infallible>;

/// One browser and its site.
struct Place {
    service: Layered,
    sessions: Sessions,
    store: MemoryStore,
    cookie: Option<HeaderValue>,
    /// The session cookie of [`Start::Bound`], as a thief has it.
    stolen: Option<HeaderValue>,
    /// What proves the device beside it.
    bound: Option<HeaderValue>,
    created: Arc<Mutex<Vec<SessionId>>>,
    ended: Arc<Mutex<Vec<SessionId>>>,
}

impl Place {
    fn new(start: Start) -> Self {
        WORLD.take();
        let (store, clock) = (MemoryStore::new(), ManualClock::default());
        let (created, ended) = (Arc::<Mutex<Vec<_>>>::default(), Arc::<Mutex<Vec<_>>>::default());
        let observer = {
            let (created, ended) = (Arc::clone(&created), Arc::clone(&ended));
            move |event: &Event<'_>| match (event.kind, event.sid) {
                (EventKind::Created, Some(sid)) => created.lock().unwrap().push(sid),
                (EventKind::Ended(_), Some(sid)) => ended.lock().unwrap().push(sid),
                _ => {}
            }
        };
        let layer = SessionLayer::new(Stepped(store.clone())).with_policy(policy());
        let mut layer = layer.with_clock(clock.clone()).with_observer_fn(observer);
        if start == Start::Bound {
            let binding = DeviceBinding::enforce();
            layer = layer.with_endpoints(Endpoints::at("/session").unwrap().with_device_binding(binding));
        }
        let handler = tower::service_fn(|request| async { Ok::<_, Infallible>(handle(request).await) });
        let service = layer.layer(handler).map_response(|response: Response<ResponseBody<String>>| {
            let text = |name| Some(response.headers().get(name)?.to_str().unwrap().to_owned());
            Reply {
                status: response.status(),
                user: text(USER).unwrap_or_default(),
                set_cookie: text("set-cookie"),
                challenge: text("secure-session-registration").map(|offer| parameter(&offer, "challenge")),
            }
        });
        let service = BoxCloneSyncService::new(service);
        let sessions = layer.sessions();
        let (cookie, stolen, bound) = (None, None, None);
        let mut place = Self { service, sessions, store, cookie, stolen, bound, created, ended };
        if start == Start::Bound {
            let challenge = place.at_once(Act::LogIn).challenge.unwrap();
            place.bind(&challenge);
            clock.advance(Duration::from_secs(30));
        } else if start != Start::Stranger {
            assert!(place.at_once(Act::LogIn).is_ok());
        }
        if start == Start::Expired {
            clock.advance(IDLE);
        }
        // From here on the node has cached what it asks the store for from time to time, so all
        // runs have the same steps.
        let kept = place.cookie.clone();
        place.at_once(Act::Read);
        place.cookie = kept;
        place
    }

    /// Sends a request with the cookie that the browser has now.
    fn send(&self, act: Act, who: usize) -> Running {
        if act == Act::Revoke {
            let sessions = self.sessions.clone();
            return Box::pin(async move {
                let revoked = sessions.revoke_all("alice", None).await;
                let status = revoked.map_or(StatusCode::SERVICE_UNAVAILABLE, |()| StatusCode::OK);
                Reply { status, user: String::new(), set_cookie: None, challenge: None }
            });
        }
        let request = Request::new((act, who));
        let (cookie, proof) =
            if act.is_stolen() { (&self.stolen, None) } else { (&self.cookie, self.bound.clone()) };
        let cookies = cookie.iter().cloned().chain(proof);
        self.serve(request, cookies)
    }

    fn serve(
        &self,
        mut request: Request<(Act, usize)>,
        cookies: impl IntoIterator<Item = HeaderValue>,
    ) -> Running {
        for cookie in cookies {
            request.headers_mut().append(header::COOKIE, cookie);
        }
        let mut service = self.service.clone();
        Box::pin(async move {
            match service.call(request).await {
                Ok(reply) => reply,
                Err(never) => match never {},
            }
        })
    }

    /// Binds the session to a device.
    fn bind(&mut self, challenge: &str) {
        static DEVICE: LazyLock<SoftwareDevice> = LazyLock::new(SoftwareDevice::es256);
        let request =
            Request::post("/session/bind").header("secure-session-response", DEVICE.register(challenge));
        let mut running = self.serve(request.body((Act::Read, 0)).unwrap(), self.cookie.clone());
        let reply = loop {
            if let Poll::Ready(reply) = poll(0, &mut running) {
                break reply;
            }
            grant(0, Fate::Answered);
        };
        assert!(reply.is_ok());
        self.bound = Some(reply.set_cookie.unwrap().split(';').next().unwrap().parse().unwrap());
        self.stolen.clone_from(&self.cookie);
    }

    /// Takes the cookie of a response.
    fn receive(&mut self, reply: &Reply) {
        if let Some(line) = &reply.set_cookie {
            let pair = line.split(';').next().unwrap();
            self.cookie = (!line.contains("Max-Age=0")).then(|| pair.parse().unwrap());
        }
    }

    /// A request while no other is in flight.
    fn at_once(&mut self, act: Act) -> Reply {
        let mut request = self.send(act, 0);
        loop {
            if let Poll::Ready(reply) = poll(0, &mut request) {
                self.receive(&reply);
                return reply;
            }
            grant(0, Fate::Answered);
        }
    }

    fn live(&self) -> Vec<Record> {
        let created = self.created.lock().unwrap().clone();
        let records = created.into_iter().filter_map(|sid| now(self.store.load(sid)));
        records
            .filter(|record| record.ended.is_none() && record.revoked_at.is_none())
            .map(|record| *record)
            .collect()
    }
}

/// The choices of a run. The next run changes the last choice that has another option.
#[derive(Default)]
struct Choices {
    taken: Vec<(usize, usize)>,
    at: usize,
}

impl Choices {
    fn choose(&mut self, options: usize) -> usize {
        if self.at == self.taken.len() {
            self.taken.push((0, options));
        }
        let (choice, known) = self.taken[self.at];
        assert_eq!(known, options, "a run depends on its choices alone");
        self.at += 1;
        choice
    }

    /// Moves to the next run. Returns `false` after the last one.
    fn next(&mut self) -> bool {
        self.at = 0;
        while let Some((choice, options)) = self.taken.pop() {
            if choice + 1 < options {
                self.taken.push((choice + 1, options));
                return true;
            }
        }
        false
    }
}

/// What is searched.
#[derive(Clone, Copy)]
struct Search {
    /// How often a participant may be preempted.
    interruptions: usize,
    /// How many calls to the store fail or lose their answer.
    faults: usize,
}

/// What happened in a run.
struct Run<'a> {
    start: Start,
    acts: &'a [Act],
    replies: Vec<Reply>,
    steps: Vec<(usize, Option<Fate>)>,
    faults: usize,
    all_had_a_cookie: bool,
}

fn run<'a>(start: Start, acts: &'a [Act], search: Search, choices: &mut Choices) -> (Place, Run<'a>) {
    let mut place = Place::new(start);
    let mut requests: Vec<Option<Running>> = acts.iter().map(|_| None).collect();
    let mut replies: Vec<Option<Reply>> = vec![None; acts.len()];
    let (mut steps, mut interruptions, mut faults) = (Vec::new(), 0, 0);
    let (mut last, mut all_had_a_cookie) = (None, true);
    loop {
        let open = |who: &usize| replies[*who].is_none();
        let can_go_on = last.filter(open);
        let mut options = Vec::new();
        for who in (0..acts.len()).filter(open) {
            if can_go_on.is_some_and(|last| last != who) && interruptions == search.interruptions {
                continue;
            }
            if requests[who].is_none() {
                options.push((who, None));
                continue;
            }
            let ticket = waits_for(who).expect("an open request waits for a step");
            options.push((who, Some(Fate::Answered)));
            if ticket.is_call && faults < search.faults {
                options.extend([(who, Some(Fate::Fails)), (who, Some(Fate::Lost))]);
            }
        }
        if options.is_empty() {
            break;
        }
        let (who, fate) = options[choices.choose(options.len())];
        interruptions += usize::from(can_go_on.is_some_and(|last| last != who));
        faults += usize::from(fate.is_some_and(|fate| fate != Fate::Answered));
        steps.push((who, fate));
        last = Some(who);
        if let Some(fate) = fate {
            grant(who, fate);
        }
        if fate.is_none() && acts[who].may_set_a_cookie() {
            all_had_a_cookie &= place.cookie.is_some();
        }
        let request = requests[who].get_or_insert_with(|| place.send(acts[who], who));
        if let Poll::Ready(reply) = poll(who, request) {
            requests[who] = None;
            if !acts[who].is_stolen() {
                place.receive(&reply);
            }
            replies[who] = Some(reply);
        }
    }
    let replies = replies.into_iter().map(|reply| reply.expect("all are answered")).collect();
    (place, Run { start, acts, replies, steps, faults, all_had_a_cookie })
}

impl fmt::Display for Run<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}, {:?}", self.start, self.acts)?;
        for (who, fate) in &self.steps {
            match fate {
                None => writeln!(f, "  {who} {:?} is sent", self.acts[*who])?,
                Some(fate) => writeln!(f, "  {who} {:?}: {fate:?}", self.acts[*who])?,
            }
        }
        writeln!(f, "{:?}", self.replies)
    }
}

impl Run<'_> {
    fn has(&self, act: impl Fn(Act) -> bool) -> bool {
        self.acts.iter().any(|other| act(*other))
    }

    fn succeeded(&self, act: impl Fn(Act) -> bool) -> bool {
        self.acts.iter().zip(&self.replies).any(|(other, reply)| act(*other) && reply.is_ok())
    }

    /// Checks the rules that no order may break.
    fn check(&self, place: &mut Place) {
        let says = |rule: &str| format!("{rule}\n{self}");
        let writes = |act| matches!(act, Act::Write | Act::SlowWrite);
        let live = place.live();
        let of_alice = live.iter().filter(|record| record.subject.is_some()).count();

        // O2: every end is emitted exactly once.
        let mut ended = place.ended.lock().unwrap().clone();
        let ends = ended.len();
        ended.sort_unstable();
        ended.dedup();
        assert_eq!(ended.len(), ends, "{}", says("an end was reported twice"));

        // H3: what a failed handler wrote is not stored.
        for (who, _) in self.acts.iter().enumerate().filter(|(_, act)| **act == Act::FailedWrite) {
            let kept = live.iter().any(|record| record.data.get(VALUES[who].name()).is_some());
            assert!(!kept, "{}", says("the write of a failed handler was kept"));
        }

        // S4: after an acknowledged end there is no session, except by a login.
        let logs_in = self.has(Act::is_login);
        // A replaced secret proves nothing after `rotate_now`, after a second rotation, and once
        // its session has ended. That holds even for a logout in flight.
        let count = |act: fn(Act) -> bool| self.acts.iter().filter(|other| act(**other)).count();
        let rotations = count(|act| matches!(act, Act::Rotate | Act::SlowRotate));
        let drops_secret = self.has(|act| act == Act::RotateNow)
            || rotations > 1
            || (rotations > 0 && count(Act::is_login) > 1);
        let ends = self.succeeded(|act| act == Act::Revoke)
            || self.succeeded(|act| act == Act::LogOut) && !drops_secret;
        if ends && !logs_in {
            assert_eq!(of_alice, 0, "{}", says("a session outlived its end"));
        }
        let user = place.at_once(Act::Read).user;
        if ends && !logs_in {
            assert_eq!(user, "", "{}", says("the browser is logged in after the end of its session"));
        }
        if self.faults > 0 {
            return;
        }

        // C3 to C6, S9: the browser ends up with the one live session.
        let is_or_becomes_user = self.start == Start::LoggedIn || self.succeeded(Act::is_login);
        // A login or a write without a cookie has no connection to the other requests. Such
        // requests come from a stranger, or follow a response that removed the cookie.
        let is_connected = self.all_had_a_cookie;
        if is_or_becomes_user && is_connected && !self.has(Act::ends) {
            assert_eq!(user, "alice", "{}", says("the browser lost its session"));
            if !drops_secret {
                assert_eq!(of_alice, 1, "{}", says("there is a session that no browser has"));
            }
        }
        if is_connected && !drops_secret {
            assert!(of_alice <= 1, "{}", says("there are sessions that no browser has"));
        }

        // S3: no acknowledged write is lost.
        if self.start == Start::LoggedIn && !self.has(Act::ends) && !drops_secret {
            for (who, _) in self.acts.iter().enumerate().filter(|(_, act)| writes(**act)) {
                let kept = live.iter().any(|record| record.data.get(VALUES[who].name()).is_some());
                assert!(kept || !self.replies[who].is_ok(), "{}", says("an acknowledged write is lost"));
            }
        }
    }
}

/// What an unproven request must not do, in any order with proven ones (B6).
fn check_stolen(run: &Run<'_>, place: &mut Place) {
    let says = |rule: &str| format!("{rule}\n{run}");
    let stolen = || run.acts.iter().zip(&run.replies).filter(|(act, _)| act.is_stolen());
    let ends = run.has(|act| act.ends() || act.is_login());
    for (act, reply) in stolen() {
        let is_login = *act == Act::StolenLogIn;
        assert!(reply.user.is_empty() || (is_login && reply.user == "mallory"), "{}", says("it was served"));
        // Once the session is over, its cookie is like any other dead cookie.
        let keeps = reply.set_cookie.is_none() || is_login || ends;
        assert!(keeps, "{}", says("the cookie was removed or replaced"));
    }
    let live = place.live();
    for (who, _) in run.acts.iter().enumerate().filter(|(_, act)| **act == Act::StolenWrite) {
        let mut of_alice = live.iter().filter(|record| record.subject.as_deref() == Some("alice"));
        let kept = of_alice.any(|record| record.data.get(VALUES[who].name()).is_some());
        assert!(!kept, "{}", says("it was written"));
        assert!(
            ends || live.iter().all(|record| record.subject.is_some()),
            "{}",
            says("a session took its place")
        );
    }
    if !run.has(Act::ends) && run.faults == 0 {
        assert_eq!(place.at_once(Act::Read).user, "alice", "{}", says("the browser lost its session"));
    }
}

/// Performs all runs and returns their number.
fn search(start: Start, acts: &[Act], search: Search) -> usize {
    let (mut choices, mut runs) = (Choices::default(), 0);
    loop {
        let (mut place, run) = run(start, acts, search, &mut choices);
        if start == Start::Bound {
            check_stolen(&run, &mut place);
        } else {
            run.check(&mut place);
        }
        runs += 1;
        if !choices.next() {
            return runs;
        }
    }
}

/// Timeouts need a runtime's clock, which never moves here.
fn in_runtime<T>(test: impl FnOnce() -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.unwrap();
    let _guard = runtime.enter();
    test()
}

const ALL: usize = usize::MAX;

#[test]
fn every_order_of_two_requests_keeps_the_rules() {
    in_runtime(|| {
        let mut runs = 0;
        for start in [Start::LoggedIn, Start::Expired, Start::Stranger] {
            for (index, one) in Act::ALL.into_iter().enumerate() {
                for other in Act::ALL.into_iter().skip(index) {
                    runs += search(start, &[one, other], Search { interruptions: ALL, faults: 0 });
                }
            }
        }
        println!("{runs} orders of two requests");
        assert!(runs > 5_000, "{runs}");
    });
}

/// B6: the browser and a thief with its session cookie, concurrently.
#[test]
fn every_order_of_an_unproven_request_beside_one_of_the_browser_keeps_the_rules() {
    in_runtime(|| {
        let mut runs = 0;
        for stolen in Act::STOLEN {
            for act in Act::ALL {
                for (faults, interruptions) in [(0, ALL), (1, 1)] {
                    runs += search(Start::Bound, &[stolen, act], Search { interruptions, faults });
                }
            }
        }
        println!("{runs} orders of an unproven request beside another");
        assert!(runs > 1_000, "{runs}");
    });
}

/// Three requests with at most one preemption, or two in the long search.
#[test]
fn three_requests_keep_the_rules_in_every_order_with_few_interruptions() {
    in_runtime(|| {
        let interruptions = if cases(1) > 1 { 2 } else { 1 };
        let mut runs = 0;
        for start in [Start::LoggedIn, Start::Expired] {
            for acts in threes() {
                runs += search(start, &acts, Search { interruptions, faults: 0 });
            }
        }
        println!("{runs} orders of three requests");
        assert!(runs > 5_000, "{runs}");
    });
}

/// All ways to choose three acts.
fn threes() -> impl Iterator<Item = [Act; 3]> {
    let all = || Act::ALL.into_iter();
    all().flat_map(move |a| {
        all()
            .filter(move |b| *b >= a)
            .flat_map(move |b| all().filter(move |c| *c >= b).map(move |c| [a, b, c]))
    })
}

/// One call to the store fails, or takes effect and its answer is lost.
#[test]
fn a_call_that_fails_or_an_answer_that_is_lost_breaks_no_rule_in_any_order_of_two_requests() {
    in_runtime(|| {
        let interruptions = if cases(1) > 1 { ALL } else { 1 };
        let mut runs = 0;
        for start in [Start::LoggedIn, Start::Expired] {
            for (index, one) in Act::ALL.into_iter().enumerate() {
                for other in Act::ALL.into_iter().skip(index) {
                    runs += search(start, &[one, other], Search { interruptions, faults: 1 });
                }
            }
        }
        println!("{runs} orders of two requests with a fault");
        assert!(runs > 5_000, "{runs}");
    });
}
