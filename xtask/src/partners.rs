//! The programs others wrote that our tests talk to: installed by package name, only where missing.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::shell::{has, run};

/// Program on the path, Debian package that brings it.
const DEBIAN: [(&str, &str); 9] = [
    // Depends on the server itself.
    ("kamailio", "kamailio-tls-modules"),
    ("knotd", "knot"),
    ("sipp", "sip-tester"),
    ("linphonec", "linphone-cli"),
    ("turnserver", "coturn"),
    ("faketime", "faketime"),
    ("openssl", "openssl"),
    ("npm", "npm"),
    ("python3", "python3-venv"),
];

/// Installs every partner that is not there yet.
pub(crate) fn install() -> Result<()> {
    let root = crate::root();
    debian(&root)?;
    // npm's sender for APNs, and the phone of web pages.
    for name in ["node-apn", "jssip"] {
        let npm = ["install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"];
        Sender::of(&root, name)?.install("package.json", &[("npm", &npm)])?;
    }
    // Google's own sender for FCM, in a virtual environment of its own.
    let folder = Sender::of(&root, "firebase-admin")?;
    let pip = ["install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"];
    folder.install("requirements.txt", &[("python3", &["-m", "venv", "venv"]), ("venv/bin/pip", &pip)])
}

fn debian(root: &Path) -> Result<()> {
    let (programs, packages): (Vec<&str>, Vec<&str>) =
        DEBIAN.iter().copied().filter(|(program, _)| !has(program)).unzip();
    if packages.is_empty() {
        return Ok(());
    }
    if !has("apt-get") {
        bail!("{} must be installed; in Debian they come with: {}", programs.join(", "), packages.join(" "));
    }
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let apt = |args: &[&str]| {
        // sudo hands no environment on.
        let line = [&["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"], args].concat();
        if is_root { run(root, line[0], &line[1..], &[]) } else { run(root, "sudo", &line, &[]) }
    };
    apt(&["update", "-qq"])?;
    apt(&[&["install", "-y", "-qq", "--no-install-recommends"], &packages[..]].concat())
}

/// A sender with a script of ours: `tests/partners/NAME`, installed in `target/partners/NAME`.
struct Sender {
    folder: PathBuf,
}

impl Sender {
    /// Brings its files up to date.
    fn of(root: &Path, name: &str) -> Result<Self> {
        let folder = root.join("target/partners").join(name);
        copy(&root.join("tests/partners").join(name), &folder)?;
        Ok(Self { folder })
    }

    /// Runs `steps`, unless they once went well with this same list of packages.
    fn install(&self, list: &str, steps: &[(&str, &[&str])]) -> Result<()> {
        let marker = self.folder.join("installed");
        let list = std::fs::read(self.folder.join(list)).with_context(|| format!("{list} cannot be read"))?;
        if std::fs::read(&marker).is_ok_and(|installed| installed == list) {
            return Ok(());
        }
        for (program, args) in steps {
            run(&self.folder, program, args, &[])?;
        }
        std::fs::write(marker, list).context("the marker of a finished installation cannot be written")
    }
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
