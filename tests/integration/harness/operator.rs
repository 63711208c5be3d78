//! The operator's page in headless Chromium.

use serde_json::{Value, json};

use super::actor::{Actor, node};
use super::admin::Admin;

/// A browser with the page.
#[derive(Debug)]
pub struct Operator {
    actor: Actor,
}

impl Operator {
    /// Opens the page on a desktop.
    pub fn open(admin: Admin) -> Self {
        Self::open_on(admin, 1200, "light")
    }

    /// Opens it in a window of this width, in the color scheme `light` or `dark`.
    pub fn open_on(admin: Admin, width: u16, scheme: &str) -> Self {
        Self::open_at(admin, width, scheme, "")
    }

    /// Opens it there at an address with this fragment.
    pub fn open_at(admin: Admin, width: u16, scheme: &str, fragment: &str) -> Self {
        let mut command = node("operator.mjs");
        command.arg(format!("http://{}/", admin.0)).arg(width.to_string()).arg(scheme).arg(fragment);
        let operator = Self { actor: Actor::start(command) };
        operator.actor.wait("the page", |report| report["open"] == true);
        operator
    }

    /// Sends a command of operator.mjs.
    #[track_caller]
    pub fn ask(&self, order: &str, with: Value) -> Value {
        self.actor.ask(order, with)
    }

    /// Waits until an element of this kind shows this text.
    #[track_caller]
    pub fn sees(&self, selector: &str, text: &str) {
        self.ask("see", json!([selector, text]));
    }

    /// Waits until no visible element of this kind shows this text.
    #[track_caller]
    pub fn misses(&self, selector: &str, text: &str) {
        self.ask("miss", json!([selector, text]));
    }

    /// Opens the row of a trigger with this text.
    #[track_caller]
    pub fn opens(&self, text: &str) {
        self.ask("open", json!([text]));
    }

    /// Checks that axe finds no violation.
    #[track_caller]
    pub fn is_accessible(&self, what: &str) {
        assert_eq!(self.ask("axe", json!([])), json!([]), "{what}");
    }

    /// The texts of all elements of this kind.
    #[track_caller]
    pub fn reads(&self, selector: &str) -> Vec<String> {
        serde_json::from_value(self.ask("read", json!([selector]))).unwrap()
    }

    #[track_caller]
    pub fn clicks(&self, button: &str) {
        self.ask("click", json!(["button", button]));
    }

    #[track_caller]
    pub fn fills(&self, label: &str, text: &str) {
        self.ask("fill", json!([label, text]));
    }

    #[track_caller]
    pub fn selects(&self, label: &str, option: &str) {
        self.ask("select", json!([label, option]));
    }

    /// Chooses a radio button.
    #[track_caller]
    pub fn chooses(&self, option: &str) {
        self.ask("choose", json!(["radio", option]));
    }

    #[track_caller]
    pub fn presses(&self, key: &str) {
        self.ask("press", json!([key]));
    }

    /// Presses Tab until this element has the focus, and fails at an element without a visible focus.
    #[track_caller]
    pub fn tabs_to(&self, name: &str) {
        for _ in 0..60 {
            self.presses("Tab");
            let focused = self.ask("focused", json!([]));
            assert_eq!(focused["outlined"], true, "one cannot see where the focus is: {focused}");
            if focused["name"] == name {
                return;
            }
        }
        panic!("no {name} within reach of Tab");
    }

    /// Errors that the browser reported, and requests to other hosts. `expected`: parts of addresses whose errors are
    /// part of the test.
    pub fn complaints(&self, expected: &[&str]) -> Vec<Value> {
        let is_expected =
            |report: &Value| report["of"].as_str().is_some_and(|of| expected.iter().any(|part| of.contains(part)));
        let complains =
            |report: &Value| report["foreign"].is_string() || report["complaint"].is_string() && !is_expected(report);
        self.actor.reports().into_iter().filter(complains).collect()
    }
}
