//! Measures what each way of stopping costs: the table of docs/operations.md, "What a stop costs".

use std::time::Duration;

use super::load::{Connections, Load, Outcome};
use super::{CALLERS, CONNECTIONS, Deployment, Plan, Recipe, SINGLE, STANDBY};
use crate::harness::Fake;
use crate::harness::usher::Signal;

/// `assignments.start_doubt` of the measurement. The time without suppression is longer by the difference to the
/// configured one.
const START_DOUBT: Duration = Duration::from_secs(5);

/// A row of the table.
struct Row {
    name: &'static str,
    recipe: Option<Recipe>,
    keeps_state: bool,
    end: End,
}

#[derive(Clone, Copy)]
enum End {
    Restart(Signal),
    /// It is halted and never comes back: what was sent to it has no answer.
    Lost,
}

fn measure(row: &Row, connections: Connections) -> Outcome {
    let fake = Fake::start();
    let plan = Plan { start_doubt: "5s", keeps_state: row.keeps_state, ..Plan::new(row.recipe, connections) };
    let mut deployment = Deployment::start(&plan, &fake);
    // The doubt of this first start is not part of what is measured.
    std::thread::sleep(START_DOUBT);
    let load = Load::start(deployment.address(), connections, CALLERS, plan.rate);
    std::thread::sleep(Duration::from_secs(2));
    match row.end {
        End::Restart(signal) => deployment.restart(signal),
        End::Lost => deployment.usher.signal(Signal::Stop),
    }
    std::thread::sleep(START_DOUBT + Duration::from_secs(5));
    load.stop(&fake)
}

/// Prints a row for each way of stopping: 500 triggers a second, four fifths of them repeats.
#[test]
#[ignore = "takes minutes, and measures: `tests/long 1 stops`"]
fn what_each_way_of_stopping_costs() {
    let clean = End::Restart(Signal::Term);
    let crash = End::Restart(Signal::Kill);
    let (sockets, standby) = (SINGLE[0], STANDBY[0]);
    let rows = [
        Row { name: "clean, with state, sockets stay open", recipe: sockets, keeps_state: true, end: clean },
        Row { name: "clean, without state, sockets stay open", recipe: sockets, keeps_state: false, end: clean },
        Row { name: "clean, without state, stand-by", recipe: standby, keeps_state: false, end: clean },
        Row { name: "crash, sockets stay open", recipe: sockets, keeps_state: true, end: crash },
        Row { name: "crash, stand-by", recipe: standby, keeps_state: false, end: crash },
        Row { name: "machine lost, stand-by", recipe: standby, keeps_state: false, end: End::Lost },
    ];
    for row in rows {
        for connections in CONNECTIONS {
            let Outcome { sent, failed, lost, repeated, unsuppressed } = measure(&row, connections);
            eprintln!(
                "{} ({connections:?}): {} of {sent} failed, {repeated} repeated, {lost} handoffs lost, {unsuppressed:.1?} without \
                 suppression {:?}",
                row.name,
                failed.len(),
                failed.first()
            );
        }
    }
}
