//! A proxy between a store and its server, which simulates network faults.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

/// The fault that the proxy simulates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    /// No fault.
    Fair,
    /// Existing connections are closed, and new ones are closed at once.
    Refusing,
    /// Answers are delayed by this time.
    Late(Duration),
    /// Data is dropped silently.
    Swallowing,
    /// This many bytes of an answer arrive, then the connection is closed.
    Cutting(usize),
    /// Garbage arrives instead of an answer.
    Garbage,
    /// This many answers arrive, and the connection is closed before the next one.
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

/// The side that sent last on a connection.
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
                // If the server refuses the connection, the proxy closes the client's.
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

    /// The number of round trips since the last call.
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

/// Forwards data from one side to the other until one of them closes.
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
