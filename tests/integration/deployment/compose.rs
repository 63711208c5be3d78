//! The compose file and the image.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{default, longest_end, read, run, said, seconds, yaml};
use crate::harness::actor::{clients, project};
use crate::harness::cli::Cli;
use crate::harness::{Fake, Usher};

/// Contents of `.env`: a valid value for each variable that the compose file passes on without one.
const GIVEN: &[(&str, &str)] = &[
    ("USHER_CONFIG", "/etc/usher/hotel.toml"),
    ("USHER_UPSTREAM__URL", "https://api-eu.pusher.com"),
    ("USHER_UPSTREAM__WEBSOCKET_URL", "wss://ws-eu.pusher.com"),
    ("USHER_APPS__0__ID", "2002"),
    ("USHER_APPS__0__KEY", "a-key"),
    ("USHER_APPS__0__SECRET", "a-secret"),
    ("USHER_RULES__0__MODE", "observe"),
    ("USHER_OBSERVE", "true"),
    ("USHER_LOG__LEVEL", "debug"),
    ("USHER_STATE__PATH", "/var/lib/usher"),
];

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// The compose files: one usher, and several.
const FILES: [&str; 2] = [ONE, super::cluster::COMPOSE];
const ONE: &str = "docker-compose.yml";

/// The services of a compose file.
pub(super) fn services(file: &str) -> BTreeMap<String, Value> {
    let compose = yaml(file);
    compose["services"].as_object().unwrap().iter().map(|(name, service)| (name.clone(), service.clone())).collect()
}

pub(super) fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|item| item.as_str().unwrap()).collect()
}

/// The variables of usher that the file sets, and the value of each; `None`: passed on if set.
fn variables(usher: &Value) -> BTreeMap<String, Option<String>> {
    let value = |value: &Value| {
        value
            .as_str()
            .map(|text| if text.starts_with("${USHER_ADMIN__TOKEN:?") { TOKEN.to_owned() } else { text.to_owned() })
    };
    usher["environment"].as_object().unwrap().iter().map(|(name, text)| (name.clone(), value(text))).collect()
}

/// The last part of an address.
fn port(address: &str) -> &str {
    address.rsplit(':').next().unwrap()
}

#[test]
fn they_keep_to_the_compose_specification() {
    let output = run(std::process::Command::new(clients().join("python/.venv/bin/check-jsonschema"))
        .args(["--builtin-schema", "vendor.compose-spec"])
        .args(FILES.map(project)));
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn no_service_may_more_than_it_must() {
    for (name, service) in FILES.into_iter().flat_map(services) {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(
            (texts(&service["cap_drop"]), texts(&service["security_opt"])),
            (vec!["ALL"], vec!["no-new-privileges:true"]),
            "{name}"
        );
        assert!(service["healthcheck"]["test"].is_array(), "{name} has a health check that needs no shell");
        for published in texts(&service["ports"]) {
            assert!(
                published.starts_with("127.0.0.1:") || published.starts_with("${BIND_ADDRESS:-127.0.0.1}:"),
                "{name}: {published}"
            );
        }
        let tag = service["image"].as_str().unwrap().rsplit_once(':').unwrap().1;
        assert!(service["build"].is_string() || tag.matches('.').count() == 2, "{name}: {tag} is no version");
        for mount in texts(&service["volumes"]).into_iter().filter(|mount| mount.starts_with('.')) {
            let parts: Vec<&str> = mount.split(':').collect();
            assert!(project(parts[0]).exists(), "{name}: {} does not exist", parts[0]);
            assert_eq!(parts.last(), Some(&"ro"), "{name}: {mount}");
        }
    }
}

#[test]
fn usher_accepts_its_variables() {
    let usher = &services(ONE)["usher"];
    let mounts: Vec<_> =
        texts(&usher["volumes"]).into_iter().filter_map(|mount| mount.strip_suffix(":ro")?.split_once(':')).collect();
    let inside = |path: &str| {
        mounts.iter().find_map(|(outside, inside)| {
            Some(project(outside).join(path.strip_prefix(inside)?.trim_start_matches('/')))
        })
    };
    let check = |given: &[(&str, &str)]| {
        let mut check = Cli::new(&["check"]);
        for (name, value) in variables(usher) {
            let given = given.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned());
            let Some(value) = value.or(given) else { continue };
            let value = if name == "USHER_CONFIG" { inside(&value).unwrap().display().to_string() } else { value };
            check = check.env(&name, &value);
        }
        let checked = check.run();
        assert_eq!(checked.code, 0, "{given:?}: {checked:?}");
        checked.out
    };
    assert!(check(&[]).contains("upstream local"), "its own broker, unless told otherwise");
    let handed_on: Vec<String> =
        variables(usher).into_iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name).collect();
    let mut known: Vec<&str> = GIVEN.iter().map(|(name, _)| *name).collect();
    known.sort_unstable();
    assert_eq!(handed_on, known, "GIVEN has an example of every variable that is handed on");
    assert!(
        check(&[("USHER_UPSTREAM__URL", "https://api-eu.pusher.com")]).contains("upstream https://api-eu.pusher.com"),
        "one variable switches"
    );
    check(GIVEN);
}

#[test]
fn ports_limits_and_health_check_are_ushers() {
    let services = services(ONE);
    let usher = &services["usher"];
    let variables = variables(usher);
    let published: Vec<&str> = texts(&usher["ports"]).into_iter().map(port).collect();
    let exposed = read("Dockerfile").lines().find_map(|line| line.strip_prefix("EXPOSE ").map(str::to_owned)).unwrap();
    assert_eq!(published, exposed.split(' ').collect::<Vec<_>>());
    for (section, published) in [("server", published[0]), ("admin", published[1])] {
        let listen = variables[&format!("USHER_{}__LISTEN", section.to_uppercase())].clone().unwrap();
        assert_eq!(
            (port(&listen), port(default(section, "listen").as_str().unwrap())),
            (published, published),
            "{section}"
        );
        assert!(listen.starts_with("0.0.0.0:"), "loopback inside a container is out of reach: {listen}");
    }
    assert!(
        read("deploy/prometheus/prometheus.yml").contains(&format!("[\"usher:{}\"]", published[1])),
        "Prometheus asks the admin listener"
    );

    let healthcheck: Vec<&str> = texts(&usher["healthcheck"]["test"]);
    assert_eq!(healthcheck, ["CMD", "/usher", "healthcheck"]);
    let dockerfile = read("Dockerfile");
    let lines = [
        "CMD [\"/usher\", \"healthcheck\"]",
        "\nENTRYPOINT [\"/usher\"]\n",
        "\nCMD [\"serve\"]\n",
        "\nUSER 65532:65532\n",
        "\nFROM scratch\n",
    ];
    assert!(lines.iter().all(|line| dockerfile.contains(line)), "{dockerfile}");

    let grace = seconds(usher["stop_grace_period"].as_str().unwrap());
    let delay = seconds(usher["environment"]["USHER_SERVER__DRAIN_DELAY"].as_str().unwrap());
    assert!(grace > longest_end(delay), "an end is not cut short");
    let files = usher["ulimits"]["nofile"].as_i64().unwrap();
    let connections = default("limits", "max_connections").as_integer().unwrap();
    assert!(
        files > 2 * connections * 5 / 4 + 1_000,
        "a connection takes two, and a fifth of all is for idle ones to upstream"
    );
}

/// What `usher healthcheck` and Prometheus do inside the compose file's network: they query a listener that is
/// reachable from outside, without the token, and Prometheus by the service's name.
#[test]
fn the_admin_listener_tells_its_neighbours_only_what_is_open() {
    let fake = Fake::start();
    let usher = Usher::start(&fake, |setup| setup.admin = setup.admin.replace("127.0.0.1:0", "0.0.0.0:0"));
    let admin = crate::harness::admin::Admin(([127, 0, 0, 1], usher.admin().0.port()).into());
    let ask = |path: &str, host: &str| admin.send(&crate::harness::Request::new("GET", path, b"").host(host)).status;
    for path in ["/metrics", "/livez", "/readyz"] {
        assert_eq!((ask(path, "usher:9601"), ask(path, "127.0.0.1:9601")), (200, 200), "{path}");
    }
    for path in ["/", "/triggers", "/assignments"] {
        assert_eq!((ask(path, "usher:9601"), ask(path, "127.0.0.1:9601")), (421, 401), "{path}");
    }
    let listen = format!("admin.listen=0.0.0.0:{}", admin.0.port());
    let checked = Cli::new(&["healthcheck", "--set", &listen]).env("USHER_ADMIN__TOKEN", TOKEN).run();
    assert_eq!((checked.code, checked.out.as_str()), (0, "ready"), "{checked:?}");
}

#[test]
fn the_image_is_built_of_files_that_reach_it() {
    let dockerfile = read("Dockerfile");
    let ignored = read(".dockerignore");
    for line in
        dockerfile.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.starts_with("--from"))
    {
        let (sources, _target) = line.rsplit_once(' ').unwrap();
        for source in sources.split(' ') {
            assert!(
                project(source).exists() && ignored.lines().any(|line| line == format!("!{source}")),
                "COPY {source}"
            );
        }
    }
    // Cargo rejects a Cargo.toml whose targets do not exist.
    let manifest = read("Cargo.toml").parse::<toml::Table>().unwrap();
    for target in ["test", "bench"].iter().flat_map(|kind| manifest[*kind].as_array().unwrap()) {
        let path = target.get("path").map_or_else(
            || format!("benches/{}.rs", target["name"].as_str().unwrap()),
            |path| path.as_str().unwrap().to_owned(),
        );
        assert!(dockerfile.contains(&path), "the Dockerfile makes no stand-in for {path}");
    }
}
