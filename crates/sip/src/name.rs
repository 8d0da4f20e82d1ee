//! Names of header fields: recognised once when a message is parsed, compared as one byte afterwards.

use std::fmt;

macro_rules! names {
    ($($(#[$doc:meta])* $variant:ident = $text:literal $(/ $compact:literal)?;)*) => {
        /// A header field name which this crate knows, or [`Name::Other`].
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[repr(u8)]
        pub enum Name {
            $($(#[$doc])* $variant,)*
            /// Any other name; see [`crate::Message::other_header`].
            Other,
        }

        impl Name {
            /// Every known name, without [`Name::Other`].
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The name as we write it. `Other` has none and is the empty string.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Other => "",
                }
            }

            /// The one-letter form (§7.3.3 and later RFCs), in lower case.
            pub const fn compact(self) -> Option<u8> {
                match self {
                    $($(Self::$variant => Some($compact),)?)*
                    _ => None,
                }
            }
        }
    };
}

names! {
    /// §20.1.
    Accept = "Accept";
    /// §20.5.
    Allow = "Allow";
    /// RFC 6665 §8.2.2.
    AllowEvents = "Allow-Events" / b'u';
    /// `ms-asserted-verification-level`, what one organisation says of its own user to another.
    AssertedVerification = "ms-asserted-verification-level";
    /// §20.7.
    Authorization = "Authorization";
    /// §20.8.
    CallId = "Call-ID" / b'i';
    /// §20.10.
    Contact = "Contact" / b'm';
    /// §20.11.
    ContentDisposition = "Content-Disposition";
    /// §20.12.
    ContentEncoding = "Content-Encoding" / b'e';
    /// §20.14.
    ContentLength = "Content-Length" / b'l';
    /// §20.15.
    ContentType = "Content-Type" / b'c';
    /// §20.16.
    CSeq = "CSeq";
    /// §20.17.
    Date = "Date";
    /// `ms-edge-proxy-message-trust`, stamped by an Access Edge toward the inside.
    EdgeTrust = "ms-edge-proxy-message-trust";
    /// RFC 6665 §8.2.1.
    Event = "Event" / b'o';
    /// §20.19.
    Expires = "Expires";
    /// RFC 6809.
    FeatureCaps = "Feature-Caps";
    /// RFC 5626 §11.1.
    FlowTimer = "Flow-Timer";
    /// §20.20.
    From = "From" / b'f';
    /// §20.22.
    MaxForwards = "Max-Forwards";
    /// §20.23.
    MinExpires = "Min-Expires";
    /// `ms-diagnostics`, with a source.
    MsDiagnostics = "ms-diagnostics";
    /// `ms-diagnostics-public`, without a source.
    MsDiagnosticsPublic = "ms-diagnostics-public";
    /// RFC 3325 §9.1.
    PAssertedIdentity = "P-Asserted-Identity";
    /// RFC 3325 §9.2.
    PPreferredIdentity = "P-Preferred-Identity";
    /// RFC 3327.
    Path = "Path";
    /// §20.26.
    Priority = "Priority";
    /// §20.27.
    ProxyAuthenticate = "Proxy-Authenticate";
    /// §20.28.
    ProxyAuthorization = "Proxy-Authorization";
    /// §20.29.
    ProxyRequire = "Proxy-Require";
    /// `Push-Quota`, what the clearing house still takes of the sender.
    PushQuota = "Push-Quota";
    /// `Push-Result`, the clearing house's answer per push request.
    PushResult = "Push-Result";
    /// RFC 3326.
    Reason = "Reason";
    /// §20.30.
    RecordRoute = "Record-Route";
    /// RFC 3515 §2.1.
    ReferTo = "Refer-To" / b'r';
    /// RFC 3892.
    ReferredBy = "Referred-By" / b'b';
    /// draft-ietf-sip-privacy-04 §4.1, before RFC 3325, and still written.
    RemotePartyId = "Remote-Party-ID";
    /// RFC 3891.
    Replaces = "Replaces";
    /// §20.32.
    Require = "Require";
    /// `Reveille-Probe`, a test of our own home: its edge tells how far it came. Never from outside.
    ReveilleProbe = "Reveille-Probe";
    /// `Reveille-Stage`, the answer of our own edge to such a test. Never from outside.
    ReveilleStage = "Reveille-Stage";
    /// §20.33.
    RetryAfter = "Retry-After";
    /// §20.34.
    Route = "Route";
    /// §20.35.
    Server = "Server";
    /// RFC 3608.
    ServiceRoute = "Service-Route";
    /// RFC 4028 §4.
    SessionExpires = "Session-Expires" / b'x';
    /// §20.36.
    Subject = "Subject" / b's';
    /// RFC 6665 §8.2.3.
    SubscriptionState = "Subscription-State";
    /// §20.37.
    Supported = "Supported" / b'k';
    /// §20.38.
    Timestamp = "Timestamp";
    /// §20.39.
    To = "To" / b't';
    /// §20.40.
    Unsupported = "Unsupported";
    /// §20.41.
    UserAgent = "User-Agent";
    /// §20.42.
    Via = "Via" / b'v';
    /// §20.43.
    Warning = "Warning";
    /// §20.44.
    WwwAuthenticate = "WWW-Authenticate";
}

impl Name {
    /// Recognises a name in any case, full or compact (§7.3.1, §7.3.3).
    pub fn recognise(text: &[u8]) -> Self {
        // A name can only be one of the few of its length; the more frequent ones stand first.
        let candidates: &[Self] = match text.len() {
            1 => return Self::of_compact(text[0]),
            2 => &[Self::To],
            3 => &[Self::Via],
            4 => &[Self::From, Self::CSeq, Self::Path, Self::Date],
            5 => &[Self::Route, Self::Allow, Self::Event],
            6 => &[Self::Server, Self::Accept, Self::Reason],
            7 => &[Self::CallId, Self::Contact, Self::Expires, Self::Require, Self::Subject, Self::Warning],
            8 => &[Self::Priority, Self::ReferTo, Self::Replaces],
            9 => &[Self::Supported, Self::Timestamp],
            10 => &[Self::UserAgent, Self::PushQuota, Self::FlowTimer],
            11 => &[Self::PushResult, Self::RetryAfter, Self::Unsupported, Self::MinExpires, Self::ReferredBy],
            12 => &[Self::MaxForwards, Self::ContentType, Self::RecordRoute, Self::FeatureCaps, Self::AllowEvents],
            13 => &[Self::Authorization, Self::ProxyRequire, Self::ServiceRoute],
            14 => &[Self::ContentLength, Self::MsDiagnostics, Self::ReveilleProbe, Self::ReveilleStage],
            15 => &[Self::SessionExpires, Self::RemotePartyId],
            16 => &[Self::WwwAuthenticate, Self::ContentEncoding],
            18 => &[Self::ProxyAuthenticate, Self::SubscriptionState],
            19 => &[Self::ProxyAuthorization, Self::ContentDisposition, Self::PAssertedIdentity],
            20 => &[Self::PPreferredIdentity],
            21 => &[Self::MsDiagnosticsPublic],
            27 => &[Self::EdgeTrust],
            30 => &[Self::AssertedVerification],
            _ => &[],
        };
        // Most senders write the usual spelling, and comparing exactly is much faster than without case.
        candidates
            .iter()
            .find(|name| name.as_str().as_bytes() == text)
            .or_else(|| candidates.iter().find(|name| name.as_str().as_bytes().eq_ignore_ascii_case(text)))
            .map_or(Self::Other, |name| *name)
    }

    fn of_compact(letter: u8) -> Self {
        match letter.to_ascii_lowercase() {
            b'v' => Self::Via,
            b'f' => Self::From,
            b't' => Self::To,
            b'i' => Self::CallId,
            b'm' => Self::Contact,
            b'l' => Self::ContentLength,
            b'c' => Self::ContentType,
            b'k' => Self::Supported,
            b's' => Self::Subject,
            b'o' => Self::Event,
            b'e' => Self::ContentEncoding,
            b'u' => Self::AllowEvents,
            b'r' => Self::ReferTo,
            b'b' => Self::ReferredBy,
            b'x' => Self::SessionExpires,
            _ => Self::Other,
        }
    }

    /// The fields in which somebody asserts who a sender is. Only within a trust domain do they mean anything: at its border,
    /// and from whoever has proven nothing, they are taken off (RFC 3325 §5, §7).
    pub const IDENTITIES: [Self; 3] = [Self::PAssertedIdentity, Self::PPreferredIdentity, Self::RemotePartyId];

    /// This name as one bit, for sets of names.
    pub(crate) const fn bit(self) -> u64 {
        1 << self as u8
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Other => "an unknown header field",
            known => known.as_str(),
        })
    }
}

// `Name::bit` needs every variant below 64.
const _: () = assert!((Name::Other as u8) < 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_recognised_in_any_case_and_in_its_compact_form() {
        for name in Name::ALL {
            assert_eq!(Name::recognise(name.as_str().as_bytes()), *name, "{name}");
            assert_eq!(Name::recognise(name.as_str().to_ascii_uppercase().as_bytes()), *name, "{name}");
            if let Some(letter) = name.compact() {
                assert_eq!(Name::recognise(&[letter]), *name, "{name}");
                assert_eq!(Name::recognise(&[letter.to_ascii_uppercase()]), *name, "{name}");
            }
        }
    }

    #[test]
    fn unknown_names_are_other() {
        for text in ["", "z", "Vib", "X-Foo", "Content-Lengthy", "P-Asserted-Identities"] {
            assert_eq!(Name::recognise(text.as_bytes()), Name::Other, "{text}");
        }
    }
}
