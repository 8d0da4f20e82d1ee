//! The programs others wrote that our tests talk to: installed by package name, only where missing.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::shell::{has, run};

/// Program on the path, Debian package that brings it.
const DEBIAN: [(&str, &str); 10] = [
    // Depends on the server itself.
    ("kamailio", "kamailio-tls-modules"),
    ("knotd", "knot"),
    ("sipp", "sip-tester"),
    ("linphonec", "linphone-cli"),
    ("turnserver", "coturn"),
    ("faketime", "faketime"),
    ("nghttpd", "nghttp2-server"),
    ("openssl", "openssl"),
    ("npm", "npm"),
    ("python3", "python3-venv"),
];

/// Installs every partner that is not there yet.
pub(crate) fn install() -> Result<()> {
    let root = crate::root();
    debian(&root, &DEBIAN)?;
    // npm's sender for APNs, and the phone of web pages.
    for name in ["node-apn", "jssip"] {
        Sender::of(&root, name)?.by_npm()?;
    }
    // What tries the REST service with everything that its own description allows and forbids.
    Sender::of(&root, "schemathesis")?.by_pip()?;
    // Google's own sender for FCM.
    Sender::of(&root, "firebase-admin")?.by_pip()
}

/// Installs what `cargo xtask peers` measures us against, and answers where its folders are.
pub(crate) fn install_peers() -> Result<PathBuf> {
    let root = crate::root();
    debian(&root, &[("h2load", "nghttp2-client"), ("npm", "npm"), ("python3", "python3-venv")])?;
    let folder = root.join("target/peers");
    let peer = |name: &str| Sender::copied(&root.join("bench/peers").join(name), folder.join(name));
    peer("node-apn")?.by_npm()?;
    peer("aioapns")?.by_pip()?;
    Ok(folder)
}

fn debian(root: &Path, wanted: &[(&str, &str)]) -> Result<()> {
    let (programs, packages): (Vec<&str>, Vec<&str>) =
        wanted.iter().copied().filter(|(program, _)| !has(program)).unzip();
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
        Self::copied(&root.join("tests/partners").join(name), root.join("target/partners").join(name))
    }

    fn copied(from: &Path, folder: PathBuf) -> Result<Self> {
        copy(from, &folder)?;
        Ok(Self { folder })
    }

    fn by_npm(&self) -> Result<()> {
        let npm = ["install", "--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error"];
        self.install("package.json", &[("npm", &npm)])
    }

    /// In a virtual environment of its own.
    fn by_pip(&self) -> Result<()> {
        let pip = ["install", "--quiet", "--disable-pip-version-check", "-r", "requirements.txt"];
        self.install("requirements.txt", &[("python3", &["-m", "venv", "venv"]), ("venv/bin/pip", &pip)])
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
