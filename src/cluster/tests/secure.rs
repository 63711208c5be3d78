//! TLS to the store.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use tempfile::TempDir;

use super::greeting::problem;
use super::*;
use crate::cluster::{Address, Problem, Servers};
use crate::tls;

/// A server with TLS beside its plain port, with a certificate for 127.0.0.1 and localhost.
struct Secure {
    server: Server,
    address: Address,
    authority: String,
}

fn secure() -> Secure {
    secure_with(&[])
}

fn secure_with(more: &[&str]) -> Secure {
    let directory = TempDir::new().expect("a directory");
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).expect("a certificate").pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    params.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()));
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    for (name, text) in [("ca.pem", &authority), ("cert.pem", &certificate.pem()), ("key.pem", &key.serialize_pem())] {
        std::fs::write(directory.path().join(name), text).expect("a file");
    }
    let path = |name: &str| directory.path().join(name).to_str().expect("a path").to_owned();
    let port = server::free_port();
    let (certificate, key, ca) = (path("cert.pem"), path("key.pem"), path("ca.pem"));
    let port_text = port.to_string();
    let mut arguments = vec!["--tls-port", &port_text, "--tls-cert-file", &certificate, "--tls-key-file", &key];
    arguments.extend(["--tls-ca-cert-file", &ca, "--tls-auth-clients", "no"]);
    // The certificate is not for the second one.
    arguments.extend(["--bind", "127.0.0.1", "127.0.0.2"]);
    arguments.extend(more);
    let server = Server::start_in(directory, &arguments);
    Secure { server, address: Address { host: "127.0.0.1".to_owned(), port }, authority }
}

fn trusting(authority: &str) -> Option<tls::Client> {
    Some(tls::Client::without_alpn(Some(("ca.pem".into(), authority.as_bytes()))).expect("an authority"))
}

#[tokio::test]
async fn calls_go_through_tls() {
    let Secure { server, address, authority } = secure();
    for host in ["127.0.0.1", "localhost"] {
        let address = Address { host: host.to_owned(), ..address.clone() };
        let options = LinkOptions { servers: Servers::One(address), tls: trusting(&authority), ..server.options() };
        let link = Link::new(options, &Tasks::default());
        link.tried().await.expect("a connection");
        let mut node = Node::on(link, "a", LONG);
        node.enter(false, RULES).await;
        node.read(&["grand-room-101-chat"]).await;
    }
}

/// The nodes name each other by their ports for TLS.
#[tokio::test]
async fn the_nodes_of_a_cluster_are_reached_through_tls() {
    let bus = server::free_port().to_string();
    let Secure { server, address, authority } =
        secure_with(&["--cluster-enabled", "yes", "--tls-cluster", "yes", "--cluster-port", &bus]);
    server.command(&["CLUSTER", "ADDSLOTSRANGE", "0", "16383"]);
    server.await_answer(&["CLUSTER", "INFO"], "cluster_state:ok");
    let servers = Servers::Cluster { nodes: vec![address.clone()] };
    let options = LinkOptions { servers, tls: trusting(&authority), ..server.options() };
    let link = Link::new(options, &Tasks::default());
    link.tried().await.expect("a connection");
    assert_eq!(link.server().expect("a server").0.port, address.port);
    Node::on(link, "a", LONG).enter(true, RULES).await;
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_refused() {
    let Secure { server: _server, address, authority } = secure();
    let other = secure().authority;
    let found = |address: Address, tls| problem(Servers::One(address), move |options| options.tls = tls);
    let unknown = found(address.clone(), trusting(&other)).await;
    assert!(matches!(unknown, Problem::Tls { .. }) && unknown.stays(), "{unknown:?}");
    assert!(unknown.to_string().contains("cluster.ca_file"), "{unknown}");
    let elsewhere = found(Address { host: "127.0.0.2".to_owned(), ..address }, trusting(&authority)).await;
    assert!(matches!(elsewhere, Problem::Tls { .. }), "{elsewhere:?}");
    assert!(elsewhere.to_string().contains("is for another name than 127.0.0.2"), "{elsewhere}");
}

#[tokio::test]
async fn tls_and_none_do_not_fit() {
    let Secure { server, address, authority } = secure();
    // Either server waits for more of what it takes for the beginning of a request, or closes the connection.
    let short = Duration::from_millis(300);
    let plain = problem(Servers::One(address), |options| options.timeout = short).await;
    let secure = problem(Servers::One(server.address()), |options| {
        (options.tls, options.timeout) = (trusting(&authority), short);
    })
    .await;
    for found in [plain, secure] {
        assert!(
            matches!(found, Problem::TimedOut { .. } | Problem::Unreachable { .. } | Problem::Tls { .. }),
            "{found:?}"
        );
        assert!(found.to_string().contains("TLS"), "{found}");
    }
}
