//! From a refusal or failure on the road to whose fault it is, whether repeating helps, and what to do.
//!
//! The ids are those of `ms-diagnostics` (lync.md §3.5) where one fits; ours begin above 90100.

use crate::stage::Stage;

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
    /// A host has no address.
    AddressNotFound,
    /// The partner does not say whether its user is verified, and must.
    AssertionMissing,
    /// The peer's certificate does not name whom it must.
    CertificateNamesAnother,
    /// The body is not what its content type says.
    BadBody,
    /// The address of the clearing house is no SIP URI, or leads where no clearing house is.
    BadProxyUri,
    /// The partner's edge is there, and the clearing house behind it is not.
    ClearingHouseDown,
    /// Home's clock and the clearing house's are too far apart.
    ClockSkew,
    /// The domain is on the block list.
    DomainBlocked,
    /// The domain is not on the allow list.
    DomainNotAllowed,
    /// The edge that a test names is not one of this home.
    EdgeUnknown,
    /// Home does not reach its own edge.
    EdgeUnreachable,
    /// Federation is off.
    FederationOff,
    /// The trust header came from a host that is not our edge.
    ForgedTrust,
    /// The name that a test gives is not one of this home.
    HomeUnknown,
    /// Home's listener for clients does not answer.
    HomeUnreachable,
    /// Home's certificate is not one that a client could trust.
    HomeUntrusted,
    /// The filter for users' messages blocks what push requests carry.
    ImFilterRejects,
    /// Requests of this kind do not cross the border.
    MethodNotFederated,
    /// The request has left, and nobody has answered it in time.
    NoAnswer,
    /// The policy of a user does not let him use the mobility service.
    MobilityOff,
    /// A request within a dialog that its sender does not have here.
    NoSuchDialog,
    /// Nobody of that name is at the domain.
    NoSuchUser,
    /// The user has no device that a test could wake.
    NoTestDevice,
    /// A test was given no users, and none are kept for it.
    NoTestUsers,
    /// A server of ours speaks for a domain that another one serves.
    NotItsDomain,
    /// Nobody here serves that domain.
    NotOurDomain,
    /// A peer outside speaks for a domain of ours.
    OwnDomain,
    /// Our own SRV record cannot be found.
    OwnNameMissing,
    /// What was sent through the media relay did not arrive.
    PacketLost,
    /// Too much of one partner is under way.
    PartnerBusy,
    /// The partner's edge turns us away.
    PartnerRefuses,
    /// A discovered partner writes to too many addresses.
    PartnerWatched,
    /// The next hop has failed a moment ago, and is not tried yet.
    PeerPaused,
    /// The next hop does not trust our certificate.
    PeerRejectsUs,
    /// The next hop answered with a refusal and did not say why.
    PeerSilent,
    /// The next hop does not answer.
    PeerUnreachable,
    /// The next hop's certificate is not one to trust.
    PeerUntrusted,
    /// The device was not heard of within the time of a test.
    ProbeUnanswered,
    /// The provider that the domain's record leads to is one of ours and switched off.
    ProviderDisabled,
    /// The domain's record leads to somebody whom no record of ours names as a provider.
    ProviderMissing,
    /// The push service did not take the test push.
    ProviderRefuses,
    /// The way leads to another server than the one that a test names.
    ProxyDiffers,
    /// No push service is switched on.
    PushSwitchedOff,
    /// The journal cannot take anything.
    StoreFull,
    /// The media relay's name has no address.
    RelayNameNotFound,
    /// The edge has no media relay.
    RelayNotConfigured,
    /// The media relay gives no address for media.
    RelayRefuses,
    /// The media relay does not take the credentials that our edge has made.
    RelayRejectsCredentials,
    /// The media relay does not answer.
    RelayUnreachable,
    /// The media relay's certificate is not one that clients trust.
    RelayUntrusted,
    /// What one test user wrote did not reach another.
    SessionFailed,
    /// Home does not believe that a test user is who he says.
    SignInRefused,
    /// The edge is about to stop.
    Stopping,
    /// The SRV record leads into another domain.
    SrvNamesAnother,
    /// The SRV record cannot be found.
    SrvNotFound,
    /// The message has gone too far round.
    TooManyHops,
    /// The Request-URI is not one of SIP.
    UnknownScheme,
    /// Too much at once.
    Overloaded,
    /// Too much of this organisation, app or device.
    Throttled,
    /// The publisher's app does not serve the organisation.
    AppNotGranted,
    /// The publisher has no such app.
    NoSuchApp,
    /// The key of a sealed handle is gone.
    HandleKeyGone,
    /// A call of before a restore, which may have rung.
    CallMayHaveRung,
    /// A push with sealed content is too large for its provider.
    PayloadTooLarge,
    /// A sealed handle is another organisation's or another app's.
    HandleNotYours,
}

impl Failure {
    /// Where on the road of a push request it happens, as our own servers meet it.
    pub const fn stage(self) -> Stage {
        match self {
            Self::BadProxyUri
            | Self::HomeUnknown
            | Self::ImFilterRejects
            | Self::MobilityOff
            | Self::NoTestUsers
            | Self::PushSwitchedOff => Stage::Settings,
            Self::EdgeUnknown | Self::EdgeUnreachable | Self::Stopping => Stage::OurEdge,
            Self::OwnNameMissing => Stage::OwnName,
            Self::DomainBlocked
            | Self::DomainNotAllowed
            | Self::FederationOff
            | Self::ForgedTrust
            | Self::MethodNotFederated
            | Self::NoSuchDialog
            | Self::NotItsDomain
            | Self::Overloaded
            | Self::PartnerBusy
            | Self::PartnerWatched
            | Self::ProviderDisabled
            | Self::ProviderMissing
            | Self::Throttled
            | Self::TooManyHops
            | Self::UnknownScheme => Stage::Policy,
            Self::ProxyDiffers | Self::SrvNamesAnother | Self::SrvNotFound => Stage::Name,
            Self::AddressNotFound => Stage::Address,
            Self::HomeUnreachable | Self::PeerPaused | Self::PeerUnreachable => Stage::Connect,
            Self::HomeUntrusted | Self::PeerUntrusted => Stage::TheirCertificate,
            Self::CertificateNamesAnother | Self::PeerRejectsUs => Stage::OurCertificate,
            Self::NoAnswer => Stage::Sip,
            Self::AssertionMissing | Self::NotOurDomain | Self::OwnDomain | Self::PartnerRefuses | Self::PeerSilent => {
                Stage::PartnersPolicy
            }
            Self::AppNotGranted
            | Self::BadBody
            | Self::ClearingHouseDown
            | Self::ClockSkew
            | Self::CallMayHaveRung
            | Self::HandleKeyGone
            | Self::HandleNotYours
            | Self::PayloadTooLarge
            | Self::NoSuchApp
            | Self::NoSuchUser => Stage::Intake,
            Self::StoreFull => Stage::Journal,
            Self::ProviderRefuses => Stage::Dispatch,
            Self::NoTestDevice | Self::ProbeUnanswered => Stage::Probe,
            Self::SignInRefused => Stage::SignIn,
            Self::RelayNotConfigured => Stage::Credentials,
            Self::RelayNameNotFound => Stage::RelayName,
            Self::RelayUnreachable | Self::RelayUntrusted => Stage::RelayConnect,
            Self::RelayRejectsCredentials => Stage::RelayAuth,
            Self::RelayRefuses => Stage::Allocation,
            Self::PacketLost => Stage::Packet,
            Self::SessionFailed => Stage::Session,
        }
    }

    /// The failure that a number in `ms-diagnostics` stands for, as one of our own servers says it: of several with one
    /// number the one of that stage. `None` for numbers of others.
    pub fn told(number: u32, at: Option<Stage>) -> Option<Self> {
        let all = || Self::TOLD.into_iter().filter(|failure| failure.diagnosis().id == number);
        all().find(|failure| at == Some(failure.stage())).or_else(|| all().next())
    }

    /// What an edge of ours says of the way out.
    const TOLD: [Self; 22] = [
        Self::AddressNotFound,
        Self::BadBody,
        Self::DomainBlocked,
        Self::DomainNotAllowed,
        Self::FederationOff,
        Self::ForgedTrust,
        Self::MethodNotFederated,
        Self::NotItsDomain,
        Self::NotOurDomain,
        Self::Overloaded,
        Self::PartnerBusy,
        Self::PartnerWatched,
        Self::PeerPaused,
        Self::PeerRejectsUs,
        Self::PeerUnreachable,
        Self::PeerUntrusted,
        Self::SrvNamesAnother,
        Self::SrvNotFound,
        Self::Stopping,
        Self::Throttled,
        Self::TooManyHops,
        Self::UnknownScheme,
    ];

    /// The table.
    pub const fn diagnosis(self) -> Diagnosis {
        use Fault::{Configuration, Ours, Peer, Provider};
        let (id, fault, retry_helps, advice) = match self {
            Self::BadProxyUri => (
                90120,
                Configuration,
                false,
                "Get-CsMcxConfiguration | Set-CsMcxConfiguration -PushNotificationProxyUri \"sip:push@push.lync.com\"",
            ),
            Self::ClearingHouseDown => {
                (1046, Peer, true, "ask the partner whether its clearing house runs; its edge answers, and it does not")
            }
            Self::ClockSkew => (
                90129,
                Ours,
                false,
                "run timedatectl on both machines; on the one whose clock is wrong: timedatectl set-ntp true",
            ),
            Self::EdgeUnknown => (90121, Configuration, false, "name the inner side of this home's own edge"),
            Self::EdgeUnreachable => {
                (90122, Ours, true, "start the edge, and check home.edge in reveille.toml: name, address, certificate")
            }
            Self::HomeUnknown => (90130, Configuration, false, "name this home as home.name or home.also_named do"),
            Self::HomeUnreachable => (90131, Ours, true, "start the home, and check home.sip_tls in reveille.toml"),
            Self::HomeUntrusted => (
                90132,
                Configuration,
                false,
                "check home.tls in reveille.toml: the certificate's names, its dates, and its authority among the roots",
            ),
            Self::MobilityOff => (90133, Configuration, false, "Set-CsMobilityPolicy -EnableMobility $True"),
            Self::NoTestUsers => (
                90134,
                Configuration,
                false,
                "give the users with their credentials, or keep two for tests: New-CsHealthMonitoringConfiguration",
            ),
            Self::PacketLost => (
                90135,
                Ours,
                true,
                "let datagrams through to the relay's ports (coturn: min-port to max-port), and check its external-ip",
            ),
            Self::RelayNameNotFound => (
                90136,
                Configuration,
                true,
                "publish the address of the host that edge.av.servers names, or correct it",
            ),
            Self::RelayNotConfigured => {
                (90137, Configuration, false, "give the edge [edge.av] with its TURN servers, and start it again")
            }
            Self::RelayRefuses => {
                (90138, Ours, true, "look at the TURN server's log, its quotas and its range of ports")
            }
            Self::RelayRejectsCredentials => (
                90139,
                Configuration,
                false,
                "write the TURN server's static-auth-secret into the file that edge.av.secret names, and check its clock",
            ),
            Self::RelayUnreachable => {
                (90140, Ours, true, "start the TURN server, and let clients through to the port in edge.av.servers")
            }
            Self::RelayUntrusted => {
                (90143, Configuration, false, "give the TURN server a certificate that clients trust and that names it")
            }
            Self::SessionFailed => (90141, Ours, true, "look at home's log for the Call-ID"),
            Self::SignInRefused => (
                90142,
                Configuration,
                false,
                "compare name and password with the file that home.users names in reveille.toml",
            ),
            // lync.md §3.5: the IM filter has the numbers from 16000.
            Self::ImFilterRejects => {
                (16001, Configuration, false, "Set-CsImFilterConfiguration -Prefixes @{remove=\"http:\",\"https:\"}")
            }
            Self::NoAnswer => (5001, Peer, true, "repeat the test; look at the partner's log if it stays silent"),
            Self::NoSuchUser => (
                1003,
                Configuration,
                false,
                "Set-CsMcxConfiguration -PushNotificationProxyUri \"sip:push@push.lync.com\"",
            ),
            Self::NoTestDevice => (
                90123,
                Configuration,
                false,
                "sign in with the app on the test device, or name another with -User; Get-CsPushDevice shows them",
            ),
            Self::OwnNameMissing => (
                90124,
                Configuration,
                false,
                "publish _sipfederationtls._tcp for the domain, leading to your Access Edge",
            ),
            Self::PartnerRefuses => (403, Peer, false, "ask the partner to allow your domain: New-CsAllowedDomain"),
            Self::ProbeUnanswered => (
                90125,
                Provider,
                true,
                "unlock the device, see that the app may show notifications, and repeat the test",
            ),
            Self::ProviderDisabled => (1009, Configuration, false, "Enable-CsHostingProvider"),
            Self::ProviderMissing => (1009, Configuration, false, "New-CsHostingProvider"),
            Self::ProviderRefuses => (90126, Provider, false, "sign in again with the app on the test device"),
            Self::ProxyDiffers => (90127, Configuration, false, "name the server that the way leads to"),
            Self::PushSwitchedOff => (
                90128,
                Configuration,
                false,
                "Set-CsPushNotificationConfiguration -EnableApplePushNotificationService $True \
                 -EnableMicrosoftPushNotificationService $True",
            ),
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
            Self::AddressNotFound => (1014, Peer, true, "publish the address of the host that the record names"),
            Self::AssertionMissing => (
                90113,
                Peer,
                false,
                "have the partner assert ms-asserted-verification-level, or choose MarkUnverified as UnassertedSource",
            ),
            Self::MethodNotFederated => (1027, Peer, false, "send this kind of request to a server of your own"),
            Self::NoSuchDialog => (
                90118,
                Peer,
                false,
                "copy Record-Route into Route unchanged (RFC 3261 §12); edges of one name need the same edge-tokens.key",
            ),
            Self::NotItsDomain => (
                90119,
                Configuration,
                false,
                "correct From, or let [[edge.domains]] say that this server serves the domain: name is one of its certificate",
            ),
            Self::NotOurDomain => (1005, Configuration, false, "check the PushNotificationProxyUri of the sender"),
            Self::OwnDomain => (
                90114,
                Peer,
                false,
                "send as a domain of your own; New-CsAllowedDomain with a ProxyFqdn names an edge that may speak for ours",
            ),
            Self::PartnerBusy => (90111, Peer, true, "repeat after the time given in Retry-After, with less at once"),
            Self::PartnerWatched => (90112, Configuration, false, "New-CsAllowedDomain -Identity DOMAIN"),
            Self::PeerPaused => (1007, Peer, true, "wait: the partner's edge is tried again by itself"),
            Self::PeerRejectsUs => (
                1047,
                Peer,
                true,
                "have the partner trust the authority of our certificate, or correct the names in ours",
            ),
            Self::PeerSilent => (1034, Peer, true, "ask the partner named what its edge has logged"),
            Self::PeerUnreachable => (1046, Peer, true, "check that the partner's edge answers on its port 5061"),
            Self::PeerUntrusted => (
                1010,
                Peer,
                true,
                "check the partner's certificate: its names, its dates, and whether its authority is among our roots",
            ),
            Self::Stopping => (90115, Ours, true, "repeat after the time given in Retry-After"),
            Self::TooManyHops => (90116, Peer, false, "look for a loop: the way out of one edge leads into another's"),
            Self::UnknownScheme => (90117, Peer, false, "address the request with sip: or sips:"),
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
            Self::CallMayHaveRung => (
                90162,
                Ours,
                false,
                "nothing: the clearing house was restored from a backup, and a call must not ring twice",
            ),
            Self::PayloadTooLarge => (90163, Peer, false, "seal less: the provider's limit counts the whole payload"),
            Self::HandleKeyGone => {
                (90160, Peer, false, "have the device's app seal its token anew: it does so when opened")
            }
            Self::HandleNotYours => {
                (90161, Peer, false, "have the device's app seal its token for this organisation and this app")
            }
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
