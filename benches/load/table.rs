//! The report as a table for people.

use std::fmt;

use crate::report::{LaneReport, Report, Spread};

/// Shows a report.
pub(crate) struct Table<'a>(pub(crate) &'a Report);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { mix, rate, tls, rounds, seconds, pinned, lanes } = self.0;
        write!(f, "{}: {rounds} rounds of {seconds} s each, interleaved; ", mix.name())?;
        match rate {
            Some(rate) => write!(f, "open loop at {rate} requests/s, latency from when each was due")?,
            None => f.write_str("closed loop, latency at saturation")?,
        }
        writeln!(
            f,
            "{}{}",
            if *tls { "; HTTPS on both sides" } else { "" },
            if *pinned { "" } else { "; NOT PINNED" }
        )?;
        let width = lanes.iter().map(|lane| lane.name.chars().count()).max().unwrap_or(0).max(6);
        writeln!(
            f,
            "{:width$} {:>5} {:>9} {:>7}  {:>16} {:>6} {:>6} {:>6}  {:>8} {:>8} {:>8} {:>8} {:>7}  {:>6} {:>6}",
            "target",
            "conns",
            "channels",
            "req/s",
            "CPU µs/request",
            "user",
            "kernel",
            "share",
            "p50 µs",
            "p90",
            "p99",
            "p99.9",
            "RSS MiB",
            "gen µs",
            "stub µs"
        )?;
        for lane in lanes {
            row(f, lane, width)?;
        }
        ratios(f, lanes, width)?;
        for lane in lanes {
            for note in &lane.notes {
                writeln!(f, "note: {} {note}", lane.name)?;
            }
            for fault in &lane.faults {
                writeln!(f, "FAULT: {}: {fault}", lane.name)?;
            }
        }
        Ok(())
    }
}

fn row(f: &mut fmt::Formatter<'_>, lane: &LaneReport, width: usize) -> fmt::Result {
    let Spread { median, low, high } = lane.cpu;
    writeln!(
        f,
        "{:width$} {:>5} {:>9} {:>7.0}  {:>16} {:>6.1} {:>6.1} {:>5.0}%  {:>8.0} {:>8.0} {:>8.0} {:>8.0} {:>7.1}  {:>6.1} {:>6.1}",
        lane.name,
        lane.connections,
        lane.channels,
        lane.requests_per_second.median,
        format!("{median:.1} ({low:.1}–{high:.1})"),
        lane.user.median,
        lane.system.median,
        lane.cpu_share.median * 100.0,
        lane.p50.median,
        lane.p90.median,
        lane.p99.median,
        lane.p999.median,
        lane.resident as f64 / 1024.0 / 1024.0,
        lane.generator_cpu.median,
        lane.stub_cpu.median,
    )
}

/// Each lane beside each base: a line for each pair, the later lane's.
fn ratios<'a>(f: &mut fmt::Formatter<'_>, lanes: &'a [LaneReport], width: usize) -> fmt::Result {
    let stands_before = |place: usize, name: &str| lanes[..place].iter().any(|lane| lane.name == name);
    let pairs = || {
        let later = move |(place, lane): (usize, &'a LaneReport)| {
            let ratios = lane.ratios.iter().filter(move |ratio| stands_before(place, &ratio.against));
            ratios.map(move |ratio| (lane, ratio))
        };
        lanes.iter().enumerate().flat_map(later)
    };
    let other = pairs().map(|(_, ratio)| ratio.against.chars().count()).max();
    let Some(other) = other else { return Ok(()) };
    let other = other.max("beside".len());
    writeln!(
        f,
        "{:width$} {:other$} {:>18} {:>18} {:>18}   paired by round: median (quartiles)",
        "target", "beside", "CPU: its ÷ own", "req/s: own ÷ its", "p99: own ÷ its"
    )?;
    for (lane, ratio) in pairs() {
        let [cpu, rate, p99] = [ratio.cpu, ratio.rate, ratio.p99]
            .map(|Spread { median, low, high }| format!("{median:.2} ({low:.2}–{high:.2})"));
        writeln!(f, "{:width$} {:other$} {cpu:>18} {rate:>18} {p99:>18}", lane.name, ratio.against)?;
    }
    Ok(())
}
