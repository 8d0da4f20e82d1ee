//! Who and what tests the push road by itself: test users of a pool, and the schedule of each test (lync.md §2.2).

use serde::{Deserialize, Serialize, Serializer};

use crate::names::{Aor, SipDomain};

/// `HealthMonitoringConfiguration`: the two test users of a pool.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct HealthMonitoringConfiguration {
    /// The pool: a name of the home that they sign in at.
    pub identity: SipDomain,
    /// The one who signs in, and calls or writes.
    #[serde(serialize_with = "sip_uri")]
    pub first_test_user_sip_uri: Aor,
    /// The name of their account elsewhere. Kept for the documents' sake.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub first_test_sam_account_name: String,
    /// The one who is called or written to.
    #[serde(serialize_with = "sip_uri")]
    pub second_test_user_sip_uri: Aor,
    /// The name of their account elsewhere. Kept for the documents' sake.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub second_test_sam_account_name: String,
}

fn sip_uri<S: Serializer>(user: &Aor, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&user.to_sip_uri())
}

/// `ProbeSchedule`: how often one test runs by itself.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ProbeSchedule {
    /// The test, for instance `Test-CsMcxPushNotification`.
    pub identity: String,
    /// Whether it runs by itself.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// How long after a run the next one begins, in minutes.
    #[serde(default = "month")]
    pub interval_minutes: u32,
    /// Whether a failure raises an alarm: a warning in the log, and in the status and metrics until the test succeeds.
    #[serde(default = "yes")]
    pub alarm: bool,
}

impl ProbeSchedule {
    /// The schedule of a test that nobody has given another one: monthly, as documented, with alarm.
    pub fn new(test: &str) -> Self {
        Self { identity: test.into(), enabled: true, interval_minutes: month(), alarm: true }
    }
}

const fn yes() -> bool {
    true
}

/// Thirty days, in minutes.
const fn month() -> u32 {
    30 * 24 * 60
}
