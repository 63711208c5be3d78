//! Which changes are told, each once.

use super::*;
use crate::cluster::{Cause, SwitchedModes, Why};

fn look(standing: Standing, number: u64, open: Option<Open>) -> Look {
    let entered = Entered {
        now: 1_000,
        history: "h".to_owned(),
        lease_until: 2_000,
        epoch: 7,
        doubt_left: Duration::ZERO,
        open,
        open_until: 61_000,
        cause: Cause::History,
        present: 1,
        missing: 0,
        switched: SwitchedModes::default(),
    };
    Look { standing, number, loss: None, entered: (number > 0).then_some(entered) }
}

#[test]
fn each_change_is_told_once() {
    let outside = look(Standing::Outside, 0, None);
    let member = |number, open| look(Standing::Member, number, open);
    let open = member(1, Some(Open::History));
    let away = |standing| look(standing, 1, Some(Open::History));
    let problem = Problem::NoPrimary { server: crate::cluster::Address { host: "a".to_owned(), port: 1 } };
    let steps = [
        (&outside, &outside, None),
        (&outside, &open, Some(Change::Entered)),
        (&open, &open, None),
        (&open, &member(1, Some(Open::Missing)), Some(Change::Opened(Open::Missing))),
        (&open, &member(1, None), Some(Change::Closed)),
        (&open, &away(Standing::Silent), Some(Change::Lost)),
        (&away(Standing::Silent), &away(Standing::Silent), None),
        (&away(Standing::Silent), &away(Standing::Blind), Some(Change::Blind)),
        (&away(Standing::Blind), &away(Standing::Isolated), Some(Change::Isolated)),
        (&away(Standing::Isolated), &away(Standing::Isolated), None),
        (&away(Standing::Isolated), &member(2, None), Some(Change::Back)),
        // So fast that nobody has looked in between.
        (&open, &member(2, Some(Open::History)), Some(Change::Back)),
        (&outside, &look(Standing::Isolated, 0, None), Some(Change::Isolated)),
        (&look(Standing::Isolated, 0, None), &member(1, None), Some(Change::Entered)),
        (&open, &away(Standing::Replaced), Some(Change::Replaced)),
    ];
    for (before, now, expected) in steps {
        assert_eq!(change(before, now, false, None), expected, "{before:?} {now:?}");
    }
    assert_eq!(change(&outside, &outside, false, Some(&problem)), Some(Change::Waits));
    assert_eq!(change(&outside, &outside, true, Some(&problem)), None);
    assert_eq!(change(&open, &open, false, Some(&problem)), None, "its own lines tell of it");
}

#[test]
fn what_is_open_and_until_when_is_said() {
    let open = look(Standing::Member, 1, Some(Open::History)).entered.unwrap();
    assert_eq!(open_seconds(&open), Some(60.0));
    assert_eq!(open_seconds(&Entered { open: Some(Open::Missing), ..open }), None);
    for open in Open::ALL {
        assert!(consequence(open.label()).len() > "nothing is suppressed".len(), "{open:?}");
    }
    assert!(words(Loss::Refused(Why::History)).contains("history"));
}
