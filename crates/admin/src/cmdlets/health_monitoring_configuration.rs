//! `CsHealthMonitoringConfiguration`: the test users of a pool (lync.md §2.2).

use crate::cmdlet::{About, Area, Name, Parameter, Verb};
use crate::family::Family;
use crate::family::parameters::{
    CHANGE, FILTER, FIND, FORCE, IN_MEMORY, LOCAL_STORE, changed, cmdlet, instance, named, removed, wanted,
};
use crate::kind::Kind;

const NOUN: &str = "CsHealthMonitoringConfiguration";
const OUTPUTS: &[&str] = &[
    "Identity",
    "TargetFqdn",
    "FirstTestUserSipUri",
    "FirstTestSamAccountName",
    "SecondTestUserSipUri",
    "SecondTestSamAccountName",
];
const FAMILY: Family = Family { mirror: Some("TargetFqdn"), ..Family::new("HealthMonitoringConfiguration", OUTPUTS) };
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
    Get,
    FAMILY,
    get,
    About {
        name: Name::new(Verb::Get, NOUN),
        summary: "Shows test users",
        parameters: &[
            wanted(Kind::Domain, "The pool: a name of the home that the test users sign in at"),
            FILTER,
            LOCAL_STORE,
        ],
        sets: FIND,
        outputs: OUTPUTS,
        area: Area::Scoped,
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `New-CsHealthMonitoringConfiguration`
    New,
    FAMILY,
    create,
    About {
        name: Name::new(Verb::New, NOUN),
        summary: "Names two users whom tests of a pool sign in as",
        parameters: &[
            named(Kind::Domain, "The pool: a name of the home that the test users sign in at").of(&["Identity"]),
            FIRST_TEST_USER_SIP_URI.required(),
            SECOND_TEST_USER_SIP_URI.required(),
            TARGET_FQDN.required().of(&["ParentAndRelativeKey"]),
            FIRST_TEST_SAM_ACCOUNT_NAME,
            SECOND_TEST_SAM_ACCOUNT_NAME,
            IN_MEMORY,
            FORCE,
        ],
        sets: &["Identity", "ParentAndRelativeKey"],
        outputs: OUTPUTS,
        area: Area::Scoped,
        changes: true,
        examples: &[("New-CsHealthMonitoringConfiguration -Identity atl-cs-001.litwareinc.com -FirstTestUserSipUri sip:test1@litwareinc.com -SecondTestUserSipUri sip:test2@litwareinc.com", "Test-CsMcxP2PIM -TargetFqdn atl-cs-001.litwareinc.com needs no credentials then.")],
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `Set-CsHealthMonitoringConfiguration`
    Set,
    FAMILY,
    change,
    About {
        name: Name::new(Verb::Set, NOUN),
        summary: "Changes the test users of a pool",
        parameters: &[
            changed(Kind::Domain, "The pool: a name of the home that the test users sign in at"),
            INSTANCE,
            FIRST_TEST_SAM_ACCOUNT_NAME,
            FIRST_TEST_USER_SIP_URI,
            SECOND_TEST_SAM_ACCOUNT_NAME,
            SECOND_TEST_USER_SIP_URI,
            FORCE,
        ],
        sets: CHANGE,
        area: Area::Scoped,
        changes: true,
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `Remove-CsHealthMonitoringConfiguration`
    Remove,
    FAMILY,
    remove,
    About {
        name: Name::new(Verb::Remove, NOUN),
        summary: "Takes a pool's test users away",
        parameters: &[
            removed(Kind::Domain, "The pool: a name of the home that the test users sign in at"),
            FORCE,
        ],
        area: Area::Scoped,
        changes: true,
        ..About::DEFAULT
    }
);
