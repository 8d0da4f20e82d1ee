//! Whom a request is addressed to, and which page it comes from: what keeps a web page from using the API through the
//! browser of somebody who may (DNS rebinding, cross-site requests).

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, ORIGIN};
use http::{HeaderMap, Method, Request};

use super::Peer;
use super::problem::Problem;

/// Whether the request is for us and not sent by somebody else's page.
pub(super) fn check<B>(request: &Request<B>, peer: Peer, names: &[String]) -> Result<(), Problem> {
    let headers = request.headers();
    let named = one(headers, HOST.as_str())?;
    let addressed = request.uri().authority().map(http::uri::Authority::as_str).or(named).unwrap_or_default();
    if !is_ours(addressed, peer, names) || named.is_some_and(|host| !is_ours(host, peer, names)) {
        return Err(Problem::forbidden(
            "ForeignHost",
            "This request is addressed to another name than this server's. [admin] names lists the names that it answers to.",
        ));
    }
    if let Some(origin) = one(headers, ORIGIN.as_str())? {
        let own = origin.strip_prefix("https://").is_some_and(|host| is_ours(host, peer, names));
        // No browser speaks to a socket: what comes there with an origin came through something that should not be.
        if !own || matches!(peer, Peer::Local { .. }) {
            return Err(Problem::forbidden("ForeignOrigin", "This request comes from a page of another origin."));
        }
    }
    if let Some(site) = one(headers, "sec-fetch-site")?
        && !matches!(site, "same-origin" | "none")
    {
        return Err(Problem::forbidden("ForeignOrigin", "This request comes from a page of another site."));
    }
    let kind = one(headers, CONTENT_TYPE.as_str())?.unwrap_or_default();
    let media = kind.split(';').next().unwrap_or_default().trim();
    // A form of some page can send text, and cannot send this.
    if request.method() == Method::POST && !media.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(415, "NotJson", "What is posted here is application/json."));
    }
    Ok(())
}

/// The token of an `Authorization: Bearer` field (RFC 6750 §2.1), if there is such a field.
pub(super) fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(value) = one(headers, AUTHORIZATION.as_str())? else { return Ok(None) };
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(token.trim())),
        _ => Err(Problem::unauthorised("The Authorization field must be: Bearer, a blank, the token.")),
    }
}

fn is_ours(authority: &str, peer: Peer, names: &[String]) -> bool {
    let name = match authority.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) => return false,
        None => authority,
    };
    match peer {
        Peer::Local { .. } => name.is_empty() || name == "localhost",
        Peer::Remote { .. } => names.iter().any(|own| own.eq_ignore_ascii_case(name)),
    }
}

/// The field's value; two of them are nobody's honest request.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Problem> {
    let mut all = headers.get_all(name).iter();
    let first = all.next().map(|value| value.to_str());
    match (first, all.next()) {
        (None, _) => Ok(None),
        (Some(Ok(value)), None) => Ok(Some(value)),
        _ => Err(Problem::new(400, "BadField", format!("The field {name} stands twice or holds what is no text."))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REMOTE: Peer =
        Peer::Remote { address: std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), certificate: None };
    const LOCAL: Peer = Peer::Local { uid: 0 };

    fn get(peer: Peer, fields: &[(&str, &str)]) -> Option<u16> {
        let mut request = Request::get("/admin/v1/me");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let names = ["admin.contoso.com".to_owned()];
        check(&request.body(()).unwrap(), peer, &names).err().map(|problem| problem.status)
    }

    #[test]
    fn only_requests_for_our_names_and_from_our_pages_come_in() {
        let host = ("host", "admin.contoso.com:5080");
        for (peer, fields, refused) in [
            (REMOTE, vec![host], None),
            (REMOTE, vec![("host", "ADMIN.contoso.com")], None),
            (REMOTE, vec![("host", "evil.example")], Some(403)),
            (REMOTE, vec![("host", "127.0.0.1:5080")], Some(403)),
            (REMOTE, vec![("host", "admin.contoso.com.evil.example")], Some(403)),
            (REMOTE, vec![("host", "evil.example:admin.contoso.com")], Some(403)),
            (REMOTE, vec![("host", "localhost")], Some(403)),
            (REMOTE, vec![], Some(403)),
            (REMOTE, vec![host, ("host", "evil.example")], Some(400)),
            (REMOTE, vec![host, ("origin", "https://admin.contoso.com:5080")], None),
            (REMOTE, vec![host, ("origin", "https://evil.example")], Some(403)),
            (REMOTE, vec![host, ("origin", "http://admin.contoso.com")], Some(403)),
            (REMOTE, vec![host, ("origin", "null")], Some(403)),
            (REMOTE, vec![host, ("sec-fetch-site", "cross-site")], Some(403)),
            (LOCAL, vec![("host", "localhost")], None),
            (LOCAL, vec![], None),
            (LOCAL, vec![("host", "evil.example")], Some(403)),
            (LOCAL, vec![("host", "localhost"), ("origin", "http://localhost")], Some(403)),
        ] {
            assert_eq!(get(peer, &fields), refused, "{peer:?} {fields:?}");
        }
    }

    #[test]
    fn what_is_posted_must_say_that_it_is_json() {
        for (kind, refused) in [
            (Some("application/json"), None),
            (Some("Application/JSON; charset=utf-8"), None),
            (Some("text/plain"), Some(415)),
            (Some("text/plain; application/json"), Some(415)),
            (None, Some(415)),
        ] {
            let mut request = Request::post("/admin/v1/cmdlets/Get-CsAdminRole").header("host", "localhost");
            if let Some(kind) = kind {
                request = request.header("content-type", kind);
            }
            let refusal = check(&request.body(()).unwrap(), LOCAL, &[]).err().map(|problem| problem.status);
            assert_eq!(refusal, refused, "{kind:?}");
        }
    }

    #[test]
    fn a_request_for_another_name_in_its_first_line_is_not_ours() {
        let request = Request::get("http://evil.example/admin/v1/me").header("host", "localhost").body(()).unwrap();
        assert_eq!(check(&request, LOCAL, &[]).unwrap_err().status, 403);
    }
}
