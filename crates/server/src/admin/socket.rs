//! The socket for this machine's own users: in a folder that others cannot enter.

use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::{UnixListener, UnixStream};

/// Why there is no socket. Each names the key.
#[derive(Debug, thiserror::Error)]
pub enum SocketFault {
    /// The group is not known.
    #[error("admin.socket_group: this machine has no group \"{group}\"")]
    Group {
        /// Its name.
        group: String,
    },
    /// Another server has it.
    #[error("admin.socket: {} is in use by another server; give each a socket of its own", .path.display())]
    InUse {
        /// The path.
        path: PathBuf,
    },
    /// The system refuses.
    #[error("admin.socket: {} cannot be had: {source}", .path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// A socket's path is short.
    #[error("admin.socket: {} has more than the {PATH_MAX} bytes that the path of a socket may have", .path.display())]
    Long {
        /// The path.
        path: PathBuf,
    },
    /// Others could come to it.
    #[error(
        "admin.socket: others can enter the folder {} (mode {mode:04o}, user {owner}): chmod {wanted:04o}, or use \
         another folder", .folder.display()
    )]
    Open {
        /// The folder.
        folder: PathBuf,
        /// Its mode.
        mode: u32,
        /// Whose it is.
        owner: u32,
        /// What its mode must be.
        wanted: u32,
    },
}

/// A socket that listens; it is removed when this goes.
pub(super) struct Socket {
    listener: UnixListener,
    path: PathBuf,
    _lock: File,
}

impl Socket {
    /// Makes the folder if there is none, and listens. With a group its members may come, else only this user and root.
    pub(super) fn open(path: &Path, group: Option<&str>) -> Result<Self, SocketFault> {
        if path.as_os_str().len() > PATH_MAX {
            return Err(SocketFault::Long { path: path.to_owned() });
        }
        let failed = |source| SocketFault::Io { path: path.to_owned(), source };
        let group = group.map(group_number).transpose()?;
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
        prepare(folder, group, &failed)?;
        let lock = lock(path)?;
        // Whoever has the lock has the socket; what lies there was left by one that was killed.
        match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        // Nobody can be there before this, since the folder is closed to others.
        let mode = if group.is_some() { 0o660 } else { 0o600 };
        std::fs::set_permissions(path, Permissions::from_mode(mode)).map_err(failed)?;
        if let Some(group) = group {
            std::os::unix::fs::chown(path, None, Some(group)).map_err(failed)?;
        }
        Ok(Self { listener, path: path.to_owned(), _lock: lock })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        self.listener.accept().await.map(|(stream, _)| stream)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The lock is still held here, so it is ours.
        drop(std::fs::remove_file(&self.path));
    }
}

/// Makes the folder closed to others, or makes sure that it is. A folder that exists is not changed: it may have other
/// uses, such as /tmp.
fn prepare(folder: &Path, group: Option<u32>, failed: &impl Fn(io::Error) -> SocketFault) -> Result<(), SocketFault> {
    let wanted = if group.is_some() { 0o750 } else { 0o700 };
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => {
            if let Some(group) = group {
                std::os::unix::fs::chown(folder, None, Some(group)).map_err(failed)?;
            }
            std::fs::set_permissions(folder, Permissions::from_mode(wanted)).map_err(failed)?;
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(failed(error)),
    }
    let found = std::fs::metadata(folder).map_err(failed)?;
    let own = rustix::process::geteuid().as_raw();
    let (mode, owner) = (found.mode() & 0o7777, found.uid());
    let theirs = owner != own && owner != 0;
    let enters = match group {
        Some(group) if found.gid() == group => mode & 0o027 != 0,
        _ => mode & 0o077 != 0,
    };
    if theirs || enters {
        return Err(SocketFault::Open { folder: folder.to_owned(), mode, owner, wanted });
    }
    Ok(())
}

fn lock(path: &Path) -> Result<File, SocketFault> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&beside);
    let failed = |source| SocketFault::Io { path: path.to_owned(), source };
    let file = opened.map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SocketFault::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// The number of a group of this machine.
fn group_number(group: &str) -> Result<u32, SocketFault> {
    let file = std::fs::read_to_string("/etc/group").unwrap_or_default();
    let number = file.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == group).then(|| fields.nth(1)?.parse().ok())?
    });
    number.ok_or_else(|| SocketFault::Group { group: group.to_owned() })
}

/// unix(7): sun_path has 108 bytes with its end.
const PATH_MAX: usize = 107;

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("rvl-socket-{}-{name}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        path
    }

    #[tokio::test]
    async fn the_folder_is_closed_the_socket_is_ours_and_goes_with_us() {
        let folder = folder("own");
        let path = folder.join("reveille.sock");
        let socket = Socket::open(&path, None).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&path)), (0o700, 0o600));
        assert!(matches!(Socket::open(&path, None), Err(SocketFault::InUse { .. })), "one server at a time");
        drop(socket);
        assert!(!path.exists());
        std::fs::write(&path, "left by one that was killed").unwrap();
        let socket = Socket::open(&path, None).unwrap();
        let (accepted, connected) = tokio::join!(socket.accept(), UnixStream::connect(&path));
        assert_eq!(accepted.unwrap().peer_cred().unwrap().uid(), rustix::process::geteuid().as_raw());
        drop(connected);
        drop(socket);
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_that_others_can_enter_is_refused_with_what_mends_it() {
        let folder = folder("open");
        std::fs::create_dir(&folder).unwrap();
        for (mode, refused) in [(0o755, true), (0o711, true), (0o1777, true), (0o750, true), (0o700, false)] {
            std::fs::set_permissions(&folder, Permissions::from_mode(mode)).unwrap();
            let prepared = prepare(&folder, None, &|source| SocketFault::Io { path: folder.clone(), source });
            assert_eq!(prepared.is_err(), refused, "{mode:o}");
            if let Err(fault) = prepared {
                assert!(fault.to_string().contains("chmod 0700"), "{fault}");
            }
        }
        std::fs::remove_dir_all(folder).unwrap();
        let long = Path::new("/tmp").join("x".repeat(PATH_MAX));
        assert!(matches!(Socket::open(&long, None), Err(SocketFault::Long { .. })));
        assert!(matches!(Socket::open(Path::new("/tmp/x"), Some("no-such-group")), Err(SocketFault::Group { .. })));
    }
}
