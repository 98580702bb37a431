//! tower-tenure.

use std::{hint::black_box, time::Duration};

use axum::Router;
pub use tower_tenure::Session;
use tower_tenure::{Clock, Key, Lifetimes, Policy, SessionLayer, policy::Limits, store::AnyStore};

use crate::application::{Failed, Sessions};

impl Sessions for Session {
    async fn user(&self) -> Result<Option<String>, Failed> {
        Ok(self.subject().map(|subject| subject.to_string()))
    }

    async fn look(&self) -> Result<(), Failed> {
        black_box(self.subject());
        Ok(())
    }

    async fn get(&self, key: &str) -> Result<Option<u64>, Failed> {
        Self::get(self, &Key::named(key)).map_err(|_| Failed)
    }

    async fn set(&self, key: &str, value: u64) -> Result<(), Failed> {
        self.insert(&Key::named(key), &value).map_err(|_| Failed)
    }

    async fn set_visits(&self, visits: u64) -> Result<(), Failed> {
        const VISITS: Key<u64> = Key::new("visits");
        self.insert(&VISITS, &visits).map_err(|_| Failed)
    }

    async fn login(&self, user: &str) -> Result<(), Failed> {
        Self::login(self, user).await.and_then(|outcome| outcome.accepted()).map_err(|_| Failed)
    }

    async fn logout(&self) -> Result<(), Failed> {
        Self::logout(self).map_err(|_| Failed)
    }

    async fn rotate(&self) -> Result<(), Failed> {
        Self::rotate(self).map_err(|_| Failed)
    }
}

/// Its layer around the routes, with an absolute lifetime of ten years. Of the others only axess
/// has one, too.
pub fn layered(store: impl Into<AnyStore>, idle: Duration, clock: impl Clock, routes: Router) -> Router {
    let lifetimes = Lifetimes::new(idle, Lifetimes::LONGEST).expect("good lifetimes");
    let policy = Policy::new(lifetimes, lifetimes).with_limits(Limits::NONE);
    routes.layer(SessionLayer::new(store).with_policy(policy).with_clock(clock))
}
