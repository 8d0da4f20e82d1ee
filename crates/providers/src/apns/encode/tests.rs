//! Pushes as APNs gets them.

use serde_json::{Value, json};

use super::*;
use crate::notification::samples::{NOW, call, message};

fn encoded(push: &Notification) -> Result<(Request, Value), Verdict> {
    let encoder = Encoder::new("com.example.chat", push.channel, "api.push.apple.com").unwrap();
    let mut token = HeaderValue::from_static("bearer x.y.z");
    token.set_sensitive(true);
    let authorization = Authorization { header: Some(token), minted: NOW };
    let mut request = Request::new();
    encoder.encode(push, &authorization, NOW, &mut request)?;
    let body = serde_json::from_slice(&request.body).unwrap();
    Ok((request, body))
}

fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request.get(name).map_or("", |value| std::str::from_utf8(value).unwrap())
}

#[test]
fn a_message_looks_like_this() {
    let push = Notification {
        badge: Some(3),
        sound: Some("default".into()),
        collapse: Some("contoso.com/alice".into()),
        alert: Some(Alert { loc_key: Some("IM_MSG".into()), loc_args: vec!["Alice".into()], ..Alert::default() }),
        ..message()
    };
    let (request, body) = encoded(&push).unwrap();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "api.push.apple.com"),
        (":path", "/3/device/00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0"),
        ("authorization", "bearer x.y.z"),
        ("apns-topic", "com.example.chat"),
        ("apns-push-type", "alert"),
        ("apns-priority", "10"),
        ("apns-id", "123e4567-e89b-12d3-a456-426655440000"),
        ("apns-expiration", "1700003600"),
        ("apns-collapse-id", "contoso.com/alice"),
    ] {
        assert_eq!(header(&request, name), value, "{name}");
    }
    assert_eq!(request.fields().count(), 11);
    assert_eq!(
        body,
        json!({
            "aps": {"alert": {"loc-key": "IM_MSG", "loc-args": ["Alice"]}, "badge": 3, "sound": "default"},
            "reveille": {
                "push": "00000000000000000000000001",
                "identity": "00000000000000000000000002",
                "event": "message"
            }
        })
    );
}

#[test]
fn a_call_looks_like_this() {
    let mut push = call();
    push.call.as_mut().unwrap().caller = Some("+15551234".into());
    push.call.as_mut().unwrap().caller_sealed = Some("c2VhbGVk".into());
    push.collapse = Some("never for a call".into());
    let (request, body) = encoded(&push).unwrap();
    for (name, value) in [
        ("apns-topic", "com.example.chat.voip"),
        ("apns-push-type", "voip"),
        ("apns-priority", "10"),
        ("apns-expiration", "1700000025"),
        ("apns-collapse-id", ""),
    ] {
        assert_eq!(header(&request, name), value, "{name}");
    }
    assert_eq!(
        body,
        json!({
            "aps": {},
            "reveille": {
                "push": "00000000000000000000000001",
                "identity": "00000000000000000000000002",
                "event": "call",
                "call": {"id": "c1", "media": "audio", "caller": "+15551234", "caller-sealed": "c2VhbGVk"}
            }
        })
    );
}

#[test]
fn push_type_priority_and_what_is_shown_follow_from_the_event() {
    let of = |event| Notification { event, ..message() };
    let low = Priority::Normal;
    for (push, kind, priority, aps) in [
        (of(Event::Message), "alert", "10", json!({"alert": {"loc-key": "IM_MSG"}})),
        (Notification { priority: low, ..of(Event::Message) }, "alert", "5", json!({"alert": {"loc-key": "IM_MSG"}})),
        (of(Event::RefreshWake), "background", "5", json!({"content-available": 1})),
        (Notification { badge: Some(1), ..of(Event::RefreshWake) }, "background", "5", json!({"content-available": 1})),
        (of(Event::Badge), "background", "5", json!({"content-available": 1})),
        (Notification { badge: Some(0), priority: low, ..of(Event::Badge) }, "alert", "5", json!({"badge": 0})),
        // The one channel of older clients takes calls too.
        (of(Event::Call), "alert", "10", json!({"alert": {"loc-key": "IC_MSG"}})),
        (
            Notification { sealed: Some("blob".into()), ..of(Event::Message) },
            "alert",
            "10",
            json!({"alert": {"loc-key": "IM_MSG"}, "mutable-content": 1}),
        ),
    ] {
        let (request, body) = encoded(&push).unwrap();
        assert_eq!((header(&request, "apns-push-type"), header(&request, "apns-priority")), (kind, priority));
        assert_eq!(body["aps"], aps, "{push:?}");
        assert_eq!(body["reveille"]["sealed"].as_str(), push.sealed.as_deref());
    }
}

#[test]
fn text_takes_the_place_of_the_translation() {
    let alert = Alert {
        loc_key: Some("IM_MSG".into()),
        loc_args: vec!["Alice".into()],
        title: Some("Alice".into()),
        body: Some("lunch?".into()),
    };
    let (_, body) = encoded(&Notification { alert: Some(alert), ..message() }).unwrap();
    assert_eq!(body["aps"]["alert"], json!({"title": "Alice", "body": "lunch?"}));
}

#[test]
fn a_collapse_id_fits_and_is_plain_and_a_push_without_one_replaces_itself() {
    let of = |collapse: Option<&str>| {
        let (request, _) = encoded(&Notification { collapse: collapse.map(Box::from), ..message() }).unwrap();
        header(&request, "apns-collapse-id").to_owned()
    };
    assert_eq!(of(None), "123e4567-e89b-12d3-a456-426655440000");
    assert_eq!(of(Some(&"x".repeat(64))), "x".repeat(64));
    let hashed = of(Some(&"x".repeat(65)));
    assert_eq!(hashed.len(), 43);
    assert_ne!(hashed, of(Some(&"x".repeat(66))));
    assert_eq!(of(Some("grüße")).len(), 43);
    assert_eq!(of(Some("a\r\nb")).len(), 43);
}

#[test]
fn a_call_is_never_kept_longer_than_it_rings() {
    let late = Notification { expires: NOW.plus(Duration::from_secs(600)), ..call() };
    assert_eq!(header(&encoded(&late).unwrap().0, "apns-expiration"), "1700000030");
}

#[test]
fn only_calls_ring() {
    for event in Event::ALL {
        let push = Notification { event, ..call() };
        assert_eq!(encoded(&push).is_ok(), event == Event::Call, "{event:?}");
    }
}

#[test]
fn a_token_that_is_none_never_reaches_the_path() {
    for token in ["", "../../4/broadcasts", "abc/def", "xyz", "ab cd", &"a".repeat(513)] {
        let push = Notification { token: reveille_core::DeviceToken::new(token), ..message() };
        let verdict = encoded(&push).unwrap_err();
        assert!(matches!(verdict, Verdict::Forget { since: None, .. }), "{token}: {verdict:?}");
    }
}

#[test]
fn a_long_text_is_shortened_to_what_apple_takes() {
    for filler in ["x", "ä", "\"", "\nx", "😀"] {
        let alert = Alert { body: Some(filler.repeat(5000).into()), ..Alert::default() };
        let push = Notification { alert: Some(alert), badge: Some(1), ..message() };
        let encoder = Encoder::new("a", Channel::Message, "a").unwrap();
        let authorization = Authorization { header: None, minted: NOW };
        let mut request = Request::new();
        encoder.encode(&push, &authorization, NOW, &mut request).unwrap();
        assert!((4080..=4096).contains(&request.body.len()), "{filler}: {}", request.body.len());
    }
}

#[test]
fn what_cannot_be_shortened_and_is_too_long_is_refused_with_the_numbers() {
    let sealed = |bytes: usize| Some("s".repeat(bytes).into());
    assert!(encoded(&Notification { sealed: sealed(3800), ..message() }).is_ok());
    let Verdict::Reject { reason } = encoded(&Notification { sealed: sealed(4000), ..message() }).unwrap_err() else {
        panic!("not refused as wrong")
    };
    assert!(reason.starts_with("the payload has 4") && reason.ends_with("APNs takes 4096"), "{reason}");
    assert!(encoded(&Notification { sealed: sealed(4900), ..call() }).is_ok(), "a VoIP push may have 5120");
    assert!(encoded(&Notification { sealed: sealed(5100), ..call() }).is_err());
}

#[test]
fn what_is_seen_once_stays_out_of_the_compression_table() {
    let (request, _) = encoded(&Notification { collapse: Some("c".into()), ..message() }).unwrap();
    for (name, _, keep) in request.fields() {
        // Apple: the path without indexing, of what is new each time only the name, everything else with indexing.
        let expected = match name.as_str() {
            ":path" => Keep::Secret,
            "apns-collapse-id" | "apns-expiration" | "apns-id" => Keep::Passing,
            _ => Keep::Table,
        };
        assert_eq!(keep, expected, "{}", name.as_str());
    }
}
