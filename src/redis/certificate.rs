//! When the certificates that the Redis servers present end.

use std::collections::HashMap;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, Error, SignatureScheme};
use tokio_util::sync::CancellationToken;
use x509_cert::Certificate;
use x509_cert::der::Decode;

use super::Redis;
use crate::lifecycle::Tasks;
use crate::lifecycle::offload::Offload;

/// How often the certificates are looked at, and how soon again if one could not be read.
const INTERVAL: Duration = Duration::from_secs(3_600);
const RETRY: Duration = Duration::from_secs(60);
/// The longest time for each read and write of a handshake.
const PATIENCE: Duration = Duration::from_secs(5);

/// Looks at the certificates of the servers that are contacted over TLS.
pub(super) fn watch_all(redis: &Redis, tasks: &Tasks) {
    let addresses = redis.0.private_pool.manager().tls_addresses();
    if !addresses.is_empty() {
        let redis = redis.clone();
        tasks.spawn("redis.certificate", move |stop| async move { watch(&redis, addresses, stop).await });
    }
}

/// Looks at the certificates regularly, over connections of their own that carry nothing else, until `stop`.
async fn watch(redis: &Redis, addresses: Vec<(String, u16)>, stop: CancellationToken) {
    let threads = Offload::default();
    let mut ends: HashMap<usize, i64> = HashMap::new();
    loop {
        let mut pause = INTERVAL;
        for (at, (host, port)) in addresses.iter().enumerate() {
            let (name, port) = (host.clone(), *port);
            let seen = threads.run(PATIENCE, move || presented(&name, port)).await;
            match seen.map_err(io::Error::other).flatten() {
                Ok(certificate) => ends.extend(not_after(&certificate).map(|end| (at, end))),
                Err(error) => {
                    tracing::debug!(%error, host, "the certificate could not be read");
                    pause = RETRY;
                }
            }
        }
        if let Some(first) = ends.values().min() {
            redis.0.metrics.certificate_end.set(*first);
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// The certificate that a server presents.
fn presented(host: &str, port: u16) -> io::Result<CertificateDer<'static>> {
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let provider = CryptoProvider::get_default().ok_or(io::ErrorKind::Unsupported)?;
    let config = ClientConfig::builder()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Onlooker(Arc::clone(provider))))
        .with_no_client_auth();
    let mut connection = ClientConnection::new(Arc::new(config), name).map_err(io::Error::other)?;
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in (host, port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(mut stream) => {
                stream.set_read_timeout(Some(PATIENCE))?;
                stream.set_write_timeout(Some(PATIENCE))?;
                while connection.is_handshaking() {
                    connection.complete_io(&mut stream)?;
                }
                let certificate = connection.peer_certificates().and_then(<[_]>::first);
                return certificate.map(|first| first.clone().into_owned()).ok_or(failure);
            }
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Accepts every certificate: an expired one, of which operators must know, as well. Nothing is sent over the connection.
#[derive(Debug)]
struct Onlooker(Arc<CryptoProvider>);

impl ServerCertVerifier for Onlooker {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// When a certificate ends, Unix seconds.
fn not_after(certificate: &[u8]) -> Option<i64> {
    let validity = Certificate::from_der(certificate).ok()?.tbs_certificate.validity;
    i64::try_from(validity.not_after.to_unix_duration().as_secs()).ok()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_found_in_both_forms_of_time() {
        for (year, text) in
            [(1999, "1999-12-01T00:00:00Z"), (2041, "2041-12-01T00:00:00Z"), (2060, "2060-12-01T00:00:00Z")]
        {
            let mut params = CertificateParams::new(["a.example".to_owned()]).expect("parameters");
            (params.not_before, params.not_after) = (date_time_ymd(1990, 1, 1), date_time_ymd(year, 12, 1));
            let der = params.self_signed(&KeyPair::generate().expect("a key")).expect("a certificate").der().to_vec();
            let expected: jiff::Timestamp = text.parse().expect("a time");
            assert_eq!(not_after(&der), Some(expected.as_second()));
            for length in 0..der.len() / 2 {
                assert_eq!(not_after(&der[..length]), None, "the certificate is cut");
            }
        }
    }
}
