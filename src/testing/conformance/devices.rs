//! Devices that sessions are bound to (B4).

use std::sync::Arc;

use super::{
    bench::Bench,
    material::{SECOND, device, random},
};
use crate::{
    SessionStore,
    record::{Binding, BoundDevice, Change, Record, UpdateOutcome},
};

/// Returns whether the session is bound to this device.
async fn bind<S: SessionStore>(bench: &Bench<S>, record: &Record, device: &Arc<BoundDevice>) -> bool {
    let change = Change { bind_to: Some(Arc::clone(device)), ..Change::at(bench.start + SECOND) };
    match bench.update(record.sid, change).await {
        UpdateOutcome::Applied(applied) => applied.bound_at.is_some(),
        other => bench.fail(format_args!("binding a live session said {other:?}")),
    }
}

/// The first device stays for the session's life, a second attempt of the same one succeeds, and
/// another one is refused. A session without a seed cannot be bound.
pub(super) async fn b4_the_first_device_that_a_session_is_bound_to_stays<S: SessionStore>(bench: Bench<S>) {
    let binding = Some(Arc::new(Binding::new(random())));
    let record = bench.open(Record { binding, ..bench.user().session(bench.start) }).await;
    let (first, second) = (device(1, bench.start), device(2, bench.start + SECOND));
    bench.expect(bind(&bench, &record, &first).await, "the first device was not bound");
    let again = BoundDevice { bound_at: bench.start + SECOND, ..(*first).clone() };
    bench.expect(bind(&bench, &record, &Arc::new(again)).await, "a second attempt was refused");
    bench.expect(!bind(&bench, &record, &second).await, "a second device was bound");
    let found = bench.find(record.sid).await;
    bench.same("the device of a session", found.bound_device(), Some(&*first));
    let seeds = [&found, &record].map(|record| record.binding.as_ref().map(|binding| *binding.seed()));
    bench.expect(seeds[0] == seeds[1], "the seed of a session changed");

    let plain = bench.open(bench.user().session(bench.start)).await;
    bench.expect(!bind(&bench, &plain, &first).await, "a session that cannot be bound was bound");
    bench.same("its device", bench.find(plain.sid).await.bound_device(), None);
}
