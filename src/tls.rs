//! The cryptography provider for every TLS connection of the process.

use rustls::crypto::aws_lc_rs;

/// Makes AWS-LC the default provider of rustls. Later calls change nothing.
pub fn install_provider() {
    // An error only means that a provider is already installed.
    let _ = aws_lc_rs::default_provider().install_default();
}
