//! A real `usher` process with a configuration of its own.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::Value;

use super::admin::{Admin, TOKEN};
use super::{Client, Fake, Monitor, cli, shared, sign};

/// The name of the configuration file.
const FILE: &str = "usher.toml";

/// The configuration of a test, as TOML by section. Starts with short-lived defaults that suit every test.
#[derive(Debug, Clone)]
pub struct Setup {
    pub server: String,
    pub admin: String,
    pub upstream: String,
    /// `upstream.timeout`; long enough by default that a busy machine does not reach it.
    pub timeout: &'static str,
    pub limits: String,
    /// `limits.max_wait`; as long.
    pub max_wait: &'static str,
    pub assignments: String,
    /// `assignments.doubt_period`.
    pub doubt_period: &'static str,
    /// `assignments.start_doubt`; none by default: each test starts a new upstream, without earlier requests.
    pub start_doubt: &'static str,
    /// `log.level`.
    pub level: &'static str,
    /// Tables below the one app, e.g. its `[[apps.webhooks]]`.
    pub apps: String,
    /// More keys of the one rule.
    pub rule: String,
    /// Whole tables at the end, e.g. another `[[apps]]`.
    pub more: String,
}

impl Setup {
    /// With `fake` as upstream: one app (pusher-protocol.md 8.1) and a rule like that of config/usher.toml.
    pub fn before(fake: &Fake) -> Self {
        Self::before_url(&format!("http://{}", fake.address()))
    }

    /// The same before any `upstream.url`: another server, or "local".
    pub fn before_url(url: &str) -> Self {
        Self {
            server: "listen = \"127.0.0.1:0\"\nworkers = 2\ndrain_period = \"10s\"\n".to_owned(),
            admin: format!("listen = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n"),
            upstream: format!("url = \"{url}\"\nconnect_timeout = \"10s\"\n"),
            timeout: "15s",
            limits: String::new(),
            max_wait: "15s",
            assignments: String::new(),
            doubt_period: "30s",
            start_doubt: "0s",
            level: "info",
            apps: String::new(),
            rule: String::new(),
            more: String::new(),
        }
    }

    /// The whole file.
    pub fn toml(&self) -> String {
        let Self {
            server,
            admin,
            upstream,
            timeout,
            limits,
            max_wait,
            assignments,
            doubt_period,
            start_doubt,
            level,
            apps,
            rule,
            more,
        } = self;
        let is_local = upstream.contains("url = \"local\"");
        let cluster = if is_local || more.contains("[cluster]") { String::new() } else { shared::section() };
        let app = format!("id = \"{}\"\nkey = \"{}\"\nsecret = \"{}\"\n", sign::APP, sign::KEY, sign::SECRET);
        let watched = "name = \"staff-assigned\"\nevent = \"staff-assigned\"\nchannel = \"{hotelSlug}-room-{roomNumber}-chat\"\n\
                       identity = [\"/staff_id\", \"/staff_name\"]\ncontext = [\"/conversation_id\"]\n";
        format!(
            "[server]\n{server}\n[admin]\n{admin}\n[upstream]\n{upstream}timeout = \"{timeout}\"\n\n[limits]\n{limits}max_wait = \"{max_wait}\"\n\n\
             [assignments]\n{assignments}doubt_period = \"{doubt_period}\"\nstart_doubt = \"{start_doubt}\"\n\n\
             [log]\nformat = \"json\"\nlevel = \"{level}\"\n{cluster}\n[[apps]]\n{app}{apps}\n[[rules]]\n{watched}{rule}\n{more}"
        )
    }
}

/// The signals that the tests send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    Term,
    Int,
    Hup,
    /// Kills it.
    Kill,
    /// Stops it until `Continue`.
    Stop,
    Continue,
}

#[derive(Debug, Default)]
struct Log {
    lines: Vec<String>,
    ended: bool,
}

/// A running usher. Killed when dropped.
#[derive(Debug)]
pub struct Usher {
    child: Child,
    log: Arc<Monitor<Log>>,
    gateway: SocketAddr,
    admin: SocketAddr,
    /// Of the configuration file, if it has one.
    directory: tempfile::TempDir,
}

/// A directory with this configuration, and the path of the file.
fn configured(toml: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join(FILE);
    std::fs::write(&config, toml).unwrap();
    (directory, config)
}

impl Usher {
    /// Starts `usher serve` with `fake` as upstream and the configuration changed by `adjust`, and waits until it
    /// listens.
    pub fn start(fake: &Fake, adjust: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::before(fake);
        adjust(&mut setup);
        Self::start_with(&setup.toml())
    }

    /// Starts it with this configuration.
    pub fn start_with(toml: &str) -> Self {
        Self::start_program(cli::program(), toml)
    }

    /// Starts it with this configuration, and with a soft and a hard limit of open files.
    pub fn start_limited(limits: (u64, u64), toml: &str) -> Self {
        Self::start_program(cli::limited(limits), toml)
    }

    /// Starts it with this configuration, after a shell script: see [`cli::scripted`].
    pub fn start_scripted(script: &str, has_mounts: bool, toml: &str) -> Self {
        Self::start_program(cli::scripted(script, has_mounts), toml)
    }

    /// Starts it with this configuration and kills it after that time, wherever it is then.
    pub fn start_and_kill(toml: &str, after: std::time::Duration) {
        let (_directory, config) = configured(toml);
        let mut command = cli::program();
        command.arg("serve").arg("--config").arg(config).env_clear();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn start_program(program: Command, toml: &str) -> Self {
        let (directory, config) = configured(toml);
        Self::launch(program, directory, &["--config", config.to_str().unwrap()], &[], "")
    }

    /// Starts it with these arguments and variables alone, and this on its standard input. Its logs must be JSON.
    pub fn serve(arguments: &[&str], variables: &[(&str, &str)], input: &str) -> Self {
        Self::launch(cli::program(), tempfile::tempdir().unwrap(), arguments, variables, input)
    }

    fn launch(
        mut command: Command,
        directory: tempfile::TempDir,
        arguments: &[&str],
        variables: &[(&str, &str)],
        input: &str,
    ) -> Self {
        command.arg("serve").args(arguments).env_clear().envs(variables.iter().copied());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // A configuration fits into a pipe's buffer.
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        Self::attend(child, directory)
    }

    /// Starts it with this configuration by a command whose standard input and output are set already.
    pub fn start_by(mut command: Command, toml: &str) -> Self {
        let (directory, config) = configured(toml);
        command.args(["serve", "--config"]).arg(config).stderr(Stdio::piped());
        Self::attend(command.spawn().unwrap(), directory)
    }

    /// Reads its log, and waits until it listens.
    pub fn attend(mut child: Child, directory: tempfile::TempDir) -> Self {
        let log = Arc::new(Monitor::<Log>::default());
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let seen = Arc::clone(&log);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                seen.change(|log| log.lines.push(line));
            }
            seen.change(|log| log.ended = true);
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut usher = Self { child, log, gateway: nowhere, admin: nowhere, directory };
        let listening = usher.wait_log(|event| message(event) == "listening");
        usher.gateway = address(&listening, "gateway");
        usher.admin = address(&listening, "admin");
        shared::settle(&usher.directory.path().join(FILE));
        usher
    }

    pub fn gateway(&self) -> SocketAddr {
        self.gateway
    }

    pub fn admin(&self) -> Admin {
        Admin(self.admin)
    }

    /// The peak resident memory, in bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// The numbers of its open files.
    pub fn files(&self) -> BTreeSet<u64> {
        let entries = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        entries.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect()
    }

    /// What the system says of one of its open files.
    pub fn file_information(&self, number: u64) -> String {
        std::fs::read_to_string(format!("/proc/{}/fdinfo/{number}", self.child.id())).unwrap()
    }

    /// Sets its soft limit of open files, as it runs.
    pub fn limit_files(&self, files: u64) {
        let process = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        let limit = |current| Rlimit { current: Some(current), maximum: Some(self.hard_limit()) };
        prlimit(process, Resource::Nofile, limit(files)).unwrap();
    }

    fn hard_limit(&self) -> u64 {
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", self.child.id())).unwrap();
        let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
        files.split_ascii_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// A new connection to the gateway.
    pub fn client(&self) -> Client {
        Client::connect(self.gateway)
    }

    /// Everything it has logged.
    pub fn logs(&self) -> String {
        self.log.lock().lines.join("\n")
    }

    /// Waits for a JSON event that `fits`, among those logged before as well.
    pub fn wait_log(&self, fits: impl Fn(&Value) -> bool) -> Value {
        self.wait_log_after(0, fits)
    }

    /// The same among the lines from number `from` on.
    pub fn wait_log_after(&self, from: usize, fits: impl Fn(&Value) -> bool) -> Value {
        let found = self.log.wait(|log| {
            let fitting = log
                .lines
                .iter()
                .skip(from)
                .filter_map(|line| serde_json::from_str(line).ok())
                .find(|event| fits(event));
            if fitting.is_none() && log.ended { Some(None) } else { fitting.map(Some) }
        });
        found.flatten().unwrap_or_else(|| panic!("the awaited event was not logged; logs:\n{}", self.logs()))
    }

    /// Waits until a reload was refused after the line number `from`; the faults, one a line: origin, key, message.
    pub fn wait_faults_after(&self, from: usize) -> String {
        let refused = |event: &Value| message(event).starts_with("the new configuration cannot be used");
        let summary = self.wait_log_after(from, refused);
        assert_eq!(summary["level"], "ERROR");
        let events: Vec<Value> = self.events().into_iter().skip(from).collect();
        let last = events.iter().position(refused).unwrap();
        let faults: Vec<&Value> = events[..last].iter().filter(|event| event["target"] == "usher::faults").collect();
        assert_eq!(field(&summary, "faults"), faults.len());
        let shown = |fault: &&Value| format!("{}: {}: {}", text(fault, "origin"), text(fault, "key"), message(fault));
        faults.iter().map(shown).collect::<Vec<_>>().join("\n")
    }

    /// Every line that it has logged, as JSON.
    pub fn events(&self) -> Vec<Value> {
        let parse = |line: &String| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        self.log.lock().lines.iter().map(parse).collect()
    }

    /// How many lines it has logged.
    pub fn log_lines(&self) -> usize {
        self.log.lock().lines.len()
    }

    pub fn signal(&self, signal: Signal) {
        let name = match signal {
            Signal::Term => "-TERM",
            Signal::Int => "-INT",
            Signal::Hup => "-HUP",
            Signal::Kill => "-KILL",
            Signal::Stop => "-STOP",
            Signal::Continue => "-CONT",
        };
        let status = Command::new("kill").arg(name).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success(), "kill {name} failed");
    }

    /// Writes another configuration file in the place of the old one; takes effect on SIGHUP.
    pub fn rewrite_config(&self, toml: &str) {
        std::fs::write(self.directory.path().join(FILE), toml).unwrap();
    }

    /// Takes this configuration by SIGHUP, and waits until it is taken.
    pub fn reload(&self, toml: &str) {
        let lines = self.log_lines();
        self.rewrite_config(toml);
        self.signal(Signal::Hup);
        self.wait_log_after(lines, |event| message(event) == "the configuration was reloaded");
    }

    /// Waits for its end and returns the exit code (-1 for a signal).
    pub fn wait_exit(&mut self) -> i32 {
        let ended = self.log.wait(|log| log.ended.then_some(()));
        assert!(ended.is_some(), "usher did not end; logs:\n{}", self.logs());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }
}

impl Drop for Usher {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
        if thread::panicking() {
            eprintln!("usher's log:\n{}", self.logs());
        }
    }
}

/// The message of a log event.
pub fn message(event: &Value) -> &str {
    event["fields"]["message"].as_str().or_else(|| event["message"].as_str()).unwrap_or_default()
}

/// A field of an event.
pub fn field<'a>(event: &'a Value, name: &str) -> &'a Value {
    let nested = &event["fields"][name];
    if nested.is_null() { &event[name] } else { nested }
}

/// A field of an event that is a text; empty if it is not there.
pub fn text<'a>(event: &'a Value, name: &str) -> &'a str {
    field(event, name).as_str().unwrap_or_default()
}

fn address(event: &Value, name: &str) -> SocketAddr {
    field(event, name)
        .as_str()
        .and_then(|text| text.parse().ok())
        .unwrap_or_else(|| panic!("no address {name} in {event}"))
}
