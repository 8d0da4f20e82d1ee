//! As whom a lane comes to its provider, at this moment: the credential, the dialect that uses it, and TLS. Replaced as
//! a whole when a credential is, so that a connection is of one credential from its beginning to its end: APNs binds it
//! to team and key ("Establishing a token-based connection to APNs").

use std::sync::Arc;

use reveille_core::{Clock, Provider};
use rustls::ClientConfig;
use tokio_util::sync::CancellationToken;

use super::dialect::Dialect;
use super::{Access, SenderConfig, SenderFault};
use crate::apns::{self, Apns};
use crate::fcm::Fcm;
use crate::tls::Trust;

/// One credential in use.
pub(super) struct Papers {
    pub(super) access: Access,
    pub(super) dialect: Box<dyn Dialect>,
    pub(super) tls: Arc<ClientConfig>,
    /// Others have taken their place: connections that were opened with these take no more pushes.
    pub(super) replaced: CancellationToken,
}

impl Papers {
    pub(super) fn new(
        config: &SenderConfig,
        access: Access,
        trust: &Trust,
        clock: &Arc<dyn Clock>,
    ) -> Result<Self, SenderFault> {
        let (app, channel) = (&config.lane.app, config.lane.channel);
        let authority = config.target.authority();
        let mut identity = None;
        let dialect: Box<dyn Dialect> = match (app.provider, &access) {
            (Provider::Apns, Access::Apns(access)) => {
                if let apns::Access::Certificate(certificate) = access {
                    identity = Some(Arc::clone(certificate));
                }
                Box::new(Apns::new(access.clone(), &app.app, channel, &authority)?)
            }
            (Provider::Fcm, Access::Fcm(account)) => {
                Box::new(Fcm::new(Arc::clone(account), Arc::clone(clock), &app.app, channel, &authority)?)
            }
            (lane, Access::Apns(_) | Access::Fcm(_)) => return Err(SenderFault::WrongAccess { lane }),
        };
        let tls = trust.client(identity.as_deref())?;
        Ok(Self { access, dialect, tls, replaced: CancellationToken::new() })
    }
}
