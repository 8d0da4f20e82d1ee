//! Certificates of one role, read from its files, and read again when asked to.

use std::sync::Arc;

use reveille_sip_net::{ClientAuth, Identity, TlsClient, TlsServer, TlsSetupError, TrustRoots};

use crate::config::Tls;

/// One side's certificates: as a server and as a client.
pub(crate) struct Side {
    files: Tls,
    auth: ClientAuth,
    pub(crate) server: Arc<TlsServer>,
    pub(crate) client: Arc<TlsClient>,
}

impl Side {
    pub(crate) fn read(files: &Tls, auth: ClientAuth) -> Result<Self, TlsSetupError> {
        let (identity, roots) = load(files)?;
        Ok(Self {
            files: files.clone(),
            auth,
            server: Arc::new(TlsServer::new(&identity, auth, &roots)?),
            client: Arc::new(TlsClient::new(Some(&identity), &roots)),
        })
    }

    /// Reads the files again: new connections use what they hold now, old ones go on. A fault changes nothing.
    pub(crate) fn reload(&self) -> Result<(), TlsSetupError> {
        let (identity, roots) = load(&self.files)?;
        self.server.reload(&identity, self.auth, &roots)?;
        self.client.reload(Some(&identity), &roots);
        Ok(())
    }
}

fn load(files: &Tls) -> Result<(Identity, TrustRoots), TlsSetupError> {
    let identity = Identity::from_pem_files(&files.certificate, &files.key)?;
    Ok((identity, TrustRoots::from_pem_files(&[&files.roots])?))
}
