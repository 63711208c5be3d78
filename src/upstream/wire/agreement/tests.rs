//! Byte-string tables: answers on the left, what a connection makes of them on the right. Each is read whole, cut in
//! two at every byte, and broken off at every byte. There is no answer to `HEAD` among them: only triggers, which are
//! `POST`, are sent this way.

use httparse::Error;

use super::{Answers, MAX_BODY, Outcome, Whole, read};
use crate::upstream::MAX_ANSWER_HEAD;
use crate::upstream::framing::AnswerError;

/// A complete answer: its bytes, its status, its body, and whether the connection can be used again.
type Complete = (&'static str, u16, &'static str, bool);

fn whole(status: u16, body: &str) -> Whole {
    Whole { status, body: body.as_bytes().to_vec() }
}

#[track_caller]
fn expect(bytes: &[u8], (status, body, keeps): (u16, &str, bool)) {
    let shown = bytes[..bytes.len().min(200)].escape_ascii();
    let is_as_expected = |outcome: &Outcome| {
        outcome.result.as_ref().ok().and_then(Option::as_ref) == Some(&whole(status, body)) && outcome.keeps == keeps
    };
    let outcome = read([bytes]);
    assert!(is_as_expected(&outcome), "{shown}: {outcome:?}");
    for cut in 0..=bytes.len() {
        let outcome = read([&bytes[..cut], &bytes[cut..]]);
        assert!(is_as_expected(&outcome), "{shown} cut at {cut}: {outcome:?}");
    }
    assert!(Answers::new().check(bytes, 1));
}

#[test]
fn complete_answers_are_read_however_they_are_cut() {
    let answers: [Complete; 22] = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, "{}", true),
        // What follows is no part of the answer, and the next answer cannot be told from it (threats.md H1-18).
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}x", 200, "{}", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n\r\n", 200, "{}", false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, "", true),
        // HTTP/1.0 closes unless it says otherwise, and is not believed to say otherwise.
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, "{}", false),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}", 200, "{}", false),
        // The end of the connection is the end of the body (RFC 9112 6.3).
        ("HTTP/1.1 200 OK\r\n\r\n{}", 200, "{}", false),
        ("HTTP/1.1 200 OK\r\n\r\n", 200, "", false),
        // `Connection` is a list, in any case, over several lines (threats.md HDR-01).
        ("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", 200, "{}", false),
        ("HTTP/1.1 200 OK\r\nconnection: x , CLOSE\r\nContent-Length: 2\r\n\r\n{}", 200, "{}", false),
        ("HTTP/1.1 200 OK\r\nConnection: x\r\nConnection:close\r\nContent-Length: 2\r\n\r\n{}", 200, "{}", false),
        ("HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}", 200, "{}", true),
        ("HTTP/1.1 200 OK\r\nConnection: closed\r\nContent-Length: 2\r\n\r\n{}", 200, "{}", true),
        // Another header of this name is another header.
        ("HTTP/1.1 200 OK\r\nX-Connection: close\r\nContent-Length: 2\r\n\r\n{}", 200, "{}", true),
        // These statuses have no body, whatever is said of it (RFC 9112 6.3, threats.md H1-19).
        ("HTTP/1.1 204 No Content\r\n\r\n", 204, "", true),
        ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", 204, "", true),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, "", true),
        ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n", 204, "", true),
        // The chunks that it must not have are what follows the answer.
        ("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 204, "", false),
        // Interim answers are skipped, with whatever they say (RFC 9110 15.2).
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", 200, "{}", true),
        (
            "HTTP/1.1 103 Early Hints\r\nConnection: close\r\nContent-Length: 9\r\n\r\nHTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n",
            500,
            "",
            true,
        ),
        // One length, said three times.
        ("HTTP/1.1 200 OK\r\nContent-Length: 2, 02\r\nContent-Length:\t2 \r\n\r\n{}", 200, "{}", true),
    ];
    for (bytes, status, body, keeps) in answers {
        expect(bytes.as_bytes(), (status, body, keeps));
    }
}

#[test]
fn chunks_are_read_however_they_are_cut() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (body, expected, keeps) in [
        ("2\r\n{}\r\n0\r\n\r\n", "{}", true),
        ("0\r\n\r\n", "", true),
        ("1\r\n{\r\n1\r\n}\r\n0\r\n\r\n", "{}", true),
        // Either case, leading zeros.
        ("a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", true),
        ("0002\r\n{}\r\n0000\r\n\r\n", "{}", true),
        // Blanks behind a size, as old servers pad it; extensions of any text, which are dropped (RFC 9112 7.1.1).
        ("2 \t \r\n{}\r\n0 \r\n\r\n", "{}", true),
        ("2;a=b\r\n{}\r\n0;c=\"d;e\"\r\n\r\n", "{}", true),
        ("2 ; 9\r\n{}\r\n0;\r\n\r\n", "{}", true),
        // Trailers are dropped: they may not say what a header says (threats.md H1-09).
        ("2\r\n{}\r\n0\r\nContent-Length: 9\r\nTransfer-Encoding: x\r\n\r\n", "{}", true),
        ("2\r\n{}\r\n0\r\nX:\r\n\r\n", "{}", true),
        // A chunk's text may look like the end of all chunks.
        ("5\r\n0\r\n\r\n\r\n0\r\n\r\n", "0\r\n\r\n", true),
        ("2\r\n{}\r\n0\r\n\r\nx", "{}", false),
        ("2\r\n{}\r\n0\r\n\r\n\r\n", "{}", false),
    ] {
        expect([head, body].concat().as_bytes(), (200, expected, keeps));
    }
}

#[test]
fn an_answer_that_breaks_off_is_not_complete_at_any_byte() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: x\r\n\r\n{}",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\n{}\r\n1 \r\n \r\n0\r\nA: b\r\nC: d\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nA: b\r\n\r\n",
    ] {
        let answers = Answers::new();
        for end in 0..answer.len() {
            let outcome = read([&answer.as_bytes()[..end]]);
            // It is not refused either: what is missing may still come.
            assert_eq!(outcome.result, Ok(None), "{:?}", &answer[..end]);
            assert!(!answers.check(&answer.as_bytes()[..end], 3), "{:?}", &answer[..end]);
        }
        assert!(matches!(read([answer.as_bytes()]).result, Ok(Some(_))), "{answer:?}");
    }
    // Without a length, a head that is complete is enough: the end of the connection ends the body.
    let answer = b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n{}";
    for end in 0..answer.len() {
        let is_complete = matches!(read([&answer[..end]]).result, Ok(Some(_)));
        assert_eq!(is_complete, end >= answer.len() - 2, "{}", answer[..end].escape_ascii());
    }
}

/// Whether it is no HTTP, or an answer that cannot be passed on.
fn refused(bytes: &[u8]) -> Option<&'static str> {
    assert!(!Answers::new().check(bytes, 1), "{}", bytes.escape_ascii());
    match read([bytes]).result {
        Err(AnswerError::Malformed(_)) => Some("no HTTP"),
        Err(AnswerError::Unacceptable(_)) => Some("unfit"),
        Ok(Some(whole)) => panic!("{}: {whole:?}", bytes.escape_ascii()),
        Ok(None) => None,
    }
}

#[test]
fn what_could_be_framed_in_two_ways_is_refused() {
    for (head, why) in [
        // threats.md H1-19 and H1-03 to H1-06.
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3", "no HTTP"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2, 3", "no HTTP"),
        ("HTTP/1.1 200 OK\r\nContent-Length: +2", "no HTTP"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 0x2", "no HTTP"),
        ("HTTP/1.1 200 OK\r\nContent-Length:", "no HTTP"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616", "no HTTP"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked", "unfit"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked", "unfit"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "unfit"),
        ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked", "unfit"),
        // A body that it cannot have makes it no less contradictory.
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 1, 2", "no HTTP"),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x", "unfit"),
        ("HTTP/1.1 600 X\r\nContent-Length: 2", "unfit"),
        ("HTTP/1.1 099 X\r\nContent-Length: 2", "unfit"),
        // A line that is folded, has no colon, or has a blank before its colon (threats.md H1-12).
        ("HTTP/1.1 200 OK\r\nA: b\r\n c", "no HTTP"),
        ("HTTP/1.1 200 OK\r\nA", "no HTTP"),
        ("HTTP/1.1 200 OK\r\nContent-Length : 2", "no HTTP"),
        ("HTTP/1.1 200 OK\r\nA: b\0", "no HTTP"),
        ("HTTP/2 200 OK\r\nContent-Length: 2", "no HTTP"),
        ("ICY 200 OK\r\nContent-Length: 2", "no HTTP"),
        ("HTTP/1.1 +20 OK\r\nContent-Length: 2", "no HTTP"),
    ] {
        assert_eq!(refused(format!("{head}\r\n\r\n{{}}").as_bytes()), Some(why), "{head}");
    }
}

#[test]
fn chunks_that_could_be_read_in_two_ways_are_refused() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in [
        // threats.md H1-07 and H1-08.
        "\r\n{}\r\n0\r\n\r\n",
        "-2\r\n{}\r\n0\r\n\r\n",
        "+2\r\n{}\r\n0\r\n\r\n",
        "0x2\r\n{}\r\n0\r\n\r\n",
        " 2\r\n{}\r\n0\r\n\r\n",
        "2 3\r\n{}\r\n0\r\n\r\n",
        "2\n{}\r\n0\r\n\r\n",
        "2;a\rb\r\n{}\r\n0\r\n\r\n",
        "2;a\n{}\r\n0\r\n\r\n",
        "2\r\n{}x\r\n0\r\n\r\n",
        "1\r\n{}\r\n0\r\n\r\n",
        "3\r\n{}\r\n0\r\n\r\n",
        "2\r\n{}\n0\r\n\r\n",
        "2\r\n{}0\r\n\r\n",
        "2\r\n{}\r\n0\r\nA\r\n\r\n",
        "2\r\n{}\r\n0\r\n A: b\r\n\r\n",
        "2\r\n{}\r\n0\r\nA : b\r\n\r\n",
        "ffffffffffffffff\r\n{}\r\n0\r\n\r\n",
        "10000000000000000\r\n{}\r\n0\r\n\r\n",
    ] {
        assert_eq!(refused([head, body].concat().as_bytes()), Some("unfit"), "{body:?}");
    }
}

#[test]
fn trailers_that_end_before_their_last_line_are_refused() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n";
    for trailers in [
        "\n2\u{1d}\n{}\r\n0\r 4\r\nA: b\r\n\r\n",
        "A: b\n\r\n2\rx\n{}\r\n0\r\n\r\n",
        "A: b\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ] {
        let bytes = [head, trailers].concat();
        let answers = Answers::new();
        assert!(!answers.check(bytes.as_bytes(), 1), "{trailers:?}");
    }
}

#[test]
fn the_head_goes_on_without_what_belongs_to_the_hop() {
    let bytes = b"HTTP/1.1 202 Fine \xe9\r\nDATE: d\r\nConnection: X-Gone, keep-alive\r\nx-gone: 1\r\nA:b\r\na: \t c \r\n\
        Keep-Alive: timeout=5\r\nContent-Encoding: gzip\r\nUsher-Decision: forged\r\nTransfer-Encoding: chunked\r\nE:\r\n\r\n\
        0\r\n\r\n";
    let outcome = read([&bytes[..]]);
    assert_eq!(outcome.result, Ok(Some(whole(202, ""))));
    // A reason that is no ASCII is left out by the reader of heads. Values go on without the blanks around them.
    let expected = b"HTTP/1.1 202 \r\nDATE: d\r\nA: b\r\na: c\r\nContent-Encoding: gzip\r\nE: \r\n";
    assert_eq!(outcome.answer.head.escape_ascii().to_string(), expected.escape_ascii().to_string());
    assert!(outcome.answer.is_dated && outcome.answer.is_encoded && outcome.keeps);
    let plain = read([&b"HTTP/1.1 200 OK\r\nX-Date: d\r\nContent-Length: 0\r\n\r\n"[..]]);
    assert!(!plain.answer.is_dated && !plain.answer.is_encoded);
}

#[test]
fn bounds_are_kept_to_the_byte() {
    let head = |length: usize| {
        let (begin, end) = (&b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: "[..], &b"\r\n\r\n"[..]);
        [begin, &vec![b'x'; length - begin.len() - end.len()], end].concat()
    };
    assert_eq!(read([&*head(MAX_ANSWER_HEAD)]).result, Ok(Some(whole(200, ""))));
    let too_large = Err(AnswerError::Malformed(Error::TooManyHeaders));
    assert_eq!(read([&*head(MAX_ANSWER_HEAD + 1)]).result, too_large);
    // One that does not end is not waited for beyond the bound.
    assert_eq!(read([&head(MAX_ANSWER_HEAD + 9)[..MAX_ANSWER_HEAD - 1]]).result, Ok(None));
    assert_eq!(read([&head(MAX_ANSWER_HEAD + 9)[..MAX_ANSWER_HEAD]]).result, too_large);
    // A length is refused before a body of it is waited for.
    let declared = |length| format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
    assert_eq!(read([declared(MAX_BODY).as_bytes()]).result, Ok(None));
    assert!(read([declared(MAX_BODY + 1).as_bytes()]).result.is_err());
    // So is the size of a chunk, and that of all chunks together.
    let chunk = |size: usize| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{size:x}\r\n");
    assert_eq!(read([chunk(MAX_BODY).as_bytes()]).result, Ok(None));
    assert!(read([chunk(MAX_BODY + 1).as_bytes()]).result.is_err());
    let two = format!("{}{}\r\n{:x}\r\n", chunk(MAX_BODY / 2), "x".repeat(MAX_BODY / 2), MAX_BODY / 2 + 1);
    assert!(read([two.as_bytes()]).result.is_err());
}
