//! Who asks: from an access token or a client certificate to an [`AdmittedPeer`], anew for each request.

use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use parking_lot::Mutex;
use reveille_core::SipDomain;
use reveille_core::settings::{PublicJwk, Snapshot};
use reveille_federation::AdmittedPeer;
use reveille_federation::policy::{AccountProof, AccountRefusal, account_of, admit_account};
use reveille_sip_net::PeerCertificate;

use super::Rest;
use super::presence::Presence;
use super::problem::Problem;
use super::token::Credential;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) address: IpAddr,
    /// What it showed in the handshake, verified.
    pub(super) certificate: Option<Arc<PeerCertificate>>,
    /// The account of that certificate, once it has been looked for.
    pub(super) known: Arc<Mutex<Option<String>>>,
    /// What the listener knows of the connection.
    pub(super) presence: Arc<Presence>,
}

/// An account whose organisation may speak.
#[derive(Debug)]
pub(super) struct Admitted {
    pub(super) account: String,
    pub(super) peer: AdmittedPeer,
}

impl Rest {
    /// Who asks. What was taken from an account since the last request is not there any more.
    pub(super) fn admit(&self, caller: &Caller, fields: &HeaderMap) -> Result<Admitted, Problem> {
        let admitted = self.who(caller, fields);
        caller.presence.is_known(admitted.is_ok());
        admitted
    }

    fn who(&self, caller: &Caller, fields: &HeaderMap) -> Result<Admitted, Problem> {
        let settings = Arc::clone(&self.settings.borrow());
        let mut shown = fields.get_all(AUTHORIZATION).iter();
        let Some(authorization) = shown.next() else { return self.by_certificate(caller, &settings) };
        let bearer = authorization.to_str().ok().filter(|_| shown.next().is_none()).and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
        });
        let now = self.clock.now();
        let Some(grant) = bearer.and_then(|token| self.seal.open(token, now)) else {
            // Not counted as a guess: nobody guesses 256 bits, all tokens end with this process, and whoever used one then
            // must not have to wait for the next.
            metrics::counter!("reveille_rest_denied_total", "error" => "invalid_token").increment(1);
            return Err(Problem::unauthorised("The access token is none of this server's, or has expired."));
        };
        let admitted = match &grant.credential {
            Credential::Secret(id) => admit_account(&settings, &grant.account, AccountProof::Secret(id), now),
            Credential::Key(_) => self.admit_key(&settings, &grant.account, &grant.credential),
            Credential::Certificate(thumbprint) => {
                // RFC 8705 §3: the connection must be that of the certificate that the token was given for.
                let shown = caller.certificate.as_ref().filter(|it| it.sha256_fingerprint == *thumbprint);
                let Some(certificate) = shown else {
                    return Err(Problem::unauthorised("The access token is bound to another client certificate."));
                };
                self.admit_certificate(&settings, &grant.account, certificate)
            }
        };
        settled(admitted, grant.account)
    }

    /// The account, if it still has that very key.
    pub(super) fn admit_key(
        &self,
        settings: &Snapshot,
        account: &str,
        key: &Credential,
    ) -> Result<AdmittedPeer, AccountRefusal> {
        let held = settings.push_account(account).map_or(&[][..], |account| &account.public_keys);
        let text = held.iter().find(|text| Credential::of_key(text) == *key).ok_or(AccountRefusal::Unknown)?;
        let kid = PublicJwk::read(text).map_err(|_| AccountRefusal::Unknown)?.kid;
        admit_account(settings, account, AccountProof::Key(&kid), self.clock.now())
    }

    /// The account of the connection's own certificate.
    fn by_certificate(&self, caller: &Caller, settings: &Snapshot) -> Result<Admitted, Problem> {
        let certificate = caller.certificate.as_ref().ok_or_else(Problem::nobody)?;
        let known = caller.known.lock().clone();
        if let Some(account) = known
            && let Ok(peer) = self.admit_certificate(settings, &account, certificate)
        {
            return Ok(Admitted { account, peer });
        }
        let names = |name: &SipDomain| certificate.names(name.as_str());
        let proof = AccountProof::Certificate { thumbprint: &certificate.sha256_fingerprint, names: &names };
        let Some(account) = account_of(settings, proof).map(|account| account.identity.clone()) else {
            let detail = "The client certificate is that of no account, or of several: then /oauth2/token with a \
                          client_id says which.";
            return Err(Problem::unauthorised(detail));
        };
        let admitted = self.admit_certificate(settings, &account, certificate);
        if admitted.is_ok() {
            *caller.known.lock() = Some(account.clone());
        }
        settled(admitted, account)
    }

    /// The account, if it holds that certificate and the certificate has not ended on an old connection.
    pub(super) fn admit_certificate(
        &self,
        settings: &Snapshot,
        account: &str,
        certificate: &PeerCertificate,
    ) -> Result<AdmittedPeer, AccountRefusal> {
        let now = self.clock.now();
        if !certificate.is_valid_at(i64::try_from(now.secs()).unwrap_or(i64::MAX)) {
            return Err(AccountRefusal::Closed);
        }
        let names = |name: &SipDomain| certificate.names(name.as_str());
        let proof = AccountProof::Certificate { thumbprint: &certificate.sha256_fingerprint, names: &names };
        admit_account(settings, account, proof, now)
    }
}

fn settled(admitted: Result<AdmittedPeer, AccountRefusal>, account: String) -> Result<Admitted, Problem> {
    match admitted {
        Ok(peer) => Ok(Admitted { account, peer }),
        Err(AccountRefusal::Organisation(refusal)) => {
            tracing::info!(account, %refusal, "a machine account is turned away with its organisation");
            Err(Problem::refused(&refusal))
        }
        Err(refusal @ (AccountRefusal::Closed | AccountRefusal::Unknown)) => {
            tracing::info!(account, %refusal, "a machine account is turned away");
            Err(Problem::unauthorised("The account is not let in any more, or not with that."))
        }
    }
}
