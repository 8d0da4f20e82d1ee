//! Why a name did not become addresses: the domain's doing, the name server's, or the way to it.

/// Why a name did not become addresses.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ResolveError {
    /// The text is no domain name.
    #[error("{name:?} is not a domain name")]
    NotAName {
        /// What was asked for.
        name: String,
    },
    /// The name exists and has no record of the kind asked for.
    #[error("{name} has no {kind} record")]
    NoRecords {
        /// What was asked for.
        name: String,
        /// `SRV` or `address`.
        kind: &'static str,
    },
    /// The name does not exist.
    #[error("{name} does not exist in the DNS")]
    NoSuchName {
        /// What was asked for.
        name: String,
    },
    /// RFC 2782: the only target is ".", so the domain says that it does not offer this service.
    #[error("{name} says that this service is not offered")]
    NotOffered {
        /// What was asked for.
        name: String,
    },
    /// The name server would not answer.
    #[error("the name server refused to answer for {name}")]
    Refused {
        /// What was asked for.
        name: String,
    },
    /// The name server could not answer (SERVFAIL and the like).
    #[error("the name server failed on {name}: {detail}")]
    ServerFailed {
        /// What was asked for.
        name: String,
        /// What it said.
        detail: String,
    },
    /// No answer in time.
    #[error("no name server answered for {name} in time")]
    TimedOut {
        /// What was asked for.
        name: String,
    },
    /// There is no way to a name server, or nobody listens there.
    #[error("no name server could be asked for {name}: {detail}")]
    Unreachable {
        /// What was asked for.
        name: String,
        /// What the operating system says.
        detail: String,
    },
}

impl ResolveError {
    /// Whether the same question may be answered differently in a moment.
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Refused { .. } | Self::ServerFailed { .. } | Self::TimedOut { .. } | Self::Unreachable { .. } => true,
            Self::NoRecords { .. } | Self::NoSuchName { .. } | Self::NotAName { .. } | Self::NotOffered { .. } => false,
        }
    }

    /// What a person may do about it. Only the first two speak of the peer's records; the others are about the way to
    /// them, and changing records would not help.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::NoRecords { .. } | Self::NoSuchName { .. } => {
                "check the SRV and address records of the peer's domain"
            }
            Self::NotAName { .. } => "check the spelling of the domain",
            Self::NotOffered { .. } => "the domain's owner has switched this service off in its SRV record; ask them",
            Self::Refused { .. } => "let the name server answer this machine, or ask another in [resolver]",
            Self::ServerFailed { .. } => {
                "look at the name server's log, and at the delegation and DNSSEC of the domain"
            }
            Self::TimedOut { .. } | Self::Unreachable { .. } => {
                "check that this machine's name servers run and that port 53 is open on the way to them"
            }
        }
    }

    /// A short constant name, for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::NoRecords { .. } => "no-records",
            Self::NoSuchName { .. } => "no-such-name",
            Self::NotAName { .. } => "not-a-name",
            Self::NotOffered { .. } => "not-offered",
            Self::Refused { .. } => "refused",
            Self::ServerFailed { .. } => "server-failed",
            Self::TimedOut { .. } => "timed-out",
            Self::Unreachable { .. } => "unreachable",
        }
    }
}
