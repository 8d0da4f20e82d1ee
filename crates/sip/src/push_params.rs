//! Push parameters of a Contact URI: RFC 8599's, and the three other dialects spoken in the field.
//!
//! Four ways of writing become one reading, [`PushParams`]: provider, application, and a token for calls and one for
//! messages. What had to be guessed or mended is listed in [`PushParams::corrected`], so that nobody wonders later why
//! a phone stays silent.

use std::borrow::Cow;
use std::fmt;

use crate::list::Params;
use crate::text::unescape;

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
        let found = Found::collect(params)?;
        if found.provider.is_some() || found.prid.is_some() {
            return rfc_8599(&found);
        }
        if found.voip_tok.is_some() || found.im_tok.is_some() {
            return freeswitch(&found);
        }
        if found.tok.is_some() {
            return legacy(&found);
        }
        Ok(Self::Absent)
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
        let name = param.split('=').next().unwrap_or(param).trim();
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

/// The parameters of all dialects, unescaped and checked for length and repetition.
#[derive(Default)]
struct Found<'a> {
    provider: Option<Cow<'a, str>>,
    param: Option<Cow<'a, str>>,
    prid: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    app_id: Option<Cow<'a, str>>,
    tok: Option<Cow<'a, str>>,
    voip_tok: Option<Cow<'a, str>>,
    im_tok: Option<Cow<'a, str>>,
    platform: Option<Cow<'a, str>>,
}

impl<'a> Found<'a> {
    fn collect(params: Params<'a>) -> Result<Self, PushParamsError> {
        let mut found = Self::default();
        for (written, value) in params {
            let (name, slot) = match written.to_ascii_lowercase().as_str() {
                "pn-provider" => ("pn-provider", &mut found.provider),
                "pn-param" => ("pn-param", &mut found.param),
                "pn-prid" => ("pn-prid", &mut found.prid),
                "pn-type" => ("pn-type", &mut found.kind),
                "app-id" => ("app-id", &mut found.app_id),
                "pn-tok" => ("pn-tok", &mut found.tok),
                "pn-voip-tok" => ("pn-voip-tok", &mut found.voip_tok),
                "pn-im-tok" => ("pn-im-tok", &mut found.im_tok),
                "pn-platform" => ("pn-platform", &mut found.platform),
                _ => continue,
            };
            if slot.is_some() {
                return Err(PushParamsError::Repeated { name });
            }
            let value = value.unwrap_or_default();
            if value.len() > VALUE_BYTES_MAX {
                return Err(PushParamsError::TooLong { name, limit: VALUE_BYTES_MAX });
            }
            let plain = unescape(value).map_err(|_| PushParamsError::ValueMalformed { name })?;
            // Every identifier in use is visible ASCII; anything else would go on into JSON and HTTP paths.
            if !plain.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(PushParamsError::ValueMalformed { name });
            }
            *slot = Some(plain);
        }
        Ok(found)
    }
}

/// RFC 8599 §4.1, §11; with Linphone's `voip&remote` lists for APNs.
fn rfc_8599(found: &Found<'_>) -> Result<PushOffer, PushParamsError> {
    let provider = present(&found.provider).map(PushProvider::parse);
    let Some(prid) = &found.prid else { return Ok(PushOffer::Query(provider.map(|(provider, _)| provider))) };
    let (provider, usual) = provider.ok_or(PushParamsError::ProviderMissing)?;
    if prid.is_empty() {
        return Err(PushParamsError::TokenMissing);
    }
    let mut push = PushParams::empty(provider);
    if !usual {
        push.corrected.push(Correction::ProviderSpelling);
    }
    match &push.provider {
        PushProvider::Apns | PushProvider::ApnsDev => {
            let services = push.apns_app(present(&found.param).ok_or(PushParamsError::AppMissing)?)?;
            push.apns_tokens(prid, services)?;
        }
        PushProvider::Fcm => {
            push.app = Some(present(&found.param).ok_or(PushParamsError::AppMissing)?.to_owned());
            push.both(prid);
        }
        // RFC 8599 §8: pn-param must not be used; the token is the subscription's URI.
        PushProvider::WebPush => {
            if present(&found.param).is_some() {
                push.corrected.push(Correction::ParamIgnored);
            }
            push.both(prid);
        }
        PushProvider::Other(_) => {
            push.app = present(&found.param).map(str::to_owned);
            push.both(prid);
        }
    }
    Ok(PushOffer::Full(Box::new(push)))
}

/// `pn-type=apple;app-id=org.example.app.voip.dev;pn-tok=…`
fn legacy(found: &Found<'_>) -> Result<PushOffer, PushParamsError> {
    let token = present(&found.tok).ok_or(PushParamsError::TokenMissing)?;
    let app_id = present(&found.app_id).ok_or(PushParamsError::AppMissing)?;
    let (provider, _) = PushProvider::parse(present(&found.kind).ok_or(PushParamsError::ProviderMissing)?);
    let mut push = PushParams::empty(provider);
    push.corrected.push(Correction::DialectLegacy);
    if !matches!(push.provider, PushProvider::Apns | PushProvider::ApnsDev) {
        push.app = Some(app_id.to_owned());
        push.both(token);
        return Ok(PushOffer::Full(Box::new(push)));
    }
    let mut app = app_id;
    if let Some(rest) = app_id.strip_suffix(".dev") {
        (app, push.provider) = (rest, PushProvider::ApnsDev);
    } else if let Some(rest) = app_id.strip_suffix(".prod") {
        app = rest;
    }
    match app.strip_suffix(".voip") {
        Some(bundle) => (push.app, push.voip) = (Some(bundle.to_owned()), Some(token.to_owned())),
        None => (push.app, push.message) = (Some(app.to_owned()), Some(token.to_owned())),
    }
    push.corrected.push(Correction::TeamMissing);
    Ok(PushOffer::Full(Box::new(push)))
}

/// `app-id=org.example.app;pn-voip-tok=…;pn-im-tok=…;pn-platform=iOS`
fn freeswitch(found: &Found<'_>) -> Result<PushOffer, PushParamsError> {
    let (voip, message) = (present(&found.voip_tok), present(&found.im_tok));
    if voip.is_none() && message.is_none() {
        return Err(PushParamsError::TokenMissing);
    }
    let platform = present(&found.platform).ok_or(PushParamsError::ProviderMissing)?;
    let provider = match platform.to_ascii_lowercase().as_str() {
        "ios" => PushProvider::Apns,
        "android" => PushProvider::Fcm,
        other => PushProvider::parse(other).0,
    };
    let mut push = PushParams::empty(provider);
    push.app = Some(present(&found.app_id).ok_or(PushParamsError::AppMissing)?.to_owned());
    (push.voip, push.message) = (voip.map(str::to_owned), message.map(str::to_owned));
    push.corrected.push(Correction::DialectFreeSwitch);
    if push.provider == PushProvider::Apns {
        push.corrected.push(Correction::TeamMissing);
    }
    Ok(PushOffer::Full(Box::new(push)))
}

/// Which services an APNs pn-param names.
#[derive(Clone, Copy, Default)]
struct Services {
    voip: bool,
    message: bool,
}

impl PushParams {
    fn empty(provider: PushProvider) -> Self {
        Self { provider, team: None, app: None, voip: None, message: None, corrected: Vec::new() }
    }

    /// One token serves calls and messages.
    fn both(&mut self, token: &str) {
        (self.voip, self.message) = (Some(token.to_owned()), Some(token.to_owned()));
    }

    fn correct(&mut self, correction: Correction) {
        if !self.corrected.contains(&correction) {
            self.corrected.push(correction);
        }
    }

    /// RFC 8599 §8: Team ID up to the first dot, service behind the last, bundle id between.
    fn apns_app(&mut self, param: &str) -> Result<Services, PushParamsError> {
        let mut bundle = param;
        // Team IDs are upper case and digits; without that test `com.example.app` would have the team `com`.
        match param.split_once('.') {
            Some((team, rest)) if team.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) => {
                self.team = Some(team.to_owned()).filter(|team| !team.is_empty());
                bundle = rest;
            }
            _ => {}
        }
        if self.team.is_none() {
            self.correct(Correction::TeamMissing);
        }
        let mut services = Services::default();
        if let Some((head, list)) = bundle.rsplit_once('.')
            && list.split('&').all(|service| matches!(service, "voip" | "remote" | ""))
            && list.bytes().any(|byte| byte != b'&')
        {
            bundle = head;
            for service in list.split('&') {
                match service {
                    "voip" => services.voip = true,
                    "remote" => services.message = true,
                    _ => self.correct(Correction::EmptyPart),
                }
            }
        } else {
            services.message = true;
            self.correct(Correction::ServiceAssumedMessage);
        }
        if bundle.is_empty() || bundle.contains('&') {
            return Err(PushParamsError::AppMissing);
        }
        self.app = Some(bundle.to_owned());
        Ok(services)
    }

    /// `T1:voip&T2:remote`, or one token without label.
    fn apns_tokens(&mut self, prid: &str, services: Services) -> Result<(), PushParamsError> {
        let mut unlabelled = None;
        let mut count = 0_u8;
        for part in prid.split('&') {
            if part.is_empty() {
                self.correct(Correction::EmptyPart);
                continue;
            }
            count = count.saturating_add(1);
            let (token, slot) = match part.rsplit_once(':') {
                Some((token, "voip")) => (token, &mut self.voip),
                Some((token, "remote")) => (token, &mut self.message),
                Some(_) => return Err(PushParamsError::LabelMalformed),
                None => (part, &mut unlabelled),
            };
            if token.is_empty() {
                return Err(PushParamsError::TokenMissing);
            }
            // The same token twice for one channel is clumsy; two different ones are a riddle.
            if slot.as_deref().is_some_and(|known| known != token) {
                return Err(PushParamsError::LabelMalformed);
            }
            *slot = Some(token.to_owned());
        }
        if count == 0 {
            return Err(PushParamsError::TokenMissing);
        }
        let Some(token) = unlabelled else { return Ok(()) };
        match (services.voip, services.message) {
            (true, false) if self.voip.is_none() => self.voip = Some(token),
            (false, true) if self.message.is_none() => self.message = Some(token),
            (true, true) if self.voip.is_some() && self.message.is_none() => {
                self.message = Some(token);
                self.correct(Correction::LabelFromElimination);
            }
            (true, true) if self.message.is_some() && self.voip.is_none() => {
                self.voip = Some(token);
                self.correct(Correction::LabelFromElimination);
            }
            // Apple refuses a message token on the voip topic, while a wrong guess here only loses an alert.
            (true, true) if self.voip.is_none() && self.message.is_none() => {
                self.message = Some(token);
                self.correct(Correction::LabelGuessedMessage);
            }
            _ => return Err(PushParamsError::LabelMalformed),
        }
        Ok(())
    }
}

fn present<'a>(value: &'a Option<Cow<'_, str>>) -> Option<&'a str> {
    value.as_deref().filter(|text| !text.is_empty())
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

/// FCM tokens and Web Push URIs stay well below.
const VALUE_BYTES_MAX: usize = 4096;

#[cfg(test)]
#[path = "push_params_tests.rs"]
mod tests;
