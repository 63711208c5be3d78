//! The processes under measurement, between the generator and the stub: each is started by the harness, on its own
//! processor, and ended by it.

mod haproxy;
mod nginx;
mod peer;
mod usher;

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub(crate) use self::usher::built_beside as usher_built_beside;
use crate::accounting::Tree;
use crate::launch::{self, Cpus};
use crate::secure::Identity;
use crate::stub;

/// For a start and for an end.
const BOUND: Duration = Duration::from_secs(10);

/// What a target does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Part {
    /// The stub itself: the limit of generator and stub.
    Upstream,
    /// Forwards everything.
    Proxy,
    /// Answers every request itself.
    Responder,
    /// usher: reports its decision on each.
    Gateway,
}

/// What is to be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Stub,
    Nginx,
    /// nginx that answers without an upstream.
    NginxReturn,
    Haproxy,
    /// The binary, and its number of workers.
    Usher {
        binary: PathBuf,
        workers: usize,
    },
    /// A command in which `{port}` and `{upstream}` are filled in.
    Peer(String),
}

/// What all targets of a run have in common.
#[derive(Debug)]
pub(crate) struct Site {
    /// The directory of their files.
    pub(crate) directory: PathBuf,
    /// The stub's address.
    pub(crate) upstream: SocketAddr,
    /// TLS on both sides.
    pub(crate) identity: Option<Identity>,
    /// Their processors; empty: any.
    pub(crate) cpus: Cpus,
    /// Connections that they should keep, at least.
    pub(crate) connections: usize,
    /// Rules of usher beside the usual one, none of which watches a channel that is used.
    pub(crate) idle_rules: usize,
}

impl Site {
    /// The stub's URL.
    fn upstream_url(&self) -> String {
        let scheme = if self.identity.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.upstream)
    }
}

/// A running process; ended when dropped.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) part: Part,
    pub(crate) address: SocketAddr,
    /// Its version.
    pub(crate) version: String,
    child: Child,
    log: PathBuf,
}

impl Target {
    /// Starts it and waits until it listens. `None`: it is not installed.
    pub(crate) fn start(name: &str, kind: &Kind, site: &Site) -> Result<Option<Self>> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let directory = site.directory.join(name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-"));
        fs::create_dir_all(&directory)?;
        let recipe = match kind {
            Kind::Stub => bail!("the stub is started by Target::stub"),
            Kind::Nginx => nginx::proxy(address, &directory, site)?,
            Kind::NginxReturn => nginx::responder(address, &directory, site)?,
            Kind::Haproxy => haproxy::proxy(address, &directory, site)?,
            Kind::Usher { binary, workers } => Some(usher::gateway(binary, *workers, address, &directory, site)?),
            Kind::Peer(command) => peer::proxy(command, address, site)?,
        };
        let Some(Recipe { part, version, command }) = recipe else { return Ok(None) };
        Self::spawn(name, part, version, address, command, &directory).map(Some)
    }

    /// Starts the stub on `cpus`.
    pub(crate) fn stub(directory: &Path, cpus: &[usize], identity: Option<&Identity>) -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let harness = std::env::current_exe()?;
        let mut command = launch::command(&harness, cpus)?;
        command.arg(stub::ROLE).arg(address.port().to_string()).args(identity.map(|identity| &identity.directory));
        Self::spawn("stub", Part::Upstream, "the harness's own".to_owned(), address, command, directory)
    }

    fn spawn(
        name: &str,
        part: Part,
        version: String,
        address: SocketAddr,
        mut command: Command,
        directory: &Path,
    ) -> Result<Self> {
        let log = directory.join("log");
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        let mut target = Self { name: name.to_owned(), part, address, version, child, log };
        target.wait()?;
        Ok(target)
    }

    /// Waits until it accepts connections.
    fn wait(&mut self) -> Result<()> {
        let until = Instant::now() + BOUND;
        while TcpStream::connect(self.address).is_err() {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at once ({status}); it said:\n{}", self.name, self.said());
            }
            if Instant::now() > until {
                bail!("{} does not listen on {} within {BOUND:?}; it said:\n{}", self.name, self.address, self.said());
            }
            sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Its output so far.
    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_else(|error| format!("(its output cannot be read: {error})"))
    }

    /// It and its descendants.
    pub(crate) fn tree(&self) -> Result<Tree> {
        Tree::of(self.child.id())
    }

    /// Terminates it, and kills it if necessary.
    fn end(&mut self) -> std::io::Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).map_err(std::io::Error::other)?);
        kill(pid, Signal::SIGTERM)?;
        let until = Instant::now() + BOUND;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > until {
                self.child.kill()?;
                self.child.wait()?;
                return Ok(());
            }
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // It may have exited already, which is reported elsewhere.
        let _ended = self.end();
    }
}

/// How to start a target.
struct Recipe {
    part: Part,
    version: String,
    command: Command,
}

/// Where a program is, if it is installed.
fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from));
    places.map(|place| place.join(program)).find(|file| file.is_file())
}

/// The first line that a program says of itself.
fn version_of(program: &Path, argument: &str) -> Result<String> {
    let output = Command::new(program)
        .arg(argument)
        .output()
        .with_context(|| format!("{} cannot be started", program.display()))?;
    let said = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned())
}

/// A port that is free at the moment.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("no free port")?;
    Ok(listener.local_addr()?.port())
}
