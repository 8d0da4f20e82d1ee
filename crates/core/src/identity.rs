//! Push identities: what a provider needs to reach one app on one device, and who has told us so.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use ulid::Ulid;

use crate::clock::Timestamp;
use crate::provider::{AppKey, Channel};

/// A provider's address of one app on one device.
///
/// Whoever holds this value can wake the phone, so `Debug` shows only its tail and there is no `Display`.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize, schemars::JsonSchema)]
#[serde(transparent)]
#[schemars(transparent)]
pub struct DeviceToken(#[schemars(with = "String")] Arc<str>);

impl DeviceToken {
    /// The longest token taken: Web Push endpoints are the longest in the field.
    pub const BYTES_MAX: usize = 4096;

    /// Takes what the device gave us; the provider alone decides whether it is a good one.
    pub fn new(value: impl Into<Arc<str>>) -> Self {
        Self(value.into())
    }

    /// The secret itself, for the one line that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// The last four characters, enough to tell two devices apart in a log.
    pub fn tail(&self) -> &str {
        let start = self.0.char_indices().rev().nth(3).map_or(0, |(at, _)| at);
        // A token of four characters or fewer would be printed whole.
        if start == 0 { "" } else { &self.0[start..] }
    }
}

impl<'de> Deserialize<'de> for DeviceToken {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_str(Text { what: "a device token", read: |text: &str| Ok::<_, Never>(Self(text.into())) })
    }
}

impl fmt::Debug for DeviceToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "…{}", self.tail())
    }
}

/// Reads a value out of a text where it stands: the derived readers would make a copy first, for each push some.
struct Text<F> {
    what: &'static str,
    read: F,
}

impl<T, E: fmt::Display, F: Fn(&str) -> Result<T, E>> Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_str<R: Error>(self, text: &str) -> Result<T, R> {
        (self.read)(text).map_err(Error::custom)
    }
}

/// What cannot go wrong.
type Never = std::convert::Infallible;

macro_rules! ulid_name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
        #[serde(transparent)]
        pub struct $name(Ulid);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                from.deserialize_str(Text { what: "an id of 26 characters", read: Self::from_str })
            }
        }

        impl $name {
            /// Makes an id from a time and 80 bits of randomness; both come from outside.
            pub const fn from_parts(at: Timestamp, random: u128) -> Self {
                Self(Ulid::from_parts(at.millis(), random))
            }

            /// The id as a number that sorts by the time it was made.
            pub const fn to_u128(self) -> u128 {
                self.0.0
            }

            /// When it was made, by the clock of whoever made it.
            pub const fn born(self) -> Timestamp {
                Timestamp::from_millis(self.0.timestamp_ms())
            }

            /// The inverse of [`Self::to_u128`].
            pub const fn from_u128(value: u128) -> Self {
                Self(Ulid(value))
            }
        }

        impl FromStr for $name {
            type Err = ulid::DecodeError;

            fn from_str(text: &str) -> Result<Self, ulid::DecodeError> {
                Ulid::from_string(text).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.0.array_to_str(&mut [0; ulid::ULID_LEN]))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": "^[0-7][0-9A-HJKMNP-TV-Z]{25}$" })
            }
        }
    };
}

ulid_name! {
    /// The id of one push request, born at home; with the proven origin domain it is the idempotency key.
    PushId
}
ulid_name! {
    /// The id of one push identity: the documents' unique push notification id, kept across token rotation.
    IdentityId
}
ulid_name! {
    /// The id of one message that home keeps; sorts by the time it was taken.
    MessageId
}

/// A token and when it was first given to home (at sign-in or token change, not at refresh).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RegisteredToken {
    /// The provider's address of the app on the device.
    pub token: DeviceToken,
    /// When home first saw it.
    pub registered: Timestamp,
}

/// One app on one device, as home knows it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PushIdentity {
    /// Kept across token rotation.
    pub id: IdentityId,
    /// Which app at which provider.
    pub app: AppKey,
    /// The token of the `message` channel, if the device has one that lives.
    pub message: Option<RegisteredToken>,
    /// The token of the `voip` channel, if the device has one that lives.
    pub voip: Option<RegisteredToken>,
    /// Counts token changes, so that a verdict about an older token cannot kill a newer one.
    pub generation: u32,
    /// The channels whose token the provider has declared dead, until the device offers another.
    pub dead: Vec<Channel>,
    /// The tokens that these were, in case the verdict is taken back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buried: Vec<BuriedToken>,
}

/// A token that was declared dead.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BuriedToken {
    /// Which channel's it was.
    pub channel: Channel,
    /// The identity's generation while it lived.
    pub generation: u32,
    /// The token, with when it was first given to home.
    pub token: RegisteredToken,
}

impl PushIdentity {
    /// An identity that no token was given for yet.
    pub fn new(id: IdentityId, app: AppKey) -> Self {
        Self { id, app, message: None, voip: None, generation: 0, dead: Vec::new(), buried: Vec::new() }
    }

    /// The living token of one channel.
    pub fn token(&self, channel: Channel) -> Option<&RegisteredToken> {
        match channel {
            Channel::Message => self.message.as_ref(),
            Channel::Voip => self.voip.as_ref(),
        }
    }

    /// Takes what a device said at registration. Unchanged tokens keep the time they were first given; a changed one
    /// counts as a new generation and brings a dead identity back to life.
    ///
    /// A token that was declared dead is not revived by being offered again: the provider has said that it never will
    /// work, and devices go on offering it until they fetch a new one.
    pub fn refresh(
        &mut self,
        message: Option<DeviceToken>,
        voip: Option<DeviceToken>,
        now: Timestamp,
        dead: &[DeviceToken],
    ) {
        let mut changed = false;
        for (channel, offered) in [(Channel::Message, message), (Channel::Voip, voip)] {
            let offered = offered.filter(|token| !dead.contains(token));
            if self.token(channel).map(|kept| &kept.token) == offered.as_ref() {
                continue;
            }
            changed = true;
            if offered.is_some() {
                self.dead.retain(|dead| *dead != channel);
                self.buried.retain(|buried| buried.channel != channel);
            }
            *self.slot(channel) = offered.map(|token| RegisteredToken { token, registered: now });
        }
        if changed {
            self.generation += 1;
        }
    }

    /// Whether the provider has declared this channel's token dead, and the device has offered no other since.
    pub fn is_dead(&self, channel: Channel) -> bool {
        self.dead.contains(&channel)
    }

    const fn slot(&mut self, channel: Channel) -> &mut Option<RegisteredToken> {
        match channel {
            Channel::Message => &mut self.message,
            Channel::Voip => &mut self.voip,
        }
    }

    /// Forgets `token` wherever it stands. Answers whether anything was forgotten.
    pub fn forget(&mut self, token: &DeviceToken) -> bool {
        let mut forgot = false;
        for channel in [Channel::Message, Channel::Voip] {
            if let Some(token) = self.slot(channel).take_if(|kept| kept.token == *token) {
                self.dead.push(channel);
                self.buried.retain(|buried| buried.channel != channel);
                self.buried.push(BuriedToken { channel, generation: self.generation, token });
                forgot = true;
            }
        }
        if forgot {
            self.generation += 1;
        }
        forgot
    }

    /// Takes back the token that the channel had in that generation, if it was declared dead and the device has offered
    /// no other since. Answers it.
    pub fn revive(&mut self, channel: Channel, generation: u32) -> Option<DeviceToken> {
        let found = |buried: &BuriedToken| buried.channel == channel && buried.generation == generation;
        let buried = self.buried.remove(self.buried.iter().position(found)?);
        let token = buried.token.token.clone();
        *self.slot(channel) = Some(buried.token);
        self.dead.retain(|dead| *dead != channel);
        self.generation += 1;
        Some(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Environment, Provider};

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn token(text: &str) -> DeviceToken {
        DeviceToken::new(text)
    }

    fn fresh() -> PushIdentity {
        let app = AppKey { provider: Provider::Apns, app: "org.example".into(), environment: Environment::Production };
        let mut identity = PushIdentity::new(IdentityId::from_parts(at(1), 7), app);
        identity.refresh(Some(token("message-1")), Some(token("voip-1")), at(10), &[]);
        identity
    }

    #[test]
    fn a_token_prints_only_its_tail_and_a_short_one_nothing() {
        assert_eq!(format!("{:?}", token("00fc13adff78512")), "…8512");
        assert_eq!(format!("{:?}", token("abcd")), "…");
        assert_eq!(format!("{:?}", token("")), "…");
    }

    #[test]
    fn a_refresh_with_the_same_tokens_keeps_their_first_time() {
        let mut identity = fresh();
        let before = identity.clone();
        identity.refresh(Some(token("message-1")), Some(token("voip-1")), at(99), &[]);
        assert_eq!(identity, before);
    }

    #[test]
    fn a_rotated_token_is_a_new_generation_of_the_same_identity() {
        let mut identity = fresh();
        let (id, generation) = (identity.id, identity.generation);
        identity.refresh(Some(token("message-2")), Some(token("voip-1")), at(99), &[]);
        assert_eq!((identity.id, identity.generation), (id, generation + 1));
        assert_eq!(identity.token(Channel::Message).unwrap().registered, at(99));
        assert_eq!(identity.token(Channel::Voip).unwrap().registered, at(10));
    }

    #[test]
    fn forgetting_one_token_leaves_the_other_alive() {
        let mut identity = fresh();
        assert!(identity.forget(&token("message-1")));
        assert!(identity.is_dead(Channel::Message) && !identity.is_dead(Channel::Voip) && identity.voip.is_some());
        assert!(!identity.forget(&token("message-1")));
        assert!(identity.forget(&token("voip-1")));
        assert!(identity.is_dead(Channel::Voip));
    }

    #[test]
    fn a_verdict_that_is_taken_back_brings_the_same_token_to_life_and_no_older_one() {
        let mut identity = fresh();
        let before = identity.clone();
        identity.forget(&token("message-1"));
        assert_eq!(identity.revive(Channel::Voip, before.generation), None);
        assert_eq!(identity.revive(Channel::Message, identity.generation), None, "another generation's token");
        assert_eq!(identity.revive(Channel::Message, before.generation), Some(token("message-1")));
        assert_eq!((&identity.message, identity.is_dead(Channel::Message)), (&before.message, false));
        assert!(identity.generation > before.generation && identity.buried.is_empty());
        // The device has come with another one meanwhile: that one is its token.
        let generation = identity.generation;
        identity.forget(&token("message-1"));
        identity.refresh(Some(token("message-2")), Some(token("voip-1")), at(99), &[token("message-1")]);
        assert_eq!(identity.revive(Channel::Message, generation), None);
        assert_eq!(identity.token(Channel::Message).unwrap().token, token("message-2"));
    }

    #[test]
    fn an_identity_that_was_kept_before_dead_tokens_were_can_be_read() {
        let kept = serde_json::to_string(&fresh()).unwrap();
        assert!(!kept.contains("buried"));
        assert_eq!(serde_json::from_str::<PushIdentity>(&kept).unwrap(), fresh());
    }

    #[test]
    fn a_dead_token_offered_again_is_not_taken_but_a_new_one_is() {
        let mut identity = fresh();
        let dead = [token("message-1"), token("voip-1")];
        identity.forget(&dead[0]);
        identity.forget(&dead[1]);
        identity.refresh(Some(token("message-1")), Some(token("voip-1")), at(50), &dead);
        assert!(identity.is_dead(Channel::Message) && identity.is_dead(Channel::Voip));
        identity.refresh(Some(token("message-2")), None, at(60), &dead);
        assert!(!identity.is_dead(Channel::Message) && identity.is_dead(Channel::Voip));
        assert!(identity.token(Channel::Message).is_some());
    }

    #[test]
    fn ids_read_back_and_sort_by_time() {
        let (a, b) = (PushId::from_parts(at(1), u128::MAX), PushId::from_parts(at(2), 0));
        assert!(a < b);
        assert_eq!(a.to_string().parse::<PushId>().unwrap(), a);
        assert_eq!((a.born(), b.born()), (at(1), at(2)));
    }
}
