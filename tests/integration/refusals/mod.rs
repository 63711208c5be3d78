//! Responses with status 2xx that do not confirm the trigger: soketi refuses this way, and proxies may answer anything.
//! An announcement is known only after a confirming response; the caller receives every response unchanged.

mod answers;

use answers::{Answer, Says};

use crate::harness::bodies::{ANNOUNCEMENT, announcement, announcement_on, batch, item, staff};
use crate::harness::{Client, Fake, Gate, Request, Response, Step, Usher, eventually};

/// A path through usher, with a caller.
struct Lane {
    fake: Fake,
    usher: Usher,
    client: Client,
    name: String,
}

impl Lane {
    /// Both paths, one after the other: the fast path and the general HTTP server.
    fn both(run: impl Fn(Self)) {
        Self::both_with(&[], run);
    }

    /// The same with other times: `upstream.timeout` and `assignments.doubt_period`.
    fn both_with(times: &[(&'static str, &'static str)], run: impl Fn(Self)) {
        for fast_path in [true, false] {
            let fake = Fake::start();
            let usher = Usher::start(&fake, |setup| {
                setup.server += &format!("fast_path = {fast_path}\n");
                for (timeout, doubt_period) in times {
                    (setup.timeout, setup.doubt_period) = (timeout, doubt_period);
                }
            });
            let client = usher.client();
            run(Self { fake, usher, client, name: format!("fast_path = {fast_path}") });
        }
    }

    /// Sends a trigger that must be forwarded and answered with this response, and checks that the caller receives it
    /// unchanged. Returns the body that upstream received.
    #[track_caller]
    fn answered(&mut self, request: &Request, answer: &Answer, decision: &str) -> String {
        let told = format!("{}: {}", self.name, shown(answer));
        self.fake.script([answer.step.clone()]);
        let before = self.fake.count();
        let response = self.client.call(request);
        assert_eq!((response.status, response.decision().as_str()), (answer.status, decision), "{told}");
        assert!(response.body == answer.body, "{told}: the caller got {:?}", shown_bytes(&response.body));
        assert_eq!(self.fake.count(), before + 1, "{told}: sent once");
        self.fake.requests().swap_remove(before).text()
    }

    /// Sends an announcement that is answered with `{}`, by upstream or by usher.
    #[track_caller]
    fn announce(&mut self, channel: &str, name: &str) -> Response {
        self.call(&Request::events(&announcement(channel, name)))
    }

    #[track_caller]
    fn call(&mut self, request: &Request) -> Response {
        let response = self.client.call(request);
        assert_eq!((response.status, response.text().as_str()), (200, "{}"), "{}: {response:?}", self.name);
        response
    }

    /// Fails unless announcements of these names on the channel are dropped (`-`) or forwarded (`+`), in this order.
    #[track_caller]
    fn expect(&mut self, answer: &Answer, channel: &str, course: &str) {
        for step in course.split(' ') {
            let (name, sign) = step.split_at(step.len() - 1);
            let decision = self.announce(channel, name).decision();
            let expected = if sign == "+" { "forwarded" } else { "suppressed" };
            assert_eq!(decision, expected, "{}: {channel}: {name} of {course} after {}", self.name, shown(answer));
        }
    }
}

fn shown_bytes(body: &[u8]) -> String {
    let start: String = String::from_utf8_lossy(body).chars().take(200).collect();
    format!("{start:?} ({} bytes)", body.len())
}

fn shown(answer: &Answer) -> String {
    format!("{} {} says {:?}", answer.status, shown_bytes(&answer.body), answer.says)
}

/// The first announcement on a channel gets this response, and so does one that replaces A on another channel.
fn check_single(lane: &mut Lane, number: usize, answer: &Answer) {
    let (new, known) = (format!("new-room-{number}-chat"), format!("known-room-{number}-chat"));
    lane.answered(&Request::events(&announcement(&new, "B")), answer, "forwarded");
    lane.announce(&known, "A").assert_forwarded();
    lane.answered(&Request::events(&announcement(&known, "B")), answer, "forwarded");
    let (on_new, on_known) = match answer.says {
        Says::Accepted => ("B- B-", "B- A+ A-"),
        // The previous assignment is known again, and nothing is in doubt.
        Says::Refused => ("B+ B-", "A- B+ B-"),
        Says::Nothing => ("B+ B+", "A+ B+ B+ A+"),
        Says::NotAccepted => ("B+", "B+"),
    };
    lane.expect(answer, &new, on_new);
    lane.expect(answer, &known, on_known);
    let in_doubt = lane.usher.admin().assignment(&known).is_some_and(|entry| entry["in_doubt"] == true);
    match answer.says {
        Says::Accepted | Says::Refused => assert!(!in_doubt, "{}: {}", lane.name, shown(answer)),
        Says::Nothing => assert!(in_doubt, "{}: {}", lane.name, shown(answer)),
        Says::NotAccepted => {}
    }
}

#[test]
fn a_body_says_whether_an_announcement_was_accepted() {
    Lane::both(|mut lane| {
        for (number, answer) in answers::bodies().iter().enumerate() {
            check_single(&mut lane, number, answer);
        }
    });
}

#[test]
fn no_head_and_no_framing_says_it_for_the_body() {
    Lane::both(|mut lane| {
        for (number, answer) in answers::heads().iter().enumerate() {
            check_single(&mut lane, number, answer);
        }
    });
}

/// Whether or not so deep an object is parsed, the caller receives it, and usher continues to work.
#[test]
fn a_body_of_any_depth_is_passed_on() {
    Lane::both(|mut lane| {
        for (number, levels) in [100, 125, 126, 127, 128, 129, 1_000, 50_000].into_iter().enumerate() {
            let channel = format!("h-room-{number}-chat");
            let deep = Answer::ok(Says::Accepted, &answers::deep(levels, ""));
            lane.answered(&Request::events(&announcement(&channel, "B")), &deep, "forwarded");
            lane.announce(&channel, "B");
            lane.announce(&channel, "A").assert_forwarded();
        }
    });
}

/// A request that announces B on two channels on which A is known.
fn check_several(lane: &mut Lane, number: usize, answer: &Answer, request: impl Fn(&[&str; 2], &str) -> Request) {
    let (left, right) = (format!("left-room-{number}-chat"), format!("right-room-{number}-chat"));
    let channels = [left.as_str(), right.as_str()];
    lane.call(&request(&channels, "A")).assert_forwarded();
    let takes_over = request(&channels, "B");
    lane.answered(&takes_over, answer, "forwarded");
    match answer.says {
        Says::Accepted => {
            lane.call(&takes_over).assert_suppressed();
            lane.expect(answer, &left, "A+ A-");
            lane.expect(answer, &right, "B- A+");
        }
        // A part may have been applied: nothing is known, but nothing is in doubt either.
        Says::Refused | Says::NotAccepted => {
            lane.expect(answer, &left, "A+ A-");
            lane.expect(answer, &right, "B+ B-");
        }
        Says::Nothing => {
            lane.call(&takes_over).assert_forwarded();
            lane.expect(answer, &left, "A+ A+ B+");
            lane.expect(answer, &right, "B+ B+ A+");
        }
    }
}

#[test]
fn of_a_refused_trigger_for_several_channels_a_part_may_have_been_applied() {
    Lane::both(|mut lane| {
        for (number, answer) in answers::few().iter().enumerate() {
            check_several(&mut lane, number, answer, |channels, name| {
                Request::events(&announcement_on(channels, name))
            });
        }
    });
}

#[test]
fn of_a_refused_batch_a_part_may_have_been_applied() {
    Lane::both(|mut lane| {
        for (number, answer) in answers::few().iter().enumerate() {
            check_several(&mut lane, number, answer, batch_of);
        }
    });
}

fn batch_of<const N: usize>(channels: &[&str; N], name: &str) -> Request {
    let items: Vec<_> = channels.iter().map(|channel| item(ANNOUNCEMENT, channel, &staff(name))).collect();
    Request::batch(&batch(&items))
}

/// A request that announces B on a channel on which B is known and on one on which A is: one event for one channel is
/// forwarded.
fn check_reduced(lane: &mut Lane, number: usize, answer: &Answer, request: impl Fn(&[&str; 2]) -> Request) {
    let (done, open) = (format!("done-room-{number}-chat"), format!("open-room-{number}-chat"));
    lane.announce(&done, "B").assert_forwarded();
    lane.announce(&open, "A").assert_forwarded();
    let both = request(&[&done, &open]);
    let sent = lane.answered(&both, answer, "reduced");
    assert!(sent.contains(&open) && !sent.contains(&done), "{sent}");
    match answer.says {
        Says::Accepted => lane.call(&both).assert_suppressed(),
        Says::Refused | Says::NotAccepted => {
            lane.expect(answer, &open, "A-");
            assert_eq!(lane.call(&both).decision(), "reduced", "{}", shown(answer));
            lane.call(&both).assert_suppressed();
        }
        Says::Nothing => {
            for _ in 0..2 {
                assert_eq!(lane.call(&both).decision(), "reduced", "{}", shown(answer));
            }
            lane.expect(answer, &open, "A+ B+");
        }
    }
    // The dropped part is known as before.
    lane.expect(answer, &done, "B-");
}

#[test]
fn the_response_settles_a_reduced_trigger() {
    Lane::both(|mut lane| {
        for (number, answer) in answers::few().iter().enumerate() {
            check_reduced(&mut lane, number, answer, |channels| Request::events(&announcement_on(channels, "B")));
        }
    });
}

#[test]
fn the_response_settles_a_reduced_batch() {
    Lane::both(|mut lane| {
        for (number, answer) in answers::few().iter().enumerate() {
            check_reduced(&mut lane, number, answer, |channels| batch_of(channels, "B"));
        }
    });
}

#[test]
fn of_a_batch_that_keeps_several_items_a_part_may_have_been_applied() {
    Lane::both(|mut lane| {
        lane.call(&batch_of(&["done-room-1-chat"], "B")).assert_forwarded();
        lane.call(&batch_of(&["left-room-1-chat", "right-room-1-chat"], "A")).assert_forwarded();
        let refused = Answer::ok(Says::Refused, br#"{"error":"Too many requests.","code":429}"#);
        let sent = lane.answered(
            &batch_of(&["left-room-1-chat", "done-room-1-chat", "right-room-1-chat"], "B"),
            &refused,
            "reduced",
        );
        assert!(!sent.contains("done-room-1-chat"), "{sent}");
        lane.expect(&refused, "left-room-1-chat", "A+ A-");
        lane.expect(&refused, "right-room-1-chat", "B+ B-");
        lane.expect(&refused, "done-room-1-chat", "B-");
    });
}

#[test]
fn an_answer_that_says_nothing_leaves_a_doubt_that_ends() {
    Lane::both_with(&[("5s", "6s")], |mut lane| {
        let silent: Vec<_> = answers::few().into_iter().filter(|answer| answer.says == Says::Nothing).collect();
        let channel = |number: usize| format!("h-room-{number}-chat");
        for (number, answer) in silent.iter().enumerate() {
            lane.answered(&Request::events(&announcement(&channel(number), "B")), answer, "forwarded");
        }
        for (number, answer) in silent.iter().enumerate() {
            let admin = lane.usher.admin();
            eventually("the doubt ends", || {
                admin.assignment(&channel(number)).is_none_or(|entry| entry["in_doubt"] == false).then_some(())
            });
            lane.expect(answer, &channel(number), "B+ B-");
        }
    });
}

#[test]
fn a_waiting_announcement_is_forwarded_when_the_first_is_refused() {
    Lane::both(|mut lane| {
        let gate = Gate::new();
        let body = br#"{"error":"Too many requests.","code":429}"#;
        lane.fake.script([Step::hold(&gate, Step::says(200, "", body))]);
        let request = Request::events(&announcement("h-room-1-chat", "A"));
        lane.client.send(&request.bytes());
        lane.fake.next_request();
        let mut second = lane.usher.client();
        second.send(&request.bytes());
        gate.open();
        let first = lane.client.response();
        assert_eq!((first.decision().as_str(), first.body.as_slice()), ("forwarded", &body[..]), "{}", lane.name);
        second.response().assert_forwarded();
        lane.announce("h-room-1-chat", "A").assert_suppressed();
        assert_eq!(lane.fake.count(), 2, "{}", lane.name);
    });
}
