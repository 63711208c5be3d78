//! Upstream over TLS.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use crate::tls::Client;

use super::{Failure, OK, Options, Server, fetch, options, post, remote};

/// An authority's certificate in `ca.pem`, and a server with one of its certificates for `names`.
pub(super) async fn secure_server(names: &[&str]) -> (TempDir, Server) {
    let folder = tempfile::tempdir().unwrap();
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    std::fs::write(folder.path().join("ca.pem"), ca.self_signed(&ca_key).unwrap().pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>()).unwrap();
    let certificate = params.signed_by(&key, &Issuer::new(ca, ca_key)).unwrap();
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    // Offers HTTP/2 first: usher must not take it.
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let server = Server::start_tls(Some(TlsAcceptor::from(Arc::new(config))), |peer| peer.answer_all(OK)).await;
    (folder, server)
}

/// A client that trusts the authority in `ca.pem`.
pub(super) fn trusting(folder: &TempDir) -> Client {
    Client::read(Some(&folder.path().join("ca.pem"))).unwrap()
}

#[tokio::test]
async fn an_authority_from_the_ca_file_is_trusted() {
    let (folder, mut server) = secure_server(&["localhost", "127.0.0.1"]).await;
    for (others, host) in ["localhost", "127.0.0.1"].into_iter().enumerate() {
        let url = format!("https://{host}:{}", server.address.port());
        let remote = remote(Options { tls: trusting(&folder), ..options(&url) });
        for _ in 0..3 {
            assert_eq!(fetch(&remote, post()).await.unwrap(), "{}");
            assert!(server.next().await.contains(&format!("host: {host}:{}\r\n", server.address.port())));
        }
        assert_eq!((server.accepted(), remote.idle_count()), (others + 1, 1));
    }
}

#[tokio::test]
async fn any_other_authority_or_name_is_not() {
    let (folder, mut server) = secure_server(&["localhost"]).await;
    let (others_folder, _others_server) = secure_server(&["localhost"]).await;
    let port = server.address.port();
    for (host, tls) in
        [("localhost", Client::default()), ("localhost", trusting(&others_folder)), ("127.0.0.1", trusting(&folder))]
    {
        let failure =
            fetch(&remote(Options { tls, ..options(&format!("https://{host}:{port}")) }), post()).await.unwrap_err();
        assert!(matches!(failure, Failure::Tls { .. }), "{failure:?}");
        assert!(failure.nothing_sent() && !failure.is_timeout());
    }
    assert_eq!(server.rest(), 0);
}

#[tokio::test]
async fn a_server_without_tls_gets_nothing() {
    let server = Server::start(|mut peer| async move {
        peer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        peer.gone().await;
    })
    .await;
    let failure = fetch(&remote(options(&format!("https://{}", server.address))), post()).await.unwrap_err();
    assert!(matches!(failure, Failure::Tls { .. }) && failure.nothing_sent(), "{failure:?}");
}
