//! Requests that name another host, or come from a page elsewhere, are refused.

use std::net::IpAddr;

use axum::extract::Request;
use axum::http::StatusCode;
use axum::http::header::{HOST, ORIGIN};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::Complaint;

/// Lets a request through whose Host, and Origin if it has one, are of this machine.
pub(super) async fn only(request: Request, next: Next) -> Response {
    if is_welcome(&request) {
        return next.run(request).await;
    }
    let sentence = "only requests to and from this machine are answered: Host and Origin must be localhost or loopback";
    Complaint::new(StatusCode::FORBIDDEN, sentence).into_response()
}

fn is_welcome(request: &Request) -> bool {
    let field = |name| request.headers().get(name).map(|value| value.to_str().unwrap_or_default());
    let host = field(HOST).is_some_and(is_local);
    host && field(ORIGIN).is_none_or(|origin| origin.split_once("://").is_some_and(|(_, host)| is_local(host)))
}

/// `localhost`, or a loopback address, with or without a port.
fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_are_local() {
        for host in ["localhost", "localhost:80", "LOCALHOST:1", "127.0.0.1:9", "127.5.5.5", "[::1]:80", "[::1]"] {
            assert!(is_local(host), "{host}");
        }
        for host in
            ["", "example.com", "127.0.0.1.example.com", "10.0.0.1:80", "localhost.example.com", "[::2]", "::1x"]
        {
            assert!(!is_local(host), "{host}");
        }
    }
}
