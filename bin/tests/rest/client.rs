//! A machine account's side: HTTPS on one connection, and what it signs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reveille_sim::certs::{Ca, Identity};
use rustls::pki_types::ServerName;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::STEP;

/// One connection that stays.
pub(crate) struct Client(TlsStream<TcpStream>);

/// A connection with TLS, which offers these protocols.
pub(crate) async fn secured(
    at: SocketAddr,
    ca: &Ca,
    identity: Option<&Identity>,
    protocols: &[&[u8]],
) -> Result<TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(ca.roots()?);
    let mut config = match identity {
        Some(identity) => builder.with_client_auth_cert(identity.chain(), identity.key())?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    let stream = TcpStream::connect(at).await?;
    Ok(TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost")?, stream).await?)
}

/// What a server answers.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// In lower case up to the colon.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.text).with_context(|| format!("{self:?}"))
    }

    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

impl Client {
    /// Connects, with a client certificate if there is one.
    pub(crate) async fn connect(at: SocketAddr, ca: &Ca, identity: Option<&Identity>) -> Result<Self> {
        Ok(Self(secured(at, ca, identity, &[]).await?))
    }

    pub(crate) async fn ask(&mut self, line: &str, fields: &[(&str, &str)], body: &str) -> Result<Answer> {
        let mut text = format!("{line} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.push_str(body);
        let asked = async {
            self.0.write_all(text.as_bytes()).await?;
            self.answer().await
        };
        tokio::time::timeout(STEP, asked).await.with_context(|| format!("{line}: no answer"))?
    }

    /// Sends what is written so.
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        Ok(self.0.write_all(bytes).await?)
    }

    /// Everything that comes until the server hangs up, or says no more for a while.
    pub(crate) async fn rest(&mut self, pause: Duration) -> String {
        let mut bytes = Vec::new();
        let mut part = [0; 8192];
        while let Ok(Ok(count)) = tokio::time::timeout(pause, self.0.read(&mut part)).await {
            if count == 0 {
                break;
            }
            bytes.extend_from_slice(&part[..count]);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The next answer.
    pub(crate) async fn answer(&mut self) -> Result<Answer> {
        let mut bytes = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let mut lines = head.lines();
                let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).context("a status")?;
                let field =
                    |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
                let fields: Vec<(String, String)> = lines.filter_map(field).collect();
                let length = fields.iter().find(|(name, _)| name == "content-length");
                if body.len() >= length.map_or(Ok(0), |(_, value)| value.parse())? {
                    return Ok(Answer { status, fields, text: body.to_owned() });
                }
            }
            let mut part = [0; 8192];
            let count = self.0.read(&mut part).await?;
            ensure!(count > 0, "it hung up after {text:?}");
            bytes.extend_from_slice(&part[..count]);
        }
    }

    /// Asks for an access token.
    pub(crate) async fn token(&mut self, form: &str) -> Result<Answer> {
        let kind = [("content-type", "application/x-www-form-urlencoded")];
        self.ask("POST /oauth2/token", &kind, &format!("grant_type=client_credentials&{form}")).await
    }

    /// The same, which must be given.
    pub(crate) async fn signed_in(&mut self, form: &str) -> Result<String> {
        let answer = self.token(form).await?;
        ensure!(answer.status == 200, "{answer:?}");
        let given = answer.json()?;
        ensure!(given["token_type"] == "Bearer" && given["expires_in"] == 300, "{given}");
        Ok(format!("Bearer {}", given["access_token"].as_str().context("a token")?))
    }

    /// Sends a body to `/v1/push`.
    pub(crate) async fn push(&mut self, bearer: &str, more: &[(&str, &str)], body: &Value) -> Result<Answer> {
        let mut fields = vec![("content-type", "application/json")];
        if !bearer.is_empty() {
            fields.push(("authorization", bearer));
        }
        fields.extend_from_slice(more);
        self.ask("POST /v1/push", &fields, &body.to_string()).await
    }
}

/// A key pair of an account.
pub(crate) struct Signer(EcdsaKeyPair);

impl Signer {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING)?))
    }

    pub(crate) fn jwk(&self, kid: &str) -> String {
        let point = self.0.public_key().as_ref();
        let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        json!({ "kty": "EC", "crv": "P-256", "kid": kid, "x": number(&point[1..33]), "y": number(&point[33..]) })
            .to_string()
    }

    /// The form with an assertion that has these changes.
    pub(crate) fn form(&self, audience: &str, changed: impl FnOnce(&mut Value, &mut Value)) -> Result<String> {
        let now = std::time::UNIX_EPOCH.elapsed()?.as_secs();
        let mut header = json!({ "alg": "ES256", "kid": "one" });
        let mut claims = json!({
            "iss": "contoso-jwt", "sub": "contoso-jwt", "aud": audience, "iat": now, "exp": now + 60,
            "jti": format!("{:032x}", rand::random::<u128>()),
        });
        changed(&mut header, &mut claims);
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let tag = self.0.sign(&aws_lc_rs::rand::SystemRandom::new(), signed.as_bytes())?;
        let kind = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer";
        Ok(format!("client_assertion_type={kind}&client_assertion={signed}.{}", URL_SAFE_NO_PAD.encode(tag.as_ref())))
    }
}

/// How soon a revocation must act.
pub(crate) const AT_ONCE: Duration = Duration::from_secs(1);
