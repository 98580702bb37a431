//! What `tracing` says in one thread, while other tests run in others.

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
    // While there is one subscriber only, `tracing` asks that of the thread which meets an event first, and other tests'
    // threads have none.
    let _second = Dispatch::new(NoSubscriber::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tracing::subscriber::with_default(subscriber, || runtime.block_on(what))
}

/// Collects every store call that failed in this thread, for as long as it lives: ` operation=load error=…`.
pub struct FailedCalls {
    lines: Arc<Mutex<Vec<String>>>,
    _guard: DefaultGuard,
    /// As in [`under`].
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
