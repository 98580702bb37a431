//! What all nodes of a store share besides the sessions (S11, S12).

use super::{
    bench::Bench,
    material::{MINUTE, SECOND},
};
use crate::SessionStore;

/// Otherwise a subject's sessions would be in several places.
pub(super) async fn s11_the_key_of_places_stays_the_same<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    bench.open(user.session(bench.start)).await;
    bench.expect(bench.store.place_key() == bench.store.place_key(), "the key of places changes");
    let again = bench.user_of(&user.realm, &user.name);
    bench.expect(again.tag == user.tag, "the tag of a subject changes");
    let others = [("another realm", &*user.name), (&*user.realm, "another name")];
    let differs = others.iter().all(|(realm, name)| bench.user_of(realm, name).tag != user.tag);
    bench.expect(differs, "the key of places is the same for all realms or subjects");
}

/// It advances, and does not jump. It need not agree with the machine's clock.
pub(super) async fn s12_the_time_of_a_store_goes_on<S: SessionStore>(bench: Bench<S>) {
    let ask = async || bench.answer("time", bench.store.time().await);
    let [first, second] = [ask().await, ask().await];
    let (Some(first), Some(second)) = (first, second) else {
        bench.same("whether a store has a clock", first.is_some(), second.is_some());
        return;
    };
    bench.expect(second + SECOND >= first, "the time of the store goes back");
    bench.expect(second.since(first) < MINUTE, "the time of the store jumps");
    let year_2020 = crate::Timestamp::from_unix_millis(1_577_836_800_000);
    bench.expect(first > year_2020, "the time of the store is before 2020: is it in milliseconds?");
}
