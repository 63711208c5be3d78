//! Relayed WebSocket connections: handshakes, frames, and ends.

mod ends;
mod frames;
mod handshakes;
mod leaving;
mod memory;

use crate::harness::websocket::{End, Far, handshake};
use crate::harness::{Fake, Setup, Usher};

/// An usher between the tests' clients, a fake HTTP upstream and a fake WebSocket upstream.
struct Scene {
    fake: Fake,
    far: Far,
    usher: Usher,
}

impl Scene {
    fn start() -> Self {
        Self::with(|_| {})
    }

    fn with(adjust: impl FnOnce(&mut Setup)) -> Self {
        let (fake, far) = (Fake::start(), Far::start());
        let usher = Usher::start(&fake, |setup| {
            setup.upstream += &far.key();
            adjust(setup);
        });
        Self { fake, far, usher }
    }

    /// With these keys under `[limits]`.
    fn limited(limits: &str) -> Self {
        Self::with(|setup| setup.limits = format!("{limits}\n"))
    }

    /// Both ends of a relayed connection: the client's and upstream's.
    fn connect(&self) -> (End, End) {
        let mut client = self.usher.client();
        client.send(&handshake().bytes());
        let upstream = self.far.next().accept();
        (End::switched(client), upstream)
    }

    /// A metric's sum over the series that have this label.
    fn metric(&self, name: &str, label: &str) -> f64 {
        self.usher.admin().metric(name, &[label])
    }
}
