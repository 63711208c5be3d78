//! The systemd unit.

use std::process::Command;

use super::{longest_end, read, run, said, seconds};
use crate::harness::actor::project;
use crate::harness::cli::Cli;

const UNIT: &str = "deploy/systemd/usher.service";
/// The socket units, the name of each socket, and the section of the configuration with its address.
const SOCKETS: &[(&str, &str, &str)] =
    &[("deploy/systemd/usher.socket", "gateway", "server"), ("deploy/systemd/usher-admin.socket", "admin", "admin")];
const INSTALLED: &str = "/usr/local/bin/usher";

/// The arguments of the unit's command lines that run usher.
fn commands() -> Vec<Vec<String>> {
    let unit = read(UNIT);
    let lines = unit
        .lines()
        .filter(|line| line.starts_with("Exec"))
        .filter_map(|line| line.split_once('=')?.1.strip_prefix(INSTALLED));
    lines.map(|arguments| arguments.split_whitespace().map(str::to_owned).collect()).collect()
}

#[test]
fn its_commands_are_ushers() {
    let commands = commands();
    assert_eq!(commands.iter().map(|command| command[0].as_str()).collect::<Vec<_>>(), ["serve", "check"]);
    for command in commands {
        let help = Cli::new(&[&command[0], "--help"]).run();
        assert_eq!(help.code, 0, "{help:?}");
        for flag in command.iter().filter(|argument| argument.starts_with('-')) {
            assert!(help.out.contains(&format!("{flag} <")), "usher {} has no {flag}", command[0]);
        }
    }
    let unit = read(UNIT);
    let section = unit.split("\n[").next().unwrap();
    assert!(section.contains("\nStartLimitIntervalSec=0\n"), "systemd does not give up, and takes it in [Unit] only");
    assert!(unit.contains("\nRestartPreventExitStatus=78\n"), "a configuration that cannot be used ends usher with 78");
}

#[test]
fn it_carries_all_connections_and_lets_usher_see_its_limit() {
    let unit = read(UNIT);
    let files: u64 = unit.lines().find_map(|line| line.strip_prefix("LimitNOFILE=")).unwrap().parse().unwrap();
    let told =
        Cli::limited((256, 256), &["check", "--upstream", "http://127.0.0.1:6002", "--set", "server.workers=8"]).run();
    let needed: u64 = told.out.split_once("LimitNOFILE=").unwrap().1.split(' ').next().unwrap().parse().unwrap();
    assert!(needed <= files, "{told:?}");
    // The last line that names a system call or its group applies.
    let denied = unit.find("SystemCallFilter=~@privileged @resources").unwrap();
    assert!(unit.rfind("SystemCallFilter=prlimit64\n").is_some_and(|allowed| allowed > denied), "{unit}");
}

#[test]
fn it_waits_for_the_end() {
    let unit = read(UNIT);
    let value = |name: &str| seconds(unit.lines().find_map(|line| line.strip_prefix(name)).unwrap());
    assert!(value("TimeoutStopSec=") > longest_end(value("Environment=USHER_SERVER__DRAIN_DELAY=")));
}

#[test]
fn its_environment_file_is_understood() {
    let example = read("deploy/systemd/usher.env.example");
    // docs/operations.md installs this file beside it.
    let mut check = Cli::new(&["check", "--config", project("config/hotel.toml").to_str().unwrap()]);
    for (name, value) in example.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('=')) {
        assert_eq!(value, "", "{name}: an example has no secrets");
        check = check.env(name, "0123456789abcdef0123456789abcdef");
    }
    let checked = check.run();
    assert_eq!(checked.code, 0, "{checked:?}");
}

#[test]
fn systemd_understands_it() {
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("usher.service");
    std::fs::write(&unit, read(UNIT).replace(INSTALLED, env!("CARGO_BIN_EXE_usher"))).unwrap();
    let verify = |unit: &std::path::Path| {
        let verified = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(unit));
        assert!(verified.status.success() && said(&verified).is_empty(), "{unit:?}: {}", said(&verified));
    };
    verify(&unit);
    // 10 is an unrestricted service.
    let rated = run(Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=15", "--no-pager"])
        .arg(&unit));
    assert!(rated.status.success(), "{}", said(&rated));
    for (file, ..) in SOCKETS {
        let socket = directory.path().join(file.rsplit('/').next().unwrap());
        std::fs::copy(project(file), &socket).unwrap();
        verify(&socket);
    }
}

/// The sockets have the names that usher knows and the addresses of its defaults, and start the one service.
#[test]
fn its_sockets_are_ushers() {
    for (file, name, section) in SOCKETS {
        let unit = read(file);
        let value = |key: &str| {
            let values: Vec<&str> = unit.lines().filter_map(|line| line.strip_prefix(&format!("{key}="))).collect();
            assert_eq!(values.len(), 1, "{file}: {key}={values:?}");
            values[0]
        };
        assert_eq!((value("FileDescriptorName"), value("Service")), (*name, "usher.service"), "{file}");
        let configured = read("config/usher.toml").parse::<toml::Table>().unwrap()[*section]["listen"].clone();
        assert_eq!(value("ListenStream"), configured.as_str().unwrap(), "{file}");
    }
    assert!(read(UNIT).contains("\nType=notify\n"), "usher says when it is ready");
}
