//! A report in the XML that JUnit writes and CI servers read.

use std::fmt::Write as _;

use super::outcome::Outcome;

/// The report of a run.
pub(super) fn report(outcomes: &[Outcome]) -> String {
    let failed = outcomes.iter().filter(|outcome| !outcome.failures.is_empty()).count();
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let mut line = |text: std::fmt::Arguments<'_>| writeln!(xml, "{text}").expect("a string takes any text");
    let counts = format!("tests=\"{}\" failures=\"{failed}\" errors=\"0\"", outcomes.len());
    line(format_args!("<testsuites {counts}>\n  <testsuite name=\"usher test\" {counts}>"));
    for outcome in outcomes {
        let (name, place) = (Text(&outcome.name), Text(&outcome.place));
        if outcome.failures.is_empty() {
            line(format_args!("    <testcase name=\"{name}\" classname=\"{place}\"/>"));
            continue;
        }
        line(format_args!("    <testcase name=\"{name}\" classname=\"{place}\">"));
        for failure in &outcome.failures {
            let (summary, details) = (Text(&failure.summary), Text(&failure.details));
            line(format_args!("      <failure message=\"{summary}\">{details}</failure>"));
        }
        line(format_args!("    </testcase>"));
    }
    line(format_args!("  </testsuite>\n</testsuites>"));
    xml
}

/// Text in XML 1.0, within an element or an attribute. Characters that XML has no form for are left out.
struct Text<'t>(&'t str);

impl std::fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for character in self.0.chars() {
            match character {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\n' => f.write_str("&#10;")?,
                '\u{fffe}' | '\u{ffff}' => {}
                character if character.is_control() => {}
                character => f.write_char(character)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::outcome::Failure;
    use super::*;

    #[test]
    fn names_and_differences_are_escaped() {
        let outcome = |name: &str, failures| Outcome {
            name: name.to_owned(),
            place: "a.toml:1:1".to_owned(),
            steps: 1,
            failures,
        };
        let failure = Failure { summary: "step 1".to_owned(), details: "got <b> & \"c\"\nrule\u{1b}".to_owned() };
        let report = report(&[outcome("a \"name\"", Vec::new()), outcome("b", vec![failure])]);
        assert_eq!(
            report,
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>
<testsuites tests=\"2\" failures=\"1\" errors=\"0\">
  <testsuite name=\"usher test\" tests=\"2\" failures=\"1\" errors=\"0\">
    <testcase name=\"a &quot;name&quot;\" classname=\"a.toml:1:1\"/>
    <testcase name=\"b\" classname=\"a.toml:1:1\">
      <failure message=\"step 1\">got &lt;b&gt; &amp; &quot;c&quot;&#10;rule</failure>
    </testcase>
  </testsuite>
</testsuites>
"
        );
    }
}
