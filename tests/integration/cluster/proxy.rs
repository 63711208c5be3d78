//! A TCP proxy between one usher and the store, which delays, holds and cuts what passes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::harness::Monitor;

/// Which way bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From usher to the store.
    Requests,
    Answers,
}

/// What happens to the bytes of one way.
#[derive(Debug, Clone, Copy, Default)]
struct Passage {
    delay: Duration,
    /// Nothing passes; it is kept, and passes later.
    is_held: bool,
    /// Of the next bytes one half passes, and the connection is closed.
    is_cut: bool,
}

#[derive(Debug)]
struct State {
    target: SocketAddr,
    passages: [Passage; 2],
    /// New connections are closed at once.
    refuses: bool,
    /// Both sides of all connections.
    open: Vec<TcpStream>,
    is_over: bool,
}

/// The proxy. Its connections are closed when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    state: Arc<Monitor<State>>,
}

impl Proxy {
    /// Listens on a free port, for connections to `target`.
    pub fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let passages = [Passage::default(); 2];
        let state =
            Arc::new(Monitor::new(State { target, passages, refuses: false, open: Vec::new(), is_over: false }));
        let serving = Arc::clone(&state);
        thread::spawn(move || {
            for near in listener.incoming() {
                if serving.lock().is_over {
                    return;
                }
                // A store that refuses connections is one of the faults.
                let (Ok(()) | Err(_)) = near.and_then(|near| connect(near, &serving));
            }
        });
        Self { address, state }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads further connections there, and closes the present ones.
    pub fn lead_to(&self, target: SocketAddr) {
        self.state.change(|state| state.target = target);
        self.close();
    }

    pub fn delay(&self, way: Way, delay: Duration) {
        self.state.change(|state| state.passages[way as usize].delay = delay);
    }

    pub fn hold(&self, way: Way) {
        self.state.change(|state| state.passages[way as usize].is_held = true);
    }

    /// Cuts the connection on which the next bytes go this way in the middle of these.
    pub fn cut(&self, way: Way) {
        self.state.change(|state| state.passages[way as usize].is_cut = true);
    }

    /// Closes all connections, and those that follow, until [`Proxy::mend`].
    pub fn refuse(&self) {
        self.state.change(|state| state.refuses = true);
        self.close();
    }

    /// Everything passes again; what was held passes now.
    pub fn mend(&self) {
        self.state.change(|state| {
            state.refuses = false;
            state.passages = [Passage::default(); 2];
        });
    }

    /// Closes all connections.
    pub fn close(&self) {
        self.state.change(|state| {
            for stream in state.open.drain(..) {
                let _closed = stream.shutdown(Shutdown::Both);
            }
        });
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.mend();
        self.state.change(|state| state.is_over = true);
        self.close();
        // Wakes the listener, which ends.
        let _woken = TcpStream::connect(self.address);
    }
}

fn connect(near: TcpStream, state: &Arc<Monitor<State>>) -> io::Result<()> {
    let target = {
        let state = state.lock();
        if state.refuses {
            return Ok(());
        }
        state.target
    };
    let far = TcpStream::connect(target)?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let (both, ends) = ([near.try_clone()?, far.try_clone()?], [near.try_clone()?, far.try_clone()?]);
    state.change(|state| state.open.extend(both));
    let [near_end, far_end] = ends;
    for (way, from, to) in [(Way::Requests, near, far_end), (Way::Answers, far, near_end)] {
        let state = Arc::clone(state);
        thread::spawn(move || pass(way, from, to, &state));
    }
    Ok(())
}

/// Passes bytes on until their side ends. What is held passes later, also if the other side is gone meanwhile, as on a
/// network.
fn pass(way: Way, mut from: TcpStream, mut to: TcpStream, state: &Monitor<State>) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        let passage = state.lock().passages[way as usize];
        if !passage.delay.is_zero() {
            thread::sleep(passage.delay);
        }
        let is_cut = state.wait(|state| {
            let passage = &mut state.passages[way as usize];
            (!passage.is_held).then(|| std::mem::take(&mut passage.is_cut))
        });
        let is_cut = is_cut.unwrap_or_default();
        let passes = if is_cut { read / 2 } else { read };
        if to.write_all(&bytes[..passes]).is_err() || is_cut {
            let _closed = from.shutdown(Shutdown::Both);
            break;
        }
    }
    let _closed = to.shutdown(Shutdown::Write);
}
