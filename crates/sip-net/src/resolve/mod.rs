//! From names to addresses (RFC 3263, RFC 2782), behind one trait.
//!
//! [`HickoryResolver`] asks real name servers, [`StaticResolver`] a table; [`locate`] turns the SRV records of a service
//! into servers with addresses, and [`in_order`] sorts records.

mod error;
mod hickory;
mod locate;
mod order;
mod table;

use std::net::IpAddr;
use std::sync::Arc;

use futures_util::future::BoxFuture;

pub use error::ResolveError;
pub use hickory::{Asking, HickoryResolver};
pub use locate::{Located, locate};
pub use order::in_order;
pub(crate) use order::order_by;
pub use table::StaticResolver;

/// Looks up names. Answers are cached for as long as their records allow.
pub trait Resolver: Send + Sync + 'static {
    /// The SRV records of `owner`, for instance `_sipfederationtls._tcp.contoso.com`, in no particular order. Never
    /// empty.
    fn srv<'a>(&'a self, owner: &'a str) -> BoxFuture<'a, Result<Vec<Srv>, ResolveError>>;

    /// The addresses of `host`. Never empty. An address written as text is its own answer.
    fn addresses<'a>(&'a self, host: &'a str) -> BoxFuture<'a, Result<Addresses, ResolveError>>;

    /// The same without anything that is kept of earlier answers, for a test of what was mended a moment ago. `None` if
    /// nothing is kept here.
    fn afresh(&self) -> Option<Arc<dyn Resolver>> {
        None
    }

    /// Forgets the answers that are kept: somebody has just seen that they hold no more.
    fn forget(&self) {}
}

/// One SRV record (RFC 2782).
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Srv {
    /// Lower is tried first.
    pub priority: u16,
    /// Share among records of equal priority.
    pub weight: u16,
    /// Port of the service.
    pub port: u16,
    /// Host that offers it, lower case, without the root dot.
    pub target: String,
    /// Seconds that the record may still be kept.
    pub ttl: u32,
}

/// The addresses of a host.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Addresses {
    /// Never empty.
    pub list: Vec<IpAddr>,
    /// Seconds that they may still be kept.
    pub ttl: u32,
}

impl Addresses {
    /// Addresses that do not come from the DNS: they hold until the configuration changes.
    pub fn fixed(list: Vec<IpAddr>) -> Self {
        Self { list, ttl: FIXED_SECS }
    }
}

/// Lower case, without the root dot: two spellings of a name are one name (RFC 4343).
fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

/// An address written as text, with or without the brackets of a SIP URI.
fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

/// For names that no name server answers for; as long as the usual address record.
const FIXED_SECS: u32 = 3600;
