//! Limits on the data of a session (S13).

use super::{
    bench::Bench,
    material::{MINUTE, edits, holding, rotation, secret, superseded, touch, write},
    records::change_both,
};
use crate::{
    SessionStore,
    record::{Change, Edits, UpdateOutcome},
    store::{CreateOutcome, Creation},
};

/// A change over the limit has no effect: neither its data, nor the interaction, nor the new
/// secret. A change that shrinks the data passes.
pub(super) async fn s13_a_change_that_is_too_large_changes_nothing<S: SessionStore>(bench: Bench<S>) {
    let mut model = bench.open(holding(bench.user().session(bench.start), "a", "12345678")).await;
    let at = bench.start + MINUTE;
    let most = model.data.bytes();
    let mut both = edits("a", "1");
    both.set("b", super::material::json(&"x".repeat(most)));
    let too_large = Change {
        edits: both,
        rotation: rotation(model.secret, secret(), at + MINUTE),
        confirms: true,
        max_data: most,
        ..touch(at)
    };
    bench.same("the model", too_large.clone().apply(&mut model.clone()), UpdateOutcome::TooLarge);
    change_both(&bench, "a change that is too large", too_large, &mut model).await;
    for (value, what) in [("1234567", "a smaller value"), ("12345678", "as much as may be")] {
        let change = Change { max_data: most, ..write(at, "a", value) };
        change_both(&bench, what, change, &mut model).await;
    }
    let one_more = Change { max_data: most, ..write(at, "a", "123456789") };
    change_both(&bench, "a byte too many", one_more, &mut model).await;

    let smaller = Change { max_data: 1, ..write(at, "a", "1") };
    change_both(&bench, "a value that makes data over a lowered limit smaller", smaller, &mut model).await;
    let mut removal = Edits::default();
    removal.remove("a");
    let removal = Change { edits: removal, max_data: 1, ..Change::at(at) };
    change_both(&bench, "a removal under a limit of a byte", removal, &mut model).await;
}

/// Data that is handed over may keep its size.
pub(super) async fn s13_a_creation_that_is_too_large_is_not_stored<S: SessionStore>(bench: Bench<S>) {
    let user = bench.user();
    let old = bench.open(holding(user.session(bench.start), "cart", "12345678")).await;
    let most = old.data.bytes();
    let at = bench.start + MINUTE;
    let large = |sid| Creation {
        edits: edits("large", &"x".repeat(most)),
        max_data: most,
        ..Creation::new(crate::record::Record { sid, ..user.session(at) })
    };
    let sid = user.session(at).sid;
    let outcome = bench.create(large(sid)).await;
    bench.same("a creation that is too large", outcome, CreateOutcome::TooLarge);
    bench.same("a session that was too large", bench.load(sid).await, None);
    bench.same_record("a session beside one that was too large", &bench.find(old.sid).await, &old);
    bench.same("the sessions of the user", bench.listed(&user).await, vec![old.sid]);

    // The planned end did not take effect, and its data is still there.
    let replaced = (old.sid, superseded(at, user.replacement(sid)));
    let outcome = bench.create(Creation { ends: vec![replaced], ..large(sid) }).await;
    bench.same("a login that is too large", outcome, CreateOutcome::TooLarge);
    bench.same_record("the session that it would replace", &bench.find(old.sid).await, &old);
    bench.same("a session that was too large", bench.load(sid).await, None);

    let heir = bench.open(holding(user.session(at), "cart", "12345678")).await;
    let record = user.session(at);
    let replaced = (heir.sid, superseded(at, user.replacement(record.sid)));
    let creation = Creation { ends: vec![replaced], max_data: 1, ..Creation::new(record) };
    let (record, _) = bench.replace(creation).await;
    bench.same("how much is handed over under a lowered limit", record.data.bytes(), most);
}
