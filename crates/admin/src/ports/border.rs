//! What cmdlets ask of an edge: its partners, and whom it turned away.

use reveille_core::Timestamp;

/// An Access Edge.
pub trait Border: Send + Sync {
    /// Each partner, and each domain to which no way is found.
    fn partners(&self) -> Vec<Partner>;
}

/// One partner: a domain together with the name that proves it.
#[derive(Clone, Debug, Default)]
pub struct Partner {
    /// The domain.
    pub domain: String,
    /// The name that its certificate must hold; empty for one to which no way is found.
    pub remote: String,
    /// How it is known: `DirectPartner`, `AutoFederation`, `AuthorizedServer`.
    pub source: &'static str,
    /// How it is, in one word.
    pub state: &'static str,
    /// Its connections to us.
    pub connections_in: usize,
    /// Our connections to it.
    pub connections_out: usize,
    /// Requests that wait for their answers.
    pub in_flight: usize,
    /// Requests of it since the start, and in the last minute.
    pub received: (u64, u32),
    /// Requests to it since the start, and in the last minute.
    pub sent: (u64, u32),
    /// Half of the answers to what we send came within this time, in milliseconds.
    pub latency_ms: Option<f64>,
    /// Its requests that this edge refused, by reason.
    pub refused: Vec<(String, u64)>,
    /// Failures to reach it in a row, and since when.
    pub failing: Option<(u32, String)>,
    /// Where it is reached.
    pub addresses: Vec<String>,
    /// When its certificate ends, if it has shown one.
    pub certificate_ends: Option<Timestamp>,
    /// What went wrong last: when, the stable word, the sentence, what may be done.
    pub last_error: Option<LastError>,
}

/// The latest thing that went wrong with a partner.
#[derive(Clone, Debug, Default)]
pub struct LastError {
    /// When.
    pub at: String,
    /// The stable word.
    pub reason: String,
    /// What an administrator reads.
    pub sentence: String,
    /// What may be done; may be empty.
    pub advice: String,
}
