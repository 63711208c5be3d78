//! The Pusher libraries as callers: a restart raises nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::json;

use super::load::Connections;
use super::{Deployment, Plan, SINGLE};
use crate::harness::actor::Refused;
use crate::harness::backend::Library;
use crate::harness::usher::Signal;
use crate::harness::{Backend, Fake, eventually};

/// Announces with a library until `stop`: what it raised.
fn announce(library: Library, port: u16, stop: &AtomicBool) -> Vec<Refused> {
    let backend = Backend::start(library, port);
    let mut raised = Vec::new();
    let mut staff = ["Anna", "Anna", "Boris"].into_iter().cycle();
    while !stop.load(Ordering::Acquire) {
        let data = json!({ "staff_name": staff.next() });
        let channel = format!("h-room-{library:?}-chat");
        raised.extend(backend.try_call("trigger", json!([channel, "staff-assigned", data])).err());
    }
    raised
}

#[test]
fn a_restart_raises_nothing_in_the_libraries() {
    for recipe in [SINGLE[0], SINGLE[1]] {
        let fake = Fake::start();
        let mut deployment = Deployment::start(&Plan::new(recipe, Connections::Kept), &fake);
        let (stop, port) = (AtomicBool::new(false), deployment.address().port());
        thread::scope(|scope| {
            let callers = [Library::Python, Library::Node].map(|library| {
                let stop = &stop;
                scope.spawn(move || announce(library, port, stop))
            });
            for _ in 0..2 {
                let before = fake.count();
                eventually("both announce", || (fake.count() > before + 20).then_some(()));
                deployment.restart(Signal::Term);
            }
            let before = fake.count();
            eventually("both announce", || (fake.count() > before + 20).then_some(()));
            stop.store(true, Ordering::Release);
            for caller in callers {
                let raised = caller.join().unwrap();
                // Without the delay connections are closed while a request may be on its way.
                assert!(raised.is_empty(), "{recipe:?}: {raised:?}");
            }
        });
    }
}
