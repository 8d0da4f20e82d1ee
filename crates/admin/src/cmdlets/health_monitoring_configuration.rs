//! `CsHealthMonitoringConfiguration`: the test users of a pool (lync.md §2.2).

use crate::cmdlet::{Area, Parameter};
use crate::family::Family;
use crate::family::cmdlet::cmdlet;
use crate::family::parameters::{FILTER, FORCE, IN_MEMORY, LOCAL_STORE, changed, instance, named, removed, wanted};
use crate::kind::Kind;

const OUTPUTS: &[&str] = &[
    "Identity",
    "TargetFqdn",
    "FirstTestUserSipUri",
    "FirstTestSamAccountName",
    "SecondTestUserSipUri",
    "SecondTestSamAccountName",
];
const FAMILY: Family =
    Family { mirror: Some("TargetFqdn"), ..Family::new("CsHealthMonitoringConfiguration", Area::Scoped, OUTPUTS) };
const WHICH: &str = "The pool: a name of the home that the test users sign in at";
const INSTANCE: Parameter =
    instance("HealthMonitoringConfiguration", "The object, as Get-CsHealthMonitoringConfiguration gives it");
const FIRST_TEST_SAM_ACCOUNT_NAME: Parameter =
    Parameter::new("FirstTestSamAccountName", Kind::Text, "The name of their account elsewhere");
const FIRST_TEST_USER_SIP_URI: Parameter =
    Parameter::new("FirstTestUserSipUri", Kind::SipAddress, "The test user who signs in, and writes or calls");
const SECOND_TEST_SAM_ACCOUNT_NAME: Parameter =
    Parameter::new("SecondTestSamAccountName", Kind::Text, "The name of their account elsewhere");
const SECOND_TEST_USER_SIP_URI: Parameter =
    Parameter::new("SecondTestUserSipUri", Kind::SipAddress, "The test user who is written to or called");
const TARGET_FQDN: Parameter = Parameter::new("TargetFqdn", Kind::Domain, "The pool; the same as Identity");

cmdlet!(
    /// `Get-CsHealthMonitoringConfiguration`
    Get of FAMILY {
        summary: "Shows test users",
        parameters: &[wanted(Kind::Domain, WHICH), FILTER, LOCAL_STORE],
    }
);

cmdlet!(
    /// `New-CsHealthMonitoringConfiguration`
    New of FAMILY {
        summary: "Names two users whom tests of a pool sign in as",
        parameters: &[
            named(Kind::Domain, WHICH).of(&["Identity"]),
            FIRST_TEST_USER_SIP_URI.required(),
            SECOND_TEST_USER_SIP_URI.required(),
            TARGET_FQDN.required().of(&["ParentAndRelativeKey"]),
            FIRST_TEST_SAM_ACCOUNT_NAME,
            SECOND_TEST_SAM_ACCOUNT_NAME,
            IN_MEMORY,
            FORCE,
        ],
        sets: &["Identity", "ParentAndRelativeKey"],
        examples: &[(
            "New-CsHealthMonitoringConfiguration -Identity atl-cs-001.litwareinc.com -FirstTestUserSipUri \
             sip:test1@litwareinc.com -SecondTestUserSipUri sip:test2@litwareinc.com",
            "Test-CsMcxP2PIM -TargetFqdn atl-cs-001.litwareinc.com needs no credentials then.",
        )],
    }
);

cmdlet!(
    /// `Set-CsHealthMonitoringConfiguration`
    Set of FAMILY {
        summary: "Changes the test users of a pool",
        parameters: &[
            changed(Kind::Domain, WHICH),
            INSTANCE,
            FIRST_TEST_SAM_ACCOUNT_NAME,
            FIRST_TEST_USER_SIP_URI,
            SECOND_TEST_SAM_ACCOUNT_NAME,
            SECOND_TEST_USER_SIP_URI,
            FORCE,
        ],
    }
);

cmdlet!(
    /// `Remove-CsHealthMonitoringConfiguration`
    Remove of FAMILY {
        summary: "Takes a pool's test users away",
        parameters: &[removed(Kind::Domain, WHICH), FORCE],
    }
);
