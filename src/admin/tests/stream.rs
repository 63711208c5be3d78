//! Triggers as server-sent events.

use tokio::time::Instant;

use super::*;

/// An open stream.
struct Following {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Following {
    async fn open(running: &Running, target: &str, headers: &[&str]) -> Self {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        let lines: String = headers.iter().map(|header| format!("{header}\r\n")).collect();
        stream.write_all(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n{lines}\r\n").as_bytes()).await.unwrap();
        let mut following = Self { stream, bytes: Vec::new() };
        let head = following.read_to("\r\n\r\n").await.unwrap();
        assert!(
            head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream") && head.contains("no-store"),
            "{head}"
        );
        following
    }

    /// The text up to and including `end`; `None` if the stream ends before it.
    async fn read_to(&mut self, end: &str) -> Option<String> {
        loop {
            if let Some(at) = self.bytes.windows(end.len()).position(|window| window == end.as_bytes()) {
                let text = self.bytes.drain(..at + end.len()).collect();
                return Some(String::from_utf8(text).unwrap());
            }
            if self.stream.read_buf(&mut self.bytes).await.unwrap() == 0 {
                return None;
            }
        }
    }

    /// The next event without chunk sizes; comments are skipped.
    async fn event(&mut self) -> Option<String> {
        loop {
            let text = self.read_to("\n\n").await?;
            let lines: Vec<&str> = text.split('\n').map(|line| line.trim_end_matches('\r')).collect();
            let lines = lines
                .into_iter()
                .filter(|line| line.contains(": ") && !line.starts_with(':'))
                .collect::<Vec<_>>()
                .join("\n");
            if !lines.is_empty() {
                return Some(lines);
            }
        }
    }

    /// The next trigger's event id, which the last one of a batch has, and its channel.
    async fn trigger(&mut self) -> (Option<String>, String) {
        let event = self.event().await.unwrap();
        let (id, data) = match event.strip_prefix("id: ").and_then(|rest| rest.split_once('\n')) {
            Some((id, data)) => (Some(id.to_owned()), data),
            None => (None, event.as_str()),
        };
        let data: Json = serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap();
        (id, data["events"][0]["channels"][0].as_str().unwrap().to_owned())
    }

    async fn channels(&mut self, count: usize) -> String {
        let mut channels = Vec::new();
        for _ in 0..count {
            channels.push(self.trigger().await.1);
        }
        channels.join(" ")
    }
}

fn first(running: &Running, channels: &[&str]) {
    channels.iter().for_each(|channel| running.decided(channel, Some("\"Anna\""), EventDecision::NothingKnown));
}

#[tokio::test]
async fn triggers_come_as_they_are_answered() {
    let running = Running::start().await;
    first(&running, &["before"]);
    let mut following = Following::open(&running, "/triggers/stream", &[]).await;
    let hello = following.event().await.unwrap();
    assert!(hello.starts_with("retry: 1000\nevent: hello\nid: "), "{hello}");
    assert!(hello.ends_with(".1.0.0\ndata: {\"kept\":1048576}"), "{hello}");
    first(&running, &["inn-1"]);
    let event = following.event().await.unwrap();
    let data: Json = serde_json::from_str(event.split_once("data: ").unwrap().1).unwrap();
    assert_eq!(data, running.get("/triggers?limit=1").await.json()["triggers"][0], "as /triggers shows it");
    first(&running, &["inn-2", "inn-3"]);
    assert_eq!(following.channels(2).await, "inn-2 inn-3");
}

#[tokio::test]
async fn a_stream_begins_with_the_requested_backlog_and_resumes() {
    let running = Running::start().await;
    first(&running, &["a", "b", "c"]);
    let mut following = Following::open(&running, "/triggers/stream?backlog=2", &[]).await;
    following.event().await;
    assert_eq!(following.trigger().await.1, "b");
    let id = following.trigger().await.0.unwrap();
    first(&running, &["d", "e"]);
    let mut again = Following::open(&running, "/triggers/stream?backlog=2", &[&format!("Last-Event-ID: {id}")]).await;
    again.event().await;
    assert_eq!(again.channels(2).await, "d e");
    // An id of another process, of a future trigger, or an invalid one is ignored.
    let process = id.split_once('.').unwrap().0;
    for odd in ["1.0.0.0", &format!("{process}.99.0.0"), &format!("{process}.1.0"), process, "x", ".1"] {
        let mut anew =
            Following::open(&running, "/triggers/stream?backlog=1", &[&format!("Last-Event-ID: {odd}")]).await;
        anew.event().await;
        assert_eq!(anew.trigger().await.1, "e", "{odd}");
    }
}

#[tokio::test]
async fn a_stream_is_filtered() {
    let running = Running::start().await;
    let mut following = Following::open(&running, "/triggers/stream?app=1001&channel=inn-", &[]).await;
    following.event().await;
    first(&running, &["ritz-1", "inn-1", "ritz-2", "inn-2"]);
    assert_eq!(following.channels(2).await, "inn-1 inn-2");
    for target in ["/triggers/stream?rule=x", "/triggers/stream?backlog=1001", "/triggers/stream?backlog=-1"] {
        assert_eq!(running.get(target).await.error(), (400, "bad_query".into()), "{target}");
    }
}

#[tokio::test]
async fn a_slow_client_receives_the_number_of_missed_triggers() {
    let running = Running::start().await;
    first(&running, &["a"]);
    let mut following = Following::open(&running, "/triggers/stream?backlog=1", &[]).await;
    following.event().await;
    let id = following.trigger().await.0.unwrap();
    drop(following);
    for n in 0..20_000 {
        running.decided(&n.to_string(), None, EventDecision::SameAssignment);
    }
    let mut again = Following::open(&running, "/triggers/stream", &[&format!("Last-Event-ID: {id}")]).await;
    again.event().await;
    let event = again.event().await.unwrap();
    let missed = event.strip_prefix("event: missed\ndata: ").unwrap();
    let missed = serde_json::from_str::<Json>(missed).unwrap()["missed"].as_u64().unwrap();
    assert!((1..20_000).contains(&missed), "{missed}");
    assert_eq!(again.channels(3).await, format!("{missed} {} {}", missed + 1, missed + 2));
    let listed = running.get("/triggers?limit=10000").await.json();
    assert_eq!(listed["missed"], missed + 1, "with the first one");
}

#[tokio::test]
async fn untrusted_text_cannot_make_events() {
    let running = Running::start().await;
    let mut following = Following::open(&running, "/triggers/stream", &[]).await;
    following.event().await;
    running.decided("x\n\ndata: evil", Some("{\"a\":\n\n\r\"b\"}"), EventDecision::NothingKnown);
    let event = following.event().await.unwrap();
    let data: Json = serde_json::from_str(event.split_once("\ndata: ").unwrap().1).unwrap();
    assert_eq!(data["events"][0]["channels"][0], "x\n\ndata: evil");
    assert_eq!(data["rules"][0]["assignment"]["identity"]["value"], serde_json::json!({ "a": "b" }));
    assert_eq!(event.lines().count(), 2, "{event}");
}

#[tokio::test]
async fn only_so_many_streams_are_open_at_once() {
    let running = Running::start().await;
    let mut open = Vec::new();
    for _ in 0..16 {
        open.push(Following::open(&running, "/triggers/stream", &[]).await);
    }
    assert_eq!(running.get("/triggers/stream").await.error(), (503, "too_many_streams".into()));
    assert_eq!(running.get("/livez").await.status, 200);
    drop(open.pop());
    // The task of a connection notices its end asynchronously.
    let deadline = Instant::now() + Duration::from_secs(20);
    while running.call("HEAD /triggers/stream", &[]).await.status != 200 {
        assert!(Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn silence_is_broken_and_no_stream_lasts_for_ever() {
    let running = Running::start().await;
    let mut following = Following::open(&running, "/triggers/stream", &[]).await;
    let began = Instant::now();
    following.event().await;
    following.read_to(": nothing new\n\n").await.unwrap();
    assert!(began.elapsed() <= Duration::from_secs(16), "{:?}", began.elapsed());
    assert_eq!(following.event().await, None);
    assert!(began.elapsed() < Duration::from_secs(300), "{:?}", began.elapsed());
    let rest = String::from_utf8_lossy(&following.bytes).into_owned();
    assert!(rest.ends_with("0\r\n\r\n"), "ended in order: {rest:?}");
}

#[tokio::test(start_paused = true)]
async fn streams_go_on_while_usher_drains_and_end_with_the_listener() {
    let running = Running::start().await;
    let mut following = Following::open(&running, "/triggers/stream", &[]).await;
    following.event().await;
    running.admin.drain.enter(Phase::Leaving);
    first(&running, &["while draining"]);
    assert_eq!(following.trigger().await.1, "while draining");
    let began = Instant::now();
    running.stop.enter(Phase::Draining);
    assert_eq!(following.event().await, None);
    assert_eq!(running.tasks.finish(Duration::from_secs(3600)).await, 0);
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}
