//! SIP over WebSocket: the opening, messages both ways, bounds, and how it ends.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use reveille_sip::Fault;
use reveille_sip_net::{ClientAuth, CloseReason, ListenLimits, Listener, Origins, TlsClient, Transport};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message::{self, Binary, Close, Text};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::support::{
    Authority, Raw, Running, Seen, Superstitious, Witness, loopback, numbers, ok, request, server, within,
};

fn listening(origins: Origins, change: impl FnOnce(&mut ListenLimits)) -> Running {
    let mut limits = ListenLimits::default();
    change(&mut limits);
    Running::start(Listener::ws(loopback(), origins, limits).expect("a port"), Witness::answering())
}

async fn open(listener: &Running, headers: &[(&'static str, &str)]) -> Result<WebSocketStream<TcpStream>, Error> {
    let mut request = "ws://home.contoso.com/".into_client_request().expect("a request");
    for (name, value) in headers {
        request.headers_mut().append(*name, value.parse().expect("a value"));
    }
    let stream = Raw::connect(listener.address).await.0;
    within(client_async(request, stream)).await.map(|(socket, response)| {
        assert_eq!(response.headers()["sec-websocket-protocol"], "sip");
        socket
    })
}

const SIP: (&str, &str) = ("sec-websocket-protocol", "sip");

async fn opened(listener: &Running) -> WebSocketStream<TcpStream> {
    open(listener, &[SIP]).await.expect("a WebSocket")
}

fn text(bytes: &Bytes) -> Message {
    Text(String::from_utf8(bytes.to_vec()).expect("text").into())
}

async fn next<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>) -> Message {
    within(socket.next()).await.expect("it is open").expect("it is sound")
}

/// The code that the server closes with.
async fn closing(mut socket: WebSocketStream<TcpStream>) -> u16 {
    loop {
        if let Close(Some(CloseFrame { code, .. })) = next(&mut socket).await {
            return code.into();
        }
    }
}

#[tokio::test]
async fn messages_travel_both_ways_one_by_one_as_text_or_binary() {
    let mut listener = listening(Origins::Any, |_| {});
    let mut socket = opened(&listener).await;
    assert_eq!(listener.opened().await.transport(), Transport::Ws);
    for number in 1..=3 {
        let message = if number == 2 { Binary(request(number)) } else { text(&request(number)) };
        within(socket.send(message)).await.expect("room");
        assert_eq!(next(&mut socket).await, text(&ok()));
    }
    assert_eq!(numbers(&listener.messages(3).await.0), [1, 2, 3]);
    within(socket.send(Text("\r\n\r\n".into()))).await.expect("room");
    assert_eq!(next(&mut socket).await, Text("\r\n".into()));
    within(socket.send(Message::Ping(Bytes::from_static(b"x")))).await.expect("room");
    assert_eq!(next(&mut socket).await, Message::Pong(Bytes::from_static(b"x")));
    within(socket.close(None)).await.expect("open");
    assert_eq!(listener.closed().await, CloseReason::PeerClosed);
    assert!(matches!(within(socket.next()).await, Some(Ok(Close(_))) | None), "the close is answered");
}

#[tokio::test]
async fn a_message_that_cannot_be_handled_costs_its_sender_the_connection_and_nobody_else_anything() {
    let listener = Listener::ws(loopback(), Origins::Any, ListenLimits::default()).expect("a port");
    let mut listener = Running::start(listener, Superstitious::answering());
    let mut neighbour = opened(&listener).await;
    let mut unlucky = opened(&listener).await;
    within(unlucky.send(text(&request(13)))).await.expect("room");
    assert_eq!(closing(unlucky).await, 1000);
    assert!(matches!(listener.closed().await, CloseReason::Asked { .. }));
    within(neighbour.send(text(&request(1)))).await.expect("room");
    assert_eq!(next(&mut neighbour).await, text(&ok()));
}

#[tokio::test]
async fn what_a_role_queues_together_leaves_as_one_message_each() {
    let mut listener = listening(Origins::Any, |_| {});
    let mut socket = opened(&listener).await;
    let flow = listener.opened().await;
    flow.send(Bytes::from([ok(), request(7)].concat())).expect("room");
    let mut not_text = request(8).to_vec();
    if let Some(last) = not_text.last_mut() {
        *last = 0xff;
    }
    let not_text = Bytes::from(not_text);
    flow.send(not_text.clone()).expect("room");
    assert_eq!(next(&mut socket).await, text(&ok()));
    assert_eq!(next(&mut socket).await, text(&request(7)));
    assert_eq!(next(&mut socket).await, Binary(not_text), "what is no text leaves as it is");
    while flow.queued_bytes() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_websocket_over_tls_knows_its_peer() {
    let authority = Authority::new("CA");
    let server = server(&authority.named("home.contoso.com"), ClientAuth::Optional, &authority.roots());
    let listener = Listener::wss(loopback(), server, Origins::Any, ListenLimits::default()).expect("a port");
    let mut listener = Running::start(listener, Witness::answering());
    let client = TlsClient::new(Some(&authority.named("phone.contoso.com")), &authority.roots());
    let stream = Raw::connect(listener.address).await.0;
    let (stream, _) = within(client.connect(stream, "home.contoso.com")).await.expect("a handshake");
    let mut request = "wss://home.contoso.com/".into_client_request().expect("a request");
    request.headers_mut().insert(SIP.0, SIP.1.parse().expect("a value"));
    let (mut socket, _) = within(client_async(request, stream)).await.expect("a WebSocket");
    let flow = listener.opened().await;
    assert_eq!(flow.transport(), Transport::Wss);
    assert!(flow.peer().is_some_and(|peer| peer.names("phone.contoso.com")));
    within(socket.send(text(&crate::support::request(1)))).await.expect("room");
    assert_eq!(next(&mut socket).await, text(&ok()));
}

#[tokio::test]
async fn without_the_subprotocol_or_from_a_strange_page_it_does_not_open() {
    let ours = Origins::Only(Arc::from(["https://phone.contoso.com".to_owned()]));
    let listener = listening(ours, |_| {});
    let status = |outcome: Result<WebSocketStream<TcpStream>, Error>| match outcome {
        Err(Error::Http(response)) => response.status().as_u16(),
        other => panic!("{other:?}"),
    };
    assert_eq!(status(open(&listener, &[("sec-websocket-protocol", "xmpp")]).await), 400);
    assert_eq!(status(open(&listener, &[SIP, ("origin", "https://evil.example")]).await), 403);
    open(&listener, &[SIP, ("origin", "https://phone.contoso.com")]).await.expect("a WebSocket");
}

#[tokio::test]
async fn what_is_no_websocket_is_refused_in_its_time_and_gives_its_seat_back() {
    let listener = listening(Origins::Any, |limits| {
        limits.seats = 1;
        limits.handshake_timeout = Duration::from_millis(100);
    });
    for bytes in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"GET / HT", b"\x16\x03\x01\x02\x00"] {
        let mut raw = Raw::connect(listener.address).await;
        // Without a seat it is closed before this is written.
        let _ = within(tokio::io::AsyncWriteExt::write_all(&mut raw.0, bytes)).await;
        raw.read_to_end().await;
    }
    // The seat is given back just after; ask until it is.
    within(async { while open(&listener, &[SIP]).await.is_err() {} }).await;
}

#[tokio::test]
async fn a_bad_message_is_answered_and_the_websocket_goes_on() {
    let mut listener = listening(Origins::Any, |_| {});
    let mut socket = opened(&listener).await;
    let bad = String::from_utf8(request(2).to_vec()).expect("text").replace("CSeq: 2 MESSAGE", "CSeq: 2 INVITE");
    within(socket.send(Text(bad.into()))).await.expect("room");
    let Text(answer) = next(&mut socket).await else { panic!("an answer") };
    assert!(answer.starts_with("SIP/2.0 400 "), "{answer}");
    within(socket.send(text(&request(3)))).await.expect("room");
    assert_eq!(numbers(&listener.messages(1).await.0), [3]);
}

#[tokio::test]
async fn a_long_body_is_answered_with_413_and_a_message_beyond_all_bounds_closes_with_1009() {
    let mut listener = listening(Origins::Any, |_| {});
    let mut socket = opened(&listener).await;
    let with_body = |bytes: usize| {
        let head = String::from_utf8(request(1).to_vec())
            .expect("text")
            .replace("Content-Length: 5", &format!("Content-Length: {bytes}"));
        Text(head.replace("hello", &"x".repeat(bytes)).into())
    };
    within(socket.send(with_body(65 * 1024))).await.expect("room");
    assert!(matches!(next(&mut socket).await, Text(answer) if answer.starts_with("SIP/2.0 413 ")));
    let _ = within(socket.send(with_body(1024 * 1024))).await;
    assert_eq!(closing(socket).await, 1009);
    let why = loop {
        match listener.next().await {
            Seen::Closed(why) => break why,
            Seen::Bad(fault) => assert!(matches!(fault, Fault::BodyTooLong { .. }), "{fault:?}"),
            _ => {}
        }
    };
    assert!(matches!(why, CloseReason::WebSocket { code: 1009, .. }), "{why:?}");
}

#[tokio::test]
async fn frames_without_a_mask_and_text_that_is_none_end_it() {
    // RFC 6455 §5.1: a client masks; §5.6: text is UTF-8. Second: mask 0, payload 0xff.
    for (frame, code) in [(&b"\x81\x05hello"[..], 1002_u16), (b"\x81\x81\0\0\0\0\xff", 1007), (b"SIP?", 1002)] {
        let mut listener = listening(Origins::Any, |_| {});
        let mut socket = opened(&listener).await;
        within(tokio::io::AsyncWriteExt::write_all(socket.get_mut(), frame)).await.expect("room");
        let why = listener.closed().await;
        assert!(matches!(&why, CloseReason::WebSocket { code: told, .. } if *told == code), "{why:?}");
        assert_eq!(closing(socket).await, code);
    }
}

#[tokio::test]
async fn what_is_not_sip_ends_it() {
    let mut listener = listening(Origins::Any, |_| {});
    let mut socket = opened(&listener).await;
    within(socket.send(Text("hello".into()))).await.expect("room");
    assert!(matches!(listener.closed().await, CloseReason::Framing(_)));
    assert_eq!(closing(socket).await, 1003);
}

#[tokio::test]
async fn a_message_that_does_not_end_is_not_waited_for_also_between_pings() {
    let mut listener = listening(Origins::Any, |limits| limits.message_timeout = Duration::from_millis(300));
    let mut socket = opened(&listener).await;
    within(socket.send(text(&request(1)))).await.expect("room");
    // The first fragment of a text, masked with 0, and never another.
    within(tokio::io::AsyncWriteExt::write_all(socket.get_mut(), b"\x01\x83\0\0\0\0MES")).await.expect("room");
    let code = within(async {
        loop {
            let ping = socket.send(Message::Ping(Bytes::new())).await;
            match socket.next().await {
                Some(Ok(Close(Some(frame)))) => break u16::from(frame.code),
                Some(Ok(_)) => assert!(ping.is_ok()),
                other => panic!("{other:?}"),
            }
        }
    })
    .await;
    assert_eq!(code, 1008);
    assert_eq!(listener.closed().await, CloseReason::MessageTimedOut);
}

#[tokio::test]
async fn a_client_that_says_nothing_is_closed_with_1008() {
    let mut listener = listening(Origins::Any, |limits| limits.first_byte_timeout = Duration::from_millis(100));
    let socket = opened(&listener).await;
    assert_eq!(closing(socket).await, 1008);
    assert_eq!(listener.closed().await, CloseReason::NothingCame);
}

#[tokio::test]
async fn stopping_writes_what_is_queued_and_closes_with_1001() {
    let mut listener = listening(Origins::Any, |_| {});
    let mut socket = opened(&listener).await;
    let flow = listener.opened().await;
    for number in 1..=50 {
        flow.send(request(number)).expect("room");
    }
    listener.stop.cancel();
    for number in 1..=50 {
        assert_eq!(next(&mut socket).await, text(&request(number)));
    }
    assert_eq!(closing(socket).await, 1001);
    within(listener.task).await.expect("the listener ends well");
}

#[tokio::test]
async fn a_reader_that_stops_is_closed() {
    let mut listener = listening(Origins::Any, |limits| limits.queued_bytes_max = 64 * 1024);
    let _socket = opened(&listener).await;
    let flow = listener.opened().await;
    // What the kernel takes is not ours to bound; it ends within a few megabytes.
    while flow.send(request(1)).is_ok() {
        assert!(flow.queued_bytes() <= 64 * 1024);
        tokio::task::yield_now().await;
    }
    assert_eq!(listener.closed().await, CloseReason::QueueFull { bytes_max: 64 * 1024 });
}
