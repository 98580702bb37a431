//! One day of a browser with a device, without a single false 401 (SPEC B5, B6).

use std::time::Duration;

use axum::http::StatusCode;
use futures_util::future::join_all;
use tower_tenure::{DeviceBinding, MemoryStore, Mode, store::AnyStore, testing::Probe};

use crate::common::{
    Browser, HOUR, Reply, Site, SoftwareDevice, TICK,
    bound::{Bound, challenge_of, refresh, site_with},
    policy_of,
};

const REFRESHES: usize = 100;
const REQUESTS: usize = 10_000;

/// The longest time that a message is in flight.
const LATENCY: u64 = 1_500;

/// xorshift64: the same numbers in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn latency(&mut self) -> Duration {
        Duration::from_millis(self.below(LATENCY))
    }
}

/// A browser that drops its bound cookie after `Max-Age`, counted from when it received the cookie.
struct Real {
    bound: Bound,
    site: Site,
    dice: Dice,
    drops_at: Duration,
    elapsed: Duration,
    served: usize,
}

fn max_age(reply: &Reply) -> Duration {
    let line =
        reply.set_cookies().into_iter().find(|line| line.starts_with("__Host-id-bound=")).unwrap().to_owned();
    let (_, seconds) = line.rsplit_once("Max-Age=").unwrap();
    Duration::from_secs(seconds.parse().unwrap())
}

impl Real {
    fn wait(&mut self, time: Duration) {
        self.site.clock.advance(time);
        self.elapsed += time;
    }

    /// Requests that were sent at the same moment arrive together, and all are served.
    async fn arrive(&mut self, tabs: Vec<Browser>) {
        for reply in join_all(tabs.iter().map(|tab| tab.get("/me"))).await {
            assert_eq!(
                (reply.status, &*reply.body),
                (StatusCode::OK, "alice"),
                "{reply:?} at {:?}",
                self.elapsed
            );
            self.served += 1;
        }
    }

    fn leave(&self, count: u64) -> Vec<Browser> {
        (0..count).map(|_| self.bound.browser.copy()).collect()
    }

    /// Interleaving: the last requests with the old cookie are in flight while the browser
    /// refreshes and holds back new requests.
    async fn refresh(&mut self) {
        let left = self.drops_at.checked_sub(self.elapsed + TICK).unwrap_or_default();
        self.wait(left);
        let count = 1 + self.dice.below(8);
        let in_flight = self.leave(count);
        self.wait(TICK);
        let latency = self.dice.latency();
        self.wait(latency);
        self.bound.browser.set_cookies(Some(&session_only(&self.bound.browser)));
        let asked = refresh(&self.bound.browser, &self.bound.sid, None).await;
        self.arrive(in_flight).await;
        let (there, back) = (self.dice.latency(), self.dice.latency());
        self.wait(there + Duration::from_millis(600));
        let proof = self.bound.device.refresh(&challenge_of(&asked));
        // Browsers may send a proof twice.
        let tab = self.bound.browser.copy();
        let again = refresh(&tab, &self.bound.sid, Some(&proof)).await;
        let reply = refresh(&self.bound.browser, &self.bound.sid, Some(&proof)).await;
        assert_eq!((reply.status, again.status), (StatusCode::OK, StatusCode::OK));
        self.wait(back);
        self.drops_at = self.elapsed + max_age(&reply);
        let count = 1 + self.dice.below(8);
        self.arrive(self.leave(count)).await;
    }

    async fn a_while(&mut self) {
        while self.elapsed + Duration::from_secs(12) < self.drops_at {
            let (pause, count) = (Duration::from_millis(self.dice.below(11_000)), 1 + self.dice.below(2));
            self.wait(pause);
            let tabs = self.leave(count);
            let latency = self.dice.latency();
            self.wait(latency.min(Duration::from_secs(1)));
            self.arrive(tabs).await;
        }
    }
}

fn session_only(browser: &Browser) -> String {
    let cookies = browser.cookie_header().unwrap();
    cookies.split("; ").find(|pair| pair.starts_with("__Host-id=")).unwrap().to_owned()
}

#[tokio::test]
async fn b5_b6_ten_thousand_requests_over_a_hundred_refreshes_are_all_served() {
    let stores: [AnyStore; 2] = [MemoryStore::new().into(), Probe::remote(MemoryStore::new()).into()];
    for (store, seed) in stores.into_iter().zip([0x9e37_79b9_7f4a_7c15, 0x2545_f491_4f6c_dd1d]) {
        let policy = policy_of(HOUR, 100 * HOUR).with_default_mode(Mode::Persistent);
        let site = site_with(store, DeviceBinding::enforce(), policy, |layer| layer);
        let bound = Bound::new(&site, SoftwareDevice::es256()).await;
        let drops_at = Duration::from_secs(590);
        let mut real = Real { bound, site, dice: Dice(seed), drops_at, elapsed: Duration::ZERO, served: 0 };
        for _ in 0..REFRESHES {
            real.a_while().await;
            real.refresh().await;
        }
        assert!(real.served >= REQUESTS, "{} requests", real.served);
    }
}
