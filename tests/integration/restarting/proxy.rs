//! HAProxy and nginx with the files of deploy/, in which only addresses are replaced.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use crate::harness::actor::project;
use crate::harness::eventually;

/// A file of deploy/ for a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipe {
    Haproxy(&'static str),
    Nginx(&'static str),
}

/// Where usher and, with some recipes, its stand-by or a second usher listen.
#[derive(Debug, Clone, Copy)]
pub struct Behind {
    pub gateway: SocketAddr,
    pub admin: SocketAddr,
    pub standby: Option<(SocketAddr, SocketAddr)>,
}

/// A running proxy. Killed when dropped.
pub struct Proxy {
    child: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

/// An address of this machine where nothing listens.
pub fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Proxy {
    /// Starts it, and waits until it listens.
    pub fn start(recipe: Recipe, behind: Behind) -> Self {
        Self::start_with(recipe, behind, "")
    }

    /// The same with more lines at the end.
    pub fn start_with(recipe: Recipe, behind: Behind, more: &str) -> Self {
        let (address, directory) = (free_address(), tempfile::tempdir().unwrap());
        let path = match recipe {
            Recipe::Haproxy(path) | Recipe::Nginx(path) => path,
        };
        let text = std::fs::read_to_string(project(path)).unwrap();
        let config = directory.path().join("proxy.conf");
        std::fs::write(&config, addressed(&text, address, behind) + more).unwrap();
        let mut command = match recipe {
            Recipe::Haproxy(_) => {
                let mut command = Command::new("haproxy");
                command.args(["-db", "-f"]).arg(&config);
                command
            }
            Recipe::Nginx(_) => {
                let main = directory.path().join("nginx.conf");
                std::fs::write(&main, around(&config.to_string_lossy())).unwrap();
                let mut command = Command::new("nginx");
                command.arg("-p").arg(directory.path()).arg("-c").arg(main).args(["-e", "stderr"]);
                command
            }
        };
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}; `tests/run` installs haproxy and nginx"));
        let proxy = Self { child, address, _directory: directory };
        eventually("the proxy listens", || TcpStream::connect(address).ok());
        proxy
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // nginx' workers end with their master only if it gets SIGTERM.
        drop(Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status());
        drop(self.child.wait());
    }
}

/// The recipe with the addresses of this test. Each is there once.
fn addressed(recipe: &str, address: SocketAddr, behind: Behind) -> String {
    let mut text = recipe.to_owned();
    let mut replace = |old: &str, new: String| {
        assert_eq!(text.matches(old).count(), 1, "{old:?} in:\n{text}");
        text = text.replace(old, &new);
    };
    if recipe.contains("bind :80\n") {
        replace("bind :80\n", format!("bind {address}\n"));
    } else {
        replace("listen 80;", format!("listen {address};"));
    }
    replace("127.0.0.1:6001", behind.gateway.to_string());
    if let Some((gateway, admin)) = behind.standby {
        replace("127.0.0.1:6003", gateway.to_string());
        if recipe.contains("port 9601") {
            replace("port 9601", format!("port {}", behind.admin.port()));
            replace("port 9603", format!("port {}", admin.port()));
        }
    }
    text
}

/// nginx' main file around a file of conf.d.
fn around(config: &str) -> String {
    format!(
        "daemon off;\npid nginx.pid;\nworker_processes 2;\nevents {{ worker_connections 1024; }}\n\
         http {{\n  access_log off;\n  include {config};\n}}\n"
    )
}
