//! From a refusal or failure on the road to whose fault it is, whether repeating helps, and what to do.
//!
//! The ids are those of `ms-diagnostics` (lync.md §3.5) where one fits; ours begin above 90100.

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// The settings or the machine's configuration on this side.
    Configuration,
    /// This program or this machine.
    Ours,
    /// The other organisation.
    Peer,
    /// The push service.
    Provider,
}

impl Fault {
    /// The stable word for logs and answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::Ours => "ours",
            Self::Peer => "peer",
            Self::Provider => "provider",
        }
    }
}

/// What is known about one failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Diagnosis {
    /// The number that travels in `ms-diagnostics`.
    pub id: u32,
    /// Whose fault it is, seen from the side that answers.
    pub fault: Fault,
    /// Whether the same request may succeed later.
    pub retry_helps: bool,
    /// What a person may do; the command that mends it where there is one.
    pub advice: &'static str,
}

/// A failure on the road, without its values.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Failure {
    /// The peer's certificate does not name whom it must.
    CertificateNamesAnother,
    /// The body is not what its content type says.
    BadBody,
    /// The domain is on the block list.
    DomainBlocked,
    /// The domain is not on the allow list.
    DomainNotAllowed,
    /// Federation is off.
    FederationOff,
    /// The trust header came from a host that is not our edge.
    ForgedTrust,
    /// Nobody here serves that domain.
    NotOurDomain,
    /// The next hop does not answer.
    PeerUnreachable,
    /// The journal cannot take anything.
    StoreFull,
    /// The SRV record leads into another domain.
    SrvNamesAnother,
    /// The SRV record cannot be found.
    SrvNotFound,
    /// Too much at once.
    Overloaded,
    /// Too much of this organisation, app or device.
    Throttled,
    /// The publisher's app does not serve the organisation.
    AppNotGranted,
    /// The publisher has no such app.
    NoSuchApp,
}

impl Failure {
    /// The table.
    pub const fn diagnosis(self) -> Diagnosis {
        use Fault::{Configuration, Ours, Peer};
        let (id, fault, retry_helps, advice) = match self {
            Self::CertificateNamesAnother => (
                1010,
                Peer,
                false,
                "present a certificate whose subjectAltName holds the domain, or the ProxyFqdn that your partner configured",
            ),
            Self::BadBody => (90101, Peer, false, "correct the body; the position of the fault is in the answer"),
            Self::DomainBlocked => (90102, Configuration, false, "Remove-CsBlockedDomain -Identity DOMAIN"),
            Self::DomainNotAllowed => (90103, Configuration, false, "New-CsAllowedDomain -Identity DOMAIN"),
            Self::FederationOff => {
                (90104, Configuration, false, "Set-CsAccessEdgeConfiguration -AllowFederatedUsers $True")
            }
            Self::ForgedTrust => (90105, Peer, false, "list the edge's certificate name under edges in reveille.toml"),
            Self::NotOurDomain => (1005, Configuration, false, "check the PushNotificationProxyUri of the sender"),
            Self::PeerUnreachable => (1046, Peer, true, "check that the partner's edge answers on its port 5061"),
            Self::StoreFull => (90106, Ours, true, "free space on the volume that holds the journal"),
            Self::SrvNamesAnother => {
                (1009, Peer, false, "the SRV target must lie in the domain, or be a hosting provider's ProxyFqdn")
            }
            Self::SrvNotFound => {
                (1008, Peer, true, "publish _sipfederationtls._tcp for the domain, or set a ProxyFqdn")
            }
            Self::Throttled => (90108, Peer, true, "repeat after the time given in Retry-After, or ask for more"),
            Self::AppNotGranted => (90109, Configuration, false, "ask the publisher to add your domain to the app"),
            Self::NoSuchApp => (90110, Peer, false, "check the app's name and environment in the push identity"),
            Self::Overloaded => (90107, Ours, true, "repeat after the time given in Retry-After"),
        };
        Diagnosis { id, fault, retry_helps, advice }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_that_repeating_does_not_help_names_something_to_do() {
        for failure in [Failure::DomainBlocked, Failure::DomainNotAllowed, Failure::FederationOff] {
            let diagnosis = failure.diagnosis();
            assert!(!diagnosis.retry_helps && diagnosis.advice.contains("-Cs"), "{failure:?}");
        }
    }
}
