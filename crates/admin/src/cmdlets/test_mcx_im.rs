//! `Test-CsMcxP2PIM`: whether one user's message reaches another (lync.md §2).

use crate::call::Call;
use crate::cmdlet::{About, Cmdlet, Name, Parameter, Running, Verb};
use crate::desk::Desk;
use crate::kind::Kind;
use crate::ports::synthetic::Act;
use crate::probes::{NEVER_AN_ERROR, TEST, players, road};

const NAME: Name = Name::new(Verb::Test, "CsMcxP2PIM");

/// `Test-CsMcxP2PIM`
pub(super) struct Test;

impl Cmdlet for Test {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: NAME,
                summary: "Tests whether a message of one user reaches another",
                description: "Two users sign in at the named home by digest over TLS; one writes, the other must hear it, \
                              unchanged. The message goes through home's store as every message does. Of the users nothing is \
                              seen: none of their devices rings, presence and messages stay as they are. Without users those \
                              kept for tests of the pool take part (New-CsHealthMonitoringConfiguration); for a user without a \
                              credential home vouches.",
                parameters: &[
                    players::TARGET,
                    Parameter::new("SenderSipAddress", Kind::SipAddress, "Who writes").alias(&["sa"]),
                    Parameter::new("SenderCredential", Kind::Credential, "His name and password, from Get-Credential")
                        .alias(&["sc"]),
                    Parameter::new("ReceiverSipAddress", Kind::SipAddress, "Who is written to").alias(&["ra"]),
                    Parameter::new(
                        "ReceiverCredential",
                        Kind::Credential,
                        "His name and password, from Get-Credential",
                    )
                    .alias(&["rc"]),
                    players::AUTHENTICATION,
                    players::PORT,
                    road::DETAILED,
                    road::FORCE,
                    road::LOGGER,
                    road::VERBOSE,
                ],
                outputs: players::WEB_RESULT,
                notes: &[NEVER_AN_ERROR, "No push is sent: Test-CsMcxPushNotification walks that road."],
                examples: &[(
                    "Test-CsMcxP2PIM -TargetFqdn atl-cs-001.litwareinc.com -SenderSipAddress sip:kenmyer@litwareinc.com \
                     -ReceiverSipAddress sip:bob@contoso.com -Authentication TrustedServer",
                    "Ken writes to Bob, without the passwords of either.",
                )],
                ..TEST
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async move {
            let sender = players::player(call, "SenderSipAddress", "SenderCredential")?;
            let receiver = players::player(call, "ReceiverSipAddress", "ReceiverCredential")?;
            let (target, report) = players::run(call, desk, vec![sender, receiver], Act::Pair).await?;
            Ok(players::web_outcome(NAME, &target, &report, call.is_on("Detailed")))
        })
    }
}
