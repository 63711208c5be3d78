//! The text of a case turned into bytes: line ends, `\xNN` escapes and `{{directives}}` (tests/corpus/README.md).

use crate::harness::sign;

/// The other app of the corpus, for requests that combine two apps.
pub const OTHER_APP: &str = "4";
pub const OTHER_KEY: &str = "b74f1f2c0c1c43ad1f0b";
pub const OTHER_SECRET: &str = "51d0e4a3b8c79f6e2d10";

/// The placeholder for a signature until its request line is complete.
const MARK: char = '\u{1}';

/// The values of the directives in one run of a case.
#[derive(Debug, Clone)]
pub struct Context {
    /// Seconds since the Unix epoch, read once per run.
    pub now: u64,
    /// The hotel of this run, so that no two runs use the same channels.
    pub hotel: String,
    /// The body of the request that is being written.
    pub body: Vec<u8>,
}

impl Context {
    /// The channel named `c1` (or `c2`, …) in a case.
    pub fn channel(&self, name: &str) -> Option<String> {
        let number = name.strip_prefix('c')?.parse::<u8>().ok()?;
        Some(format!("{}-room-{number}-chat", self.hotel))
    }

    /// Lines of a message: each ends with CRLF, unless it ends with `\`.
    pub fn lines(&self, text: &[String]) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        for line in text {
            let (line, end) = line.strip_suffix('\\').map_or((line.as_str(), "\r\n"), |line| (line, ""));
            bytes.extend(sign_line(self.expand(line)?)?);
            bytes.extend(end.as_bytes());
        }
        Ok(bytes)
    }

    /// Lines of a body: joined without separators.
    pub fn joined(&self, text: &[String]) -> Result<Vec<u8>, String> {
        self.expand(&text.concat())
    }

    /// Text with its escapes and directives replaced.
    pub fn expand(&self, text: &str) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '\\']) {
            bytes.extend(&rest.as_bytes()[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("{{") {
                let end = closing(after).ok_or_else(|| format!("no }}}} for {rest}"))?;
                bytes.extend(self.directive(&after[..end])?);
                rest = &after[end + 2..];
            } else if let Some(byte) =
                rest.strip_prefix("\\x").and_then(|hex| u8::from_str_radix(hex.get(..2)?, 16).ok())
            {
                bytes.push(byte);
                rest = &rest[4..];
            } else {
                bytes.push(rest.as_bytes()[0]);
                rest = &rest[1..];
            }
        }
        bytes.extend(rest.as_bytes());
        Ok(bytes)
    }

    /// The same where the result must be text.
    pub fn expand_text(&self, text: &str) -> Result<String, String> {
        String::from_utf8(self.expand(text)?).map_err(|_| format!("not UTF-8: {text}"))
    }

    fn directive(&self, directive: &str) -> Result<Vec<u8>, String> {
        let (name, argument) = directive.split_once(' ').unwrap_or((directive, ""));
        let text = match name {
            "body" => return Ok(self.body.clone()),
            "chunks" => return self.chunks(argument),
            "repeat" => {
                let (count, text) = argument.split_once(' ').ok_or_else(|| format!("repeat {argument}"))?;
                return Ok(self.expand(text)?.repeat(number(count)?));
            }
            "length" => self.body.len().to_string(),
            "md5" => sign::md5(&self.body),
            "key" => sign::KEY.to_owned(),
            "other-key" => OTHER_KEY.to_owned(),
            "percent" => escaped(&self.expand_text(argument)?, |byte| format!("%{byte:02x}")),
            "unicode" => escaped(&self.expand_text(argument)?, |byte| format!("\\u{byte:04x}")),
            "signature" => format!("{MARK}{argument}{MARK}"),
            "signed" => self.signed(&self.expand_text(argument)?)?,
            _ => match name.strip_prefix("now") {
                Some(offset) => self.time(offset)?,
                None => self.channel(name).ok_or_else(|| format!("unknown directive {{{{{directive}}}}}"))?,
            },
        };
        Ok(text.into_bytes())
    }

    /// `now`, `now-590`, `now+590`.
    fn time(&self, offset: &str) -> Result<String, String> {
        let offset: i64 = if offset.is_empty() { 0 } else { offset.parse().map_err(|_| format!("now{offset}"))? };
        Ok(self.now.saturating_add_signed(offset).to_string())
    }

    /// The body in chunks of `size` bytes, without the last chunk.
    fn chunks(&self, size: &str) -> Result<Vec<u8>, String> {
        let chunk = |part: &[u8]| [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
        Ok(self.body.chunks(number(size)?).flat_map(chunk).collect())
    }

    /// The request line of a correctly signed request: `METHOD TARGET [VERSION]`, optionally with `behind BASE`.
    fn signed(&self, argument: &str) -> Result<String, String> {
        let (argument, form) =
            argument.find(" behind ").map_or((argument, ""), |at| (&argument[..at], &argument[at + 1..]));
        let mut words = argument.split(' ');
        let (Some(method), Some(target)) = (words.next(), words.next()) else {
            return Err(format!("signed {argument}"));
        };
        let version = words.next().unwrap_or("HTTP/1.1");
        let (path, extra) =
            target.split_once('?').map_or((target, String::new()), |(path, extra)| (path, format!("{extra}&")));
        let key = if path.contains(&format!("/apps/{OTHER_APP}/")) { OTHER_KEY } else { sign::KEY };
        let md5 = if self.body.is_empty() { String::new() } else { format!("&body_md5={}", sign::md5(&self.body)) };
        let parameters = format!("auth_key={key}&auth_timestamp={}&auth_version=1.0{md5}", self.now);
        Ok(format!("{method} {path}?{extra}{parameters}&auth_signature={MARK}{form}{MARK} {version}"))
    }
}

/// The position of the `}}` that ends a directive; nested ones are skipped.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0;
    let mut at = 0;
    loop {
        at += text[at..].find(['{', '}'])?;
        match text.get(at..at + 2) {
            Some("{{") => depth += 1,
            Some("}}") if depth == 0 => return Some(at),
            Some("}}") => depth -= 1,
            _ => {
                at += 1;
                continue;
            }
        }
        at += 2;
    }
}

/// Every byte of ASCII text escaped.
fn escaped(text: &str, escape: impl Fn(u8) -> String) -> String {
    text.bytes().map(escape).collect()
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("not a number: {text}"))
}

/// Inserts the signature into a request line: over all parameters as written, except the signature's own.
fn sign_line(line: Vec<u8>) -> Result<Vec<u8>, String> {
    if !line.contains(&(MARK as u8)) || !line.ends_with(b"HTTP/1.1") && !line.ends_with(b"HTTP/1.0") {
        return Ok(line);
    }
    let line = String::from_utf8(line).map_err(|_| "a signed request line must be UTF-8".to_owned())?;
    let (method, rest) = line.split_once(' ').ok_or("no method")?;
    let (target, _version) = rest.rsplit_once(' ').ok_or("no version")?;
    let (path, query) = target.split_once('?').ok_or("a signature without a query")?;
    let query = query.split('#').next().unwrap_or_default();
    let path = path.split_once("://").map_or(path, |(_, rest)| rest.find('/').map_or("/", |slash| &rest[slash..]));
    let signed: Vec<&str> = query.split('&').filter(|pair| !pair.contains(MARK)).collect();
    let secret = if query.contains(OTHER_KEY) { OTHER_SECRET } else { sign::SECRET };
    let base = line.split(MARK).nth(1).and_then(|form| form.strip_prefix("behind ")).unwrap_or_default();
    let path = path.strip_prefix(base).ok_or_else(|| format!("{path} does not begin with {base}"))?;
    let signature = sign::signature(method, path, &sign::parameters(&signed.join("&")), secret);
    let mut parts = line.split(MARK);
    let mut bytes = parts.next().unwrap_or_default().to_owned();
    while let (Some(form), Some(after)) = (parts.next(), parts.next()) {
        bytes += &shaped(&signature, form)?;
        bytes += after;
    }
    Ok(bytes.into_bytes())
}

/// A signature modified by `upper`, `cut 63` and similar options.
fn shaped(signature: &str, form: &str) -> Result<String, String> {
    match form.split_once(' ') {
        None if form.is_empty() => Ok(signature.to_owned()),
        None if form == "upper" => Ok(signature.to_uppercase()),
        Some(("behind", _)) => Ok(signature.to_owned()),
        Some(("cut", length)) => Ok(signature[..number(length)?.min(signature.len())].to_owned()),
        _ => Err(format!("unknown form of a signature: {form}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> Context {
        let body = br#"{"name":"foo","channels":["project-3"],"data":"{\"some\":\"data\"}"}"#.to_vec();
        Context { now: 1_353_088_179, hotel: "h1".to_owned(), body }
    }

    #[test]
    fn lines_end_with_crlf_unless_continued() {
        let text = ["A: \\x0b1".to_owned(), "{{repeat 2 {{c1}},}}\\".to_owned(), r#"{"d":"{\"a\":1}"}"#.to_owned()];
        let bytes = context().lines(&text).unwrap();
        assert_eq!(bytes, b"A: \x0b1\r\nh1-room-1-chat,h1-room-1-chat,{\"d\":\"{\\\"a\\\":1}\"}\r\n");
    }

    #[test]
    fn signed_lines_carry_the_documented_signature() {
        let lines = context().lines(&["{{signed POST /apps/3/events}}".to_owned()]).unwrap();
        let expected = "POST /apps/3/events?auth_key=278d425bdf160c739803&auth_timestamp=1353088179&auth_version=1.0&\
            body_md5=ec365a775a4cd0599faeb73354201b6f&auth_signature=da454824c97ba181a32ccc17a72625ba02771f50b50e1e7430e47a1f3f457e6c HTTP/1.1\r\n";
        assert_eq!(String::from_utf8(lines).unwrap(), expected);
        let behind = context().lines(&["{{signed POST /ws/apps/3/events behind /ws}}".to_owned()]).unwrap();
        assert_eq!(String::from_utf8(behind).unwrap(), expected.replace("/apps", "/ws/apps"));
        let written = "POST /apps/3/events?auth_signature={{signature cut 4}}&auth_version=1.0&body_md5={{md5}}&auth_key={{key}}\
            &auth_timestamp={{now}} HTTP/1.1\\";
        assert!(
            String::from_utf8(context().lines(&[written.to_owned()]).unwrap())
                .unwrap()
                .contains("auth_signature=da45&auth_version")
        );
    }

    #[test]
    fn chunks_escapes_and_mistakes() {
        let small = Context { body: b"abc".to_vec(), ..context() };
        assert_eq!(small.expand("{{chunks 2}}0").unwrap(), b"2\r\nab\r\n1\r\nc\r\n0");
        assert_eq!(small.expand("{{percent ab}}{{unicode {{percent a}}}}").unwrap(), b"%61%62\\u0025\\u0036\\u0031");
        assert!(
            small.expand("{{nothing}}").is_err() && small.expand("{{c1").is_err() && small.expand("{{now-x}}").is_err()
        );
    }
}
