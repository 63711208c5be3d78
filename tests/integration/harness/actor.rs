//! A test process that executes commands and reports events: JSON lines in both directions
//! (tests/clients/node/lines.mjs).

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

use super::Monitor;

/// A file of the project.
pub fn project(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The folder of the client programs.
pub fn clients() -> PathBuf {
    project("tests/clients")
}

/// A program of tests/clients/node.
pub fn node(script: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(clients().join("node").join(script));
    command
}

/// A program of tests/clients/python.
pub fn python(script: &str) -> Command {
    let mut command = Command::new(clients().join("python/.venv/bin/python"));
    command.arg(clients().join("python").join(script));
    command
}

/// Runs a program to its end and returns its output.
pub fn output_of(command: &mut Command) -> String {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}; `tests/run` installs the client libraries"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[derive(Debug, Default)]
struct Heard {
    reports: Vec<Value>,
    complaints: String,
    ended: bool,
}

/// An error of the library: the text of its exception, and the HTTP status if there was one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    pub text: String,
    pub status: Option<u64>,
}

/// A running program. When dropped, its standard input is closed, and if it does not exit then, it is killed.
#[derive(Debug)]
pub struct Actor {
    name: String,
    child: Child,
    orders: Mutex<(Option<ChildStdin>, u64)>,
    heard: Arc<Monitor<Heard>>,
}

impl Actor {
    /// Starts it.
    pub fn start(mut command: Command) -> Self {
        let program = command.get_args().next().unwrap_or_else(|| command.get_program()).to_string_lossy().into_owned();
        let name = program.rsplit('/').next().unwrap_or_default().to_owned();
        let started = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child =
            started.unwrap_or_else(|error| panic!("{name}: {error}; `tests/run` installs the client libraries"));
        let heard = Arc::new(Monitor::<Heard>::default());
        let (stdout, mut stderr) = (BufReader::new(child.stdout.take().unwrap()), child.stderr.take().unwrap());
        let complaints = Arc::clone(&heard);
        let complaining = thread::spawn(move || {
            let mut text = Vec::new();
            drop(stderr.read_to_end(&mut text));
            complaints.change(|heard| heard.complaints = String::from_utf8_lossy(&text).into_owned());
        });
        let reports = Arc::clone(&heard);
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let report = serde_json::from_str(&line).unwrap_or_else(|_| json!({ "line": line }));
                reports.change(|heard| heard.reports.push(report));
            }
            drop(complaining.join());
            reports.change(|heard| heard.ended = true);
        });
        let orders = Mutex::new((child.stdin.take(), 0));
        Self { name, child, orders, heard }
    }

    /// Sends a command and waits for its value.
    #[track_caller]
    pub fn ask(&self, order: &str, with: Value) -> Value {
        self.try_ask(order, with).unwrap_or_else(|refused| panic!("{} {order}: {refused:?}", self.name))
    }

    /// The same if an error is possible.
    #[track_caller]
    pub fn try_ask(&self, order: &str, with: Value) -> Result<Value, Refused> {
        let number = {
            let (orders, last) = &mut *self.orders.lock().unwrap();
            *last += 1;
            let line = format!("{}\n", json!({ "number": last, "order": order, "with": with }));
            // A process that has exited cannot receive it; the wait below fails with its error output.
            drop(orders.as_mut().unwrap().write_all(line.as_bytes()));
            *last
        };
        let answer = self.wait(&format!("the answer to {order} {with}"), |report| report["number"] == number);
        match answer["error"].as_str() {
            Some(text) => Err(Refused {
                text: format!("{text} {}", answer["body"].as_str().unwrap_or_default()),
                status: answer["status"].as_u64(),
            }),
            None => Ok(answer["value"].clone()),
        }
    }

    /// Waits for a report that `fits`, among those made before as well.
    #[track_caller]
    pub fn wait(&self, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        self.wait_after(0, what, fits)
    }

    /// The same among the reports from number `from` on.
    #[track_caller]
    pub fn wait_after(&self, from: usize, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let found = self.heard.wait(|heard| {
            let fitting = heard.reports.iter().skip(from).find(|report| fits(report)).cloned();
            if fitting.is_none() && heard.ended { Some(None) } else { fitting.map(Some) }
        });
        found.flatten().unwrap_or_else(|| {
            let heard = self.heard.lock();
            let reports: String = heard.reports.iter().map(|report| format!("{report}\n")).collect();
            let missing =
                if heard.complaints.contains("ERR_MODULE_NOT_FOUND") || heard.complaints.contains("No module named") {
                    "`tests/run` installs the client libraries\n"
                } else {
                    ""
                };
            panic!("{}: in vain: {what}\n{missing}{}{reports}", self.name, heard.complaints)
        })
    }

    /// Everything it has reported.
    pub fn reports(&self) -> Vec<Value> {
        self.heard.lock().reports.clone()
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        self.orders.lock().unwrap_or_else(std::sync::PoisonError::into_inner).0 = None;
        if self.heard.wait(|heard| heard.ended.then_some(())).is_none() {
            drop(self.child.kill());
        }
        drop(self.child.wait());
    }
}
