//! Bytes that arrive on a connection without a request in flight are never the answer to the next request (RFC 9112
//! 9.2, threats.md H1-18), not even if the runtime is busy and has not noticed them yet.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::thread;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tempfile::TempDir;
use tokio::time::Instant;

use super::{Options, Remote, fetch, options, post, remote};
use crate::clock::DeadlineTimer;
use crate::upstream::Collected;

const UNSOLICITED: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nstray";

/// A server on its own threads, so that it acts while the runtime of the test is blocked. Each answer contains the
/// number of its connection.
struct ThreadedServer {
    address: SocketAddr,
    go: mpsc::Sender<()>,
    done: mpsc::Receiver<()>,
}

impl ThreadedServer {
    /// `meanwhile` is the action on the first connection after its first answer, when the test signals `go`.
    fn start<S: Read + Write + 'static>(
        wrap: impl Fn(TcpStream) -> S + Send + Sync + 'static,
        meanwhile: fn(&mut S),
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ((go, told), (tell, done)) = (mpsc::channel(), mpsc::channel());
        let (wrap, mut first) = (Arc::new(wrap), Some((told, tell)));
        thread::spawn(move || {
            for (number, tcp) in listener.incoming().enumerate() {
                let (tcp, wrap, mut first) = (tcp.unwrap(), Arc::clone(&wrap), first.take());
                // Written bytes are sent at once, and arrive at once on the loopback.
                tcp.set_nodelay(true).unwrap();
                thread::spawn(move || {
                    let mut stream = wrap(tcp);
                    while request(&mut stream) {
                        stream
                            .write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}").as_bytes())
                            .unwrap();
                        stream.flush().unwrap();
                        if let Some((told, tell)) = first.take() {
                            told.recv().unwrap();
                            meanwhile(&mut stream);
                            tell.send(()).unwrap();
                        }
                    }
                });
            }
        });
        Self { address, go, done }
    }

    /// Makes it act on the idle connection, and blocks the runtime until it has.
    fn act(&self) {
        self.go.send(()).unwrap();
        self.done.recv().unwrap();
    }
}

/// Reads one request with a body of two bytes; whether there is one.
fn request(stream: &mut impl Read) -> bool {
    let mut seen = Vec::new();
    while !seen.ends_with(b"\r\n\r\n{}") {
        let mut byte = [0];
        if !matches!(stream.read(&mut byte), Ok(1)) {
            return false;
        }
        seen.push(byte[0]);
    }
    true
}

/// The two ways of sending.
#[derive(Debug, Clone, Copy)]
enum Way {
    General,
    Fast,
}

impl Way {
    const BOTH: [Self; 2] = [Self::General, Self::Fast];

    async fn ask(self, remote: &Remote) -> String {
        match self {
            Self::General => fetch(remote, post()).await.unwrap(),
            Self::Fast => {
                let mut answer = Collected::default();
                let request = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}";
                remote.exchange(request, &mut answer, &mut DeadlineTimer::default(), Instant::now()).await.unwrap();
                String::from_utf8(answer.body).unwrap()
            }
        }
    }
}

/// Sends a request, makes the server act, and sends another one. Returns the connections of the answers.
async fn around(remote: &Remote, server: &ThreadedServer, way: Way) -> [String; 2] {
    let first = way.ask(remote).await;
    assert_eq!(remote.idle_count(), 1, "{way:?}");
    server.act();
    [first, way.ask(remote).await]
}

#[tokio::test]
async fn unsolicited_bytes_or_an_end_unknown_to_the_runtime_are_noticed() {
    let acts: [fn(&mut TcpStream); 3] = [
        |stream| stream.write_all(UNSOLICITED).unwrap(),
        |stream| stream.write_all(b"\r").unwrap(),
        |stream| stream.shutdown(Shutdown::Write).unwrap(),
    ];
    for way in Way::BOTH {
        for act in acts {
            let server = ThreadedServer::start(|tcp| tcp, act);
            let remote = remote(options(&format!("http://{}", server.address)));
            assert_eq!(around(&remote, &server, way).await, ["0", "1"], "{way:?}");
            assert_eq!(way.ask(&remote).await, "1", "{way:?}: the other connection is kept");
        }
    }
}

/// A connection within TLS, from the server's side.
type Secured = StreamOwned<ServerConnection, TcpStream>;

fn secure(meanwhile: fn(&mut Secured)) -> (TempDir, ThreadedServer) {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(folder.path().join("ca.pem"), certificate.pem()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let config = Arc::new(config);
    let wrap = move |tcp| StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), tcp);
    (folder, ThreadedServer::start(wrap, meanwhile))
}

#[tokio::test]
async fn within_tls_an_answer_or_an_end_counts_and_what_tls_itself_says_does_not() {
    let stray: fn(&mut Secured) = |stream| {
        stream.write_all(UNSOLICITED).unwrap();
        stream.flush().unwrap();
    };
    let new_keys: fn(&mut Secured) = |stream| {
        stream.conn.refresh_traffic_keys().unwrap();
        stream.flush().unwrap();
    };
    let new_keys_and_a_stray_answer: fn(&mut Secured) = |stream| {
        stream.conn.refresh_traffic_keys().unwrap();
        stream.write_all(UNSOLICITED).unwrap();
        stream.flush().unwrap();
    };
    let told_end: fn(&mut Secured) = |stream| {
        stream.conn.send_close_notify();
        stream.flush().unwrap();
    };
    let untold_end: fn(&mut Secured) = |stream| stream.sock.shutdown(Shutdown::Write).unwrap();
    let half_a_record: fn(&mut Secured) = |stream| stream.sock.write_all(b"\x17\x03\x03\x00\x20half").unwrap();
    let acts = [
        ("an answer", stray, "1"),
        ("new keys", new_keys, "0"),
        ("new keys and an answer", new_keys_and_a_stray_answer, "1"),
        ("an end", told_end, "1"),
        ("an end of TCP alone", untold_end, "1"),
        ("half a record", half_a_record, "1"),
    ];
    for way in Way::BOTH {
        for (what, act, second) in acts {
            let (folder, server) = secure(act);
            let tls = crate::tls::Client::read(Some(&folder.path().join("ca.pem"))).unwrap();
            let remote = remote(Options { tls, ..options(&format!("https://{}", server.address)) });
            assert_eq!(around(&remote, &server, way).await, ["0", second], "{way:?}, {what}");
        }
    }
}
