//! `PushQuota`: how much of the clearing house one organisation may have (DESIGN.md §7).

use serde::{Deserialize, Serialize};

use super::Conflict;
use crate::names::SipDomain;
use crate::provider::Channel;

/// `PushQuota`: what the clearing house takes of one organisation, or of each that has no record of its own.
///
/// A rate with a burst is a bucket: it holds the burst, each push request takes one out, and it fills at the rate.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase", default, deny_unknown_fields)]
pub struct PushQuota {
    /// The organisation's SIP domain, or `global`: each organisation without a record of its own.
    pub identity: String,
    /// Push requests on the message channel, a second.
    pub messages_per_second: u32,
    /// How many of them at once.
    pub messages_burst: u32,
    /// Push requests on the voip channel, a second.
    pub calls_per_second: u32,
    /// How many of them at once.
    pub calls_burst: u32,
    /// Push requests of both channels in a day, which begins at midnight UTC.
    pub per_day: u32,
    /// Pushes that may be kept and not over yet.
    pub open_pushes: u32,
    /// Messages that one device may get at once.
    pub device_messages_burst: u32,
    /// And then one in so many seconds; 0 is no limit.
    pub device_message_seconds: u32,
    /// Calls that one device may get at once.
    pub device_calls_burst: u32,
    /// And then one in so many seconds; 0 is no limit.
    pub device_call_seconds: u32,
}

/// What one device may get on one channel.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DeviceBudget {
    /// How many at once.
    pub burst: u32,
    /// And then one in so many seconds; 0 is no limit.
    pub seconds: u32,
}

impl PushQuota {
    /// The identity of the record for organisations without one of their own.
    pub const GLOBAL: &'static str = "global";

    /// As much for everybody as can be said at all: for measuring how much goes.
    pub fn boundless() -> Self {
        Self {
            messages_per_second: RATE_MAX,
            messages_burst: BURST_MAX,
            calls_per_second: RATE_MAX,
            calls_burst: BURST_MAX,
            per_day: u32::MAX,
            open_pushes: u32::MAX,
            device_message_seconds: 0,
            device_call_seconds: 0,
            ..Self::default()
        }
    }

    /// What one device may get on that channel.
    pub const fn device(&self, channel: Channel) -> DeviceBudget {
        match channel {
            Channel::Message => {
                DeviceBudget { burst: self.device_messages_burst, seconds: self.device_message_seconds }
            }
            Channel::Voip => DeviceBudget { burst: self.device_calls_burst, seconds: self.device_call_seconds },
        }
    }

    /// What of the record is no sound value, if anything.
    pub(super) fn fault(&self) -> Option<Conflict> {
        let is_known = self.identity.eq_ignore_ascii_case(Self::GLOBAL) || self.identity.parse::<SipDomain>().is_ok();
        if !is_known {
            let value = self.identity.chars().take(80).collect();
            return Some(Conflict::Malformed { property: "Identity", value, why: "it is global or a SIP domain" });
        }
        let at_least_one = [
            ("MessagesPerSecond", self.messages_per_second),
            ("MessagesBurst", self.messages_burst),
            ("CallsPerSecond", self.calls_per_second),
            ("CallsBurst", self.calls_burst),
            ("PerDay", self.per_day),
            ("OpenPushes", self.open_pushes),
            ("DeviceMessagesBurst", self.device_messages_burst),
            ("DeviceCallsBurst", self.device_calls_burst),
        ];
        let most = [
            ("MessagesPerSecond", self.messages_per_second, RATE_MAX, "1 to 1000000"),
            ("MessagesBurst", self.messages_burst, BURST_MAX, "1 to 100000000"),
            ("CallsPerSecond", self.calls_per_second, RATE_MAX, "1 to 1000000"),
            ("CallsBurst", self.calls_burst, BURST_MAX, "1 to 100000000"),
            ("DeviceMessagesBurst", self.device_messages_burst, RATE_MAX, "1 to 1000000"),
            ("DeviceMessageSeconds", self.device_message_seconds, HOUR, "0 to 3600"),
            ("DeviceCallsBurst", self.device_calls_burst, RATE_MAX, "1 to 1000000"),
            ("DeviceCallSeconds", self.device_call_seconds, HOUR, "0 to 3600"),
        ];
        let none = at_least_one.into_iter().find(|(_, value)| *value == 0);
        let none = none.map(|(property, value)| Conflict::Range { property, value, range: "1 or more" });
        let too_many = most.into_iter().find(|(_, value, most, _)| value > most);
        none.or_else(|| too_many.map(|(property, value, _, range)| Conflict::Range { property, value, range }))
    }
}

/// Generous: an organisation of fifty thousand phones that wakes all of them at once and goes on is not stopped.
impl Default for PushQuota {
    fn default() -> Self {
        Self {
            identity: Self::GLOBAL.into(),
            messages_per_second: 20_000,
            messages_burst: 200_000,
            calls_per_second: 2_000,
            calls_burst: 20_000,
            per_day: 200_000_000,
            open_pushes: 2_000_000,
            // FCM takes 240 a minute and 5,000 an hour for one device (reference: providers.md); this stays below.
            device_messages_burst: 60,
            device_message_seconds: 1,
            // A phone that is rung ten times within two minutes has somebody who tries hard, or an error in a loop.
            device_calls_burst: 10,
            device_call_seconds: 10,
        }
    }
}

/// What may be said at all: a bucket must be countable in nanoseconds.
const RATE_MAX: u32 = 1_000_000;
const BURST_MAX: u32 = 100_000_000;
const HOUR: u32 = 3600;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::settings::{Setting, SettingChange, Snapshot};

    #[test]
    fn an_organisation_s_own_record_goes_before_the_global_one_and_that_before_the_usual_amount() {
        let put = |settings: &Snapshot, identity: &str, per_day| {
            let record = PushQuota { identity: identity.into(), per_day, ..PushQuota::default() };
            settings.with(&SettingChange::Put(Setting::PushQuota(record)), "ann", Timestamp::from_millis(1)).unwrap()
        };
        let (contoso, fabrikam) = ("contoso.com".parse().unwrap(), "fabrikam.com".parse().unwrap());
        let settings = Snapshot::default();
        assert_eq!(settings.push_quota(&contoso), PushQuota::default());
        let settings = put(&put(&settings, "Global", 7), "Contoso.com", 8);
        assert_eq!((settings.push_quota(&contoso).per_day, settings.push_quota(&fabrikam).per_day), (8, 7));
    }

    #[test]
    fn a_record_that_would_stop_everything_or_could_not_be_counted_is_refused() {
        let usual = PushQuota::default;
        for (record, property) in [
            (PushQuota { identity: "not a domain".into(), ..usual() }, "Identity"),
            (PushQuota { messages_per_second: 0, ..usual() }, "MessagesPerSecond"),
            (PushQuota { calls_burst: 100_000_001, ..usual() }, "CallsBurst"),
            (PushQuota { per_day: 0, ..usual() }, "PerDay"),
            (PushQuota { device_call_seconds: 3601, ..usual() }, "DeviceCallSeconds"),
        ] {
            let found = match Snapshot::of([Setting::PushQuota(record)]) {
                Err(Conflict::Malformed { property, .. } | Conflict::Range { property, .. }) => property,
                other => panic!("{other:?}"),
            };
            assert_eq!(found, property);
        }
        let unlimited = PushQuota { device_message_seconds: 0, per_day: u32::MAX, ..usual() };
        assert!(Snapshot::of([Setting::PushQuota(unlimited)]).is_ok());
        assert!(Snapshot::of([Setting::PushQuota(PushQuota::boundless())]).is_ok());
    }
}
