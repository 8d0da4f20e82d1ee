//! The places that one request holds while it is under way.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reveille_core::SipDomain;
use reveille_federation::{Refusal, answer};
use reveille_sip_net::ConnectError;

use super::partner::Partner;
use super::share::Share;

/// Which way requests go.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Way {
    /// From the partner to us.
    In,
    /// From us to the partner.
    Out,
}

/// The places that one request holds while it is under way. They are given back when this is dropped.
pub(crate) struct Passage {
    pub(super) partner: Arc<Partner>,
    pub(super) share: Arc<Share>,
    pub(super) way: Way,
    pub(super) bytes: usize,
    pub(super) begun: Instant,
    pub(super) is_told: bool,
    /// For a request from one partner to another.
    pub(super) beside: Option<Box<Self>>,
}

impl Passage {
    /// A request that also goes to another partner.
    pub(crate) fn with(mut self, other: Self) -> Self {
        self.beside = Some(Box::new(other));
        self
    }

    /// Whose request it is, or who is asked.
    pub(crate) fn of_whom(&self) -> &SipDomain {
        &self.partner.domain
    }

    /// How long it has held them.
    pub(crate) fn age(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The final answer has come.
    pub(crate) fn answered(mut self, status: u16, diagnosis: Option<&str>) {
        self.is_told = true;
        self.partner.answered(self.way, status, diagnosis, self.begun.elapsed());
        if let Some(other) = self.beside.take() {
            other.answered(status, diagnosis);
        }
    }

    /// It has gone on, and is an ACK: no answer will come, and nobody has shown anything by sending it.
    pub(crate) fn passed(mut self) {
        self.is_told = true;
        if let Some(other) = self.beside.take() {
            other.passed();
        }
    }

    /// The next hop could not be reached.
    pub(crate) fn failed(mut self, error: &ConnectError) {
        self.is_told = true;
        self.partner.unreachable(self.way, error);
        if let Some(other) = self.beside.take() {
            other.failed(error);
        }
    }

    /// This edge refuses it after all.
    pub(crate) fn refused(mut self, refusal: &Refusal) {
        self.is_told = true;
        self.partner.refused(refusal);
        if self.way == Way::In {
            let status = answer::status(refusal);
            self.share.purse.lock().pace.answered(status < 300, Instant::now());
        }
        if let Some(other) = self.beside.take() {
            other.refused(refusal);
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.share.load.give(self.bytes);
        self.partner.all.give(self.bytes);
        if !self.is_told {
            let mut books = self.partner.books.lock();
            books.traffic(self.way).unanswered += 1;
            books.meters.unanswered.increment(1);
        }
    }
}
