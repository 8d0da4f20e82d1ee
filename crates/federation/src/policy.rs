//! Who may speak, and for whom: the only place that makes an [`AdmittedPeer`].
//!
//! Pure: settings, certificate and SRV facts go in. Which name a certificate must hold is DESIGN.md §6: a peer reached
//! by same-domain SRV must name the *domain*; a direct partner or a provider must name the *ProxyFqdn*, the default
//! route its own name.

use reveille_core::settings::{
    AccessEdgeConfiguration, AllowedDomain, Carrier, PublicJwk, PushAccount, Snapshot, Unasserted, VerificationLevel,
};
use reveille_core::{SipDomain, Timestamp};

use crate::refusal::Refusal;
use crate::trust::{Network, SourceType, Trust};

/// Proof that a peer may speak for a domain; nothing outside of this file can make one.
///
/// The origin of a push request is always [`AdmittedPeer::domain`], never a field of its body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AdmittedPeer {
    domain: SipDomain,
    source: SourceType,
    verified: bool,
}

impl AdmittedPeer {
    /// The domain that the peer proved.
    pub const fn domain(&self) -> &SipDomain {
        &self.domain
    }

    /// How it was known.
    pub const fn source(&self) -> SourceType {
        self.source
    }

    /// Whether the verification level lets this message's sender count as verified.
    pub const fn verified(&self) -> bool {
        self.verified
    }
}

/// What a peer is to us when it speaks for a domain: the same for all its messages while the settings stay.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Standing {
    domain: SipDomain,
    remote: SipDomain,
    source: SourceType,
    network: Network,
    level: VerificationLevel,
    unasserted: Unasserted,
    listed: bool,
    discovered: bool,
}

impl Standing {
    /// One of our own servers, which has proven `remote` on the inner side, speaking for a domain that it serves: to
    /// another server of ours it is what a direct partner is, and its users are known.
    pub const fn own(domain: SipDomain, remote: SipDomain) -> Self {
        Self {
            domain,
            remote,
            source: SourceType::DirectPartner,
            network: Network::Federation,
            level: VerificationLevel::AlwaysVerifiable,
            unasserted: Unasserted::MarkUnverified,
            listed: true,
            discovered: false,
        }
    }

    /// The domain that the peer speaks for.
    pub const fn domain(&self) -> &SipDomain {
        &self.domain
    }

    /// The name that it proves that with.
    pub const fn remote(&self) -> &SipDomain {
        &self.remote
    }

    /// How it is known.
    pub const fn source(&self) -> SourceType {
        self.source
    }

    /// Whether its domain is on the allow list; who is not has been discovered, or came by the default route.
    pub const fn is_listed(&self) -> bool {
        self.listed
    }

    /// Whether it is let in though nobody has listed it (lync.md §3.4), and is held short: by its own certificate, or by a
    /// provider to whom its SRV record leads. What a default route brings has been chosen with the route.
    pub const fn is_discovered(&self) -> bool {
        self.discovered
    }

    /// Whether it proves itself by somebody else's name: its provider's, or its edge's.
    pub fn is_brought(&self) -> bool {
        self.domain != self.remote
    }

    /// The proof for one message, whose sender's own server has `asserted` that he is verified, or not, or nothing
    /// (lync.md §3.3).
    pub fn admit(&self, asserted: Option<bool>) -> Result<AdmittedPeer, Refusal> {
        if self.level == VerificationLevel::UseSourceVerification
            && asserted.is_none()
            && self.unasserted == Unasserted::Reject
        {
            return Err(Refusal::AssertionMissing { domain: self.domain.clone() });
        }
        Ok(AdmittedPeer { domain: self.domain.clone(), source: self.source, verified: self.verified(asserted) })
    }

    /// Whether a sender counts as verified. Of the two documented readings of "absent", this is the milder one.
    pub fn verified(&self, asserted: Option<bool>) -> bool {
        match self.level {
            VerificationLevel::AlwaysVerifiable => true,
            VerificationLevel::AlwaysUnverifiable => false,
            VerificationLevel::UseSourceVerification => asserted == Some(true),
        }
    }

    /// What `edge` stamps on this peer's messages on their way inward.
    pub fn trust<'a>(&'a self, edge: &'a SipDomain, verified: bool) -> Trust<'a> {
        Trust {
            source: self.source,
            edge: edge.as_str(),
            verified,
            network: self.network,
            remote: self.remote.as_str(),
        }
    }
}

/// What the policy says of a peer that wants to speak for a domain.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Admission {
    /// It may.
    Admitted(Standing),
    /// It may if the SRV record of the domain leads to a provider that it is: look it up, then call [`carried_by`].
    IfCarriedBy(Carriage),
}

/// A provider that wants to speak for one of its customers; several, if its certificate names more than one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Carriage {
    domain: SipDomain,
    /// One for each provider.
    standings: Vec<Standing>,
}

impl Carriage {
    /// Whose SRV record is to be looked up.
    pub const fn domain(&self) -> &SipDomain {
        &self.domain
    }
}

/// Whether the peer whose certificate `names` (a predicate over names) may speak for `domain`; `ours` tells the domains
/// that live behind this edge.
pub fn admit(
    settings: &Snapshot,
    ours: &dyn Fn(&SipDomain) -> bool,
    domain: &SipDomain,
    names: &dyn Fn(&SipDomain) -> bool,
) -> Result<Admission, Refusal> {
    let listing = Listing::open(settings, domain)?;
    let another =
        |wanted: &SipDomain| Refusal::CertificateNamesAnother { domain: domain.clone(), wanted: wanted.clone() };
    if let Some(standing) = listing.direct_partner() {
        return if names(&standing.remote) {
            Ok(Admission::Admitted(standing))
        } else {
            Err(another(&standing.remote))
        };
    }
    // Whoever could send in the name of our own people from outside could be any of them.
    if ours(domain) {
        return Err(Refusal::OwnDomain { domain: domain.clone() });
    }
    if let Some(standing) = listing.default_route() {
        return if names(&standing.remote) {
            Ok(Admission::Admitted(standing))
        } else {
            Err(another(&standing.remote))
        };
    }
    if names(domain) {
        return Ok(Admission::Admitted(listing.same_domain()));
    }
    let named = settings.carriers().filter(|carrier| names(carrier.proxy));
    let standings: Vec<Standing> = named.map(|carrier| listing.carried(carrier)).collect();
    if standings.is_empty() {
        return Err(another(domain));
    }
    Ok(Admission::IfCarriedBy(Carriage { domain: domain.clone(), standings }))
}

/// Completes an admission with the targets of the domain's SRV record.
pub fn carried_by(carriage: Carriage, srv_targets: &[SipDomain]) -> Result<Standing, Refusal> {
    let Carriage { domain, standings } = carriage;
    let leads_to = |standing: &Standing| srv_targets.contains(&standing.remote);
    let carries = standings.into_iter().find(leads_to);
    carries.ok_or_else(|| Refusal::CertificateNamesAnother { wanted: domain.clone(), domain })
}

/// One domain as the settings know it: the rules that hold in both directions.
pub(crate) struct Listing<'a> {
    edge: AccessEdgeConfiguration,
    domain: &'a SipDomain,
    record: Option<&'a AllowedDomain>,
}

impl<'a> Listing<'a> {
    /// Refuses what is refused whoever speaks: federation is off, the domain is blocked, or on no list though lists are
    /// all that counts.
    pub(crate) fn open(settings: &'a Snapshot, domain: &'a SipDomain) -> Result<Self, Refusal> {
        let edge = settings.access_edge();
        if !edge.allow_federated_users {
            return Err(Refusal::FederationOff);
        }
        if settings.is_blocked(domain) {
            return Err(Refusal::DomainBlocked { domain: domain.clone() });
        }
        let record = settings.allowed_domain(domain);
        if record.is_none() && !edge.enable_partner_discovery && edge.default_route().is_none() {
            return Err(Refusal::DomainNotAllowed { domain: domain.clone() });
        }
        Ok(Self { edge, domain, record })
    }

    /// The domain's own record with its edge.
    pub(crate) fn direct_partner(&self) -> Option<Standing> {
        let proxy = self.record?.proxy_fqdn.as_ref()?;
        Some(self.standing(proxy, SourceType::DirectPartner, self.listed_level()))
    }

    /// The host that everything goes to and comes from, if that form is chosen.
    pub(crate) fn default_route(&self) -> Option<Standing> {
        let route = self.edge.default_route()?;
        let level = self.edge.verification_level.unwrap_or(SOURCE_DECIDES);
        let mut standing = self.standing(route, SourceType::AuthorizedServer, level);
        if self.edge.is_public_provider {
            standing.network = Network::PublicCloud;
        }
        standing.discovered = false;
        Some(standing)
    }

    /// A peer that proves the domain itself: listed, or discovered.
    pub(crate) fn same_domain(&self) -> Standing {
        let level = match self.record {
            Some(_) => self.listed_level(),
            None => self.edge.discovered_partner_verification_level.unwrap_or(SOURCE_DECIDES),
        };
        self.standing(self.domain, SourceType::AutoFederation, level)
    }

    /// A provider to whom the domain's SRV record leads.
    pub(crate) fn carried(&self, carrier: Carrier<'_>) -> Standing {
        let mut standing = self.standing(carrier.proxy, SourceType::AuthorizedServer, carrier.level);
        if carrier.is_public {
            standing.network = Network::PublicCloud;
        }
        standing
    }

    fn listed_level(&self) -> VerificationLevel {
        self.record.and_then(|record| record.verification_level).unwrap_or(SOURCE_DECIDES)
    }

    fn standing(&self, remote: &SipDomain, source: SourceType, level: VerificationLevel) -> Standing {
        Standing {
            domain: self.domain.clone(),
            remote: remote.clone(),
            source,
            network: Network::Federation,
            level,
            unasserted: self.edge.unasserted_source,
            listed: self.record.is_some(),
            discovered: self.record.is_none(),
        }
    }
}

/// The documents' domains had no level of their own and acted so (lync.md §1.3).
const SOURCE_DECIDES: VerificationLevel = VerificationLevel::UseSourceVerification;

/// Proof that an internal connection comes from a host that this machine's configuration names as an edge.
#[derive(Clone, Debug)]
pub struct TrustedEdge(());

/// Whether the certificate of an internal connection names one of the configured edges.
pub fn trusted_edge(edges: &[SipDomain], names: &dyn Fn(&SipDomain) -> bool) -> Option<TrustedEdge> {
    edges.iter().any(names).then_some(TrustedEdge(()))
}

/// Rebuilds the proof behind the edge, from the edge's trust header and the From domain that the edge has checked.
pub fn readmit(_: &TrustedEdge, trust: Option<&str>, from: &SipDomain) -> Result<AdmittedPeer, Refusal> {
    let trust = trust.and_then(Trust::read).filter(|trust| trust.source.is_federated()).ok_or(Refusal::NoTrust)?;
    Ok(AdmittedPeer { domain: from.clone(), source: trust.source, verified: trust.verified })
}

/// What a machine account has just proven to hold: which of the things that its record names. Whoever makes one has
/// checked the secret, the signature or the TLS handshake itself.
#[derive(Clone, Copy)]
pub enum AccountProof<'a> {
    /// A client certificate of an authority that is trusted for accounts: the SHA-256 of it in hexadecimal, and the
    /// names in it.
    Certificate {
        /// The thumbprint.
        thumbprint: &'a str,
        /// Whether it names somebody.
        names: &'a dyn Fn(&SipDomain) -> bool,
    },
    /// The private half of the public key of this `kid`.
    Key(&'a str),
    /// The secret of this id.
    Secret(&'a str),
}

/// Why an account is not let in.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum AccountRefusal {
    /// It is disabled, or over.
    #[error("the account is disabled or has expired")]
    Closed,
    /// Its organisation may not speak here.
    #[error("{0}")]
    Organisation(Refusal),
    /// There is no such account, or it does not hold that any more.
    #[error("the account does not exist, or what it proved itself with is not its own any more")]
    Unknown,
}

/// The proof for one request of a machine account: its organisation passes the same lists as by federation. Asked for
/// each request, so that what is taken away is gone at once.
pub fn admit_account(
    settings: &Snapshot,
    account: &str,
    proof: AccountProof<'_>,
    now: Timestamp,
) -> Result<AdmittedPeer, AccountRefusal> {
    let account = settings.push_account(account).filter(|account| holds(account, proof));
    let account = account.ok_or(AccountRefusal::Unknown)?;
    if !account.is_open(now) {
        return Err(AccountRefusal::Closed);
    }
    let listing = Listing::open(settings, &account.organisation).map_err(AccountRefusal::Organisation)?;
    // Whoever has an account has been chosen by us; whether its users are verified is not ours to doubt.
    listing.same_domain().admit(Some(true)).map_err(AccountRefusal::Organisation)
}

/// The one account that holds a client certificate; none where several do, since then only its owner can say which he
/// means.
pub fn account_of<'a>(settings: &'a Snapshot, certificate: AccountProof<'_>) -> Option<&'a PushAccount> {
    let mut holders = settings.push_accounts().filter(|account| holds(account, certificate));
    holders.next().filter(|_| holders.next().is_none())
}

/// Whether the record names that.
fn holds(account: &PushAccount, proof: AccountProof<'_>) -> bool {
    match proof {
        AccountProof::Certificate { thumbprint, names } => {
            account.certificate_thumbprints.iter().any(|known| known.eq_ignore_ascii_case(thumbprint))
                || account.certificate_names.iter().any(names)
        }
        AccountProof::Key(kid) => {
            account.public_keys.iter().any(|text| PublicJwk::read(text).is_ok_and(|key| key.kid == kid))
        }
        AccountProof::Secret(id) => account.secrets.iter().any(|secret| secret.id == id),
    }
}

#[cfg(test)]
mod tests;
