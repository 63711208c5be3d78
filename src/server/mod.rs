//! Listeners, wiring, drain. (Stub: being built.)
