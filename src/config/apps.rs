//! `[[apps]]`: the apps that usher serves, each with one pair of key and secret or more.

use std::collections::BTreeMap;

use super::Server;
use super::address::is_loopback;
use super::problem::Origin;
use super::rules::warn_unwatched;
use super::section::Section;
use super::webhooks;
use crate::gateway::UnknownApps;
use crate::pusher::{App, KeyPair};
use crate::upstream;
use crate::webhooks::Target;

/// The secret of the demo app, which is public.
pub(super) const DEMO_SECRET: &str = "usher-secret";

/// The secret in config/hotel.toml, in whose place the app's own secret is expected.
pub(super) const PLACEHOLDER_SECRET: &str = "not-the-secret";

/// The `apps` and `rules` without a file: a demo app, and the rule for announcements of staff members.
pub(super) fn default_lists() -> String {
    format!(
        r#"
        [[apps]]
        id = "1001"
        key = "usher-key"
        secret = "{DEMO_SECRET}"

        [[rules]]
        name = "staff-assigned"
        event = "staff-assigned"
        channel = "{{hotelSlug}}-room-{{roomNumber}}-chat"
        identity = ["/staff_id", "/staff_name"]
        context = ["/conversation_id"]
        ignore = ["/staff_profile_image", "/staff_role"]
        "#
    )
}

/// What `[[apps]]` holds.
pub(super) struct Apps {
    pub(super) apps: Vec<App>,
    /// As written. They include those of refused apps, so that rules may name them without a second problem.
    pub(super) ids: Vec<String>,
    /// Of all apps.
    pub(super) webhooks: Vec<Target>,
}

/// Reads the apps.
pub(super) fn read(root: &mut Section<'_>, server: &Server, upstream: &upstream::Options) -> Apps {
    let (mut unique_names, mut webhooks) = (UniqueNames::default(), Vec::new());
    let apps = root.sections("apps", |section| {
        let app = app(section, server, &mut unique_names);
        webhooks.append(&mut webhooks::of_app(section, &app.0, upstream));
        app
    });
    match server.unknown_apps {
        UnknownApps::Reject if apps.is_empty() => root.problem(
            "apps",
            "There is no app, so every trigger would be refused. Name one in `[[apps]]` or by USHER_APPS__0__ID, USHER_APPS__0__KEY and \
             USHER_APPS__0__SECRET, or set `server.unknown_apps` to \"forward\".",
        ),
        UnknownApps::Forward if apps.is_empty() => warn_unwatched(root, "apps", "app"),
        UnknownApps::Reject | UnknownApps::Forward => {}
    }
    let ids = apps.iter().map(|(id, _)| id.clone()).collect();
    Apps { apps: apps.into_iter().filter_map(|(_, app)| app).collect(), ids, webhooks }
}

/// Ids and keys, and the app that has each.
#[derive(Default)]
struct UniqueNames {
    ids: BTreeMap<String, String>,
    keys: BTreeMap<String, String>,
}

fn app(section: &mut Section<'_>, server: &Server, unique_names: &mut UniqueNames) -> (String, Option<App>) {
    let id = section.required("id", "1001", |id| check_characters(id, "-_"));
    check_unique(section, "id", &id, "Each app has its own id.", &mut unique_names.ids);
    let key = key(section, unique_names);
    let own = ["id", "key"].into_iter().any(|key| section.origin(key) != Origin::Default);
    let secret = section.secret("secret", "secret_file").map(|given| {
        // The demo secret belongs to the demo app: an app that is half configured by variables does not inherit it.
        let inherited =
            own && section.origin("secret") == Origin::Default && section.origin("secret_file") == Origin::Default;
        given.filter(|_| !inherited).map(|(_, secret)| secret)
    });
    if secret == Ok(None) {
        report_missing_secret(section, "app");
    }
    warn_of_id(section, &id);
    let others = section.sections("keys", |section| pair(section, server, unique_names));
    let Ok(Some(secret)) = secret else { return (id, None) };
    warn_of_demo_secret(section, server, &secret);
    let app = App::new(&id, &key, &secret).with_pairs(others.into_iter().flatten().collect());
    (id, Some(app))
}

/// One of `[[apps.keys]]`: a further pair of an app.
fn pair(section: &mut Section<'_>, server: &Server, unique_names: &mut UniqueNames) -> Option<KeyPair> {
    let key = key(section, unique_names);
    let secret = section.secret("secret", "secret_file").map(|given| given.map(|(_, secret)| secret));
    if secret == Ok(None) {
        report_missing_secret(section, "key");
    }
    let secret = secret.ok().flatten()?;
    warn_of_demo_secret(section, server, &secret);
    Some(KeyPair::new(&key, &secret))
}

fn key(section: &mut Section<'_>, unique_names: &mut UniqueNames) -> String {
    let key = section.required("key", "278d425bdf160c739803", |key| check_characters(key, "-_.~"));
    let rule = "A key belongs to one app and has one secret.";
    check_unique(section, "key", &key, rule, &mut unique_names.keys);
    key
}

fn report_missing_secret(section: &mut Section<'_>, owner: &str) {
    let message = format!(
        "The {owner} has no secret. Set `{}`, name a file in `{}`, or set {}.",
        section.key("secret"),
        section.key("secret_file"),
        super::problem::variable(&section.key("secret"))
    );
    section.missing("secret", message);
}

fn warn_of_id(section: &mut Section<'_>, id: &str) {
    if !id.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = format!(
            "`{}`: the Python library takes an app id of digits only, and this one has others.",
            section.key("id")
        );
        section.warn("id", "app_id_with_letters", message, "");
    }
}

fn warn_of_demo_secret(section: &mut Section<'_>, server: &Server, secret: &str) {
    if secret == DEMO_SECRET && !is_loopback(server.listen) {
        let message = format!(
            "`{}`: this is the demo app's secret, which everybody knows, and others can reach `server.listen`.",
            section.key("secret")
        );
        section.warn("secret", "demo_secret", message, "Give the app a secret of its own.");
    }
    if secret == PLACEHOLDER_SECRET {
        let key = section.key("secret");
        let message = format!(
            "`{key}`: this is the placeholder of config/hotel.toml, so each call of a backend would be refused."
        );
        let cure = format!(
            "Write the app's own secret, or set {}, or name a file in `{}`.",
            super::problem::variable(&key),
            section.key("secret_file")
        );
        section.warn("secret", "placeholder_secret", message, cure);
    }
}

fn check_characters(text: &str, allowed: &str) -> Result<(), String> {
    let fits = text.chars().all(|c| c.is_ascii_alphanumeric() || allowed.contains(c));
    let allowed: Vec<_> = allowed.chars().map(String::from).collect();
    if fits {
        Ok(())
    } else {
        Err(format!("It stands in paths, so only ASCII letters, digits and {} may be in it.", allowed.join(" ")))
    }
}

fn check_unique(
    section: &mut Section<'_>,
    key: &str,
    value: &str,
    rule: &str,
    unique_names: &mut BTreeMap<String, String>,
) {
    let this = section.key(key);
    match unique_names.get(value) {
        Some(other) if !value.is_empty() => section.problem(key, format!("`{other}` is the same. {rule}")),
        _ => {
            unique_names.insert(value.to_owned(), this);
        }
    }
}
