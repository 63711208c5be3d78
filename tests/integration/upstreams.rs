//! Release checks: the story and the rooms through the relay before servers for production that are not ours. `tests/upstreams` runs them.

use serde_json::json;

use crate::browsers::rooms::{self, Habits, USUAL};
use crate::browsers::{Hotel, story};
use crate::harness::backend::Library;
use crate::harness::guest::Device;
use crate::harness::{Pusher, sign};

/// The program that this variable names.
fn program(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is not set; see tests/upstreams"))
}

fn sockudo() -> Pusher {
    Pusher::grown(&program("SOCKUDO_BIN"), |command, port| {
        command.envs([("HOST", "127.0.0.1"), ("PORT", port)]);
        command.envs([("SOCKUDO_DEFAULT_APP_ID", sign::APP), ("SOCKUDO_DEFAULT_APP_KEY", sign::KEY), ("SOCKUDO_DEFAULT_APP_SECRET", sign::SECRET)]);
        command.envs([("RATE_LIMITER_ENABLED", "false"), ("METRICS_ENABLED", "false")]);
        // Off by default.
        command.envs([("SOCKUDO_DEFAULT_APP_ENABLE_CLIENT_MESSAGES", "true"), ("SOCKUDO_DEFAULT_APP_ENABLE_USER_AUTHENTICATION", "true")]);
    })
}

fn soketi_rs() -> Pusher {
    let apps = json!([{ "id": sign::APP, "key": sign::KEY, "secret": sign::SECRET }]).to_string();
    Pusher::grown(&program("SOKETI_RS_BIN"), |command, port| {
        command.envs([
            ("PUSHER_HOST", "127.0.0.1"),
            ("PUSHER_PORT", port),
            ("PUSHER_METRICS_ENABLED", "false"),
            ("PUSHER_APP_MANAGER_ARRAY_APPS", &apps),
        ]);
    })
}

/// The checks of one server, by the names of its tests. `answers_python`: whether it answers the GETs of the Python library, which sign the MD5 of an
/// empty body.
macro_rules! checks {
    ($server:ident, answers_python: $answers_python:expr, $habits:expr) => {
        mod $server {
            use super::*;

            #[test]
            #[ignore = "a release check: tests/upstreams"]
            fn story_with_python() {
                story::is_heard(&Hotel::before(super::$server(), Library::Python), Device::Node);
            }

            #[test]
            #[ignore = "a release check: tests/upstreams"]
            fn story_with_node_in_a_page() {
                story::is_heard(&Hotel::before(super::$server(), Library::Node), Device::Chromium);
            }

            #[test]
            #[ignore = "a release check: tests/upstreams"]
            fn private_rooms() {
                rooms::private_rooms_are_private(&Hotel::before(super::$server(), Library::Python), Device::Node);
            }

            #[test]
            #[ignore = "a release check: tests/upstreams"]
            fn presence() {
                rooms::presence_rooms_know_their_members(&Hotel::before(super::$server(), Library::Python), $habits);
            }

            #[test]
            #[ignore = "a release check: tests/upstreams"]
            fn questions() {
                for (library, method, with, answered) in [
                    (Library::Python, "channels_info", json!([]), $answers_python),
                    (Library::Node, "get", json!([{ "path": "/channels", "params": {} }]), true),
                ] {
                    let answer = Hotel::before(super::$server(), library).backend.try_call(method, with);
                    assert_eq!(answer.is_ok(), answered, "{answer:?}");
                }
            }
        }
    };
}

checks!(sockudo, answers_python: false, SOCKUDO);
checks!(soketi_rs, answers_python: true, Habits { adds_users_once: false, ..USUAL });

const SOCKUDO: Habits = Habits { knows_who: false, ..USUAL };

#[test]
#[ignore = "a release check: tests/upstreams"]
fn sockudo_client_events() {
    rooms::guests_talk(&Hotel::before(sockudo(), Library::Node), SOCKUDO);
}

#[test]
#[ignore = "a release check: tests/upstreams"]
fn sockudo_sign_in() {
    rooms::users_sign_in(&Hotel::before(sockudo(), Library::Node), "sendToUser");
}

#[test]
#[ignore = "a release check: tests/upstreams"]
fn sockudo_cache_channels() {
    rooms::cache_channels_remember(&Hotel::before(sockudo(), Library::Python));
}
