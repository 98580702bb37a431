//! The three measurements of a request.

pub(crate) mod allocations;
pub(crate) mod instructions;
pub(crate) mod time;

/// The cost of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) allocations: f64,
    pub(crate) bytes: f64,
    pub(crate) instructions: Option<f64>,
    pub(crate) nanoseconds: Option<f64>,
}

impl Measured {
    /// In the order of the table.
    pub(crate) fn columns(&self) -> [Option<f64>; 4] {
        [Some(self.allocations), Some(self.bytes), self.instructions, self.nanoseconds]
    }

    /// The additional cost over another request.
    pub(crate) fn added_to(&self, other: &Self) -> [Option<f64>; 4] {
        let (ours, theirs) = (self.columns(), other.columns());
        std::array::from_fn(|column| Some(ours[column]? - theirs[column]?))
    }
}
