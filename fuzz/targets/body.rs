//! Bodies of triggers: the strict reader against the lenient one, and both against serde_json. The first byte of an
//! input tells the endpoint: `b` is that of batches.

#![no_main]

use libfuzzer_sys::fuzz_target;
use usher::pusher::{Endpoint, agreement};

fuzz_target!(|input: &[u8]| {
    if let Some((first, body)) = input.split_first() {
        let endpoint = if *first == b'b' { Endpoint::Batch } else { Endpoint::Events };
        let _is_exact = agreement::check(endpoint, body);
    }
});
