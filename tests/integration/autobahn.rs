//! The WebSocket cases of the Autobahn test suite, as kosoku runs them, against the relay and the embedded broker. They
//! require an echo server: the relay's upstream is one, so the results are the relay's own. The broker does not echo,
//! but greets each client; a proxy removes the greeting here, so that the cases about faults, pings and closes are
//! meaningful, and those that wait for an echo fail. The expected results are in autobahn/; `USHER_BLESS=1 cargo test
//! autobahn` rewrites them.

use std::fs;
use std::io::{self, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::thread;

use crate::harness::actor::python;
use crate::harness::message::Head;
use crate::harness::websocket::Frame;
use crate::harness::{Pusher, Setup, Usher, sign};

/// Without compression (12 and 13), which usher never negotiates.
const ALL: [&str; 9] = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "9.*", "10.*"];
/// Without the cases that only wait for an echo.
const WITHOUT_ECHO: [&str; 20] = [
    "2.*", "3.*", "4.*", "5.*", "6.1.*", "6.2.*", "6.3.*", "6.4.*", "6.8.*", "6.10.*", "6.12.*", "6.13.*", "6.14.*",
    "6.16.*", "6.17.*", "6.18.*", "6.19.*", "6.20.*", "6.21.*", "7.*",
];

/// Runs the cases and returns their results: "case behaviour close", one line each.
fn run(server: SocketAddr, cases: &[&str]) -> String {
    let mut command = python("autobahn.py");
    command.arg(format!("ws://{}/app/{}?protocol=7", server, sign::KEY)).args(cases);
    let output = command.output().unwrap_or_else(|error| panic!("{error}; `tests/run` installs kosoku"));
    assert!(
        output.status.success(),
        "{}: {}; `tests/run` installs kosoku",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// Forwards bytes to `server` and back, except the first WebSocket frame from the server.
fn without_greeting(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().map_while(Result::ok) {
            let server = TcpStream::connect(server).unwrap();
            let (to_client, mut from_client) = (client.try_clone().unwrap(), client);
            let (from_server, mut to_server) = (server.try_clone().unwrap(), server);
            thread::spawn(move || {
                let _broken = io::copy(&mut from_client, &mut to_server);
                let _gone = to_server.shutdown(Shutdown::Write);
            });
            thread::spawn(move || pass_without_greeting(from_server, to_client));
        }
    });
    address
}

fn pass_without_greeting(from_server: TcpStream, mut to_client: TcpStream) -> io::Result<()> {
    let mut from_server = BufReader::new(from_server);
    if let Some(head) = Head::read(&mut from_server, |_| {})? {
        to_client.write_all(&head.0)?;
        let greeting = Frame::read(&mut from_server)?;
        assert!(String::from_utf8_lossy(&greeting.payload).contains("pusher:connection_established"), "{greeting:?}");
        io::copy(&mut from_server, &mut to_client)?;
    }
    to_client.shutdown(Shutdown::Write)
}

fn compare(name: &str, results: &str) {
    let file = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/autobahn")).join(name);
    if std::env::var_os("USHER_BLESS").is_some() {
        fs::write(&file, results).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap();
    let differing: Vec<(&str, &str)> =
        expected.lines().zip(results.lines()).filter(|(expected, found)| expected != found).collect();
    assert!(differing.is_empty(), "(expected, found): {differing:#?}");
    assert_eq!(expected.lines().count(), results.lines().count());
}

#[test]
fn relay() {
    let echo = Pusher::echo();
    let mut setup = Setup::before_url(&echo.url());
    setup.limits = "max_websocket_message = \"16MiB\"\n".to_owned();
    let usher = Usher::start_with(&setup.toml());
    compare("relay.txt", &run(usher.gateway(), &ALL));
}

#[test]
fn broker() {
    let usher = Usher::start_with(&Setup::before_url("local").toml());
    compare("broker.txt", &run(without_greeting(usher.gateway()), &WITHOUT_ECHO));
}
