//! Writes the inputs that fuzzing begins with, from tests/corpus, into the folder that is its argument.

use std::fs;
use std::io;
use std::path::Path;

use usher::gateway::agreement::corpus;

fn main() -> io::Result<()> {
    let folder = std::env::args().nth(1).ok_or_else(|| io::Error::other("the argument is missing: a folder"))?;
    let folder = Path::new(&folder);
    let requests = corpus::sections("request");
    // The same twice: its head is known the second time.
    let twice = requests.iter().map(|bytes| [bytes, &b"\xFF"[..], bytes].concat());
    write(&folder.join("request"), requests.iter().cloned().chain(twice))?;
    write(&folder.join("answer"), corpus::sections("upstream").iter().map(|bytes| [b"\x07", &bytes[..]].concat()))?;
    let bodies = corpus::sections("body");
    let both = bodies.iter().flat_map(|bytes| [b"e", b"b"].map(|first| [first, &bytes[..]].concat()));
    write(&folder.join("body"), both)
}

fn write(folder: &Path, inputs: impl Iterator<Item = Vec<u8>>) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for (number, bytes) in inputs.enumerate() {
        fs::write(folder.join(format!("seed-{number}")), bytes)?;
    }
    Ok(())
}
