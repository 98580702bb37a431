//! Captures `tracing` in one thread, while other tests run in other threads.

use std::{
    fmt::{Debug, Write},
    sync::{Arc, Mutex},
};

use tracing::{
    Dispatch, Event, Metadata, Subscriber,
    field::{Field, Visit},
    span,
    subscriber::{DefaultGuard, NoSubscriber},
};

/// Runs this with the subscriber, on a runtime of this thread alone.
pub fn under<T>(subscriber: impl Subscriber + Send + Sync + 'static, what: impl Future<Output = T>) -> T {
    // With only one dispatcher, `tracing` asks the subscriber of the thread that first reaches an
    // event, and caches its interest. Other tests' threads have no subscriber, which would turn the
    // event off. A second dispatcher prevents this.
    let _second = Dispatch::new(NoSubscriber::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tracing::subscriber::with_default(subscriber, || runtime.block_on(what))
}

/// Collects every failed store call of this thread until it is dropped: ` operation=load error=…`.
pub struct FailedCalls {
    lines: Arc<Mutex<Vec<String>>>,
    _guard: DefaultGuard,
    /// For the same reason as in [`under`].
    _second: Dispatch,
}

impl FailedCalls {
    pub fn collect() -> Self {
        let lines = Arc::default();
        let second = Dispatch::new(NoSubscriber::new());
        let guard = tracing::subscriber::set_default(Collector(Arc::clone(&lines)));
        Self { lines, _guard: guard, _second: second }
    }

    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.lines.lock().unwrap())
    }
}

struct Collector(Arc<Mutex<Vec<String>>>);

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        matches!(metadata.name(), "session.store_failed" | "session.store_call_failed")
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}
