//! The conversation of the demo: the messages in room 204, and the events that follow from them.

use serde_json::{Value, json};

/// The guest's channel.
pub(super) const CHANNEL: &str = "grand-room-204-chat";

/// A staff member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Staff {
    /// The name that the guest's page shows.
    pub(super) name: &'static str,
    role: &'static str,
}

const ANNA: Staff = Staff { name: "Anna", role: "Receptionist" };
const BORIS: Staff = Staff { name: "Boris", role: "Night porter" };

/// A message. `from` is `None` for the guest.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message {
    pub(super) from: Option<Staff>,
    pub(super) text: &'static str,
}

/// An event that the backend triggers.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) name: &'static str,
    /// The text of `data`.
    pub(super) data: String,
}

/// The event by which the backend says who serves the conversation.
pub(super) const ANNOUNCEMENT: &str = "staff-assigned";

impl Message {
    /// The events of the message with this number. Before each message of a staff member, the backend announces that
    /// member again (README.md).
    pub(super) fn events(&self, number: usize) -> Vec<Event> {
        let Some(staff) = self.from else {
            return vec![event("new-message", &json!({ "id": number, "message": self.text }))];
        };
        // Different in every event, as signed URLs are: a comparison of whole bodies does not find the repetition.
        let image = format!(
            "https://img.example/{}.jpg?signature={:08x}",
            staff.name.to_lowercase(),
            number.wrapping_mul(0x9e37_79b9)
        );
        let info = json!({ "staff_name": staff.name, "staff_role": staff.role, "staff_profile_image": image });
        vec![
            event(ANNOUNCEMENT, &info),
            event("new-staff-message", &json!({ "id": number, "message": self.text, "staff_info": info })),
        ]
    }
}

fn event(name: &'static str, data: &Value) -> Event {
    Event { name, data: data.to_string() }
}

/// The staff members whose announcements should reach the guest, in order: each one that differs from the one before.
pub(super) fn handoffs(messages: &[Message]) -> Vec<String> {
    let mut names: Vec<String> = messages.iter().filter_map(|message| Some(message.from?.name.to_owned())).collect();
    names.dedup();
    names
}

/// All messages.
pub(super) fn messages() -> Vec<Message> {
    let guest = |text| Message { from: None, text };
    let parts: [(Message, Staff, &[&'static str]); 7] = [
        (guest("Hello, is anybody there?"), ANNA, &GREETING),
        (guest("Two more towels, please."), ANNA, &TOWELS),
        (guest("When is breakfast?"), ANNA, &BREAKFAST),
        (guest("There is a noise in the pipes."), BORIS, &PIPES),
        (guest("It is quiet now, thank you!"), BORIS, &QUIET),
        (guest("Can I keep the room till noon?"), BORIS, &NOON),
        (guest("Good morning! My bill, please."), ANNA, &BILL),
    ];
    let written = parts.into_iter().flat_map(|(guest, staff, texts)| {
        std::iter::once(guest).chain(texts.iter().map(move |text| Message { from: Some(staff), text }))
    });
    written.chain([guest("Thank you both, goodbye!")]).collect()
}

const GREETING: [&str; 5] = [
    "Good evening!",
    "Welcome to the Grand.",
    "I am at the desk until ten.",
    "Is the room as you like it?",
    "What can I do for you?",
];
const TOWELS: [&str; 6] = [
    "Of course.",
    "They are on their way.",
    "Large or small ones?",
    "I send both.",
    "Housekeeping is on your floor.",
    "They should be there now.",
];
const BREAKFAST: [&str; 6] = [
    "From half past six to ten.",
    "On the first floor.",
    "Eggs are made to order.",
    "Shall I book a table?",
    "At eight, by the window.",
    "Booked. Sleep well!",
];
const PIPES: [&str; 6] = [
    "Boris here, for the night.",
    "Sorry about that.",
    "Is it the bathroom?",
    "I shut the riser for a minute.",
    "Air in the heating, I think.",
    "Better now?",
];
const QUIET: [&str; 4] = ["Very good.", "I open the riser again.", "Hot water is back.", "Call me if it returns."];
const NOON: [&str; 5] =
    ["Let me look.", "Nobody comes before three.", "Noon is fine.", "No charge for that.", "I leave a note for Anna."];
const BILL: [&str; 9] = [
    "Good morning, Anna again.",
    "Boris told me about the pipes.",
    "I took one night's heating off.",
    "Two nights and one breakfast.",
    "Card or cash?",
    "Your card it is.",
    "The receipt comes by mail.",
    "A taxi to the station?",
    "It will be there at noon.",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conversation_has_two_handoffs_the_second_back_to_the_first() {
        let messages = messages();
        assert_eq!(handoffs(&messages), ["Anna", "Boris", "Anna"]);
        let announcements = messages
            .iter()
            .enumerate()
            .flat_map(|(number, message)| message.events(number))
            .filter(|event| event.name == ANNOUNCEMENT);
        assert_eq!(announcements.count(), 41, "the number that the documentation shows");
    }

    #[test]
    fn no_two_announcements_are_equal_as_bodies() {
        let messages = messages();
        let mut bodies: Vec<String> = messages
            .iter()
            .enumerate()
            .flat_map(|(number, message)| message.events(number))
            .filter(|event| event.name == ANNOUNCEMENT)
            .map(|event| event.data)
            .collect();
        let sent = bodies.len();
        bodies.sort();
        bodies.dedup();
        assert_eq!(bodies.len(), sent);
    }

    #[test]
    fn every_text_fits_its_column() {
        for message in messages() {
            assert!(message.text.chars().count() <= 31, "{}", message.text);
        }
    }
}
