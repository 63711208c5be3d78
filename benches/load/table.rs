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
        let has_store = lanes.iter().any(|lane| lane.store_cpu.is_some());
        writeln!(
            f,
            "{:width$} {:>5} {:>9} {:>7}  {:>16} {:>6} {:>6} {:>6}  {:>8} {:>8} {:>8} {:>8} {:>7}  {:>6} {:>7}{}",
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
            "stub µs",
            if has_store { "  redis µs/request" } else { "" }
        )?;
        for lane in lanes {
            row(f, lane, width, has_store)?;
        }
        ratios(f, lanes, width, rate.is_some())?;
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

fn row(f: &mut fmt::Formatter<'_>, lane: &LaneReport, width: usize, has_store: bool) -> fmt::Result {
    let spread = |Spread { median, low, high }: Spread| format!("{median:.1} ({low:.1}–{high:.1})");
    let store = if has_store { lane.store_cpu.map_or_else(|| "–".to_owned(), spread) } else { String::new() };
    let line = format!(
        "{:width$} {:>5} {:>9} {:>7.0}  {:>16} {:>6.1} {:>6.1} {:>5.0}%  {:>8.0} {:>8.0} {:>8.0} {:>8.0} {:>7.1}  {:>6.1} {:>7.1}  {store:>16}",
        lane.name,
        lane.connections,
        lane.channels,
        lane.requests_per_second.median,
        spread(lane.cpu),
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
    );
    writeln!(f, "{}", line.trim_end())
}

/// Each lane beside each base: a line for each pair, the later lane's.
///
/// In an open loop also the difference of latencies: in a closed one there is none without the queue.
fn ratios<'a>(f: &mut fmt::Formatter<'_>, lanes: &'a [LaneReport], width: usize, is_open: bool) -> fmt::Result {
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
        "{:width$} {:other$} {:>18} {:>18} {:>18}{}   paired by round: median (quartiles)",
        "target",
        "beside",
        "CPU: its ÷ own",
        "req/s: own ÷ its",
        "p99: own ÷ its",
        if is_open {
            format!(" {:>22} {:>22}", "p50: own − its, µs", "p99: own − its, µs")
        } else {
            String::new()
        }
    )?;
    for (lane, ratio) in pairs() {
        let [cpu, rate, p99] = [ratio.cpu, ratio.rate, ratio.p99]
            .map(|Spread { median, low, high }| format!("{median:.2} ({low:.2}–{high:.2})"));
        write!(f, "{:width$} {:other$} {cpu:>18} {rate:>18} {p99:>18}", lane.name, ratio.against)?;
        if is_open {
            let [p50, p99] = [ratio.added_p50, ratio.added_p99]
                .map(|Spread { median, low, high }| format!("{median:+.0} ({low:+.0} to {high:+.0})"));
            write!(f, " {p50:>22} {p99:>22}")?;
        }
        writeln!(f)?;
    }
    Ok(())
}
