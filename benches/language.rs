//! The cost of the protocol's language alone: verifying and signing a request, reading a trigger as each official
//! library writes it, and taking the redundant part out of one.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use usher::pusher::{App, Body, Endpoint, Pattern, Query, Trigger, resign, sign_query, verify};

const PATH: &str = "/apps/1001/events";
const NOW: u64 = 1_700_000_000;

const DATA: &str = r#""{\"staff_name\":\"Anna Byrne\",\"staff_role\":\"Receptionist\",\"staff_profile_image\":\"https://media.sea-view-inn.example/staff/anna.jpg?at=1700000000&signature=0123456789abcdef0123456789abcdef\"}""#;

/// Bodies, each as its library orders and spaces it.
fn bodies() -> Vec<(&'static str, Endpoint, String)> {
    let (name, channel) = (r#""staff-assigned""#, r#""sea-view-inn-room-0000101-chat""#);
    let many: Vec<String> = (0..100).map(|room| format!("\"sea-view-inn-room-{room:07}-chat\"")).collect();
    let item = format!(r#"{{"name":{name},"data":{DATA},"channel":{channel}}}"#);
    let batch = vec![item; 10].join(",");
    let spaced = DATA.replace(r#"\":"#, r#"\": "#).replace(r#",\""#, r#", \""#);
    vec![
        ("node, channels", Endpoint::Events, format!(r#"{{"name":{name},"data":{DATA},"channels":[{channel}]}}"#)),
        (
            "python, channels",
            Endpoint::Events,
            format!(r#"{{"name": {name}, "channels": [{channel}], "data": {spaced}}}"#),
        ),
        ("php, channel", Endpoint::Events, format!(r#"{{"name":{name},"data":{DATA},"channel":{channel}}}"#)),
        ("ruby, channels", Endpoint::Events, format!(r#"{{"name":{name},"channels":[{channel}],"data":{DATA}}}"#)),
        ("go, channels", Endpoint::Events, format!(r#"{{"channels":[{channel}],"data":{DATA},"name":{name}}}"#)),
        (
            "node, 100 channels",
            Endpoint::Events,
            format!(r#"{{"name":{name},"data":{DATA},"channels":[{}]}}"#, many.join(",")),
        ),
        ("node, batch of 10", Endpoint::Batch, format!(r#"{{"batch":[{batch}]}}"#)),
    ]
}

fn app() -> App {
    App::new("1001", "usher-key", "usher-secret")
}

fn signatures(criterion: &mut Criterion) {
    let app = app();
    let mut group = criterion.benchmark_group("signature");
    for (name, _, body) in bodies() {
        let query = sign_query(&app, "POST", PATH, &[], Some(body.as_bytes()), NOW);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(BenchmarkId::new("verify", name), |bencher| {
            bencher.iter(|| {
                verify(black_box(&app), "POST", PATH, &Query::parse(black_box(&query)), black_box(body.as_bytes()), NOW)
                    .expect("it is right")
            });
        });
        // As in the fast path for requests that arrive together: eight here, to be compared with eight times the single
        // one.
        let pattern = Pattern::of("POST", PATH, &Query::parse(&query)).expect("libraries sign like that");
        group.bench_function(BenchmarkId::new("verify 8 together", name), |bencher| {
            bencher.iter(|| {
                for body in Body::digested::<8>([black_box(body.as_bytes()); 8]) {
                    let claim = pattern.claim(black_box(&query)).expect("it is its own");
                    pattern.verify(black_box(&app), &claim, body, NOW).expect("it is right");
                }
            });
        });
        group.bench_function(BenchmarkId::new("sign", name), |bencher| {
            bencher.iter(|| sign_query(black_box(&app), "POST", PATH, &[], Some(black_box(body.as_bytes())), NOW));
        });
    }
    group.finish();
}

fn parsing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("parse");
    for (name, endpoint, body) in bodies() {
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                let trigger = Trigger::parse(endpoint, black_box(body.as_bytes())).expect("it is exact");
                black_box(
                    trigger.events.iter().filter_map(|event| event.data(&mut [0; 1024]).map(|data| data.len())).count(),
                )
            });
        });
    }
    group.finish();
}

/// Half of the channels, or of the batch, is redundant.
fn reducing(criterion: &mut Criterion) {
    let app = app();
    let mut group = criterion.benchmark_group("reduce");
    for (name, endpoint, body) in bodies() {
        let trigger = Trigger::parse(endpoint, body.as_bytes()).expect("it is exact");
        let pairs: Vec<(usize, usize)> = trigger
            .events
            .iter()
            .enumerate()
            .flat_map(|(event, held)| (0..held.channels.len()).map(move |channel| (event, channel)))
            .collect();
        // A single pair cannot be reduced.
        if pairs.len() < 2 {
            continue;
        }
        let dropped: Vec<(usize, usize)> = pairs.into_iter().step_by(2).collect();
        let query = sign_query(&app, "POST", PATH, &[], Some(body.as_bytes()), NOW);
        group.bench_function(BenchmarkId::new("without", name), |bencher| {
            bencher.iter(|| trigger.without(black_box(&dropped)))
        });
        let reduced = trigger.without(&dropped);
        group.bench_function(BenchmarkId::new("resign", name), |bencher| {
            bencher.iter(|| {
                resign(black_box(app.first()), "POST", PATH, &Query::parse(black_box(&query)), black_box(&reduced))
            });
        });
    }
    group.finish();
}

criterion_group!(benches, signatures, parsing, reducing);
criterion_main!(benches);
