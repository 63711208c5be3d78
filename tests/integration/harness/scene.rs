//! An usher between a fake HTTP upstream and a fake WebSocket upstream.

use super::websocket::{End, Far, handshake};
use super::{Fake, Setup, Usher};

/// An usher between the tests' clients, a fake HTTP upstream and a fake WebSocket upstream.
pub struct Scene {
    pub fake: Fake,
    pub far: Far,
    pub usher: Usher,
}

impl Scene {
    pub fn start() -> Self {
        Self::with(|_| {})
    }

    pub fn with(adjust: impl FnOnce(&mut Setup)) -> Self {
        let (fake, far) = (Fake::start(), Far::start());
        let usher = Usher::start(&fake, |setup| {
            setup.upstream += &far.key();
            adjust(setup);
        });
        Self { fake, far, usher }
    }

    /// Both ends of a relayed connection: the client's and upstream's.
    pub fn connect(&self) -> (End, End) {
        self.far.relayed(&self.usher, &handshake())
    }
}
