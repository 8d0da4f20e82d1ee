//! A clearing house as a process: what an edge may have under way at once, and keys of a push service that change while
//! it serves. A new key is used without a restart, whether its file was overwritten or the configuration names another, and
//! what cannot be used changes nothing.

#[path = "support/house.rs"]
mod house;
mod support;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use bytes::BytesMut;
use reveille_sim::apns::{ApnsSimulator, ProviderKey};
use reveille_sim::certs::apns_key;
use reveille_sip::{Method, Name, RequestBuilder};
use serde_json::Value;

use house::{App, EDGE, House, app_of};
use support::STEP;
use support::push::{self, CONTENT_TYPE};

const TEAM: &str = "TEAM123456";
const APP: &str = "org.reveille.demo";
/// Requests that an edge has under way.
const CROWD: usize = 2_000;
/// Bytes of each that come back in its answer.
const ECHOED: usize = 9_000;
/// How long a change may take: files are looked at every two seconds, and this machine may have much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// A clearing house as a process, and Apple in this one.
struct Scene {
    house: House,
    apple: ApnsSimulator,
}

impl Scene {
    async fn start(keys: Vec<ProviderKey>, key_id: &str, p8: &str) -> Result<Self> {
        let house = House::new("push-keys")?;
        let apple = house.apple_with(keys).await?;
        house.folder.write("apns.p8", p8)?;
        let mut scene = Self { house, apple };
        scene.name("apns.p8", key_id)?;
        scene.house.start()?;
        Ok(scene)
    }

    /// Names a key in the configuration.
    fn name(&self, credential: &str, key_id: &str) -> Result<()> {
        let app = App { credential, ..App::of(APP, TEAM, key_id, &self.apple) };
        self.house.configure("dir = \"store\"", self.house.listen, &app, "")
    }

    /// One property of what a cmdlet answers.
    async fn told(&self, line: &str, property: &str) -> Result<String> {
        let said = self.house.shell(&format!("{line} | ConvertTo-Json")).await?;
        let value: Value = serde_json::from_str(&said)?;
        let object = value.get(0).unwrap_or(&value);
        Ok(object[property].as_str().with_context(|| format!("no {property} in {object}"))?.to_owned())
    }

    /// Asks until the property is as it should be.
    async fn until(&self, line: &str, property: &str, expected: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.told(line, property).await?;
            if found == expected {
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "{line}: {property} is {found}, not {expected}; the server said:\n{}",
                self.house.process()?.said()
            );
        }
    }

    fn end(mut self) -> Result<()> {
        self.house.stop()?;
        self.house.folder.remove()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_is_used_without_a_restart() -> Result<()> {
    let (stranger, first, second) = (apns_key()?, apns_key()?, apns_key()?);
    let known = |id: &str, key: &reveille_sim::certs::ApnsKey| ProviderKey::new(TEAM, id, key.public_key.clone());
    let keys = vec![known("KEY1111111", &first), known("KEY2222222", &second)];
    let scene = Scene::start(keys, "KEY1111111", &stranger.p8_pem).await?;
    let asked = "Test-CsPushCredential org.reveille.demo";
    let shown = "Get-CsPushCredential org.reveille.demo";
    let pid = scene.house.process()?.pid();

    // Apple does not know the key, and the app's circuit opens.
    scene.until(asked, "Answer", "403 InvalidProviderToken").await?;
    scene.until("Get-CsPushLane org.reveille.demo | Where-Object Channel -eq voip", "State", "refused").await?;

    // The right one is put into its place.
    scene.house.folder.write("apns.p8", &first.p8_pem)?;
    scene.until(asked, "Result", "Success").await?;
    scene.until("Get-CsPushLane org.reveille.demo | Where-Object Channel -eq voip", "State", "ready").await?;

    // What is no key changes nothing.
    scene.house.folder.write("apns.p8", "garbage")?;
    scene.until(asked, "Result", "Failure").await?;
    ensure!(scene.told(asked, "Answer").await? == "400 BadDeviceToken", "the old key is still in use");
    ensure!(scene.house.process()?.said().contains("push-credential-unusable"), "the log has the alarm");

    // Another key has another name, and stands in another file; the configuration is corrected.
    scene.house.folder.write("second.p8", &second.p8_pem)?;
    scene.name("second.p8", "KEY2222222")?;
    scene.until(shown, "KeyId", "KEY2222222").await?;
    scene.until(asked, "Result", "Success").await?;
    ensure!(scene.house.process()?.pid() == pid, "it is the same process");
    ensure!(
        !scene.house.process()?.said().contains("TooManyProviderTokenUpdates"),
        "{}",
        scene.house.process()?.said()
    );
    scene.end()
}

/// Under load one sync answers thousands of requests at one instant: more than any reader has taken yet.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_with_thousands_of_requests_under_way_gets_every_answer() -> Result<()> {
    let mut house = House::new("crowd")?;
    let apple = house.apple(TEAM, "KEY1111111").await?;
    house.configure("dir = \"store\"", house.listen, &App::of(APP, TEAM, "KEY1111111", &apple), "")?;
    house.wants(&app_of(APP)).await?;
    house.start()?;
    let edge = house.edge_client()?;
    let mut link = house.connect(&edge).await?;
    let asked: Vec<u8> = (0..CROWD).flat_map(asked).collect();
    // Nothing is read before all of it has gone: what is answered meanwhile waits in the clearing house.
    link.send(asked, PATIENCE).await?;
    house.until_idle(PATIENCE).await?;
    for at in 0..CROWD {
        let answer = link.next(STEP).await.with_context(|| format!("after {at} of {CROWD} answers"))?;
        ensure!(answer.status() == Some(202), "{answer:?}");
    }
    house.stop()?;
    house.folder.remove()
}

/// A push request whose answer is long, since an answer repeats who has asked.
fn asked(number: usize) -> BytesMut {
    let (body, mut out) = (push::request().to_string(), BytesMut::with_capacity(2 * ECHOED));
    let written = RequestBuilder::new(&mut out, Method::Message, "sip:push@push.example.net")
        .header(Name::Via, format_args!("SIP/2.0/TLS {EDGE};branch=z9hG4bKe{number}"))
        .header(Name::Via, format_args!("SIP/2.0/TLS edge.contoso.com;branch=z9hG4bKc{number};received=127.0.0.1"))
        .header(Name::MaxForwards, "69")
        .header(Name::From, format_args!("\"{}\" <sip:mcx@contoso.com>;tag={number}", "x".repeat(ECHOED)))
        .header(Name::To, "<sip:push@push.example.net>")
        .header(Name::CallId, format_args!("{number}@home.contoso.com"))
        .header(Name::CSeq, "1 MESSAGE")
        .header(
            Name::EdgeTrust,
            format_args!(
                "ms-source-type=DirectPartner;ms-ep-fqdn={EDGE};ms-source-verified-user=unverified;\
                 ms-source-network=federation;ms-remote-fqdn=edge.contoso.com"
            ),
        )
        .content(CONTENT_TYPE, body.as_bytes())
        .finish();
    written.expect("the test's own request can be written");
    out
}
