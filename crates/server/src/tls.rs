//! Certificates of one side of a role: read from its files, and read again while it runs.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use reveille_core::SipDomain;
use reveille_sip_net::{
    ClientAuth, Fallen, Identity, KnownPeer, ListsRunOut, NameRule, PeerCertificate, RevocationList, TlsClient,
    TlsServer, TlsSetupError, TrustRoots,
};

use crate::config::{Names, RunOut, Tls};

/// One side's certificates: as a server and as a client.
pub(crate) struct Side {
    /// The table of the configuration.
    pub(crate) key: &'static str,
    files: Tls,
    auth: ClientAuth,
    pub(crate) server: Arc<TlsServer>,
    pub(crate) client: Arc<TlsClient>,
    /// The names that others may expect in the certificate, and whether it had each when this process began.
    expected: Vec<(SipDomain, bool)>,
    held: Mutex<Held>,
}

/// What was read last, and when to read again.
struct Held {
    material: Material,
    /// As the files were when they were read last, with or without success.
    read: Vec<Stamp>,
    /// As the files were when they were looked at last.
    seen: Vec<Stamp>,
    /// Why what is used is older than what the files hold.
    fault: Option<TlsFault>,
}

/// What the files of one side hold.
#[derive(Clone)]
pub(crate) struct Material {
    pub(crate) identity: Identity,
    /// Whom we believe when they call.
    pub(crate) roots: TrustRoots,
    /// Whom we believe when we call.
    pub(crate) roots_out: TrustRoots,
}

/// What is wrong with a file, and the key that names it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{key}: {source}")]
pub struct TlsFault {
    /// The key, as a path through the file's tables.
    pub key: String,
    /// What is wrong.
    pub source: TlsSetupError,
}

/// Tells one state of a file from another. A file that is not there has one too.
type Stamp = Option<(SystemTime, u64, u64)>;

/// What came of reading the files again.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Reread {
    /// They are used from now on.
    Done,
    /// The old ones stay in use.
    Kept(TlsFault),
}

impl Side {
    pub(crate) fn read(key: &'static str, files: &Tls, auth: ClientAuth) -> Result<Self, TlsFault> {
        Self::speaking(&[], key, files, auth)
    }

    /// The same where these protocols are offered by ALPN.
    pub(crate) fn speaking(
        protocols: &[&[u8]],
        key: &'static str,
        files: &Tls,
        auth: ClientAuth,
    ) -> Result<Self, TlsFault> {
        // Before their content, so that a change in between is seen later.
        let stamps = stamps(files);
        let material = Material::read(key, files)?;
        let server = TlsServer::speaking(protocols, &material.identity, auth, &material.roots);
        let server = server.map_err(|source| TlsFault { key: format!("{key}.roots"), source })?;
        let client = TlsClient::new(Some(&material.identity), &material.roots_out);
        let held = Held { material, read: stamps.clone(), seen: stamps, fault: None };
        Ok(Self {
            key,
            files: files.clone(),
            auth,
            server: Arc::new(server),
            client: Arc::new(client),
            expected: Vec::new(),
            held: Mutex::new(held),
        })
    }

    /// The same side, whose certificate others know by these names.
    pub(crate) fn known_as<'a>(mut self, names: impl IntoIterator<Item = &'a SipDomain>) -> Self {
        let material = self.material();
        let own = &material.chain()[0];
        self.expected = names.into_iter().map(|name| (name.clone(), own.names(name.as_str()))).collect();
        self
    }

    /// What is wrong with the names in the certificate that is in use: it has lost one that it had, or has none of those
    /// that others know this server by. A name that it never had is left to `reveille check`: partners may do without.
    pub(crate) fn misnamed(&self) -> Option<String> {
        let material = self.material();
        let own = &material.chain()[0];
        let lacks = |name: &SipDomain| !own.names(name.as_str());
        // One name alone may be for the configuration only; of several at least one is what others look for.
        let none = self.expected.len() > 1 && self.expected.iter().all(|(name, _)| lacks(name));
        let missing = self.expected.iter().filter(|(name, had)| (*had || none) && lacks(name));
        let missing: Vec<_> = missing.map(|(name, _)| name.as_str()).collect();
        let mut shown: Vec<_> = own.identities().take(NAMES_SHOWN).collect();
        match own.identities().count() {
            0 => shown.push("nobody"),
            count if count > NAMES_SHOWN => shown.push("…"),
            _ => {}
        }
        (!missing.is_empty()).then(|| {
            format!(
                "{}.certificate: {} names {} and not {}: whoever expects that name here refuses us",
                self.key,
                self.files.certificate.display(),
                shown.join(", "),
                missing.join(", ")
            )
        })
    }

    /// Reads the files again: new connections use what they hold now, old ones go on. A fault changes nothing.
    pub(crate) fn reread(&self) -> Reread {
        let stamps = stamps(&self.files);
        let mut held = self.held.lock();
        held.read.clone_from(&stamps);
        held.seen = stamps;
        let outcome = Material::read(self.key, &self.files).and_then(|material| {
            let taken = self.server.reload(&material.identity, self.auth, &material.roots);
            taken.map_err(|source| TlsFault { key: format!("{}.roots", self.key), source })?;
            self.client.reload(Some(&material.identity), &material.roots_out);
            Ok(material)
        });
        match outcome {
            Ok(material) => {
                held.material = material;
                held.fault = None;
                Reread::Done
            }
            Err(fault) => {
                held.fault = Some(fault.clone());
                Reread::Kept(fault)
            }
        }
    }

    /// Whether the files have changed since they were read and have stayed as they are since the last look: whoever
    /// replaces a certificate and its key writes one after the other.
    pub(crate) fn is_stale(&self) -> bool {
        let now = stamps(&self.files);
        let mut held = self.held.lock();
        let settled = held.seen == now;
        held.seen = now;
        settled && held.read != held.seen
    }

    pub(crate) fn material(&self) -> Material {
        self.held.lock().material.clone()
    }

    pub(crate) fn fault(&self) -> Option<TlsFault> {
        self.held.lock().fault.clone()
    }

    /// Those who have called and those we have called, the latest of each first.
    pub(crate) fn peers(&self) -> impl Iterator<Item = KnownPeer> {
        self.server.peers().into_iter().chain(self.client.peers())
    }

    /// Looks again at what open connections rest on, at `now` in Unix seconds.
    pub(crate) fn check_again(&self, now: u64) -> Vec<Fallen> {
        let mut fallen = self.server.check_again(now);
        fallen.extend(self.client.check_again(now));
        fallen
    }
}

impl Material {
    /// Reads what the files hold.
    pub(crate) fn read(key: &str, files: &Tls) -> Result<Self, TlsFault> {
        let fault = |name: &str| {
            let key = format!("{key}.{name}");
            move |source| TlsFault { key, source }
        };
        let identity = Identity::from_pem_files(&files.certificate, &files.key).map_err(|source| {
            let is_of_key = match &source {
                TlsSetupError::File { path, .. } => *path == files.key,
                TlsSetupError::NoKey { .. } | TlsSetupError::KeyOfAnother { .. } => true,
                TlsSetupError::Unusable { origin, .. } => *origin == files.key.display().to_string(),
                TlsSetupError::NoCertificate { .. } | TlsSetupError::NoList { .. } | TlsSetupError::NoRoots => false,
            };
            fault(if is_of_key { "key" } else { "certificate" })(source)
        })?;
        let trust = |name: &str, path: &Path| {
            let roots = TrustRoots::from_pem_files(&[path]).map_err(fault(name))?;
            let roots = roots.with_revocation_files(&files.revocation_lists).map_err(fault("revocation_lists"))?;
            Ok(roots.when_lists_run_out(files.when_lists_run_out.into()).with_names(files.names.into()))
        };
        let roots = trust("roots", &files.roots)?;
        let roots_out = match &files.roots_out {
            Some(path) => trust("roots_out", path)?,
            None => roots.clone(),
        };
        Ok(Self { identity, roots, roots_out })
    }

    /// Our own certificate and those we send with it.
    pub(crate) fn chain(&self) -> &[Arc<PeerCertificate>] {
        self.identity.chain()
    }

    /// The authorities trusted in either direction; none if they are a whole system's.
    pub(crate) fn authorities(&self) -> Vec<&Arc<PeerCertificate>> {
        let mut all: Vec<&Arc<PeerCertificate>> = Vec::new();
        for authority in self.roots.certificates().iter().chain(self.roots_out.certificates()) {
            if !all.iter().any(|known| known.sha256_fingerprint == authority.sha256_fingerprint) {
                all.push(authority);
            }
        }
        if all.len() > AUTHORITIES_MAX { Vec::new() } else { all }
    }

    /// The revocation lists.
    pub(crate) fn lists(&self) -> impl Iterator<Item = &RevocationList> {
        self.roots.lists()
    }
}

impl From<RunOut> for ListsRunOut {
    fn from(word: RunOut) -> Self {
        match word {
            RunOut::Alarm => Self::Alarm,
            RunOut::Refuse => Self::Refuse,
        }
    }
}

impl From<Names> for NameRule {
    fn from(word: Names) -> Self {
        match word {
            Names::Rfc5922 => Self::Rfc5922,
            Names::WithCommonName => Self::WithCommonName,
        }
    }
}

fn stamps(files: &Tls) -> Vec<Stamp> {
    let stamp = |path: &Path| {
        let about = std::fs::metadata(path).ok()?;
        Some((about.modified().ok()?, about.len(), about.ino()))
    };
    files.files().map(|(_, path)| stamp(path)).collect()
}

/// Names of a certificate that a sentence has room for.
const NAMES_SHOWN: usize = 8;

/// More authorities than this are a system's collection, whose ends are not ours to watch.
const AUTHORITIES_MAX: usize = 32;
