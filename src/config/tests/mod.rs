//! Tests of the configuration by its public function, `Config::load`.

mod cluster;
mod drain;
mod faults;
mod lists;
mod precedence;
mod rates;
mod reference;
mod secrets;
mod start_doubt;
mod state;
mod webhooks;

use std::ffi::OsString;
use std::io::Write;

use tempfile::NamedTempFile;

use super::{Config, Problems, Sources};

/// The keys that most tests need beside those that they test.
const UPSTREAM: &str = "upstream.cluster = \"eu\"\n";

/// The sources of a configuration.
#[derive(Default)]
struct Setup {
    file: Option<NamedTempFile>,
    environment: Vec<(OsString, OsString)>,
    flags: Vec<(String, String)>,
}

/// The lists that `file` appends to a text.
const LISTS: [(&str, &str); 2] = [
    ("apps", "[[apps]]\nid = \"1001\"\nkey = \"usher-key\"\nsecret = \"usher-secret\"\n"),
    (
        "rules",
        "[[rules]]\nname = \"staff-assigned\"\nevent = \"staff-assigned\"\nchannel = \"{room}-chat\"\nidentity = \"/staff_id\"\n",
    ),
];

/// A file of `text`, with an app and a rule at its end unless it has such lists, or is not TOML at all.
fn file(text: &str) -> Setup {
    let lacks = |key: &str| text.parse::<toml::Table>().is_ok_and(|table| !table.contains_key(key));
    let lists = LISTS.iter().filter(|(key, _)| lacks(key)).map(|(_, list)| *list);
    bare(&std::iter::once(format!("{text}\n").as_str()).chain(lists).collect::<String>())
}

/// A file of `text` alone.
fn bare(text: &str) -> Setup {
    Setup { file: Some(written(text.as_bytes())), ..Setup::default() }
}

/// What `config` warns of.
fn warning_texts(config: &Config) -> Vec<String> {
    config.warnings.iter().map(ToString::to_string).collect()
}

fn nothing() -> Setup {
    Setup::default()
}

fn written(content: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

impl Setup {
    fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    fn flag(mut self, key: &str, value: &str) -> Self {
        self.flags.push((key.into(), value.into()));
        self
    }

    fn sources(&self) -> Sources {
        let file = self.file.as_ref().map(|file| file.path().to_owned());
        Sources { file, environment: self.environment.clone(), flags: self.flags.clone() }
    }

    fn load(&self) -> Result<Config, Problems> {
        Config::load(&self.sources())
    }

    fn accepted(&self) -> Config {
        self.load().unwrap_or_else(|problems| panic!("refused:\n{problems}"))
    }

    fn refused(&self) -> Problems {
        self.load().expect_err("accepted")
    }

    /// Line (0: not in the file) and key of every problem.
    fn places(&self) -> Vec<(usize, String)> {
        self.refused().iter().map(|problem| (problem.origin.line().unwrap_or(0), problem.key.clone())).collect()
    }

    /// The text of the only problem.
    fn fault(&self) -> String {
        let problems = self.refused();
        assert_eq!(problems.iter().count(), 1, "{problems}");
        problems.to_string()
    }
}
