//! TLS 1.2 and 1.3 as SIP federation needs it: mutual, by RFC 5922 names, reloadable, and able to say why not.
//!
//! Who we are is an [`Identity`], whom we believe are [`TrustRoots`] with their revocation lists; a [`TlsServer`] and a
//! [`TlsClient`] hold both, take others while they run, and know the certificates of the connections that are open.

mod alert;
mod chain;
mod client;
mod finding;
mod identity;
mod lists;
mod peers;
mod quiet;
mod refusal;
mod refusal_of;
mod roots;
mod server;

use std::sync::{Arc, LazyLock};

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;

pub(crate) use alert::speaks_of_certificate;
pub use client::TlsClient;
pub use identity::{Identity, TlsSetupError};
pub use lists::{ListsRunOut, RevocationList};
pub use peers::{Fallen, Kept, KnownPeer};
pub use refusal::{Blame, HandshakeRefusal, RefusedBy};
pub use roots::TrustRoots;
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
