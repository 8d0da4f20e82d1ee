//! Threads apart from those that pass messages on: few, of lower priority, and for administrators only.
//!
//! What an administrator asks may be work for seconds: a pattern over ten thousand records, a password's hash, the JSON of
//! all that was found. On the threads of the roles it would hold up every message that comes meanwhile, and on one thread
//! for all administrators each would hold up the others: whatever is lent computes on a thread of its own, and the system
//! shares the processors among them.

use std::fmt;
use std::future::Future;
use std::io;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// A few threads with a name. When it is dropped, whatever still waits in it is given up.
pub struct Room {
    runtime: Option<Runtime>,
    handle: Handle,
}

impl Room {
    /// A room of `threads` threads for what it houses, and of as many as `more` for what is lent to it and for what blocks;
    /// those come when they are needed and go when they are not. Fails where the system gives no threads.
    pub fn open(name: &str, threads: usize, more: usize) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .max_blocking_threads(more)
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

    /// Computes `future` here, on a thread that nobody else has meanwhile, while what it begins elsewhere (a connection of a
    /// role, a timer, a task) stays with the runtime `home`. What is one too many waits for a thread.
    pub fn lend<F>(&self, home: &Handle, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let home = home.clone();
        self.handle.spawn_blocking(move || home.block_on(future))
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

/// How much lower the priority is: such a thread gets a thirtieth of what a role's gets, where both want a processor. The
/// most that one administrator can have busy at once take an eighth of it together.
const NICE: i32 = 15;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_lent_computes_in_the_room_and_what_it_begins_is_at_home() {
        let room = Room::open("room-test", 1, 1).unwrap();
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
        let room = Room::open("room-nice", 1, 1).unwrap();
        let own = || rustix::process::getpriority_process(None).unwrap();
        let (here, housed) = (own(), room.house(async move { own() }).await.unwrap());
        let lent = room.lend(&Handle::current(), async move { own() }).await.unwrap();
        assert_eq!([housed, lent], [(here + NICE).min(19); 2]);
    }

    #[tokio::test]
    async fn who_panics_in_it_is_told_and_the_next_one_is_served() {
        let room = Room::open("room-panic", 1, 1).unwrap();
        let fell = room.lend(&Handle::current(), async { panic!("it fell over") });
        assert!(fell.await.unwrap_err().is_panic());
        assert_eq!(room.lend(&Handle::current(), async { 7 }).await.unwrap(), 7);
    }
}
