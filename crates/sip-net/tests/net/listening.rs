//! What a listener takes, answers, bounds and closes.

use std::time::Duration;

use bytes::Bytes;
use reveille_sip::{Fault, FrameError, Limits};
use reveille_sip_net::{ClientAuth, CloseReason, ListenLimits, Listener, TrustRoots};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;

use crate::support::{
    Authority, Raw, Running, Seen, Superstitious, Witness, loopback, numbers, ok, request, server, within,
};

fn short(change: impl FnOnce(&mut ListenLimits)) -> ListenLimits {
    let mut limits = ListenLimits::default();
    change(&mut limits);
    limits
}

#[tokio::test]
async fn a_thousand_pipelined_messages_come_in_order_and_in_few_batches() {
    let mut listener = Running::tcp(ListenLimits::default());
    let mut raw = Raw::connect(listener.address).await;
    let all: Vec<u8> = (1..=1000).flat_map(|number| request(number).to_vec()).collect();
    raw.write(&all).await;
    let (messages, batches) = listener.messages(1000).await;
    assert_eq!(numbers(&messages), (1..=1000).collect::<Vec<_>>());
    assert!(batches <= 50, "{batches} batches");
    let answers = raw.read(1000 * ok().len()).await;
    assert!(answers.chunks(ok().len()).all(|answer| answer == ok()));
    listener.end().await;
}

#[tokio::test]
async fn a_thousand_pipelined_messages_over_tls_too() {
    let authority = Authority::new("Contoso CA");
    let server = server(&authority.named("edge.contoso.com"), ClientAuth::None, &TrustRoots::none());
    let mut listener = Running::tls(server, ListenLimits::default());
    let client = reveille_sip_net::TlsClient::new(None, &authority.roots());
    let stream = Raw::connect(listener.address).await.0;
    let (stream, _) = within(client.connect(stream, "edge.contoso.com")).await.expect("a handshake");
    let (mut reader, mut writer) = tokio::io::split(stream);
    let all: Vec<u8> = (1..=1000).flat_map(|number| request(number).to_vec()).collect();
    let writing = tokio::spawn(async move { tokio::io::AsyncWriteExt::write_all(&mut writer, &all).await });
    let mut answers = vec![0; 1000 * ok().len()];
    within(tokio::io::AsyncReadExt::read_exact(&mut reader, &mut answers)).await.expect("answers");
    assert!(answers.chunks(ok().len()).all(|answer| answer == ok()));
    within(writing).await.expect("a writer").expect("room");
    let (messages, batches) = listener.messages(1000).await;
    assert_eq!(numbers(&messages), (1..=1000).collect::<Vec<_>>());
    assert!(batches <= 100, "{batches} batches");
}

#[tokio::test]
async fn a_ping_is_answered_and_no_message() {
    let mut listener = Running::tcp(ListenLimits::default());
    let mut raw = Raw::connect(listener.address).await;
    raw.write(b"\r\n\r\n").await;
    assert_eq!(raw.read(2).await, b"\r\n");
    raw.write(&request(1)).await;
    let (messages, _) = listener.messages(1).await;
    assert_eq!(numbers(&messages), [1]);
}

#[tokio::test]
async fn a_bad_message_is_answered_in_its_place_and_the_connection_goes_on() {
    let mut listener = Running::tcp(ListenLimits::default());
    let mut raw = Raw::connect(listener.address).await;
    let bad = String::from_utf8(request(2).to_vec()).expect("text").replace("CSeq: 2 MESSAGE", "CSeq: 2 INVITE");
    raw.write(&[&request(1)[..], bad.as_bytes(), &request(3)[..]].concat()).await;
    listener.opened().await;
    assert!(matches!(listener.next().await, Seen::Batch(_, batch) if numbers(&batch) == [1]));
    assert!(matches!(listener.next().await, Seen::Bad(Fault::CSeqMethodMismatch)));
    assert!(matches!(listener.next().await, Seen::Batch(_, batch) if numbers(&batch) == [3]));
    raw.read(ok().len()).await;
    assert!(raw.read(15).await.starts_with(b"SIP/2.0 400 Bad"));
}

#[tokio::test]
async fn doubt_about_framing_ends_the_connection_after_what_was_sound() {
    let mut listener = Running::tcp(ListenLimits::default());
    let mut raw = Raw::connect(listener.address).await;
    raw.write(&[&request(1)[..], b"MESSAGE sip:x@y SIP/2.0\nVia: x\n\n"].concat()).await;
    listener.opened().await;
    assert!(matches!(listener.next().await, Seen::Batch(_, batch) if numbers(&batch) == [1]));
    let why = listener.closed().await;
    assert!(matches!(why, CloseReason::Framing(FrameError::BareLf { .. })), "{why:?}");
    assert_eq!(raw.read_to_end().await, ok(), "the answer due is not lost");
}

#[tokio::test]
async fn an_oversized_body_is_refused_and_skipped() {
    let message = Limits { body_bytes_max: 4, ..Limits::default() };
    let mut listener = Running::tcp(short(|limits| limits.message = message));
    let mut raw = Raw::connect(listener.address).await;
    raw.write(&request(1)).await;
    assert!(raw.read(11).await.starts_with(b"SIP/2.0 413"));
    listener.opened().await;
    assert!(matches!(listener.next().await, Seen::Bad(Fault::BodyTooLong { length: 5, limit: 4 })));
}

#[tokio::test]
async fn a_peer_that_never_says_anything_is_closed() {
    let mut listener = Running::tcp(short(|limits| limits.first_byte_timeout = Duration::from_millis(100)));
    let _silent = Raw::connect(listener.address).await;
    assert_eq!(listener.closed().await, CloseReason::NothingCame);
}

#[tokio::test]
async fn a_peer_that_sends_a_message_too_slowly_is_closed() {
    let mut listener = Running::tcp(short(|limits| limits.message_timeout = Duration::from_millis(100)));
    let mut slow = Raw::connect(listener.address).await;
    slow.write(&request(1)).await;
    slow.write(b"MESSAGE sip:bob@contoso.com SIP/2.0\r\nVia: ").await;
    assert_eq!(listener.closed().await, CloseReason::MessageTimedOut);
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let mut listener = Running::tcp(short(|limits| limits.idle_timeout = Duration::from_secs(1)));
    let mut raw = Raw::connect(listener.address).await;
    raw.write(&request(1)).await;
    assert_eq!(listener.closed().await, CloseReason::Idle);
    assert_eq!(raw.read_to_end().await, ok());
}

#[tokio::test]
async fn a_reader_that_stops_is_closed_and_memory_stays_bounded() {
    let mut listener = Running::tcp(short(|limits| limits.queued_bytes_max = 64 * 1024));
    let _raw = Raw::connect(listener.address).await;
    let flow = listener.opened().await;
    let chunk = Bytes::from(vec![b'x'; 8 * 1024]);
    let mut most = 0;
    // What the kernel takes is not ours to bound; it ends within a few megabytes.
    while flow.send(chunk.clone()).is_ok() {
        most = most.max(flow.queued_bytes());
        tokio::task::yield_now().await;
    }
    assert!(most <= 64 * 1024, "{most}");
    assert_eq!(listener.closed().await, CloseReason::QueueFull { bytes_max: 64 * 1024 });
    within(flow.closed()).await;
    assert_eq!(flow.queued_bytes(), 0);
}

#[tokio::test]
async fn seats_are_bounded_in_all_and_per_address() {
    for limits in [short(|limits| limits.seats = 1), short(|limits| limits.seats_per_address = 1)] {
        let mut listener = Running::tcp(limits);
        let mut first = Raw::connect(listener.address).await;
        first.write(&request(1)).await;
        listener.messages(1).await;
        let mut second = Raw::connect(listener.address).await;
        assert_eq!(second.read_to_end().await, b"", "turned away");
        drop(first);
        listener.closed().await;
        // The seat is given back just after; ask until it is.
        within(async {
            loop {
                let mut third = Raw::connect(listener.address).await;
                third.write(b"\r\n\r\n").await;
                if third.read_to_end_of_pong().await {
                    break;
                }
            }
        })
        .await;
    }
}

impl Raw {
    async fn read_to_end_of_pong(&mut self) -> bool {
        let mut pong = [0; 2];
        within(tokio::io::AsyncReadExt::read_exact(&mut self.0, &mut pong)).await.is_ok()
    }
}

#[tokio::test]
async fn stopping_writes_what_is_queued_and_waits_for_it() {
    let mut listener = Running::tcp(short(|limits| limits.queued_bytes_max = 32 * 1024 * 1024));
    let mut raw = Raw::connect(listener.address).await;
    let flow = listener.opened().await;
    // More than the kernel takes at once, so that the end comes while bytes wait.
    let total = 16 * 1024 * 1024;
    flow.send(Bytes::from(vec![b'x'; total])).expect("room");
    listener.stop.cancel();
    assert_eq!(raw.read_to_end().await.len(), total);
    within(listener.task).await.expect("the listener ends well");
    assert!(flow.is_closed());
    assert!(flow.send(Bytes::from_static(b"x")).is_err());
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever_for_a_peer_that_does_not_read() {
    let mut listener = Running::tcp(short(|limits| {
        limits.queued_bytes_max = 32 * 1024 * 1024;
        limits.flush_timeout = Duration::from_millis(100);
    }));
    let _raw = Raw::connect(listener.address).await;
    let flow = listener.opened().await;
    flow.send(Bytes::from(vec![b'x'; 16 * 1024 * 1024])).expect("room");
    listener.stop.cancel();
    within(listener.task).await.expect("the listener ends well");
}

#[tokio::test]
async fn a_role_may_close_a_flow_and_its_last_words_are_heard() {
    let mut listener = Running::tcp(ListenLimits::default());
    let mut raw = Raw::connect(listener.address).await;
    let flow = listener.opened().await;
    flow.send(ok()).expect("room");
    flow.close(CloseReason::Asked { why: "the partner was removed" });
    assert_eq!(raw.read_to_end().await, ok());
    assert_eq!(listener.closed().await, CloseReason::Asked { why: "the partner was removed" });
}

#[tokio::test]
async fn a_peer_that_leaves_is_noticed() {
    let mut listener = Running::tcp(ListenLimits::default());
    let raw = Raw::connect(listener.address).await;
    let flow = listener.opened().await;
    drop(raw);
    assert_eq!(listener.closed().await, CloseReason::PeerClosed);
    within(flow.closed()).await;
}

#[tokio::test]
async fn udp_remotes_keep_their_flow_and_get_their_answers() {
    let mut listener =
        Running::start(Listener::udp(loopback(), ListenLimits::default()).expect("a port"), Witness::answering());
    let phone = UdpSocket::bind(loopback()).await.expect("a port");
    phone.connect(listener.address).await.expect("an address");
    let mut buffer = [0; 2048];
    phone.send(&request(1)).await.expect("sent");
    let first = listener.opened().await;
    assert_eq!(within(phone.recv(&mut buffer)).await.expect("an answer"), ok().len());
    phone.send(b"\r\n\r\n").await.expect("sent");
    let length = within(phone.recv(&mut buffer)).await.expect("a pong");
    assert_eq!(&buffer[..length], b"\r\n");
    phone.send(b"not SIP at all").await.expect("sent");
    let bad = String::from_utf8(request(2).to_vec()).expect("text").replace("CSeq: 2 MESSAGE", "CSeq: 2 INVITE");
    phone.send(bad.as_bytes()).await.expect("sent");
    let length = within(phone.recv(&mut buffer)).await.expect("an answer");
    assert!(buffer[..length].starts_with(b"SIP/2.0 400"));
    phone.send(&request(3)).await.expect("sent");
    let later = loop {
        match listener.next().await {
            Seen::Batch(flow, batch) if numbers(&batch) == [3] => break flow,
            _ => {}
        }
    };
    assert_eq!(later.id(), first.id());
    assert_eq!(later.remote(), phone.local_addr().expect("an address"));
    listener.stop.cancel();
    assert_eq!(listener.closed().await, CloseReason::Stopping);
}

#[tokio::test]
async fn over_udp_answers_go_to_the_port_that_via_names_and_never_to_another_address() {
    let listener = Listener::udp(loopback(), ListenLimits::default()).expect("a port");
    let mut listener = Running::start(listener, Witness::answering());
    let (speaks, hears) = (udp_phone(&listener).await, UdpSocket::bind(loopback()).await.expect("a port"));
    let port = hears.local_addr().expect("an address").port();
    let mut buffer = [0; 2048];
    let sound = String::from_utf8(request(1).to_vec()).expect("text");
    for (via, asks) in [
        (format!("192.0.2.1:{port}"), false),
        (format!("192.0.2.1:{port};maddr=192.0.2.2;received=192.0.2.3"), false),
        (format!("192.0.2.1:{port};rport"), true),
        // Nobody else can be named by this one's answer.
        (format!("192.0.2.1:{port};rport=9"), true),
    ] {
        let (heard, silent) = if asks { (&speaks, &hears) } else { (&hears, &speaks) };
        for wrong in [false, true] {
            let cseq = if wrong { "CSeq: 1 INVITE" } else { "CSeq: 1 MESSAGE" };
            let datagram = sound.replace("a.example;rport", &via).replace("CSeq: 1 MESSAGE", cseq);
            speaks.send(datagram.as_bytes()).await.expect("sent");
            let length = within(heard.recv(&mut buffer)).await.expect("an answer");
            let status: &[u8] = if wrong { b"SIP/2.0 400" } else { b"SIP/2.0 200" };
            assert!(buffer[..length].starts_with(status), "{via}: {}", String::from_utf8_lossy(&buffer[..length]));
            assert!(silent.try_recv(&mut [0; 2048]).is_err(), "{via}");
        }
    }
    let flow = listener.opened().await;
    assert_eq!(flow.reaches().port(), port);
    assert_eq!(flow.remote(), speaks.local_addr().expect("an address"));
}

#[tokio::test]
async fn a_message_that_cannot_be_handled_costs_its_sender_the_connection_and_nobody_else_anything() {
    // One seat: what is not given back is missed at once.
    let listener = Listener::tcp(loopback(), short(|limits| limits.seats = 1)).expect("a port");
    let mut listener = Running::start(listener, Superstitious::answering());
    for _ in 0..3 {
        let mut raw = within(async {
            loop {
                // The seat of the one before may not be free yet.
                let mut raw = Raw::connect(listener.address).await;
                let mut answer = vec![0; ok().len()];
                if raw.0.write_all(&request(1)).await.is_ok() && raw.0.read_exact(&mut answer).await.is_ok() {
                    break raw;
                }
            }
        })
        .await;
        raw.write(&request(13)).await;
        let why = listener.closed().await;
        assert!(matches!(why, CloseReason::Asked { .. }), "{why}");
        assert_eq!(raw.read_to_end().await, b"");
    }
    listener.end().await;
}

#[tokio::test]
async fn a_datagram_that_cannot_be_handled_silences_nobody() {
    let listener = Listener::udp(loopback(), ListenLimits::default()).expect("a port");
    let mut listener = Running::start(listener, Superstitious::answering());
    let (phone, neighbour) = (udp_phone(&listener).await, udp_phone(&listener).await);
    phone.send(&request(13)).await.expect("sent");
    // What came together with it may be lost, too: over UDP who is not answered repeats.
    let mut buffer = [0; 2048];
    for phone in [&neighbour, &phone] {
        within(async {
            loop {
                phone.send(&request(1)).await.expect("sent");
                if tokio::time::timeout(Duration::from_millis(200), phone.recv(&mut buffer)).await.is_ok() {
                    break;
                }
            }
        })
        .await;
    }
    assert!(matches!(listener.closed().await, CloseReason::Asked { .. }), "the flow it came on");
    listener.end().await;
}

#[tokio::test]
async fn udp_remotes_are_bounded() {
    let mut listener =
        Running::start(Listener::udp(loopback(), short(|limits| limits.seats = 4)).expect("a port"), Witness::new());
    let mut open = 0_usize;
    for number in 1..=40 {
        let phone = UdpSocket::bind(loopback()).await.expect("a port");
        phone.send_to(&request(number), listener.address).await.expect("sent");
        loop {
            match listener.next().await {
                Seen::Opened(_) => open += 1,
                Seen::Closed(CloseReason::Forgotten) => open -= 1,
                Seen::Batch(..) => break,
                other => panic!("{other:?}"),
            }
        }
        assert!(open <= 5, "{open} remotes are remembered");
    }
}

#[tokio::test]
async fn ports_of_one_udp_address_are_bounded_and_its_known_ones_go_on() {
    let listener = Listener::udp(loopback(), short(|limits| limits.remotes_per_address = 2)).expect("a port");
    let mut listener = Running::start(listener, Witness::new());
    let phones = [udp_phone(&listener).await, udp_phone(&listener).await, udp_phone(&listener).await];
    for (phone, number) in phones.iter().zip(1..) {
        phone.send(&request(number)).await.expect("sent");
    }
    phones[0].send(&request(4)).await.expect("sent");
    assert_eq!(numbers(&listener.messages(3).await.0), [1, 2, 4], "the third port is one too many");
}

#[tokio::test]
async fn a_flood_from_one_udp_address_is_cut_to_its_rate() {
    let listener = Listener::udp(loopback(), short(|limits| limits.datagrams_per_second = 10)).expect("a port");
    let mut listener = Running::start(listener, Witness::new());
    let phone = udp_phone(&listener).await;
    for number in 1..=100 {
        phone.send(&request(number)).await.expect("sent");
    }
    let (burst, _) = listener.messages(10).await;
    assert_eq!(numbers(&burst), (1..=10).collect::<Vec<_>>());
    // After a while there is room again; a machine under load may have let a few more of the flood through.
    let mut last = 0;
    within(async {
        while last != 1000 {
            phone.send(&request(1000)).await.expect("sent");
            if let Ok(seen) = tokio::time::timeout(Duration::from_millis(50), listener.next()).await
                && let Seen::Batch(_, batch) = seen
            {
                last = numbers(&batch).pop().unwrap_or_default();
            }
        }
    })
    .await;
}

#[tokio::test]
async fn datagrams_that_are_too_large_or_cut_are_answered_with_the_reason() {
    let message = Limits { body_bytes_max: 4, header_bytes_max: 2000, ..Limits::default() };
    let listener = Listener::udp(loopback(), short(|limits| limits.message = message)).expect("a port");
    let listener = Running::start(listener, Witness::new());
    let phone = udp_phone(&listener).await;
    let sound = String::from_utf8(request(1).to_vec()).expect("text");
    let rows = [
        (sound.clone(), "SIP/2.0 413 "),
        (sound.replace("Content-Length: 5", "Content-Length: 3").replace("hello", "he"), "SIP/2.0 400 "),
        (sound.replace("Call-ID: c1", &format!("Call-ID: c1\r\nX: {}", "x".repeat(3000))), "SIP/2.0 513 "),
    ];
    let mut buffer = [0; 4096];
    for (datagram, expected) in rows {
        phone.send(datagram.as_bytes()).await.expect("sent");
        let length = within(phone.recv(&mut buffer)).await.expect("an answer");
        let answer = String::from_utf8_lossy(&buffer[..length]);
        assert!(answer.starts_with(expected), "{answer} for {}", &datagram[..60]);
    }
}

async fn udp_phone(listener: &Running) -> UdpSocket {
    let phone = UdpSocket::bind(loopback()).await.expect("a port");
    phone.connect(listener.address).await.expect("an address");
    phone
}

#[tokio::test]
async fn one_address_cannot_hold_all_handshakes() {
    let authority = Authority::new("CA");
    let server = server(&authority.named("edge.contoso.com"), ClientAuth::None, &TrustRoots::none());
    let limits = short(|limits| {
        (limits.handshakes_in_flight, limits.handshakes_per_address) = (2, 1);
        limits.handshake_timeout = Duration::from_secs(60);
    });
    let mut listener = Running::tls(server, limits);
    // The beginning of a ClientHello, and no more: each would hold a place for a minute.
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut raw = Raw::connect(listener.address).await;
        raw.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc").await;
        slow.push(raw);
    }
    let socket = tokio::net::TcpSocket::new_v4().expect("a socket");
    socket.bind(([127, 0, 0, 2], 0).into()).expect("another address");
    let stream = within(socket.connect(listener.address)).await.expect("a connection");
    let client = reveille_sip_net::TlsClient::new(None, &authority.roots());
    within(client.connect(stream, "edge.contoso.com")).await.expect("a handshake");
    listener.opened().await;
}
