//! `examples/two_nodes` without containers: two demos behind nginx, with its `nginx.conf` and the
//! settings of its `compose.yaml`, but other ports. The proxy strips a prefix (FINDINGS E8).

use std::{
    fs,
    io::Read,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use crate::common::{
    chrome::Chrome,
    client::{Browser, FORM, JSON, PASSIVE},
    demo::{self, Demo},
    servers::{self, Kind, Server},
    visit::{Visit, Visited},
};

const PAGE: &str = "Accept: text/html";
const TOKEN: &str = "Authorization: Bearer only-for-trying-out";

fn example(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/two_nodes").join(file);
    fs::read_to_string(path).expect("the example has the file")
}

/// The environment of a node, with another store and another public port.
fn settings(store: &Server, port: u16) -> Vec<(String, String)> {
    let compose = example("compose.yaml");
    let settings = compose.lines().filter_map(|line| line.trim().split_once(": "));
    let settings = settings.filter(|(name, _)| name.starts_with("TENURE_"));
    let settings: Vec<_> = settings
        .map(|(name, value)| {
            // `${NAME:-default}`
            let default = value.strip_suffix('}').and_then(|value| value.split_once(":-"));
            let value = default.map_or(value, |(_, default)| default);
            let value = value.replace("redis://redis:6379", &store.url());
            (name.to_owned(), value.replace("localhost:8080", &format!("127.0.0.1:{port}")))
        })
        .collect();
    assert_eq!(settings.len(), 5, "{settings:?}");
    settings
}

struct Nginx {
    process: Child,
    dir: PathBuf,
}

impl Nginx {
    fn start(port: u16, nodes: &[Demo; 2]) -> Self {
        let dir = std::env::temp_dir().join(format!("tenure-nginx-{}-{port}", std::process::id()));
        fs::create_dir_all(&dir).expect("a temporary directory can be made");
        let dir_name = dir.display().to_string();
        // A folder that a user other than root may write to.
        let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {dir_name}/{what};"));
        let conf = example("nginx.conf")
            .replace("listen 8080;", &format!("listen 127.0.0.1:{port};"))
            .replace("node1:3000", &nodes[0].address.to_string())
            .replace("node2:3000", &nodes[1].address.to_string())
            .replace("/tmp/", &format!("{dir_name}/"))
            .replace("http {", &format!("http {{ {}", places.join(" ")));
        let file = dir.join("nginx.conf");
        fs::write(&file, conf).expect("it can be written");
        let mut command = Command::new(program().expect("it was there before"));
        command.arg("-p").arg(&dir).arg("-c").arg(&file).args(["-g", "daemon off;"]);
        let process = command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("nginx starts");
        servers::until("nginx listens", || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
        Self { process, dir }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers exit with it.
        servers::signal("TERM", self.process.id());
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin".into()]);
    let found = places.map(|place| place.join("nginx")).find(|file| file.is_file());
    assert!(found.is_some() || std::env::var_os("TENURE_ALL").is_none(), "nginx is missing");
    found
}

/// Two nodes behind the proxy, and a browser that talks only to the proxy.
struct TwoNodes {
    browser: Browser,
    nodes: [Demo; 2],
    port: u16,
    _nginx: Nginx,
    _store: Server,
}

impl TwoNodes {
    fn start(test: &str) -> Option<Self> {
        if program().is_none() {
            eprintln!("left out: {test} (needs nginx; see tests/all.sh)");
            return None;
        }
        let store = Server::start(Kind::Redis, test)?;
        let port = servers::free_port();
        let node = || {
            let mut command = demo::command(&["--listen=127.0.0.1:0"]);
            Demo::spawn(command.envs(settings(&store, port)).stderr(Stdio::null()))
        };
        let nodes = [node(), node()];
        let nginx = Nginx::start(port, &nodes);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let browser = Browser { address, ..nodes[0].browser() };
        Some(Self { browser, nodes, port, _nginx: nginx, _store: store })
    }

    /// Sends until both nodes have answered, at most 20 times. Returns the last answer of each.
    fn answers_of_both(&self, browser: &mut Browser, line: &str, headers: &[&str]) -> [(u16, String); 2] {
        let mut answers = [None, None];
        for _ in 0..20 {
            let answer = browser.send(line, headers, b"");
            let node = answer.header("x-node").expect("the proxy says which node").to_owned();
            let which = self.nodes.iter().position(|demo| demo.address.to_string() == node);
            answers[which.expect("one of the two")] = Some((answer.status, answer.body));
            if let [Some(one), Some(other)] = &answers {
                return [one.clone(), other.clone()];
            }
        }
        panic!("one of the nodes never answers: {answers:?}")
    }
}

fn log_in(browser: &mut Browser) -> String {
    let answer = browser.send("POST /shop/login", &[FORM, JSON], b"user=alice");
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()["sid"].as_str().unwrap().to_owned()
}

#[test]
fn e8_two_nodes_behind_a_proxy_are_one_site_below_its_prefix() {
    let Some(site) = TwoNodes::start("two nodes behind nginx") else { return };
    let mut browser = site.browser.clone();

    // Without a session: redirected to the login page with the prefix, and then back to the wanted
    // page.
    let denied = browser.send("GET /shop/me?x=1", &[PAGE], b"");
    let location = denied.header("location").unwrap_or_default();
    assert_eq!((denied.status, location), (303, "/shop/?return_to=/shop/me%3Fx%3D1&reason=none"));
    let page = browser.send(&format!("GET {location}"), &[PAGE], b"");
    assert_eq!(page.status, 200);
    let attributes = ["href=\"", "src=\"", "action=\""];
    let after = attributes.iter().flat_map(|attribute| page.body.split(attribute).skip(1));
    let paths = after.map(|rest| rest.split('"').next().unwrap().to_owned());
    let paths: Vec<_> = paths.filter(|path| !path.starts_with(['#', 'd'])).collect(); // `data:`
    assert!(paths.len() >= 5 && paths.iter().all(|path| path.starts_with("/shop/")), "{paths:?}");
    for path in paths.iter().filter(|path| path.contains('.')) {
        assert_eq!(browser.get(path).status, 200, "{path}");
    }
    let form = b"user=alice&return_to=/shop/me%3Fx%3D1";
    let back = browser.send("POST /shop/login", &[FORM, PAGE], form);
    assert_eq!((back.status, back.header("location")), (303, Some("/shop/me?x=1")));

    // Both nodes see the session and what any of them wrote.
    let all = site.answers_of_both(&mut browser, "GET /shop/me", &[]);
    assert!(all.iter().all(|(status, body)| *status == 200 && body.contains("alice")), "{all:?}");
    assert_eq!(browser.put("/shop/data/key", "value").status, 204);
    let all = site.answers_of_both(&mut browser, "GET /shop/data/key", &[]);
    assert!(all.iter().all(|answer| *answer == (200, "value".to_owned())), "{all:?}");

    // A change must come from the public address, not from the node's.
    let own = format!("Origin: http://127.0.0.1:{}", site.port);
    let nodes = format!("Origin: http://{}", site.nodes[0].address);
    let https = format!("Origin: https://127.0.0.1:{}", site.port);
    for (origin, expected) in [(&own, 200), (&nodes, 403), (&https, 403)] {
        let all = site.answers_of_both(&mut browser, "POST /shop/session/extend", &[origin]);
        assert!(all.iter().all(|(status, _)| *status == expected), "{origin}: {all:?}");
    }
    assert_eq!(browser.send("POST /shop/logout", &[&own, PAGE], b"").header("location"), Some("/shop/"));
    let all = site.answers_of_both(&mut browser, "GET /shop/me", &[JSON]);
    assert!(all.iter().all(|(status, _)| *status == 401), "{all:?}");
}

#[test]
fn m3_what_is_revoked_through_one_node_is_over_at_the_next_request_and_a_stopped_node_affects_no_user() {
    let Some(mut site) = TwoNodes::start("revocation behind nginx") else { return };
    let mut browser = site.browser.clone();
    let sid = log_in(&mut browser);
    let mut other = site.browser.clone();
    log_in(&mut other);
    let mut direct = site.nodes[0].browser();
    let revoked = direct.send(&format!("DELETE /api/v2/sessions/{sid}"), &[TOKEN], b"");
    assert_eq!(revoked.status, 202, "{}", revoked.body);
    let mut at_the_other = Browser { cookie: browser.cookie.clone(), ..site.nodes[1].browser() };
    assert_eq!(at_the_other.send("GET /me", &[JSON], b"").reason(), (401, "revoked".to_owned()));
    assert_eq!(browser.get("/shop/me").status, 401);

    site.nodes[0].process.kill().unwrap();
    site.nodes[0].process.wait().unwrap();
    for number in 0..10 {
        assert_eq!(other.get("/shop/me").status, 200, "request {number} after a node was stopped");
        assert_eq!(other.post("/shop/add/count").status, 200, "change {number} after a node was stopped");
    }
    assert_eq!(other.get("/shop/data/count").body, "10");
}

#[test]
fn a2_the_clients_address_is_the_one_that_the_proxy_saw() {
    let Some(site) = TwoNodes::start("the client's address behind nginx") else { return };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut stream = runtime
        .block_on(async {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind((Ipv4Addr::new(127, 0, 0, 9), 0).into())?;
            socket.connect(site.browser.address).await?.into_std()
        })
        .unwrap();
    stream.set_nonblocking(false).unwrap();
    let body = "user=alice";
    let request = format!(
        "POST /shop/login HTTP/1.1\r\nHost: x\r\n{FORM}\r\nX-Real-IP: 6.6.6.6\r\nX-Forwarded-For: 6.6.6.6\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    let listed = site.browser.clone().send("GET /shop/api/v2/sessions", &[TOKEN], b"");
    let listed = listed.json();
    let device = &listed["sessions"][0]["device"];
    assert_eq!((&device["initial_ip"], &device["last_ip"]), (&"127.0.0.9".into(), &"127.0.0.9".into()));
}

#[test]
fn d1_the_dashboard_works_below_the_prefix() {
    let Some(site) = TwoNodes::start("the dashboard behind nginx") else { return };
    let mut browser = site.browser.clone();
    // Each address of the page that a browser may show, and the folder that its links are relative
    // to.
    for (address, folder) in [("/shop/admin", "/shop/"), ("/shop/admin/", "/shop/admin/")] {
        let page = browser.get(address);
        assert_eq!(page.status, 200, "{address}");
        let mut files = page.body.split('"').filter(|part| part.contains("/dashboard."));
        for _ in 0..2 {
            let file = files.next().expect("a stylesheet and a script");
            assert!(!file.starts_with('/'), "{file}");
            assert_eq!(browser.get(&format!("{folder}{file}")).status, 200, "{folder}{file}");
        }
        let api = page.body.split("data-api=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!(api, "../api/v2", "from the page's address with a slash at its end");
    }
    let settings = browser.send("GET /shop/api/v2/tenants/settings", &[TOKEN], b"");
    assert_eq!(settings.status, 200, "{}", settings.body);
}

impl Visited for TwoNodes {
    fn address(&self) -> SocketAddr {
        self.browser.address
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn e8_page_warning_and_dashboard_work_in_a_browser_below_the_prefix() {
    let test = "a browser behind nginx";
    let Some(chrome) = Chrome::start(test) else { return };
    let site = tokio::task::spawn_blocking(move || TwoNodes::start(test)).await.unwrap();
    let Some(site) = site else { return };
    let visit = Visit { client: chrome.open_with(&[]).await, demo: site, chrome };
    visit.home().await.unwrap();
    visit.fill("user", "alice").await.unwrap();
    visit.click("#signed-out button.primary").await.unwrap();
    visit.sees("#user-name", "alice").await.unwrap();
    visit.sees("#stream", "open").await.unwrap();
    visit.click("#extend").await.unwrap();
    visit.sees("#news", "Extended.").await.unwrap();
    visit.becomes_true("return globalThis.tenure?.status()?.live === true;", vec![]).await.unwrap();
    for address in ["/shop/admin", "/shop/admin/"] {
        visit.client.goto(&visit.url(address)).await.unwrap();
        if address == "/shop/admin" {
            visit.fill("token", "only-for-trying-out").await.unwrap();
            visit.click("#enter button").await.unwrap();
        }
        visit.sees("#connection", "As of").await.unwrap();
        visit.sees("#rows", "alice").await.unwrap();
    }
}

#[test]
fn h4_a_stream_passes_the_proxy_and_ends_with_its_session() {
    let Some(site) = TwoNodes::start("a stream behind nginx") else { return };
    // A proxy that buffers the stream would deliver it only at its end.
    let mut browser = Browser { patience: Duration::from_secs(5), ..site.browser.clone() };
    log_in(&mut browser);
    let mut stream = browser.connect("GET /shop/events", &[PASSIVE], b"").unwrap();
    let mut seen = String::new();
    while !seen.contains("event: tick") {
        let mut some = [0; 1024];
        let count = stream.read(&mut some).unwrap();
        assert!(count > 0, "it ended: {seen}");
        seen += std::str::from_utf8(&some[..count]).unwrap();
    }
    // From either node.
    assert_eq!(browser.clone().post("/shop/logout").status, 303);
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    // One tick a second.
    assert!(rest.matches("event: tick").count() < 5, "it ends with the session: {rest}");
}
