//! The expectations of a case.

use super::case::Memory;

/// The accepted values for one response of a sequence.
pub type Alternatives = Vec<String>;

/// What must happen to the connection after the last response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ending {
    /// Not specified: the runner closes its half, and nothing more may arrive.
    #[default]
    Either,
    /// usher closes it.
    Closes,
    /// It serves another request.
    Stays,
}

/// The section `expect` of a case. All keys except `status` and `upstream` are optional.
#[derive(Debug, Clone, Default)]
pub struct Expect {
    /// The final answers in their order; `none`: the connection ends instead.
    pub status: Vec<Alternatives>,
    /// `usher-decision` of each answer; `none`: no such header.
    pub decision: Vec<Alternatives>,
    /// `usher-error` of the last answer.
    pub error: Alternatives,
    pub ending: Ending,
    /// The number of requests that reach upstream.
    pub upstream: Vec<usize>,
    /// The target of the first of them; `same`: as sent.
    pub upstream_target: Option<String>,
    /// Its body; `same`: as sent.
    pub upstream_body: Option<String>,
    /// Its headers (`name: value`), those of one name in this order.
    pub upstream_headers: Vec<(String, String)>,
    /// Bytes that its head must contain.
    pub upstream_has: Vec<String>,
    /// Header names that it must not have.
    pub upstream_lacks: Vec<String>,
    /// Headers of the last answer.
    pub answer_headers: Vec<(String, String)>,
    /// Header names that no answer may have.
    pub answer_lacks: Vec<String>,
    /// The last answer's body.
    pub answer_body: Option<String>,
    /// The assignments that are remembered afterwards, and those that are not.
    pub after: Vec<(Memory, bool)>,
}

impl Expect {
    /// Reads the section.
    pub fn parse(lines: &[String]) -> Result<Self, String> {
        let mut expect = Self::default();
        for line in lines.iter().filter(|line| !line.is_empty()) {
            let (key, value) = line.split_once(": ").ok_or_else(|| format!("not `key: value`: {line}"))?;
            expect.set(key, value)?;
        }
        if expect.status.is_empty() || expect.upstream.is_empty() {
            return Err("`status` and `upstream` must be expected".to_owned());
        }
        Ok(expect)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "status" => self.status = sequence(value)?,
            "decision" => self.decision = sequence(value)?,
            "error" => self.error = alternatives(value),
            "closed" => {
                self.ending = match value {
                    "yes" => Ending::Closes,
                    "no" => Ending::Stays,
                    _ => return Err(format!("closed: {value}")),
                }
            }
            "upstream" => {
                self.upstream = alternatives(value)
                    .iter()
                    .map(|count| count.parse())
                    .collect::<Result<_, _>>()
                    .map_err(|_| value)?
            }
            "upstream-target" => self.upstream_target = Some(value.to_owned()),
            "upstream-body" => self.upstream_body = Some(value.to_owned()),
            "upstream-header" => self.upstream_headers.push(header(value)?),
            "upstream-has" => self.upstream_has.push(value.to_owned()),
            "upstream-lacks" => self.upstream_lacks.extend(value.split(", ").map(str::to_owned)),
            "answer-header" => self.answer_headers.push(header(value)?),
            "answer-lacks" => self.answer_lacks.extend(value.split(", ").map(str::to_owned)),
            "answer-body" => self.answer_body = Some(value.to_owned()),
            "after" => self.after.push(memory(value)?),
            _ => return Err(format!("unknown expectation {key}")),
        }
        Ok(())
    }
}

/// `c1 = A` or `c1 != A`.
fn memory(value: &str) -> Result<(Memory, bool), String> {
    match value.split_once(" != ") {
        Some((channel, data)) => Ok((Memory::parse(&format!("{channel} = {data}"))?, false)),
        None => Ok((Memory::parse(value)?, true)),
    }
}

fn header(value: &str) -> Result<(String, String), String> {
    let (name, value) = value.split_once(": ").ok_or_else(|| format!("not a header: {value}"))?;
    Ok((name.to_owned(), value.to_owned()))
}

fn alternatives(value: &str) -> Alternatives {
    value.split('|').map(str::to_owned).collect()
}

/// `200, 400|none`, `200 x100`.
fn sequence(value: &str) -> Result<Vec<Alternatives>, String> {
    let mut places = Vec::new();
    for place in value.split(", ") {
        let (choice, times) = place.split_once(" x").unwrap_or((place, "1"));
        let times: usize = times.parse().map_err(|_| format!("not a count: {place}"))?;
        places.extend(std::iter::repeat_n(alternatives(choice), times));
    }
    Ok(places)
}

#[test]
fn sequences_have_alternatives_and_repetitions() {
    assert_eq!(sequence("200 x2, 400|none").unwrap(), [vec!["200"], vec!["200"], vec!["400", "none"]]);
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    assert!(Expect::parse(&lines("status: 200")).is_err());
    assert!(Expect::parse(&lines("status: 200\nupstream: 1\nsomething: else")).is_err());
    let expect = Expect::parse(&lines("status: 200\nupstream: 0|1\nafter: c1 != A\nclosed: yes")).unwrap();
    assert_eq!((expect.upstream, expect.after[0].1, expect.ending), (vec![0, 1], false, Ending::Closes));
}
