//! `docs/rest.md` and `docs/handles.md` as their reader meets them: the very commands that stand there, in their order.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use reveille_sim::recorder::Query;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::presence;
use crate::support::{STEP, reveille};
use crate::world::{World, request, token};

/// What a page says for our address.
const ADDRESS: &str = "https://push.example.net:8443";

/// The blocks of a page in that language.
fn blocks(page: &str, language: &str) -> Result<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(page);
    let text = std::fs::read_to_string(&path).with_context(|| format!("{} cannot be read", path.display()))?;
    let begin = format!("```{language}\n");
    let blocks: Vec<String> =
        text.split(&begin).skip(1).filter_map(|rest| Some(rest.split_once("\n```")?.0.to_owned())).collect();
    ensure!(!blocks.is_empty(), "{page} has no block of {language}");
    Ok(blocks)
}

/// What a sender types, in the folder of the test and with its authority.
async fn typed(world: &World, script: String, secret: &str) -> Result<String> {
    let folder = world.house.folder.path().to_owned();
    let mut command = Command::new("bash");
    command
        .args(["-euc", &script])
        .current_dir(&folder)
        .env("SECRET", secret)
        .env("CURL_CA_BUNDLE", folder.join("ca.pem"));
    for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        command.env_remove(proxy);
    }
    let done = timeout(2 * STEP, tokio::task::spawn_blocking(move || command.output())).await???;
    let (out, err) = (String::from_utf8(done.stdout)?, String::from_utf8(done.stderr)?);
    ensure!(done.status.success(), "it ended with {}: {out} {err}", done.status);
    Ok(out)
}

/// Whether whoever reads the page has what it asks for.
fn tools() -> Result<bool> {
    presence::here(&["bash", "curl", "python3"].map(presence::on_path))
}

/// What an administrator types; answers what the last line has shown.
async fn administered(world: &World, lines: &str) -> Result<String> {
    let mut said = String::new();
    for line in lines.lines() {
        said = world.house.shell(line).await.with_context(|| line.to_owned())?;
    }
    Ok(said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_first_push_goes_out_by_the_commands_of_the_page() -> Result<()> {
    if !tools()? {
        return Ok(());
    }
    let world = World::with("rest-page", json!([])).await?;
    let said = administered(&world, &blocks("rest.md", "powershell")?[0]).await?;
    let secret =
        said.split_whitespace().find(|word| word.starts_with("rvps_")).context("no secret is shown")?.to_owned();

    let scripts = blocks("rest.md", "sh")?;
    let [first, trace, certificate] = &scripts[..] else { anyhow::bail!("{} blocks of sh", scripts.len()) };
    ensure!(first.contains(ADDRESS), "the page has another address");
    let first = first.replace(ADDRESS, &world.issuer());
    // Typed in one shell: what the page has set is still set.
    let whole = format!(
        "{first} > answer\nID=$(sed -n 's/.*\"id\":\"\\([0-9A-Z]*\\)\".*/\\1/p' answer)\ncat answer; echo\n{trace}"
    );
    let said = typed(&world, whole, &secret).await?;
    ensure!(said.starts_with("HTTP/2 202"), "{said}");
    for name in ["ratelimit: \"messages\";", "ratelimit-policy: \"messages\";"] {
        ensure!(said.contains(name), "{name} is not in {said}");
    }
    let told: Value = serde_json::from_str(said.lines().last().context("a trace")?)?;
    ensure!(["journaled", "sending", "accepted"].iter().any(|state| told["state"] == *state), "{told}");
    timeout(STEP, world.apns.recorder().wait(Query { after: 0, ..Query::default() })).await?;

    world.house.shell("Set-CsPushAccount contoso-mcx -CertificateNames push.contoso.com").await?;
    world.house.issue("push", "push.contoso.com")?;
    world.house.folder.write("push.json", &request(&token())?.to_string())?;
    let end = Instant::now() + STEP;
    loop {
        let said = typed(&world, format!("HOUSE={}\n{certificate}", world.issuer()), "").await?;
        if said.starts_with("HTTP/2 202") {
            break;
        }
        ensure!(Instant::now() < end, "{said}");
    }
    world.finish()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_handle_is_sealed_by_the_command_of_the_page_and_opens_for_its_organisation_only() -> Result<()> {
    if !tools()? {
        return Ok(());
    }
    let world = World::start("handles-page").await?;
    administered(&world, &blocks("handles.md", "powershell")?[0]).await?;
    world.house.shell("Set-CsPushApp org.example.app -Serves contoso.com,fabrikam.com").await?;
    let mut client = world.connect(None).await?;
    let keys = client.ask("GET /.well-known/reveille-handle-keys", &[], "").await?;
    world.house.folder.write("keys.json", &keys.text)?;
    let token = token();
    world.house.folder.write("token.txt", &token)?;
    let script = &blocks("handles.md", "sh")?[0];
    let binary = reveille().get_program().to_str().context("a path")?.to_owned();
    let script = format!("reveille() {{ '{binary}' \"$@\"; }}\n{script}");
    let handle = typed(&world, script, "").await?.trim().to_owned();
    ensure!(handle.starts_with("rvh1.") && !handle.contains(&token), "{handle}");

    let own = client.signed_in(&world.account("contoso-mcx", "contoso.com").await?).await?;
    let theirs = client.signed_in(&world.account("fabrikam-mcx", "fabrikam.com").await?).await?;
    let stolen = client.push(&theirs, &[], &request(&handle)?).await?;
    ensure!(stolen.status == 403 && stolen.json()?["reason"] == "handle-not-yours", "{stolen:?}");
    let mut elsewhere = request(&handle)?;
    elsewhere["to"]["environment"] = json!("sandbox");
    let elsewhere = client.push(&own, &[], &elsewhere).await?;
    ensure!(elsewhere.status == 403 || elsewhere.status == 404, "another environment: {elsewhere:?}");
    for (what, bad) in [("cut", &handle[..handle.len() - 4]), ("no base64url", "rvh1.b2947bab3726ffa5.***")] {
        let refused = client.push(&own, &[], &request(bad)?).await?;
        ensure!((400..=404).contains(&refused.status), "{what}: {refused:?}");
    }

    // A new key seals, and what the old one sealed still opens.
    world.house.shell("New-CsPushHandleKey").await?;
    ensure!(client.push(&own, &[], &request(&handle)?).await?.status == 202, "the owner");
    timeout(STEP, world.apns.recorder().wait(Query { after: 0, ..Query::default() })).await?;
    let seen = world.apns.recorder().entries(Query::default(), 10);
    ensure!(seen.len() == 1 && *seen[0].push.token == *token, "the provider saw {} pushes", seen.len());
    world.finish()
}
