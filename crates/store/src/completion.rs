//! How a store says that something is done: a callback from the writer thread, or a future made of one.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::sync::oneshot;

use crate::error::StoreError;

/// Called exactly once: after the change is synced to disk, or with why it is not.
///
/// It runs on the store's writer thread between two commits, so it must not block: hand the result on and return. When
/// the queue is full or the store is closed it runs on the caller's own thread, before the call returns.
pub type Completion<T> = Box<dyn FnOnce(Result<T, StoreError>) + Send>;

/// Hands a [`Completion`] to `start` and answers the future of what it will be told.
///
/// The change is under way as soon as this returns; dropping the future does not take it back.
pub fn wait<T: Send + 'static>(start: impl FnOnce(Completion<T>)) -> Pending<T> {
    let (sender, receiver) = oneshot::channel();
    // Nobody listening any more is no fault: the change is made all the same.
    start(Box::new(move |outcome| drop(sender.send(outcome))));
    Pending { receiver }
}

/// The outcome of a change that is under way.
#[derive(Debug)]
#[must_use = "a change is only known to be on disk once this has been awaited"]
pub struct Pending<T> {
    receiver: oneshot::Receiver<Result<T, StoreError>>,
}

impl<T> Pending<T> {
    /// Blocks until the outcome is known; for threads outside the runtime only.
    pub fn block(self) -> Result<T, StoreError> {
        self.receiver.blocking_recv().unwrap_or_else(|_| Err(StoreError::Closed { file: "the store".into() }))
    }
}

impl<T> Future for Pending<T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.receiver).poll(context).map(|outcome| {
            // The sender is called exactly once; only a store that died with its thread leaves none.
            outcome.unwrap_or_else(|_| Err(StoreError::Closed { file: "the store".into() }))
        })
    }
}
