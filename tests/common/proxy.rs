//! A network between a store and its server, with weather.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// What becomes of what is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// It arrives.
    Fair,
    /// Connections are closed as soon as they are made, and those that there are now.
    Refusing,
    /// Answers come so much later.
    Late(Duration),
    /// Nothing arrives any more, and nothing is said of it.
    Swallowing,
    /// So many bytes of an answer arrive, then the connection is closed.
    Cutting(usize),
    /// Something else comes in place of an answer.
    Garbage,
    /// So many answers arrive, and then no more: the connection is closed in place of the next.
    Answering(usize),
}

pub struct Proxy {
    pub port: u16,
    sky: Arc<Mutex<Sky>>,
}

struct Sky {
    weather: Weather,
    turns: u32,
    streams: Vec<TcpStream>,
}

/// On a connection, who spoke last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Server,
}

impl Proxy {
    pub fn before(server: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the loopback has a free port");
        let port = listener.local_addr().expect("it has an address").port();
        let sky = Arc::new(Mutex::new(Sky { weather: Weather::Fair, turns: 0, streams: Vec::new() }));
        let above = Arc::clone(&sky);
        thread::spawn(move || {
            for client in listener.incoming().filter_map(Result::ok) {
                if look(&above, |sky| sky.weather) == Weather::Refusing {
                    continue;
                }
                // A server that is down refuses, and so do we.
                if let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, server)) {
                    connect(client, server, &above);
                }
            }
        });
        Self { port, sky }
    }

    pub fn set(&self, weather: Weather) {
        let streams = look(&self.sky, |sky| {
            sky.weather = weather;
            if weather == Weather::Refusing { std::mem::take(&mut sky.streams) } else { Vec::new() }
        });
        for stream in streams {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How often somebody asked and was answered since this was last called.
    pub fn take_turns(&self) -> u32 {
        look(&self.sky, |sky| std::mem::take(&mut sky.turns))
    }
}

fn look<T>(sky: &Mutex<Sky>, at: impl FnOnce(&mut Sky) -> T) -> T {
    at(&mut sky.lock().unwrap_or_else(PoisonError::into_inner))
}

fn connect(client: TcpStream, server: TcpStream, sky: &Arc<Mutex<Sky>>) {
    let clone = |stream: &TcpStream| stream.try_clone().expect("a socket can be shared");
    look(sky, |sky| sky.streams.extend([clone(&client), clone(&server)]));
    let last = Arc::new(Mutex::new(Side::Server));
    let (asks, answers) = ((clone(&client), clone(&server)), (server, client));
    let (above, spoke) = (Arc::clone(sky), Arc::clone(&last));
    thread::spawn(move || carry(asks.0, asks.1, Side::Client, &above, &spoke));
    let above = Arc::clone(sky);
    thread::spawn(move || carry(answers.0, answers.1, Side::Server, &above, &last));
}

/// Carries what one side says to the other until one has enough.
fn carry(mut from: TcpStream, mut to: TcpStream, side: Side, sky: &Mutex<Sky>, last: &Mutex<Side>) {
    let mut buffer = vec![0; 65536];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let is_new = {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *last, side) != side
        };
        let weather = look(sky, |sky| {
            sky.turns += u32::from(is_new && side == Side::Client);
            let weather = sky.weather;
            if let (Weather::Answering(left), Side::Server, true) = (weather, side, is_new) {
                sky.weather = left.checked_sub(1).map_or(Weather::Cutting(0), Weather::Answering);
                return sky.weather;
            }
            weather
        });
        let sent = match (weather, side) {
            (Weather::Swallowing, _) => Ok(()),
            (Weather::Cutting(most), Side::Server) => {
                let _ = to.write_all(&buffer[..read.min(most)]);
                break;
            }
            (Weather::Garbage, Side::Server) => to.write_all(b"\xff\x00HTTP/1.1 418 I am another\r\n\r\n"),
            (Weather::Late(by), Side::Server) => {
                thread::sleep(by);
                to.write_all(&buffer[..read])
            }
            _ => to.write_all(&buffer[..read]),
        };
        if sent.is_err() {
            break;
        }
    }
    for stream in [from, to] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}
