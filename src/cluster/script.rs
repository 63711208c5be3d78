//! The scripts. Each is a file of its own, behind the part that all have in common.

use std::sync::LazyLock;

use redis::Cmd;

/// Joins the parts of a script. The first line lets Redis 7.0 and Valkey 7.2 refuse it on a replica, on a primary with
/// too few replicas, and where the memory is full; without it, a former primary answers with old data.
macro_rules! script {
    ($file:literal) => {
        script!("#!lua\n", $file)
    };
    ($begin:literal, $file:literal) => {
        concat!($begin, include_str!("scripts/common.lua"), include_str!(concat!("scripts/", $file)))
    };
}

/// A script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    Read,
    Swap,
    Member,
    Inspect,
}

/// The hash of each script, by which a server names it.
static HASHES: LazyLock<[String; 4]> = LazyLock::new(|| {
    let scripts = [Script::Read, Script::Swap, Script::Member, Script::Inspect];
    scripts.map(|script| redis::Script::new(script.text()).get_hash().to_owned())
});

impl Script {
    const fn text(self) -> &'static str {
        match self {
            Self::Read => script!("read.lua"),
            Self::Swap => script!("swap.lua"),
            Self::Member => script!("member.lua"),
            // It justifies nothing, and tells what is wrong with a server that answers nothing else.
            Self::Inspect => script!("#!lua flags=no-writes,allow-stale\n", "inspect.lua"),
        }
    }
}

/// A call of a script.
#[derive(Debug, Clone)]
pub(super) struct Call {
    script: Script,
    keys: Vec<Vec<u8>>,
    arguments: Vec<Vec<u8>>,
}

impl Call {
    pub(super) const fn new(script: Script, keys: Vec<Vec<u8>>, arguments: Vec<Vec<u8>>) -> Self {
        Self { script, keys, arguments }
    }

    /// The call by the script's hash, for a server that knows it.
    pub(super) fn by_hash(&self) -> Cmd {
        self.command("EVALSHA", &HASHES[self.script as usize])
    }

    /// The call by the script's text, which the server knows from then on.
    pub(super) fn by_text(&self) -> Cmd {
        self.command("EVAL", self.script.text())
    }

    fn command(&self, name: &str, script: &str) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(self.keys.len());
        for part in self.keys.iter().chain(&self.arguments) {
            command.arg(part);
        }
        command
    }
}
