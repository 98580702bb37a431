//! Replaces the metrics without the feature: counts nothing.

use crate::events::{CallOutcome, EventKind, Operation};

pub(crate) const fn event(_: &EventKind<'_>) {}

pub(crate) const fn extended() {}

pub(crate) const fn denied(_: &'static str) {}

#[derive(Debug)]
pub(crate) struct StoreTimers;

impl StoreTimers {
    pub(crate) const fn new(_: &'static str) -> Self {
        Self
    }

    #[expect(clippy::unused_self, reason = "as the one that it replaces")]
    pub(crate) const fn start(&self, operation: Operation) -> StoreTimer<'_> {
        StoreTimer(operation, std::marker::PhantomData)
    }
}

#[derive(Debug)]
pub(crate) struct StoreTimer<'a>(Operation, std::marker::PhantomData<&'a StoreTimers>);

impl StoreTimer<'_> {
    pub(crate) const fn operation(&self) -> Operation {
        self.0
    }

    #[expect(clippy::unused_self, reason = "as the one that it replaces")]
    pub(crate) const fn stop(self, _: CallOutcome) {}
}
