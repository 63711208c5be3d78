//! Redis, where ushers share their memory: one for all targets of a run, in which each has keys of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::{BOUND, Part, Recipe, installed, version_of};
use crate::launch;

/// How long the memory has to stay as it is before it counts.
const STEADY: Duration = Duration::from_millis(200);

/// What clients' buffers may change meanwhile, in bytes.
const UNREST: u64 = 64 * 1024;

/// A server that keeps nothing on disk, as with the defaults; `None` if it is not installed.
pub(super) fn server(address: SocketAddr, directory: &Path, cpus: &[usize]) -> Result<Option<Recipe>> {
    let Some(program) = installed("redis-server") else { return Ok(None) };
    let mut command = launch::command(&program, cpus)?;
    command.args(["--port", &address.port().to_string(), "--bind", "127.0.0.1"]);
    command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(directory);
    Ok(Some(Recipe { part: Part::Store, version: version_of(&program, "--version")?, command, admin: None }))
}

/// The bytes that the server at `address` has allocated (`used_memory` of `INFO memory`), once they stay as they are.
pub(crate) fn used_memory(address: SocketAddr) -> Result<u64> {
    let mut before = used(address)?;
    loop {
        sleep(STEADY);
        let now = used(address)?;
        if now.abs_diff(before) < UNREST {
            return Ok(now);
        }
        before = now;
    }
}

fn used(address: SocketAddr) -> Result<u64> {
    let mut stream = TcpStream::connect_timeout(&address, BOUND)?;
    stream.set_read_timeout(Some(BOUND))?;
    stream.write_all(b"*2\r\n$4\r\nINFO\r\n$6\r\nmemory\r\n")?;
    let mut answer = BufReader::new(stream);
    let mut length = String::new();
    answer.read_line(&mut length)?;
    let length = length.trim().strip_prefix('$').and_then(|length| length.parse().ok());
    let mut text = vec![0; length.context("Redis answers INFO with something else")?];
    answer.read_exact(&mut text)?;
    let text = String::from_utf8(text)?;
    let used = text.lines().find_map(|line| line.strip_prefix("used_memory:")).context("no used_memory")?;
    let used = used.trim().parse()?;
    ensure!(used > 0, "Redis uses no memory");
    Ok(used)
}
