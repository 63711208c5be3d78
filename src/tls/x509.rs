//! The few fields of a certificate that usher reads itself: from when and until when it is good, who issued it to whom,
//! and what for. rustls does not give them out, and a whole X.509 parser would bring some fifteen crates for a few
//! bytes of a file that the operator wrote.

/// DER tags (X.690 8.1.2; RFC 5280 4.1).
const BOOLEAN: u8 = 0x01;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const OID: u8 = 0x06;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;

/// id-ce-extKeyUsage (RFC 5280 4.2.1.12).
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// anyExtendedKeyUsage.
const ANY_USAGE: &[u8] = &[0x55, 0x1d, 0x25, 0x00];
/// id-kp-serverAuth: to be shown by a TLS server.
pub(super) const SERVER_USAGE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
/// id-kp-clientAuth: to be shown by a TLS client.
pub(super) const CLIENT_USAGE: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];

/// What a certificate (DER) says. Times are in seconds since the Unix epoch.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    /// The issuer's name, as it is encoded.
    pub(super) issuer: &'a [u8],
    /// The name of whom the certificate is for, as it is encoded.
    pub(super) subject: &'a [u8],
    /// `None`: not written as RFC 5280 4.1.2.5 says.
    pub(super) not_before: Option<i64>,
    /// The same.
    pub(super) not_after: Option<i64>,
    /// The extended key usages; `None`: not limited.
    usages: Option<Vec<&'a [u8]>>,
}

impl<'a> Fields<'a> {
    /// `None` if `certificate` is not built as RFC 5280 4.1 says.
    pub(super) fn read(certificate: &'a [u8]) -> Option<Self> {
        let mut outer = Der(Der(certificate).expect(SEQUENCE)?);
        let mut body = Der(outer.expect(SEQUENCE)?);
        body.optional(VERSION)?;
        let _serial = body.expect(INTEGER)?;
        let _algorithm = body.expect(SEQUENCE)?;
        let issuer = body.expect(SEQUENCE)?;
        let mut validity = Der(body.expect(SEQUENCE)?);
        let (not_before, not_after) = (validity.next()?, validity.next()?);
        let subject = body.expect(SEQUENCE)?;
        let _key = body.expect(SEQUENCE)?;
        let mut usages = None;
        while let Some((tag, contents)) = body.next() {
            if tag == EXTENSIONS {
                usages = extended_key_usages(contents)?;
            }
        }
        Some(Self { issuer, subject, not_before: moment(not_before), not_after: moment(not_after), usages })
    }

    /// Whether the certificate may be used for this.
    pub(super) fn is_for(&self, usage: &[u8]) -> bool {
        self.usages.as_ref().is_none_or(|usages| usages.iter().any(|&found| found == usage || found == ANY_USAGE))
    }
}

/// `notAfter` of a DER certificate, in seconds since the Unix epoch. `None` if `certificate` is not built as RFC 5280
/// 4.1 says.
pub(super) fn not_after(certificate: &[u8]) -> Option<i64> {
    Fields::read(certificate)?.not_after
}

/// Whether these bytes begin with a whole DER sequence, and the tag of the first value in it and its contents.
pub(super) fn first_of_sequence(bytes: &[u8]) -> Option<(u8, &[u8])> {
    Der(Der(bytes).expect(SEQUENCE)?).next()
}

/// The extended key usages among the extensions, if they are limited. The outer `None`: the extensions are broken.
fn extended_key_usages(extensions: &[u8]) -> Option<Option<Vec<&[u8]>>> {
    let mut extensions = Der(Der(extensions).expect(SEQUENCE)?);
    while let Some((SEQUENCE, extension)) = extensions.next() {
        let mut extension = Der(extension);
        let name = extension.expect(OID)?;
        extension.optional(BOOLEAN)?;
        let value = extension.expect(OCTET_STRING)?;
        if name == EXTENDED_KEY_USAGE {
            let mut usages = Der(Der(value).expect(SEQUENCE)?);
            return Some(Some(std::iter::from_fn(|| usages.expect(OID)).collect()));
        }
    }
    Some(None)
}

/// The time in a value of this tag.
fn moment((tag, text): (u8, &[u8])) -> Option<i64> {
    match tag {
        UTC_TIME => {
            let (year, rest) = digits(text, 2)?;
            // RFC 5280 4.1.2.5.1
            time(if year >= 50 { 1900 + year } else { 2000 + year }, rest)
        }
        GENERALIZED_TIME => {
            let (year, rest) = digits(text, 4)?;
            time(year, rest)
        }
        _ => None,
    }
}

/// The rest of a row of DER values.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    /// The tag and contents of the next value.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&[tag, length], rest) = self.0.split_first_chunk()?;
        let (length, rest) = match length {
            0..=0x7f => (usize::from(length), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
                (bytes.iter().fold(0, |sum, &byte| (sum << 8) | usize::from(byte)), rest)
            }
            _ => return None,
        };
        let (contents, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((tag, contents))
    }

    /// Passes over the next value if it has this tag. `None`: it is broken.
    fn optional(&mut self, tag: u8) -> Option<()> {
        if self.0.first() == Some(&tag) {
            self.next()?;
        }
        Some(())
    }

    /// The contents of the next value, which must have this tag.
    fn expect(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|&(found, _)| found == tag).map(|(_, contents)| contents)
    }
}

/// Seconds since the Unix epoch of `MMDDHHMMSSZ` in `year`.
fn time(year: i64, text: &[u8]) -> Option<i64> {
    let (month, text) = digits(text, 2)?;
    let (day, text) = digits(text, 2)?;
    let (hour, text) = digits(text, 2)?;
    let (minute, text) = digits(text, 2)?;
    let (second, text) = digits(text, 2)?;
    let sane = (1..=12).contains(&month) && (1..=31).contains(&day) && hour < 24 && minute < 60 && second < 60;
    (sane && text == b"Z").then(|| days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// Days from the Unix epoch to a date of the Gregorian calendar. The year is taken to begin in March, so that the leap
/// day is its last.
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719 468 days lie between 1 March of the year 0 and the Unix epoch.
    year * 365 + leap_days + day_of_year - 719_468
}

/// The number in the first `count` bytes, and what follows.
fn digits(text: &[u8], count: usize) -> Option<(i64, &[u8])> {
    let (number, rest) = text.split_at_checked(count)?;
    let value =
        number.iter().try_fold(0, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))?;
    Some((value, rest))
}
