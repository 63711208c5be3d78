//! Socket activation: usher serves on the sockets that the service manager passes, and notifies it.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::process::Command;

use socket2::{Domain, Socket, Type};

use crate::harness::bodies::announcement;
use crate::harness::service_manager::{ServiceManager, listen, passing};
use crate::harness::usher::{Signal, message, text};
use crate::harness::{BOUND, Client, Fake, Request, Setup, Usher};

const CHANNEL: &str = "h-room-1-chat";
const PASSED: &str = "passed by the service manager";
const BOUND_ITSELF: &str = "bound as configured";

/// Where the listeners of a usher come from: the gateway's and the operator's.
fn origins(usher: &Usher) -> (String, String) {
    let listening = usher.wait_log(|event| message(event) == "listening");
    (text(&listening, "gateway_socket").to_owned(), text(&listening, "admin_socket").to_owned())
}

#[test]
fn usher_serves_on_both_passed_sockets() {
    let (fake, manager) = (Fake::start(), ServiceManager::new());
    let usher = manager.start(&Setup::before(&fake).toml());
    assert_eq!(origins(&usher), (PASSED.to_owned(), PASSED.to_owned()));
    assert_eq!((usher.gateway(), usher.admin().0), (manager.gateway(), manager.admin()));
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    usher.client().announce(CHANNEL, "A").assert_suppressed();
    assert_eq!(usher.admin().call("GET", "/readyz").status, 200);
}

#[test]
fn what_is_not_passed_is_bound_as_configured() {
    let fake = Fake::start();
    for (name, origin) in [("gateway", (PASSED, BOUND_ITSELF)), ("admin", (BOUND_ITSELF, PASSED))] {
        let socket = listen();
        let address = socket.local_addr().unwrap();
        let usher = Usher::start_by(passing(vec![socket.into()], name, "$$"), &Setup::before(&fake).toml());
        assert_eq!(origins(&usher), (origin.0.to_owned(), origin.1.to_owned()));
        assert_eq!(if name == "gateway" { usher.gateway() } else { usher.admin().0 }, address);
        usher.client().announce(CHANNEL, "A").assert_forwarded();
        assert_eq!(usher.admin().call("GET", "/readyz").status, 200);
    }
    let usher = Usher::start(&fake, |_| {});
    assert_eq!(origins(&usher), (BOUND_ITSELF.to_owned(), BOUND_ITSELF.to_owned()));
}

#[test]
fn another_address_than_the_configured_one_is_a_warning() {
    let (fake, manager) = (Fake::start(), ServiceManager::new());
    let mut setup = Setup::before(&fake);
    setup.server = setup.server.replace("127.0.0.1:0", "127.0.0.1:6001");
    let usher = manager.start(&setup.toml());
    let warned = usher.wait_log(|event| message(event).starts_with("the passed socket has another address"));
    assert_eq!(
        (text(&warned, "key"), text(&warned, "configured"), text(&warned, "socket")),
        ("server.listen", "127.0.0.1:6001", manager.gateway().to_string().as_str())
    );
    let differs = |event: &serde_json::Value| message(event).starts_with("the passed socket");
    assert_eq!(usher.events().iter().filter(|event| differs(event)).count(), 1, "port 0 is any: {}", usher.logs());
}

#[test]
fn sockets_of_another_process_are_not_used() {
    let fake = Fake::start();
    let usher = Usher::start_by(passing(vec![listen().into()], "gateway", "1"), &Setup::before(&fake).toml());
    usher.wait_log(|event| message(event).contains("(LISTEN_PID)") && text(event, "process") == "1");
    assert_eq!(origins(&usher), (BOUND_ITSELF.to_owned(), BOUND_ITSELF.to_owned()));
}

/// The error of a start with these sockets.
fn refusal(sockets: Vec<OwnedFd>, names: &str) -> String {
    let started = passing(sockets, names, "$$").arg("serve").output().unwrap();
    assert_eq!(started.status.code(), Some(1), "{started:?}");
    String::from_utf8(started.stderr).unwrap()
}

#[test]
fn sockets_that_cannot_be_used_are_refused_with_the_cure() {
    let tcp = || OwnedFd::from(listen());
    let unnamed = refusal(vec![tcp()], "");
    assert!(unnamed.contains("1 sockets were passed with 0 names"), "{unnamed}");
    let unknown = refusal(vec![tcp()], "usher.socket");
    assert!(unknown.contains("\"usher.socket\" (descriptor 3)"), "{unknown}");
    for told in [&unnamed, &unknown] {
        assert!(told.contains("FileDescriptorName=gateway"), "{told}");
    }
    let several = refusal(vec![tcp(), tcp()], "gateway:gateway");
    assert!(several.contains("several sockets named \"gateway\""), "{several}");

    let folder = tempfile::tempdir().unwrap();
    let unix = UnixListener::bind(folder.path().join("socket")).unwrap();
    let silent = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    silent.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let file = std::fs::File::open("/dev/null").unwrap();
    for socket in [UdpSocket::bind("127.0.0.1:0").unwrap().into(), unix.into(), silent.into(), OwnedFd::from(file)] {
        let told = refusal(vec![tcp(), socket], "gateway:admin");
        assert!(told.contains("\"admin\" is no TCP socket that listens"), "{told}");
        assert!(told.contains("use ListenStream=ADDRESS:PORT and Accept=no"), "{told}");
    }
}

/// A program that usher would execute must not get them.
#[test]
fn the_sockets_are_closed_on_exec() {
    let (fake, manager) = (Fake::start(), ServiceManager::new());
    let usher = manager.start(&Setup::before(&fake).toml());
    for descriptor in [3, 4] {
        let information = usher.file_information(descriptor);
        let flags = information.lines().find_map(|line| line.strip_prefix("flags:")).unwrap();
        let flags = u32::from_str_radix(flags.trim(), 8).unwrap();
        assert_eq!(flags & 0o2_000_000, 0o2_000_000, "O_CLOEXEC: {information}");
    }
}

#[test]
fn connections_that_come_between_two_processes_are_served_by_the_next() {
    let (fake, manager) = (Fake::start(), ServiceManager::new());
    let toml = Setup::before(&fake).toml();
    let mut usher = manager.start(&toml);
    usher.client().announce(CHANNEL, "A").assert_forwarded();
    usher.signal(Signal::Term);
    assert_eq!(usher.wait_exit(), 0);
    let mut waiting = Client::connect(manager.gateway());
    waiting.send(&Request::events(&announcement(CHANNEL, "B")).bytes());
    let _usher = manager.start(&toml);
    waiting.response().assert_forwarded();
}

/// A socket in the place of systemd's, and its address.
fn notify_socket(folder: &tempfile::TempDir) -> (UnixDatagram, String) {
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(BOUND)).unwrap();
    (socket, path.to_str().unwrap().to_owned())
}

/// The next notification.
fn notified(socket: &UnixDatagram) -> Vec<String> {
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    String::from_utf8_lossy(&buffer[..length]).lines().map(str::to_owned).collect()
}

#[test]
fn the_service_manager_is_notified() {
    let (fake, manager) = (Fake::start(), ServiceManager::new());
    let folder = tempfile::tempdir().unwrap();
    let (socket, path) = notify_socket(&folder);
    let toml = Setup::before(&fake).toml();
    let usher = Usher::start_by(manager.command(&[("NOTIFY_SOCKET", &path)]), &toml);
    let status = format!("STATUS=serves {}, and the operator on {}", manager.gateway(), manager.admin());
    assert_eq!(notified(&socket), ["READY=1", &status]);
    usher.signal(Signal::Hup);
    assert_eq!(notified(&socket), ["STATUS=reloaded: 1 apps, 1 rules"]);
    usher.rewrite_config("nonsense");
    usher.signal(Signal::Hup);
    assert_eq!(notified(&socket), ["STATUS=the last reload was refused, the old configuration stays: see the log"]);
    usher.signal(Signal::Term);
    assert_eq!(notified(&socket), ["STOPPING=1", "STATUS=drains"]);
}

#[test]
fn a_service_manager_that_is_gone_changes_nothing() {
    let (fake, manager) = (Fake::start(), ServiceManager::new());
    let usher = Usher::start_by(manager.command(&[("NOTIFY_SOCKET", "/nowhere/notify")]), &Setup::before(&fake).toml());
    usher.wait_log(|event| message(event) == "the service manager could not be notified");
    usher.client().announce(CHANNEL, "A").assert_forwarded();
}

/// systemd's own program for sockets: it starts usher at the first connection.
#[test]
fn systemd_socket_activate_starts_usher() {
    let fake = Fake::start();
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (gateway, admin) = (free(), free());
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("usher.toml");
    std::fs::write(&config, Setup::before(&fake).toml()).unwrap();
    let mut command = Command::new("systemd-socket-activate");
    command.args(["--fdname=gateway:admin", "--listen", &gateway.to_string(), "--listen", &admin.to_string()]);
    command.args([env!("CARGO_BIN_EXE_usher"), "serve", "--config", config.to_str().unwrap()]).env_clear();
    command.stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap_or_else(|error| panic!("{error}; `tests/run` installs systemd"));
    let connected = crate::harness::eventually("systemd listens", || std::net::TcpStream::connect(gateway).ok());
    let usher = Usher::attend(child, folder);
    drop(connected);
    assert_eq!((usher.gateway(), usher.admin().0), (gateway, admin));
    assert_eq!(origins(&usher), (PASSED.to_owned(), PASSED.to_owned()));
    usher.client().announce(CHANNEL, "A").assert_forwarded();
}
