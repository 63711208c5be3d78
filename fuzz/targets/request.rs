//! Request heads: the fast reader against the general one, on a connection that remembers heads. The requests of an
//! input stand one behind the other; a byte 0xFF, which no head has, ends one that is not taken for a trigger.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use usher::gateway::agreement::Requests;

thread_local! {
    static REQUESTS: RefCell<Requests> = RefCell::new(Requests::new());
}

fuzz_target!(|input: &[u8]| {
    REQUESTS.with_borrow_mut(|requests| {
        requests.forget();
        for bytes in input.split(|byte| *byte == 0xFF) {
            let _kind = requests.check(bytes);
        }
    });
});
