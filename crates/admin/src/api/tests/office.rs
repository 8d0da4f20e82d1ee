//! An API with accounts and roles, and what is asked of it, each time on a connection of its own.

use std::collections::HashMap;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use reveille_core::settings::{AdminRole, Setting, SettingChange};
use reveille_store::{Account, Given, Pass, PassKind, wait};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::accounts::{Issued, hash};
use crate::api::{Api, Groups, LocalUsers, Peer, RUNNING_MAX};
use crate::ports::Ports;
use crate::room::Room;
use crate::testing::{self, TestDesk};

pub(super) const NAME: &str = "admin.contoso.com";
pub(super) const PASSWORD: &str = "correct horse battery";

pub(super) struct Office {
    pub(super) desk: TestDesk,
    pub(super) api: Arc<Api>,
    pub(super) tokens: HashMap<String, String>,
}

pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
    pub(super) retry_after: Option<String>,
}

impl Answer {
    pub(super) fn id(&self) -> &str {
        self.body["id"].as_str().unwrap_or_default()
    }
}

impl Office {
    pub(super) fn new() -> Self {
        Self::with(Ports::default())
    }

    /// An office whose cmdlets can ask these roles.
    pub(super) fn with(ports: Ports) -> Self {
        let (desk, room) = (testing::desk_with(ports), Room::open("office", 1, RUNNING_MAX).unwrap());
        let api = Api::new(desk.shared(), vec![NAME.into()], LocalUsers::new(Groups::default()), room);
        Self { desk, api, tokens: HashMap::new() }
    }

    pub(super) async fn account(&mut self, name: &str, roles: &[&str], disabled: bool) {
        let now = self.desk.clock.now();
        let account = Account {
            name: name.into(),
            password: Some(hash(PASSWORD).unwrap()),
            certificate: None,
            roles: roles.iter().map(ToString::to_string).collect(),
            disabled,
            created: now,
            created_by: "test".into(),
            changed: now,
            changed_by: "test".into(),
            version: 0,
        };
        wait(|done| self.desk.accounts.put_account(account, 0, Given::default(), done)).await.unwrap().unwrap();
        let issued = Issued::new(PassKind::Token);
        let pass = Pass {
            id: issued.id,
            kind: PassKind::Token,
            digest: issued.digest,
            account: name.into(),
            comment: String::new(),
            created: now,
            created_by: "test".into(),
            expires: now.plus(std::time::Duration::from_secs(3600)),
            used: None,
        };
        wait(|done| self.desk.accounts.put_pass(pass, done)).await.unwrap().unwrap();
        self.tokens.insert(name.into(), issued.text);
    }

    pub(super) async fn role(&self, name: &str, cmdlets: &[&str], config: &[&str], users: &[&str]) {
        let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let role = Setting::AdminRole(AdminRole {
            identity: name.into(),
            template: "CsAdministrator".into(),
            cmdlets: texts(cmdlets),
            script_modules: Vec::new(),
            config_scopes: texts(config),
            user_scopes: texts(users),
        });
        let now = self.desk.clock.now();
        self.desk.settings.change("test", now, vec![SettingChange::Put(role)]).await.unwrap();
    }

    /// One request on a connection of its own.
    pub(super) async fn ask(&self, peer: Peer, request: Request<Full<Bytes>>) -> Answer {
        let (ours, theirs) = tokio::io::duplex(64 * 1024);
        let server = tokio::spawn(Arc::clone(&self.api).converse(theirs, peer, CancellationToken::new()));
        let (mut sender, connection) = http1::handshake(TokioIo::new(ours)).await.unwrap();
        let driver = tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        let status = response.status().as_u16();
        let retry_after = response.headers().get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(response.headers()["cache-control"], "no-store");
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        drop(sender);
        drop(driver.await);
        server.await.unwrap();
        Answer { status, body, retry_after }
    }

    /// Runs a cmdlet as an account.
    pub(super) async fn run(&self, who: &str, cmdlet: &str, parameters: Value) -> Answer {
        let path = format!("/admin/v1/cmdlets/{cmdlet}");
        let request = post(&path)
            .header("authorization", format!("Bearer {}", self.tokens[who]))
            .body(Full::from(json!({ "parameters": parameters }).to_string()));
        self.ask(remote(), request.unwrap()).await
    }
}

pub(super) fn remote() -> Peer {
    Peer::Remote { address: "192.0.2.1".parse().unwrap(), certificate: None }
}

pub(super) fn post(path: &str) -> hyper::http::request::Builder {
    Request::post(path).header("host", NAME).header("content-type", "application/json")
}
