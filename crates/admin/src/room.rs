//! Threads apart from those that pass messages on: few, of lower priority, and for administrators only.
//!
//! What an administrator asks may be work for seconds: a pattern over ten thousand records, a password's hash, the JSON of
//! all that was found. On the threads of the roles it would hold up every message that comes meanwhile.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// A few threads with a name. When it is dropped, whatever still waits in it is given up.
pub struct Room {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Room {
    /// A room of `threads` threads, and for what blocks of as many as [`BLOCKING_MAX`] more. Fails where the system gives
    /// no threads.
    pub fn open(name: &str, threads: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(BLOCKING_MAX)
            .thread_name(name)
            .on_thread_start(|| {
                // Where the system does not allow even that, the room has equals and still no more threads than its own.
                if let Err(error) = rustix::process::nice(NICE) {
                    tracing::debug!(%error, "a thread for administrators has the priority of all");
                }
            })
            .enable_all()
            .build()?;
        Ok(Self { handle: runtime.handle().clone(), runtime: Some(runtime) })
    }

    /// Runs what belongs to administrators alone: its sockets, timers and tasks are the room's as well.
    pub fn house<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.handle.spawn(future)
    }

    /// Computes `future` here, while what it begins elsewhere (a connection of a role, a timer, a task) stays with the
    /// runtime `home`.
    pub fn lend<F>(&self, home: &Handle, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.handle.spawn(Guest { home: home.clone(), future: Box::pin(future) })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Waiting for the threads is not allowed where rooms are dropped, and nobody needs it: whoever cares for a task has
        // its handle.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Room").finish_non_exhaustive()
    }
}

/// A future that is polled in one runtime and lives in another.
struct Guest<F> {
    home: Handle,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Guest<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { home, future } = &mut *self;
        let _at_home = home.enter();
        future.as_mut().poll(context)
    }
}

/// Threads of one room that may block: for hashes of passwords, and for the machine's account database.
const BLOCKING_MAX: usize = 8;

/// How much lower the priority is: with both processors busy such a thread gets about a tenth of what a role's gets.
const NICE: i32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_lent_computes_in_the_room_and_what_it_begins_is_at_home() {
        let room = Room::open("room-test", 1).unwrap();
        let thread = || std::thread::current().name().unwrap_or_default().to_owned();
        let (home, ours) = (Handle::current(), std::thread::current().id());
        let lent = room.lend(&home, async move {
            // On the only thread of the test's runtime, which is free while it waits for this.
            let begun = tokio::spawn(async { std::thread::current().id() });
            (thread(), begun.await.unwrap())
        });
        assert_eq!(lent.await.unwrap(), ("room-test".to_owned(), ours));
        let housed = room.house(async move { tokio::spawn(async move { thread() }).await.unwrap() });
        assert_eq!(housed.await.unwrap(), "room-test");
    }

    #[tokio::test]
    async fn its_threads_give_way_to_those_of_the_roles() {
        let room = Room::open("room-nice", 1).unwrap();
        let own = || rustix::process::getpriority_process(None).unwrap();
        let (here, there) = (own(), room.house(async move { own() }).await.unwrap());
        assert_eq!(there, (here + NICE).min(19));
    }

    #[tokio::test]
    async fn who_panics_in_it_is_told_and_the_next_one_is_served() {
        let room = Room::open("room-panic", 1).unwrap();
        let fell = room.lend(&Handle::current(), async { panic!("it fell over") });
        assert!(fell.await.unwrap_err().is_panic());
        assert_eq!(room.lend(&Handle::current(), async { 7 }).await.unwrap(), 7);
    }
}
