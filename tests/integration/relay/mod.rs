//! Relayed WebSocket connections: handshakes, frames, and ends.

mod ends;
mod frames;
mod handshakes;
mod leaving;
mod memory;

use crate::harness::Scene;

impl Scene {
    /// With these keys under `[limits]`.
    fn limited(limits: &str) -> Self {
        Self::with(|setup| setup.limits = format!("{limits}\n"))
    }

    /// A metric's sum over the series that have this label.
    fn metric(&self, name: &str, label: &str) -> f64 {
        self.usher.admin().metric(name, &[label])
    }
}
