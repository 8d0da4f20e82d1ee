//! Conversations over a pipe, under a clock that is turned by hand.

use reveille_sip::Side;
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;

use super::*;
use crate::flow::Transport;

struct Quiet;

impl Handler for Quiet {
    fn messages(&self, _flow: &Arc<Flow>, _batch: &mut Vec<Message>) {}
}

struct Panicking;

impl Handler for Panicking {
    fn messages(&self, _flow: &Arc<Flow>, _batch: &mut Vec<Message>) {
        panic!("a role's broken invariant");
    }
}

const PING: Duration = Duration::from_secs(95);

fn begin(handler: impl Handler, change: impl FnOnce(&mut Terms)) -> (DuplexStream, Arc<Flow>, JoinHandle<CloseReason>) {
    begin_as(Side::Initiated, handler, change)
}

fn begin_as(
    side: Side,
    handler: impl Handler,
    change: impl FnOnce(&mut Terms),
) -> (DuplexStream, Arc<Flow>, JoinHandle<CloseReason>) {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let address = ([127, 0, 0, 1], 5060).into();
    let flow = Flow::carried(Transport::Tcp, side, address, address, None, 1024 * 1024);
    let mut terms = Terms {
        message: Limits::default(),
        first_byte: None,
        message_time: Duration::from_secs(30),
        idle: Duration::from_secs(600),
        flush: Duration::from_secs(5),
        ping: Some(PING),
        pong: Duration::from_secs(10),
    };
    change(&mut terms);
    let ours = flow.clone();
    let task = tokio::spawn(async move { converse(near, &ours, &handler, terms, &CancellationToken::new()).await });
    (far, flow, task)
}

async fn ping(far: &mut DuplexStream) {
    let mut ping = [0; 4];
    far.read_exact(&mut ping).await.expect("a ping");
    assert_eq!(&ping, b"\r\n\r\n");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answered_pings_and_has_ceased_to_is_closed_ten_seconds_later() {
    let (mut far, _flow, task) = begin(Quiet, |_| {});
    let start = Instant::now();
    ping(&mut far).await;
    assert_eq!(start.elapsed().as_secs(), 95);
    far.write_all(b"\r\n").await.expect("room");
    ping(&mut far).await;
    let asked = Instant::now();
    assert_eq!(task.await.expect("an end"), CloseReason::NoPong);
    assert_eq!(asked.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_answers_pings_is_kept() {
    let (mut far, flow, _task) = begin(Quiet, |_| {});
    for _ in 0..10 {
        ping(&mut far).await;
    }
    assert!(!flow.is_closed());
}

#[tokio::test(start_paused = true)]
async fn anything_from_the_peer_counts_as_life() {
    let (mut far, flow, _task) = begin(Quiet, |_| {});
    ping(&mut far).await;
    far.write_all(b"\r\n").await.expect("room");
    for _ in 0..3 {
        ping(&mut far).await;
        far.write_all(b"MESSAGE sip:bob@contoso.com SIP/2.0\r\nContent-Length: 0\r\n\r\n").await.expect("room");
        // The answer to that faulty message.
        let mut answer = [0; 1024];
        assert_ne!(far.read(&mut answer).await.expect("an answer"), 0);
    }
    assert!(!flow.is_closed());
}

/// Holds its peer back for each message.
struct Slowing;

impl Handler for Slowing {
    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        for (_, pause) in batch.drain(..).zip([80, 40]) {
            flow.hold_back(Duration::from_millis(pause));
            flow.send(Bytes::from_static(b"x")).expect("room");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_held_back_is_read_later_and_still_written_to() {
    let (mut far, flow, _task) = begin(Slowing, |terms| terms.ping = None);
    let message = b"MESSAGE sip:bob@contoso.com SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\n\
        From: <sip:a@b.example>;tag=1\r\nTo: <sip:bob@contoso.com>\r\nCall-ID: 1\r\nCSeq: 1 MESSAGE\r\n\
        Content-Length: 0\r\n\r\n";
    let start = Instant::now();
    let mut answer = [0];
    far.write_all(&[&message[..], message].concat()).await.expect("room");
    far.read_exact(&mut answer).await.expect("the first answer");
    far.read_exact(&mut answer).await.expect("the second, of the same turn");
    assert!(start.elapsed() < Duration::from_millis(5));
    far.write_all(message).await.expect("room");
    // While it waits, it hears what there is.
    flow.send(Bytes::from_static(b"y")).expect("room");
    far.read_exact(&mut answer).await.expect("what is sent");
    assert_eq!((&answer, start.elapsed() < Duration::from_millis(5)), (b"y", true));
    far.read_exact(&mut answer).await.expect("the third answer");
    let waited = start.elapsed();
    assert!((80..85).contains(&waited.as_millis()), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_single_line_end_keeps_a_connection_alive_and_is_no_message() {
    let (mut far, flow, task) = begin_as(Side::Accepted, Slowing, |terms| {
        terms.ping = None;
        terms.idle = Duration::from_secs(120);
    });
    let message = b"MESSAGE sip:bob@contoso.com SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\n\
        From: <sip:a@b.example>;tag=1\r\nTo: <sip:bob@contoso.com>\r\nCall-ID: 1\r\nCSeq: 1 MESSAGE\r\n\
        Content-Length: 0\r\n\r\n";
    for _ in 0..3 {
        far.write_all(b"\r\n").await.expect("room");
        tokio::time::advance(Duration::from_secs(100)).await;
        assert!(!flow.is_closed());
        // The second half of a ping, however late.
        far.write_all(b"\r\n").await.expect("room");
        far.read_exact(&mut [0; 2]).await.expect("a pong");
    }
    far.write_all(b"\r\n").await.expect("room");
    tokio::time::advance(Duration::from_secs(100)).await;
    far.write_all(message).await.expect("room");
    far.read_exact(&mut [0]).await.expect("an answer");
    far.write_all(b"\r\n").await.expect("room");
    let start = Instant::now();
    assert_eq!(task.await.expect("an end"), CloseReason::Idle);
    assert_eq!(start.elapsed().as_secs(), 120);
}

#[tokio::test(start_paused = true)]
async fn a_message_of_drops_is_closed_however_often_they_come() {
    let (mut far, _flow, task) = begin(Quiet, |terms| terms.ping = None);
    let start = Instant::now();
    for byte in b"MESSAGE sip:bob@contoso.com SIP/2.0\r\nVia: SIP/2.0/TCP a" {
        tokio::time::advance(Duration::from_secs(1)).await;
        if far.write_all(&[*byte]).await.is_err() {
            break;
        }
    }
    assert_eq!(task.await.expect("an end"), CloseReason::MessageTimedOut);
    assert!((30..=35).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_panic_in_a_handler_ends_the_flow_and_not_its_task() {
    let (mut far, flow, task) = begin(Panicking, |_| {});
    far.write_all(
        b"MESSAGE sip:b@b SIP/2.0\r\nVia: SIP/2.0/TCP a;branch=z9hG4bK1\r\nFrom: <sip:a@a>;tag=1\r\n\
          To: <sip:b@b>\r\nCall-ID: 1\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n",
    )
    .await
    .expect("room");
    assert!(matches!(task.await.expect("it ends well"), CloseReason::Asked { .. }));
    flow.closed().await;
    assert!(flow.is_closed());
}
