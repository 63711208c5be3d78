//! The calls.
