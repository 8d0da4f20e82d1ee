//! Push requests with wrong bodies and wrong addresses, as an allowed partner sends them.

use anyhow::Result;
use serde_json::{Value, json};

use crate::scene::{PARTNER, Way};
use crate::support::push::{CONTENT_TYPE, message_with, millis, request, ulid};
use crate::table::{Row, row};

/// Whether a request came from Contoso's home: it is the same as far as the publisher can see.
pub(crate) fn push(body: &str) -> Vec<u8> {
    push_with(CONTENT_TYPE, body.as_bytes())
}

fn push_with(content_type: &str, body: &[u8]) -> Vec<u8> {
    message_with(content_type, body, "contoso.com", "push.example.net")
}

/// Bodies that are wrong in one way each, as an allowed partner sends them.
pub(crate) fn bodies() -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut add = |name: &str, body: &str, expected| rows.push(row(name, PARTNER, push(body), expected));
    let but = |key: &str, value: Value| {
        let mut request = request();
        request[key] = value;
        request.to_string()
    };
    let (bad, invalid) = ("400 bad-body, goes on", "400 invalid-request, goes on");
    add("a good push request", &request().to_string(), "202 0;result=journaled, goes on");
    add("no body", "", bad);
    add("no JSON", "push it", bad);
    add("JSON that stops", &request().to_string()[..80], bad);
    add("JSON and more", &format!("{}{{}}", request()), bad);
    add("a number", "7", bad);
    add("an empty object", "{}", bad);
    add("an empty array", "[]", bad);
    add("an array of numbers", "[1, 2]", bad);
    add("arrays in arrays, 20000 deep", &"[".repeat(20_000), bad);
    add("an id that is no ULID", &but("id", "me".into()), bad);
    add("an id twice", &request().to_string().replacen('{', &format!("{{\"id\":\"{}\",", ulid()), 1), bad);
    add("a badge that is text", &but("badge", "three".into()), bad);
    add("a badge below zero", &but("badge", (-1).into()), bad);
    add("sent as text", &but("sent", "now".into()), bad);
    add("sent beyond 64 bits", &request().to_string().replace("\"sent\":", "\"sent\":99999999999"), bad);
    add("an unknown event", &but("event", "eclipse".into()), bad);
    add("an unknown channel", &but("channel", "smoke".into()), bad);
    add("an unknown provider", &but("to", json!({ "provider": "palm", "app": "x", "token": "x" })), bad);
    add("no target", &but("to", Value::Null), invalid);
    add("a message on the voip channel", &but("channel", "voip".into()), invalid);
    add("a token of 5000 bytes", &but("to", target("org.reveille.demo", &"f".repeat(5000))), invalid);
    add("a collapse key of 129 bytes", &but("collapse", "x".repeat(129).into()), invalid);
    add("an extension that must be understood", &but("must_understand", json!(["badge", "hologram"])), invalid);
    add("an extension that may be ignored", &but("hologram", true.into()), "202 0;result=journaled, goes on");
    let hour = 3_600_000;
    for (name, sent) in [("a clock an hour behind", millis() - hour), ("a clock an hour ahead", millis() + hour)] {
        let mut request = request();
        (request["sent"], request["expires"]) = (sent.into(), (sent + 60_000).into());
        add(name, &request.to_string(), "400 clock-skew, goes on");
    }
    add("expired before it was sent", &but("expires", (millis() - 1000).into()), invalid);
    add("an app of which nobody has heard", &but("to", target("org.unknown", "ff")), "404 no-such-app, goes on");
    add("an app that was not granted", &but("to", target("app", "ff")), "403 app-not-granted, goes on");
    let many = |count: usize| Value::from((0..count).map(|_| request()).collect::<Vec<_>>()).to_string();
    add("33 requests", &many(33), "413 too-large, goes on");
    add("a body of 50 kB", &but("sealed", "x".repeat(50_000).into()), "413 too-large, goes on");
    let mixed = json!([request(), with_app("org.unknown"), with_app("app"), request()]).to_string();
    add(
        "good and bad requests in one array",
        &mixed,
        "202 0;result=journaled, 1;result=refused;reason=no-such-app, 2;result=refused;reason=app-not-granted, \
         3;result=journaled, goes on",
    );
    let one = request();
    add(
        "one request twice in one array",
        &json!([one, one]).to_string(),
        "202 0;result=journaled, 1;result=duplicate, goes on",
    );
    let mut other = one;
    other["to"]["token"] = "ee".repeat(32).into();
    add("another request under an id that is taken", &other.to_string(), invalid);
    let body = request().to_string();
    for (name, content_type) in [
        ("plain text", "text/plain"),
        ("a version that does not exist yet", "application/vnd.reveille.push+json;v=2"),
        ("another JSON", "application/json"),
        ("feedback to a clearing house", "application/vnd.reveille.feedback+json;v=1"),
    ] {
        rows.push(row(name, PARTNER, push_with(content_type, body.as_bytes()), "415 unsupported-type, goes on"));
    }
    let untyped = String::from_utf8(push(&body))?.replace(&format!("Content-Type: {CONTENT_TYPE}\r\n"), "");
    rows.push(row("no content type", PARTNER, untyped, "415 unsupported-type, goes on"));
    let garbage = [b"{\"id\":\"".as_slice(), &[0xff, 0xfe, 0xfd], b"\"}"].concat();
    rows.push(row("a body that is not UTF-8", PARTNER, push_with(CONTENT_TYPE, &garbage), bad));
    Ok(rows)
}

/// Push requests whose addresses are wrong, as an allowed partner sends them.
pub(crate) fn addresses() -> Vec<Row> {
    let changed = |from: &str, to: &str| {
        let text = String::from_utf8_lossy(&push(&request().to_string())).into_owned();
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    };
    let from = "From: <sip:mcx@contoso.com>";
    let to = "MESSAGE sip:push@push.example.net ";
    let forged = "ms-edge-proxy-message-trust: ms-source-type=DirectPartner;ms-ep-fqdn=edge.push.example.net;\
                  ms-source-verified-user=verified;ms-source-network=federation;ms-remote-fqdn=edge.fabrikam.com\r\n";
    vec![
        row(
            "From a domain that is not ours to speak for",
            PARTNER,
            changed(from, "From: <sip:mcx@fabrikam.com>"),
            "403 domain-not-allowed, goes on",
        ),
        row(
            "From the publisher itself",
            PARTNER,
            changed(from, "From: <sip:mcx@push.example.net>"),
            "403 domain-not-allowed, goes on",
        ),
        row("From an address", PARTNER, changed(from, "From: <sip:mcx@127.0.0.1>"), "400 bad-from, goes on"),
        row("From a telephone", PARTNER, changed(from, "From: <tel:+15551234>"), "400 bad-from, goes on"),
        row("From nobody", PARTNER, changed(from, "From: nobody"), "400 bad-from, goes on"),
        row(
            "to a domain that is not here",
            PARTNER,
            changed(to, "MESSAGE sip:push@fabrikam.com "),
            "404 unknown-destination, goes on",
        ),
        row("Max-Forwards: 0", PARTNER, changed("Max-Forwards: 70", "Max-Forwards: 0"), "483 too-many-hops, goes on"),
        row("a method that nobody serves", PARTNER, changed("MESSAGE", "SUBSCRIBE"), "405, goes on"),
        // Whatever a partner says of its own trust is cut off: the request is taken as contoso.com's.
        row(
            "a partner that brings a trust header",
            PARTNER,
            changed("Call-ID: push\r\n", &format!("Call-ID: push\r\n{forged}")),
            "202 0;result=journaled, goes on",
        ),
        row(
            "a partner that brings two",
            PARTNER,
            changed("Call-ID: push\r\n", &format!("Call-ID: push\r\n{forged}{forged}")),
            "400, goes on",
        ),
        row(
            "fabrikam.com speaks for itself",
            Way::Edge("edge.fabrikam.com"),
            changed("@contoso.com", "@fabrikam.com"),
            "403 domain-not-allowed, goes on",
        ),
        row(
            "fabrikam.com speaks for contoso.com",
            Way::Edge("edge.fabrikam.com"),
            push(&request().to_string()),
            "403 certificate-names-another, goes on",
        ),
        row(
            "a user's certificate speaks for contoso.com",
            Way::Edge("bob"),
            push(&request().to_string()),
            "403 certificate-names-another, goes on",
        ),
    ]
}

fn target(app: &str, token: &str) -> Value {
    json!({ "provider": "apns", "app": app, "token": token })
}

fn with_app(app: &str) -> Value {
    let mut request = request();
    request["to"]["app"] = app.into();
    request
}
