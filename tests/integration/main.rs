//! Integration tests: the real `usher` process between a raw client and a fake upstream that records raw bytes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(unreachable_pub, reason = "one binary: nothing in it is public")]

mod abreast;
mod activation;
mod autobahn;
mod base;
mod broker;
mod browsers;
mod certificates;
mod check;
mod client_certificates;
mod clients;
mod command;
mod corpus;
mod dates;
mod deployment;
mod descriptors;
mod doctor;
mod documents;
mod early;
mod effective;
mod encrypted;
mod exempt;
mod greeting;
mod harness;
mod histories;
mod kept;
mod life;
mod limits;
mod log_lines;
mod model;
mod observing;
mod operator;
mod outcomes;
mod racing;
mod rates;
mod readme;
mod reasons;
mod recipes;
mod refusals;
mod rehearsal;
mod relay;
mod reload;
mod reloading;
mod report;
mod restarting;
mod restarts;
mod rotation;
mod silences;
mod story;
mod subscribing;
mod tail;
mod tidy;
mod upstreams;
