//! What `tracing` says in one thread, while other tests run in others.

/// Runs this with the subscriber, on a runtime of this thread alone.
pub fn under<T>(
    subscriber: impl tracing::Subscriber + Send + Sync + 'static,
    what: impl Future<Output = T>,
) -> T {
    // While there is one subscriber only, `tracing` asks that of the thread which meets an event first, and other tests'
    // threads have none.
    let _second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::new());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tracing::subscriber::with_default(subscriber, || runtime.block_on(what))
}
