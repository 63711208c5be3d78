//! `Date` in responses: upstream's own if it sent one, otherwise the current time, and never twice (RFC 9110 6.6.1).

use std::time::{SystemTime, UNIX_EPOCH};

use crate::harness::bodies::{announcement, message};
use crate::harness::websocket::{Far, handshake};
use crate::harness::{Fake, Request, Response, Step, Usher, message::Head};

const CHANNEL: &str = "h-room-1-chat";
const OLD: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

/// The one date of an answer.
#[track_caller]
fn date(head: &Head) -> String {
    let dates: Vec<String> = head
        .headers()
        .into_iter()
        .filter(|(name, _)| name.eq_ignore_ascii_case("date"))
        .map(|(_, value)| value)
        .collect();
    let [date] = &dates[..] else { panic!("{dates:?} in {:?}", head.lines()) };
    date.clone()
}

#[track_caller]
fn assert_now(head: &Head) {
    let told = httpdate::parse_http_date(&date(head)).unwrap().duration_since(UNIX_EPOCH).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    assert!(told.abs_diff(now).as_secs() <= 60, "{told:?}, now {now:?}");
}

#[test]
fn every_answer_has_one_date() {
    for fast_path in [true, false] {
        let (fake, far) = (Fake::start(), Far::start());
        let usher = Usher::start(&fake, |setup| {
            setup.server += &format!("fast_path = {fast_path}\n");
            setup.upstream += &far.key();
        });
        let mut client = usher.client();
        let forwarded = client.announce(CHANNEL, "A");
        forwarded.assert_forwarded();
        let suppressed = client.announce(CHANNEL, "A");
        suppressed.assert_suppressed();
        let mut call = |request: &Request| client.call(request);
        let unsigned = call(&Request::new("POST", "/apps/3/events", announcement(CHANNEL, "B").as_bytes()));
        assert_eq!(unsigned.status, 401);
        let passed = call(&Request::signed("GET", "/apps/3/channels", "", b""));
        assert_eq!(passed.status, 200);
        [&forwarded, &suppressed, &unsigned, &passed]
            .into_iter()
            .for_each(|answer: &Response| assert_now(&answer.head));
        // A head that hyper itself rejects.
        assert_now(&usher.client().send(b"GET\r\n\r\n").response().head);
        let mut guest = usher.client();
        guest.send(&handshake().bytes());
        let _switched = far.next().accept();
        assert_now(&guest.read_head().unwrap());
        assert_now(&usher.admin().call("GET", "/livez").head);
        assert_now(&usher.admin().call("GET", "/nowhere").head);
    }
}

#[test]
fn a_date_of_upstream_is_forwarded_unchanged() {
    for fast_path in [true, false] {
        let (fake, far) = (Fake::start(), Far::start());
        fake.otherwise(|_| Step::says(200, &format!("Date: {OLD}\r\n"), b"{}"));
        let usher = Usher::start(&fake, |setup| {
            setup.server += &format!("fast_path = {fast_path}\n");
            setup.upstream += &far.key();
        });
        let mut client = usher.client();
        for request in
            [Request::events(&message(CHANNEL, "hello")), Request::signed("GET", "/apps/3/channels", "", b"")]
        {
            let answer = client.call(&request);
            assert_eq!((answer.status, date(&answer.head).as_str()), (200, OLD));
        }
        let mut guest = usher.client();
        guest.send(&handshake().bytes());
        let _switched = far.next().accept_with(&format!("Date: {OLD}\r\n"));
        assert_eq!(date(&guest.read_head().unwrap()), OLD);
    }
}
