//! As whom the apps come to their push services while the clearing house runs: read at the start, and again when asked to
//! or when a file changes. A new key is used from then on, without a restart; one that cannot be used changes nothing.
//!
//! An APNs key has a name of its own, which stands in the configuration beside the file. So the configuration is looked at
//! too, and of it `credential`, `team`, `key_id` and `roots` of apps that are there already; everything else waits for a
//! restart.

use std::fs::File;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use reveille_core::{Alarm, AppKey, Clock as _, Provider, Timestamp};
use reveille_providers::apns::Keyring;
use reveille_providers::tls::{ClientIdentity, Trust};
use reveille_providers::{Access, Proxy, Sender, Target, apns, fcm};
use reveille_sip_net::Identity;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::SystemClock;
use crate::certificates::{Diary, day};
use crate::config::{self, App, Proxies};
use crate::obstacle::Unread;

/// How often files are looked at.
const LOOK: Duration = Duration::from_secs(2);
/// How often ends are looked at.
const REVIEW: Duration = Duration::from_secs(60);
/// Longer than any key or account that push services give out.
const BYTES_MAX: u64 = 64 * 1024;

/// How one app comes to its push service.
pub(crate) struct Approach {
    pub(crate) access: Access,
    pub(crate) trust: Trust,
    /// Where that is, if it is not the usual place.
    pub(crate) target: Option<Target>,
    pub(crate) proxy: Option<Proxy>,
    /// When the credential ends, Unix time, if it does.
    pub(crate) ends: Option<i64>,
}

/// Reads what an app's tables name. A fault is the key within the app's table, and the sentence.
pub(crate) fn approach(app: &App, proxies: &Proxies, keyring: &Keyring) -> Result<Approach, (&'static str, String)> {
    let text = text(&app.credential).map_err(|error| ("credential", Unread(&app.credential, &error).to_string()))?;
    with_text(app, proxies, keyring, &text)
}

fn with_text(app: &App, proxies: &Proxies, keyring: &Keyring, text: &str) -> Result<Approach, (&'static str, String)> {
    let trust = match &app.roots {
        Some(path) => Trust::read(path),
        None => Trust::system(),
    };
    let trust = trust.map_err(|error| ("roots", error.to_string()))?;
    let proxy = proxies.of(app.provider)?;
    let credential = |fault: &dyn std::fmt::Display| ("credential", fault.to_string());
    let mut ends = None;
    let access = match app.provider {
        Provider::Apns if is_certificate(app, text) => {
            let pem = text.as_bytes();
            let identity = Identity::from_pem(pem, pem).map_err(|error| credential(&error))?;
            ends = Some(identity.certificate().not_after);
            let identity = ClientIdentity::from_pem(pem, pem).map_err(|error| credential(&error))?;
            Access::Apns(apns::Access::Certificate(Arc::new(identity)))
        }
        Provider::Apns => {
            let (team, key_id) = (app.team.as_deref(), app.key_id.as_deref());
            let signer = keyring.signer(team.unwrap_or_default(), key_id.unwrap_or_default(), text);
            Access::Apns(apns::Access::Token(signer.map_err(|error| credential(&error))?))
        }
        Provider::Fcm => {
            let account = fcm::Account::new(text, &trust).map_err(|error| credential(&error))?;
            Access::Fcm(Arc::new(account.through(proxy.clone())))
        }
        other => return Err(("provider", format!("this version has no sender for {other}"))),
    };
    let target = match &app.server {
        Some(server) => Some(target(server).ok_or_else(|| ("server", "it needs the form host:port".to_owned()))?),
        None => None,
    };
    Ok(Approach { access, trust, target, proxy, ends })
}

/// Whether an app comes to APNs with a certificate: then it has no team and no key id.
fn is_certificate(app: &App, text: &str) -> bool {
    app.team.is_none() && app.key_id.is_none() && text.contains("-----BEGIN CERTIFICATE-----")
}

/// Whether the file of an app's credential holds a certificate.
pub(crate) fn holds_certificate(app: &App) -> bool {
    text(&app.credential).is_ok_and(|text| is_certificate(app, &text))
}

fn target(server: &str) -> Option<Target> {
    let (host, port) = server.rsplit_once(':')?;
    Some(Target { host: host.into(), port: port.parse().ok()?, address: None, proxy: None })
}

/// What a file holds, as far as a credential may be long.
fn text(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

/// The credentials of all apps of a running clearing house.
pub(crate) struct PushKeys {
    apps: Vec<Keyed>,
    proxies: Proxies,
    keyring: Keyring,
    marks: RandomState,
    /// The configuration file, if there is one, and how it was when it was read last.
    config: Mutex<Option<(PathBuf, Option<Stamp>)>>,
    diary: Mutex<Diary>,
}

struct Keyed {
    key: AppKey,
    senders: Vec<Arc<Sender>>,
    held: Mutex<Held>,
}

/// What is in use, and what stands in the file.
struct Held {
    app: App,
    /// When what is in use was read.
    read: Timestamp,
    /// Tells it from another; of this process only, and no digest that anybody could try keys against.
    mark: u64,
    ends: Option<i64>,
    /// As the file was when it was looked at last.
    seen: Option<Stamp>,
    /// Why what the file holds now is not used.
    fault: Option<String>,
}

/// What changes when a file does.
type Stamp = (u64, u64, Option<SystemTime>);

fn stamp(path: &Path) -> Option<Stamp> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.ino(), file.len(), file.modified().ok()))
}

/// One credential, for status pages.
pub(crate) struct Shown {
    pub(crate) path: PathBuf,
    pub(crate) read: Timestamp,
    /// Why what the file holds now is not what is in use.
    pub(crate) differs: Option<String>,
    pub(crate) expires: Option<Timestamp>,
}

impl PushKeys {
    /// The apps with what was read for each at the start, and the senders that use it.
    pub(crate) fn new(
        apps: impl IntoIterator<Item = (App, Option<i64>, Vec<Arc<Sender>>)>,
        proxies: Proxies,
        keyring: Keyring,
    ) -> Arc<Self> {
        let marks = RandomState::new();
        let now = SystemClock.now();
        let keyed = |(app, ends, senders): (App, Option<i64>, Vec<Arc<Sender>>)| {
            let seen = stamp(&app.credential);
            let mark = mark(&marks, &app, &text(&app.credential).unwrap_or_default());
            let key = crate::clearinghouse::app_key(&app);
            Keyed { key, senders, held: Mutex::new(Held { app, read: now, mark, ends, seen, fault: None }) }
        };
        let apps = apps.into_iter().map(keyed).collect();
        Arc::new(Self { apps, proxies, keyring, marks, config: Mutex::new(None), diary: Mutex::default() })
    }

    /// Looks at this configuration file too, from now on.
    pub(crate) fn follow(&self, config: &Path) {
        *self.config.lock() = Some((config.to_owned(), stamp(config)));
    }

    /// The credential of one app.
    pub(crate) fn shown(&self, app: &AppKey) -> Option<Shown> {
        let held = self.apps.iter().find(|keyed| keyed.key == *app)?.held.lock();
        let secs = |ends: i64| Timestamp::from_millis(u64::try_from(ends).unwrap_or_default().saturating_mul(1000));
        Some(Shown {
            path: held.app.credential.clone(),
            read: held.read,
            differs: held.fault.clone(),
            expires: held.ends.map(secs),
        })
    }

    /// Looks at the files and at the time until `stop`.
    pub(crate) async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let mut review_in = Duration::ZERO;
        loop {
            let (this, due) = (Arc::clone(&self), review_in.is_zero());
            // Files may lie on a disk that takes its time.
            let turn = tokio::task::spawn_blocking(move || {
                this.look(false);
                if due {
                    this.review();
                }
            });
            if let Err(panic) = turn.await {
                error!(%panic, "the watch over push credentials has failed for this turn");
            }
            review_in = if due { REVIEW } else { review_in.saturating_sub(LOOK) };
            if stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_none() {
                return;
            }
        }
    }

    /// Reads what has changed; everything, if `all` is asked for.
    pub(crate) fn look(&self, all: bool) {
        self.look_at_config(all);
        for keyed in &self.apps {
            let mut held = keyed.held.lock();
            let now = stamp(&held.app.credential);
            if all || now != held.seen {
                held.seen = now;
                let app = held.app.clone();
                self.read(keyed, &mut held, app);
            }
        }
    }

    /// Takes the files and names of keys that stand in the configuration now.
    fn look_at_config(&self, all: bool) {
        let mut config = self.config.lock();
        let Some((path, seen)) = &mut *config else { return };
        let now = stamp(path);
        if !all && now == *seen {
            return;
        }
        *seen = now;
        let raw = match config::read(path) {
            Ok(raw) => raw,
            Err(fault) => return warn!(%fault, "the configuration has changed and cannot be read: push keys stay"),
        };
        for wanted in raw.clearinghouse.into_iter().flat_map(|house| house.apps) {
            let key = crate::clearinghouse::app_key(&wanted);
            let Some(keyed) = self.apps.iter().find(|keyed| keyed.key == key) else { continue };
            let mut held = keyed.held.lock();
            let App { credential, team, key_id, roots, .. } = wanted;
            let app = App { credential, team, key_id, roots, ..held.app.clone() };
            let same = (&app.credential, &app.team, &app.key_id, &app.roots)
                == (&held.app.credential, &held.app.team, &held.app.key_id, &held.app.roots);
            if !same {
                self.read(keyed, &mut held, app);
            }
        }
    }

    /// Reads one credential, and gives it to the app's lanes if it is another than that in use.
    fn read(&self, keyed: &Keyed, held: &mut Held, app: App) {
        match self.renewed(keyed, held, &app) {
            Ok(Some(mark)) => {
                info!(app = %keyed.key, file = %app.credential.display(), apns.key = app.key_id, "a new push credential is in use");
                held.seen = stamp(&app.credential);
                *held = Held { app, read: SystemClock.now(), mark, fault: None, ends: held.ends, seen: held.seen };
            }
            Ok(None) => (held.app, held.fault) = (app, None),
            Err((name, fault)) => {
                let sentence = format!("the file {} cannot be used ({name}): {fault}", app.credential.display());
                error!(alarm = %Alarm::PushCredentialUnusable, app = %keyed.key, %fault, file = %app.credential.display(), "{}", Alarm::PushCredentialUnusable.sentence());
                held.fault = Some(sentence);
            }
        }
    }

    fn renewed(&self, keyed: &Keyed, held: &mut Held, app: &App) -> Result<Option<u64>, (&'static str, String)> {
        let text =
            text(&app.credential).map_err(|error| ("credential", Unread(&app.credential, &error).to_string()))?;
        let mark = mark(&self.marks, app, &text);
        if mark == held.mark {
            return Ok(None);
        }
        let Approach { access, trust, ends, .. } = with_text(app, &self.proxies, &self.keyring, &text)?;
        for sender in &keyed.senders {
            sender.renew(access.clone(), &trust).map_err(|fault| ("credential", fault.to_string()))?;
        }
        held.ends = ends;
        Ok(Some(mark))
    }

    /// Looks at what ends.
    fn review(&self) {
        let now = i64::try_from(SystemClock.now().secs()).unwrap_or(i64::MAX);
        let mut diary = self.diary.lock();
        for keyed in &self.apps {
            let Some(ends) = keyed.held.lock().ends else { continue };
            let Some(urgency) = diary.due(&keyed.key.to_string(), ends, now) else { continue };
            let (when, alarm) = (urgency.sentence(&day(ends)), Alarm::PushCertificateEnds);
            if urgency.is_now() {
                error!(%alarm, app = %keyed.key, when, "{}", alarm.sentence());
            } else {
                warn!(%alarm, app = %keyed.key, when, "{}", alarm.sentence());
            }
        }
        diary.forget_before(now);
    }
}

fn mark(marks: &RandomState, app: &App, text: &str) -> u64 {
    marks.hash_one((&app.team, &app.key_id, text))
}

#[cfg(test)]
mod tests {
    use reveille_core::Environment;

    use super::*;

    fn app(credential: PathBuf) -> App {
        App {
            provider: Provider::Apns,
            app: "org.example.chat".into(),
            environment: Environment::default(),
            credential,
            team: Some("TEAM123456".into()),
            key_id: Some("ABC123DEFG".into()),
            server: None,
            roots: None,
            connections: 2,
            connections_max: 8,
        }
    }

    /// That another key is used is shown with real processes by `bin/tests/push_keys.rs`.
    #[test]
    fn a_file_that_cannot_be_used_is_named_and_one_that_was_merely_touched_is_not() {
        let folder = std::env::temp_dir().join(format!("reveille-credential-{:016x}", rand::random::<u64>()));
        std::fs::create_dir(&folder).expect("a folder of our own");
        let path = folder.join("apns.p8");
        std::fs::write(&path, "first").expect("it is written");
        let keys = PushKeys::new([(app(path.clone()), None, Vec::new())], Proxies::default(), Keyring::default());
        let key = keys.apps[0].key.clone();
        let differs = || {
            keys.look(true);
            keys.shown(&key).expect("our app").differs
        };
        assert_eq!(differs(), None);
        for (now, expected) in [
            (Some("garbage"), Some("apns.p8 cannot be used (credential): the key file is not a .p8 file")),
            (Some("first"), None),
            (Some(""), Some("it has no PKCS #8 private key in PEM")),
            (None, Some("apns.p8 cannot be read")),
        ] {
            match now {
                Some(text) => std::fs::write(&path, text).expect("it is written"),
                None => std::fs::remove_file(&path).expect("it is removed"),
            }
            let found = differs();
            assert_eq!(found.is_some(), expected.is_some(), "{found:?}");
            assert!(found.as_deref().unwrap_or_default().contains(expected.unwrap_or_default()), "{found:?}");
        }
        std::fs::remove_dir(folder).expect("it is empty");
    }
}
