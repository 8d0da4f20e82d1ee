//! One key that opens handles, and the file that it lies in.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reveille_core::Timestamp;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_P256_HKDF_SHA256_AES_256;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke, HpkePrivateKey, HpkePublicKey};
use serde::{Deserialize, Serialize};

use super::text::{ENC_BYTES, INFO, KeyId};

/// The suite of every handle: DHKEM(P-256, HKDF-SHA256), HKDF-SHA256, AES-256-GCM (RFC 9180 §7).
pub(super) const SUITE: &dyn Hpke = DH_KEM_P256_HKDF_SHA256_AES_256;
/// How key files end.
const ENDING: &str = "key";
/// Far longer than a key file is.
const FILE_BYTES_MAX: u64 = 4096;

/// A key pair. The secret half is wiped from memory when it is dropped, and does not print.
pub(super) struct Key {
    pub(super) id: KeyId,
    pub(super) made: Timestamp,
    pub(super) public: Vec<u8>,
    secret: HpkePrivateKey,
    pub(super) path: PathBuf,
    pub(super) use_of: Use,
}

/// How much a key is used, since this process has started.
#[derive(Debug, Default)]
pub(super) struct Use {
    /// Requests whose handle it opened.
    opened: AtomicU64,
    /// When the last of them came, in milliseconds since the Unix epoch; 0 for never.
    last_ms: AtomicU64,
}

impl Use {
    pub(super) fn note(&self, now: Timestamp) {
        self.opened.fetch_add(1, Ordering::Relaxed);
        self.last_ms.fetch_max(now.millis(), Ordering::Relaxed);
    }

    pub(super) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    pub(super) fn last(&self) -> Option<Timestamp> {
        match self.last_ms.load(Ordering::Relaxed) {
            0 => None,
            millis => Some(Timestamp::from_millis(millis)),
        }
    }

    /// What was counted before the file was read again.
    pub(super) fn take_over(&self, before: &Self) {
        self.opened.store(before.opened(), Ordering::Relaxed);
        self.last_ms.store(before.last_ms.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Why a key cannot be read, made or removed. The administrator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum KeyFault {
    /// The clearing house has no folder for keys.
    #[error("this clearing house has no folder for handle keys: name one as keys under [clearinghouse.handles]")]
    NoFolder,
    /// A file or folder.
    #[error("{path} cannot be used: {source}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The newest key is needed.
    #[error("{id} is the key that devices seal with at the moment: make a new one first (New-CsPushHandleKey)")]
    InUse {
        /// Which.
        id: KeyId,
    },
    /// Not a key file.
    #[error("{path} is no handle key: {why}. Restore it from the backup, or move it out of the folder")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Others may read the file.
    #[error("{path} can be read by others than its owner (mode {mode:03o}): chmod 600 {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Its rights.
        mode: u32,
    },
    /// There is no such key.
    #[error("there is no handle key {id}")]
    Unknown {
        /// Which.
        id: KeyId,
    },
    /// More keys than are kept.
    #[error("the folder holds {count} handle keys, and at most {max} are taken: remove those that are retired")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// The random numbers of the system.
    #[error("the system makes no key: {0}")]
    Unmade(String),
}

/// The file's shape.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// For whoever opens the file.
    #[serde(default)]
    note: String,
    made_ms: u64,
    public: String,
    secret: String,
}

const NOTE: &str = "Reveille: opens sealed handles of devices. Whoever has this file can read their tokens.";

impl Key {
    /// Makes a key and writes it into `folder`, with mode 0600. It appears there whole or not at all.
    pub(super) fn make(folder: &Path, now: Timestamp) -> Result<Self, KeyFault> {
        let (public, secret) = SUITE.generate_key_pair().map_err(|error| KeyFault::Unmade(error.to_string()))?;
        let id = KeyId::of(&public.0);
        let path = folder.join(format!("{id}.{ENDING}"));
        let written = Written {
            note: NOTE.into(),
            made_ms: now.millis(),
            public: URL_SAFE_NO_PAD.encode(&public.0),
            secret: URL_SAFE_NO_PAD.encode(secret.secret_bytes()),
        };
        let text = serde_json::to_vec_pretty(&written).expect("text and a number always serialise");
        write(folder, &path, &text).map_err(|source| KeyFault::Io { path: path.clone(), source })?;
        Ok(Self { id, made: now, public: public.0, secret, path, use_of: Use::default() })
    }

    /// Reads a key file.
    pub(super) fn read(path: &Path) -> Result<Self, KeyFault> {
        let io = |source| KeyFault::Io { path: path.to_owned(), source };
        let malformed = |why| KeyFault::Malformed { path: path.to_owned(), why };
        let file = File::open(path).map_err(io)?;
        let mode = file.metadata().map_err(io)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(KeyFault::Open { path: path.to_owned(), mode });
        }
        let mut text = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut text).map_err(io)?;
        // The reader's own sentence may quote what is there.
        let written: Written = serde_json::from_slice(&text).map_err(|_| malformed("it does not read as one"))?;
        let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        let (Some(public), Some(secret)) = (bytes(&written.public), bytes(&written.secret)) else {
            return Err(malformed("its halves are not base64url"));
        };
        let (public, secret) = (HpkePublicKey(public), HpkePrivateKey::from(secret));
        // A file that was put together of two would publish a key whose handles nobody can open.
        let fits =
            SUITE.seal(INFO, b"", b"probe", &public).and_then(|(enc, ct)| SUITE.open(&enc, INFO, b"", &ct, &secret));
        if fits.is_err() {
            return Err(malformed("its two halves do not belong together"));
        }
        let (id, made) = (KeyId::of(&public.0), Timestamp::from_millis(written.made_ms));
        Ok(Self { id, made, public: public.0, secret, path: path.to_owned(), use_of: Use::default() })
    }

    /// Opens what was sealed to this key; `None` if it was not, or is bound to something else.
    pub(super) fn open(&self, sealed: &[u8], binding: &[u8]) -> Option<Vec<u8>> {
        let (enc, ciphertext) = sealed.split_at_checked(ENC_BYTES)?;
        SUITE.open(&EncapsulatedSecret(enc.to_vec()), INFO, binding, ciphertext, &self.secret).ok()
    }
}

/// The key files of a folder; none if there is no such folder yet.
pub(super) fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == ENDING) {
            files.push(path);
        }
    }
    Ok(files)
}

fn write(folder: &Path, path: &Path, text: &[u8]) -> io::Result<()> {
    let partial = path.with_extension("partial");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
    file.write_all(text)?;
    file.sync_all()?;
    std::fs::rename(&partial, path)?;
    File::open(folder)?.sync_all()
}
