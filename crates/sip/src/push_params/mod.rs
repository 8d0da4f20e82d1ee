//! Push parameters of a Contact URI: RFC 8599's, and the three other dialects spoken in the field.
//!
//! Four ways of writing become one reading, [`PushParams`]: provider, application, and a token for calls and one for
//! messages. What had to be guessed or mended is listed in [`PushParams::corrected`], so that nobody wonders later why
//! a phone stays silent.

mod dialects;

use std::borrow::Cow;
use std::fmt;

use dialects::Found;

use crate::list::Params;
use crate::text::{trim, unescape};

/// What the URI of a Contact says about push.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PushOffer {
    /// Nothing.
    Absent,
    /// Everything needed to push. Boxed, since most Contacts have none.
    Full(Box<PushParams>),
    /// No token: a question whether this provider, or (`None`) which provider, is supported (RFC 8599 §4.1.2).
    Query(Option<PushProvider>),
}

/// How to push to one app on one device.
///
/// Whoever holds it can wake the phone, so `Debug` shows only the tails of tokens.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct PushParams {
    /// Whose service delivers.
    pub provider: PushProvider,
    /// APNs: the Team ID.
    pub team: Option<String>,
    /// APNs: the bundle id without service suffix. FCM: the project. Web Push: none.
    pub app: Option<String>,
    /// The token for calls.
    pub voip: Option<String>,
    /// The token for messages. FCM and Web Push use one for both.
    pub message: Option<String>,
    /// What the client did not say plainly.
    pub corrected: Vec<Correction>,
}

/// A push service.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum PushProvider {
    /// Apple, production.
    Apns,
    /// Apple, sandbox: `apns.dev`, as Linphone writes it.
    ApnsDev,
    /// Google.
    Fcm,
    /// RFC 8030.
    WebPush,
    /// Any other, in lower case.
    Other(String),
}

/// What was mended while reading.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Correction {
    /// An empty part, for instance behind a trailing `&`, was ignored.
    EmptyPart,
    /// A token without label was taken for the channel that was left over.
    LabelFromElimination,
    /// A single token without label, though the app has two services, was taken for messages.
    LabelGuessedMessage,
    /// Written as `app-id`, `pn-voip-tok`, `pn-im-tok`, `pn-platform`.
    DialectFreeSwitch,
    /// Written as `pn-type`, `app-id`, `pn-tok`.
    DialectLegacy,
    /// pn-param was given where it has no meaning (Web Push).
    ParamIgnored,
    /// The provider's name was spelled in an unusual way.
    ProviderSpelling,
    /// APNs: no service stands at the end of pn-param; messages were assumed.
    ServiceAssumedMessage,
    /// APNs: no Team ID stands in front of the bundle id.
    TeamMissing,
}

/// Why push parameters cannot be used: the sentence for a Warning.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum PushParamsError {
    /// Which app it is cannot be told.
    #[error("the push parameters name no application")]
    AppMissing,
    /// A label other than voip and remote, or two tokens for one label.
    #[error("the push tokens are labelled in a way that cannot be understood")]
    LabelMalformed,
    /// A token without a provider.
    #[error("the push parameters name no provider")]
    ProviderMissing,
    /// The same parameter twice.
    #[error("{name} appears more than once")]
    Repeated {
        /// Which.
        name: &'static str,
    },
    /// A value beyond what any provider uses.
    #[error("{name} is longer than {limit} bytes")]
    TooLong {
        /// Which.
        name: &'static str,
        /// How long it may be.
        limit: usize,
    },
    /// pn-prid without a value.
    #[error("the push token is empty")]
    TokenMissing,
    /// A broken escape, or characters that no token has.
    #[error("{name} holds characters which do not belong there")]
    ValueMalformed {
        /// Which.
        name: &'static str,
    },
}

impl PushOffer {
    /// Reads the parameters of a Contact URI.
    ///
    /// ```
    /// use reveille_sip::{PushOffer, PushProvider, Uri};
    ///
    /// let uri = Uri::parse("sip:bob@10.0.0.1;pn-provider=fcm;pn-param=project-1;pn-prid=abc:def")?;
    /// let PushOffer::Full(push) = PushOffer::read(uri.params())? else { panic!("a token is there") };
    /// assert_eq!(push.provider, PushProvider::Fcm);
    /// assert_eq!(push.voip.as_deref(), Some("abc:def"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn read(params: Params<'_>) -> Result<Self, PushParamsError> {
        Found::collect(params)?.read()
    }
}

impl PushProvider {
    fn parse(text: &str) -> (Self, bool) {
        let lower = text.to_ascii_lowercase();
        let (provider, usual) = match lower.as_str() {
            "apns" => (Self::Apns, "apns"),
            "apns.dev" => (Self::ApnsDev, "apns.dev"),
            "fcm" => (Self::Fcm, "fcm"),
            "webpush" => (Self::WebPush, "webpush"),
            "apple" => (Self::Apns, "apns"),
            "firebase" | "google" => (Self::Fcm, "fcm"),
            _ => return (Self::Other(lower), true),
        };
        (provider, text == usual)
    }

    /// The value of pn-provider.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Apns => "apns",
            Self::ApnsDev => "apns.dev",
            Self::Fcm => "fcm",
            Self::WebPush => "webpush",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Debug for PushParams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushParams")
            .field("provider", &self.provider)
            .field("team", &self.team)
            .field("app", &self.app)
            .field("voip", &self.voip.as_deref().map(Tail))
            .field("message", &self.message.as_deref().map(Tail))
            .field("corrected", &self.corrected)
            .finish()
    }
}

/// Takes every `pn-…` parameter out of a URI, and `app-id` where there was one beside it: RFC 8599 §4.1.1 allows them
/// nowhere but in REGISTER.
pub fn strip_push_params(uri: &str) -> Cow<'_, str> {
    let host_start = uri.find('@').map_or(0, |at| at + 1);
    let params_start = uri[host_start..].find([';', '?']).map_or(uri.len(), |at| host_start + at);
    let params_end = uri[params_start..].find('?').map_or(uri.len(), |at| params_start + at);
    let params = || uri[params_start..params_end].split(';').skip(1);
    let named = |param: &str, is: fn(&str) -> bool| {
        let name = trim(param.split('=').next().unwrap_or(param));
        is(&unescape(name).unwrap_or(Cow::Borrowed(name)).to_ascii_lowercase())
    };
    let is_push = |param: &str| named(param, |name| name.starts_with("pn-"));
    if !params().any(is_push) {
        return Cow::Borrowed(uri);
    }
    let mut stripped = String::with_capacity(uri.len());
    stripped.push_str(&uri[..params_start]);
    for param in params().filter(|param| !is_push(param) && !named(param, |name| name == "app-id")) {
        stripped.push(';');
        stripped.push_str(param);
    }
    stripped.push_str(&uri[params_end..]);
    Cow::Owned(stripped)
}

/// The end of a token, enough to recognise it and not to use it.
struct Tail<'a>(&'a str);

impl fmt::Debug for Tail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A token of a few characters would be shown nearly whole.
        let tail = if self.0.len() >= 8 { self.0.get(self.0.len() - 4..).unwrap_or_default() } else { "" };
        write!(f, "…{tail}")
    }
}

#[cfg(test)]
mod tests;
