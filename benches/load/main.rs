//! The load harness: what a request costs usher and its peers, measured in one run, interleaved, on the same processor
//! and before the same upstream.
//!
//! ```sh
//! cargo build --release && cargo bench --bench load -- --help
//! ```
//!
//! `benches/README.md` says how to read the figures. In reading order: `arguments`, `session` (a run), `lane` (a target
//! and its load), `generator` and what it sends (`mixes`, `supply`) over a `wire`, `stub` (the upstream), `targets`,
//! `accounting`, then `report`, `table`, `chart`. Linux only.

#![expect(clippy::print_stdout, reason = "a program that measures: it prints its figures")]
#![expect(clippy::disallowed_types, reason = "it measures real time, and no test pauses it")]

mod accounting;
mod answer;
mod arguments;
mod chart;
mod deliveries;
mod errand;
mod generator;
mod growth;
mod lane;
mod launch;
mod limit;
mod mixes;
mod report;
mod secure;
mod session;
mod slow;
mod stub;
mod supply;
mod table;
mod tally;
mod targets;
mod wire;

use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

use self::arguments::{Arguments, Named};
use self::mixes::Mix;
use self::report::Report;
use self::session::Wish;
use self::table::Table;
use self::targets::Kind;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let outcome = match arguments.next().as_deref() {
        Some(launch::ROLE) => launch::run(arguments).map(|()| true),
        Some(limit::ROLE) => limit::run(arguments).map(|()| true),
        Some(stub::ROLE) => stub::run(arguments).map(|()| true),
        // `cargo test --benches` runs this as well, only to check that it works.
        None => Ok(true),
        Some(_) => harness(Arguments::read()),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all figures can be trusted.
fn harness(mut arguments: Arguments) -> Result<bool> {
    if arguments.fanout {
        return Err(Command::new(env!("CARGO")).args(["bench", "--bench", "fanout"]).exec())
            .context("cargo cannot be started");
    }
    arguments.build_usher()?;
    let arguments = &arguments;
    if arguments.slow {
        return slow::run(arguments).map(|()| true);
    }
    if arguments.deliveries {
        return deliveries::run(arguments).map(|()| true);
    }
    let reports = if arguments.growth {
        growth::run(arguments)?
    } else {
        arguments.mix.iter().map(|&mix| measure(arguments, mix)).collect::<Result<_>>()?
    };
    if let Some(file) = &arguments.json {
        fs::write(file, serde_json::to_string_pretty(&reports)?)
            .with_context(|| format!("{} cannot be written", file.display()))?;
    }
    if let Some(file) = &arguments.chart {
        fs::write(file, chart::draw(&reports)).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    let faults: Vec<String> = reports.iter().flat_map(Report::faults).collect();
    for fault in &faults {
        eprintln!("load: {fault}");
    }
    Ok(faults.is_empty() || arguments.tolerate)
}

fn measure(arguments: &Arguments, mix: Mix) -> Result<Report> {
    let named = arguments.targets(mix)?;
    let (connections, rooms) = (arguments.connections(), arguments.channels);
    let wish = |target: &Named| Wish { name: target.name.clone(), target: target.clone(), connections, rooms };
    let wishes: Vec<Wish> = named.iter().map(wish).collect();
    let measured = session::run(arguments, mix, &wishes)?;
    let report = Report::new(arguments, mix, &measured, &bases(&named));
    println!("{}", Table(&report));
    Ok(report)
}

/// The references of the comparison: the known proxies, and the first usher if there are several.
fn bases(targets: &[Named]) -> Vec<String> {
    let mut ushers = 0;
    let is_base = |target: &&Named| match target.kind {
        Kind::Nginx | Kind::NginxReturn | Kind::Haproxy | Kind::Limit(_) => true,
        Kind::Usher { .. } => {
            ushers += 1;
            ushers == 1
        }
        Kind::Peer(_) | Kind::Stub => false,
    };
    targets.iter().filter(is_base).map(|target| target.name.clone()).collect()
}
