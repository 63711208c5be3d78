//! The configuration of a history, as the operator changes it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::harness::admin::TOKEN;
use crate::harness::{Random, sign};

/// `upstream.timeout`.
pub const TIMEOUT: Duration = Duration::from_millis(150);
/// `upstream.connect_timeout`.
pub const CONNECT: Duration = Duration::from_millis(100);
/// `server.drain_period`: longer than the start of a process, so that a successor runs while its predecessor still
/// forwards.
pub const DRAIN: Duration = Duration::from_millis(400);
/// The same of some histories: shorter than `upstream.timeout`, so that a drain cuts requests off.
pub const SHORT_DRAIN: Duration = Duration::from_millis(100);
/// `server.drain_delay`.
pub const DELAY: Duration = Duration::from_millis(100);
/// How long upstream may apply a request after its outcome was left open: [`Lasting::late`].
pub const LATE: Duration = Duration::from_millis(400);
/// The same of some histories: a doubt lasts longer than a restart.
pub const VERY_LATE: Duration = Duration::from_millis(900);
/// `state.max_age`.
pub const MAX_AGE: Duration = Duration::from_secs(1);

/// The app that is sometimes not configured: its id, key and secret.
pub const GUEST_APP: (&str, &str, &str) = ("4", "5a1d2c3b4e5f60718293", "0f1e2d3c4b5a69788796");

/// The channels of each app.
pub const CHANNELS: [(&str, &[&str]); 2] = [
    (sign::APP, &["h-room-1-chat", "h-room-2-chat", "h-room-3-chat"]),
    (GUEST_APP.0, &["g-room-1-chat", "g-room-2-chat"]),
];

/// What an operator changes while usher runs. All rules of a history are equivalent for the events sent in it, so that
/// redundancy does not depend on the rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub fast_path: bool,
    /// `None`: no rule watches the event.
    pub rule: Option<Rule>,
    /// Whether [`GUEST_APP`] is configured.
    pub knows_guest_app: bool,
    pub forwards_unknown_apps: bool,
    /// `assignments.doubt_period`.
    pub doubt: Duration,
    pub lasting: Lasting,
}

/// What is as it is for the whole life of a process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lasting {
    /// `server.drain_delay`.
    pub delay: Duration,
    /// `server.drain_period`.
    pub drain: Duration,
    /// `state.path`.
    pub state: Option<PathBuf>,
    /// The shortest `assignments.doubt_period` that is right for the upstream of the history.
    pub late: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    pub name: &'static str,
    pub channel: &'static str,
    pub identity: &'static str,
    pub context: &'static str,
    pub mode: &'static str,
}

const USUAL: Rule = Rule {
    name: "staff-assigned",
    channel: "{hotel}-room-{room}-chat",
    identity: r#"["/staff_id", "/staff_name"]"#,
    context: r#"["/conversation_id"]"#,
    mode: "enforce",
};

pub const MODES: [&str; 3] = ["enforce", "observe", "off"];

impl Settings {
    pub const fn usual(fast_path: bool, lasting: Lasting) -> Self {
        let doubt = lasting.late;
        Self { fast_path, rule: Some(USUAL), knows_guest_app: true, forwards_unknown_apps: true, doubt, lasting }
    }

    /// Whether redundant announcements of every app are suppressed.
    pub fn suppresses(&self) -> bool {
        self.knows_guest_app && self.rule.is_some_and(|rule| rule.mode == "enforce")
    }

    /// Those of the next process: often the same, sometimes with a changed rule, app or doubt period.
    #[must_use]
    pub fn next(&self, random: &mut Random) -> Self {
        let mut new = if random.chance(35) { self.changed(random) } else { self.clone() };
        if random.chance(20) {
            let late = new.lasting.late;
            new.doubt = if new.doubt == late { late * 3 / 2 } else { late };
        }
        new
    }

    /// One change of something. What suppresses nothing is mended rather than changed further.
    #[must_use]
    pub fn changed(&self, random: &mut Random) -> Self {
        let mut new = self.clone();
        match (&mut new.rule, random.below(10)) {
            (_, 0..=8) if !new.knows_guest_app => new.knows_guest_app = true,
            (_, 0..=2) => new.knows_guest_app = false,
            (_, 3) => new.forwards_unknown_apps = !new.forwards_unknown_apps,
            (None, _) => new.rule = Some(USUAL),
            (rule, 4) => *rule = None,
            (Some(rule), _) if rule.mode != "enforce" => rule.mode = "enforce",
            (Some(rule), 5) => rule.mode = random.pick(&MODES[1..]),
            (Some(rule), 6) => rule.name = if rule.name == USUAL.name { "who-serves" } else { USUAL.name },
            (Some(rule), 7) => rule.channel = if rule.channel == USUAL.channel { "{any}-chat" } else { USUAL.channel },
            (Some(rule), 8) => {
                rule.identity = if rule.identity == USUAL.identity { r#"["/staff_name"]"# } else { USUAL.identity }
            }
            (Some(rule), _) => rule.context = if rule.context == USUAL.context { "[]" } else { USUAL.context },
        }
        new
    }

    /// The whole file.
    pub fn toml(&self, listen: SocketAddr, upstream: SocketAddr) -> String {
        let millis = |duration: Duration| format!("\"{}ms\"", duration.as_millis());
        let unknown = if self.forwards_unknown_apps { "forward" } else { "reject" };
        let mut toml = format!(
            "[server]\nlisten = \"{listen}\"\nworkers = 2\nfast_path = {}\nunknown_apps = \"{unknown}\"\ndrain_period = {}\ndrain_delay = {}\n\
             [admin]\nlisten = \"{}:0\"\ntoken = \"{TOKEN}\"\n\
             [upstream]\nurl = \"http://{upstream}\"\ntimeout = {}\nconnect_timeout = {}\n\
             [limits]\nmax_wait = \"300ms\"\n[assignments]\ndoubt_period = {}\n[log]\nformat = \"json\"\n",
            self.fast_path,
            millis(self.lasting.drain),
            millis(self.lasting.delay),
            listen.ip(),
            millis(TIMEOUT),
            millis(CONNECT),
            millis(self.doubt),
        );
        for path in self.lasting.state.iter() {
            toml += &format!("[state]\npath = \"{}\"\nmax_age = {}\n", path.display(), millis(MAX_AGE));
        }
        let mut apps = vec![(sign::APP, sign::KEY, sign::SECRET)];
        apps.extend(self.knows_guest_app.then_some(GUEST_APP));
        for (id, key, secret) in apps {
            toml += &format!("[[apps]]\nid = \"{id}\"\nkey = \"{key}\"\nsecret = \"{secret}\"\n");
        }
        // There is always a rule: without any, the demonstration's would be in force.
        toml += "[[rules]]\nname = \"other\"\nevent = \"other\"\nchannel = \"other-{x}\"\nidentity = [\"/x\"]\n";
        for Rule { name, channel, identity, context, mode } in self.rule.iter() {
            toml += &format!(
                "[[rules]]\nname = \"{name}\"\nevent = \"staff-assigned\"\nchannel = \"{channel}\"\nidentity = {identity}\n"
            );
            toml += &format!("context = {context}\nreleased_by = [\"conversation-closed\"]\nmode = \"{mode}\"\n");
        }
        toml
    }
}
