//! Room for the handle in a request.

use std::sync::LazyLock;

use http::Extensions;

/// No extensions, with room for more than three.
static ROOMY: LazyLock<Extensions> = LazyLock::new(|| {
    let mut extensions = Extensions::new();
    extensions.insert(1_u8);
    extensions.insert(2_u16);
    extensions.insert(3_u32);
    extensions.insert(4_u64);
    extensions.clear();
    extensions
});

/// Inserts into a request's extensions.
///
/// axum adds three of its own, which is just what fits before the map has to grow. One more would
/// make it grow: an allocation and 430 instructions of each request (`cargo bench --bench
/// overhead`). A copy of an empty map keeps the room of the original, and `Extensions` has no other
/// way to reserve it. `tests/budget.rs` fails when that changes.
pub(super) fn insert<T: Clone + Send + Sync + 'static>(extensions: &mut Extensions, value: T) {
    if extensions.is_empty() {
        *extensions = ROOMY.clone();
    }
    extensions.insert(value);
}
