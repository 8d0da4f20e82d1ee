//! The client against a server that others wrote.

use std::time::Duration;

use bytes::Bytes;
use reveille_http2::{Client, Keep, Options, Request, name};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::timeout;

/// Answers with the length of the request's body, after all windows have been used.
async fn serve(stream: DuplexStream, window: u32, streams_max: u32) {
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(window).max_concurrent_streams(streams_max);
    let mut connection = builder.handshake::<_, Bytes>(stream).await.unwrap();
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted.unwrap();
        tokio::spawn(async move {
            let path = request.uri().path().to_owned();
            assert_eq!(request.headers()["authorization"], "bearer x");
            let mut body = request.into_body();
            let mut length = 0;
            while let Some(part) = body.data().await {
                let part = part.unwrap();
                length += part.len();
                body.flow_control().release_capacity(part.len()).unwrap();
            }
            let response = http::Response::builder().status(200).header("date", path).body(()).unwrap();
            let mut answer = respond.send_response(response, false).unwrap();
            answer.send_data(Bytes::from(length.to_string()), true).unwrap();
        });
    }
}

/// Sends so many requests with bodies of growing length, and looks at each answer.
async fn talk(mut stream: DuplexStream, count: usize) -> Client<usize> {
    let mut client = Client::new(Options { wanted: &["date"], body_bytes_max: 100, window: 1 << 20 });
    let (mut next, mut answered, mut request) = (0, 0, Request::new());
    let mut buffer = vec![0; 10_000];
    while answered < count {
        while next < count && client.room() > 0 {
            request.clear();
            request.field(name::METHOD, b"POST", Keep::Table);
            request.field(name::SCHEME, b"https", Keep::Table);
            request.field(name::AUTHORITY, b"localhost", Keep::Table);
            request.field(name::PATH, format!("/{next}").as_bytes(), Keep::Secret);
            request.field(name::AUTHORIZATION, b"bearer x", Keep::Table);
            request.body.resize(next * 7 % 5000, b'x');
            client.send(next, &request).unwrap();
            next += 1;
        }
        timeout(Duration::from_secs(10), stream.write_all(client.output())).await.unwrap().unwrap();
        client.written(usize::MAX);
        let read = timeout(Duration::from_secs(10), stream.read(&mut buffer)).await.unwrap().unwrap();
        assert!(read > 0, "{:?}", client.farewell());
        client.receive(&buffer[..read]);
        while let Some(ended) = client.next_ended() {
            let answer = ended.how.unwrap();
            assert_eq!(answer.status, 200);
            assert_eq!(answer.fields.get("date"), Some(&*format!("/{}", ended.cargo)));
            assert_eq!(answer.body, (ended.cargo * 7 % 5000).to_string().as_bytes());
            client.recycle(answer);
            answered += 1;
        }
    }
    assert_eq!((client.under_way(), client.farewell()), (0, None));
    client
}

#[tokio::test]
async fn thousands_of_requests_are_answered_by_a_published_server_whatever_its_limits() {
    for (window, streams_max) in [(65_535, 1000), (65_535, 1), (100, 50), (1, 3), (1 << 20, 7)] {
        let (ours, theirs) = tokio::io::duplex(3000);
        let server = tokio::spawn(serve(theirs, window, streams_max));
        let count = if window < 50 { 60 } else { 3000 };
        let client = talk(ours, count).await;
        assert_eq!(client.streams_max(), streams_max as usize);
        server.abort();
    }
}
