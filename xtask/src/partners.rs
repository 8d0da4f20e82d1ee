//! The programs others wrote that our tests talk to: installed by package name, only where missing.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::shell::{has, run};

/// Program on the path, Debian package that brings it.
const DEBIAN: [(&str, &str); 2] = [("sipp", "sip-tester"), ("linphonec", "linphone-cli")];

/// Installs every partner that is not there yet.
pub(crate) fn install() -> Result<()> {
    let root = crate::root();
    let missing: Vec<&str> = DEBIAN.iter().filter(|(program, _)| !has(program)).map(|(_, package)| *package).collect();
    if !missing.is_empty() {
        let quiet = [("DEBIAN_FRONTEND", "noninteractive")];
        run(&root, "apt-get", &["update", "-qq"], &quiet)?;
        let args: Vec<&str> = ["install", "-y", "-qq", "--no-install-recommends"].into_iter().chain(missing).collect();
        run(&root, "apt-get", &args, &quiet)?;
    }
    node_apn(&root)?;
    firebase_admin(&root)
}

/// npm's sender for APNs, into `target/partners/node-apn`.
fn node_apn(root: &Path) -> Result<()> {
    let folder = root.join("target/partners/node-apn");
    if folder.join("node_modules/@parse/node-apn/package.json").is_file() {
        return Ok(());
    }
    copy(&root.join("tests/partners/node-apn"), &folder)?;
    run(&folder, "npm", &["install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"], &[])
}

/// Google's own sender for FCM, into a virtual environment at `target/partners/firebase-admin`.
fn firebase_admin(root: &Path) -> Result<()> {
    let folder = root.join("target/partners/firebase-admin");
    if folder.join("installed").is_file() {
        return Ok(());
    }
    copy(&root.join("tests/partners/firebase-admin"), &folder)?;
    run(&folder, "python3", &["-m", "venv", "venv"], &[])?;
    run(&folder, "venv/bin/pip", &["install", "--quiet", "-r", "requirements.txt"], &[])?;
    std::fs::write(folder.join("installed"), "").context("the marker of a finished installation cannot be written")
}

/// Copies the files of one folder, not its subfolders.
fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to).with_context(|| format!("{} cannot be made", to.display()))?;
    for entry in std::fs::read_dir(from).with_context(|| format!("{} cannot be read", from.display()))? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
