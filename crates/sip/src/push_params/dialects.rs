//! The four dialects of push parameters, each read in one function.

use std::borrow::Cow;

use super::{Correction, PushOffer, PushParams, PushParamsError, PushProvider};
use crate::list::Params;
use crate::text::unescape;

/// The parameters of all dialects, unescaped and checked for length and repetition.
#[derive(Default)]
pub(super) struct Found<'a> {
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
    pub(super) fn collect(params: Params<'a>) -> Result<Self, PushParamsError> {
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

    /// RFC 8599 goes first: a client in doubt sends its parameters beside those of an older dialect.
    pub(super) fn read(&self) -> Result<PushOffer, PushParamsError> {
        if self.provider.is_some() || self.prid.is_some() {
            self.rfc_8599()
        } else if self.voip_tok.is_some() || self.im_tok.is_some() {
            self.freeswitch()
        } else if self.tok.is_some() {
            self.legacy()
        } else {
            Ok(PushOffer::Absent)
        }
    }

    /// RFC 8599 §4.1, §11; with Linphone's `voip&remote` lists for APNs.
    fn rfc_8599(&self) -> Result<PushOffer, PushParamsError> {
        let provider = present(&self.provider).map(PushProvider::parse);
        let Some(prid) = &self.prid else { return Ok(PushOffer::Query(provider.map(|(provider, _)| provider))) };
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
                let services = push.apns_app(present(&self.param).ok_or(PushParamsError::AppMissing)?)?;
                push.apns_tokens(prid, services)?;
            }
            PushProvider::Fcm => {
                push.app = Some(present(&self.param).ok_or(PushParamsError::AppMissing)?.to_owned());
                push.both(prid);
            }
            // RFC 8599 §8: pn-param must not be used; the token is the subscription's URI.
            PushProvider::WebPush => {
                if present(&self.param).is_some() {
                    push.corrected.push(Correction::ParamIgnored);
                }
                push.both(prid);
            }
            PushProvider::Other(_) => {
                push.app = present(&self.param).map(str::to_owned);
                push.both(prid);
            }
        }
        Ok(PushOffer::Full(Box::new(push)))
    }

    /// `pn-type=apple;app-id=org.example.app.voip.dev;pn-tok=…`
    fn legacy(&self) -> Result<PushOffer, PushParamsError> {
        let token = present(&self.tok).ok_or(PushParamsError::TokenMissing)?;
        let app_id = present(&self.app_id).ok_or(PushParamsError::AppMissing)?;
        let (provider, _) = PushProvider::parse(present(&self.kind).ok_or(PushParamsError::ProviderMissing)?);
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
    fn freeswitch(&self) -> Result<PushOffer, PushParamsError> {
        let (voip, message) = (present(&self.voip_tok), present(&self.im_tok));
        if voip.is_none() && message.is_none() {
            return Err(PushParamsError::TokenMissing);
        }
        let platform = present(&self.platform).ok_or(PushParamsError::ProviderMissing)?;
        let provider = match platform.to_ascii_lowercase().as_str() {
            "ios" => PushProvider::Apns,
            "android" => PushProvider::Fcm,
            other => PushProvider::parse(other).0,
        };
        let mut push = PushParams::empty(provider);
        push.app = Some(present(&self.app_id).ok_or(PushParamsError::AppMissing)?.to_owned());
        (push.voip, push.message) = (voip.map(str::to_owned), message.map(str::to_owned));
        push.corrected.push(Correction::DialectFreeSwitch);
        if push.provider == PushProvider::Apns {
            push.corrected.push(Correction::TeamMissing);
        }
        Ok(PushOffer::Full(Box::new(push)))
    }
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

/// FCM tokens and Web Push URIs stay well below.
const VALUE_BYTES_MAX: usize = 4096;
