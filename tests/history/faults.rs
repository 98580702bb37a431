//! Faults of a server while clients use it: it stops responding, its connections are cut, or it is
//! killed and restarted.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use super::clients::Dice;
use crate::common::{
    proxy::{Proxy, Weather},
    servers::Server,
};

/// A server with its faults, until [`Faults::stop`].
pub(crate) struct Faults {
    /// While this is set, no new fault begins.
    pub(crate) is_calm: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(Server, u32)>,
}

impl Faults {
    /// `proxy` is between the clients and the server, if there is one.
    pub(crate) fn begin(mut server: Server, proxy: Option<Arc<Proxy>>, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let is_calm = Arc::new(AtomicBool::new(false));
        let calm = Arc::clone(&is_calm);
        let thread = thread::spawn(move || {
            let mut dice = Dice::new(seed ^ 0xfa);
            let mut count = 0;
            while !stopped.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(50 + dice.below(200)));
                if calm.load(Ordering::SeqCst) {
                    continue;
                }
                count += 1;
                let short = Duration::from_millis(20 + dice.below(150));
                match (dice.below(4), &proxy) {
                    (0, _) => {
                        server.freeze();
                        thread::sleep(short);
                        server.thaw();
                    }
                    (1, _) => server.restart(),
                    (2, Some(proxy)) => {
                        proxy.set(Weather::Refusing);
                        thread::sleep(short / 4);
                        proxy.set(Weather::Fair);
                    }
                    (_, Some(proxy)) => {
                        let answers = usize::try_from(dice.below(6)).expect("a few");
                        proxy.set(Weather::Answering(answers));
                        thread::sleep(short / 4);
                        proxy.set(Weather::Fair);
                    }
                    (_, None) => {}
                }
            }
            (server, count)
        });
        Self { is_calm, stop, thread }
    }

    /// Stops the faults. Returns the healthy server and the number of faults.
    pub(crate) fn stop(self) -> (Server, u32) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("faults do not fail")
    }
}
