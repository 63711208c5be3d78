//! A fake upstream on raw TCP: records the bytes of every request and answers by script.

use std::collections::{BTreeMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use super::message::{Framing, Head, read_chunked};
use super::script::After;
use super::{Monitor, Step, sign};

/// A request as it arrived.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// Which connection it came on, counted from 0.
    pub connection: usize,
    /// The head's raw bytes.
    pub head: Head,
    /// The body's raw bytes (without chunk sizes, if it was chunked).
    pub body: Vec<u8>,
}

impl Recorded {
    pub fn request_line(&self) -> String {
        self.head.lines().swap_remove(0)
    }

    pub fn method(&self) -> String {
        self.request_line().split(' ').next().unwrap_or_default().to_owned()
    }

    /// Path and query.
    pub fn target(&self) -> String {
        self.request_line().split(' ').nth(1).unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<String> {
        self.head.header(name)
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("body is not JSON ({error}): {}", self.text()))
    }

    /// Whether its Pusher signature is correct, by the tests' own implementation.
    pub fn is_signed(&self) -> bool {
        sign::verifies(&self.method(), &self.target(), &self.body)
    }
}

type Otherwise = Arc<dyn Fn(&Recorded) -> Step + Send + Sync>;

#[derive(Default)]
struct State {
    listening: bool,
    requests: Vec<Recorded>,
    taken: usize,
    bytes: usize,
    connections: usize,
    open: BTreeMap<usize, TcpStream>,
    script: VecDeque<Step>,
    otherwise: Option<Otherwise>,
}

/// The fake upstream. Ends with its handle.
pub struct Fake {
    address: SocketAddr,
    state: Arc<Monitor<State>>,
}

impl Fake {
    /// Listens on a free port; answers everything with `200 {}` until configured otherwise.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let fake = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        fake.listen(listener);
        fake
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Appends steps for the requests to come, in the order in which their heads arrive.
    pub fn script(&self, steps: impl IntoIterator<Item = Step>) {
        self.state.change(|state| state.script.extend(steps));
    }

    /// Sets the step for requests after the end of the script; `200 {}` by default.
    pub fn otherwise(&self, choose: impl Fn(&Recorded) -> Step + Send + Sync + 'static) {
        self.state.change(|state| state.otherwise = Some(Arc::new(choose)));
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Recorded> {
        self.state.lock().requests.clone()
    }

    pub fn count(&self) -> usize {
        self.state.lock().requests.len()
    }

    /// The next request that was not taken yet; waits for it.
    pub fn next_request(&self) -> Recorded {
        let next = self.state.wait(|state| {
            let next = state.requests.get(state.taken).cloned()?;
            state.taken += 1;
            Some(next)
        });
        next.unwrap_or_else(|| panic!("no further request arrived; {} so far", self.count()))
    }

    /// Bytes received so far, of whole and of unfinished requests.
    pub fn bytes(&self) -> usize {
        self.state.lock().bytes
    }

    /// Waits until at least this many bytes were received in all.
    pub fn wait_bytes(&self, bytes: usize) {
        let seen = self.state.wait(|state| (state.bytes >= bytes).then_some(()));
        assert!(seen.is_some(), "only {} of {bytes} bytes arrived", self.bytes());
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.state.lock().connections
    }

    /// Waits until no connection is open.
    pub fn wait_closed(&self) {
        let closed = self.state.wait(|state| state.open.is_empty().then_some(()));
        assert!(closed.is_some(), "connections are still open");
    }

    /// Closes every connection, idle or not.
    pub fn close_connections(&self) {
        for stream in self.state.lock().open.values() {
            let _gone = stream.shutdown(Shutdown::Both);
        }
    }

    /// Stops listening and closes every connection: from now on, connections are refused.
    pub fn refuse(&self) {
        self.state.change(|state| state.listening = false);
        let _woken = TcpStream::connect(self.address);
        self.close_connections();
        self.state.wait(|state| state.open.is_empty().then_some(()));
        while TcpStream::connect(self.address).is_ok() {}
    }

    /// Listens again on the same port.
    pub fn accept_again(&self) {
        self.listen(TcpListener::bind(self.address).unwrap());
    }

    fn listen(&self, listener: TcpListener) {
        self.state.change(|state| state.listening = true);
        let state = Arc::clone(&self.state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let Some(connection) = admit(&state, &stream) else { return };
                let state = Arc::clone(&state);
                thread::spawn(move || {
                    // An error means that the peer disconnected, which the test sees on its own side.
                    let _gone = Connection { number: connection, stream, state: Arc::clone(&state) }.serve();
                    state.change(|state| state.open.remove(&connection));
                });
            }
        });
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.state.change(|state| state.listening = false);
        let _woken = TcpStream::connect(self.address);
        self.close_connections();
    }
}

fn admit(state: &Monitor<State>, stream: &TcpStream) -> Option<usize> {
    state.change(|state| {
        if !state.listening {
            return None;
        }
        let number = state.connections;
        state.connections += 1;
        state.open.insert(number, stream.try_clone().ok()?);
        Some(number)
    })
}

struct Connection {
    number: usize,
    stream: TcpStream,
    state: Arc<Monitor<State>>,
}

impl Connection {
    fn serve(mut self) -> io::Result<()> {
        loop {
            if self.stream.peek(&mut [0])? == 0 {
                return Ok(());
            }
            if self.state.change(|state| state.script.pop_front_if(|step| matches!(step, Step::ResetUnread))).is_some()
            {
                return Ok(());
            }
            let state = Arc::clone(&self.state);
            let seen = |bytes| state.change(|state| state.bytes += bytes);
            let Some(head) = Head::peek(&mut self.stream, seen)? else { return Ok(()) };
            let mut step = self.state.change(|state| state.script.pop_front());
            let resets = step.as_ref().is_some_and(Step::resets);
            let body = self.read_body(&head, resets)?;
            let request = Recorded { connection: self.number, head, body };
            let otherwise = self.state.lock().otherwise.clone();
            self.state.change(|state| state.requests.push(request.clone()));
            let step = step.take().unwrap_or_else(|| otherwise.map_or_else(Step::ok, |choose| choose(&request)));
            if !self.play(step)? {
                return Ok(());
            }
        }
    }

    /// Reads the body; leaves its last byte in the socket if the connection is to be reset.
    fn read_body(&mut self, head: &Head, leave_last: bool) -> io::Result<Vec<u8>> {
        if head.header("expect").is_some() {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let state = Arc::clone(&self.state);
        let seen = |bytes| state.change(|state| state.bytes += bytes);
        match head.framing() {
            Framing::None | Framing::Length(0) => Ok(Vec::new()),
            Framing::Chunked => read_chunked(&mut self.stream, seen),
            Framing::Length(length) => {
                let mut body = vec![0; length];
                let mut filled = 0;
                while filled < length - usize::from(leave_last) {
                    let end = length - usize::from(leave_last);
                    let read = self.stream.read(&mut body[filled..end])?;
                    if read == 0 {
                        return Err(io::ErrorKind::UnexpectedEof.into());
                    }
                    seen(read);
                    filled += read;
                }
                if leave_last {
                    self.stream.peek(&mut body[length - 1..])?;
                    seen(1);
                }
                Ok(body)
            }
        }
    }

    /// Whether the connection is kept.
    fn play(&mut self, step: Step) -> io::Result<bool> {
        match step {
            Step::Answer(bytes, after) => {
                self.stream.write_all(&bytes)?;
                Ok(after == After::Keep)
            }
            Step::Hold(gate, step) => {
                gate.wait();
                self.play(*step)
            }
            Step::Parts(first, gate, second) => {
                self.stream.write_all(&first)?;
                gate.wait();
                self.stream.write_all(&second)?;
                Ok(true)
            }
            Step::Silence | Step::ResetUnread => {
                while self.stream.read(&mut [0; 1024])? > 0 {}
                Ok(false)
            }
        }
    }
}
