//! A proxy in front of several nodes that gives each connection to the next one.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// A connection that is idle in both directions for two to four of these is closed, so that the
/// next request goes to another node. It is shorter than the pauses of a test, and longer than any
/// answer takes.
const QUIET: Duration = Duration::from_millis(250);

/// The nodes take turns.
#[derive(Debug)]
pub struct Turns {
    pub port: u16,
    connections: Arc<Vec<AtomicUsize>>,
}

impl Turns {
    pub fn before(nodes: Vec<SocketAddr>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the loopback has a free port");
        let port = listener.local_addr().expect("it has an address").port();
        let connections: Arc<Vec<_>> = Arc::new(nodes.iter().map(|_| AtomicUsize::new(0)).collect());
        let counts = Arc::clone(&connections);
        thread::spawn(move || {
            let turns = (0..nodes.len()).cycle();
            for (client, turn) in listener.incoming().filter_map(Result::ok).zip(turns) {
                if let Ok(node) = TcpStream::connect(nodes[turn]) {
                    counts[turn].fetch_add(1, Ordering::Relaxed);
                    let _ = connect(&client, &node);
                }
            }
        });
        Self { port, connections }
    }

    /// The number of connections of each node so far.
    pub fn connections(&self) -> Vec<usize> {
        self.connections.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }
}

fn connect(client: &TcpStream, node: &TcpStream) -> io::Result<()> {
    let quiet = Arc::new(AtomicUsize::new(0));
    for (from, to) in [(client, node), (node, client)] {
        from.set_read_timeout(Some(QUIET))?;
        to.set_nodelay(true)?;
        let (from, to, quiet) = (from.try_clone()?, to.try_clone()?, Arc::clone(&quiet));
        thread::spawn(move || carry(from, to, &quiet));
    }
    Ok(())
}

/// Forwards bytes in one direction, until both directions are idle for a while.
fn carry(mut from: TcpStream, mut to: TcpStream, quiet: &AtomicUsize) {
    let mut buffer = vec![0; 65536];
    loop {
        match from.read(&mut buffer) {
            Ok(read @ 1..) => {
                quiet.store(0, Ordering::Relaxed);
                if to.write_all(&buffer[..read]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                // Both directions count.
                if quiet.fetch_add(1, Ordering::Relaxed) >= 4 {
                    break;
                }
            }
            _ => break,
        }
    }
    for stream in [from, to] {
        let _ = stream.shutdown(Shutdown::Both);
    }
}
