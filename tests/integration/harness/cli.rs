//! The `usher` command as a person or a script runs it.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use serde_json::Value;

use super::Monitor;

/// A command line builder. Nothing is inherited from the environment.
#[derive(Debug)]
pub struct Cli {
    command: Command,
    input: Vec<u8>,
}

/// A command that runs. Killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    out: Arc<Monitor<Output>>,
    err: Arc<Monitor<Output>>,
}

/// The result of a command.
#[derive(Debug)]
pub struct Finished {
    pub code: i32,
    pub out: String,
    pub err: String,
}

#[derive(Debug, Default)]
struct Output {
    lines: Vec<String>,
    ended: bool,
}

/// The program of a command.
pub fn program() -> Command {
    Command::new(env!("CARGO_BIN_EXE_usher"))
}

/// The same with a soft and a hard limit of open files.
pub fn limited((soft, hard): (u64, u64)) -> Command {
    let mut command = Command::new("/bin/sh");
    let script = format!("ulimit -Sn {soft} && ulimit -Hn {hard} && exec \"$0\" \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_usher")]);
    command
}

/// The same within this shell script, which has been run before; e.g. `ulimit -f 0`. It may mount file systems that
/// nobody else sees, if `has_mounts` and this machine lets it.
pub fn scripted(script: &str, has_mounts: bool) -> Command {
    let mut command = if has_mounts { Command::new("unshare") } else { Command::new("/bin/sh") };
    if has_mounts {
        command.args(["--map-root-user", "--mount", "/bin/sh"]);
    }
    command.args(["-c", &format!("{script} && exec \"$0\" \"$@\""), env!("CARGO_BIN_EXE_usher")]);
    command
}

/// Whether this user may mount file systems of its own.
pub fn may_mount() -> bool {
    let tried = Command::new("unshare")
        .args(["--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/tmp"])
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

impl Cli {
    pub fn new(arguments: &[&str]) -> Self {
        Self::of(program(), arguments)
    }

    /// With a soft and a hard limit of open files.
    pub fn limited(limits: (u64, u64), arguments: &[&str]) -> Self {
        Self::of(limited(limits), arguments)
    }

    fn of(mut command: Command, arguments: &[&str]) -> Self {
        command.args(arguments).env_clear().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command, input: Vec::new() }
    }

    #[must_use]
    pub fn arg(mut self, argument: &str) -> Self {
        self.command.arg(argument);
        self
    }

    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Its standard input.
    #[must_use]
    pub fn input(mut self, input: &str) -> Self {
        input.as_bytes().clone_into(&mut self.input);
        self
    }

    /// The target of its standard output, which is not captured then.
    #[must_use]
    pub fn stdout(mut self, stdout: impl Into<Stdio>) -> Self {
        self.command.stdout(stdout);
        self
    }

    pub fn start(mut self) -> Running {
        let mut child = self.command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = self.input;
        // A command may exit without reading its input.
        thread::spawn(move || stdin.write_all(&input));
        let out = child.stdout.take().map_or_else(|| watch(std::io::empty()), watch);
        let err = watch(child.stderr.take().unwrap());
        Running { child, out, err }
    }

    /// Runs it to its end.
    pub fn run(self) -> Finished {
        self.start().finish()
    }
}

fn watch(pipe: impl Read + Send + 'static) -> Arc<Monitor<Output>> {
    let output = Arc::new(Monitor::<Output>::default());
    let seen = Arc::clone(&output);
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            seen.change(|output| output.lines.push(line));
        }
        seen.change(|output| output.ended = true);
    });
    output
}

impl Running {
    /// Waits for a line on standard error that contains `text`.
    pub fn wait_error(&self, text: &str) -> String {
        self.wait_line(&self.err, text)
    }

    /// Waits for a line on standard output that contains `text`.
    pub fn wait_out(&self, text: &str) -> String {
        self.wait_line(&self.out, text)
    }

    /// What it has written to standard output until now.
    pub fn out_lines(&self) -> Vec<String> {
        self.out.lock().lines.clone()
    }

    fn wait_line(&self, output: &Monitor<Output>, text: &str) -> String {
        let seen = output.wait(|output| output.lines.iter().find(|line| line.contains(text)).cloned());
        seen.unwrap_or_else(|| panic!("{text:?} was not told: {self:?}"))
    }

    pub fn interrupt(&self) {
        self.signal("INT");
    }

    /// Sends the signal with this name.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Waits for its end.
    pub fn finish(mut self) -> Finished {
        for output in [&self.out, &self.err] {
            assert!(output.wait(|output| output.ended.then_some(())).is_some(), "the command did not end: {self:?}");
        }
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        let text = |output: &Monitor<Output>| output.lock().lines.join("\n");
        Finished { code, out: text(&self.out), err: text(&self.err) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Finished {
    /// The lines of standard output, each as JSON.
    pub fn json(&self) -> Vec<Value> {
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?} is not JSON ({error}): {self:?}"))
        };
        self.out.lines().map(parse).collect()
    }
}
