//! One knob for long searches: `TENURE_SEARCH=100 cargo test` tries a hundred times as many cases.

/// How many cases to try: `base` times `TENURE_SEARCH`, which is 1 unless it is set.
pub(crate) fn cases(base: u32) -> u32 {
    let factor = std::env::var("TENURE_SEARCH")
        .map_or(1, |text| text.parse().expect("TENURE_SEARCH should be a whole number"));
    base.saturating_mul(factor)
}
