//! `Test-CsMcxConference`: whether a group can be invited, and all hear one another (lync.md §2).

use crate::call::Call;
use crate::cmdlet::{About, Cmdlet, Name, Parameter, Running, Verb};
use crate::desk::Desk;
use crate::kind::Kind;
use crate::ports::synthetic::Act;
use crate::probes::{NEVER_AN_ERROR, TEST, players, road};

const NAME: Name = Name::new(Verb::Test, "CsMcxConference");
const WHOSE: &str = "The name and password, from Get-Credential";

/// `Test-CsMcxConference`
pub(super) struct Test;

impl Cmdlet for Test {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: NAME,
                summary: "Tests whether a group can be invited, and all hear one another",
                description: "Three users sign in at the named home by digest over TLS. The organizer invites the other two, and \
                              then each writes to all; everything must be heard, unchanged. Of the users nothing is seen: none \
                              of their devices rings, presence and messages stay as they are. The organizer and the first user \
                              may be those kept for tests of the pool (New-CsHealthMonitoringConfiguration); for a user without \
                              a credential home vouches.",
                parameters: &[
                    players::TARGET,
                    Parameter::new("OrganizerSipAddress", Kind::SipAddress, "Who invites").alias(&["oa"]),
                    Parameter::new("OrganizerCredential", Kind::Credential, WHOSE).alias(&["oc"]),
                    Parameter::new("UserSipAddress", Kind::SipAddress, "Who is invited").alias(&["fpa"]),
                    Parameter::new("UserCredential", Kind::Credential, WHOSE).alias(&["fpc"]),
                    Parameter::new("User2SipAddress", Kind::SipAddress, "Who is invited too").alias(&["spa"]),
                    Parameter::new("User2Credential", Kind::Credential, WHOSE).alias(&["spc"]),
                    players::AUTHENTICATION,
                    players::PORT,
                    road::DETAILED,
                    road::FORCE,
                    road::LOGGER,
                    road::VERBOSE,
                ],
                outputs: players::WEB_RESULT,
                notes: &[
                    NEVER_AN_ERROR,
                    "The invitation is that of a Lync client (application/ms-conf-invite+xml), which home pushes to who is \
                     suspended as a group invitation.",
                ],
                examples: &[(
                    "Test-CsMcxConference -TargetFqdn atl-cs-001.litwareinc.com -OrganizerSipAddress sip:kenmyer@litwareinc.com \
                     -UserSipAddress sip:alice@contoso.com -User2SipAddress sip:bob@contoso.com -Authentication TrustedServer",
                    "Ken invites Alice and Bob, without the passwords of any.",
                )],
                ..TEST
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async move {
            let all = ["Organizer", "User", "User2"]
                .map(|role| players::player(call, &format!("{role}SipAddress"), &format!("{role}Credential")));
            let all = all.into_iter().collect::<Result<Vec<_>, _>>()?;
            let (target, report) = players::run(call, desk, all, Act::Group).await?;
            Ok(players::web_outcome(NAME, &target, &report, call.is_on("Detailed")))
        })
    }
}
