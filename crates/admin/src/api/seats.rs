//! How many cmdlets run at once: of all administrators together, and of each. Whoever has a seat has a thread to compute on.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The seats of cmdlets under way.
pub(super) struct Seats {
    all: Arc<Semaphore>,
    own: Mutex<HashMap<String, Arc<Semaphore>>>,
}

/// One cmdlet's; given back when dropped.
#[derive(Debug)]
pub(super) struct Seat {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

/// Nobody has got up in time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Full {
    /// As many of all administrators run as may.
    #[error("{RUNNING_MAX} cmdlets are running, which is as many as may at once. Try again in a moment.")]
    All,
    /// As many of this one run as may.
    #[error("{PER_CALLER_MAX} cmdlets of yours are running, which is as many as one may have at once. Let one end.")]
    Own,
}

impl Default for Seats {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(RUNNING_MAX)), own: Mutex::default() }
    }
}

impl Seats {
    /// A seat for a cmdlet of that caller, within [`QUEUE_MAX`]. His own first, so that who has many waits among himself
    /// and not in front of others.
    pub(super) async fn take(&self, caller: &str) -> Result<Seat, Full> {
        let until = tokio::time::Instant::now() + QUEUE_MAX;
        let within = |seats: Arc<Semaphore>, full| async move {
            match tokio::time::timeout_at(until, seats.acquire_owned()).await {
                Ok(Ok(seat)) => Ok(seat),
                Ok(Err(_)) | Err(_) => Err(full),
            }
        };
        let own = within(self.of(caller), Full::Own).await?;
        let all = within(Arc::clone(&self.all), Full::All).await?;
        Ok(Seat { _own: own, _all: all })
    }

    fn of(&self, caller: &str) -> Arc<Semaphore> {
        let mut own = self.own.lock();
        if own.len() >= CALLERS_MAX {
            // Whoever has nothing running need not be remembered.
            own.retain(|_, seats| Arc::strong_count(seats) > 1);
        }
        Arc::clone(own.entry(caller.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(PER_CALLER_MAX))))
    }
}

/// Cmdlets at once. Whoever gives the API its room gives it as many threads, so that who has a seat waits for no other.
pub const RUNNING_MAX: usize = 32;
/// Of them those of one account, or of one user of this machine.
const PER_CALLER_MAX: usize = 8;
/// How long a request waits for its turn.
pub(super) const QUEUE_MAX: Duration = Duration::from_secs(10);
/// Callers remembered; no more can have a seat or wait for one than there are connections.
const CALLERS_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_has_many_running_waits_for_himself_and_others_do_not_wait_for_him() {
        let seats = Seats::default();
        let mut held = Vec::new();
        for _ in 0..PER_CALLER_MAX {
            held.push(seats.take("bob").await.unwrap());
        }
        let asked = tokio::time::Instant::now();
        assert_eq!(seats.take("bob").await.unwrap_err(), Full::Own);
        assert_eq!(asked.elapsed().as_secs(), QUEUE_MAX.as_secs());
        assert!(seats.take("ann").await.is_ok());
        held.pop();
        assert!(seats.take("bob").await.is_ok(), "the seat came back");
    }

    #[tokio::test(start_paused = true)]
    async fn all_together_have_so_many_and_who_waits_in_vain_keeps_nothing() {
        let seats = Seats::default();
        let mut held = Vec::new();
        for number in 0..RUNNING_MAX {
            held.push(seats.take(&format!("user{}", number % (RUNNING_MAX / PER_CALLER_MAX))).await.unwrap());
        }
        assert_eq!(seats.take("ann").await.unwrap_err(), Full::All);
        held.clear();
        let mut again = Vec::new();
        for _ in 0..PER_CALLER_MAX {
            again.push(seats.take("ann").await.unwrap());
        }
        assert_eq!(again.len(), PER_CALLER_MAX);
    }

    #[tokio::test]
    async fn callers_without_a_cmdlet_are_forgotten_and_those_with_one_are_not() {
        let seats = Seats::default();
        let held = seats.take("bob").await.unwrap();
        for number in 0..=CALLERS_MAX {
            drop(seats.take(&format!("user{number}")).await.unwrap());
        }
        assert!(seats.own.lock().len() <= CALLERS_MAX && seats.own.lock().contains_key("bob"));
        drop(held);
    }
}
