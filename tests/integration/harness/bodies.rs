//! Trigger bodies as the libraries write them (pusher-protocol.md 3.1).

use serde_json::{Value, json};

/// The event that the tests' rule watches.
pub const ANNOUNCEMENT: &str = "staff-assigned";

/// The libraries that differ in how they write the same event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Library {
    Node,
    Python,
    Php,
    Ruby,
    Go,
    Java,
}

pub const LIBRARIES: [Library; 6] =
    [Library::Node, Library::Python, Library::Php, Library::Ruby, Library::Go, Library::Java];

impl Library {
    /// The body of a trigger; `data` is the text inside the JSON string.
    pub fn body(self, name: &str, channels: &[&str], data: &str) -> String {
        let list =
            format!("[{}]", channels.iter().map(|channel| format!("\"{channel}\"")).collect::<Vec<_>>().join(","));
        let text = quoted(data);
        match self {
            Self::Node => format!(r#"{{"name":"{name}","data":{text},"channels":{list}}}"#),
            Self::Python => {
                format!(r#"{{"name": "{name}", "channels": {}, "data": {}}}"#, list.replace(',', ", "), ascii(&text))
            }
            Self::Php if channels.len() == 1 => {
                format!(r#"{{"name":"{name}","data":{},"channel":"{}"}}"#, slashed(&ascii(&text)), channels[0])
            }
            Self::Php => format!(r#"{{"name":"{name}","data":{},"channels":{list}}}"#, slashed(&ascii(&text))),
            Self::Ruby => format!(r#"{{"name":"{name}","channels":{list},"data":{text}}}"#),
            Self::Go => format!(r#"{{"channels":{list},"data":{},"name":"{name}"}}"#, angled(&text)),
            Self::Java => format!(r#"{{"channels":{list},"name":"{name}","data":{text}}}"#),
        }
    }
}

fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}

fn ascii(text: &str) -> String {
    let mut units = [0; 2];
    let escape = |character: char| {
        character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect::<String>()
    };
    let mut escape = escape;
    text.chars().map(|character| if character.is_ascii() { character.to_string() } else { escape(character) }).collect()
}

fn slashed(text: &str) -> String {
    text.replace('/', "\\/")
}

fn angled(text: &str) -> String {
    text.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// The data of a `staff-assigned` event without id, as real backends send it.
pub fn staff(name: &str) -> String {
    json!({ "staff_name": name, "staff_role": "Receptionist", "staff_profile_image": null }).to_string()
}

/// The same with a signed image address that differs in every call.
pub fn staff_with_image(name: &str, signature: usize) -> String {
    let image = format!("https://cdn.example/{}.jpg?Expires={signature}&Signature=s{signature}", name.len());
    json!({ "staff_name": name, "staff_role": "Receptionist", "staff_profile_image": image }).to_string()
}

/// An announcement of `staff` on one channel, in Node's form.
pub fn announcement(channel: &str, name: &str) -> String {
    announcement_on(&[channel], name)
}

/// An announcement of `staff` on several channels, in Node's form.
pub fn announcement_on(channels: &[&str], name: &str) -> String {
    Library::Node.body(ANNOUNCEMENT, channels, &staff(name))
}

/// A message that no rule watches.
pub fn message(channel: &str, text: &str) -> String {
    Library::Node.body(
        "new-staff-message",
        &[channel],
        &json!({ "message": text, "staff_info": { "name": "Anna Byrne" } }).to_string(),
    )
}

/// An item of a batch.
pub fn item(name: &str, channel: &str, data: &str) -> String {
    format!(r#"{{"channel":"{channel}","name":"{name}","data":{}}}"#, quoted(data))
}

/// A batch of these items.
pub fn batch(items: &[String]) -> String {
    format!(r#"{{"batch":[{}]}}"#, items.join(","))
}
