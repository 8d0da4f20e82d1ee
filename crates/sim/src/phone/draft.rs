//! A request of the phone on its way to a final answer: printed anew with each credential that is asked for.

use bytes::{Bytes, BytesMut};
use reveille_sip::auth::{Algorithm, Challenge, Covered, Session};
use reveille_sip::{Message, Method, Name, PrintError, RequestBuilder, call_id};
use reveille_sip_net::Flow;

use super::PhoneOptions;

/// A request as it stays while challenges are answered; branch, CSeq and credentials change.
pub(super) struct Draft<'a> {
    pub(super) method: Method<'static>,
    pub(super) uri: String,
    pub(super) to: String,
    pub(super) tag: String,
    pub(super) call_id: String,
    pub(super) more: Vec<(Name, String)>,
    pub(super) text: Option<&'a str>,
}

impl Draft<'_> {
    pub(super) fn print(
        &self,
        options: &PhoneOptions,
        flow: &Flow,
        branch: &str,
        sequence: u32,
        proofs: &[(Name, String)],
    ) -> Result<Bytes, PrintError> {
        let mut out = BytesMut::with_capacity(1024);
        let mut request = RequestBuilder::new(&mut out, self.method, &self.uri);
        request
            .header(Name::Via, format_args!("SIP/2.0/{} {};branch={branch};rport", flow.transport(), flow.local()))
            .header(Name::MaxForwards, "70")
            .header(Name::From, format_args!("<sip:{}@{}>;tag={}", options.user, options.domain, self.tag))
            .header(Name::To, format_args!("<{}>", self.to))
            .header(Name::CallId, &*self.call_id)
            .header(Name::CSeq, format_args!("{sequence} {}", self.method.as_str()))
            .header(Name::UserAgent, &*options.user_agent);
        for (name, value) in self.more.iter().chain(proofs) {
            request.header(*name, &**value);
        }
        if let Some(text) = self.text {
            request.content("text/plain;charset=UTF-8", text.as_bytes());
        }
        request.finish()?;
        drop(request);
        Ok(out.freeze())
    }

    /// Credentials for one more try.
    pub(super) fn prove(&self, session: &mut Session) -> String {
        let body = self.text.unwrap_or_default().as_bytes();
        let covered = Covered { method: self.method.as_str(), uri: &self.uri, body };
        session.answer(covered, call_id(rand::random()).as_str())
    }
}

/// The challenge to answer: that of the preferred algorithm if it is offered, else the topmost that can be answered
/// (RFC 8760 §2.4).
pub(super) fn challenge(response: &Message, name: Name, preferred: Algorithm) -> Option<Challenge<'_>> {
    let offered = || response.headers(name);
    let mut known = offered().filter_map(|value| Challenge::parse(value).ok());
    let wanted = known.find(|challenge| challenge.algorithm == preferred);
    wanted.or_else(|| Challenge::first_supported(offered()))
}
