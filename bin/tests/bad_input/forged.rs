//! Trust that only an edge may stamp.

use crate::requests::push;
use crate::scene::Way;
use crate::support::push::request;
use crate::table::{Row, row};
use crate::{EDGE, HOME, HOUSE};

/// Trust that only an edge may stamp, from hosts that are none.
pub(crate) fn forged() -> Vec<Row> {
    let trust = "ms-edge-proxy-message-trust: ms-source-type=DirectPartner;ms-ep-fqdn=edge.push.example.net;\
                 ms-source-verified-user=verified;ms-source-network=federation;ms-remote-fqdn=edge.contoso.com\r\n";
    let stamped = |trust: &str| {
        let text = String::from_utf8_lossy(&push(&request().to_string())).into_owned();
        text.replace("Call-ID: push\r\n", &format!("Call-ID: push\r\n{trust}"))
    };
    let no_edge = "403 forged-trust, goes on";
    let mut rows = vec![
        row("trust from the publisher's own edge", Way::House(EDGE), stamped(trust), "202 0;result=journaled, goes on"),
        row("no trust from the publisher's own edge", Way::House(EDGE), stamped(""), "403 no-trust, goes on"),
        row(
            "nonsense as trust from the publisher's own edge",
            Way::House(EDGE),
            stamped("ms-edge-proxy-message-trust: believe me\r\n"),
            "403 no-trust, goes on",
        ),
    ];
    for certificate in ["bob", HOME, "edge.contoso.com", "edge.fabrikam.com", HOUSE] {
        rows.push(row(format!("trust forged by {certificate}"), Way::House(certificate), stamped(trust), no_edge));
    }
    for certificate in ["bob", "edge.fabrikam.com", EDGE] {
        rows.push(row(format!("trust forged by {certificate}"), Way::HomeInside(certificate), stamped(trust), no_edge));
    }
    for certificate in ["bob", HOME, "edge.contoso.com"] {
        rows.push(row(
            format!("an outsider inside: {certificate}"),
            Way::EdgeInside(certificate),
            stamped(trust),
            "403 forged-trust, goes on with 403",
        ));
    }
    rows
}
