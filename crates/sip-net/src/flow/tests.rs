//! What a flow queues, whom it wakes, when it is over.

use std::collections::VecDeque;
use std::sync::atomic::AtomicUsize;
use std::task::{Context, Wake};

use super::*;

fn carried(bytes_max: usize) -> Arc<Flow> {
    let address: SocketAddr = ([127, 0, 0, 1], 5060).into();
    Flow::carried(Transport::Tcp, Side::Accepted, address, address, None, bytes_max)
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn many_sends_wake_a_sleeping_task_once() {
    let flow = carried(1000);
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    assert!(flow.park(&Context::from_waker(&waker)));
    for _ in 0..10 {
        flow.send(Bytes::from_static(b"x")).expect("room");
    }
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert!(!flow.park(&Context::from_waker(&waker)), "there is work to do");
}

#[test]
fn a_full_queue_closes_the_flow_and_counts_what_is_being_written() {
    let flow = carried(10);
    flow.send(Bytes::from_static(b"123456")).expect("room");
    let mut writing = VecDeque::new();
    assert!(flow.take_queued(&mut writing));
    flow.send(Bytes::from_static(b"7890")).expect("room");
    assert_eq!(flow.queued_bytes(), 10);
    assert_eq!(flow.send(Bytes::from_static(b"x")), Err(SendError::Full));
    assert!(flow.is_closed());
    assert_eq!(flow.closing(), Some(CloseReason::QueueFull { bytes_max: 10 }));
    assert_eq!(flow.send(Bytes::from_static(b"x")), Err(SendError::Closed));
}

#[tokio::test(start_paused = true)]
async fn a_connection_of_ours_that_is_full_is_closed_only_when_nothing_leaves() {
    let address: SocketAddr = ([127, 0, 0, 1], 5060).into();
    let flow = Flow::carried(Transport::Tcp, Side::Initiated, address, address, None, 4);
    let byte = || Bytes::from_static(b"x");
    flow.send(Bytes::from_static(b"1234")).expect("room");
    flow.take_queued(&mut VecDeque::new());
    assert_eq!(flow.send(byte()), Err(SendError::Full));
    tokio::time::advance(STALLED - Duration::from_millis(1)).await;
    assert_eq!(flow.send(byte()), Err(SendError::Full));
    flow.written(1);
    flow.send(byte()).expect("room");
    assert_eq!(flow.send(byte()), Err(SendError::Full));
    tokio::time::advance(STALLED - Duration::from_millis(1)).await;
    assert_eq!(flow.send(byte()), Err(SendError::Full));
    assert!(!flow.is_closed(), "a byte has left meanwhile");
    tokio::time::advance(Duration::from_millis(1)).await;
    assert_eq!(flow.send(byte()), Err(SendError::Full));
    assert_eq!(flow.closing(), Some(CloseReason::QueueFull { bytes_max: 4 }));
}

#[test]
fn a_message_is_written_behind_the_others_or_not_at_all() {
    let flow = carried(10);
    let write = |text: &'static str| {
        move |out: &mut BytesMut| {
            out.extend_from_slice(text.as_bytes());
            Ok(())
        }
    };
    flow.send(Bytes::from_static(b"123")).expect("room");
    flow.write_with(write("456")).expect("room");
    let wrong = PrintError::ControlCharacter;
    assert_eq!(flow.write_with(|_| Err(wrong)), Err(WriteError::Print(wrong)));
    assert_eq!(flow.write_with(write("789ab")), Err(WriteError::Send(SendError::Full)));
    let mut taken = VecDeque::new();
    assert!(flow.take_queued(&mut taken));
    assert_eq!(taken[0], "123456", "what did not fit is not there");
    assert_eq!(flow.write_with(write("x")), Err(WriteError::Send(SendError::Closed)));
}

#[test]
fn room_comes_back_as_bytes_leave() {
    let flow = carried(4);
    flow.send(Bytes::from_static(b"1234")).expect("room");
    flow.take_queued(&mut VecDeque::new());
    flow.written(3);
    flow.send(Bytes::from_static(b"567")).expect("room again");
    assert_eq!(flow.queued_bytes(), 4);
}

#[test]
fn the_first_reason_to_close_stays() {
    let flow = carried(4);
    flow.close(CloseReason::Asked { why: "first" });
    flow.close(CloseReason::Asked { why: "second" });
    assert_eq!(flow.closing(), Some(CloseReason::Asked { why: "first" }));
    assert_eq!(flow.send(Bytes::new()), Err(SendError::Closed));
}
