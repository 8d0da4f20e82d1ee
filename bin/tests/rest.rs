//! The Push REST service on the real binary: pushes through to the provider, everybody who is refused, revocation, feedback
//! by webhook, and Schemathesis against its own description.

#![allow(clippy::disallowed_methods, reason = "the test plays machine accounts, and these have the wall clock")]

#[path = "rest/client.rs"]
mod client;
#[path = "rest/hostile.rs"]
mod hostile;
#[path = "support/house.rs"]
mod house;
#[path = "rest/pages.rs"]
mod pages;
#[path = "partners/presence.rs"]
mod presence;
#[path = "rest/streams.rs"]
mod streams;
mod support;
#[path = "rest/world.rs"]
mod world;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reveille_sim::apns::Answer as Provider;
use reveille_sim::certs::Leaf;
use reveille_sim::recorder::Query;
use reveille_sim::script::Times;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use client::{AT_ONCE, Client, Signer};
use support::{Process, STEP};
use world::{World, request, token, ulid};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_batch_goes_through_to_the_provider_and_a_repetition_is_a_duplicate() -> Result<()> {
    let world = World::start("rest-push").await?;
    let contoso = world.account("contoso-mcx", "contoso.com").await?;
    let fabrikam = world.account("fabrikam-mcx", "fabrikam.com").await?;
    let mut client = world.connect(None).await?;
    let bearer = client.signed_in(&contoso).await?;

    let tokens: Vec<String> = (0..3).map(|_| token()).collect();
    let mut batch: Vec<Value> = tokens.iter().map(|token| request(token)).collect::<Result<_>>()?;
    let key = ulid()?;
    let sent = client.push(&bearer, &[("idempotency-key", &key)], &json!(batch)).await?;
    ensure!(sent.status == 202, "{sent:?}");
    let results = sent.json()?;
    ensure!(results.as_array().map(Vec::len) == Some(3) && results[0]["id"] == *key, "{results}");
    ensure!(results.as_array().is_some_and(|all| all.iter().all(|one| one["result"] == "journaled")), "{results}");
    for name in ["ratelimit", "ratelimit-policy"] {
        ensure!(sent.field(name).is_some_and(|text| text.starts_with("\"messages\";")), "{name}: {sent:?}");
    }
    timeout(STEP, world.apns.recorder().wait(Query { after: 2, ..Query::default() })).await?;
    let seen: Vec<String> =
        world.apns.recorder().entries(Query::default(), 10).iter().map(|entry| entry.push.token.to_string()).collect();
    ensure!(tokens.iter().all(|token| seen.contains(token)), "the provider saw {seen:?}");

    // The same again, later: nothing is sent twice.
    for request in &mut batch {
        request["sent"] = json!(request["sent"].as_u64().context("a time")? + 1);
    }
    let again = client.push(&bearer, &[("idempotency-key", &key)], &json!(batch)).await?.json()?;
    ensure!(again.as_array().is_some_and(|all| all.iter().all(|one| one["result"] == "duplicate")), "{again}");
    ensure!(again[2]["id"] == results[2]["id"], "{again}");

    // Some of several are refused, and one alone is a problem.
    let mut other = request(&tokens[0])?;
    other["to"]["app"] = json!("org.example.other");
    let mixed = client.push(&bearer, &[], &json!([request(&tokens[0])?, other])).await?;
    ensure!(mixed.status == 207, "{mixed:?}");
    let mixed = mixed.json()?;
    ensure!(
        mixed[0]["result"] == "journaled" && mixed[1]["reason"] == "no-such-app" && mixed[1]["status"] == 404,
        "{mixed}"
    );
    let alone = client.push(&bearer, &[], &other).await?;
    ensure!(alone.status == 404 && alone.field("content-type") == Some("application/problem+json"), "{alone:?}");
    ensure!(alone.json()?["type"] == "urn:reveille:push:no-such-app", "{alone:?}");

    // What became of it is told to its own organisation only, and an app serves whom it serves.
    let path = format!("GET /v1/push/{key}");
    let end = Instant::now() + STEP;
    loop {
        let told = client.ask(&path, &[("authorization", &bearer)], "").await?;
        ensure!(told.status == 200, "{told:?}");
        if told.json()?["state"] == "accepted" {
            break;
        }
        ensure!(Instant::now() < end, "{told:?}");
    }
    let stranger = client.signed_in(&fabrikam).await?;
    ensure!(client.ask(&path, &[("authorization", &stranger)], "").await?.status == 404, "another's push is shown");
    let refused = client.push(&stranger, &[], &request(&tokens[0])?).await?;
    ensure!(refused.status == 403 && refused.json()?["reason"] == "app-not-granted", "{refused:?}");

    // What is no push request at all.
    let kinds = [("content-type", "text/plain"), ("authorization", bearer.as_str())];
    ensure!(client.ask("POST /v1/push", &kinds, "{}").await?.status == 415, "text is taken");
    for (body, status) in [(json!({}), 400), (json!([]), 400), (json!(vec![request("00")?; 33]), 400)] {
        ensure!(client.push(&bearer, &[], &body).await?.status == status, "{body}");
    }
    let key = [("idempotency-key", "order-17")];
    ensure!(client.push(&bearer, &key, &request("00")?).await?.status == 400, "any key is taken");
    let long = json!({ "collapse": "x".repeat(50_000) });
    ensure!(world.connect(None).await?.push(&bearer, &[], &long).await?.status == 413, "a long body is taken");
    world.finish()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_does_not_prove_who_it_is_gets_no_token_and_sends_nothing() -> Result<()> {
    let world = World::start("rest-oauth").await?;
    let signer = Signer::new()?;
    let made = format!("New-CsPushAccount contoso-jwt -Organisation contoso.com -PublicKeys '{}'", signer.jwk("one"));
    world.shell(&made).await?;
    world.shell("New-CsPushAccount contoso-tls -Organisation contoso.com -CertificateNames push.contoso.com").await?;
    let secret = world.account("contoso-mcx", "contoso.com").await?;
    let closed = world.account("closed", "contoso.com").await?;
    world.shell("Set-CsPushAccount closed -Enabled $False").await?;
    let over = world.account("over", "contoso.com").await?;
    world.shell("Set-CsPushAccount over -Expires 2020-01-01").await?;
    let unlisted = world.account("unlisted", "tailspintoys.com").await?;

    let issuer = world.issuer();
    let mut client = world.connect(None).await?;
    // What was issued before the server knew what had been used is refused for its first seconds.
    let end = Instant::now() + STEP;
    let mut refused_at_first = false;
    while client.token(&signer.form(&issuer, |_, _| ())?).await?.status != 200 {
        refused_at_first = true;
        ensure!(Instant::now() < end, "no assertion is ever taken");
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    ensure!(refused_at_first, "an assertion of before the start was taken");

    let endpoint = format!("{issuer}/oauth2/token");
    let used = signer.form(&endpoint, |_, _| ())?;
    client.signed_in(&used).await?;
    let now = std::time::UNIX_EPOCH.elapsed()?.as_secs();
    for (what, form, status, error, part) in [
        ("replayed", used.clone(), 401, "invalid_client", "used before"),
        (
            "expired",
            signer.form(&issuer, |_, claims| claims["exp"] = json!(now - 1))?,
            401,
            "invalid_client",
            "expired",
        ),
        ("another audience", signer.form("https://x.example", |_, _| ())?, 401, "invalid_client", "not meant for"),
        ("another's signature", Signer::new()?.form(&issuer, |_, _| ())?, 401, "invalid_client", "signature"),
        (
            "not yet valid",
            signer.form(&issuer, |_, claims| claims["nbf"] = json!(now + 300))?,
            401,
            "invalid_client",
            "not valid yet",
        ),
        (
            "no signature",
            signer.form(&issuer, |header, _| header["alg"] = json!("none"))?,
            401,
            "invalid_client",
            "algorithm",
        ),
        ("HMAC", signer.form(&issuer, |header, _| header["alg"] = json!("HS256"))?, 401, "invalid_client", "algorithm"),
        (
            "another's name",
            signer.form(&issuer, |_, claims| claims["sub"] = json!("contoso-mcx"))?,
            401,
            "invalid_client",
            "iss and sub",
        ),
        ("a wrong secret", format!("{secret}x"), 401, "invalid_client", "not known"),
        ("nobody", "client_id=nobody&client_secret=x".into(), 401, "invalid_client", "not known"),
        ("a closed account", closed, 401, "invalid_client", "not known"),
        ("one that is over", over, 401, "invalid_client", "not known"),
        ("nothing shown", "client_id=contoso-tls".into(), 401, "invalid_client", "Nothing was shown"),
        ("an organisation that is not allowed", unlisted, 400, "unauthorized_client", "not an allowed domain"),
        ("two things shown", format!("{secret}&{used}"), 400, "invalid_request", "more than one"),
        ("a field twice", format!("{secret}&client_id=x"), 400, "invalid_request", "twice"),
        ("another scope", format!("{secret}&scope=admin"), 400, "invalid_scope", "push"),
    ] {
        let answer = client.token(&form).await?;
        let said = answer.json()?;
        ensure!(answer.status == status && said["error"] == error, "{what}: {answer:?}");
        ensure!(said["error_description"].as_str().is_some_and(|text| text.contains(part)), "{what}: {said}");
    }

    // A token of a certificate is bound to it; a certificate alone does as well.
    let (own, other) = (world.certificate("push.contoso.com")?, world.certificate("other.contoso.com")?);
    let mut with_own = world.connect(Some(&own)).await?;
    let bound = with_own.signed_in("client_id=contoso-tls").await?;
    let body = request(&token())?;
    ensure!(with_own.push(&bound, &[], &body).await?.status == 202, "its own connection");
    ensure!(with_own.push("", &[], &body).await?.status == 202, "the certificate alone");
    let mut with_other = world.connect(Some(&other)).await?;
    ensure!(with_other.token("client_id=contoso-tls").await?.status == 401, "another certificate gets a token");
    for (client, what) in [(&mut with_other, "another certificate"), (&mut client, "no certificate")] {
        let refused = client.push(&bound, &[], &body).await?;
        ensure!(refused.status == 401 && refused.field("www-authenticate").is_some(), "{what}: {refused:?}");
        ensure!(client.push("", &[], &body).await?.status == 401, "{what} alone");
    }
    ensure!(client.push("Bearer rvat_x.y", &[], &body).await?.status == 401, "any token is taken");
    world.finish()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_revoked_is_gone_within_a_second_on_tokens_and_connections_that_exist() -> Result<()> {
    let world = World::start("rest-revoked").await?;
    let secret = world.account("contoso-mcx", "contoso.com").await?;
    let certificate = world.certificate("push.contoso.com")?;
    world.shell("New-CsPushAccount contoso-tls -Organisation contoso.com -CertificateNames push.contoso.com").await?;
    let (mut client, mut machine) = (world.connect(None).await?, world.connect(Some(&certificate)).await?);
    let id = secret
        .split_once("rvps_")
        .and_then(|(_, rest)| rest.split('_').next())
        .context("the secret's name")?
        .to_owned();
    let remove = format!("Remove-CsPushAccountSecret contoso-mcx -SecretId {id} -Force");

    for (line, status, back) in [
        ("Set-CsPushAccount contoso-mcx -Enabled $False", 401, Some("Set-CsPushAccount contoso-mcx -Enabled $True")),
        ("Remove-CsAllowedDomain contoso.com -Force", 403, Some("New-CsAllowedDomain contoso.com")),
        (remove.as_str(), 401, None),
    ] {
        let bearer = client.signed_in(&secret).await?;
        ensure!(client.push(&bearer, &[], &request(&token())?).await?.status == 202, "{line}: not before");
        world.shell(line).await?;
        until(&mut client, &bearer, status).await.context(line.to_owned())?;
        if let Some(back) = back {
            world.shell(back).await?;
            until(&mut client, &bearer, 202).await.context(back)?;
        }
    }
    let bearer = client.signed_in(&world.secret("contoso-mcx").await?).await?;
    world.shell("Remove-CsPushAccount contoso-mcx -Force").await?;
    until(&mut client, &bearer, 401).await?;
    ensure!(machine.push("", &[], &request(&token())?).await?.status == 202, "another account goes on");
    world.shell("Set-CsPushAccount contoso-tls -CertificateNames @{Remove='push.contoso.com'}").await?;
    until(&mut machine, "", 401).await?;
    world.finish()
}

/// Waits until a push is answered so, for as long as a revocation may take.
async fn until(client: &mut Client, bearer: &str, status: u16) -> Result<()> {
    let end = Instant::now() + AT_ONCE;
    loop {
        let answer = client.push(bearer, &[], &request(&token())?).await?;
        if answer.status == status {
            return Ok(());
        }
        ensure!(Instant::now() < end, "still after a second: {answer:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dead_token_is_told_to_the_organisation_s_webhook_signed() -> Result<()> {
    let world = World::start("rest-webhook").await?;
    let secret = world.account("contoso-mcx", "contoso.com").await?;
    let receiver = world.house.ca.issue(Leaf::new("localhost", &["localhost"]))?;
    let acceptor = TlsAcceptor::from(Arc::new(receiver.server_config(&[])?));
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let webhook = format!("https://localhost:{}/feedback", listener.local_addr()?.port());
    world.shell(&format!("Set-CsPushAccount contoso-mcx -Webhook {webhook}")).await?;
    let dead = token();
    let since = u64::try_from(std::time::UNIX_EPOCH.elapsed()?.as_millis())?;
    world.apns.script(Some(&dead), vec![Provider::unregistered(since)], Times::Always)?;
    let mut client = world.connect(None).await?;
    let bearer = client.signed_in(&secret).await?;
    let sent = client.push(&bearer, &[], &request(&dead)?).await?.json()?;

    let (stream, _) = timeout(STEP, listener.accept()).await??;
    let mut stream = acceptor.accept(stream).await?;
    let (mut text, mut part) = (String::new(), [0; 4096]);
    while !text.ends_with("]}") {
        let count = timeout(STEP, stream.read(&mut part)).await??;
        ensure!(count > 0, "it ended within {text}");
        text.push_str(std::str::from_utf8(&part[..count])?);
    }
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
    let (fields, body) = text.split_once("\r\n\r\n").context("a body")?;
    let field = |name: &str| {
        let value = fields.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        value.with_context(|| format!("{name} is not in {fields}"))
    };
    let told: Value = serde_json::from_str(body)?;
    ensure!(told["items"][0]["push"] == sent["id"] && told["items"][0]["verdict"] == "forget", "{told}");
    let keys = client.ask("GET /.well-known/reveille-webhook-keys", &[], "").await?.json()?;
    let key = keys["keys"][0].as_str().and_then(|key| key.strip_prefix("whpk_")).context("a key")?;
    let signed = format!("{}.{}.{body}", field("webhook-id")?, field("webhook-timestamp")?);
    let tag = STANDARD.decode(field("webhook-signature")?.strip_prefix("v1a,").context("v1a")?)?;
    let verified = UnparsedPublicKey::new(&ED25519, STANDARD.decode(key)?).verify(signed.as_bytes(), &tag);
    ensure!(verified.is_ok() && field("webhook-id")?.starts_with("contoso.com_"), "{fields}");
    world.finish()
}

/// How long Schemathesis may try.
const TRYING: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn schemathesis_finds_no_fault_of_ours_and_nothing_that_is_not_described() -> Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the workspace")?;
    let folder = root.join("target/partners/schemathesis");
    let program = folder.join("venv/bin/st");
    let present = presence::on_path(program.to_str().context("a path")?);
    if !presence::here(&[present])? {
        return Ok(());
    }
    let world = World::start("rest-schemathesis").await?;
    let secret = world.account("contoso-mcx", "contoso.com").await?;
    let bearer = world.connect(None).await?.signed_in(&secret).await?;
    let mut command = Command::new(program);
    command.arg("--config-file").arg(root.join("tests/partners/schemathesis/schemathesis.toml"));
    command.arg("run").arg(format!("{}/openapi.json", world.issuer()));
    command.arg("--tls-verify").arg(world.house.folder.path().join("ca.pem"));
    command.arg("-H").arg(format!("Authorization: {bearer}")).args(["--max-time", "40", "--seed", "1"]);
    command.current_dir(world.house.folder.path());
    for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    let mut trying = Process::start(command)?;
    let status = tokio::task::block_in_place(|| trying.wait(2 * TRYING))?;
    let said = trying.said();
    ensure!(status.success(), "it ended with {status}: {said}");
    let tried = said.split_once(" generated, ").and_then(|(before, _)| before.rsplit(' ').next()?.parse::<u32>().ok());
    ensure!(tried.is_some_and(|tried| tried > 200), "it has tried {tried:?} cases: {said}");
    world.finish()
}
