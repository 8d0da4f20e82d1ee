//! `Test-CsAVEdgeConnectivity`: whether a user reaches the A/V edge (seed 002; lync.md §2).

use crate::call::Call;
use crate::cmdlet::{About, Cmdlet, Name, Parameter, Running, Verb};
use crate::desk::Desk;
use crate::kind::Kind;
use crate::ports::synthetic::Act;
use crate::probes::report;
use crate::probes::{NEVER_AN_ERROR, TEST, players, road};

const NAME: Name = Name::new(Verb::Test, "CsAVEdgeConnectivity");
const SERVER: &str = "ServerPlatform";
const CLIENT: &str = "ClientPlatform";
const PORT: Kind = Kind::Int { min: 1, max: 65_535 };

/// `Test-CsAVEdgeConnectivity`
pub(super) struct Test;

impl Cmdlet for Test {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: NAME,
                summary: "Tests whether a user reaches the A/V edge",
                description: "The user signs in at the named home by digest over TLS, asks for credentials of the A/V edge, \
                              gets an address of each TURN server by each transport it has, moves a packet through it in both \
                              directions, and gives the address back. Of the user nothing is seen: none of his devices rings, \
                              and his presence stays. Without a user the first one kept for tests of the pool signs in \
                              (New-CsHealthMonitoringConfiguration); for a user without a credential home vouches.",
                parameters: &[
                    players::TARGET.of(&[SERVER, CLIENT]),
                    Parameter::new("UserSipAddress", Kind::SipAddress, "Who signs in")
                        .alias(&["ua"])
                        .of(&[SERVER, CLIENT]),
                    Parameter::new("UserCredential", Kind::Credential, "His name and password, from Get-Credential")
                        .required()
                        .alias(&["uc"])
                        .of(&[CLIENT]),
                    players::AUTHENTICATION,
                    Parameter::new("AVEdgeAddress", Kind::Text, "A TURN server instead of those that the edge names"),
                    Parameter::new("AVEdgeTCPPort", PORT, "Its port for TCP instead of the one that the edge names")
                        .or("443"),
                    Parameter::new("AVEdgeUDPPort", PORT, "Its port for UDP instead of the one that the edge names")
                        .or("3478"),
                    players::PORT,
                    road::DETAILED,
                    road::FORCE,
                    road::LOGGER,
                    road::VERBOSE,
                ],
                sets: &[SERVER, CLIENT],
                notes: &[
                    NEVER_AN_ERROR,
                    "The TURN servers and the secret that they share with the edge stand in [edge.av] of reveille.toml.",
                ],
                examples: &[
                    (
                        "$credential = Get-Credential \"litwareinc\\kenmyer\"; Test-CsAVEdgeConnectivity -TargetFqdn \
                         \"atl-cs-001.litwareinc.com\" -UserSipAddress \"sip:kenmyer@litwareinc.com\" -UserCredential $credential",
                        "The documents' test of the edge.",
                    ),
                    (
                        "Test-CsAVEdgeConnectivity -TargetFqdn atl-cs-001.litwareinc.com -Detailed",
                        "The same with the pool's test user, with each stage and its milliseconds.",
                    ),
                ],
                ..TEST
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async move {
            let port = |name| call.int(name).and_then(|port| u16::try_from(port).ok());
            let act = Act::AvEdge {
                host: call.text("AVEdgeAddress").map(ToOwned::to_owned),
                udp: port("AVEdgeUDPPort"),
                tcp: port("AVEdgeTCPPort"),
            };
            let user = players::player(call, "UserSipAddress", "UserCredential")?;
            let (_, report) = players::run(call, desk, vec![user], act).await?;
            Ok(report::outcome(NAME, &report, call.is_on("Detailed")))
        })
    }
}
