//! Revocation lists (RFC 5280 §5): which certificates their authorities took back.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::CertificateRevocationListDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use super::identity::{TlsSetupError, contents, unusable};
use crate::names::PeerCertificate;

/// What becomes of certificates whose authority's list has run out: its `nextUpdate` has passed.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum ListsRunOut {
    /// The list goes on counting; an alarm says that it is old.
    #[default]
    Alarm,
    /// They are refused.
    Refuse,
}

/// One list, as an administrator knows it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RevocationList {
    /// The authority that it speaks for.
    pub issuer: String,
    /// When it was made, Unix time.
    pub this_update: i64,
    /// When the next one is due, Unix time.
    pub next_update: Option<i64>,
    /// How many certificates are on it.
    pub entries: usize,
    /// The file, or what was being read.
    pub origin: String,
}

/// A list, and what the chain check makes of it.
#[derive(Clone)]
pub(super) struct List {
    pub(super) facts: RevocationList,
    checked: Arc<webpki::CertRevocationList<'static>>,
}

impl RevocationList {
    /// Whether the next list was due before `now`, in Unix seconds.
    pub fn has_run_out(&self, now: i64) -> bool {
        self.next_update.is_some_and(|next_update| next_update < now)
    }
}

/// Reads the lists of a file, PEM or DER: at least one.
pub(super) fn read_file(path: &Path) -> Result<Vec<List>, TlsSetupError> {
    read(&contents(path)?, &path.display().to_string())
}

/// Reads lists, PEM or DER: at least one.
pub(super) fn read(bytes: &[u8], origin: &str) -> Result<Vec<List>, TlsSetupError> {
    // DER begins with the tag of a SEQUENCE (X.690 §8.9), and no PEM text does.
    if bytes.first() == Some(&0x30) {
        return Ok(vec![List::read(bytes, origin)?]);
    }
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(bytes)
        .map(|der| List::read(&der.map_err(|error| unusable(origin, error))?, origin))
        .collect();
    let lists = lists?;
    if lists.is_empty() { Err(TlsSetupError::NoList { origin: origin.into() }) } else { Ok(lists) }
}

/// The newest first: the chain check asks the first list that speaks for a certificate's issuer, and an old list beside
/// its successor must not win.
pub(super) fn sort(lists: &mut [List]) {
    lists.sort_by_key(|list| std::cmp::Reverse(list.facts.this_update));
}

/// The orders in which to ask the lists, the newest first to begin with; one at least.
///
/// The chain check asks the first list of an issuer's name and no other. An authority that has changed its key under one
/// name (RFC 5280 §4.2.1.1) has two lists, each signed with one of the keys, and only trying tells which belongs to
/// a certificate. So each list of a name is first in some order.
pub(super) fn orders(lists: &[List]) -> impl Iterator<Item = Vec<&webpki::CertRevocationList<'static>>> {
    let mut names: Vec<Vec<&List>> = Vec::new();
    for list in lists {
        match names.iter_mut().find(|of_name| of_name[0].facts.issuer == list.facts.issuer) {
            Some(of_name) => of_name.push(list),
            None => names.push(vec![list]),
        }
    }
    let all = names.iter().fold(1_usize, |all, of_name| all.saturating_mul(of_name.len()));
    (0..all.min(ORDERS_MAX)).map(move |mut number| {
        let mut order = Vec::new();
        for of_name in &names {
            let first = number % of_name.len();
            number /= of_name.len();
            order.extend(of_name[first..].iter().chain(&of_name[..first]).map(|list| &*list.checked));
        }
        order
    })
}

/// Most tries for one chain.
const ORDERS_MAX: usize = 16;

impl List {
    /// Whether this certificate is on it.
    pub(super) fn holds(&self, certificate: &PeerCertificate) -> bool {
        self.facts.issuer == certificate.issuer
            && matches!(self.checked.find_serial(&unhex(&certificate.serial_hex)), Ok(Some(_)))
    }

    fn read(der: &[u8], origin: &str) -> Result<Self, TlsSetupError> {
        let checked =
            webpki::OwnedCertRevocationList::from_der(der).map_err(|error| unusable(origin, sentence(&error)))?;
        let (_, parsed) = CertificateRevocationList::from_der(der)
            .map_err(|_| unusable(origin, "it is not a readable revocation list"))?;
        let facts = RevocationList {
            issuer: parsed.issuer().to_string(),
            this_update: parsed.last_update().timestamp(),
            next_update: parsed.next_update().map(|time| time.timestamp()),
            entries: parsed.iter_revoked_certificates().count(),
            origin: origin.into(),
        };
        Ok(Self { facts, checked: Arc::new(checked.into()) })
    }
}

fn sentence(error: &webpki::Error) -> String {
    match error {
        webpki::Error::UnsupportedDeltaCrl => {
            "it is a delta list, which says only what has changed: give the complete one".into()
        }
        webpki::Error::UnsupportedIndirectCrl => {
            "it speaks for other authorities than its own issuer, which is not supported".into()
        }
        webpki::Error::UnsupportedCrlVersion => "only version 2 lists can be used (RFC 5280 §5.1.2.1)".into(),
        webpki::Error::BadDer | webpki::Error::TrailingData(_) => "it is not a readable revocation list".into(),
        other => format!("it is not a revocation list that can be used ({other})"),
    }
}

/// The bytes of a serial number that [`PeerCertificate`] keeps as text.
fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|digit| digit.to_digit(16)).map(|digit| digit as u8).collect();
    digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte * 16 + digit)).collect()
}
