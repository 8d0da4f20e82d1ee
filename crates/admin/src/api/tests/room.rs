//! What a cmdlet computes holds up nobody who passes messages on.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use reveille_core::Timestamp;
use serde_json::json;
use tokio::sync::Notify;

use super::office::Office;
use crate::ports::Ports;
use crate::ports::machine::{Certificate, Figures, Machine, Part};

/// A machine that computes until somebody else has had his turn.
struct Slow {
    begun: Arc<Notify>,
    released: Mutex<Receiver<()>>,
    in_time: SyncSender<bool>,
}

impl Machine for Slow {
    fn parts(&self) -> Vec<Part> {
        self.begun.notify_one();
        // As a long computation does, it gives the thread to nobody; and ends some time, so that the test does.
        let released = self.released.lock().recv_timeout(Duration::from_secs(10)).is_ok();
        self.in_time.send(released).unwrap();
        Vec::new()
    }

    fn certificates(&self, _peers: bool) -> Vec<Certificate> {
        Vec::new()
    }

    fn unread(&self) -> Vec<String> {
        Vec::new()
    }

    fn figures(&self) -> Figures {
        Figures { cpu_ms: 0, peak_rss_bytes: 0, started: Timestamp::from_millis(0) }
    }
}

// The runtime of the test has one thread, as if a server had one processor: here it is the thread of the roles.
#[tokio::test]
async fn while_a_cmdlet_computes_the_roles_go_on() {
    let (release, released) = sync_channel(1);
    let (in_time, was_in_time) = sync_channel(1);
    let begun = Arc::new(Notify::new());
    let slow = Slow { begun: Arc::clone(&begun), released: Mutex::new(released), in_time };
    let mut office = Office::with(Ports { machine: Some(Arc::new(slow)), ..Ports::default() });
    office.account("vera", &["CsViewOnlyAdministrator"], false).await;
    let asking = office.run("vera", "Get-CsServiceStatus", json!({}));
    let passing_on = async {
        begun.notified().await;
        release.send(()).unwrap();
    };
    let (answer, ()) = tokio::join!(asking, passing_on);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(was_in_time.recv().unwrap(), "nobody else had a turn while the cmdlet computed");
}
