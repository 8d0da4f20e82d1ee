//! The client against servers that behave well, badly, or are not there.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Mutex as StdMutex;

use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request as HttpRequest, Response};
use hyper_util::rt::TokioIo;
use reveille_admin::{Category, Value};
use rustls::RootCertStore;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use super::*;

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("reveille-remote-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn socket(&self) -> PathBuf {
        self.0.join("s")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Serves on connections one after the other; each ends after `per_connection` answers.
async fn serve(
    listener: UnixListener,
    per_connection: usize,
    seen: Arc<StdMutex<Vec<String>>>,
    answer: fn(&str) -> (u16, String),
) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let left = StdMutex::new(per_connection);
        let service = service_fn(|request: HttpRequest<Incoming>| {
            let mut left = left.lock().unwrap();
            *left -= 1;
            let last = *left == 0;
            let seen = seen.clone();
            async move {
                let line = format!("{} {}", request.method(), request.uri().path());
                let bearer = request.headers().get(AUTHORIZATION).map(|value| value.to_str().unwrap().to_owned());
                let body = request.into_body().collect().await.unwrap().to_bytes();
                seen.lock().unwrap().push(format!("{line} {bearer:?} {}", String::from_utf8_lossy(&body)));
                let (status, text) = answer(&line);
                let mut response = Response::builder().status(status);
                if status == 429 {
                    response = response.header("retry-after", "0");
                }
                if last {
                    response = response.header("connection", "close");
                }
                Ok::<_, Infallible>(response.body(Full::new(Bytes::from(text))).unwrap())
            }
        });
        let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
    }
}

fn well(line: &str) -> (u16, String) {
    match line {
        "POST /admin/v1/session" => (200, r#"{"token":"rv_1","expires":"later"}"#.into()),
        "DELETE /admin/v1/session" => (204, String::new()),
        "GET /admin/v1/me" => (200, r#"{"name":"ken","roles":[]}"#.into()),
        "POST /admin/v1/cmdlets/Get-CsMcxConfiguration" => {
            (200, r#"{"objects":[{"PSTypeName":"McxConfiguration","Identity":"Global"}],"warnings":["w"]}"#.into())
        }
        "POST /admin/v1/cmdlets/New-CsAllowedDomain" => (
            409,
            r#"{"type":"about:blank","title":"Conflict","status":409,"message":"push.lync.com is allowed already.",
                "category":"ResourceExists","target":"push.lync.com","exception":"ManagementException","id":"ObjectExists"}"#
                .into(),
        ),
        _ => (404, "<html>not here</html>".into()),
    }
}

#[tokio::test]
async fn who_is_too_fast_comes_again_when_the_server_says() {
    static TRIES: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    let folder = Folder::new("busy");
    let seen = Arc::default();
    let busy = |line: &str| match TRIES.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0..3 => (429, r#"{"message":"Too many."}"#.to_owned()),
        _ => well(line),
    };
    let server = tokio::spawn(serve(UnixListener::bind(folder.socket()).unwrap(), 9, Arc::clone(&seen), busy));
    let remote = Remote::new(Address::Socket(folder.socket()), None).unwrap();
    let outcome = remote.run("Get-CsMcxConfiguration", &Object::default()).await.unwrap();
    assert_eq!((outcome.objects.len(), seen.lock().unwrap().len()), (1, 4));
    server.abort();
}

#[tokio::test]
async fn a_cmdlet_is_one_request_and_its_outcome_or_failure_comes_back_whole() {
    let folder = Folder::new("whole");
    let seen = Arc::default();
    // Each connection is closed after two answers: the third request must find out and open another.
    let server = tokio::spawn(serve(UnixListener::bind(folder.socket()).unwrap(), 2, Arc::clone(&seen), well));
    let remote = Remote::new(Address::Socket(folder.socket()), None).unwrap();
    let parameters = Object::default().with("Identity", "push.lync.com").with("WhatIf", true);
    let outcome = remote.run("Get-CsMcxConfiguration", &Object::default()).await.unwrap();
    assert_eq!(outcome.warnings, ["w"]);
    assert_eq!(outcome.objects[0].as_object().unwrap().property("Identity"), Some(&Value::from("Global")));
    let failure = remote.run("New-CsAllowedDomain", &parameters).await.unwrap_err();
    assert_eq!((failure.category, &*failure.id), (Category::ResourceExists, "ObjectExists"));
    assert_eq!(failure.message, "push.lync.com is allowed already.");
    remote.sign_in("ken", &Secret::new("correct horse")).await.unwrap();
    assert_eq!(remote.me().await.unwrap().name, "ken");
    remote.sign_out().await.unwrap();
    let strange = remote.run("Get-CsNothing", &Object::default()).await.unwrap_err();
    assert!(strange.message.contains("answered 404, and not in the way of the admin API"), "{strange}");
    server.abort();
    let seen = seen.lock().unwrap();
    assert_eq!(
        *seen,
        [
            r#"POST /admin/v1/cmdlets/Get-CsMcxConfiguration None {"parameters":{}}"#,
            r#"POST /admin/v1/cmdlets/New-CsAllowedDomain None {"parameters":{"Identity":"push.lync.com","WhatIf":true}}"#,
            r#"POST /admin/v1/session None {"account":"ken","password":"correct horse"}"#,
            r#"GET /admin/v1/me Some("Bearer rv_1") "#,
            r#"DELETE /admin/v1/session Some("Bearer rv_1") "#,
            r#"POST /admin/v1/cmdlets/Get-CsNothing None {"parameters":{}}"#,
        ]
    );
}

#[tokio::test]
async fn a_socket_that_leads_nowhere_says_why_and_what_to_do() {
    let folder = Folder::new("nowhere");
    let path = folder.socket();
    let remote = Remote::new(Address::Socket(path.clone()), None).unwrap();
    let missing = remote.me().await.unwrap_err();
    assert_eq!(missing, RemoteError::NoSocket { path: path.display().to_string() });
    assert!(missing.to_string().contains("--socket PATH names another"));
    drop(UnixListener::bind(&path).unwrap());
    let left = remote.run("Get-CsMcxConfiguration", &Object::default()).await.unwrap_err();
    assert_eq!(left.category, Category::ResourceUnavailable);
    assert!(left.message.starts_with("Nobody listens on /"), "{left}");
    assert!(left.message.ends_with("reveille serve -c FILE."), "{left}");
}

#[tokio::test]
async fn who_is_not_known_is_told_how_to_become_so() {
    let folder = Folder::new("unknown");
    let refuse: fn(&str) -> (u16, String) = |_| {
        let failure = Failure::new(Category::PermissionDenied, "NotSignedIn", "A token is needed.");
        (401, serde_json::to_string(&failure).unwrap())
    };
    let server = tokio::spawn(serve(UnixListener::bind(folder.socket()).unwrap(), 9, Arc::default(), refuse));
    let remote = Remote::new(Address::Socket(folder.socket()), None).unwrap();
    let without = remote.me().await.unwrap_err().to_string();
    assert!(without.contains("A token is needed. Give --account NAME"), "{without}");
    let remote = remote.with_token(Secret::new("rv_old"));
    let with = remote.me().await.unwrap_err().to_string();
    assert!(with.contains("has expired or was revoked") && !with.contains("rv_old"), "{with}");
    let remote = remote.with_token(Secret::new("two\nlines"));
    assert_eq!(remote.me().await.unwrap_err(), RemoteError::TokenNotText);
    server.abort();
}

/// A server with a certificate for `name`, and the authority that signed it.
fn certificate(name: &str, authority: &str) -> (rustls::ServerConfig, RootCertStore) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut signed = rcgen::CertificateParams::new(Vec::new()).unwrap();
    signed.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    signed.distinguished_name.push(rcgen::DnType::CommonName, format!("{authority} authority"));
    let root = signed.self_signed(&key).unwrap();
    let own = rcgen::KeyPair::generate().unwrap();
    let issuer = rcgen::Issuer::new(signed, key);
    let leaf = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap().signed_by(&own, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], own.serialize_der().try_into().unwrap())
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    (config, roots)
}

#[tokio::test]
async fn a_server_from_afar_must_prove_its_name_to_somebody_we_trust() {
    let (config, roots) = certificate("localhost", "our");
    let (_, others) = certificate("localhost", "another");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let service = service_fn(|request: HttpRequest<Incoming>| async move {
                let (status, text) = well(&format!("{} {}", request.method(), request.uri().path()));
                Ok::<_, Infallible>(Response::builder().status(status).body(Full::new(Bytes::from(text))).unwrap())
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }
    });
    let at = |host: &str| Address::Https { host: host.into(), port };
    for (host, roots, expected) in [
        ("localhost", Some(roots.clone()), None),
        ("127.0.0.1", Some(roots), Some("does not hold the name 127.0.0.1")),
        ("localhost", Some(others), Some("--ca FILE names the certificate of who signed it")),
        ("localhost", None, Some("--ca FILE names the certificate of who signed it")),
    ] {
        let remote = Remote::new(at(host), roots).unwrap();
        match (remote.me().await, expected) {
            (Ok(me), None) => assert_eq!(me.name, "ken"),
            (Err(said), Some(part)) => assert!(said.to_string().contains(part), "{host}: {said}"),
            (answer, expected) => panic!("{host}: {answer:?} and not {expected:?}"),
        }
    }
    server.abort();
}

#[tokio::test]
async fn a_port_without_tls_is_told_apart_from_a_closed_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        listener
    });
    let at = Address::Https { host: "127.0.0.1".into(), port: address.port() };
    let remote = Remote::new(at.clone(), Some(certificate("a.example", "our").1)).unwrap();
    let clear = remote.me().await.unwrap_err().to_string();
    assert!(clear.contains("does not speak TLS: is it the right port?"), "{clear}");
    drop(server.await.unwrap());
    let closed = remote.me().await.unwrap_err().to_string();
    assert!(closed.contains("cannot be reached: Connection refused"), "{closed}");
}
