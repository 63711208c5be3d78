//! How the cost of a request grows: with connections, with rules and apps that have nothing to do with it, and with channels
//! that are known, to usher or in a shared memory.

use anyhow::Result;

use crate::arguments::{Arguments, Named};
use crate::mixes::Mix;
use crate::report::Report;
use crate::session::{self, Wish};
use crate::table::Table;
use crate::targets::{Bystanders, Kind, Memory};

/// The largest number is what 20,000 file descriptors allow: usher needs two for each, and keeps one for an idle connection.
const CONNECTIONS: [usize; 4] = [1, 64, 512, 6_000];
/// Rules and apps beside the usual ones.
const BYSTANDERS: usize = 1_000;
const CHANNELS: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];
/// In a shared memory, which is not usher's.
const SHARED_CHANNELS: [usize; 2] = [1_000, 100_000];

/// Measures all of them and prints the tables.
pub(crate) fn run(arguments: &Arguments) -> Result<Vec<Report>> {
    Ok(vec![connections(arguments)?, bystanders(arguments)?, channels(arguments)?])
}

/// Forwarding, by ushers with and without so many rules and apps that have nothing to do with it.
fn bystanders(arguments: &Arguments) -> Result<Report> {
    let mut wishes = Vec::new();
    let mut bases = Vec::new();
    for usher in arguments.ushers(&[Memory::Own])? {
        bases.push(usher.name.clone());
        for (suffix, bystanders) in [
            ("", Bystanders::default()),
            (" +rules", Bystanders { rules: BYSTANDERS, apps: 0 }),
            (" +apps", Bystanders { rules: 0, apps: BYSTANDERS }),
        ] {
            let name = format!("{}{suffix}", usher.name);
            let target = Named { name: name.clone(), kind: usher.kind.clone().beside(bystanders) };
            let (connections, rooms) = (arguments.connections(), arguments.channels);
            wishes.push(Wish { name, target, connections, rooms });
        }
    }
    let measured = session::run(arguments, Mix::Forward, &wishes)?;
    let report = Report::new(arguments, Mix::Forward, &measured, &bases);
    println!("{}", Table(&report));
    Ok(report)
}

/// Forwarding, by nginx and usher; everything beside nginx with as many connections, and beside one connection.
fn connections(arguments: &Arguments) -> Result<Report> {
    let mut targets = vec![Named { name: "nginx".to_owned(), kind: Kind::Nginx }];
    targets.extend(arguments.ushers(&[Memory::Own])?);
    let lane = |target: &Named, connections: usize| format!("{} @{connections}", target.name);
    let wish = |target: &Named, connections| Wish {
        name: lane(target, connections),
        target: target.clone(),
        connections,
        rooms: arguments.channels,
    };
    let wishes: Vec<Wish> =
        targets.iter().flat_map(|target| CONNECTIONS.map(|connections| wish(target, connections))).collect();
    let mut bases: Vec<String> = CONNECTIONS.iter().map(|&connections| lane(&targets[0], connections)).collect();
    bases.extend(targets[1..].iter().map(|usher| lane(usher, CONNECTIONS[0])));
    let measured = session::run(arguments, Mix::Forward, &wishes)?;
    let mut report = Report::new(arguments, Mix::Forward, &measured, &bases);
    for lane in &mut report.lanes {
        // Only what has as many connections can be compared, or is the same.
        let own = format!("@{}", lane.connections);
        let same = lane.name.split(" @").next().unwrap_or_default();
        lane.ratios
            .retain(|ratio| ratio.against.ends_with(&own) || ratio.against == format!("{same} @{}", CONNECTIONS[0]));
    }
    println!("{}", Table(&report));
    Ok(report)
}

/// Suppressing, by one usher for each number of channels: all of them at once, so that their rounds are interleaved.
fn channels(arguments: &Arguments) -> Result<Report> {
    let connections = arguments.connections();
    let mut wishes = Vec::new();
    let mut bases = Vec::new();
    for usher in arguments.ushers(&[Memory::Own, Memory::Shared { ushers: 1 }])? {
        let channels = if usher.kind.is_shared() { &SHARED_CHANNELS[..] } else { &CHANNELS };
        for &rooms in channels {
            let name = format!("{} #{rooms}", usher.name);
            if rooms == channels[0] {
                bases.push(name.clone());
            }
            let target = Named { name: name.clone(), kind: usher.kind.clone() };
            wishes.push(Wish { name, target, connections, rooms });
        }
    }
    let measured = session::run(arguments, Mix::Suppress, &wishes)?;
    let mut report = Report::new(arguments, Mix::Suppress, &measured, &bases);
    for lane in &mut report.lanes {
        // Only the same usher can be compared.
        let own = lane.name.split('#').next().unwrap_or_default();
        lane.ratios.retain(|ratio| ratio.against.split('#').next() == Some(own));
    }
    println!("{}", Table(&report));
    for lane in &report.lanes {
        let whose = if lane.store_cpu.is_some() { "Redis's memory" } else { "RSS" };
        let memory = lane.bytes_per_channel.map_or_else(|| "unknown".to_owned(), |bytes| format!("{bytes:.0} bytes"));
        print!("{}: {memory} of {whose} for each known channel", lane.name);
        match lane.ratios.first() {
            Some(ratio) => {
                println!("; a request costs {:.2} times what it does at {}", 1.0 / ratio.cpu.median, ratio.against)
            }
            None => println!(),
        }
    }
    println!();
    Ok(report)
}
