//! Pairs of certificate and key files: `check`, a start and a reload report the same faults in them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};

use crate::harness::cli::Cli;
use crate::harness::tls::{Authority, Identity, TlsClient};
use crate::harness::usher::{Signal, message};
use crate::harness::{Fake, Setup, Usher, eventually};

/// A certificate file and a key file, with the expected report.
struct Pair {
    name: &'static str,
    certificate: Vec<u8>,
    key: Vec<u8>,
    said: Said,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    /// Nothing: the pair is valid.
    Nothing,
    /// It is usable, but clients will reject it.
    Warning(&'static str),
    /// It is unusable.
    Refused(&'static str),
}

fn pair(name: &'static str, certificate: impl AsRef<[u8]>, key: impl AsRef<[u8]>, said: Said) -> Pair {
    Pair { name, certificate: certificate.as_ref().to_vec(), key: key.as_ref().to_vec(), said }
}

/// A self-signed certificate for localhost, modified.
fn changed(change: impl FnOnce(&mut CertificateParams)) -> Identity {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    change(&mut params);
    Identity { certificate: params.self_signed(&key).unwrap().pem(), key: key.serialize_pem() }
}

/// A certificate of an authority, and the authority's own.
fn issued() -> (Identity, String) {
    let authority = Authority::new("an authority");
    (authority.issue(), authority.certificate)
}

/// The block with another label.
fn labelled(pem: &str, from: &str, to: &str) -> String {
    assert!(pem.contains(from));
    pem.replace(from, to)
}

fn utf16(text: &str) -> Vec<u8> {
    [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect()
}

/// The contents of a PEM block.
fn der(pem: &str) -> Vec<u8> {
    let text: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    data_encoding::BASE64.decode(text.as_bytes()).unwrap()
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", data_encoding::BASE64.encode(der))
}

/// A P-256 key with the name of another curve: a name of the same length, `from` in DER replaced by `to`.
fn on_curve(key: &str, identifier: &[u8]) -> String {
    const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let key = der(key);
    let at = key.windows(P256.len()).position(|window| window == P256).unwrap();
    // The lengths before it: of the whole, and of the algorithm's name.
    let mut changed = [&key[..at], identifier, &key[at + P256.len()..]].concat();
    let shorter = u8::try_from(P256.len() - identifier.len()).unwrap();
    let algorithm = key[..at].windows(2).rposition(|window| window[0] == 0x30).unwrap() + 1;
    changed[algorithm] -= shorter;
    let whole = if changed[1] & 0x80 == 0 { 1 } else { 1 + usize::from(changed[1] & 0x7f) };
    changed[whole] -= shorter;
    pem("PRIVATE KEY", &changed)
}

/// The identities that the pairs are made of.
struct Material {
    own: Identity,
    other: Identity,
    leaf: Identity,
    /// The certificate of the authority above `leaf`.
    above: String,
}

fn pairs() -> Vec<Pair> {
    let (leaf, above) = issued();
    let material = Material { own: Identity::new(), other: Identity::new(), leaf, above };
    [good(&material), doubtful(&material), bad_keys(&material), bad_certificates(&material)]
        .into_iter()
        .flatten()
        .collect()
}

fn good(Material { own: Identity { certificate, key }, leaf, above, .. }: &Material) -> Vec<Pair> {
    vec![
        pair("a pair", certificate, key, Said::Nothing),
        pair("both in one file", format!("{certificate}{key}"), format!("{certificate}{key}"), Said::Nothing),
        pair("lines end in CR LF", certificate.replace('\n', "\r\n"), key.replace('\n', "\r\n"), Said::Nothing),
        pair(
            "text around the blocks",
            format!("subject=localhost\n{certificate}\n# end\n"),
            format!("Bag Attributes\n{key}"),
            Said::Nothing,
        ),
        pair("with its chain", format!("{}{above}", leaf.certificate), &leaf.key, Said::Nothing),
    ]
}

fn doubtful(Material { own: Identity { certificate, .. }, leaf, .. }: &Material) -> Vec<Pair> {
    let expired = Identity::expired();
    let early = changed(|params| params.not_before = rcgen::date_time_ymd(2090, 1, 1));
    let clients = changed(|params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]);
    vec![
        pair("expired", expired.certificate, expired.key, Said::Warning("days ago")),
        pair("not valid yet", early.certificate, early.key, Said::Warning("not valid yet")),
        pair("for clients", clients.certificate, clients.key, Said::Warning("serverAuth")),
        pair("without its chain", &leaf.certificate, &leaf.key, Said::Warning("fullchain.pem")),
        pair("with another chain", format!("{}{certificate}", leaf.certificate), &leaf.key, Said::Warning("no chain")),
    ]
}

fn marked(text: &str) -> Vec<u8> {
    [b"\xef\xbb\xbf", text.as_bytes()].concat()
}

fn bad_keys(Material { own: Identity { certificate, key }, other, .. }: &Material) -> Vec<Pair> {
    let encrypted = labelled(key, "PRIVATE KEY", "RSA PRIVATE KEY");
    let encrypted =
        encrypted.replacen("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\n", 1);
    vec![
        pair("another's key", certificate, &other.key, Said::Refused("is not the key of the first certificate")),
        pair("no key's file", certificate, "", Said::Refused("holds nothing")),
        pair(
            "a key with a passphrase, PKCS #8",
            certificate,
            labelled(key, "PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
            Said::Refused("openssl pkey -in"),
        ),
        pair("a key with a passphrase, PKCS #1", certificate, encrypted, Said::Refused("an encrypted private key")),
        pair("a key behind a mark", certificate, marked(key), Said::Refused("tail -c +4")),
        pair("a key in UTF-16", certificate, utf16(key), Said::Refused("iconv -f UTF-16")),
        pair("a key in DER", certificate, der(key), Said::Refused("openssl pkey -inform DER")),
        pair(
            "an OpenSSH key",
            certificate,
            labelled(key, "PRIVATE KEY", "OPENSSH PRIVATE KEY"),
            Said::Refused("a private key of OpenSSH"),
        ),
        pair("a public key", certificate, pem("PUBLIC KEY", &der(key)), Said::Refused("holds a public key")),
        pair("parameters alone", certificate, pem("EC PARAMETERS", &[6, 0]), Said::Refused("parameters of a key")),
        pair(
            "a certificate as its key",
            certificate,
            certificate,
            Said::Refused("holds a certificate, but a private key"),
        ),
        pair("a cut key", certificate, &key[..key.len() / 2], Said::Refused("damaged or cut short")),
        pair("a spoilt key", certificate, pem("PRIVATE KEY", b"spoilt"), Said::Refused("not known, or damaged")),
        pair(
            "secp256k1",
            certificate,
            on_curve(key, &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a]),
            Said::Refused("the curve secp256k1"),
        ),
        pair(
            "P-521",
            certificate,
            on_curve(key, &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23]),
            Said::Refused("the curve P-521"),
        ),
        pair("text as a key", certificate, "see the wiki", Said::Refused("no PEM block")),
    ]
}

fn bad_certificates(Material { own: Identity { certificate, key }, other, leaf, above }: &Material) -> Vec<Pair> {
    let request = CertificateParams::new(Vec::new())
        .unwrap()
        .serialize_request(&KeyPair::generate().unwrap())
        .unwrap()
        .pem()
        .unwrap();
    vec![
        pair("no certificate's file", "", key, Said::Refused("holds nothing")),
        pair("a certificate behind a mark", marked(certificate), key, Said::Refused("tail -c +4")),
        pair("a certificate in UTF-16", utf16(certificate), key, Said::Refused("iconv -f UTF-16")),
        pair("a certificate in DER", der(certificate), key, Said::Refused("openssl x509 -inform DER")),
        pair("a PKCS #12 archive", [0x30, 0x80, 0x02, 0x01, 0x03], key, Said::Refused("no PEM block")),
        pair(
            "a PKCS #12 archive, of known length",
            [0x30, 0x03, 0x02, 0x01, 0x03],
            key,
            Said::Refused("openssl pkcs12"),
        ),
        pair("a request", request, key, Said::Refused("a request for a certificate")),
        pair("PKCS #7", pem("PKCS7", &[0x30, 0]), key, Said::Refused("openssl pkcs7")),
        pair(
            "OpenSSL's own form",
            labelled(certificate, "CERTIFICATE", "TRUSTED CERTIFICATE"),
            key,
            Said::Refused("OpenSSL's own"),
        ),
        pair("a key as the certificate", key, key, Said::Refused("holds a private key, but a certificate")),
        pair("swapped", key, certificate, Said::Refused("the files are swapped")),
        pair("a cut certificate", &certificate[..certificate.len() / 2], key, Said::Refused("damaged or cut short")),
        pair("a spoilt certificate", pem("CERTIFICATE", b"spoilt"), key, Said::Refused("certificate 1 in")),
        pair(
            "a spoilt one in the chain",
            format!("{certificate}{}", pem("CERTIFICATE", b"spoilt")),
            key,
            Said::Refused("certificate 2 in"),
        ),
        pair(
            "the chain's order is reversed",
            format!("{above}{}", leaf.certificate),
            &leaf.key,
            Said::Refused("own certificate first"),
        ),
        pair("the certificate renewed, its key not yet", &other.certificate, key, Said::Refused("is not the key of")),
    ]
}

/// A folder with the two files and a configuration that names them.
struct Place {
    folder: tempfile::TempDir,
    setup: Setup,
}

impl Place {
    fn new(fake: &Fake) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut setup = Setup::before(fake);
        let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
        setup.server += &format!("tls = {{ certificate = {certificate:?}, key = {key:?} }}\n");
        fs::write(folder.path().join("usher.toml"), setup.toml()).unwrap();
        Self { folder, setup }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, certificate: &[u8], key: &[u8]) {
        fs::write(self.path("cert.pem"), certificate).unwrap();
        fs::write(self.path("key.pem"), key).unwrap();
    }

    /// A command with the configuration.
    fn command(&self, name: &str) -> Cli {
        Cli::new(&[name, "--config", self.path("usher.toml").to_str().unwrap()])
    }
}

/// Triggers a reload and checks the log and the metric.
fn reload(usher: &Usher) -> (String, f64) {
    let from = usher.log_lines();
    usher.signal(Signal::Hup);
    let event = usher.wait_log_after(from, |event| {
        message(event) == "the configuration was reloaded"
            || message(event).starts_with("the new configuration cannot be used")
    });
    let successful = usher.admin().metric("usher_config_last_reload_successful", &[]);
    (if event["level"] == "ERROR" { usher.wait_faults_after(from) } else { String::new() }, successful)
}

#[test]
fn check_start_and_reload_find_the_same() {
    let fake = Fake::start();
    let place = Place::new(&fake);
    let first = Identity::new();
    place.put(first.certificate.as_bytes(), first.key.as_bytes());
    let usher = Usher::start_with(&place.setup.toml());
    for Pair { name, certificate, key, said } in pairs() {
        place.put(&certificate, &key);
        let check = place.command("check").run();
        match said {
            Said::Nothing => {
                assert!(check.code == 0 && !check.out.contains("server.tls"), "{name}: {check:?}");
                assert_eq!(reload(&usher), (String::new(), 1.0), "{name}");
                place.put(first.certificate.as_bytes(), first.key.as_bytes());
            }
            Said::Warning(text) => {
                let warned = check
                    .out
                    .lines()
                    .any(|line| line.starts_with("warning: `server.tls.certificate`") && line.contains(text));
                assert!(check.code == 0 && warned, "{name}: {check:?}");
                assert_eq!(reload(&usher), (String::new(), 1.0), "{name}");
                place.put(first.certificate.as_bytes(), first.key.as_bytes());
            }
            Said::Refused(text) => {
                assert!(check.code == 78 && check.err.contains(text), "{name}: {check:?}");
                let serve = place.command("serve").run();
                assert!(serve.code == 78 && serve.err.contains(text), "{name}: {serve:?}");
                // By the metric, since the log omits frequent repeats.
                let told = |value: f64| {
                    (usher.admin().metric("usher_config_last_reload_successful", &[]) == value).then_some(())
                };
                usher.signal(Signal::Hup);
                eventually("the failure is told", || told(0.0));
                place.put(first.certificate.as_bytes(), first.key.as_bytes());
                usher.signal(Signal::Hup);
                eventually("the success is told", || told(1.0));
                TlsClient::connect(usher.gateway(), &first).unwrap_or_else(|error| panic!("{name}: {error}"));
            }
        }
    }
}

#[test]
fn unreadable_files_are_reported_with_their_key() {
    let fake = Fake::start();
    let place = Place::new(&fake);
    let check = place.command("check").run();
    assert!(
        check.code == 78 && check.err.contains("server.tls.certificate") && check.err.contains("server.tls.key"),
        "{check:?}"
    );
    let mut setup = Setup::before_url("https://localhost:1");
    setup.upstream += &format!("ca_file = {:?}\n", place.path("none.pem"));
    fs::write(place.path("usher.toml"), setup.toml()).unwrap();
    let check = place.command("check").run();
    assert!(
        check.code == 78 && check.err.contains("upstream.ca_file") && check.err.contains("none.pem cannot be read"),
        "{check:?}"
    );
}

/// A warning is logged at the start as well.
#[test]
fn a_certificate_that_clients_will_not_take_is_warned_of_at_the_start() {
    let fake = Fake::start();
    let place = Place::new(&fake);
    let expired = Identity::expired();
    place.put(expired.certificate.as_bytes(), expired.key.as_bytes());
    let usher = Usher::start_with(&place.setup.toml());
    usher.wait_log(|event| event["level"] == "WARN" && message(event).contains("days ago"));
}

/// `healthcheck` does not read files that are being renewed.
#[test]
fn a_half_renewed_pair_is_no_ill_health() {
    let fake = Fake::start();
    let place = Place::new(&fake);
    let first = Identity::new();
    place.put(first.certificate.as_bytes(), first.key.as_bytes());
    let usher = Usher::start_with(&place.setup.toml());
    let mut setup = place.setup;
    setup.admin = format!("listen = \"{}\"\n", usher.admin().0);
    fs::write(place.folder.path().join("usher.toml"), setup.toml()).unwrap();
    fs::write(place.folder.path().join("key.pem"), Identity::new().key).unwrap();
    let path = place.folder.path().join("usher.toml");
    let health = Cli::new(&["healthcheck", "--config", path.to_str().unwrap()]).run();
    assert_eq!(health.code, 0, "{health:?}");
}

/// No process writes into the pipe again: a reload that waited for it would also prevent usher from ending.
#[test]
fn what_came_from_a_pipe_is_read_once() {
    let fake = Fake::start();
    let place = Place::new(&fake);
    let identity = Identity::new();
    fs::write(place.path("cert.pem"), &identity.certificate).unwrap();
    let writer = pipe(&place.path("key.pem"), identity.key.clone());
    let mut usher = Usher::start_with(&place.setup.toml());
    writer.join().unwrap();
    let (told, successful) = reload(&usher);
    assert!(told.contains("server.tls.key") && told.contains("no regular file") && successful == 0.0, "{told}");
    TlsClient::connect(usher.gateway(), &identity).unwrap();
    usher.signal(Signal::Term);
    assert_eq!(usher.wait_exit(), 0);
}

fn pipe(path: &Path, text: String) -> std::thread::JoinHandle<()> {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    let path = path.to_owned();
    std::thread::spawn(move || fs::write(path, text).unwrap())
}

/// The file names may change as well.
#[test]
fn other_files_are_taken_over_by_a_reload() {
    let fake = Fake::start();
    let place = Place::new(&fake);
    let (old, new) = (Identity::new(), Identity::new());
    place.put(old.certificate.as_bytes(), old.key.as_bytes());
    let usher = Usher::start_with(&place.setup.toml());
    fs::write(place.path("cert2.pem"), &new.certificate).unwrap();
    fs::write(place.path("key2.pem"), &new.key).unwrap();
    usher.rewrite_config(&place.setup.toml().replace("cert.pem", "cert2.pem").replace("key.pem", "key2.pem"));
    assert_eq!(reload(&usher), (String::new(), 1.0));
    eventually("the new certificate is shown", || TlsClient::connect(usher.gateway(), &new).ok());
}

/// Failures before a request are counted by reason and not logged.
#[test]
fn handshakes_that_fail_are_counted_by_their_reason() {
    let fake = Fake::start();
    let place = Place::new(&fake);
    let identity = Identity::expired();
    place.put(identity.certificate.as_bytes(), identity.key.as_bytes());
    let usher = Usher::start_with(&place.setup.toml());
    let from = usher.log_lines();
    let count =
        |reason: &str| usher.admin().metric("usher_tls_handshake_failures_total", &[&format!("reason=\"{reason}\"")]);
    assert!(TlsClient::connect(usher.gateway(), &identity).is_err());
    eventually("a refused certificate is counted", || (count("certificate_refused") == 1.0).then_some(()));
    assert!(usher.client().send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").try_response().is_err());
    eventually("plain HTTP is counted", || (count("not_tls") == 1.0).then_some(()));
    drop(std::net::TcpStream::connect(usher.gateway()).unwrap());
    eventually("an end is counted", || (count("closed") == 1.0).then_some(()));
    let logs = usher.logs();
    assert_eq!(logs.lines().skip(from).collect::<Vec<_>>(), [""; 0], "callers write no lines");
}
