//! Keys of a push service that change while a clearing house serves, on a real process: the new one is used without a
//! restart, whether its file was overwritten or the configuration names another, and what cannot be used changes nothing.

mod support;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use reveille_sim::apns::{ApnsOptions, ApnsSimulator, ProviderKey};
use reveille_sim::certs::{Ca, Leaf, apns_key};
use serde_json::Value;
use tokio::task::block_in_place;

use support::{Folder, Process, reveille, run};

const TEAM: &str = "TEAM123456";
/// How long a change may take: files are looked at every two seconds, and this machine may have much else to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// A clearing house as a process, and Apple in this one.
struct Scene {
    folder: Folder,
    process: Process,
    socket: String,
    apple: ApnsSimulator,
    listen: SocketAddr,
}

impl Scene {
    async fn start(keys: Vec<ProviderKey>, key_id: &str, p8: &str) -> Result<Self> {
        let (folder, ca) = (Folder::new("push-keys")?, Ca::new("Push key test authority")?);
        let mut options = ApnsOptions::new(ca.issue(Leaf::new("apns", &["localhost", "127.0.0.1"]))?);
        options.keys = keys;
        let apple = ApnsSimulator::start(options).await?;
        let house = ca.issue(Leaf::new("house", &["house.push.example.net"]))?;
        folder.write("ca.pem", &ca.pem())?;
        folder.write("house.pem", &house.chain_pem())?;
        folder.write("house.key", &house.key_pem())?;
        folder.write("apns.p8", p8)?;
        let listen = SocketAddr::from((Ipv4Addr::new(127, rand::random_range(16..250), 7, 1), 5061));
        let (file, socket) = (folder.path().join("house.toml"), folder.path().join("store/admin/reveille.sock"));
        folder.write("house.toml", &config(listen, apple.addr(), "apns.p8", key_id))?;
        let mut command = reveille();
        command.arg("serve").arg("-c").arg(&file);
        let mut process = Process::start(command)?;
        process.until("it serves", |said| said.contains("started").then_some(()))?;
        Ok(Self { folder, process, socket: socket.display().to_string(), apple, listen })
    }

    /// Names another key in the configuration.
    fn name(&self, file: &str, key_id: &str) -> Result<()> {
        let text = config(self.listen, self.apple.addr(), file, key_id);
        self.folder.write("house.toml", &text).map(drop)
    }

    /// One property of what a cmdlet answers.
    fn told(&self, line: &str, property: &str) -> Result<String> {
        let line = format!("{line} | ConvertTo-Json");
        let done = block_in_place(|| run(["shell", "--socket", &self.socket, "-c", &line]))?;
        ensure!(done.code == 0, "{line} ended with {}:\n{}{}", done.code, done.out, done.err);
        let value: Value = serde_json::from_str(&done.out)?;
        let object = value.get(0).unwrap_or(&value);
        Ok(object[property].as_str().with_context(|| format!("no {property} in {object}"))?.to_owned())
    }

    /// Asks until the property is as it should be.
    fn until(&self, line: &str, property: &str, expected: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.told(line, property)?;
            if found == expected {
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "{line}: {property} is {found}, not {expected}; the server said:\n{}",
                self.process.said()
            );
        }
    }

    fn end(mut self) -> Result<()> {
        let status = block_in_place(|| self.process.terminate())?;
        ensure!(status.success(), "it ended with {status}: {}", self.process.said());
        self.folder.remove()
    }
}

fn config(listen: SocketAddr, apple: SocketAddr, credential: &str, key_id: &str) -> String {
    format!(
        "[store]\ndir = \"store\"\n[clearinghouse]\nname = \"house.push.example.net\"\ndomain = \"push.example.net\"\n\
         listen = \"{listen}\"\nedges = [\"edge.push.example.net\"]\n\
         [clearinghouse.tls]\ncertificate = \"house.pem\"\nkey = \"house.key\"\nroots = \"ca.pem\"\n\
         [clearinghouse.edge]\nname = \"edge.push.example.net\"\naddress = \"{listen}\"\n\
         [[clearinghouse.apps]]\nprovider = \"apns\"\napp = \"org.example.app\"\ncredential = \"{credential}\"\n\
         team = \"{TEAM}\"\nkey_id = \"{key_id}\"\nserver = \"{apple}\"\nroots = \"ca.pem\"\n"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_is_used_without_a_restart() -> Result<()> {
    let (stranger, first, second) = (apns_key()?, apns_key()?, apns_key()?);
    let known = |id: &str, key: &reveille_sim::certs::ApnsKey| ProviderKey::new(TEAM, id, key.public_key.clone());
    let keys = vec![known("KEY1111111", &first), known("KEY2222222", &second)];
    let scene = Scene::start(keys, "KEY1111111", &stranger.p8_pem).await?;
    let asked = "Test-CsPushCredential org.example.app";
    let shown = "Get-CsPushCredential org.example.app";
    let pid = scene.process.pid();

    // Apple does not know the key, and the app's circuit opens.
    scene.until(asked, "Answer", "403 InvalidProviderToken")?;
    scene.until("Get-CsPushLane org.example.app | Where-Object Channel -eq voip", "State", "refused")?;

    // The right one is put into its place.
    scene.folder.write("apns.p8", &first.p8_pem)?;
    scene.until(asked, "Result", "Success")?;
    scene.until("Get-CsPushLane org.example.app | Where-Object Channel -eq voip", "State", "ready")?;

    // What is no key changes nothing.
    scene.folder.write("apns.p8", "garbage")?;
    scene.until(asked, "Result", "Failure")?;
    ensure!(scene.told(asked, "Answer")? == "400 BadDeviceToken", "the old key is still in use");
    ensure!(scene.process.said().contains("push-credential-unusable"), "the log has the alarm");

    // Another key has another name, and stands in another file; the configuration is corrected.
    scene.folder.write("second.p8", &second.p8_pem)?;
    scene.name("second.p8", "KEY2222222")?;
    scene.until(shown, "KeyId", "KEY2222222")?;
    scene.until(asked, "Result", "Success")?;
    ensure!(scene.process.pid() == pid, "it is the same process");
    ensure!(!scene.process.said().contains("TooManyProviderTokenUpdates"), "{}", scene.process.said());
    scene.end()
}
