//! What a REGISTER asks for: bindings, and the push identity in their parameters (RFC 3261 §10.3, RFC 8599 §4.1).

use std::time::Duration;

use reveille_core::{AppKey, Channel, DeviceToken, Environment, Provider};
use reveille_sip::{Message, Name, NameAddr, PushOffer, PushParams, PushProvider, strip_push_params};

/// What a client gets when it asks for nothing.
const EXPIRES_DEFAULT: u32 = 3600;
/// The longest binding.
const EXPIRES_MAX: u32 = 86_400;
/// The shortest binding: shorter would be refreshing all the time (RFC 3261 §10.3 step 7).
pub(crate) const EXPIRES_MIN: u32 = 30;
/// Contacts in one REGISTER.
const CONTACTS_MAX: usize = 8;

/// What one REGISTER asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Registration {
    /// Each contact, in order.
    pub contacts: Vec<ContactChange>,
    /// `Contact: *` with Expires 0: everything goes.
    pub remove_all: bool,
    /// What the client calls itself.
    pub user_agent: String,
}

/// What is asked for one contact.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ContactChange {
    /// Tells the user's devices apart.
    pub device: String,
    /// The Contact value as it came, without its expires parameter.
    pub value: String,
    /// Where the device is reached, without push parameters.
    pub uri: String,
    /// Which flow of the device this is (RFC 5626 §6); absent where the client has only one.
    pub reg_id: Option<u32>,
    /// For how long; zero ends the binding.
    pub expires: Duration,
    /// The push identity that it offers.
    pub push: Option<PushOfferRead>,
}

/// A push identity as a device offers it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PushOfferRead {
    /// Which app at which provider.
    pub app: AppKey,
    /// The token for messages.
    pub message: Option<DeviceToken>,
    /// The token for calls.
    pub voip: Option<DeviceToken>,
}

impl PushOfferRead {
    /// The token for one channel.
    pub fn token(&self, channel: Channel) -> Option<&DeviceToken> {
        match channel {
            Channel::Message => self.message.as_ref(),
            Channel::Voip => self.voip.as_ref(),
        }
    }
}

/// Why a REGISTER is refused: a status and the sentence for its Warning.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RegisterFault {
    /// Something about it cannot be read.
    #[error("{0}")]
    Bad(String),
    /// RFC 5626 §6: somebody stands between the client and us who would not keep the flow.
    #[error("the first hop does not keep flows, and the client asks for one")]
    FirstHop,
    /// RFC 3261 §10.3 step 7.
    #[error("the binding asked for is shorter than {EXPIRES_MIN} s")]
    TooBrief,
}

/// Reads a REGISTER.
pub fn read(request: &Message) -> Result<Registration, RegisterFault> {
    let bad = |what: &dyn std::fmt::Display| RegisterFault::Bad(what.to_string());
    let user_agent = request.header(Name::UserAgent).unwrap_or_default().chars().take(200).collect();
    let general = request.expires();
    let mut registration = Registration { contacts: Vec::new(), remove_all: false, user_agent };
    let outbound = names_option(request, "outbound");
    for value in request.values(Name::Contact) {
        if value.trim() == "*" {
            // RFC 3261 §10.2.2: only with Expires 0, and alone.
            if general != Some(0) {
                return Err(bad(&"Contact: * needs Expires: 0"));
            }
            registration.remove_all = true;
            continue;
        }
        if registration.contacts.len() == CONTACTS_MAX {
            return Err(bad(&format_args!("more than {CONTACTS_MAX} contacts in one REGISTER")));
        }
        let contact = contact(value, general, outbound)?;
        if contact.reg_id.is_some() && !kept_by_first_hop(request) {
            return Err(RegisterFault::FirstHop);
        }
        registration.contacts.push(contact);
    }
    if registration.remove_all && !registration.contacts.is_empty() {
        return Err(bad(&"Contact: * must stand alone"));
    }
    Ok(registration)
}

/// Whether a client says that it knows an extension (RFC 3261 §20.32, §20.37).
pub(crate) fn names_option(request: &Message, option: &str) -> bool {
    let mut named = request.values(Name::Supported).chain(request.values(Name::Require));
    named.any(|value| value.trim().eq_ignore_ascii_case(option))
}

/// Whether whoever was first to get this request keeps the flow it came on: we ourselves, or a proxy that says so in
/// its Path (RFC 5626 §6).
fn kept_by_first_hop(request: &Message) -> bool {
    let direct = request.values(Name::Via).nth(1).is_none();
    let first_path = request.values(Name::Path).last();
    let keeps = |path: &str| {
        let address = NameAddr::parse(path).ok()?;
        Some(address.uri().ok()?.params().has("ob"))
    };
    direct || first_path.and_then(keeps).unwrap_or(false)
}

fn contact(value: &str, general: Option<u32>, outbound: bool) -> Result<ContactChange, RegisterFault> {
    let bad = |what: &dyn std::fmt::Display| RegisterFault::Bad(what.to_string());
    let address = NameAddr::parse(value).map_err(|fault| bad(&fault))?;
    let uri_text = address.uri_text();
    let uri = address.uri().map_err(|fault| bad(&fault))?;
    if !uri.is_sip() {
        return Err(bad(&"a Contact must be a sip or sips URI"));
    }
    let asked = address.expires().or(general).unwrap_or(EXPIRES_DEFAULT);
    if asked != 0 && asked < EXPIRES_MIN {
        return Err(RegisterFault::TooBrief);
    }
    let push = match PushOffer::read(uri.params()).map_err(|fault| bad(&fault))? {
        PushOffer::Full(params) => offer(&params),
        PushOffer::Absent | PushOffer::Query(_) => None,
    };
    let device = match address.instance() {
        Some(instance) => instance.trim_matches(['<', '>']).to_owned(),
        // Without an instance the push token tells devices apart, and without one the address: host and port change
        // with every network.
        None => match &push {
            Some(push) => format!("push:{}", fingerprint(push)),
            None => format!("contact:{}", strip_push_params(uri_text)),
        },
    };
    if device.len() > 512 {
        return Err(bad(&"the instance is longer than 512 bytes"));
    }
    Ok(ContactChange {
        device,
        value: value.trim().to_owned(),
        uri: strip_push_params(uri_text).into_owned(),
        // RFC 5626 §6: without an instance a reg-id means nothing.
        reg_id: address.reg_id().filter(|_| outbound && address.instance().is_some()),
        expires: Duration::from_secs(asked.min(EXPIRES_MAX).into()),
        push,
    })
}

/// The push parameters in our words; `None` for a provider that we have no word for.
fn offer(params: &PushParams) -> Option<PushOfferRead> {
    let (provider, environment) = match &params.provider {
        PushProvider::Apns => (Provider::Apns, Environment::Production),
        PushProvider::ApnsDev => (Provider::Apns, Environment::Sandbox),
        PushProvider::Fcm => (Provider::Fcm, Environment::Production),
        PushProvider::WebPush | PushProvider::Other(_) => return None,
    };
    let token = |value: &Option<String>| value.as_deref().map(DeviceToken::new);
    Some(PushOfferRead {
        app: AppKey { provider, app: params.app.as_deref()?.into(), environment },
        message: token(&params.message),
        voip: token(&params.voip),
    })
}

/// A name for a device that has nothing but its tokens; not the tokens themselves, since names are logged.
fn fingerprint(push: &PushOfferRead) -> String {
    let token = push.message.as_ref().or(push.voip.as_ref()).map(DeviceToken::expose).unwrap_or_default();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    digest.as_ref()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use reveille_sip::{Limits, parse_datagram};

    use super::*;

    fn register(more: &str) -> Result<Registration, RegisterFault> {
        let text = format!(
            "REGISTER sip:contoso.com SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\nFrom: <sip:bob@contoso.com>;tag=1\r\n\
             To: <sip:bob@contoso.com>\r\nCall-ID: 1\r\nCSeq: 1 REGISTER\r\nMax-Forwards: 70\r\n{more}Content-Length: 0\r\n\r\n"
        );
        read(&parse_datagram(text.into(), &Limits::default()).unwrap())
    }

    #[test]
    fn linphones_contact_reads_as_two_tokens_of_one_app() {
        let registration = register(
            "Contact: <sip:bob@127.0.0.1:5070;transport=tls;pn-provider=apns;pn-param=TEAM.app.voip&remote;\
             pn-prid=T1:voip&T2:remote>;+sip.instance=\"<urn:uuid:1>\"\r\nExpires: 600\r\nUser-Agent: Linphone\r\n",
        )
        .unwrap();
        let contact = &registration.contacts[0];
        assert_eq!((contact.device.as_str(), contact.expires.as_secs()), ("urn:uuid:1", 600));
        assert!(!contact.uri.contains("pn-"), "{}", contact.uri);
        let push = contact.push.as_ref().unwrap();
        assert_eq!(push.app.to_string(), "apns/app");
        assert_eq!(push.token(Channel::Voip).unwrap().expose(), "T1");
        assert_eq!(push.token(Channel::Message).unwrap().expose(), "T2");
        assert_eq!(registration.user_agent, "Linphone");
    }

    #[test]
    fn what_cannot_be_bound_is_refused() {
        for (more, part) in [
            ("Contact: *\r\n", "needs Expires: 0"),
            ("Contact: *, <sip:bob@h>\r\nExpires: 0\r\n", "alone"),
            ("Contact: <tel:+1>\r\n", "sip or sips"),
            ("Contact: <sip:bob@h>;expires=5\r\n", "shorter than 30"),
            ("Contact: <sip:bob@h;pn-provider=apns;pn-prid=>\r\n", ""),
        ] {
            let said = register(more).unwrap_err().to_string();
            assert!(said.contains(part), "{more}: {said}");
        }
    }

    #[test]
    fn devices_without_an_instance_are_told_apart_by_token_else_by_address() {
        let device = |uri: &str| register(&format!("Contact: <{uri}>\r\n")).unwrap().contacts.remove(0).device;
        let token = |host: &str, token: &str| {
            device(&format!("sip:bob@{host};pn-provider=fcm;pn-param=project;pn-prid={token}"))
        };
        assert_eq!(token("a", "abcdef"), token("b", "abcdef"));
        assert_ne!(token("a", "abcdef"), token("a", "fedcba"));
        assert!(!token("a", "abcdef").contains("abcdef"));
        assert_ne!(device("sip:bob@a"), device("sip:bob@b"));
    }

    #[test]
    fn a_flow_has_a_number_only_where_the_client_knows_outbound_and_its_first_hop_keeps_it() {
        let contact = "Contact: <sip:bob@h>;+sip.instance=\"<urn:uuid:1>\";reg-id=2\r\n";
        let reg_id = |more: &str| register(&format!("{contact}{more}")).map(|read| read.contacts[0].reg_id);
        assert_eq!(reg_id("Supported: path, Outbound\r\n"), Ok(Some(2)));
        assert_eq!(reg_id("Supported: path\r\n"), Ok(None));
        let behind = "Via: SIP/2.0/UDP b;branch=z9hG4bK2\r\nSupported: outbound\r\n";
        assert_eq!(reg_id(behind), Err(RegisterFault::FirstHop));
        assert_eq!(reg_id(&format!("{behind}Path: <sip:edge;lr;ob>\r\n")), Ok(Some(2)));
        assert_eq!(
            reg_id(&format!("{behind}Path: <sip:near;lr;ob>, <sip:first;lr>\r\n")),
            Err(RegisterFault::FirstHop)
        );
        let without = register("Contact: <sip:bob@h>;reg-id=1\r\nSupported: outbound\r\n").unwrap();
        assert_eq!(without.contacts[0].reg_id, None, "a reg-id without an instance means nothing");
    }

    #[test]
    fn nothing_asked_is_a_question_and_changes_nothing() {
        let registration = register("").unwrap();
        assert!(registration.contacts.is_empty() && !registration.remove_all);
    }
}
