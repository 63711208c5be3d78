//! A memory that is shared, for the tests of usher's memory: where `MEMORY` names a Redis server (`tests/shared`), each
//! usher of the harness is the only member of a cluster of its own there.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use super::redis::call;

/// Ends the doubt and the openness of an app with a new history, once it has a member.
const SETTLE: &str = "local stored = redis.call('GET', KEYS[1]) \
                      if not stored then return 0 end \
                      local record = cmsgpack.unpack(stored) \
                      if not next(record.members) then return 0 end \
                      record.doubt = 0 \
                      record.open_until = 0 \
                      redis.call('SET', KEYS[1], cmsgpack.pack(record)) \
                      return 1";

fn server() -> Option<SocketAddr> {
    std::env::var("MEMORY").ok().map(|server| server.parse().unwrap())
}

/// `[cluster]`, with keys that no other usher has; empty without a server.
pub(super) fn section() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let Some(server) = server() else { return String::new() };
    let prefix = format!("t{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    format!("\n[cluster]\nredis_url = \"redis://{server}\"\nnode = \"test\"\nprefix = \"{prefix}\"\n")
}

/// Waits until the usher with this configuration has entered, and settles its new history.
pub(super) fn settle(config: &Path) {
    let (Some(server), Ok(toml)) = (server(), std::fs::read_to_string(config)) else { return };
    let Some((_, rest)) = toml.split_once("prefix = \"") else { return };
    let prefix = rest.split('"').next().unwrap();
    let ids = toml.split("[[apps]]").skip(1).filter_map(|app| app.split("id = \"").nth(1)?.split('"').next());
    for id in ids {
        let key = format!("{{{prefix}:{id}}}:members");
        while call(server, &["EVAL", SETTLE, "1", &key]).unwrap() != ":1\r\n" {
            thread::sleep(Duration::from_millis(5));
        }
    }
}
