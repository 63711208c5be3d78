//! What a connection costs in memory while its request does not come: the same slow connections at every target.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::arguments::{Arguments, Named};
use crate::mixes::Mix;
use crate::session::Session;
use crate::supply::APP;
use crate::targets::Kind;

/// Connections at once.
const CONNECTIONS: usize = 2_000;
/// How long a target's memory has to stay as it is before it is read.
const STEADY: Duration = Duration::from_millis(200);

/// What a connection has sent when it stops.
fn beginnings() -> [(&'static str, Vec<u8>); 4] {
    let [id, key, _] = APP;
    let head = format!(
        "POST /apps/{id}/events?auth_key={key} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    );
    let body = format!("{head}Content-Length: 10000\r\n\r\n{{\"name\":\"new-message\",\"channel\":\"");
    let get = format!("GET /apps/{id}/channels?auth_key={key} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    [
        ("nothing", Vec::new()),
        ("part of a head", head.into_bytes()),
        ("a head and part of its body", body.into_bytes()),
        ("a whole request, then nothing", get.into_bytes()),
    ]
}

/// Measures all targets and prints a line for each.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    println!("bytes of resident memory for each of {CONNECTIONS} connections that have sent");
    for target in arguments.targets(Mix::Passthrough)? {
        if matches!(target.kind, Kind::Limit(_)) {
            continue;
        }
        for (name, sent) in beginnings() {
            let Some(bytes) = measure(arguments, &target, &sent)? else { break };
            println!("{:12} {name:30} ({:>3} bytes): {bytes:>7.0}", target.name, sent.len());
        }
    }
    Ok(())
}

/// Bytes a connection; `None`: the target is not installed. A target of its own for each, for none gives back all that
/// it had.
fn measure(arguments: &Arguments, target: &Named, sent: &[u8]) -> Result<Option<f64>> {
    let mut session = Session::open(arguments, CONNECTIONS)?;
    let Some(index) = session.start(target)? else { return Ok(None) };
    let target = &session.targets[index];
    let memory = || {
        let mut before = 0;
        loop {
            let now = target.tree()?.resident()?;
            if now == before {
                return anyhow::Ok(now as f64);
            }
            before = now;
            sleep(STEADY);
        }
    };
    let before = memory()?;
    let mut connections = Vec::with_capacity(CONNECTIONS);
    let is_whole = sent.starts_with(b"GET");
    for _ in 0..CONNECTIONS {
        let mut connection = TcpStream::connect(target.address())?;
        connection.write_all(sent)?;
        if is_whole {
            // Before the next one: otherwise connections upstream are counted, too.
            ensure!(connection.read(&mut [0; 4096])? > 0, "{} hung up", target.name);
        }
        connections.push(connection);
    }
    let after = memory()?;
    drop(connections);
    Ok(Some((after - before) / CONNECTIONS as f64))
}
