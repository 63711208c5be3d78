//! The figures of a run: medians over the rounds with their quartiles, ratios paired by round, and what was wrong.

use serde::Serialize;

use crate::arguments::Arguments;
use crate::lane::Round;
use crate::mixes::Mix;
use crate::session::Measured;
use crate::targets::Part;

/// Below this share of its processor a target of a closed loop had something else to wait for.
const BUSY: f64 = 0.9;

/// More redundant announcements than this share that went on: the run does not measure what it says.
const MISSED: f64 = 0.01;

/// A figure of several rounds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    /// The lower quartile.
    pub(crate) low: f64,
    /// The upper quartile.
    pub(crate) high: f64,
}

impl Spread {
    /// Of at least one value.
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut sorted: Vec<f64> = values.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let place = share * (sorted.len().saturating_sub(1)) as f64;
            let (low, high) = (place.floor() as usize, place.ceil() as usize);
            let value = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
            value(low) + (value(high) - value(low)) * (place - place.floor())
        };
        Self { median: at(0.5), low: at(0.25), high: at(0.75) }
    }
}

/// One mix, all lanes.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) mix: Mix,
    /// Requests a second of an open loop; `None`: closed.
    pub(crate) rate: Option<f64>,
    pub(crate) tls: bool,
    pub(crate) rounds: usize,
    /// Of a round.
    pub(crate) seconds: f64,
    pub(crate) pinned: bool,
    pub(crate) lanes: Vec<LaneReport>,
}

/// One lane. Times are in microseconds where nothing else is said.
#[derive(Debug, Serialize)]
pub(crate) struct LaneReport {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) part: Part,
    pub(crate) connections: usize,
    pub(crate) channels: usize,
    pub(crate) requests_per_second: Spread,
    /// CPU time of the target for each request.
    pub(crate) cpu: Spread,
    pub(crate) user: Spread,
    pub(crate) system: Spread,
    /// Of one processor, from 0 to 1 (more with several workers).
    pub(crate) cpu_share: Spread,
    pub(crate) p50: Spread,
    pub(crate) p90: Spread,
    pub(crate) p99: Spread,
    pub(crate) p999: Spread,
    /// Resident memory at the end, in bytes.
    pub(crate) resident: u64,
    /// CPU time of Redis for each request, if the target remembers there.
    pub(crate) store_cpu: Option<Spread>,
    /// Memory for each channel that was made known, in bytes: of Redis if it remembers there, else the target's resident one.
    pub(crate) bytes_per_channel: Option<f64>,
    /// CPU time of the generator and of the stub for each request.
    pub(crate) generator_cpu: Spread,
    pub(crate) stub_cpu: Spread,
    /// The generator's own delay in an open loop, 99th percentile.
    pub(crate) lateness_p99: Option<Spread>,
    pub(crate) ratios: Vec<Ratio>,
    /// Notes on the figures.
    pub(crate) notes: Vec<String>,
    /// Reasons why the figures are invalid.
    pub(crate) faults: Vec<String>,
    pub(crate) by_round: Vec<RoundReport>,
}

/// A lane beside another one, round by round.
#[derive(Debug, Serialize)]
pub(crate) struct Ratio {
    pub(crate) against: String,
    /// The other's CPU time ÷ this one's: above 1, this one is cheaper.
    pub(crate) cpu: Spread,
    /// This one's requests a second ÷ the other's.
    pub(crate) rate: Spread,
    /// This one's 99th percentile ÷ the other's: below 1, this one is quicker.
    pub(crate) p99: Spread,
    /// This one's median latency − the other's, and the same of the 99th percentile, in microseconds.
    pub(crate) added_p50: Spread,
    pub(crate) added_p99: Spread,
}

/// One round, as it was.
#[derive(Debug, Serialize)]
pub(crate) struct RoundReport {
    pub(crate) requests_per_second: f64,
    pub(crate) cpu: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Report {
    /// The report on all lanes of `mix`; each is compared with the lanes named `against`.
    pub(crate) fn new(arguments: &Arguments, mix: Mix, measured: &[Measured], against: &[String]) -> Self {
        let bases: Vec<&Measured> =
            against.iter().filter_map(|name| measured.iter().find(|base| base.lane.name == *name)).collect();
        Self {
            mix,
            rate: arguments.rate,
            tls: arguments.tls,
            rounds: arguments.rounds,
            seconds: arguments.duration.as_secs_f64(),
            pinned: !arguments.cpus()[0].is_empty(),
            lanes: measured.iter().map(|one| lane(one, &bases, mix, arguments.rate)).collect(),
        }
    }

    /// All reasons why figures are invalid, by lane.
    pub(crate) fn faults(&self) -> impl Iterator<Item = String> {
        self.lanes.iter().flat_map(|lane| {
            lane.faults.iter().map(|fault| format!("{} under {}: {fault}", lane.name, self.mix.name()))
        })
    }
}

fn rate(round: &Round) -> f64 {
    round.tally.completed as f64 / round.tally.seconds
}

/// Microseconds for each request.
fn each(seconds: f64, round: &Round) -> f64 {
    seconds * 1e6 / round.tally.completed.max(1) as f64
}

fn cpu(round: &Round) -> f64 {
    each(round.target.seconds(), round)
}

fn lane(measured: &Measured, bases: &[&Measured], mix: Mix, open: Option<f64>) -> LaneReport {
    let Measured { lane, part, version, rounds } = measured;
    let spread = |figure: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(figure));
    let cpu_share = spread(&|round| round.target.seconds() / round.tally.seconds);
    LaneReport {
        name: lane.name.clone(),
        version: version.clone(),
        part: *part,
        connections: lane.connections,
        channels: lane.rooms,
        requests_per_second: spread(&rate),
        cpu: spread(&cpu),
        user: spread(&|round| cpu(round) * round.target.user_share()),
        system: spread(&|round| cpu(round) * (1.0 - round.target.user_share())),
        cpu_share,
        p50: spread(&|round| round.tally.quantile(0.5)),
        p90: spread(&|round| round.tally.quantile(0.9)),
        p99: spread(&|round| round.tally.quantile(0.99)),
        p999: spread(&|round| round.tally.quantile(0.999)),
        resident: rounds.iter().map(|round| round.resident).max().unwrap_or_default(),
        store_cpu: rounds
            .iter()
            .all(|round| round.store.is_some())
            .then(|| spread(&|round| each(round.store.map_or(0.0, |store| store.seconds()), round))),
        bytes_per_channel: lane.memory.map(|[before, after]| after.saturating_sub(before) as f64 / lane.rooms as f64),
        generator_cpu: spread(&|round| each(round.generator.seconds(), round)),
        stub_cpu: spread(&|round| each(round.stub.seconds(), round)),
        lateness_p99: open.map(|_| spread(&|round| round.tally.lateness.value_at_quantile(0.99) as f64 / 1e3)),
        ratios: bases.iter().filter(|base| base.lane.name != lane.name).map(|base| ratio(rounds, base)).collect(),
        notes: notes(measured, cpu_share.median, open.is_none()),
        faults: faults(measured, mix),
        by_round: rounds
            .iter()
            .map(|round| RoundReport {
                requests_per_second: rate(round),
                cpu: cpu(round),
                p50: round.tally.quantile(0.5),
                p99: round.tally.quantile(0.99),
            })
            .collect(),
    }
}

fn ratio(rounds: &[Round], base: &Measured) -> Ratio {
    let paired = |figure: &dyn Fn(&Round, &Round) -> f64| {
        Spread::of(rounds.iter().zip(&base.rounds).map(|(own, other)| figure(own, other)))
    };
    Ratio {
        against: base.lane.name.clone(),
        cpu: paired(&|own, other| cpu(other) / cpu(own)),
        rate: paired(&|own, other| rate(own) / rate(other)),
        p99: paired(&|own, other| own.tally.quantile(0.99) / other.tally.quantile(0.99)),
        added_p50: paired(&|own, other| own.tally.quantile(0.5) - other.tally.quantile(0.5)),
        added_p99: paired(&|own, other| own.tally.quantile(0.99) - other.tally.quantile(0.99)),
    }
}

fn sum(rounds: &[Round], count: impl Fn(&Round) -> u64) -> u64 {
    rounds.iter().map(count).sum()
}

fn notes(measured: &Measured, cpu_share: f64, closed: bool) -> Vec<String> {
    let rounds = &measured.rounds;
    let mut notes = Vec::new();
    if closed && cpu_share < BUSY {
        notes.push(format!(
            "was not the bottleneck: it used {:.0} % of a processor, so its req/s says little",
            cpu_share * 100.0
        ));
    }
    let hurried = Spread::of(rounds.iter().map(|round| round.hurried)).median;
    if hurried > 0.02 {
        notes.push(format!("{:.0} % of its requests were signed within the round", hurried * 100.0));
    }
    let [reconnects, unsent, missed] = [
        sum(rounds, |round| round.tally.reconnects),
        sum(rounds, |round| round.tally.unsent),
        sum(rounds, |round| round.tally.missed),
    ];
    if reconnects > 0 {
        notes.push(format!("{reconnects} connections were opened anew"));
    }
    if unsent > 0 {
        notes
            .push(format!("the rate was not reached: {unsent} requests were due and found no free connection; they count with the time they waited"));
    }
    if missed > 0 {
        notes.push(format!("{missed} redundant announcements went on"));
    }
    notes
}

fn faults(measured: &Measured, mix: Mix) -> Vec<String> {
    let rounds = &measured.rounds;
    let mut faults = Vec::new();
    let [refused, lost, wrong, unsaid, missed, answers] = [
        sum(rounds, |round| round.tally.refused),
        sum(rounds, |round| round.tally.lost),
        sum(rounds, |round| round.tally.wrong),
        sum(rounds, |round| round.tally.unsaid),
        sum(rounds, |round| round.tally.missed),
        sum(rounds, |round| round.tally.answers),
    ];
    if let Some(first) = rounds.iter().find_map(|round| round.tally.first_refusal) {
        faults.push(format!("{refused} answers were not 200; the first was {first}"));
    }
    if lost > 0 {
        faults.push(format!("{lost} connections ended before the answer"));
    }
    if wrong > 0 {
        faults.push(format!("{wrong} requests with news were suppressed or reduced"));
    }
    if measured.part == Part::Gateway && mix.triggers() && unsaid > refused {
        faults.push(format!("{unsaid} answers have no usher-decision"));
    }
    if missed as f64 > answers as f64 * MISSED {
        faults.push(format!("{missed} of {answers} answers are to redundant announcements that went on: this is not the mix it is called"));
    }
    if let Some(round) = rounds.iter().find(|round| round.upstream[0] != round.upstream[1]) {
        faults.push(format!(
            "upstream saw {} requests in a round where {} went on",
            round.upstream[0], round.upstream[1]
        ));
    }
    faults
}
