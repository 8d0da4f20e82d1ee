//! Finding the server that is meant, and the token for it.

use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use reveille_admin::Secret;
use reveille_server::config;

/// The servers of this machine that answer.
pub(super) enum Found {
    /// None.
    None,
    /// Exactly one.
    One(PathBuf),
    /// These.
    Several(Vec<PathBuf>),
}

/// The admin socket of a configuration.
pub(super) fn socket_of(file: &Path) -> Result<PathBuf> {
    Ok(config::read(file)?.admin_socket())
}

/// Looks for a demo in the folder that we are in, else where servers are by custom, and at the demos that run.
pub(super) fn running() -> Found {
    let here = std::env::current_dir().map_or(Found::None, |folder| demo_in(&folder));
    if !matches!(here, Found::None) {
        return here;
    }
    let fixed = FIXED.iter().map(PathBuf::from);
    answering(fixed.chain(demos(&std::env::temp_dir())))
}

/// The demo that keeps its files in that folder, if it runs.
pub(super) fn demo_in(folder: &Path) -> Found {
    answering(sockets_of(folder).into_iter())
}

fn answering(sockets: impl Iterator<Item = PathBuf>) -> Found {
    let mut answering: Vec<_> = sockets.filter(|path| answers(path)).collect();
    match answering.len() {
        0 => Found::None,
        1 => Found::One(answering.remove(0)),
        _ => Found::Several(answering),
    }
}

const FIXED: [&str; 2] = ["/run/reveille/reveille.sock", "/var/lib/reveille/admin/reveille.sock"];

fn answers(path: &Path) -> bool {
    UnixStream::connect(path).is_ok()
}

/// The sockets of the organisations' homes in each demo that keeps its files in that folder.
fn demos(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("reveille-demo-"));
    names.flat_map(|entry| sockets_of(&entry.path())).collect()
}

fn sockets_of(folder: &Path) -> Vec<PathBuf> {
    std::fs::read(folder.join("demo.json")).map(|text| sockets_in(&text)).unwrap_or_default()
}

fn sockets_in(demo: &[u8]) -> Vec<PathBuf> {
    let demo: serde_json::Value = serde_json::from_slice(demo).unwrap_or_default();
    let organisations = demo["organisations"].as_object().into_iter().flatten();
    organisations.filter_map(|(_, organisation)| organisation["admin_socket"].as_str().map(PathBuf::from)).collect()
}

/// The token in a file that nobody else can read.
pub(super) fn token_in(file: &Path) -> Result<Secret> {
    closed_to_others(file, "the token")?;
    let path = file.display();
    let token = std::fs::read_to_string(file).with_context(|| format!("{path} cannot be read"))?;
    match token.trim() {
        "" => bail!("{path} is empty; New-CsAdminToken shows a token once, when it is made"),
        token => Ok(Secret::new(token)),
    }
}

/// Refuses a file that holds what shows who we are if others can read it as well.
pub(super) fn closed_to_others(file: &Path, what: &str) -> Result<()> {
    let path = file.display();
    let mode = std::fs::metadata(file).with_context(|| format!("{path} cannot be read"))?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!("{path} can be read by others than you, and so can {what} in it: chmod 600 {path}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_of_a_demo_is_that_of_its_organisation() {
        let demo = br#"{"organisations":{"contoso.com":{"admin_socket":"/d/home.sock"}},"publisher":{"admin_socket":"/d/p.sock"}}"#;
        assert_eq!(sockets_in(demo), [PathBuf::from("/d/home.sock")]);
        assert_eq!(sockets_in(b"{}"), Vec::<PathBuf>::new());
        assert_eq!(sockets_in(b"no json"), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_demo_is_found_in_its_folder_as_long_as_it_runs() {
        let folder = std::env::temp_dir().join(format!("reveille-find-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        assert!(matches!(demo_in(&folder), Found::None), "there is none");
        let socket = folder.join("home.sock");
        let demo = serde_json::json!({ "organisations": { "contoso.com": { "admin_socket": socket } } });
        std::fs::write(folder.join("demo.json"), demo.to_string()).unwrap();
        assert!(matches!(demo_in(&folder), Found::None), "it does not run");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(matches!(demo_in(&folder), Found::One(path) if path == socket));
        drop(listener);
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_token_that_others_can_read_is_not_used() {
        let file = std::env::temp_dir().join(format!("reveille-token-{}", std::process::id()));
        std::fs::write(&file, "rv_1\n").unwrap();
        let set = |mode| std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        set(0o644);
        assert!(token_in(&file).unwrap_err().to_string().contains("chmod 600"));
        set(0o600);
        assert_eq!(token_in(&file).unwrap().expose(), "rv_1");
        std::fs::remove_file(&file).unwrap();
    }
}
