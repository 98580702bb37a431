//! Nothing of its own.

