//! `CsPushQuota`: how much of the clearing house each organisation may have.

use crate::cmdlet::{Area, Parameter};
use crate::family::Family;
use crate::family::cmdlet::{cmdlet, joined};
use crate::family::parameters::{FILTER, FORCE, IN_MEMORY, LOCAL_STORE, changed, instance, named, removed, wanted};
use crate::kind::Kind;

const OUTPUTS: &[&str] = &[
    "Identity",
    "MessagesPerSecond",
    "MessagesBurst",
    "CallsPerSecond",
    "CallsBurst",
    "PerDay",
    "OpenPushes",
    "DeviceMessagesBurst",
    "DeviceMessageSeconds",
    "DeviceCallsBurst",
    "DeviceCallSeconds",
];
const FAMILY: Family = Family::new("CsPushQuota", Area::Topology, OUTPUTS);
const WHOSE: &str = "The organisation's SIP domain, or global: each organisation without a record of its own";

const fn number(name: &'static str, min: i64, max: i64, help: &'static str) -> Parameter {
    Parameter::new(name, Kind::Int { min, max }, help)
}

const LIMITS: [Parameter; 10] = [
    number("MessagesPerSecond", 1, 1_000_000, "Push requests for messages, a second; 20000"),
    number("MessagesBurst", 1, 100_000_000, "How many of them at once; 200000"),
    number("CallsPerSecond", 1, 1_000_000, "Push requests for calls, a second; 2000"),
    number("CallsBurst", 1, 100_000_000, "How many of them at once; 20000"),
    number("PerDay", 1, 4_294_967_295, "Push requests of both kinds from midnight to midnight UTC; 200000000"),
    number("OpenPushes", 1, 4_294_967_295, "Pushes that may be kept and not over yet; 2000000"),
    number("DeviceMessagesBurst", 1, 1_000_000, "Messages that one device may get at once; 60"),
    number("DeviceMessageSeconds", 0, 3600, "And then one in so many seconds; 0 is no limit; 1"),
    number("DeviceCallsBurst", 1, 1_000_000, "Calls that one device may get at once; 10"),
    number("DeviceCallSeconds", 0, 3600, "And then one in so many seconds; 0 is no limit; 10"),
];
const OVER: &str = "What is over a limit is refused as throttled, with the time after which it may be repeated. Messages for \
                    one device that replace each other are not refused: the newest is sent when the device may get one again.";
const SEEN: &str =
    "Every answer tells the organisation its limits, what is left of them, and until when they are full again.";

cmdlet!(
    /// `Get-CsPushQuota`
    Get of FAMILY {
        summary: "Shows how much of the clearing house organisations may have",
        parameters: &[wanted(Kind::Text, WHOSE), FILTER, LOCAL_STORE],
        notes: &["Where there is no record, what New-CsPushQuota names as usual holds.", SEEN],
    }
);

cmdlet!(
    /// `New-CsPushQuota`
    New of FAMILY {
        summary: "Limits how much of the clearing house an organisation may have",
        description: "On the publisher's side: how many push requests the clearing house takes of one organisation, and how \
                      many pushes one device of it may get. No organisation's use counts against another's.",
        parameters: joined![[named(Kind::Text, WHOSE)], LIMITS, [IN_MEMORY, FORCE]],
        notes: &[OVER, SEEN],
        examples: &[(
            "New-CsPushQuota -Identity contoso.com -MessagesPerSecond 100 -MessagesBurst 1000 -PerDay 500000",
            "Takes less of contoso.com than of others.",
        )],
    }
);

cmdlet!(
    /// `Set-CsPushQuota`
    Set of FAMILY {
        summary: "Changes how much of the clearing house an organisation may have",
        parameters: joined![
            [changed(Kind::Text, WHOSE), instance("PushQuota", "The object, as Get-CsPushQuota gives it")],
            LIMITS,
            [FORCE],
        ],
        notes: &[OVER, "It holds for the next request, without a restart."],
        examples: &[("Set-CsPushQuota -Identity contoso.com -PerDay 1000000", "Doubles what contoso.com may send in a day.")],
    }
);

cmdlet!(
    /// `Remove-CsPushQuota`
    Remove of FAMILY {
        summary: "Lets an organisation have as much of the clearing house as all others",
        parameters: &[removed(Kind::Text, WHOSE), FORCE],
    }
);
