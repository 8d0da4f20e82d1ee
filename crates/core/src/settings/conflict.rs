//! Why a change of the settings was refused: both records are named, and the command that would mend it.

use crate::names::SipDomain;

/// Why a change was refused. Both records are named.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Conflict {
    /// A domain cannot be allowed and blocked.
    #[error("{own} \"{domain}\" cannot stand beside {other} \"{domain}\": a domain is allowed or blocked, not both")]
    BothLists {
        /// The domain.
        domain: SipDomain,
        /// The kind of the record that was wanted.
        own: &'static str,
        /// The kind of the record that exists.
        other: &'static str,
    },
    /// A user would have a policy that does not exist.
    #[error("there is no MobilityPolicy \"tag:{policy}\" to grant to {user}")]
    GrantOfNothing {
        /// The user.
        user: String,
        /// The policy's name.
        policy: String,
    },
    /// Providers of both kinds share one list of names.
    #[error(
        "{own} \"{identity}\" cannot stand beside {kind} \"{identity}\": a provider's name is unique over both kinds"
    )]
    IdentityTaken {
        /// The kind of the record that was wanted.
        own: &'static str,
        /// The kind of the record that has it.
        kind: &'static str,
        /// The name.
        identity: String,
    },
    /// The session intervals contradict each other.
    #[error(
        "SessionExpirationInterval ({long} s) must be greater than SessionShortExpirationInterval ({short} s), and \
         both at least 120 s"
    )]
    Intervals {
        /// The long one, in seconds.
        long: u32,
        /// The short one, in seconds.
        short: u32,
    },
    /// A name or text that cannot be one.
    #[error("{property} is {value:?}: {why}")]
    Malformed {
        /// Which property.
        property: &'static str,
        /// What was given, clipped.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A policy would go that somebody has.
    #[error("MobilityPolicy \"tag:{policy}\" is granted to {user}{}: take it from them first", others(*more))]
    PolicyInUse {
        /// The policy's name.
        policy: String,
        /// One user who has it.
        user: String,
        /// How many others have it.
        more: usize,
    },
    /// One edge, two records.
    #[error(
        "{own} \"{own_identity}\" cannot have {proxy}, which {kind} \"{identity}\" has already: one edge belongs to one record"
    )]
    ProxyTaken {
        /// The FQDN in question.
        proxy: SipDomain,
        /// The kind of the record that was wanted.
        own: &'static str,
        /// The name of the record that was wanted.
        own_identity: String,
        /// Whether it is a record that exists, and was to be changed.
        own_exists: bool,
        /// The kind of the record that has it.
        kind: &'static str,
        /// The name of the record that has it.
        identity: String,
    },
    /// The proxy of a provider is for life.
    #[error("the ProxyFqdn of {kind} \"{identity}\" cannot be changed: remove it and make a new one")]
    ProxyImmutable {
        /// The kind of the provider's record.
        kind: &'static str,
        /// The provider's name.
        identity: String,
    },
    /// Not a place push requests could go to.
    #[error("PushNotificationProxyUri \"{uri}\" is not a SIP URI of the form sip:push@domain")]
    ProxyUri {
        /// What was given.
        uri: String,
    },
    /// A provider and a default route exclude each other.
    #[error(
        "AccessEdgeConfiguration \"global\" uses the default route {route}, and {kind} \"{identity}\" would be a second \
         way: remove the provider, or choose UseDnsSrvRouting"
    )]
    ProviderBesideDefaultRoute {
        /// The default route.
        route: SipDomain,
        /// Whether the route was wanted, and the provider is there; else it is the other way round.
        is_new_route: bool,
        /// The kind of the provider's record.
        kind: &'static str,
        /// The provider's name.
        identity: String,
    },
    /// A number is outside of its range.
    #[error("{property} is {value}, and must be {range}")]
    Range {
        /// Which property.
        property: &'static str,
        /// What was given.
        value: u32,
        /// What may be given.
        range: &'static str,
    },
    /// A role that nothing could be done with.
    #[error("AdminRole \"{identity}\" has neither ConfigScopes nor UserScopes: one of them is needed")]
    RoleWithoutScope {
        /// The role's name.
        identity: String,
    },
    /// Properties of two forms of the command.
    #[error("{property} belongs to {form}, and RoutingMethod is another: set one or the other")]
    RoutingForm {
        /// The property that does not fit.
        property: &'static str,
        /// The form that it belongs to.
        form: &'static str,
    },
    /// One user cannot talk to itself.
    #[error("both test users of {pool} are {user}: a test needs two")]
    SameTestUser {
        /// The pool.
        pool: SipDomain,
        /// The user.
        user: String,
    },
    /// There are too many records.
    #[error("there are {most} records already: remove some that nobody needs any more")]
    TooMany {
        /// How many there may be.
        most: usize,
    },
    /// One record is too long.
    #[error("{kind} \"{identity}\" has {bytes} bytes as JSON, and {most} are the most: make its lists shorter")]
    TooLong {
        /// The kind of the record.
        kind: &'static str,
        /// Its name.
        identity: String,
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        most: usize,
    },
    /// A kind of record that does not exist at that scope.
    #[error("{kind} has no {scope}: its scopes are {scopes}")]
    WrongScope {
        /// The kind of the record.
        kind: &'static str,
        /// What was given.
        scope: String,
        /// Which there are.
        scopes: &'static str,
    },
    /// The default route leads nowhere.
    #[error("UseDefaultRouting needs a DefaultRouteFqdn")]
    RouteMissing,
}

impl Conflict {
    /// The command that removes what is in the way, or makes what is missing, where there is one.
    pub fn advice(&self) -> Option<String> {
        match self {
            Self::BothLists { domain, other, .. } => Some(format!("Remove-Cs{other} -Identity {domain}")),
            Self::GrantOfNothing { policy, .. } => Some(format!("New-CsMobilityPolicy -Identity \"{policy}\"")),
            Self::IdentityTaken { kind, identity, .. } => Some(format!("Get-Cs{kind} -Identity \"{identity}\"")),
            Self::PolicyInUse { user, .. } => {
                Some(format!("Grant-CsMobilityPolicy -Identity {user} -PolicyName $null"))
            }
            Self::ProviderBesideDefaultRoute { is_new_route: true, kind, identity, .. } => {
                Some(format!("Remove-Cs{kind} -Identity \"{identity}\""))
            }
            Self::ProviderBesideDefaultRoute { .. } => {
                Some("Set-CsAccessEdgeConfiguration -UseDnsSrvRouting".to_owned())
            }
            Self::ProxyImmutable { kind, identity } => Some(format!("Remove-Cs{kind} -Identity \"{identity}\"")),
            // The edge of a provider or of the default route carries a domain that is allowed without one of its own.
            Self::ProxyTaken { own: "AllowedDomain", own_identity, own_exists: false, .. } => {
                Some(format!("New-CsAllowedDomain -Identity {own_identity}"))
            }
            Self::ProxyTaken { kind: "AllowedDomain", identity, .. } => {
                Some(format!("Set-CsAllowedDomain -Identity {identity} -ProxyFqdn $null"))
            }
            Self::ProxyTaken { kind: "AccessEdgeConfiguration", .. } => {
                Some("Get-CsAccessEdgeConfiguration".to_owned())
            }
            // The one that is there is most likely meant: it may need to be enabled, or nothing at all.
            Self::ProxyTaken { kind, identity, .. } => Some(format!("Get-Cs{kind} -Identity \"{identity}\"")),
            Self::ProxyUri { .. } => {
                Some("Set-CsMcxConfiguration -PushNotificationProxyUri \"sip:push@push.lync.com\"".to_owned())
            }
            Self::RouteMissing => {
                Some("Set-CsAccessEdgeConfiguration -UseDefaultRouting -DefaultRouteFqdn FQDN".to_owned())
            }
            Self::Intervals { .. }
            | Self::Malformed { .. }
            | Self::Range { .. }
            | Self::RoleWithoutScope { .. }
            | Self::RoutingForm { .. }
            | Self::SameTestUser { .. }
            | Self::TooLong { .. }
            | Self::TooMany { .. }
            | Self::WrongScope { .. } => None,
        }
    }
}

fn others(more: usize) -> String {
    match more {
        0 => String::new(),
        1 => " and one other user".to_owned(),
        more => format!(" and {more} other users"),
    }
}
