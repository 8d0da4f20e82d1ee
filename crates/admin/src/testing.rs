//! A desk for tests: real stores in a folder of their own, and a clock that is turned by hand.

use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use reveille_core::{Clock, Timestamp};
use reveille_store::{SqliteAdmin, SqliteSettings};

use crate::desk::Desk;
use crate::ports::Ports;

/// A desk whose folder goes with it.
pub(crate) struct TestDesk {
    desk: Arc<Desk>,
    clock: Arc<TestClock>,
    folder: PathBuf,
}

/// A desk with empty stores, the site Redmond, no roles, and the time 1.
pub(crate) fn desk() -> TestDesk {
    desk_with(Ports::default())
}

/// The same with roles that can be asked.
pub(crate) fn desk_with(ports: Ports) -> TestDesk {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("reveille-admin-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let folder = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&folder).expect("the folder for temporary files is there");
    let settings = SqliteSettings::open(&folder.join("settings.db")).expect("a new file opens");
    let admin = Arc::new(SqliteAdmin::open(&folder.join("admin.db")).expect("a new file opens"));
    let clock = Arc::new(TestClock(AtomicU64::new(1)));
    let desk = Desk {
        settings: Arc::new(settings),
        accounts: admin.clone(),
        guesses: admin.clone(),
        audit: admin,
        clock: clock.clone(),
        sites: vec!["Redmond".into()],
        ports,
    };
    TestDesk { desk: Arc::new(desk), clock, folder }
}

impl TestDesk {
    /// The desk for whoever shares it.
    pub(crate) fn shared(&self) -> Arc<Desk> {
        Arc::clone(&self.desk)
    }

    /// Turns the clock.
    pub(crate) fn turn_to(&self, at: Timestamp) {
        self.clock.0.store(at.millis(), Ordering::Relaxed);
    }
}

impl Deref for TestDesk {
    type Target = Desk;

    fn deref(&self) -> &Desk {
        &self.desk
    }
}

impl Drop for TestDesk {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

struct TestClock(AtomicU64);

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::Relaxed))
    }
}
