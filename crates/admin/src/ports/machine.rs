//! What cmdlets ask of the server as a whole: what runs in it, and its certificates.

use reveille_core::Timestamp;

/// This server process.
pub trait Machine: Send + Sync {
    /// What was started, in the order of the start: roles, then listeners.
    fn parts(&self) -> Vec<Part>;

    /// Its certificates and those that it trusts; with `peers` also those that others have shown.
    fn certificates(&self, peers: bool) -> Vec<Certificate>;

    /// Files that could not be read again, a sentence for each with the key.
    fn unread(&self) -> Vec<String>;

    /// Its figures.
    fn figures(&self) -> Figures;
}

/// A role or a listener.
#[derive(Clone, Debug)]
pub struct Part {
    /// `role` or `listener`.
    pub kind: &'static str,
    /// The role's name, or the listener's key in the configuration.
    pub name: String,
    /// Where a listener listens.
    pub address: Option<String>,
    /// Whether it still runs.
    pub runs: bool,
    /// How it is beyond that, and what may be done; empty if well.
    pub remark: String,
}

/// One certificate.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The role that uses it.
    pub role: String,
    /// The table of the configuration.
    pub key: String,
    /// What it is to us: `own`, `own-issuer`, `authority`, `peer`, `peer-issuer`.
    pub which: &'static str,
    /// Whose it is.
    pub subject: String,
    /// Who says so.
    pub issuer: String,
    /// Whom it speaks for.
    pub names: Vec<String>,
    /// From when on it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// Its number.
    pub serial: String,
    /// SHA-256 of the whole.
    pub sha256: String,
    /// The listeners that show it, as key and address; empty for others' certificates.
    pub listeners: Vec<String>,
}

/// What the process has used.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    /// Processor time, in milliseconds.
    pub cpu_ms: u64,
    /// The most memory at once, in bytes.
    pub peak_rss_bytes: u64,
    /// When it was started.
    pub started: Timestamp,
}
