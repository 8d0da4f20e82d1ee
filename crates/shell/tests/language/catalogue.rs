//! Cmdlets for these tests: the definitions of a few, so that the language can be tried without what they do.

use reveille_admin::bind;
use reveille_admin::cmdlet::{About, Area, Name, Parameter, Pipeline, Running, Verb};
use reveille_admin::{Call, Cmdlet, Desk, Kind};

/// A definition that nobody runs: the host of these tests answers itself.
struct Defined(&'static About);

impl Cmdlet for Defined {
    fn about(&self) -> &'static About {
        self.0
    }

    fn run<'a>(&'a self, call: &'a Call, _desk: &'a Desk) -> Running<'a> {
        unreachable!("{} is answered by the host of the test", call.name)
    }
}

/// The definitions.
pub(crate) const CMDLETS: &[&dyn Cmdlet] = &[
    &Defined(&GET_ACCESS_EDGE),
    &Defined(&SET_ACCESS_EDGE),
    &Defined(&GET_ADMIN_ROLE),
    &Defined(&REMOVE_ADMIN_ROLE),
    &Defined(&SET_ADMIN_PASSWORD),
    &Defined(&GET_ALLOWED_DOMAIN),
    &Defined(&NEW_ALLOWED_DOMAIN),
    &Defined(&REMOVE_ALLOWED_DOMAIN),
    &Defined(&SET_ALLOWED_DOMAIN),
    &Defined(&GET_HOSTING_PROVIDER),
    &Defined(&NEW_HOSTING_PROVIDER),
    &Defined(&GET_IM_FILTER),
    &Defined(&SET_IM_FILTER),
    &Defined(&GET_MCX),
    &Defined(&SET_MCX),
    &Defined(&SET_PUSH),
    &Defined(&TEST_AV),
    &Defined(&TEST_PARTNER),
    &Defined(&TEST_PUSH),
];

const LEVELS: Kind = Kind::Choice(&["AlwaysUnverifiable", "AlwaysVerifiable", "UseSourceVerification"]);
const SECONDS: Kind = Kind::Int { min: 120, max: 4_294_967_295 };
const IDENTITY: Parameter = Parameter::new("Identity", Kind::Text, "Which").at(2).from(Pipeline::ByName);
const SCOPE: Parameter = Parameter::new("Identity", Kind::Scope, "Which").at(2).of(&["Identity"]);
const LOG: Parameter = Parameter::new("OutLoggerVariable", Kind::Variable, "Where the log goes").alias(&["olv"]);
const SAID: Parameter = Parameter::new("OutVerboseVariable", Kind::Variable, "Where the text goes").alias(&["ovv"]);

const fn named(verb: Verb, noun: &'static str, parameters: &'static [Parameter]) -> About {
    let changes = !matches!(verb, Verb::Get | Verb::Test);
    About { name: Name::new(verb, noun), summary: "A cmdlet of the tests", parameters, changes, ..About::DEFAULT }
}

const fn instance(of: &'static str) -> Parameter {
    Parameter::new("Instance", Kind::Instance(of), "The whole record").of(&["Instance"]).from(Pipeline::ByValue)
}

static GET_ACCESS_EDGE: About = named(Verb::Get, "CsAccessEdgeConfiguration", &[IDENTITY]);
static SET_ACCESS_EDGE: About = named(
    Verb::Set,
    "CsAccessEdgeConfiguration",
    &[IDENTITY, Parameter::new("AllowFederatedUsers", Kind::Bool, "Whether there is federation")],
);
static GET_ADMIN_ROLE: About = named(Verb::Get, "CsAdminRole", &[IDENTITY]);
static REMOVE_ADMIN_ROLE: About = About {
    asks: true,
    area: Area::Administration,
    ..named(Verb::Remove, "CsAdminRole", &[IDENTITY.required(), Parameter::new("Force", Kind::Switch, "Does not ask")])
};
static SET_ADMIN_PASSWORD: About = named(
    Verb::Set,
    "CsAdminPassword",
    &[
        Parameter::new("OldPassword", Kind::Secret, "As it is").required(),
        Parameter::new("NewPassword", Kind::Secret, "As it shall be").required(),
    ],
);
static GET_ALLOWED_DOMAIN: About =
    named(Verb::Get, "CsAllowedDomain", &[IDENTITY, Parameter::new("Filter", Kind::Text, "A pattern")]);
static NEW_ALLOWED_DOMAIN: About = named(
    Verb::New,
    "CsAllowedDomain",
    &[
        Parameter::new("Identity", Kind::Domain, "The domain").required().at(2).from(Pipeline::ByName),
        Parameter::new("Comment", Kind::Text, "A remark").from(Pipeline::ByName),
        Parameter::new("ProxyFqdn", Kind::Domain, "Its edge").alias(&["pe"]),
        Parameter::new("VerificationLevel", LEVELS, "How far it is believed"),
    ],
);
static REMOVE_ALLOWED_DOMAIN: About = named(Verb::Remove, "CsAllowedDomain", &[IDENTITY.required()]);
static SET_ALLOWED_DOMAIN: About =
    named(Verb::Set, "CsAllowedDomain", &[IDENTITY, Parameter::new("Comment", Kind::Text, "A remark")]);
static GET_HOSTING_PROVIDER: About = named(
    Verb::Get,
    "CsHostingProvider",
    &[
        IDENTITY,
        Parameter::new("Filter", Kind::Text, "A pattern"),
        Parameter::new("LocalStore", Kind::Switch, "From the replica"),
    ],
);
static NEW_HOSTING_PROVIDER: About = named(
    Verb::New,
    "CsHostingProvider",
    &[
        Parameter::new("Identity", Kind::Text, "Its name").required().at(2),
        Parameter::new("Enabled", Kind::Bool, "Whether it is used").required(),
        Parameter::new("ProxyFqdn", Kind::Domain, "Its edge").required(),
        Parameter::new("VerificationLevel", LEVELS, "How far it is believed"),
    ],
);
static GET_IM_FILTER: About = named(Verb::Get, "CsImFilterConfiguration", &[IDENTITY]);
static SET_IM_FILTER: About = About {
    sets: &["Identity", "Instance"],
    ..named(
        Verb::Set,
        "CsImFilterConfiguration",
        &[
            SCOPE,
            instance("ImFilterConfiguration"),
            Parameter::new("Prefixes", Kind::Modifier(&Kind::Text), "What is looked for"),
            Parameter::new("Enabled", Kind::Bool, "Whether anything is"),
        ],
    )
};
static GET_MCX: About = named(Verb::Get, "CsMcxConfiguration", &[IDENTITY]);
static SET_MCX: About = About {
    sets: &["Identity", "Instance"],
    ..named(
        Verb::Set,
        "CsMcxConfiguration",
        &[
            SCOPE,
            instance("McxConfiguration"),
            Parameter::new("PushNotificationProxyUri", Kind::SipUri, "The clearing house"),
            Parameter::new("SessionExpirationInterval", SECONDS, "Seconds"),
            Parameter::new("SessionShortExpirationInterval", SECONDS, "Seconds"),
        ],
    )
};
static SET_PUSH: About = named(
    Verb::Set,
    "CsPushNotificationConfiguration",
    &[
        Parameter::new("EnableApplePushNotificationService", Kind::Bool, "Apple"),
        Parameter::new("EnableMicrosoftPushNotificationService", Kind::Bool, "Microsoft"),
    ],
);
static TEST_AV: About = named(
    Verb::Test,
    "CsAVEdgeConnectivity",
    &[
        Parameter::new("TargetFqdn", Kind::Domain, "The home").alias(&["t"]),
        Parameter::new("UserSipAddress", Kind::SipAddress, "Who signs in"),
        Parameter::new("UserCredential", Kind::Credential, "The password"),
        LOG,
        SAID,
    ],
);
static TEST_PARTNER: About = named(
    Verb::Test,
    "CsFederatedPartner",
    &[
        Parameter::new("TargetFqdn", Kind::Domain, "Our edge").required().alias(&["t"]),
        Parameter::new("Domain", Kind::Domain, "The partner").required().alias(&["d"]),
        Parameter::new("ProxyFqdn", Kind::Domain, "Its edge").alias(&["pe"]),
        LOG,
        SAID,
    ],
);
static TEST_PUSH: About = named(
    Verb::Test,
    "CsMcxPushNotification",
    &[Parameter::new("AccessEdgeFqdn", Kind::Domain, "Our edge").required().alias(&["fqdn"]), LOG, SAID],
);

#[test]
fn the_definitions_of_these_tests_can_be_bound() {
    for cmdlet in CMDLETS {
        assert!(bind::bind(cmdlet.about(), &[]).is_ok(), "{}", cmdlet.about().name);
    }
}
