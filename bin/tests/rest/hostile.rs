//! Machine accounts, and strangers, that mean harm.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::client::{AT_ONCE, Client, Signer};
use crate::support::STEP;
use crate::until;
use crate::world::{APP, World, request, token, ulid};

/// How long a server that says no more is listened to.
const SILENCE: Duration = Duration::from_millis(500);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_written_as_one_request_is_never_taken_for_two() -> Result<()> {
    let world = World::start("rest-smuggled").await?;
    let bearer = world.connect(None).await?.signed_in(&world.account("contoso-mcx", "contoso.com").await?).await?;
    let inner = "GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let long = "x".repeat(200_000);
    let many = "x: 1\r\n".repeat(200);
    for (what, fields) in [
        ("two lengths that differ", format!("content-length: 2\r\ncontent-length: {}\r\n", inner.len() + 2)),
        ("a length that is none", "content-length: +2\r\n".into()),
        ("a length and chunks", format!("content-length: {}\r\ntransfer-encoding: chunked\r\n", inner.len() + 5)),
        ("chunks that are not last", "transfer-encoding: chunked, identity\r\n".into()),
        ("chunks by another name", "transfer-encoding: xchunked\r\n".into()),
        ("a space before the colon", format!("content-length : {}\r\n", inner.len() + 2)),
        ("a line that goes on", format!("content-length: 2\r\nx: 1\r\n content-length: {}\r\n", inner.len() + 2)),
        ("a NUL", "content-length: 2\r\nx: a\0b\r\n".into()),
        ("a bare line feed in a name", "content-length: 2\r\nx\ny: 1\r\n".into()),
        ("a field that is too long", format!("content-length: 2\r\nx: {long}\r\n")),
        ("more fields than anybody needs", format!("content-length: 2\r\n{many}")),
    ] {
        let mut client = world.connect(None).await?;
        let head = format!(
            "POST /v1/push HTTP/1.1\r\nhost: localhost\r\nauthorization: {bearer}\r\ncontent-type: application/json\r\n{fields}\r\n"
        );
        // A proxy that reads the length sees a body, one that reads chunks sees a request behind an empty one.
        let sent = client.write(format!("{head}0\r\n\r\n{inner}").as_bytes()).await;
        let said = client.rest(SILENCE).await;
        let answers: Vec<&str> = said.match_indices("HTTP/1.1 ").map(|(at, _)| &said[at + 9..at + 12]).collect();
        ensure!(answers.len() <= 1 && !said.contains("openapi"), "{what}: {answers:?}, sent {sent:?}");
        ensure!(answers.iter().all(|status| status.starts_with('4')), "{what}: {answers:?}");
    }
    world.finish()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_body_that_takes_its_time_does_not_outlive_its_account() -> Result<()> {
    let world = World::start("rest-slow-body").await?;
    let secret = world.account("contoso-mcx", "contoso.com").await?;
    let mut client = world.connect(None).await?;
    let bearer = client.signed_in(&secret).await?;
    let body = request(&token())?.to_string();
    let head = format!(
        "POST /v1/push HTTP/1.1\r\nhost: localhost\r\nauthorization: {bearer}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    let (begin, end) = body.split_at(20);
    client.write(format!("{head}{begin}").as_bytes()).await?;
    let mut other = world.connect(None).await?;
    ensure!(other.push(&bearer, &[], &request(&token())?).await?.status == 202, "not before");
    world.house.shell("Set-CsPushAccount contoso-mcx -Enabled $False").await?;
    until(&mut other, &bearer, 401).await?;
    client.write(end.as_bytes()).await?;
    let answer = tokio::time::timeout(STEP, client.answer()).await??;
    ensure!(answer.status == 401, "a push was taken of an account that was closed before it had come: {answer:?}");
    world.finish()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stranger_does_not_learn_which_accounts_there_are() -> Result<()> {
    let world = World::start("rest-names").await?;
    let (own, stranger) = (Signer::new()?, Signer::new()?);
    let made = format!("New-CsPushAccount contoso-jwt -Organisation contoso.com -PublicKeys '{}'", own.jwk("one"));
    world.house.shell(&made).await?;
    let certificate = world.certificate("push.other.example")?;
    let issuer = world.issuer();
    for (what, with, form) in [
        ("nothing shown", None, "client_id=NAME".to_owned()),
        ("a secret", None, "client_id=NAME&client_secret=x".into()),
        ("another's certificate", Some(&certificate), "client_id=NAME".into()),
    ] {
        let mut client = world.connect(with).await?;
        let mut said = Vec::new();
        for name in ["contoso-jwt", "nobody"] {
            let answer = client.token(&form.replace("NAME", name)).await?;
            said.push((answer.status, answer.text));
        }
        ensure!(said[0].0 == 401 && said[0] == said[1], "{what}: {said:?}");
    }
    let mut client = world.connect(None).await?;
    for (alg, kid) in [("ES256", "one"), ("ES256", "two"), ("RS256", "one"), ("none", "one")] {
        let mut said = Vec::new();
        for name in ["contoso-jwt", "nobody"] {
            let form = stranger.form(&issuer, |header, claims| {
                (header["alg"], header["kid"]) = (json!(alg), json!(kid));
                (claims["iss"], claims["sub"]) = (json!(name), json!(name));
            })?;
            let answer = client.token(&form).await?;
            said.push((answer.status, answer.text));
        }
        ensure!(said[0].0 == 401 && said[0] == said[1], "an assertion, {alg}, {kid}: {said:?}");
    }
    world.finish()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn tokens_that_have_ended_keep_nobody_from_the_next_one_and_a_key_that_was_replaced_ends_them() -> Result<()> {
    let world = World::start("rest-tokens").await?;
    let signer = Signer::new()?;
    let made = format!("New-CsPushAccount contoso-jwt -Organisation contoso.com -PublicKeys '{}'", signer.jwk("one"));
    world.house.shell(&made).await?;
    let mut client = world.connect(None).await?;
    // What was issued within the first seconds is refused, which does not count against anybody either.
    let issuer = world.issuer();
    let end = Instant::now() + STEP;
    while client.token(&signer.form(&issuer, |_, _| ())?).await?.status != 200 {
        ensure!(Instant::now() < end, "no assertion is ever taken");
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    // Thirty requests were under way when the clearing house was restarted.
    for count in 0..30 {
        let refused = client.push("Bearer rvat_x.y", &[], &request(&token())?).await?;
        ensure!(refused.status == 401, "number {count}: {refused:?}");
    }
    let bearer = client.signed_in(&signer.form(&issuer, |_, _| ())?).await?;
    ensure!(client.push(&bearer, &[], &request(&token())?).await?.status == 202, "the next token is none");

    let other = Signer::new()?;
    world.house.shell(&format!("Set-CsPushAccount contoso-jwt -PublicKeys '{}'", other.jwk("one"))).await?;
    until(&mut client, &bearer, 401).await.context("another key of the same name")?;
    let bearer = client.signed_in(&other.form(&issuer, |_, _| ())?).await?;
    ensure!(client.push(&bearer, &[], &request(&token())?).await?.status == 202, "the new key's token");
    world.finish()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_idempotency_key_is_good_for_one_push_of_one_organisation_however_it_is_used() -> Result<()> {
    let mut world = World::start("rest-keys").await?;
    world.house.shell(&format!("Set-CsPushApp {APP} -Serves contoso.com,fabrikam.com")).await?;
    let contoso = world.account("contoso-mcx", "contoso.com").await?;
    let second = world.account("contoso-too", "contoso.com").await?;
    let fabrikam = world.account("fabrikam-mcx", "fabrikam.com").await?;
    let (mut one, mut other) = (world.connect(None).await?, world.connect(None).await?);
    let (own, too) = (one.signed_in(&contoso).await?, one.signed_in(&second).await?);
    let theirs = one.signed_in(&fabrikam).await?;
    let (key, body) = (ulid()?, request(&token())?);
    let named = [("idempotency-key", key.as_str())];

    let both = tokio::join!(one.push(&own, &named, &body), other.push(&too, &named, &body));
    let mut results = [both.0?.json()?["result"].clone(), both.1?.json()?["result"].clone()];
    results.sort_by_key(Value::to_string);
    ensure!(results == [json!("duplicate"), json!("journaled")], "at once, by two accounts: {results:?}");

    let another = request(&token())?;
    let refused = one.push(&own, &named, &another).await?;
    ensure!(refused.status == 400 && refused.json()?["reason"] == "invalid-request", "another body: {refused:?}");
    let separate = one.push(&theirs, &named, &another).await?;
    ensure!(separate.json()?["result"] == "journaled", "another organisation's key is its own: {separate:?}");

    // What is there twice is nothing, and what has no id is read as strictly as what has one.
    let twice = another.to_string().replacen('{', "{\"event\":\"badge\",", 1);
    let fields = [("content-type", "application/json"), ("authorization", own.as_str())];
    let refused = one.ask("POST /v1/push", &fields, &twice).await?;
    ensure!(refused.status == 400, "a field twice: {refused:?}");
    let refused = one.ask("GET /v1/push/%ff%00", &fields[1..], "").await?;
    ensure!(refused.status == 400 && refused.field("content-type") == Some("application/problem+json"), "{refused:?}");

    world.house.stop()?;
    world.house.start()?;
    let mut after: Client = world.connect(None).await?;
    let refused = after.push(&own, &named, &body).await?;
    ensure!(refused.status == 401, "a token of before the restart: {refused:?}");
    let again = after.signed_in(&contoso).await?;
    let repeated = after.push(&again, &named, &body).await?;
    ensure!(repeated.json()?["result"] == "duplicate", "after a restart: {repeated:?}");
    ensure!(after.push(&again, &named, &another).await?.status == 400, "another body after a restart");
    world.finish()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connections_of_strangers_make_room_for_whoever_comes() -> Result<()> {
    let world = World::start("rest-crowd").await?;
    let secret = world.account("contoso-mcx", "contoso.com").await?;
    let mut known = world.connect(None).await?;
    let bearer = known.signed_in(&secret).await?;
    // As many as there may be, from sixteen addresses of 128 each; none of them says anything.
    let mut crowd = Vec::new();
    for address in 2..18 {
        for _ in 0..128 {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.bind(([127, 77, 0, address], 0).into())?;
            crowd.push(socket.connect(world.rest).await?);
        }
    }
    let begun = Instant::now();
    let mut client = world.connect(None).await?;
    let own = client.signed_in(&secret).await?;
    ensure!(client.push(&own, &[], &request(&token())?).await?.status == 202, "whoever comes is not let in");
    let took = begun.elapsed();
    ensure!(took < 3 * AT_ONCE, "whoever comes waits for {took:?}");
    ensure!(known.push(&bearer, &[], &request(&token())?).await?.status == 202, "whoever was there is turned out");
    drop(crowd);
    world.finish()
}
