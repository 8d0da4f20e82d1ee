//! Who may speak for whom: partners and providers that speak for others, and From lines that two readers would read
//! differently.

use anyhow::{Context as _, Result};
use reveille_sim::phone::RawError;

use crate::letter::{Letter, told};
use crate::report::{Line, line};
use crate::witness::unfolded;
use crate::world::{CUSTOMER, DIRECT, DIRECT_EDGE, ELSEWHERE, EVIL, GOOD, INSIDE, PROMPT, PROVIDER, World};

pub(crate) async fn play(world: &World) -> Result<Vec<Line>> {
    let mut lines = others(world).await?;
    lines.push(forms(world).await?);
    Ok(lines)
}

/// Somebody with a good certificate speaks for somebody.
async fn others(world: &World) -> Result<Vec<Line>> {
    let mut lines = Vec::new();
    let another = "403 certificate-names-another";
    for (who, certificate, speaks_for, expected) in [
        ("a partner for itself", EVIL, EVIL, "200"),
        ("a partner for another partner", EVIL, GOOD, another),
        ("a partner for our own domain", EVIL, INSIDE, "403 domain-not-allowed"),
        ("a partner for a domain that nobody knows", EVIL, "nobody.example", "403 domain-not-allowed"),
        ("a partner for a domain below its own", EVIL, "sub.evil.example", "403 domain-not-allowed"),
        ("a partner for its own edge's name", EVIL, "edge.evil.example", "403 domain-not-allowed"),
        ("a direct partner for its domain", DIRECT_EDGE, DIRECT, "200"),
        ("a direct partner for another domain", DIRECT_EDGE, GOOD, another),
        ("a direct partner for a provider's customer", DIRECT_EDGE, CUSTOMER, another),
        ("a partner for a direct partner's domain", EVIL, DIRECT, another),
        ("a provider for its customer", PROVIDER, CUSTOMER, "200"),
        ("a provider for another provider's customer", PROVIDER, ELSEWHERE, another),
        ("a provider for a partner", PROVIDER, EVIL, another),
        ("a provider for a direct partner's domain", PROVIDER, DIRECT, another),
        ("a provider for itself", PROVIDER, PROVIDER, "403 domain-not-allowed"),
        ("a customer's name on a partner's certificate", GOOD, CUSTOMER, another),
    ] {
        let mut link = world.place.link(certificate).await.context(who)?;
        let answer = link.send_and_wait(Letter::new(speaks_for, INSIDE, who).text(), PROMPT).await.context(who)?;
        let heard = told(&answer);
        lines.push(line(who, &heard, expected, heard == expected));
    }
    Ok(lines)
}

/// Each form is refused, or the server behind reads the same domain from it as the edge did.
async fn forms(world: &World) -> Result<Line> {
    let mut link = world.place.link(EVIL).await?;
    let (mut passed, mut refused, mut wrong) = (0, 0, Vec::new());
    let forms: Vec<&str> = FORMS.lines().filter(|form| !form.is_empty()).collect();
    for (number, form) in forms.iter().enumerate() {
        let form = form.replace("\\t", "\t").replace("\\r\\n", "\r\n").replace("\\0", "\0");
        let call_id = format!("look-from-{number}");
        let text = Letter::new(EVIL, INSIDE, &call_id).from(&*form).text();
        let answer = match link.send_and_wait(text, PROMPT).await {
            Ok(answer) => answer,
            Err(RawError::Closed | RawError::Io(_)) => {
                refused += 1;
                link = world.place.link(EVIL).await?;
                continue;
            }
            Err(other) => return Err(other).context(form),
        };
        match answer.status() {
            Some(200) => {
                passed += 1;
                let heard = world.inside.of(&call_id);
                let one = heard.first().filter(|_| heard.len() == 1).context("one message inside")?;
                let readings = domains(&one.head);
                if readings.iter().any(|domain| domain != EVIL) {
                    wrong.push(format!("{form} reads as {readings:?}"));
                }
            }
            Some(400..=499) => refused += 1,
            other => wrong.push(format!("{form} is answered {other:?}")),
        }
    }
    let figure = format!("{} forms: {passed} passed, {refused} refused {}", forms.len(), wrong.join(" | "));
    let bound = "what passes reads as evil.example in every way";
    Ok(line("odd From lines", figure, bound, wrong.is_empty() && passed > 5 && refused > 20))
}

/// The domains that careful and careless servers read from the From line of a message.
fn domains(head: &str) -> Vec<String> {
    let mut found = Vec::new();
    for line in unfolded(head).split(['\r', '\n']) {
        let Some((name, value)) = line.split_once(':') else { continue };
        if !name.trim().eq_ignore_ascii_case("from") && !name.trim().eq_ignore_ascii_case("f") {
            continue;
        }
        // The right way: what is quoted says nothing.
        let behind = without_quoted(value);
        let uri = behind.split_once('<').map_or(&*behind, |(_, rest)| rest);
        let uri = uri.split(['>', ';', '?']).next().unwrap_or_default();
        found.push(host(uri));
        // What some servers do: look for the last URI in angle brackets.
        if let Some((_, last)) = behind.rsplit_once('<') {
            found.push(host(last.split(['>', ';', '?']).next().unwrap_or_default()));
        }
    }
    found.sort();
    found.dedup();
    found
}

/// Without quoted strings (RFC 3261 §25.1: quoted-string with quoted-pairs).
fn without_quoted(value: &str) -> String {
    let (mut outside, mut quoted, mut escaped) = (String::new(), false, false);
    for c in value.chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ if quoted => {}
            c => outside.push(c),
        }
    }
    outside
}

fn host(uri: &str) -> String {
    let uri = uri.trim();
    let rest = uri.split_once(':').map_or(uri, |(_, rest)| rest);
    let host = rest.rsplit('@').next().unwrap_or_default();
    host.split(':').next().unwrap_or_default().trim().trim_end_matches('.').to_ascii_lowercase()
}

/// From lines that [`EVIL`] sends, one each.
const FORMS: &str = r#"
From: <sip:m@evil.example>;tag=1
f: <sip:m@evil.example>;tag=1
FROM: <sip:m@evil.example>;tag=1
From : <sip:m@evil.example>;tag=1
From:\r\n <sip:m@evil.example>;tag=1
From: sip:m@evil.example;tag=1
From: Mallory <sip:m@evil.example>;tag=1
From: "sip:m@good.example" <sip:m@evil.example>;tag=1
From: "<sip:m@good.example>" <sip:m@evil.example>;tag=1
From: "a\" <sip:m@good.example>" <sip:m@evil.example>;tag=1
From: "\\" <sip:m@evil.example>;tag=1
From: <sip:m@EVIL.Example>;tag=1
From: <sip:m@evil.example.>;tag=1
From: <sips:m@evil.example>;tag=1
From: <SIP:m@evil.example>;tag=1
From: <sip:m@evil.example:5061>;tag=1
From: <sip:m@evil.example:5061;transport=tls>;tag=1
From: <sip:m:secret@evil.example>;tag=1
From: <sip:good.example%40@evil.example>;tag=1
From: <sip:m%40good.example@evil.example>;tag=1
From: <sip:evil.example>;tag=1
From: <sip:m@evil.example?From=%3Csip:m%40good.example%3E>;tag=1
From: <sip:m@evil.example;maddr=good.example>;tag=1
From: <sip:m@evil.example>;tag=1;x="<sip:m@good.example>"
From: <sip:m@evil.example>;tag="1
From: <sip:m@good.example>;tag=1
From: <sip:m@GOOD.example>;tag=1
From: <sip:m@good.example.>;tag=1
From: <sip:m@good%2eexample>;tag=1
From: <sip:m@%67ood.example>;tag=1
From: <sip:m@good.example@evil.example>;tag=1
From: <sip:m@evil.example@good.example>;tag=1
From: <sip:m@evil.example>, <sip:m@good.example>;tag=1
From: <sip:m@good.example>, <sip:m@evil.example>;tag=1
From: <sip:m@evil.example>;tag=1\r\nFrom: <sip:m@good.example>;tag=1
From: <sip:m@evil.example>;tag=1\r\nf: <sip:m@good.example>;tag=1
f: <sip:m@good.example>;tag=1\r\nFrom: <sip:m@evil.example>;tag=1
From: "a <sip:m@good.example>;tag=1
From: "a"<sip:m@good.example><sip:m@evil.example>;tag=1
From: <sip:m@evil.example><sip:m@good.example>;tag=1
From: <<sip:m@evil.example>>;tag=1
From: <sip:m@evil.example;tag=1
From: <tel:+15551234>;tag=1
From: <tel:+15551234;phone-context=evil.example>;tag=1
From: <mailto:m@evil.example>;tag=1
From: <http://evil.example/>;tag=1
From: <im:m@evil.example>;tag=1
From: <sip:m@127.0.0.1>;tag=1
From: <sip:m@[::1]>;tag=1
From: <sip:m@[::ffff:127.0.0.1]>;tag=1
From: <sip:m@[v1.evil.example]>;tag=1
From: <sip:m@xn--vil-8la.example>;tag=1
From: <sip:m@évil.example>;tag=1
From: <sip:m@evil。example>;tag=1
From: <sip:m@evil.example\0.good.example>;tag=1
From: <sip:m@evil.example\t>;tag=1
From: <sip:m@ evil.example>;tag=1
From: <sip: m@evil.example>;tag=1
From: <sip:m@-evil.example>;tag=1
From: <sip:m@evil_.example>;tag=1
From: <sip:m@.evil.example>;tag=1
From: <sip:m@evil..example>;tag=1
From: <sip:m@evil.example..>;tag=1
From: <sip:m@>;tag=1
From: <sip:@evil.example>;tag=1
From: <>;tag=1
From: *
From: anonymous <sip:anonymous@anonymous.invalid>;tag=1
From: (comment) <sip:m@evil.example>;tag=1
From: Mallory, Eve <sip:m@evil.example>;tag=1
From: sip:m@evil.example;x=<sip:m@good.example>;tag=1
From: sip:m@good.example;x=<sip:m@evil.example>;tag=1
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_from_line_is_read_in_more_than_one_way() {
        let evil = vec![EVIL.to_owned()];
        assert_eq!(domains(r#"From: "a\" <sip:m@good.example>" <sip:m@EVIL.example.:5061;x>;tag=1"#), evil);
        assert_eq!(domains("From: sip:m@evil.example;tag=1"), evil);
        assert_eq!(domains("From: <sip:m@evil.example>, <sip:m@good.example>;tag=1").len(), 2);
        assert_eq!(domains("From: <sip:m@evil.example>\r\nf: <sip:m@good.example>").len(), 2);
    }
}
