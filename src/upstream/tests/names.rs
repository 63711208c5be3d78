//! Names with several, changing or no addresses, and the race between the addresses.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::io::Errno;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, advance, sleep, timeout};

use super::{OK, Options, Server, fetch, options, post};
use crate::clock::DeadlineTimer;
use crate::shutdown::Tasks;
use crate::upstream::addresses::Addresses;
use crate::upstream::connect_race::ConnectRace;
use crate::upstream::resolver::Resolver;
use crate::upstream::{Collected, Failure, Remote};

/// A behaviour of a name server.
#[derive(Debug, Clone)]
pub(in crate::upstream) enum Asked {
    Answers(Vec<SocketAddr>),
    Fails,
    /// It never answers.
    Silent,
}

/// A scripted name server, which repeats the last behaviour.
#[derive(Debug, Clone)]
pub(in crate::upstream) struct Names {
    script: Arc<Mutex<VecDeque<Asked>>>,
    asked: Arc<AtomicUsize>,
}

impl Names {
    fn new(script: impl IntoIterator<Item = Asked>) -> Self {
        Self { script: Arc::new(Mutex::new(script.into_iter().collect())), asked: Arc::default() }
    }

    pub(in crate::upstream) async fn look_up(&self, _host: &str, _port: u16) -> io::Result<Vec<SocketAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let step = {
            let mut script = self.script.lock().unwrap();
            if script.len() > 1 { script.pop_front() } else { script.front().cloned() }
        };
        match step.unwrap() {
            Asked::Answers(addresses) => Ok(addresses),
            Asked::Fails => Err(io::Error::other("SERVFAIL")),
            Asked::Silent => std::future::pending().await,
        }
    }

    fn look_ups(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

/// The result of connecting to an address, and its delay.
#[derive(Debug, Clone, Copy)]
enum Does {
    Connect(Duration),
    Refuse,
    /// There is no descriptor for it.
    Exhausted,
    /// Neither.
    Nothing,
}

/// Servers without a network, for tests whose subject is time.
struct Net {
    names: Names,
    addresses: Addresses,
    servers: HashMap<SocketAddr, Does>,
    /// The attempts in order, with their start times.
    tried: Mutex<Vec<(SocketAddr, Duration)>>,
    under_way: AtomicUsize,
}

/// Counts a running attempt.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

const PERIOD: Duration = Duration::from_secs(1);
const AT_ONCE: Does = Does::Connect(Duration::ZERO);

fn ip(last: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, last], 80))
}

fn ips(last: &[u8]) -> Asked {
    Asked::Answers(last.iter().copied().map(ip).collect())
}

impl Net {
    fn new(script: impl IntoIterator<Item = Asked>, servers: &[(u8, Does)]) -> Self {
        let names = Names::new(script);
        let addresses = Addresses::new("upstream.test", 80, Resolver::Script(names.clone()));
        let servers = servers.iter().map(|&(last, does)| (ip(last), does)).collect();
        Self { names, addresses, servers, tried: Mutex::default(), under_way: AtomicUsize::new(0) }
    }

    /// The result of connecting: the address and the time it took.
    async fn connect(&self) -> (Result<SocketAddr, &'static str>, Duration) {
        self.tried.lock().unwrap().clear();
        let began = Instant::now();
        let race = ConnectRace {
            addresses: &self.addresses,
            tasks: &Tasks::default(),
            upstream: "upstream.test",
            period: PERIOD,
        };
        let connected = timeout(PERIOD, race.run(|address| self.attempt(address, began))).await;
        assert_eq!(self.under_way.load(Ordering::SeqCst), 0, "attempts go on after the race");
        (connected.map_or(Err("timeout"), |connected| connected.map_err(|failure| failure.label())), began.elapsed())
    }

    async fn attempt(&self, address: SocketAddr, began: Instant) -> Result<SocketAddr, Failure> {
        self.tried.lock().unwrap().push((address, began.elapsed()));
        self.under_way.fetch_add(1, Ordering::SeqCst);
        let _counted = Counted(&self.under_way);
        match self.servers[&address] {
            Does::Connect(after) => {
                sleep(after).await;
                Ok(address)
            }
            Does::Refuse => {
                Err(Failure::unconnected("upstream.test".to_owned(), io::ErrorKind::ConnectionRefused.into()))
            }
            Does::Exhausted => Err(Failure::unconnected("upstream.test".to_owned(), Errno::MFILE.into())),
            Does::Nothing => std::future::pending().await,
        }
    }

    fn tried(&self) -> Vec<SocketAddr> {
        self.tried.lock().unwrap().iter().map(|(address, _)| *address).collect()
    }
}

/// Exact to the timer's tick.
fn assert_took(took: Duration, millis: u64) {
    assert!(
        (millis..millis + 10).contains(&u64::try_from(took.as_millis()).unwrap()),
        "{took:?} instead of {millis} ms"
    );
}

#[tokio::test(start_paused = true)]
async fn a_silent_address_costs_a_moment_once() {
    for (addresses, millis) in [(&[1, 2][..], 250), (&[1, 3, 4, 2], 750)] {
        let net =
            Net::new([ips(addresses)], &[(1, Does::Nothing), (2, AT_ONCE), (3, Does::Nothing), (4, Does::Nothing)]);
        let (connected, took) = net.connect().await;
        assert_eq!(connected, Ok(ip(2)));
        assert_took(took, millis);
        for _ in 0..3 {
            let (connected, took) = net.connect().await;
            assert_eq!((connected, net.tried()), (Ok(ip(2)), vec![ip(2)]));
            assert_took(took, 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_address_goes_on_while_the_next_is_tried() {
    let slow = |millis| Does::Connect(Duration::from_millis(millis));
    let net = Net::new([ips(&[1, 2])], &[(1, slow(400)), (2, slow(300))]);
    let (connected, took) = net.connect().await;
    assert_eq!((connected, net.tried()), (Ok(ip(1)), vec![ip(1), ip(2)]));
    assert_took(took, 400);
}

#[tokio::test(start_paused = true)]
async fn a_refused_address_is_followed_by_the_next_at_once() {
    let net = Net::new([ips(&[1, 3, 2])], &[(1, Does::Refuse), (2, AT_ONCE), (3, Does::Refuse)]);
    let (connected, took) = net.connect().await;
    assert_eq!(connected, Ok(ip(2)));
    assert_took(took, 0);
}

#[tokio::test(start_paused = true)]
async fn each_of_a_bounded_number_of_addresses_is_tried_once_within_the_time() {
    let all: Vec<u8> = (1..=20).collect();
    for (does, label) in [(Does::Nothing, "timeout"), (Does::Refuse, "upstream_unreachable")] {
        let servers: Vec<_> = all.iter().map(|&last| (last, does)).collect();
        let net = Net::new([ips(&all)], &servers);
        let (connected, _took) = net.connect().await;
        assert_eq!(connected, Err(label));
        assert_eq!(net.tried(), (1..=8).map(ip).collect::<Vec<_>>());
    }
}

/// The failure says nothing about the addresses.
#[tokio::test(start_paused = true)]
async fn a_lack_of_descriptors_is_reported_and_keeps_the_addresses() {
    let mut net = Net::new([ips(&[1, 2])], &[(1, AT_ONCE), (2, Does::Refuse)]);
    assert_eq!(net.connect().await.0, Ok(ip(1)));
    net.servers.insert(ip(1), Does::Exhausted);
    assert_eq!((net.connect().await.0, net.tried()), (Err("out_of_descriptors"), vec![ip(1), ip(2)]));
    net.servers.insert(ip(1), AT_ONCE);
    let asked = net.names.look_ups();
    assert_eq!((net.connect().await.0, net.tried(), net.names.look_ups()), (Ok(ip(1)), vec![ip(1)], asked));

    let failed = Failure::unresolved("upstream.test".to_owned(), Errno::NFILE.into());
    assert!(failed.nothing_sent() && !failed.is_timeout() && failed.label() == "out_of_descriptors");
    assert!(
        failed.to_string().contains("no file descriptor left") && failed.to_string().contains("fs.file-max"),
        "{failed}"
    );
}

#[tokio::test(start_paused = true)]
async fn when_remembered_addresses_refuse_the_name_is_looked_up_again() {
    let net = Net::new([ips(&[1]), ips(&[1, 2])], &[(1, Does::Refuse), (2, AT_ONCE)]);
    assert_eq!(net.connect().await.0, Err("upstream_unreachable"), "a first look-up is not repeated");
    assert_eq!((net.names.look_ups(), net.connect().await.0), (1, Ok(ip(2))));

    let mut net = Net::new([ips(&[1]), ips(&[2])], &[(1, AT_ONCE), (2, AT_ONCE)]);
    assert_eq!(net.connect().await.0, Ok(ip(1)));
    for does in [Does::Refuse, Does::Nothing] {
        net.servers.insert(ip(1), does);
        let (connected, took) = net.connect().await;
        assert_eq!((connected, net.tried(), net.names.look_ups()), (Ok(ip(2)), vec![ip(1), ip(2)], 2));
        assert_took(took, if matches!(does, Does::Refuse) { 0 } else { 250 });
        // Back to the beginning, for the other kind of failure.
        net = Net::new([ips(&[1]), ips(&[2])], &[(1, AT_ONCE), (2, AT_ONCE)]);
        assert_eq!(net.connect().await.0, Ok(ip(1)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_address_that_the_name_no_longer_has_is_left() {
    let net = Net::new([ips(&[1, 2]), ips(&[3, 2])], &[(1, AT_ONCE), (2, AT_ONCE), (3, AT_ONCE)]);
    assert_eq!(net.connect().await.0, Ok(ip(1)));
    advance(Duration::from_secs(11)).await;
    assert_eq!((net.connect().await.0, net.tried()), (Ok(ip(3)), vec![ip(3)]));
}

#[tokio::test(start_paused = true)]
async fn the_last_addresses_stay_in_use_while_the_name_cannot_be_looked_up() {
    for (trouble, millis) in [(Asked::Fails, 0), (Asked::Silent, 250)] {
        let net = Net::new([ips(&[1]), trouble], &[(1, AT_ONCE)]);
        assert_eq!(net.connect().await.0, Ok(ip(1)));
        for _ in 0..3 {
            advance(Duration::from_secs(11)).await;
            let (connected, took) = net.connect().await;
            assert_eq!(connected, Ok(ip(1)));
            assert_took(took, millis);
            let (connected, took) = net.connect().await;
            assert_eq!(connected, Ok(ip(1)));
            assert_took(took, 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_look_up_serves_all_who_wait_for_it() {
    let net = Net::new([ips(&[1])], &[(1, AT_ONCE)]);
    let (tasks, race) = (Tasks::default(), |tasks| ConnectRace {
        addresses: &net.addresses,
        tasks,
        upstream: "upstream.test",
        period: PERIOD,
    });
    let began = Instant::now();
    let connect = || race(&tasks).run(|address| net.attempt(address, began));
    let connected = futures_util::future::join_all((0..50).map(|_| connect())).await;
    assert!(connected.into_iter().all(|connected| connected.is_ok_and(|address| address == ip(1))));
    assert_eq!(net.names.look_ups(), 1);
}

/// A remote whose name is looked up by `script`.
fn resolved(options: &Options, script: impl IntoIterator<Item = Asked>) -> Remote {
    Remote::resolving(options, Resolver::Script(Names::new(script)), Tasks::default()).unwrap()
}

#[tokio::test]
async fn a_request_reaches_the_address_that_is_sound() {
    // The system accepts TCP connections for a listener that never accepts, but TLS gets no answer.
    let stalls = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (folder, server) = super::secure::secure_server(&["upstream.test"]).await;
    let addresses = Asked::Answers(vec![stalls.local_addr().unwrap(), server.address]);
    let options = Options { tls: super::secure::trusting(&folder), ..options("https://upstream.test") };
    let remote = resolved(&options, [addresses]);
    assert_eq!(fetch(&remote, post()).await.unwrap(), "{}");
}

#[tokio::test]
async fn requests_follow_a_name_that_moves() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let second = Server::start(|peer| peer.answer_all(OK)).await;
    let script = [Asked::Answers(vec![listener.local_addr().unwrap()]), Asked::Answers(vec![second.address])];
    let remote = resolved(&options("http://upstream.test"), script);
    // It answers one request and closes.
    let first = async {
        let (mut tcp, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        assert!(tcp.read(&mut request).await.unwrap() > 0);
        tcp.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nfirst").await.unwrap();
        drop(listener);
    };
    let (answer, ()) = tokio::join!(fetch(&remote, post()), first);
    assert_eq!(answer.unwrap(), "first");
    assert_eq!(fetch(&remote, post()).await.unwrap(), "{}");
    assert_eq!(second.accepted(), 1);
}

#[tokio::test]
async fn an_address_that_takes_connections_and_does_not_answer_is_not_preferred() {
    let closes = Server::start(|peer| async move { drop(peer) }).await;
    let sound = Server::start(|peer| peer.answer_all(OK)).await;
    // The name server rotates its answers, as most do.
    let script =
        [Asked::Answers(vec![closes.address, sound.address]), Asked::Answers(vec![sound.address, closes.address])];
    let remote = || resolved(&options("http://upstream.test"), script.clone());
    let general = remote();
    assert!(fetch(&general, post()).await.is_err());
    assert_eq!(fetch(&general, post()).await.unwrap(), "{}");
    let wire = remote();
    let (mut answer, mut alarm) = (Collected::default(), DeadlineTimer::default());
    let request = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}";
    assert!(wire.exchange(request, &mut answer, &mut alarm, Instant::now()).await.is_err());
    assert!(wire.exchange(request, &mut answer, &mut alarm, Instant::now()).await.is_ok());
}
