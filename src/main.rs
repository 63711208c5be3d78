//! The `usher` command. (Stub: being built.)
fn main() {}
