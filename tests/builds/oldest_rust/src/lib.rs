//! Empty: only the dependencies are built.

