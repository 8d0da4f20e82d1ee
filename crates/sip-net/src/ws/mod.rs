//! SIP over WebSocket (RFC 7118): the opening handshake. The conversation after it is in `conversation`.

mod conversation;
mod meter;

use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::tungstenite::error::Error;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::header::{HeaderValue, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use tokio_tungstenite::tungstenite::http::{self, StatusCode};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

pub(crate) use conversation::converse;
pub(crate) use meter::Metered;

/// Which web pages may open a WebSocket to this server.
///
/// A browser names the page in Origin (RFC 6455 §10.2), so a page that a user merely visits can be kept from using the
/// user's way into our network. Programs other than browsers send no Origin and are not kept out by this.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Origins {
    /// Every page.
    #[default]
    Any,
    /// Pages of these origins, for instance `https://phone.contoso.com`.
    Only(Arc<[String]>),
}

/// Why a WebSocket was not opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpgradeRefusal {
    #[error("the request for a WebSocket is not sound: {0}")]
    Broken(Box<Error>),
    #[error("pages of {origin} may not open a WebSocket here")]
    Origin { origin: String },
    #[error("the client does not offer the subprotocol sip")]
    Subprotocol,
}

impl UpgradeRefusal {
    /// A short constant name, for metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Broken(_) => "websocket-broken",
            Self::Origin { .. } => "websocket-origin",
            Self::Subprotocol => "websocket-subprotocol",
        }
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Broken(_) | Self::Subprotocol => StatusCode::BAD_REQUEST,
            Self::Origin { .. } => StatusCode::FORBIDDEN,
        }
    }
}

/// Answers the opening handshake. `message_bytes_max` bounds a message and each of its frames.
pub(crate) async fn upgrade<S>(
    stream: S,
    origins: &Origins,
    message_bytes_max: usize,
) -> Result<WebSocketStream<Metered<S>>, UpgradeRefusal>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut refusal = None;
    #[allow(clippy::result_large_err, reason = "the WebSocket library wants this type")]
    let judge = |request: &Request, response: Response| match judge(request, response, origins) {
        Ok(response) => Ok(response),
        Err(why) => {
            let mut answer = ErrorResponse::new(Some(format!("{why}\n")));
            *answer.status_mut() = why.status();
            refusal = Some(why);
            Err(answer)
        }
    };
    let limits = WebSocketConfig::default()
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max))
        .read_buffer_size(READ_BYTES)
        .write_buffer_size(WRITE_BYTES);
    match accept_hdr_async_with_config(Metered::new(stream), judge, Some(limits)).await {
        Ok(stream) => Ok(stream),
        Err(error) => Err(refusal.unwrap_or_else(|| UpgradeRefusal::Broken(Box::new(error)))),
    }
}

fn judge(request: &Request, mut response: Response, origins: &Origins) -> Result<Response, UpgradeRefusal> {
    if let (Origins::Only(welcome), Some(origin)) = (origins, request.headers().get(ORIGIN)) {
        // RFC 6454 §6.2: the serialisation has scheme and host in lower case; some clients do not.
        let is_welcome = |one: &String| origin.as_bytes().eq_ignore_ascii_case(one.as_bytes());
        if !welcome.iter().any(is_welcome) {
            let origin = String::from_utf8_lossy(origin.as_bytes()).into_owned();
            return Err(UpgradeRefusal::Origin { origin });
        }
    }
    // RFC 7118 §4.2: the client offers "sip" and the server takes it, or there is no SIP here.
    let offered = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL);
    if !offered.iter().any(|value| lists(value, "sip")) {
        return Err(UpgradeRefusal::Subprotocol);
    }
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("sip"));
    Ok(response)
}

fn lists(value: &http::HeaderValue, wanted: &str) -> bool {
    value.to_str().is_ok_and(|text| text.split(',').any(|one| one.trim().eq_ignore_ascii_case(wanted)))
}

/// Most WebSockets are quiet most of the time.
const READ_BYTES: usize = 4 * 1024;
/// What is collected before it is written; all is written at the end of each turn anyway.
const WRITE_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(headers: &[(&'static str, &str)]) -> Request {
        let start = http::Request::builder().uri("/");
        headers.iter().fold(start, |request, (name, value)| request.header(*name, *value)).body(()).expect("a request")
    }

    fn answer(headers: &[(&'static str, &str)], origins: &Origins) -> Result<String, u16> {
        match judge(&request(headers), Response::new(()), origins) {
            Ok(response) => Ok(response.headers()[SEC_WEBSOCKET_PROTOCOL].to_str().expect("text").to_owned()),
            Err(refusal) => Err(refusal.status().as_u16()),
        }
    }

    /// What the row shows, headers, who is welcome, and the subprotocol or the status.
    type Row<'a> = (&'a str, &'a [(&'static str, &'a str)], &'a Origins, Result<&'a str, u16>);

    #[test]
    fn only_those_who_offer_sip_come_in_and_only_from_pages_that_are_welcome() {
        let ours = Origins::Only(Arc::from(["https://phone.contoso.com".to_owned()]));
        let sip = ("sec-websocket-protocol", "sip");
        let rows: [Row<'_>; 9] = [
            ("sip", &[sip], &Origins::Any, Ok("sip")),
            ("among others", &[("sec-websocket-protocol", "msrp, SIP")], &Origins::Any, Ok("sip")),
            ("in a second header", &[("sec-websocket-protocol", "msrp"), sip], &Origins::Any, Ok("sip")),
            ("another", &[("sec-websocket-protocol", "xmpp")], &Origins::Any, Err(400)),
            ("none", &[], &Origins::Any, Err(400)),
            ("any page", &[sip, ("origin", "https://evil.example")], &Origins::Any, Ok("sip")),
            ("our page", &[sip, ("origin", "https://Phone.contoso.com")], &ours, Ok("sip")),
            ("another page", &[sip, ("origin", "https://evil.example")], &ours, Err(403)),
            ("no browser", &[sip], &ours, Ok("sip")),
        ];
        for (row, headers, origins, expected) in rows {
            assert_eq!(answer(headers, origins), expected.map(str::to_owned), "{row}");
        }
    }
}
