//! The operator's listener. (Stub: being built.)
