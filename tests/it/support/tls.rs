//! A Redis with TLS, with certificates created for the test.

use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;

use super::{RedisServer, free_port};

pub struct TlsServer {
    pub server: RedisServer,
    pub port: u16,
    directory: TempDir,
}

impl TlsServer {
    /// A server on `localhost` whose certificate a private authority has signed; `options` are additional options.
    pub fn start(options: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = |name: &str| directory.path().join(name);
        let authority = authority();
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(["localhost".to_owned()]).expect("parameters");
        params.not_after = rcgen::date_time_ymd(2041, 2, 3);
        let certificate = params.signed_by(&key, &authority).expect("a certificate");
        std::fs::write(file("ca.pem"), authority.pem()).expect("a file");
        std::fs::write(file("server.pem"), certificate.pem()).expect("a file");
        std::fs::write(file("server.key"), key.serialize_pem()).expect("a file");
        std::fs::write(file("unrelated.pem"), self::authority().pem()).expect("a file");
        let port = free_port();
        let path = |name: &str| file(name).display().to_string();
        let (number, ca, certificate, key) = (port.to_string(), path("ca.pem"), path("server.pem"), path("server.key"));
        let mut all = vec!["--save", "", "--tls-port", &number, "--tls-auth-clients", "no"];
        all.extend(["--tls-ca-cert-file", &ca, "--tls-cert-file", &certificate, "--tls-key-file", &key]);
        all.extend(options);
        Self { server: RedisServer::with_options(&all), port, directory }
    }

    /// The certificate of the authority that signed the server certificate.
    pub fn authority(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// The certificate of an unrelated authority.
    pub fn unrelated_authority(&self) -> PathBuf {
        self.directory.path().join("unrelated.pem")
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new([]).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("a certificate")
}
