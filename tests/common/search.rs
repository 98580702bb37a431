//! One setting for long searches: `TENURE_SEARCH=100 cargo test` runs a hundred times as many
//! cases.

/// The number of cases: `base` times `TENURE_SEARCH`, which defaults to 1.
pub(crate) fn cases(base: u32) -> u32 {
    let factor = std::env::var("TENURE_SEARCH")
        .map_or(1, |text| text.parse().expect("TENURE_SEARCH should be a whole number"));
    base.saturating_mul(factor)
}
