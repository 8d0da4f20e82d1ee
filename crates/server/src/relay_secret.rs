//! The secret that an edge shares with TURN servers: a file whose change counts without a restart.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reveille_edge::RelaySecret;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// Bytes of a secret, more than which is another file.
const BYTES_MAX: u64 = 1024;

/// The secret in the file, without the line break at its end.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let invalid = |sentence: String| io::Error::new(io::ErrorKind::InvalidData, sentence);
    let length = fs::metadata(path)?.len();
    if length > BYTES_MAX {
        return Err(invalid(format!("it has {length} bytes, and a secret has {BYTES_MAX} at the most")));
    }
    let mut bytes = fs::read(path)?;
    while matches!(bytes.last(), Some(b'\n' | b'\r')) {
        bytes.pop();
    }
    if bytes.is_empty() { Err(invalid("it is empty".into())) } else { Ok(bytes) }
}

/// Follows the file until `stop`. A file that cannot be read changes nothing.
pub(crate) async fn follow(path: PathBuf, secret: RelaySecret, stop: CancellationToken) {
    let (mut known, mut said) = (read(&path).ok(), false);
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        match read(&path) {
            Ok(bytes) => {
                said = false;
                if known.as_ref() != Some(&bytes) {
                    secret.replace(&bytes);
                    known = Some(bytes);
                    info!(path = %path.display(), "the secret of the TURN servers has been read again");
                }
            }
            Err(_) if said => {}
            Err(reason) => {
                said = true;
                warn!(path = %path.display(), %reason, "the secret of the TURN servers cannot be read; the one known goes on counting");
            }
        }
    }
}
