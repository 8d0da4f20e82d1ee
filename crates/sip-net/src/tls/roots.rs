//! Whom we believe: trusted authorities, what they took back, and where names are looked for.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::RootCertStore;

use super::identity::{TlsSetupError, certificates, contents, unusable};
use super::lists::{self, List, ListsRunOut, RevocationList};
use crate::names::{NameRule, PeerCertificate};

/// The authorities whose word counts, what they took back, and where names are looked for.
#[derive(Clone)]
pub struct TrustRoots {
    pub(super) roots: Arc<RootCertStore>,
    pub(super) certificates: Arc<[Arc<PeerCertificate>]>,
    pub(super) lists: Vec<List>,
    pub(super) run_out: ListsRunOut,
    pub(super) names: NameRule,
}

impl TrustRoots {
    /// Trusts nobody.
    pub fn none() -> Self {
        Self::of(RootCertStore::empty(), Vec::new())
    }

    /// Reads every certificate of every file as a trusted root.
    pub fn from_pem_files<P: AsRef<Path>>(files: &[P]) -> Result<Self, TlsSetupError> {
        let (mut roots, mut read) = (RootCertStore::empty(), Vec::new());
        for file in files {
            let file = file.as_ref();
            add(&mut roots, &mut read, &contents(file)?, &file.display().to_string())?;
        }
        Ok(Self::of(roots, read))
    }

    /// Reads every certificate of a PEM text as a trusted root.
    pub fn from_pem(pem: &[u8]) -> Result<Self, TlsSetupError> {
        let (mut roots, mut read) = (RootCertStore::empty(), Vec::new());
        add(&mut roots, &mut read, pem, "the trusted roots")?;
        Ok(Self::of(roots, read))
    }

    /// Adds revocation lists from files, PEM or DER. A certificate on none of them counts as not revoked, so that a list
    /// of one authority does not shut out the partners of another.
    pub fn with_revocation_files<P: AsRef<Path>>(mut self, files: &[P]) -> Result<Self, TlsSetupError> {
        for file in files {
            self.lists.extend(lists::read_file(file.as_ref())?);
        }
        lists::sort(&mut self.lists);
        Ok(self)
    }

    /// Adds revocation lists from bytes, PEM or DER.
    pub fn with_revocations(mut self, bytes: &[u8]) -> Result<Self, TlsSetupError> {
        self.lists.extend(lists::read(bytes, "the revocation lists")?);
        lists::sort(&mut self.lists);
        Ok(self)
    }

    /// What becomes of certificates whose authority's list has run out.
    #[must_use]
    pub fn when_lists_run_out(mut self, then: ListsRunOut) -> Self {
        self.run_out = then;
        self
    }

    /// Looks for names elsewhere than in subjectAltName.
    #[must_use]
    pub fn with_names(mut self, rule: NameRule) -> Self {
        self.names = rule;
        self
    }

    /// How many authorities are trusted.
    pub fn len(&self) -> usize {
        self.roots.len()
    }

    /// Whether nobody is trusted.
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty()
    }

    /// The authorities' own certificates.
    pub fn certificates(&self) -> &[Arc<PeerCertificate>] {
        &self.certificates
    }

    /// The revocation lists, newest first.
    pub fn lists(&self) -> impl Iterator<Item = &RevocationList> {
        self.lists.iter().map(|list| &list.facts)
    }

    fn of(roots: RootCertStore, read: Vec<Arc<PeerCertificate>>) -> Self {
        Self {
            roots: Arc::new(roots),
            certificates: read.into(),
            lists: Vec::new(),
            run_out: ListsRunOut::default(),
            names: NameRule::default(),
        }
    }
}

impl fmt::Debug for TrustRoots {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustRoots").field("roots", &self.roots.len()).field("lists", &self.lists.len()).finish()
    }
}

fn add(
    roots: &mut RootCertStore,
    read: &mut Vec<Arc<PeerCertificate>>,
    pem: &[u8],
    origin: &str,
) -> Result<(), TlsSetupError> {
    for root in certificates(pem, origin)? {
        read.push(Arc::new(PeerCertificate::read(&root).map_err(|error| unusable(origin, error))?));
        roots.add(root).map_err(|error| unusable(origin, error))?;
    }
    Ok(())
}
