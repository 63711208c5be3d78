//! What `usher serve` prints for a person when it starts.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use crate::harness::admin::Admin;
use crate::harness::cli::Cli;
use crate::harness::{Client, Request};

/// `usher serve` before its own broker, for a person, on these ports.
fn serve(gateway: &str, admin: &str) -> Cli {
    Cli::new(&["serve", "--listen", gateway, "--set", &format!("admin.listen={admin}"), "--set", "log.format=human"])
}

const ANY: &str = "127.0.0.1:0";

#[test]
fn it_names_the_ports_that_are_listened_on() {
    let running = serve(ANY, ANY).start();
    let line = running.wait_out("metrics: http://");
    let admin: SocketAddr =
        line.split_once("metrics: http://").unwrap().1.strip_suffix("/metrics").unwrap().parse().unwrap();
    assert_eq!(Admin(admin).call_openly("GET", "/readyz").status, 200);
    let line = running.wait_out("wsPort: ");
    let port: u16 = line.split_once("wsPort: ").unwrap().1.split_once(',').unwrap().0.parse().unwrap();
    // The broker's response to an unsigned request.
    assert_eq!(
        Client::connect(SocketAddr::from(([127, 0, 0, 1], port)))
            .call(&Request::new("GET", "/apps/1001/channels", b""))
            .status,
        401
    );
}

#[test]
fn it_says_nothing_if_an_address_is_taken() {
    let taken = TcpListener::bind(ANY).unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (gateway, admin) in [(taken.as_str(), ANY), (ANY, taken.as_str())] {
        let finished = serve(gateway, admin).run();
        assert!(
            finished.code != 0 && finished.out.is_empty() && finished.err.contains("cannot listen"),
            "{finished:?}"
        );
    }
}

#[test]
fn a_blocked_standard_output_does_not_prevent_the_start() {
    let (reader, mut full) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    while full.write(b"x").is_ok() {}
    full.set_nonblocking(false).unwrap();
    let running = serve(ANY, ANY).stdout(OwnedFd::from(full)).start();
    let line = running.wait_error("listening");
    let gateway: SocketAddr = line.split_once("gateway=").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    assert_eq!(Client::connect(gateway).call(&Request::new("GET", "/apps/1001/channels", b"")).status, 401);
    running.interrupt();
    assert_eq!(running.finish().code, 0);
    drop(reader);

    // No process reads the output.
    let (reader, closed) = std::io::pipe().unwrap();
    drop(reader);
    let running = serve(ANY, ANY).stdout(closed).start();
    running.wait_error("listening");
    running.interrupt();
    assert_eq!(running.finish().code, 0);
}
