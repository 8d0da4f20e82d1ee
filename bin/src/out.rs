//! Data goes to standard output, everything else to standard error.

use std::io::Write as _;

/// One line of data.
pub(crate) fn data(line: &str) {
    // Whoever reads may have gone; that is no fault of ours.
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Data as it is.
pub(crate) fn bytes(data: &[u8]) {
    let _ = std::io::stdout().write_all(data);
}

/// One line for the person who watches.
pub(crate) fn note(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
