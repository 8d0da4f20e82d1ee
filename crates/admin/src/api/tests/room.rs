//! What a cmdlet computes holds up nobody who passes messages on.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use reveille_core::Timestamp;
use serde_json::json;
use tokio::sync::Notify;

use super::office::{Office, remote};
use crate::api::answer::Answer;
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

/// A machine that computes until one who does not has had his turn.
struct Busy {
    begun: AtomicUsize,
    released: Mutex<Receiver<()>>,
}

impl Busy {
    /// Ends when so many compute; and some time, so that the test does.
    async fn has_begun(&self, wanted: usize) {
        let begun = async {
            while self.begun.load(Ordering::SeqCst) < wanted {
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(20), begun).await;
        assert!(waited.is_ok(), "of {wanted} there are {} that compute", self.begun.load(Ordering::SeqCst));
    }
}

impl Machine for Busy {
    fn parts(&self) -> Vec<Part> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        // All of them wait here, each for the one before, and none gives its thread to anybody.
        let released = self.released.lock().recv_timeout(Duration::from_secs(30));
        assert!(released.is_ok(), "nobody else had a turn while cmdlets computed");
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

#[tokio::test]
async fn two_who_compute_as_much_as_they_may_hold_up_no_third() {
    let (release, released) = sync_channel(64);
    let busy = Arc::new(Busy { begun: 0.into(), released: Mutex::new(released) });
    let mut office = Office::with(Ports { machine: Some(Arc::clone(&busy) as Arc<dyn Machine>), ..Ports::default() });
    for name in ["ann", "ben", "vera"] {
        office.account(name, &["CsViewOnlyAdministrator"], false).await;
    }
    let slow = futures_util::future::join_all(
        (0..16).map(|number| office.run(if number % 2 == 0 { "ann" } else { "ben" }, "Get-CsServiceStatus", json!({}))),
    );
    let third = async {
        // Sixteen are computing, eight of each of the two, before the third one asks.
        busy.has_begun(16).await;
        let answer = office.run("vera", "Get-CsAdminRole", json!({})).await;
        for _ in 0..16 {
            release.send(()).unwrap();
        }
        answer
    };
    let (slow, third) = tokio::join!(slow, third);
    assert_eq!(third.status, 200, "{}", third.body);
    for answer in slow {
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

// A client that goes away takes nothing with it: what he had running ends, its seat comes back, and a cmdlet that falls
// over gives its seat back too.
#[tokio::test]
async fn seats_come_back_from_who_has_gone_away_and_from_what_falls_over() {
    let (release, released) = sync_channel(64);
    let busy = Arc::new(Busy { begun: 0.into(), released: Mutex::new(released) });
    let mut office = Office::with(Ports { machine: Some(Arc::clone(&busy) as Arc<dyn Machine>), ..Ports::default() });
    office.account("vera", &["CsViewOnlyAdministrator"], false).await;
    for number in 1..=8 {
        let asked = office.run("vera", "Get-CsServiceStatus", json!({}));
        let begun = busy.has_begun(number);
        // He asks, and is gone as soon as it computes.
        tokio::select! {
            answer = asked => panic!("it was answered: {}", answer.body),
            () = begun => {}
        }
    }
    // Four end, and to the others it is as if nobody would ever release them: they fall over.
    for _ in 0..4 {
        release.send(()).unwrap();
    }
    drop(release);
    // All at once, so that none of them is still to end.
    let mut seats = Vec::new();
    for _ in 0..8 {
        seats.push(office.api.seats.take("vera").await.unwrap());
    }
    drop(seats);
    let answer = office.run("vera", "Get-CsAdminRole", json!({})).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    let fallen = office.run("vera", "Get-CsServiceStatus", json!({})).await;
    assert_eq!((fallen.status, fallen.id()), (500, "Ended"));
}

#[tokio::test]
async fn who_reads_an_answer_a_little_at_a_time_for_ever_is_given_up_too() {
    let line = crate::api::line::Line::new(remote());
    tokio::time::pause();
    line.sends();
    let reading = async {
        // Always in time, as far as each piece goes.
        loop {
            tokio::time::sleep(Duration::from_secs(29)).await;
            line.sends();
        }
    };
    let asked = tokio::time::Instant::now();
    tokio::select! {
        () = reading => {}
        () = crate::api::converse::unread(&line) => {}
    }
    assert_eq!(asked.elapsed().as_secs() / 10, 60, "{:?}", asked.elapsed());
    line.has_sent();
    line.sends();
    assert!(line.has_been_sending() < Duration::from_secs(1), "the next answer has its own time");
}

// With the clock of the test: a reader that stops is waited for, and not for long.
#[tokio::test(start_paused = true)]
async fn who_does_not_read_his_answers_keeps_neither_connection_nor_seats() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut office = Office::new();
    office.account("vera", &["CsViewOnlyAdministrator"], false).await;
    let line = crate::api::line::Line::new(remote());
    let seat = office.api.seats.take("vera").await.unwrap();
    let answer = Answer::new(vec![b'x'; 1 << 20], line.clone(), seat);
    let (ours, mut theirs) = tokio::io::duplex(16 * 1024);
    // What a connection does with an answer, on a line that somebody reads for a while.
    let served = tokio::spawn(async move {
        let body = Mutex::new(Some(answer));
        let service = hyper::service::service_fn(move |_: hyper::Request<hyper::body::Incoming>| {
            let answer = body.lock().take().unwrap();
            async move { Ok::<_, std::convert::Infallible>(hyper::Response::new(answer)) }
        });
        let io = hyper_util::rt::TokioIo::new(ours);
        let mut http = hyper::server::conn::http1::Builder::new();
        let connection = http.max_buf_size(64 * 1024).serve_connection(io, service);
        tokio::select! {
            ended = connection => panic!("it went on to its end: {ended:?}"),
            () = crate::api::converse::unread(&line) => {}
        }
    });
    theirs.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut piece = vec![0; 96 * 1024];
    let asked = tokio::time::Instant::now();
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(20)).await;
        theirs.read_exact(&mut piece).await.unwrap();
    }
    served.await.unwrap();
    let waited = asked.elapsed().as_secs();
    assert!((80..=120).contains(&waited), "who reads slowly is waited for: {waited} s");
    // All of them are free again.
    for _ in 0..8 {
        drop(office.api.seats.take("vera").await.unwrap());
    }
}
