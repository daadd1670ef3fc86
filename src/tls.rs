//! The cryptography behind TLS, chosen in one place for every connection of the process.

use rustls::crypto::aws_lc_rs;

/// Makes AWS-LC the provider of everybody who asks rustls for the default one; later calls change nothing.
pub fn install_provider() {
    // An error only says that a provider is there already.
    let _ = aws_lc_rs::default_provider().install_default();
}
