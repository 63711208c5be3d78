//! `usher init`: writes a configuration that observes, checks it, and says what to change in the backend.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use clap::{Args, Parser as _};
use serde_json::Value;
use usher::rules::escaped;

use super::Arguments;
use super::terminal::{Printable, print};

const EXAMPLES: &str = "\
Examples:
  USHER_APPS__0__SECRET=… usher init --cluster eu --app-id 1001 --key 278d425bdf160c739803
  usher init --upstream http://127.0.0.1:6002 --app-id 1001 --key app-key --secret-file secret \\
    --event staff-assigned --channel grand-room-101-chat --data '{\"staff_id\": 7, \"conversation_id\": 3}'

The rule is made of one example, so it is a guess that observes: everything is forwarded. Look at it with usher explain, at
what it would drop in GET /report, and have better ones proposed from real traffic by usher suggest.";

/// The variable that has the secret of the app.
const SECRET_VARIABLE: &str = "USHER_APPS__0__SECRET";

/// The server behind usher, the app, and perhaps an example of the event that is announced again and again.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Init {
    /// The file to write.
    #[arg(short, long, value_name = "FILE", default_value = "usher.toml")]
    output: PathBuf,
    /// The Pusher-compatible server behind usher, e.g. http://127.0.0.1:6002.
    #[arg(long, value_name = "URL", required_unless_present = "cluster")]
    upstream: Option<String>,
    /// Pusher's own cluster behind usher, e.g. eu.
    #[arg(long, value_name = "NAME", conflicts_with = "upstream")]
    cluster: Option<String>,
    /// The app's id.
    #[arg(long, value_name = "ID")]
    app_id: String,
    /// The app's key.
    #[arg(long, value_name = "KEY")]
    key: String,
    /// A file with the app's secret; else it is taken from the variable USHER_APPS__0__SECRET.
    #[arg(long, value_name = "FILE")]
    secret_file: Option<PathBuf>,
    /// The event.
    #[arg(long, value_name = "NAME", requires = "channel", requires = "data")]
    event: Option<String>,
    /// A channel that it is sent to, or a template like {hotel}-room-{room}-chat.
    #[arg(long, value_name = "CHANNEL", requires = "event")]
    channel: Option<String>,
    /// What is sent with it, as JSON.
    #[arg(long, value_name = "JSON", requires = "event")]
    data: Option<String>,
    /// The pointer to who is announced, if the guess is wrong, e.g. /agent/id; several in their order of precedence.
    #[arg(long, value_name = "POINTER", requires = "event")]
    identity: Vec<String>,
}

/// What a rule says of the values in an event's data.
#[derive(Debug, Default, PartialEq, Eq)]
struct Guess {
    identity: Vec<String>,
    context: Vec<String>,
    ignore: Vec<String>,
}

impl Init {
    /// Writes the configuration, and runs `check` and `doctor` on it.
    ///
    /// # Errors
    /// The file is there already or cannot be written, or no rule follows from the example.
    pub(super) fn run(&self) -> anyhow::Result<ExitCode> {
        ensure!(
            self.secret_file.is_some() || std::env::var_os(SECRET_VARIABLE).is_some(),
            "the app's secret is missing: name a file that has it with --secret-file, or set {SECRET_VARIABLE}"
        );
        let text = self.configuration()?;
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(0o640).open(&self.output).with_context(|| {
                format!("{} cannot be written: is it there already? --output names another file", self.output.display())
            })?;
        file.write_all(text.as_bytes()).with_context(|| format!("{} cannot be written", self.output.display()))?;
        let path = Printable(&self.output.display().to_string()).to_string();
        print(format_args!(
            "{path} is written. It observes: everything is forwarded, and GET /report says what would be dropped.\n"
        ))?;
        let is_usable = self.runs("check")?;
        print(format_args!(""))?;
        let is_ready = is_usable == ExitCode::SUCCESS && self.runs("doctor")? == ExitCode::SUCCESS;
        print(self.next_steps(&path))?;
        Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Runs another command on the new file.
    fn runs(&self, command: &str) -> anyhow::Result<ExitCode> {
        print(format_args!("$ usher {command} --config {}", self.output.display()))?;
        let arguments = [Path::new("usher"), Path::new(command), Path::new("--config"), &self.output];
        Ok(Arguments::try_parse_from(arguments)?.run())
    }

    fn configuration(&self) -> anyhow::Result<String> {
        let mut text =
            String::from("# Written by usher init; config/usher.toml of usher's sources documents every key.\n\n");
        let server = match (&self.upstream, &self.cluster) {
            (Some(url), _) => format!("url = {}", quoted(url)),
            (None, Some(cluster)) => format!("cluster = {}", quoted(cluster)),
            (None, None) => bail!("name the server behind usher with --upstream or --cluster"),
        };
        write!(text, "[upstream]\n{server}\n\n[[apps]]\nid = {}\nkey = {}\n", quoted(&self.app_id), quoted(&self.key))?;
        match &self.secret_file {
            Some(file) => writeln!(text, "secret_file = {}", quoted(&file.display().to_string()))?,
            None => writeln!(text, "# The secret comes from the variable {SECRET_VARIABLE}.")?,
        }
        if let (Some(event), Some(channel), Some(data)) = (&self.event, &self.channel, &self.data) {
            text.push_str(&self.rule(event, channel, data)?);
        } else {
            text.push_str(
                "\n# No rule yet, so nothing is watched: usher suggest proposes some once events have come.\n",
            );
        }
        Ok(text)
    }

    fn rule(&self, event: &str, channel: &str, data: &str) -> anyhow::Result<String> {
        let data: Value = serde_json::from_str(data).context("--data is no JSON")?;
        let mut guess = Guess::of(&data);
        if !self.identity.is_empty() {
            guess.identity.clone_from(&self.identity);
            guess.context.retain(|pointer| !self.identity.contains(pointer));
        }
        ensure!(
            !guess.identity.is_empty(),
            "nothing in --data looks like who is announced: name it with --identity, e.g. --identity /agent/id"
        );
        let name: String = event.chars().map(|one| if one.is_ascii_alphanumeric() { one } else { '-' }).collect();
        Ok(format!(
            "\n# A guess from one example. Whatever else differs in an announcement makes it news (on_difference); name in `ignore`\n\
             # what may differ.\n[[rules]]\nname = {}\nevent = {}\nchannel = {}\nidentity = {}\ncontext = {}\nignore = {}\n\
             on_difference = \"forward\"\nmode = \"observe\"\n",
            quoted(name.trim_matches('-')),
            quoted(event),
            quoted(&template(channel)),
            list(&guess.identity),
            list(&guess.context),
            list(&guess.ignore),
        ))
    }

    /// What is to be done, here and in the backend.
    fn next_steps(&self, path: &str) -> String {
        let Self { app_id, key, .. } = self;
        format!(
            "\nStart it:\n  usher serve --config {path}\n\n\
             Point the backend at it (here on the same machine):\n  \
             Django, Flask  pusher.Pusher(app_id=\"{app_id}\", key=\"{key}\", secret=…, host=\"127.0.0.1\", port=6001, ssl=False)\n  \
             Node.js        new Pusher({{ appId: \"{app_id}\", key: \"{key}\", secret: …, host: \"127.0.0.1\", port: 6001, useTLS: false }})\n  \
             Laravel        PUSHER_HOST=127.0.0.1 PUSHER_PORT=6001 PUSHER_SCHEME=http      (in .env)\n  \
             Rails          Pusher.host = \"127.0.0.1\"; Pusher.port = 6001; Pusher.scheme = \"http\"\n\n\
             Then look: http://127.0.0.1:9601/ in a browser, usher tail, usher suggest, GET /report."
        )
    }
}

impl Guess {
    fn of(data: &Value) -> Self {
        let mut leaves = BTreeMap::new();
        collect(data, &mut String::new(), &mut leaves);
        let (mut guess, mut names) = (Self::default(), Vec::new());
        for (pointer, value) in leaves {
            let lower = pointer.to_ascii_lowercase();
            let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
            let is_id = lower.ends_with("id");
            let is_scalar = value.is_string() || value.is_number();
            if has(&["conversation", "ticket", "thread", "session", "shift"]) && is_id {
                guess.context.push(pointer);
            } else if has(&["staff", "agent", "user", "operator", "assignee", "employee", "host", "driver", "member"])
                && is_scalar
            {
                if is_id {
                    guess.identity.push(pointer);
                } else if lower.ends_with("name") {
                    names.push(pointer);
                } else if is_volatile(&lower) {
                    guess.ignore.push(pointer);
                }
            } else if is_volatile(&lower) {
                guess.ignore.push(pointer);
            }
        }
        guess.identity.extend(names);
        guess
    }
}

/// Whether a value at this pointer is likely another one in each event.
fn is_volatile(pointer: &str) -> bool {
    ["image", "avatar", "photo", "picture", "url", "timestamp", "/ts", "_at", "event_id", "signature", "nonce"]
        .iter()
        .any(|word| pointer.contains(word))
}

/// The scalars of `data` by their pointers.
fn collect<'v>(value: &'v Value, pointer: &mut String, leaves: &mut BTreeMap<String, &'v Value>) {
    let Value::Object(members) = value else {
        if !value.is_array() {
            leaves.insert(pointer.clone(), value);
        }
        return;
    };
    for (key, value) in members {
        let length = pointer.len();
        pointer.push('/');
        pointer.push_str(&escaped(key));
        collect(value, pointer, leaves);
        pointer.truncate(length);
    }
}

/// The family of a channel: each number in it may be another one. A template is taken as it is.
fn template(channel: &str) -> String {
    if channel.contains('{') {
        return channel.to_owned();
    }
    let mut family = String::new();
    let mut numbers = 0;
    let mut rest = channel;
    while let Some(start) = rest.find(|one: char| one.is_ascii_digit()) {
        let length = rest[start..].find(|one: char| !one.is_ascii_digit()).unwrap_or(rest.len() - start);
        numbers += 1;
        family.push_str(&rest[..start]);
        family.push_str(&format!("{{number{numbers}}}"));
        rest = &rest[start + length..];
    }
    family + rest
}

fn list(texts: &[String]) -> String {
    let texts: Vec<_> = texts.iter().map(|text| quoted(text)).collect();
    format!("[{}]", texts.join(", "))
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    // JSON's escapes are among those of TOML.
    Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_roles_of_values_are_guessed_by_their_names() {
        let guess = Guess::of(&json!({
            "staff_name": "Anna", "staff_id": 7, "staff_profile_image": "https://…", "conversation_id": 3, "sent_at": 1, "text": "hi",
            "staff": { "id": 7, "list": [1] },
        }));
        assert_eq!(guess.identity, ["/staff/id", "/staff_id", "/staff_name"]);
        assert_eq!(
            (guess.context, guess.ignore),
            (vec!["/conversation_id".into()], vec!["/sent_at".into(), "/staff_profile_image".into()])
        );
        assert_eq!(Guess::of(&json!({ "message": "hi" })), Guess::default());
    }

    #[test]
    fn numbers_in_a_channel_are_variable() {
        assert_eq!(template("grand-room-101-chat-7"), "grand-room-{number1}-chat-{number2}");
        assert_eq!(template("{hotel}-room-101"), "{hotel}-room-101");
        assert_eq!(template("lobby"), "lobby");
    }

    #[test]
    fn texts_are_quoted() {
        assert_eq!(quoted("a\"b\\c\n"), r#""a\"b\\c\n""#);
    }
}
