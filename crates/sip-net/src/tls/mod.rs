//! TLS 1.2 and 1.3 as SIP federation needs it: mutual, by RFC 5922 names, reloadable, and able to say why not.

mod chain;
mod client;
mod material;
mod refusal;
mod server;

use std::sync::{Arc, LazyLock};

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;

pub use client::TlsClient;
pub use material::{Identity, TlsSetupError, TrustRoots};
pub(crate) use refusal::speaks_of_certificate;
pub use refusal::{Blame, HandshakeRefusal};
pub use server::{ClientAuth, TlsServer};

/// Passed explicitly everywhere, so that no other crate of the process can change it.
static PROVIDER: LazyLock<Arc<CryptoProvider>> =
    LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));

const VERSIONS: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];

fn provider() -> &'static CryptoProvider {
    &PROVIDER
}

fn shared_provider() -> Arc<CryptoProvider> {
    PROVIDER.clone()
}
