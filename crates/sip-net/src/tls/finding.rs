//! What is learnt during one handshake and the TLS library's own error does not tell: whose certificate failed and why,
//! and how far it came.
//!
//! One TLS configuration serves all connections, so a verifier cannot be told which one it works for. It works within
//! the task that awaits the handshake, though, and a task-local value is that task's own.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use super::refusal::HandshakeRefusal;
use crate::names::PeerCertificate;

tokio::task_local! {
    static FINDING: RefCell<Finding>;
}

#[derive(Debug, Default)]
struct Finding {
    refusal: Option<HandshakeRefusal>,
    /// Our certificate, once it was sent.
    ours: Option<Arc<PeerCertificate>>,
}

/// Awaits a handshake; on failure says what was found, or else what the error means.
pub(super) async fn explained<T>(handshake: impl Future<Output = io::Result<T>>) -> Result<T, HandshakeRefusal> {
    let watched = async {
        let outcome = handshake.await;
        outcome.map_err(|error| {
            let found = FINDING.with(RefCell::take);
            found.refusal.unwrap_or_else(|| HandshakeRefusal::of_io(&error, found.ours))
        })
    };
    FINDING.scope(RefCell::default(), watched).await
}

/// Why the handshake under way will fail. Outside of one this says nothing to nobody.
pub(super) fn note(refusal: HandshakeRefusal) {
    let _ = FINDING.try_with(|finding| finding.borrow_mut().refusal = Some(refusal));
}

/// The handshake under way has come to where the peer sees our certificate.
pub(super) fn note_ours(certificate: &Arc<PeerCertificate>) {
    let _ = FINDING.try_with(|finding| finding.borrow_mut().ours = Some(certificate.clone()));
}
