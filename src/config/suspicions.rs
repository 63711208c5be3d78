//! Values that are valid and probably wrong: references to variables that nothing expands, `*` where there are no
//! wildcards, rules that match the same events, and rules that the contract contradicts.

use super::Config;
use super::problem::{Warning, quote};
use super::report::{Report, nearest};
use super::tree::{Node, Table, Value};
use crate::rules::{Contract, LateJoiners, Mode, Rule};

/// Warns of each text in `tree` with a `${…}` in it: usher expands none. The text is not repeated, since it may be a
/// part of a secret.
pub(super) fn warn_of_references(tree: &Table, report: &mut Report) {
    for (name, node) in tree {
        warn_of_reference(name, node, report);
    }
}

fn warn_of_reference(key: &str, node: &Node, report: &mut Report) {
    match &node.value {
        Value::Raw(text) | Value::Text(text) => {
            if text.split_once("${").is_some_and(|(_, rest)| rest.contains('}')) {
                report.warnings.push(Warning {
                    origin: node.origin.clone(),
                    key: key.to_owned(),
                    code: "unexpanded_reference",
                    message: format!(
                        "`{}`: the value has `${{…}}` in it, which usher takes literally.",
                        key.escape_debug()
                    ),
                    cure: format!(
                        "Set {} instead, which takes precedence over the file.",
                        super::problem::variable(key)
                    ),
                });
            }
        }
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                warn_of_reference(&format!("{key}.{index}"), item, report);
            }
        }
        Value::Table(table) => {
            for (name, item) in table {
                warn_of_reference(&format!("{key}.{name}"), item, report);
            }
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Other(_) => {}
    }
}

/// Warns of suspicious rules and entries of the contract.
pub(super) fn warn(config: &Config, report: &mut Report) {
    // A rule that has problems is not in the list, and the others have other numbers than in the file then.
    if !report.problems.is_empty() {
        return;
    }
    for (index, rule) in config.rules.iter().enumerate() {
        let key = format!("rules.{index}");
        warn_of_wildcard(&format!("{key}.event"), [rule.spec().event.as_str()], report);
        warn_of_wildcard(&format!("{key}.released_by"), rule.spec().released_by.iter().map(String::as_str), report);
        warn_of_overlap(index, config, report);
        warn_of_contract(&key, rule, config, report);
        warn_of_unseen_clients(&key, rule, config, report);
    }
    for (index, entry) in config.events.iter().enumerate() {
        warn_of_wildcard(&format!("events.{index}.name"), [entry.spec().name.as_str()], report);
    }
}

fn warn_of_wildcard<'e>(key: &str, events: impl IntoIterator<Item = &'e str>, report: &mut Report) {
    for event in events.into_iter().filter(|event| event.contains('*')) {
        let message = format!("`{key}`: {} is taken literally: the name of an event has no wildcards.", quote(event));
        report.warn(
            key,
            "event_wildcard",
            message,
            "Write the event's name as the backend sends it; one rule for each event.",
        );
    }
}

/// Warns if the rule with this index and an earlier one may match the same event on the same channel of an app.
fn warn_of_overlap(index: usize, config: &Config, report: &mut Report) {
    let (earlier, rest) = config.rules.split_at(index);
    let Some(rule) = rest.first().filter(|rule| rule.spec().mode != Mode::Off) else { return };
    for (other_index, other) in earlier.iter().enumerate().filter(|(_, other)| other.spec().mode != Mode::Off) {
        let shares_app = config.apps.iter().any(|app| rule.is_for(app.id()) && other.is_for(app.id()));
        let Some(channel) = rule.overlap(other).filter(|_| shares_app) else { continue };
        let key = format!("rules.{index}.channel");
        let message = format!(
            "`{key}`: the rules {} and {} (`rules.{other_index}`) both match the event {}, e.g. on the channel {}: it is dropped only where both find \
             it redundant.",
            quote(&rule.spec().name),
            quote(&other.spec().name),
            quote(&rule.spec().event),
            quote(&channel)
        );
        let cure = "Make one rule of them, or tell them apart by `channel`, `where` or `apps`.";
        report.warn(&key, "overlapping_rules", message, cure);
    }
}

/// Warns of what a rule asks about clients that usher certainly does not see, or does not do.
fn warn_of_unseen_clients(key: &str, rule: &Rule, config: &Config, report: &mut Report) {
    let spec = rule.spec();
    if spec.mode == Mode::Off {
        return;
    }
    let (late_joiners, detect_bypass) = (format!("{key}.late_joiners"), format!("{key}.detect_bypass"));
    if spec.late_joiners == LateJoiners::Replay && config.cluster.is_some() {
        let message =
            format!("`{late_joiners}`: a shared memory (`[cluster]`) replays nothing: \"replay\" acts as \"forward\".");
        report.warn(&late_joiners, "replay_shared", message, "Write \"forward\", so that the file says what happens.");
    }
    if spec.detect_bypass && config.upstream.is_local() {
        let message =
            format!("`{detect_bypass}`: nobody can announce beside the embedded broker, so there is nothing to find.");
        report.warn(&detect_bypass, "bypass_of_local", message, "Leave it out.");
    }
    if !sees_no_client(config) {
        return;
    }
    let cure = "Connect the clients through usher: set upstream.websocket_url to the server for WebSocket connections.";
    let why = "the server of upstream.url has Pusher's HTTP API alone, so no client connects through usher";
    // Webhooks of that server may tell who comes.
    if spec.late_joiners != LateJoiners::Ignore && config.incoming_webhooks.is_none() {
        let message = format!(
            "`{late_joiners}`: {why}, and anybody may have come before each announcement: \"{}\" drops nothing.",
            spec.late_joiners.label()
        );
        report.warn(&late_joiners, "no_client_seen", message, cure);
    }
    if spec.detect_bypass {
        let message = format!("`{detect_bypass}`: {why}, and nothing is found in what no client is sent.");
        report.warn(&detect_bypass, "no_client_seen", message, cure);
    }
}

/// Whether it is certain that usher sees no client: neither the embedded broker nor a server that takes WebSocket
/// connections is behind it. Pusher has hosts of their own for these.
fn sees_no_client(config: &Config) -> bool {
    let server = config.upstream.websocket_url.as_ref().unwrap_or(&config.upstream.url);
    let host = server.host().unwrap_or_default().to_ascii_lowercase();
    let is_pushers = host.ends_with(".pusher.com") || host.ends_with(".pusherapp.com");
    is_pushers && (host.starts_with("api.") || host.starts_with("api-"))
}

/// Warns if the contract of an app does not have the rule's event, or has it on other channels alone.
fn warn_of_contract(key: &str, rule: &Rule, config: &Config, report: &mut Report) {
    for app in config.apps.iter().map(crate::pusher::App::id).filter(|app| rule.is_for(app)) {
        let entries: Vec<_> = config.events.iter().filter(|entry| entry.is_for(app)).collect();
        let contract = Contract::new(&config.events, app);
        let (event, channel) = (rule.spec().event.as_str(), rule.spec().channel.as_str());
        let named: Vec<_> = entries.iter().filter(|entry| entry.spec().name == event).collect();
        if entries.is_empty() || named.iter().any(|entry| rule.shares_channel(entry)) {
            continue;
        }
        let (key, message, cure) = if named.is_empty() {
            let similar = nearest(event, contract.events().map(|name| &**name));
            let meant = similar.map(|name| format!(" Did you mean `{name}`?")).unwrap_or_default();
            (
                format!("{key}.event"),
                format!("`{key}.event`: no entry of `[[events]]` has the event {}.{meant}", quote(event)),
                "Add an entry for it, or mend the rule's event.".to_owned(),
            )
        } else {
            let expected: Vec<_> = named.iter().map(|entry| quote(&entry.spec().channel)).collect();
            (
                format!("{key}.channel"),
                format!(
                    "`{key}.channel`: no channel matches {} and the entries of `[[events]]` for the event {}, which expect {}.",
                    quote(channel),
                    quote(event),
                    expected.join(" or ")
                ),
                "Mend the rule's channel, or add an entry.".to_owned(),
            )
        };
        report.warn(&key, "rule_against_contract", message, cure);
        return;
    }
}

#[cfg(test)]
mod tests {
    use super::super::problem::Origin;
    use super::super::tree;
    use super::*;

    #[test]
    fn references_are_found_at_any_depth() {
        let text =
            "a = \"${X}\"\n[b]\nc = [\"x\", \"y ${Y} z\"]\nd = { \"/e\" = \"${Z}\" }\nf = \"$X {Y} ${\"\ng = 1\n";
        let mut report = Report::default();
        warn_of_references(&tree::parse(&std::path::Path::new("x.toml").into(), text).unwrap(), &mut report);
        let found: Vec<_> =
            report.warnings.iter().map(|warning| (warning.key.as_str(), warning.origin.line())).collect();
        assert_eq!(found, [("a", Some(1)), ("b.c.1", Some(3)), ("b.d./e", Some(4))]);
        assert!(!report.warnings[0].to_string().contains("X}") && report.warnings[0].origin != Origin::Default);
    }
}
