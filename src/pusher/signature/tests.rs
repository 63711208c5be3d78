//! The published vectors (`pusher-protocol.md` 8.1 to 8.6), every refusal (`threats.md` 2.4), and round trips.

use proptest::prelude::*;

use super::*;

const DOCS: (&str, &str) = ("278d425bdf160c739803", "7ad3773142a6692b25b8");
const GO: (&str, &str) = ("d41a439c438a100756f5", "4bf35003e819bb138249");
const V1_BODY: &str = r#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#;
const V1_QUERY: &str = "auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0&body_md5=ec365a775a4cd0599faeb73354201b6f\
                        &auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c";
const V1_TIME: u64 = 1_353_088_179;

fn app((key, secret): (&str, &str)) -> App {
    App::new("3", key, secret)
}

/// Whether the request is of `app`.
fn verify<'p>(
    app: &App,
    method: &str,
    path: impl Into<SignedPath<'p>>,
    query: &Query<'_>,
    body: &[u8],
    now: u64,
) -> Result<(), SignatureError> {
    super::verify(app, method, path, query, body, now).map(|_pair| ())
}

/// The query signed anew by the app's only pair.
fn resign<'p>(app: &App, method: &str, path: impl Into<SignedPath<'p>>, query: &Query<'_>, body: &[u8]) -> String {
    super::resign(app.first(), method, path, query, body)
}

/// A query of the given parameters, authentication and signature, in this order.
fn query(key: &str, timestamp: u64, parameters: &str, signature: &str) -> String {
    let joint = if parameters.is_empty() { "" } else { "&" };
    format!("{parameters}{joint}auth_key={key}&auth_timestamp={timestamp}&auth_version=1.0&auth_signature={signature}")
}

/// Verifies V1 with another query.
fn v1(query: &str) -> Result<(), SignatureError> {
    verify(&app(DOCS), "POST", "/apps/3/events", &Query::parse(query), V1_BODY.as_bytes(), V1_TIME)
}

/// Signs a pair list in any order.
fn sign(credentials: (&str, &str), method: &str, path: &str, raw: &str) -> String {
    signature(app(credentials).first(), method, path, &Query::parse(raw))
}

/// Each pair of an app verifies what it signed, and only that; what verifies names the pair that signs anew.
#[test]
fn the_pair_that_the_key_names_verifies_and_signs_anew() {
    let both = app(DOCS).with_pairs(vec![KeyPair::new(GO.0, GO.1)]);
    let (path, body, smaller) = ("/apps/3/events", b"{\"a\":1}", b"{}");
    for (own, other) in [(DOCS, GO), (GO, DOCS)] {
        let query = sign_query(&app(own), "POST", path, &[], Some(body), V1_TIME);
        let pair = super::verify(&both, "POST", path, &Query::parse(&query), body, V1_TIME).unwrap();
        assert_eq!(pair.key(), own.0);
        let resigned = super::resign(pair, "POST", path, &Query::parse(&query), smaller);
        assert_eq!(verify(&app(own), "POST", path, &Query::parse(&resigned), smaller, V1_TIME), Ok(()));
        let unknown = Err(SignatureError::UnknownKey { app: "3".into(), key: own.0.into() });
        assert_eq!(verify(&app(other), "POST", path, &Query::parse(&query), body, V1_TIME), unknown);
        let mixed = sign_query(&app((own.0, other.1)), "POST", path, &[], Some(body), V1_TIME);
        assert_eq!(verify(&both, "POST", path, &Query::parse(&mixed), body, V1_TIME), Err(SignatureError::Mismatch));
    }
}

/// 8.1.
#[test]
fn vector_of_the_documentation() {
    assert_eq!(v1(V1_QUERY), Ok(()));
    let message = signed_text("POST", "/apps/3/events", &Query::parse(V1_QUERY));
    let expected = "POST\n/apps/3/events\nauth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0&body_md5=ec365a775a4cd0599faeb73354201b6f";
    assert_eq!(message, expected);
}

/// 8.2.
#[test]
fn vectors_of_the_go_library() {
    let session = "/apps/102015/channels/presence-session-d41a439c438a100756f5-4bf35003e819bb138249";
    for (path, timestamp, parameters, signature) in [
        (
            "/apps/102015/channels",
            1_427_034_994,
            "filter_by_prefix=presence-&info=user_count",
            "4d8a02edcc8a758b0162cd6da690a9a45fb8ae326a276dca1e06a0bc42796c11",
        ),
        (
            "/apps/102015/channels",
            1_427_036_577,
            "filter_by_prefix=presence-",
            "b540383af4582af5fbb5df7be5472d54bd0838c9c2021c7743062568839e6f97",
        ),
        (
            "/apps/102015/channels",
            1_427_036_787,
            "",
            "df89248f87f6e6d028925e0b04d60f316527a865992ace6936afa91281d8bef0",
        ),
        (
            &format!("{session}-ROpCFmgFhXY"),
            1_427_053_326,
            "info=user_count,subscription_count",
            "f93ceb31f396aef336226efe512aaf339bd5e39c7c2c04b81cc8681dc16ee785",
        ),
        (
            &format!("{session}-ROpCFmgFhXY"),
            1_427_053_326,
            "info=user_count%2Csubscription_count",
            "f93ceb31f396aef336226efe512aaf339bd5e39c7c2c04b81cc8681dc16ee785",
        ),
        (
            &format!("{session}-nYJLy67qh52/users"),
            1_427_053_709,
            "",
            "207feaf4e8efeb24e5f148011704251bf90e2059a5f97a3eb52d06178b11feca",
        ),
    ] {
        let raw = query(GO.0, timestamp, parameters, signature);
        assert_eq!(verify(&app(GO), "GET", path, &Query::parse(&raw), b"", timestamp), Ok(()), "{path} {parameters}");
    }
}

/// 8.3: the Python library sends and signs the digest of nothing on GET too.
#[test]
fn vectors_of_the_python_library() {
    let credentials = app(("key", "secret"));
    for (method, parameters, body, signature) in [
        (
            "GET",
            "foo=bar&body_md5=d41d8cd98f00b204e9800998ecf8427e",
            "",
            "5c49f04a95eedc9028b1e0e8de7c2c7ad63504a0e3b5c145d2accaef6c14dbac",
        ),
        (
            "POST",
            "body_md5=94232c5b8fc9272f6f73a1e36eb68fcf",
            r#"{"foo": "bar"}"#,
            "e05fa4cafee86311746ee3981d5581a5e4e87c27bbab0aeb1059e2df5c90258b",
        ),
    ] {
        let raw = query("key", 1000, parameters, signature);
        assert_eq!(
            verify(&credentials, method, "/some/obscure/api", &Query::parse(&raw), body.as_bytes(), 1000),
            Ok(()),
            "{method}"
        );
    }
}

/// 8.4: keys are lower-cased before they are sorted; values are signed decoded.
#[test]
fn vectors_of_the_reference_library() {
    let credentials = app(("key", "secret"));
    for (parameters, signature) in [
        ("query=params&go=here", "3b237953a5ba6619875cbb2a2d43e8da9ef5824e8a2c689f6284ac85bc1ea0db"),
        ("Query=params&GO=here", "3b237953a5ba6619875cbb2a2d43e8da9ef5824e8a2c689f6284ac85bc1ea0db"),
        ("query=params", "da078fcedd72941b6c873caa40d0d6b2000ebfc700cee802b128dd20f72e74e9"),
    ] {
        let raw = query("key", 1234, parameters, signature);
        assert_eq!(verify(&credentials, "POST", "/some/path", &Query::parse(&raw), b"", 1234), Ok(()), "{parameters}");
    }
    for (raw, pairs) in [
        ("things[]=thing1&things%5B%5D=thing2", "things[]=thing1&things[]=thing2"),
        ("key%3B=value%40", "key;=value@"),
        ("key", "key="),
    ] {
        let message = signed_text("POST", "/p", &Query::parse(raw));
        assert_eq!(message, format!("POST\n/p\n{pairs}"));
    }
}

/// 8.5.
#[test]
fn vectors_of_the_node_library() {
    for (parameters, body, signature) in [
        (
            "body_md5=165d5e6d7ca8f73b3853ce45addf42fc",
            "example body",
            "a650196dc427ebe837226f8565ca9232198c6d1b9455eaa72374a9dc0b620e7b",
        ),
        ("foo=bar&baz=123454321", "", "d8bdbd31911fb7400a14fbd36fd7de053494725b64400ae5856deafe304b34a9"),
    ] {
        let raw = query("f00d", 1_234_567_890, parameters, signature);
        assert_eq!(
            verify(&app(("f00d", "tofu")), "GET", "/event", &Query::parse(&raw), body.as_bytes(), 1_234_567_890),
            Ok(())
        );
    }
    for (body, md5) in [
        (r#"{"name":"my_event","data":"{\"some\":\"data \"}","channels":["one"]}"#, "e95168baf497b2e54b2c6cadd41a6a3f"),
        (r#"{"name":"test_event","data":"test string","channels":["test"]}"#, "f358a562d00e1bfe1859132d932cd706"),
        (
            r#"{"batch":[{"channel":"integration","name":"event","data":"test"},{"channel":"integration2","name":"event2","data":"test2"}]}"#,
            "fd5ab5fd40237f27555c4d2564470fdd",
        ),
        ("{}", "99914b932bd37a50b983c5e7c90ae93b"),
        ("", "d41d8cd98f00b204e9800998ecf8427e"),
        ("Hello!", "952d2c56d0485958336747bcdd98590d"),
    ] {
        assert_eq!(md5_hex(body.as_bytes()), md5, "{body}");
    }
}

/// 8.6: the same event as each library serialises it: body, MD5, signature.
#[test]
fn vectors_of_every_librarys_serialisation() {
    for vector in include_str!("vectors_8_6.txt").lines() {
        let [path, body, md5, signature] = vector.split('\t').collect::<Vec<_>>()[..] else { panic!("{vector}") };
        let raw = query(DOCS.0, V1_TIME, &format!("body_md5={md5}"), signature);
        assert_eq!(verify(&app(DOCS), "POST", path, &Query::parse(&raw), body.as_bytes(), V1_TIME), Ok(()), "{vector}");
    }
    let parameters = "filter_by_prefix=presence-&info=user_count";
    for (parameters, expected) in [
        (parameters.to_owned(), "16819168891cb5dfd72b5c7a5d3d602605b26c6ba1930033b5e2eeeb65010291"),
        (
            format!("{parameters}&body_md5=d41d8cd98f00b204e9800998ecf8427e"),
            "f3f17c61ae491cc9085db68b22076e9b772e3bcb301659d655153ee3f9782aba",
        ),
    ] {
        let raw = query(DOCS.0, V1_TIME, &parameters, expected);
        assert_eq!(verify(&app(DOCS), "GET", "/apps/3/channels", &Query::parse(&raw), b"", V1_TIME), Ok(()));
    }
}

/// AUTH-04: order, case of keys and encoding on the wire do not matter.
#[test]
fn the_wire_form_of_the_query_does_not_matter() {
    let mut reversed: Vec<&str> = V1_QUERY.split('&').collect();
    reversed.reverse();
    assert_eq!(v1(&reversed.join("&")), Ok(()));
    assert_eq!(v1(&V1_QUERY.replace("auth_key", "Auth_Key")), Ok(()));
    assert_eq!(v1(&V1_QUERY.replace("auth_key", "auth%5Fkey")), Ok(()));
    assert_eq!(v1(&V1_QUERY.replace("1.0", "1%2e0")), Ok(()));
    for (one, other) in [("a=%26b", "%61=%26b"), ("a", "a="), ("a=+", "a=%20")] {
        assert_eq!(sign(DOCS, "GET", "/p", one), sign(DOCS, "GET", "/p", other), "{one}");
    }
    assert_ne!(sign(DOCS, "GET", "/p", "a=+"), sign(DOCS, "GET", "/p", "a=%2B"));
}

/// Each refusal, by what is wrong with the query.
#[test]
fn refusals_are_precise() {
    use SignatureError as E;
    let signature = V1_QUERY.rsplit('=').next().unwrap();
    for (from, to, expected) in [
        ("auth_key=", "other=", E::MissingKey),
        ("auth_key=", "auth_key=x&auth_key=", E::Repeated { parameter: "auth_key" }),
        ("auth_version=1.0", "auth_version=1.0&auth_version=1.0", E::Repeated { parameter: "auth_version" }),
        ("auth_version=1.0", "auth_version=1.0&AUTH_TIMESTAMP=1", E::Repeated { parameter: "auth_timestamp" }),
        ("auth_version=1.0", "auth_version=1.0&body_md5=", E::Repeated { parameter: "body_md5" }),
        ("auth_version=1.0", "auth_version=1.0&auth_signature=", E::Repeated { parameter: "auth_signature" }),
        ("auth_key=278d", "auth_key=378d", E::UnknownKey { app: "3".into(), key: "378d425bdf160c739803".into() }),
        ("auth_version=1.0", "x=1", E::MissingVersion),
        ("auth_version=1.0", "auth_version=2.0", E::UnsupportedVersion),
        ("auth_version=1.0", "auth_version=1", E::UnsupportedVersion),
        ("auth_timestamp=1353088179", "x=1", E::MissingTimestamp),
        ("body_md5=ec365a775a4cd0599faeb73354201b6f", "x=1", E::MissingBodyMd5),
        ("body_md5=ec365a", "body_md5=EC365A", E::MalformedBodyMd5),
        ("body_md5=ec365a", "body_md5=c365a", E::MalformedBodyMd5),
        ("body_md5=ec365a", "body_md5=fc365a", E::BodyMd5Mismatch),
        ("auth_signature=", "x=", E::MissingSignature),
        ("auth_signature=", "auth_signature[]=", E::MissingSignature),
        (signature, "", E::MalformedSignature),
        (signature, &signature[1..], E::MalformedSignature),
        (signature, &format!("{signature}0"), E::MalformedSignature),
        (signature, &format!("{signature}%00"), E::MalformedSignature),
        (signature, &signature.to_uppercase(), E::MalformedSignature),
        (signature, &signature.replace('d', "g"), E::MalformedSignature),
        (signature, &signature.replace('d', "e"), E::Mismatch),
        ("auth_version=1.0", "auth_version=1.0&unsigned=extra", E::Mismatch),
    ] {
        let changed = V1_QUERY.replacen(from, to, 1);
        assert_ne!(changed, V1_QUERY);
        assert_eq!(v1(&changed), Err(expected), "{changed}");
    }
}

/// AUTH-02: no digit of the signature or of the digest is left out of the comparison.
#[test]
fn every_digit_counts() {
    for (name, digits, expected) in
        [("auth_signature=", 64, SignatureError::Mismatch), ("body_md5=", 32, SignatureError::BodyMd5Mismatch)]
    {
        let start = V1_QUERY.find(name).unwrap() + name.len();
        for at in start..start + digits {
            let other = if &V1_QUERY[at..=at] == "0" { "1" } else { "0" };
            let changed = [&V1_QUERY[..at], other, &V1_QUERY[at + 1..]].concat();
            assert_eq!(v1(&changed), Err(expected.clone()), "{changed}");
        }
    }
}

/// AUTH-05, and what else is signed.
#[test]
fn another_request_does_not_verify() {
    let query = Query::parse(V1_QUERY);
    let with = |secret, method, path, body: &str| {
        verify(&app((DOCS.0, secret)), method, path, &query, body.as_bytes(), V1_TIME)
    };
    assert_eq!(with(DOCS.1, "POST", "/apps/3/events", V1_BODY), Ok(()));
    assert_eq!(
        with(DOCS.1, "POST", "/apps/3/events", &V1_BODY.replace("foo", "fox")),
        Err(SignatureError::BodyMd5Mismatch)
    );
    assert_eq!(with(DOCS.1, "POST", "/apps/3/events", ""), Err(SignatureError::BodyMd5Mismatch));
    assert_eq!(with(DOCS.1, "PUT", "/apps/3/events", V1_BODY), Err(SignatureError::Mismatch));
    assert_eq!(with(DOCS.1, "POST", "/prefix/apps/3/events", V1_BODY), Err(SignatureError::Mismatch));
    assert_eq!(with(DOCS.1, "POST", "/apps/3/event%73", V1_BODY), Err(SignatureError::Mismatch));
    assert_eq!(with("another", "POST", "/apps/3/events", V1_BODY), Err(SignatureError::Mismatch));
}

/// AUTH-06.
#[test]
fn timestamps_are_good_for_less_than_600_seconds() {
    let query = Query::parse(V1_QUERY);
    let at = |now| verify(&app(DOCS), "POST", "/apps/3/events", &query, V1_BODY.as_bytes(), now);
    assert_eq!(at(V1_TIME + 599), Ok(()));
    assert_eq!(at(V1_TIME - 599), Ok(()));
    assert_eq!(at(V1_TIME + 600), Err(SignatureError::TimestampTooOld { seconds: 600 }));
    assert_eq!(at(V1_TIME - 600), Err(SignatureError::TimestampTooNew { seconds: 600 }));
    assert_eq!(at(0), Err(SignatureError::TimestampTooNew { seconds: V1_TIME }));
    assert_eq!(at(u64::MAX), Err(SignatureError::TimestampTooOld { seconds: u64::MAX - V1_TIME }));
    for text in ["", "-1", "1e9", "+1", "%201", "1%20", "99999999999999999999", "1353088179.0", "0x50A6", "١٢"] {
        let changed = V1_QUERY.replace("1353088179", text);
        assert_eq!(v1(&changed), Err(SignatureError::MalformedTimestamp), "{text}");
    }
    assert_eq!(
        v1(&V1_QUERY.replace("1353088179", "1353088179000")),
        Err(SignatureError::TimestampTooNew { seconds: 1_351_735_090_821 })
    );
}

#[test]
fn messages_name_cause_and_cure_and_no_secret() {
    let errors = [
        v1("").unwrap_err(),
        v1(&V1_QUERY.replace("278d", "378d")).unwrap_err(),
        v1(&V1_QUERY.replace("1353088179", "1353087179")).unwrap_err(),
        v1(&V1_QUERY.replace("ec365a", "fc365a")).unwrap_err(),
        v1(&V1_QUERY.replace("da4548", "ea4548")).unwrap_err(),
    ];
    for (error, (code, words)) in errors.iter().zip([
        ("missing_auth_key", "drops the query"),
        ("unknown_auth_key", "not the key of app 3"),
        ("auth_timestamp_too_old", "1000 s behind the gateway's clock"),
        ("body_md5_mismatch", "changed the body"),
        ("auth_signature_mismatch", "the query or the path"),
    ]) {
        let text = error.to_string();
        assert_eq!(error.code(), code);
        assert!(text.contains(words), "{text}");
        for secret in [DOCS.1, "da4548", "ea4548", "POST", "378d", "ec365a", "fc365a"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
}

#[test]
fn a_part_of_the_path_may_be_unsigned_and_is_not_signed_anew_then() {
    let (app, whole, body, smaller) = (app(DOCS), "/ws/apps/3/events", b"{\"a\":1}", b"{}");
    for (signed, other) in [("/apps/3/events", whole), (whole, "/apps/3/events")] {
        let query = sign_query(&app, "POST", signed, &[], Some(body), V1_TIME);
        let path = SignedPath::behind(3, whole);
        assert_eq!(verify(&app, "POST", path, &Query::parse(&query), body, V1_TIME), Ok(()), "{signed}");
        let resigned = resign(&app, "POST", path, &Query::parse(&query), smaller);
        let verified = |path: &str| verify(&app, "POST", path, &Query::parse(&resigned), smaller, V1_TIME);
        assert_eq!((verified(signed), verified(other)), (Ok(()), Err(SignatureError::Mismatch)), "{signed}");
    }
}

#[test]
fn a_resigned_query_differs_only_where_it_must() {
    let smaller = br#"{"name":"foo"}"#;
    let scattered =
        V1_QUERY.replace("body_md5=", "Body%5Fmd5=").replace("auth_version=1.0", "&auth_version=1%2E0&x=+%2c&");
    let scattered_signature = sign(DOCS, "POST", "/apps/3/events", &scattered);
    let scattered =
        scattered.replace("da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c", &scattered_signature);
    assert_eq!(v1(&scattered), Ok(()));
    let resigned = resign(&app(DOCS), "POST", "/apps/3/events", &Query::parse(&scattered), smaller);
    assert_eq!(verify(&app(DOCS), "POST", "/apps/3/events", &Query::parse(&resigned), smaller, V1_TIME), Ok(()));
    let new_signature = Query::parse(&resigned).only("auth_signature").unwrap().to_owned();
    assert_ne!(new_signature, scattered_signature);
    let undone = resigned
        .replace(&new_signature, &scattered_signature)
        .replace(&md5_hex(smaller), "ec365a775a4cd0599faeb73354201b6f");
    assert_eq!(undone, scattered);
    // the same body again gives the same query again
    assert_eq!(resign(&app(DOCS), "POST", "/apps/3/events", &Query::parse(V1_QUERY), V1_BODY.as_bytes()), V1_QUERY);
}

#[test]
fn a_signed_query_without_a_body_has_no_digest() {
    let raw = sign_query(
        &app(GO),
        "GET",
        "/apps/102015/channels",
        &[("filter_by_prefix", "presence-"), ("info", "user_count")],
        None,
        1_427_034_994,
    );
    assert_eq!(Query::parse(&raw).only("body_md5"), None);
    assert_eq!(
        Query::parse(&raw).only("auth_signature"),
        Some("4d8a02edcc8a758b0162cd6da690a9a45fb8ae326a276dca1e06a0bc42796c11")
    );
}

proptest! {
    #[test]
    fn what_is_signed_here_verifies_here(
        secret in any::<String>(), body in any::<Vec<u8>>(), other in any::<Vec<u8>>(), now in any::<u32>(), value in any::<String>(),
        key in "[a-zA-Z\\[\\]é%&= ]{1,8}",
    ) {
        let app = App::new("1", "k&=é", &secret);
        let (now, parameters) = (u64::from(now), [(key.as_str(), value.as_str())]);
        let raw = sign_query(&app, "POST", "/apps/1/events", &parameters, Some(&body), now);
        prop_assert_eq!(verify(&app, "POST", "/apps/1/events", &Query::parse(&raw), &body, now), Ok(()));
        let raw = resign(&app, "POST", "/apps/1/events", &Query::parse(&raw), &other);
        prop_assert_eq!(verify(&app, "POST", "/apps/1/events", &Query::parse(&raw), &other, now), Ok(()));
    }

    #[test]
    fn nothing_random_verifies(raw in "([aA]uth_(key|timestamp|version|signature)|body_md5|%|=|&|1|\\PC){0,12}", body in any::<Vec<u8>>(), now in any::<u64>()) {
        prop_assert!(verify(&app(DOCS), "POST", "/apps/3/events", &Query::parse(&raw), &body, now).is_err());
    }
}
