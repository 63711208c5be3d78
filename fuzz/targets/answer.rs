//! Upstream's answers, with their chunks: read whole, in pieces, and by hyper. The first byte of an input is the size
//! of the pieces.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use usher::upstream::agreement::Answers;

thread_local! {
    static ANSWERS: RefCell<Answers> = RefCell::new(Answers::new());
}

fuzz_target!(|input: &[u8]| {
    if let Some((size, bytes)) = input.split_first() {
        ANSWERS.with_borrow(|answers| answers.check(bytes, usize::from(*size)));
    }
});
