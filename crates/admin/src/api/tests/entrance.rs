//! Who comes in: requests that pretend, sessions, guesses, connections of those who do not say who they are.

use std::sync::Arc;

use http_body_util::Full;
use hyper::{Method, Request};
use reveille_store::PassKind;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::office::{NAME, Office, PASSWORD, post, remote};
use crate::accounts::Issued;
use crate::api::{HASHING_MAX, Peer};

#[tokio::test]
async fn requests_that_pretend_are_refused() {
    let mut office = Office::new();
    office.account("adm", &["CsAdministrator"], false).await;
    let token = office.tokens["adm"].clone();
    let bearer = format!("Bearer {token}");
    let forged = format!("{}x", &bearer[..bearer.len() - 1]);
    let nobody = Peer::Local { uid: 3_999_999_999 };
    for (why, peer, method, path, fields, body, status) in [
        ("with a token", remote(), Method::GET, "/admin/v1/me", vec![("authorization", bearer.as_str())], "", 200),
        ("without anything", remote(), Method::GET, "/admin/v1/me", vec![], "", 401),
        ("with a forged token", remote(), Method::GET, "/admin/v1/me", vec![("authorization", &*forged)], "", 401),
        (
            "with two",
            remote(),
            Method::GET,
            "/admin/v1/me",
            vec![("authorization", &*bearer), ("authorization", "x")],
            "",
            400,
        ),
        ("with a password", remote(), Method::GET, "/admin/v1/me", vec![("authorization", "Basic YWRtOng=")], "", 401),
        (
            "as a proxy's user",
            remote(),
            Method::GET,
            "/admin/v1/me",
            vec![("x-remote-user", "adm"), ("x-forwarded-for", "127.0.0.1")],
            "",
            401,
        ),
        ("the document", remote(), Method::GET, "/admin/v1/openapi.json", vec![], "", 401),
        (
            "by a page",
            remote(),
            Method::GET,
            "/admin/v1/me",
            vec![("authorization", &*bearer), ("origin", "https://evil.example")],
            "",
            403,
        ),
        (
            "by a form",
            remote(),
            Method::POST,
            "/admin/v1/cmdlets/Get-CsAdminRole",
            vec![("authorization", &*bearer), ("content-type", "text/plain")],
            "{}",
            415,
        ),
        (
            "by a link",
            remote(),
            Method::GET,
            "/admin/v1/cmdlets/Update-CsAdminRole",
            vec![("authorization", &*bearer)],
            "",
            405,
        ),
        (
            "with no JSON",
            remote(),
            Method::POST,
            "/admin/v1/cmdlets/Get-CsAdminRole",
            vec![("authorization", &*bearer), ("content-type", "application/json")],
            "{",
            400,
        ),
        (
            "with other members",
            remote(),
            Method::POST,
            "/admin/v1/cmdlets/Get-CsAdminRole",
            vec![("authorization", &*bearer), ("content-type", "application/json")],
            r#"{"caller":"root"}"#,
            400,
        ),
        (
            "with members twice",
            remote(),
            Method::POST,
            "/admin/v1/cmdlets/Get-CsAdminRole",
            vec![("authorization", &*bearer), ("content-type", "application/json")],
            r#"{"parameters":{},"parameters":{}}"#,
            400,
        ),
        (
            "a local user of no group",
            nobody,
            Method::POST,
            "/admin/v1/cmdlets/Get-CsAdminRole",
            vec![("host", "localhost"), ("content-type", "application/json")],
            "{}",
            403,
        ),
        (
            "the same with a token",
            nobody,
            Method::POST,
            "/admin/v1/cmdlets/Get-CsAdminRole",
            vec![("host", "localhost"), ("content-type", "application/json"), ("authorization", &*bearer)],
            "{}",
            403,
        ),
        ("root", Peer::Local { uid: 0 }, Method::GET, "/admin/v1/me", vec![("host", "localhost")], "", 200),
    ] {
        let mut request = Request::builder().method(method).uri(path);
        if !fields.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", NAME);
        }
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let answer = office.ask(peer, request.body(Full::from(body.to_owned())).unwrap()).await;
        assert_eq!(answer.status, status, "{why}: {}", answer.body);
    }
    let large = json!({ "parameters": { "Identity": "x".repeat(300_000) } });
    let answer = office.run("adm", "Get-CsAdminRole", large).await;
    assert_eq!(answer.status, 413, "{}", answer.body);
}

#[tokio::test]
async fn a_session_begins_with_a_password_and_guesses_must_wait() {
    let mut office = Office::new();
    office.account("ann", &["CsHelpDesk"], false).await;
    let sign_in = |password: &str| {
        let body = json!({ "account": "Ann", "password": password });
        post("/admin/v1/session").body(Full::from(body.to_string())).unwrap()
    };
    let answer = office.ask(remote(), sign_in(PASSWORD)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    office.tokens.insert("session".into(), answer.body["token"].as_str().unwrap().into());
    assert_eq!(office.run("session", "Get-CsAdminRole", json!({"Identity": "CsHelpDesk"})).await.status, 200);
    let bearer = format!("Bearer {}", office.tokens["session"]);
    let out = Request::delete("/admin/v1/session").header("host", NAME).header("authorization", bearer);
    assert_eq!(office.ask(remote(), out.body(Full::default()).unwrap()).await.status, 204);
    assert_eq!(office.run("session", "Get-CsAdminRole", json!({})).await.status, 401);
    for _ in 0..5 {
        let answer = office.ask(remote(), sign_in("wrong horse battery")).await;
        assert_eq!((answer.status, answer.id()), (401, "NotSignedIn"));
    }
    // From elsewhere too, and with the right password: whoever guesses must not be told when he was right.
    let elsewhere = Peer::Remote { address: "198.51.100.7".parse().unwrap(), certificate: None };
    let answer = office.ask(elsewhere, sign_in(PASSWORD)).await;
    assert_eq!((answer.status, answer.retry_after.as_deref()), (429, Some("1")), "{}", answer.body);
}

#[tokio::test]
async fn a_right_token_comes_in_from_an_address_that_others_guess_from() {
    let mut office = Office::new();
    office.account("ann", &["CsHelpDesk"], false).await;
    office.account("off", &["CsHelpDesk"], true).await;
    let get = json!({"Identity": "CsHelpDesk"});
    for _ in 0..30 {
        assert_eq!(office.run("off", "Get-CsAdminRole", get.clone()).await.status, 401, "that is no guess");
    }
    let guess = || Issued::new(PassKind::Token).text;
    let mut codes = Vec::new();
    for _ in 0..22 {
        office.tokens.insert("guess".into(), guess());
        codes.push(office.run("guess", "Get-CsAdminRole", get.clone()).await.status);
    }
    assert!(codes[..20].iter().all(|code| *code == 401) && codes[21] == 429, "{codes:?}");
    assert_eq!(office.run("ann", "Get-CsAdminRole", get.clone()).await.status, 200);
    assert_eq!(office.run("off", "Get-CsAdminRole", get).await.status, 401);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_show_who_he_is_does_not_keep_a_connection() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut office = Office::new();
    office.account("ann", &["CsHelpDesk"], false).await;
    let known =
        format!("GET /admin/v1/me HTTP/1.1\r\nhost: {NAME}\r\nauthorization: Bearer {}\r\n\r\n", office.tokens["ann"]);
    let nobody = format!("GET /admin/v1/me HTTP/1.1\r\nhost: {NAME}\r\n\r\n");
    let slow = format!(
        "POST /admin/v1/session HTTP/1.1\r\nhost: {NAME}\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n"
    );
    // Sent, the seconds within which it must have ended, the seconds that it must have lasted, and its answer.
    for (sent, at_most, at_least, answer) in [
        ("", 11, 9, ""),
        ("GET /admin/v1/me HT", 11, 9, ""),
        (&*nobody, 1, 0, "HTTP/1.1 401"),
        ("GET /nothing HTTP/1.1\r\nhost: evil.example\r\n\r\n", 1, 0, "HTTP/1.1 403"),
        (&*slow, 31, 15, ""),
        (&*known, 61, 55, "HTTP/1.1 200"),
    ] {
        let (mut ours, theirs) = tokio::io::duplex(64 * 1024);
        let server = tokio::spawn(Arc::clone(&office.api).converse(theirs, remote(), CancellationToken::new()));
        let begun = tokio::time::Instant::now();
        ours.write_all(sent.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        ours.read_to_end(&mut read).await.unwrap();
        server.await.unwrap();
        let (took, text) = (begun.elapsed().as_secs(), String::from_utf8_lossy(&read));
        assert!((at_least..=at_most).contains(&took) && text.starts_with(answer), "{sent:?}: {took} s, {text}");
    }
}

#[tokio::test]
async fn who_goes_away_before_his_guess_is_checked_has_made_it_all_the_same() {
    let mut office = Office::new();
    office.account("bob", &["CsHelpDesk"], false).await;
    let wrong = || Full::from(json!({ "account": "bob", "password": "wrong horse battery" }).to_string());
    for guess in 0..5 {
        // As long as the hash's seat is taken the guess is being checked; then he is gone.
        let asked = office.ask(remote(), post("/admin/v1/session").body(wrong()).unwrap());
        let begun = async {
            while office.api.hashing.available_permits() == HASHING_MAX {
                tokio::task::yield_now().await;
            }
        };
        let begun = tokio::time::timeout(std::time::Duration::from_secs(20), begun);
        tokio::select! {
            answer = asked => panic!("{guess}: it was answered: {}", answer.status),
            begun = begun => assert!(begun.is_ok(), "{guess}: no guess was checked"),
        }
        let all = office.api.hashing.acquire_many(u32::try_from(HASHING_MAX).unwrap()).await.unwrap();
        drop(all);
    }
    let sixth = office.ask(remote(), post("/admin/v1/session").body(wrong()).unwrap()).await;
    assert_eq!(sixth.status, 429, "{}", sixth.body);
}
