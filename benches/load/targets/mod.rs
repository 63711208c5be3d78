//! The processes under measurement, between the generator and the stub: each is started by the harness, on its own
//! processor, and ended by it.

mod haproxy;
mod limit;
mod nginx;
mod peer;
mod redis;
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

pub(crate) use self::redis::used_memory as redis_used_memory;
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
    /// Redis: no target itself.
    Store,
}

/// Where usher remembers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Memory {
    /// In its own process.
    Own,
    /// In Redis, with so many ushers, among which the load is divided.
    Shared { ushers: usize },
}

impl Memory {
    /// All that are measured.
    pub(crate) const ALL: [Self; 3] = [Self::Own, Self::Shared { ushers: 1 }, Self::Shared { ushers: 2 }];

    /// What the name of an usher with it ends with.
    pub(crate) fn suffix(self) -> String {
        match self {
            Self::Own => String::new(),
            Self::Shared { ushers: 1 } => "-shared".to_owned(),
            Self::Shared { ushers } => format!("-shared-{ushers}"),
        }
    }

    /// The number of ushers.
    const fn ushers(self) -> usize {
        match self {
            Self::Own => 1,
            Self::Shared { ushers } => ushers,
        }
    }
}

/// What is to be measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    Stub,
    Nginx,
    /// nginx that answers without an upstream.
    NginxReturn,
    Haproxy,
    /// A loop that copies bytes, or answers itself: the least that this kernel allows.
    Limit(Part),
    /// The binary, its number of workers, and where it remembers.
    Usher {
        binary: PathBuf,
        workers: usize,
        memory: Memory,
        bystanders: Bystanders,
    },
    /// A command in which `{port}` and `{upstream}` are filled in.
    Peer(String),
}

/// What an usher's configuration has beside the usual app and rule, and no request has to do with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Bystanders {
    /// Rules that watch the messages' event on unused channels.
    pub(crate) rules: usize,
    /// Apps, each with that of the rules that it has.
    pub(crate) apps: usize,
}

impl Kind {
    /// An usher with these bystanders; anything else as it is.
    pub(crate) fn beside(mut self, more: Bystanders) -> Self {
        if let Self::Usher { bystanders, .. } = &mut self {
            *bystanders = more;
        }
        self
    }

    /// Whether it remembers in Redis.
    pub(crate) const fn is_shared(&self) -> bool {
        matches!(self, Self::Usher { memory: Memory::Shared { .. }, .. })
    }

    /// The number of its processes that serve.
    const fn processes(&self) -> usize {
        if let Self::Usher { memory, .. } = self { memory.ushers() } else { 1 }
    }
}

/// What all targets of a run have in common.
#[derive(Debug)]
pub(crate) struct Site {
    /// The directory of their files.
    pub(crate) directory: PathBuf,
    /// The stub's address.
    pub(crate) upstream: SocketAddr,
    /// Redis's address, if it runs.
    pub(crate) store: Option<SocketAddr>,
    /// The number of the target that starts, which distinguishes its keys there.
    pub(crate) number: usize,
    /// TLS on both sides.
    pub(crate) identity: Option<Identity>,
    /// Their processors; empty: any.
    pub(crate) cpus: Cpus,
    /// Connections that they should keep, at least.
    pub(crate) connections: usize,
}

impl Site {
    /// The stub's URL.
    fn upstream_url(&self) -> String {
        let scheme = if self.identity.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.upstream)
    }
}

/// One or several running processes that do the same; ended when dropped.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) part: Part,
    /// Where its processes listen, at least one.
    pub(crate) addresses: Vec<SocketAddr>,
    /// Its version.
    pub(crate) version: String,
    /// Whether it remembers in Redis.
    pub(crate) is_shared: bool,
    processes: Vec<Process>,
}

/// A running process; ended when dropped.
#[derive(Debug)]
struct Process {
    name: String,
    address: SocketAddr,
    child: Child,
    log: PathBuf,
}

impl Target {
    /// Starts it and waits until it serves. `None`: it is not installed.
    pub(crate) fn start(name: &str, kind: &Kind, site: &Site) -> Result<Option<Self>> {
        let directory = site.directory.join(name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-"));
        let mut admins = Vec::new();
        let mut target = None;
        for number in 1..=kind.processes() {
            let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
            let directory = directory.join(number.to_string());
            fs::create_dir_all(&directory)?;
            let recipe = match kind {
                Kind::Stub => bail!("the stub is started by Target::stub"),
                Kind::Nginx => nginx::proxy(address, &directory, site)?,
                Kind::NginxReturn => nginx::responder(address, &directory, site)?,
                Kind::Haproxy => haproxy::proxy(address, &directory, site)?,
                Kind::Limit(part) => limit::copier(address, site, *part)?,
                Kind::Usher { binary, workers, memory, bystanders } => {
                    let member = usher::Member::of(*memory, number, site);
                    Some(usher::gateway(binary, *workers, address, &directory, (site, member, *bystanders))?)
                }
                Kind::Peer(command) => peer::proxy(command, address, site)?,
            };
            let Some(recipe) = recipe else { return Ok(None) };
            admins.extend(recipe.admin);
            let started = Self::spawn(name, address, recipe, &directory)?;
            match &mut target {
                None => target = Some(started),
                Some(target) => target.join(started),
            }
        }
        if let Some(target) = target.as_mut().filter(|_| kind.is_shared()) {
            target.is_shared = true;
            usher::settle(&admins).with_context(|| format!("{name} does not begin to suppress"))?;
        }
        Ok(target)
    }

    /// Starts the stub on `cpus`.
    pub(crate) fn stub(directory: &Path, cpus: &[usize], identity: Option<&Identity>) -> Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let harness = std::env::current_exe()?;
        let mut command = launch::command(&harness, cpus)?;
        command.arg(stub::ROLE).arg(address.port().to_string()).args(identity.map(|identity| &identity.directory));
        let version = "the harness's own".to_owned();
        Self::spawn("stub", address, Recipe { part: Part::Upstream, version, command, admin: None }, directory)
    }

    /// Starts Redis on `cpus`. `None`: it is not installed.
    pub(crate) fn redis(directory: &Path, cpus: &[usize]) -> Result<Option<Self>> {
        let address = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let directory = directory.join("redis");
        fs::create_dir_all(&directory)?;
        let Some(recipe) = redis::server(address, &directory, cpus)? else { return Ok(None) };
        Self::spawn("redis", address, recipe, &directory).map(Some)
    }

    fn spawn(name: &str, address: SocketAddr, recipe: Recipe, directory: &Path) -> Result<Self> {
        let Recipe { part, version, mut command, admin: _ } = recipe;
        let log = directory.join("log");
        let output = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let child = command.spawn().with_context(|| format!("{name} cannot be started"))?;
        let mut process = Process { name: name.to_owned(), address, child, log };
        process.wait()?;
        Ok(Self {
            name: name.to_owned(),
            part,
            addresses: vec![address],
            version,
            is_shared: false,
            processes: vec![process],
        })
    }

    /// Takes over the processes of another one that does the same.
    fn join(&mut self, mut other: Self) {
        self.addresses.append(&mut other.addresses);
        self.processes.append(&mut other.processes);
    }

    /// Where its first process listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Its processes and their descendants.
    pub(crate) fn tree(&self) -> Result<Tree> {
        self.processes.iter().try_fold(Tree::none(), |all, process| Ok(all.and(Tree::of(process.child.id())?)))
    }
}

impl Process {
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

impl Drop for Process {
    fn drop(&mut self) {
        // It may have exited already, which is reported elsewhere.
        let _ended = self.end();
    }
}

/// How to start a process.
struct Recipe {
    part: Part,
    version: String,
    command: Command,
    /// Where the operator's listener of usher is to be.
    admin: Option<SocketAddr>,
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
