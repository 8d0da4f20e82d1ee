//! `cargo xtask reference`: the pages in docs/reference anew, from the catalogue of cmdlets and the shell's table.

use anyhow::Result;

use crate::shell;

/// Has them written by the test that also says when they are old. In the whole workspace, so that what it is built of
/// is what the other tests are built of.
pub(crate) fn write() -> Result<()> {
    let line = ["test", "--quiet", "--workspace", "--test", "pages"];
    shell::run(&crate::root(), "cargo", &line, &[("REVEILLE_UPDATE", "1")])?;
    shell::run(&crate::root(), "git", &["status", "--short", "docs/reference"], &[])
}
