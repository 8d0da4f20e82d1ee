//! Access tokens for machine accounts: the client credentials of OAuth 2 (RFC 6749 §4.4), by secret, signed assertion
//! (RFC 7523) or client certificate (RFC 8705 §2.1), and the document that says so (RFC 8414).

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use reveille_core::settings::{PushAccount, Snapshot};
use reveille_federation::policy::{AccountProof, AccountRefusal, admit_account};
use serde_json::json;

use super::account::Caller;
use super::assertion::{ALGORITHMS, Claimed, Unproven};
use super::form::Form;
use super::problem::whole_secs;
use super::token::{Credential, Grant};
use super::{Rest, body};

/// The largest form, in bytes: an assertion and a little.
const FORM_BYTES_MAX: usize = 16 * 1024;
/// RFC 7523 §2.2.
const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// Why no token is given (RFC 6749 §5.2).
#[derive(Debug)]
pub(super) struct Denied {
    status: StatusCode,
    error: &'static str,
    description: String,
    /// Whether the client used the Authorization header: then §5.2 asks for a challenge.
    challenge: bool,
    /// Whether it may be a stranger's guess.
    guess: bool,
    wait: Option<u64>,
}

impl Denied {
    fn bad(error: &'static str, description: impl Into<String>) -> Self {
        let description = description.into();
        Self { status: StatusCode::BAD_REQUEST, error, description, challenge: false, guess: false, wait: None }
    }

    fn client(description: impl Into<String>) -> Self {
        Self { status: StatusCode::UNAUTHORIZED, guess: true, ..Self::bad("invalid_client", description) }
    }

    fn later(wait: u64, description: impl Into<String>) -> Self {
        let denied = Self::bad("temporarily_unavailable", description);
        Self { status: StatusCode::TOO_MANY_REQUESTS, wait: Some(wait), ..denied }
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.error, "error_description": self.description }).to_string();
        let mut response = (self.status, body).into_response();
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.challenge {
            fields.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"push\""));
        }
        if let Some(wait) = self.wait {
            fields.insert(RETRY_AFTER, wait.into());
        }
        response
    }
}

/// How a client shows who it is.
enum Shown {
    Assertion(String),
    Certificate { client: String },
    Secret { client: String, secret: String, basic: bool },
}

/// `POST /oauth2/token`
pub(super) async fn token(
    State(rest): State<Arc<Rest>>,
    Extension(caller): Extension<Caller>,
    fields: HeaderMap,
    body: Body,
) -> Result<Response, Denied> {
    let kind = fields.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(Denied::bad("invalid_request", "The body must be application/x-www-form-urlencoded."));
    }
    let text =
        body::read(body, FORM_BYTES_MAX).await.map_err(|fault| Denied::bad("invalid_request", fault.detail()))?;
    let form = Form::read(&text).map_err(|fault| Denied::bad("invalid_request", fault))?;
    match form.one("grant_type") {
        Some("client_credentials") => {}
        Some(_) => return Err(Denied::bad("unsupported_grant_type", "Only client_credentials is given here.")),
        None => return Err(Denied::bad("invalid_request", "grant_type is missing.")),
    }
    if form.one("scope").is_some_and(|scope| scope.split(' ').any(|word| word != SCOPE)) {
        return Err(Denied::bad("invalid_scope", "The only scope is push."));
    }
    let shown = shown(&fields, &form)?;
    let basic = matches!(shown, Shown::Secret { basic: true, .. });
    let waiting = rest
        .guesses
        .wait(caller.address)
        .map(|wait| Denied::later(whole_secs(wait), "Too many wrong secrets and assertions came from this address."));
    // A signature is work for us. A secret is none, and a good one is taken from an address that must wait, too: somebody
    // else may share it.
    let waiting = match (waiting, &shown) {
        (Some(denied), Shown::Assertion(_)) => return Err(denied),
        (waiting, _) => waiting,
    };
    match rest.prove(&caller, shown) {
        Ok((account, credential)) => {
            caller.presence.is_known(true);
            Ok(rest.issue(account, credential))
        }
        Err(denied) => {
            metrics::counter!("reveille_rest_denied_total", "error" => denied.error).increment(1);
            if denied.guess {
                rest.guesses.wrong(caller.address);
                if let Some(later) = waiting {
                    return Err(later);
                }
            }
            let challenge = basic && denied.status == StatusCode::UNAUTHORIZED;
            Err(Denied { challenge, ..denied })
        }
    }
}

/// `GET /.well-known/oauth-authorization-server`
pub(super) async fn metadata(State(rest): State<Arc<Rest>>) -> Response {
    let issuer = &rest.site.issuer;
    let body = json!({
        "issuer": issuer,
        "token_endpoint": format!("{issuer}/oauth2/token"),
        "grant_types_supported": ["client_credentials"],
        "response_types_supported": [],
        "scopes_supported": [SCOPE],
        "token_endpoint_auth_methods_supported":
            ["client_secret_basic", "client_secret_post", "private_key_jwt", "tls_client_auth"],
        "token_endpoint_auth_signing_alg_values_supported": ALGORITHMS,
        "tls_client_certificate_bound_access_tokens": true,
        "service_documentation": format!("{issuer}/openapi.json"),
    });
    ([(CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// What the form or the header shows: exactly one thing (RFC 6749 §2.3).
fn shown(fields: &HeaderMap, form: &Form) -> Result<Shown, Denied> {
    let mut headers = fields.get_all(AUTHORIZATION).iter();
    let basic = headers.next().map(|value| {
        basic(value).ok_or_else(|| {
            let denied = Denied::client("The Authorization field holds no Basic credentials of a client.");
            Denied { challenge: true, ..denied }
        })
    });
    let basic = basic.transpose()?;
    let (secret, assertion) = (form.one("client_secret"), form.one("client_assertion"));
    let ways = [basic.is_some(), secret.is_some(), assertion.is_some()].into_iter().filter(|shown| *shown).count();
    if ways > 1 || headers.next().is_some() {
        return Err(Denied::bad("invalid_request", "The client shows more than one thing: a secret or an assertion."));
    }
    let client = form.one("client_id");
    if let Some((name, secret)) = basic {
        return match client.is_none_or(|client| client == name) {
            true => Ok(Shown::Secret { client: name, secret, basic: true }),
            false => Err(Denied::bad("invalid_request", "client_id is another one than in the Authorization field.")),
        };
    }
    if let Some(assertion) = assertion {
        return match form.one("client_assertion_type") {
            Some(ASSERTION_TYPE) => Ok(Shown::Assertion(assertion.into())),
            _ => Err(Denied::bad("invalid_request", format!("client_assertion_type must be {ASSERTION_TYPE}."))),
        };
    }
    let client = client.ok_or_else(|| Denied::bad("invalid_request", "client_id is missing."))?.to_owned();
    Ok(match secret {
        Some(secret) => Shown::Secret { client, secret: secret.into(), basic: false },
        None => Shown::Certificate { client },
    })
}

/// RFC 6749 §2.3.1: name and secret are form-encoded before they are Basic credentials.
fn basic(value: &HeaderValue) -> Option<(String, String)> {
    let (scheme, text) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(text.trim()).ok()?).ok()?;
    let (name, secret) = text.split_once(':')?;
    Some((super::form::decoded(name)?, super::form::decoded(secret)?))
}

impl Rest {
    /// The account that has shown itself, and by what.
    fn prove(&self, caller: &Caller, shown: Shown) -> Result<(String, Credential), Denied> {
        let settings = Arc::clone(&self.settings.borrow());
        let now = self.clock.now();
        let (account, credential) = match shown {
            Shown::Secret { client, secret, .. } => {
                let account = settings.push_account(&client).ok_or_else(unknown)?;
                let id = secret_of(account, &secret).ok_or_else(unknown)?;
                (account, Credential::Secret(id.into()))
            }
            Shown::Assertion(text) => {
                let claimed = Claimed::read(&text).map_err(unproven)?;
                let account = settings.push_account(claimed.subject());
                let endpoint = format!("{}/oauth2/token", self.site.issuer);
                let key = claimed.prove(account, &[&self.site.issuer, &endpoint], &self.used, now);
                let credential = Credential::of_key(key.map_err(unproven)?);
                (account.ok_or_else(unknown)?, credential)
            }
            Shown::Certificate { client } => {
                // Before the name is looked for: whoever shows nothing is not told which names there are.
                let certificate = caller.certificate.as_ref().ok_or_else(|| {
                    Denied::client("Nothing was shown: a secret, a signed assertion or a client certificate is needed.")
                })?;
                let account = settings.push_account(&client).ok_or_else(unknown)?;
                (account, Credential::Certificate(certificate.sha256_fingerprint.clone()))
            }
        };
        self.welcome(&settings, caller, account, &credential)?;
        Ok((account.identity.clone(), credential))
    }

    /// The same question as at each use of the token.
    fn welcome(
        &self,
        settings: &Snapshot,
        caller: &Caller,
        account: &PushAccount,
        credential: &Credential,
    ) -> Result<(), Denied> {
        let now = self.clock.now();
        let admitted = match credential {
            Credential::Secret(id) => admit_account(settings, &account.identity, AccountProof::Secret(id), now),
            Credential::Key(_) => self.admit_key(settings, &account.identity, credential),
            Credential::Certificate(_) => {
                let certificate = caller.certificate.as_ref().ok_or_else(unknown)?;
                self.admit_certificate(settings, &account.identity, certificate)
            }
        };
        match admitted {
            Ok(_) => Ok(()),
            Err(refusal @ AccountRefusal::Organisation(_)) => {
                tracing::info!(account = account.identity, %refusal, "a machine account gets no token");
                Err(Denied::bad("unauthorized_client", format!("{refusal}.")))
            }
            Err(refusal) => {
                tracing::info!(account = account.identity, %refusal, "a machine account gets no token");
                Err(unknown())
            }
        }
    }

    fn issue(&self, account: String, credential: Credential) -> Response {
        let life = self.site.token_life;
        let grant = Grant { account, credential, expires: self.clock.now().plus(life) };
        let token = self.seal.close(&grant);
        metrics::counter!("reveille_rest_tokens_total").increment(1);
        let body =
            json!({ "access_token": token, "token_type": "Bearer", "expires_in": life.as_secs(), "scope": SCOPE });
        let fields = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
        (fields, body.to_string()).into_response()
    }
}

/// Which of the account's secrets that is. All are compared, in a time that does not tell how far they are the same.
fn secret_of<'a>(account: &'a PushAccount, secret: &str) -> Option<&'a str> {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, secret.as_bytes());
    let digest: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    let same = |known: &&reveille_core::settings::PushAccountSecret| {
        verify_slices_are_equal(known.digest.to_ascii_lowercase().as_bytes(), digest.as_bytes()).is_ok()
    };
    account.secrets.iter().find(same).map(|secret| secret.id.as_str())
}

/// The same for a wrong name, a wrong secret and an account that is closed: a stranger learns nothing of it.
fn unknown() -> Denied {
    Denied::client("The client is not known, not let in, or not with that.")
}

fn unproven(why: Unproven) -> Denied {
    match why {
        Unproven::TooMany => Denied::later(10, format!("{}.", capital(&why.to_string()))),
        Unproven::Algorithm | Unproven::Form | Unproven::Signature | Unproven::Subject => {
            Denied::client(format!("{}.", capital(&why.to_string())))
        }
        // The account's own key has signed it.
        Unproven::Audience
        | Unproven::BeforeStart
        | Unproven::Expired
        | Unproven::FromTheFuture
        | Unproven::LivesTooLong
        | Unproven::NotYet
        | Unproven::Replayed => Denied { guess: false, ..Denied::client(format!("{}.", capital(&why.to_string()))) },
    }
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| format!("{}{}", first.to_uppercase(), chars.as_str()))
}

/// There is one right only.
const SCOPE: &str = "push";
