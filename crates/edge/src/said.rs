//! What our edge adds to a message and takes off it: trust, assertions, and diagnoses in their inner and outer form.

use reveille_federation::answer::quotable;
use reveille_sip::proxy::Edits;
use reveille_sip::{Forward, Message, Name, Params};

use crate::crossing::{From, Stamp};
use crate::partners::Partner;

/// A message with the stamp of this edge, and with nothing of the kind that it brought.
pub(crate) fn stamped<'a>(forward: Forward<'a>, stamp: &'a Stamp) -> Forward<'a> {
    let forward = taken_off(stamp).fold(forward, Forward::strip);
    put_on(stamp).into_iter().fold(forward, |forward, (name, value)| forward.insert(name, value))
}

/// The same for whoever carries calls.
pub(crate) fn edits(stamp: &Stamp) -> Edits {
    let edits = taken_off(stamp).fold(Edits::default(), Edits::strip);
    put_on(stamp).into_iter().fold(edits, |edits, (name, value)| edits.insert(name.as_str(), value))
}

/// What no message keeps that gets this stamp.
fn taken_off(stamp: &Stamp) -> impl Iterator<Item = Name> {
    let leaves = match stamp {
        // What the inside says about itself stays inside (lync.md §3.5); a warning names who warns.
        Stamp::Assertion(_) => &[Name::MsDiagnostics, Name::Warning][..],
        // And who is outside has no word in the inner form: its source and its advice would read like ours.
        Stamp::Trust(_) => &[Name::MsDiagnostics],
        Stamp::None => &[],
    };
    // The one is said to our own servers only, the other by whoever sends outward; and no partner is of our trust domain,
    // nor we of its (RFC 3325 §5).
    // Tests are between a home and its own edge: whoever else asks for one, or tells of one, is not heard.
    let always = [Name::EdgeTrust, Name::AssertedVerification, Name::ReveilleProbe, Name::ReveilleStage];
    let always = always.into_iter().chain(Name::IDENTITIES);
    always.chain(leaves.iter().copied())
}

/// The field that this stamp is.
fn put_on(stamp: &Stamp) -> Option<(Name, &str)> {
    let trust = || Some((Name::EdgeTrust, stamp.trust()?));
    let assertion = || Some((Name::AssertedVerification, stamp.assertion()?));
    trust().or_else(assertion)
}

/// What is added to an answer about why it refuses.
#[derive(Debug, Default)]
pub(crate) struct Said {
    inside: Option<String>,
    public: Option<String>,
    warning: Option<String>,
}

impl Said {
    /// Reads an answer on its way back to `from`, with the partner that gave it, if one did.
    pub(crate) fn by(answer: &Message, partner: Option<&Partner>, from: From, edge: &str) -> Self {
        let (inside, public) = (answer.header(Name::MsDiagnostics), answer.header(Name::MsDiagnosticsPublic));
        let refuses = answer.status().is_some_and(|status| status >= 400);
        match (partner, from) {
            // A partner that says no without a word: at least whose word is missing (lync.md §3.5).
            (Some(partner), From::Inside) if refuses && inside.is_none() && public.is_none() => {
                Self { inside: Some(silent(partner, Some(edge))), ..Self::default() }
            }
            (Some(partner), From::Outside) if refuses && inside.is_none() && public.is_none() => {
                Self { public: Some(silent(partner, None)), ..Self::default() }
            }
            (Some(_), From::Inside) => {
                let public = inside.filter(|_| public.is_none()).and_then(public_diagnostics);
                Self { public, ..Self::default() }
            }
            (_, From::Outside) => {
                let warning = inside.and_then(reason).map(|reason| format!("399 reveille \"{reason}\""));
                let public = inside.filter(|_| public.is_none()).and_then(public_diagnostics);
                Self { inside: None, public, warning }
            }
            (None, From::Inside) => Self::default(),
        }
    }

    /// The fields to add.
    pub(crate) fn more(&self) -> impl Iterator<Item = (Name, &str)> {
        let fields = [
            (Name::MsDiagnostics, &self.inside),
            (Name::MsDiagnosticsPublic, &self.public),
            (Name::Warning, &self.warning),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?)))
    }
}

/// The diagnosis 1034, with the partner's domain and server; with a source for the inside only.
fn silent(partner: &Partner, source: Option<&str>) -> String {
    let source = source.map(|source| format!(";source=\"{}\"", quotable(source))).unwrap_or_default();
    format!(
        "1034;reason=\"the federated partner gave no reason\"{source};Domain=\"{}\";PeerServer=\"{}\"",
        partner.domain, partner.remote
    )
}

/// A diagnosis without its source, fault and advice: number and reason only. `None` if it has no number.
fn public_diagnostics(inside: &str) -> Option<String> {
    let id = inside.split(';').next().unwrap_or_default().trim();
    let is_number = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| match reason(inside) {
        Some(reason) => format!("{id};reason=\"{reason}\""),
        None => id.to_owned(),
    })
}

/// The sentence of a diagnosis, such that it may stand between quotation marks again.
fn reason(diagnostics: &str) -> Option<String> {
    let (_, params) = diagnostics.split_once(';')?;
    Params::new(params).unquoted("reason").map(|reason| quotable(&reason))
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use reveille_sip::{Limits, parse_datagram};

    use super::*;
    use crate::partners::tests::some_partner;

    fn answer(status: u16, more: &str) -> Message {
        let text = format!(
            "SIP/2.0 {status} X\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nFrom: <sip:mcx@a>;tag=1\r\nTo: <sip:push@b>;tag=2\r\n\
             Call-ID: 1\r\nCSeq: 1 MESSAGE\r\n{more}Content-Length: 0\r\n\r\n"
        );
        parse_datagram(text.into(), &Limits::default()).unwrap()
    }

    #[test]
    fn who_hears_what_of_a_refusal() {
        let partner = some_partner();
        let inner = "ms-diagnostics: 90103;reason=\"x is not allowed\";source=\"edge.contoso.com\";advice=\"do\"\r\n";
        let outer = "ms-diagnostics-public: 90103;reason=\"x is not allowed\"\r\n";
        let silent = "1034;reason=\"the federated partner gave no reason\"";
        let at = ";Domain=\"a.example\";PeerServer=\"a.example\"";
        let public = "ms-diagnostics-public: 90103;reason=\"x is not allowed\"";
        let warning = "Warning: 399 reveille \"x is not allowed\"";
        for (status, more, by_partner, from, expected) in [
            // From a partner to the inside.
            (403, "", true, From::Inside, vec![format!("ms-diagnostics: {silent};source=\"edge\"{at}")]),
            (403, outer, true, From::Inside, vec![]),
            (403, inner, true, From::Inside, vec![public.into()]),
            (403, &format!("{outer}{inner}"), true, From::Inside, vec![]),
            (200, "", true, From::Inside, vec![]),
            (302, "", true, From::Inside, vec![]),
            // From the inside to a partner.
            (403, inner, false, From::Outside, vec![public.into(), warning.into()]),
            (403, "", false, From::Outside, vec![]),
            // From partner to partner.
            (403, "", true, From::Outside, vec![format!("ms-diagnostics-public: {silent}{at}")]),
            (403, outer, true, From::Outside, vec![]),
            (403, inner, true, From::Outside, vec![public.into(), warning.into()]),
        ] {
            let said = Said::by(&answer(status, more), by_partner.then_some(&*partner), from, "edge");
            let fields: Vec<String> = said.more().map(|(name, value)| format!("{name}: {value}")).collect();
            assert_eq!(fields, expected, "{status} {more:?} {by_partner} {from:?}");
        }
    }

    #[test]
    fn a_diagnosis_that_leaves_has_no_source() {
        let inside = "90103;reason=\"x is not an allowed domain\";source=\"edge.contoso.com\";advice=\"do\"";
        let expected = "90103;reason=\"x is not an allowed domain\"";
        assert_eq!(public_diagnostics(inside).as_deref(), Some(expected));
        assert_eq!(public_diagnostics("1034").as_deref(), Some("1034"));
    }

    #[test]
    fn a_sentence_that_leaves_ends_where_its_quotation_marks_say() {
        for (inside, public, warning) in [
            (r#"1;reason="a\"b""#, Some(r#"1;reason="a'b""#), Some(r#"399 reveille "a'b""#)),
            (r#"1;reason="a\\";source="x""#, Some(r#"1;reason="a'""#), Some(r#"399 reveille "a'""#)),
            (r#"1;reason="a\\\"b";x=1"#, Some(r#"1;reason="a''b""#), Some(r#"399 reveille "a''b""#)),
            (r#"1;reason="\c\d""#, Some(r#"1;reason="cd""#), Some(r#"399 reveille "cd""#)),
            (r#"1;source=";reason=\"no\"";reason="yes""#, Some(r#"1;reason="yes""#), Some(r#"399 reveille "yes""#)),
            (r#"1 ; Reason = "a;b" "#, Some(r#"1;reason="a;b""#), Some(r#"399 reveille "a;b""#)),
            (
                r#"1;reason="never closed\"#,
                Some(r#"1;reason="'never closed'""#),
                Some(r#"399 reveille "'never closed'""#),
            ),
            (r#"1";x=1"#, None, None),
            (r#"1;reason"#, Some("1"), None),
            (r#";reason="a""#, None, Some(r#"399 reveille "a""#)),
        ] {
            let more = format!("ms-diagnostics: {inside}\r\n");
            let said = Said::by(&answer(403, &more), None, From::Outside, "edge");
            assert_eq!((said.public.as_deref(), said.warning.as_deref()), (public, warning), "{inside}");
        }
    }

    #[test]
    fn what_each_side_gets_to_see_of_a_message() {
        let all = "ms-edge-proxy-message-trust: forged\r\nMS-Asserted-Verification-Level: forged\r\n\
                   p-asserted-identity: <sip:ceo@contoso.com>\r\nP-Preferred-Identity: <sip:ceo@contoso.com>\r\n\
                   Remote-Party-ID: <sip:ceo@contoso.com>;screen=yes\r\nms-diagnostics: 1;source=\"home\"\r\n\
                   Warning: 399 home \"x\"\r\nReason: SIP;cause=200\r\n";
        let message = answer(200, all);
        for (stamp, put_on, kept) in [
            (Stamp::Trust("t".into()), vec!["ms-edge-proxy-message-trust: t"], vec!["Warning", "Reason"]),
            (Stamp::Assertion(true), vec!["ms-asserted-verification-level: "], vec!["Reason"]),
            (Stamp::None, vec![], vec!["ms-diagnostics", "Warning", "Reason"]),
        ] {
            let mut out = BytesMut::new();
            stamped(Forward::response(&message), &stamp).write(&mut out).unwrap();
            let written = String::from_utf8(out.to_vec()).unwrap();
            let more: Vec<&str> = written.lines().filter(|line| !line.is_empty()).collect();
            let known = ["SIP/2.0", "Via", "From", "To", "Call-ID", "CSeq", "Content-Length"];
            let more: Vec<&&str> =
                more.iter().filter(|line| !known.iter().any(|name| line.starts_with(name))).collect();
            let expected: Vec<&str> = put_on.into_iter().chain(kept).collect();
            assert_eq!(more.len(), expected.len(), "{stamp:?} {more:?}");
            assert!(more.iter().zip(&expected).all(|(line, start)| line.starts_with(start)), "{stamp:?} {more:?}");
            let edits = edits(&stamp);
            assert_eq!(edits.strip.as_slice(), taken_off(&stamp).collect::<Vec<_>>(), "calls lose the same");
            assert_eq!(edits.insert.len(), usize::from(put_on_any(&stamp)), "{stamp:?}");
        }
    }

    fn put_on_any(stamp: &Stamp) -> bool {
        !matches!(stamp, Stamp::None)
    }
}
