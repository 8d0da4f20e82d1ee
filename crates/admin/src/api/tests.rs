//! The API as its callers meet it: over a connection, with real stores. What each role may run, and what people try who
//! want more.

use std::collections::HashMap;
use std::sync::Arc;

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use reveille_core::settings::{AdminRole, Setting, SettingChange};
use reveille_store::{Account, Pass, PassKind, wait};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::accounts::{Issued, hash};
use crate::cmdlets::CMDLETS;
use crate::roles::{PREDEFINED, Rights};
use crate::testing::{self, TestDesk};

const NAME: &str = "admin.contoso.com";
const PASSWORD: &str = "correct horse battery";

struct Office {
    desk: TestDesk,
    api: Arc<Api>,
    tokens: HashMap<String, String>,
}

struct Answer {
    status: u16,
    body: Value,
    retry_after: Option<String>,
}

impl Answer {
    fn id(&self) -> &str {
        self.body["id"].as_str().unwrap_or_default()
    }
}

impl Office {
    fn new() -> Self {
        let desk = testing::desk();
        let api = Api::new(desk.shared(), vec![NAME.into()], LocalUsers::new(Groups::default()));
        Self { desk, api, tokens: HashMap::new() }
    }

    async fn account(&mut self, name: &str, roles: &[&str], disabled: bool) {
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
        wait(|done| self.desk.accounts.put_account(account, 0, done)).await.unwrap().unwrap();
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

    async fn role(&self, name: &str, cmdlets: &[&str], config: &[&str], users: &[&str]) {
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
    async fn ask(&self, peer: Peer, request: Request<Full<Bytes>>) -> Answer {
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
    async fn run(&self, who: &str, cmdlet: &str, parameters: Value) -> Answer {
        let path = format!("/admin/v1/cmdlets/{cmdlet}");
        let request = post(&path)
            .header("authorization", format!("Bearer {}", self.tokens[who]))
            .body(Full::from(json!({ "parameters": parameters }).to_string()));
        self.ask(remote(), request.unwrap()).await
    }
}

fn remote() -> Peer {
    Peer::Remote { address: "192.0.2.1".parse().unwrap(), certificate: None }
}

fn post(path: &str) -> hyper::http::request::Builder {
    Request::post(path).header("host", NAME).header("content-type", "application/json")
}

#[tokio::test]
async fn each_role_runs_over_the_api_what_it_has_and_nothing_else() {
    let mut office = Office::new();
    office.role("OnlyProviders", &["Get-CsHostingProvider", "New-CsHostingProvider"], &["global"], &[]).await;
    office.role("OnlyContoso", &["Get-CsPushDevice", "Grant-CsMobilityPolicy"], &[], &["domain:contoso.com"]).await;
    let names = PREDEFINED.iter().map(|role| role.name).chain(["OnlyProviders", "OnlyContoso"]);
    for (index, role) in names.enumerate() {
        let name = format!("holder{index}");
        office.account(&name, &[role], false).await;
        let rights = Rights::of_roles([role], &office.desk.settings.snapshot());
        for about in CMDLETS.iter().map(|cmdlet| cmdlet.about()) {
            // What would change something only says so: this is about who may, and not about what then is.
            let parameters = if about.changes { json!({ "WhatIf": true }) } else { json!({}) };
            let answer = office.run(&name, &about.name.to_string(), parameters).await;
            let denied = answer.status == 403 && matches!(answer.id(), "CmdletNotInRole" | "NoRole");
            assert_eq!(denied, !rights.has(about.name), "{role} {}: {} {}", about.name, answer.status, answer.body);
        }
    }
}

#[tokio::test]
async fn who_wants_more_than_he_has_does_not_get_it() {
    let mut office = Office::new();
    let administration = [
        "Get-CsAdminAccount",
        "Get-CsAdminRole",
        "New-CsAdminAccount",
        "New-CsAdminRole",
        "New-CsAdminToken",
        "Remove-CsAdminAccount",
        "Remove-CsAdminRole",
        "Remove-CsAdminToken",
        "Set-CsAdminAccount",
        "Set-CsAdminRole",
    ];
    let all: Vec<String> = CMDLETS.iter().map(|cmdlet| cmdlet.about().name.to_string()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    office.role("RoleEditor", &administration, &["global"], &["global"]).await;
    office.role("Redmond", &all, &["site:Redmond"], &[]).await;
    office.role("Contoso", &all, &[], &["domain:contoso.com"]).await;
    for (name, roles) in [
        ("adm", &["CsAdministrator"][..]),
        ("editor", &["RoleEditor"]),
        ("red", &["Redmond"]),
        ("con", &["Contoso"]),
        ("view", &["CsViewOnlyAdministrator"]),
        ("help", &["CsHelpDesk"]),
        ("gone", &["NoSuchRole"]),
    ] {
        office.account(name, roles, false).await;
    }
    office.account("off", &["CsAdministrator"], true).await;
    let token_of_adm = office.tokens["adm"].split('_').nth(1).unwrap().to_owned();
    let before = state(&office);
    let secret = json!({ "@secret": "a new password 1" });
    let mcx = |identity: &str| json!({ "PSTypeName": "McxConfiguration", "Identity": identity, "@version": 0 });
    let uri = "sip:push@evil.example";
    for (why, who, cmdlet, parameters, status, id) in [
        (
            "gives himself a role",
            "editor",
            "Set-CsAdminAccount",
            json!({"Identity": "editor", "Roles": ["CsAdministrator"]}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "adds himself one",
            "editor",
            "Set-CsAdminAccount",
            json!({"Identity": "editor", "Roles": {"Add": ["csADMINISTRATOR"]}}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "makes a mighty friend",
            "editor",
            "New-CsAdminAccount",
            json!({"Identity": "friend", "Roles": ["CsAdministrator"]}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "gives a role with a reach he lacks",
            "red",
            "New-CsAdminAccount",
            json!({"Identity": "friend", "Roles": ["Redmond"]}),
            403,
            "OutOfScope",
        ),
        (
            "widens his own role",
            "editor",
            "Set-CsAdminRole",
            json!({"Identity": "RoleEditor", "Cmdlets": {"Add": ["Set-CsAccessEdgeConfiguration"]}}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "widens his own reach",
            "red",
            "Set-CsAdminRole",
            json!({"Identity": "Redmond", "ConfigScopes": ["global"]}),
            403,
            "OutOfScope",
        ),
        (
            "cripples a mightier role",
            "editor",
            "Set-CsAdminRole",
            json!({"Identity": "Redmond", "Cmdlets": []}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "removes a mightier role",
            "editor",
            "Remove-CsAdminRole",
            json!({"Identity": "Redmond"}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "removes all by a pattern",
            "editor",
            "Remove-CsAdminRole",
            json!({"Filter": "Redm*"}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "makes a mightier role",
            "editor",
            "New-CsAdminRole",
            json!({"Identity": "Mine", "Template": "CsAdministrator", "ConfigScopes": ["global"]}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "makes one that is called as one that is",
            "editor",
            "New-CsAdminRole",
            json!({"Identity": "csadministrator", "Template": "CsVoiceAdministrator", "ConfigScopes": ["global"]}),
            409,
            "AlreadyExists",
        ),
        (
            "makes one that looks like one that is",
            "editor",
            "New-CsAdminRole",
            json!({"Identity": "CsAdministrator ", "Template": "CsVoiceAdministrator", "ConfigScopes": ["global"]}),
            400,
            "InvalidRole",
        ),
        (
            "makes one with letters of another script",
            "editor",
            "New-CsAdminRole",
            json!({"Identity": "\u{421}sAdministrator", "Template": "CsVoiceAdministrator", "ConfigScopes": ["global"]}),
            400,
            "InvalidRole",
        ),
        (
            "makes one named as a local group",
            "editor",
            "New-CsAdminRole",
            json!({"Identity": "RTCUniversalServerAdmins", "Template": "CsVoiceAdministrator", "ConfigScopes": ["global"]}),
            409,
            "AlreadyExists",
        ),
        (
            "changes a predefined role",
            "adm",
            "Set-CsAdminRole",
            json!({"Identity": "CsHelpDesk", "Cmdlets": all}),
            422,
            "StandardRole",
        ),
        (
            "gives a local group as a role",
            "editor",
            "Set-CsAdminAccount",
            json!({"Identity": "editor", "Roles": ["RTCUniversalServerAdmins"]}),
            404,
            "RoleNotFound",
        ),
        (
            "sets a mightier one's password",
            "editor",
            "Set-CsAdminAccount",
            json!({"Identity": "adm", "Password": secret}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "the same by another spelling",
            "editor",
            "Set-CsAdminAccount",
            json!({"Identity": "ADM", "Password": secret}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "the same by an object",
            "editor",
            "Set-CsAdminAccount",
            json!({"Instance": {"PSTypeName": "AdminAccount", "Identity": "adm", "@version": 1}, "Password": secret}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "shuts a mightier one out",
            "editor",
            "Set-CsAdminAccount",
            json!({"Identity": "adm", "Enabled": false}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "removes a mightier one",
            "editor",
            "Remove-CsAdminAccount",
            json!({"Identity": "adm"}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "makes a token in his name",
            "editor",
            "New-CsAdminToken",
            json!({"Account": "adm"}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "revokes his token",
            "editor",
            "Remove-CsAdminToken",
            json!({"Identity": token_of_adm}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "enables a disabled mightier one",
            "editor",
            "Set-CsAdminAccount",
            json!({"Identity": "off", "Enabled": true}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "takes the name of a machine's user",
            "adm",
            "New-CsAdminAccount",
            json!({"Identity": "root@atl-cs-001"}),
            400,
            "InvalidAccount",
        ),
        (
            "changes the global record",
            "red",
            "Set-CsMcxConfiguration",
            json!({"Identity": "global", "PushNotificationProxyUri": uri}),
            403,
            "OutOfScope",
        ),
        (
            "the same without saying so",
            "red",
            "Set-CsMcxConfiguration",
            json!({"PushNotificationProxyUri": uri}),
            403,
            "OutOfScope",
        ),
        (
            "changes another site's",
            "red",
            "Set-CsMcxConfiguration",
            json!({"Identity": "site:Dublin", "PushNotificationProxyUri": uri}),
            403,
            "OutOfScope",
        ),
        (
            "his own with a blank behind it",
            "red",
            "Set-CsMcxConfiguration",
            json!({"Identity": "site:Redmond ", "PushNotificationProxyUri": uri}),
            403,
            "OutOfScope",
        ),
        (
            "a service of any site",
            "red",
            "Set-CsMcxConfiguration",
            json!({"Identity": "service:WebServer:atl-cs-001.litwareinc.com", "PushNotificationProxyUri": uri}),
            403,
            "OutOfScope",
        ),
        (
            "pipes another site's object",
            "red",
            "Set-CsMcxConfiguration",
            json!({"Instance": mcx("site:Dublin"), "PushNotificationProxyUri": uri}),
            403,
            "OutOfScope",
        ),
        (
            "pipes the global object",
            "red",
            "Set-CsMcxConfiguration",
            json!({"Instance": mcx("Global"), "PushNotificationProxyUri": uri}),
            403,
            "OutOfScope",
        ),
        (
            "pipes an object without a name",
            "red",
            "Set-CsMcxConfiguration",
            json!({"Instance": {"PSTypeName": "McxConfiguration"}, "PushNotificationProxyUri": uri}),
            403,
            "OutOfScope",
        ),
        (
            "names his site and pipes another",
            "red",
            "Set-CsMcxConfiguration",
            json!({"Identity": "site:Redmond", "Instance": mcx("global"), "PushNotificationProxyUri": uri}),
            400,
            "AmbiguousParameterSet",
        ),
        (
            "names two, in two spellings",
            "red",
            "Set-CsMcxConfiguration",
            json!({"Identity": "site:Redmond", "identity": "global", "PushNotificationProxyUri": uri}),
            403,
            "OutOfScope",
        ),
        (
            "removes the global record",
            "red",
            "Remove-CsPushNotificationConfiguration",
            json!({"Identity": "global"}),
            403,
            "OutOfScope",
        ),
        (
            "changes what holds for all",
            "red",
            "New-CsAllowedDomain",
            json!({"Identity": "evil.example"}),
            403,
            "OutOfScope",
        ),
        (
            "the same and only asks what if",
            "red",
            "New-CsAllowedDomain",
            json!({"Identity": "evil.example", "WhatIf": true}),
            403,
            "OutOfScope",
        ),
        ("users that his role does not name", "red", "Get-CsPushDevice", json!({}), 403, "OutOfScope"),
        (
            "another domain's user",
            "con",
            "Get-CsPushDevice",
            json!({"User": "sip:ken@litwareinc.com"}),
            403,
            "OutOfScope",
        ),
        ("everybody", "con", "Get-CsPushDevice", json!({}), 403, "OutOfScope"),
        ("everybody's pushes", "con", "Get-CsPushTrace", json!({}), 403, "OutOfScope"),
        (
            "a policy for another domain's user",
            "con",
            "Grant-CsMobilityPolicy",
            json!({"Identity": "sip:ken@litwareinc.com", "PolicyName": "X"}),
            403,
            "OutOfScope",
        ),
        (
            "writes though he may only look",
            "view",
            "New-CsHostingProvider",
            json!({"Identity": "X", "Enabled": true, "ProxyFqdn": "evil.example"}),
            403,
            "CmdletNotInRole",
        ),
        (
            "the same in other letters",
            "view",
            "NEW-CSHOSTINGPROVIDER",
            json!({"Identity": "X", "Enabled": true, "ProxyFqdn": "evil.example"}),
            403,
            "CmdletNotInRole",
        ),
        (
            "by the documents' misspelling",
            "view",
            "Set-McxConfiguration",
            json!({"PushNotificationProxyUri": uri}),
            403,
            "CmdletNotInRole",
        ),
        ("looks at accounts", "help", "Get-CsAdminAccount", json!({}), 403, "CmdletNotInRole"),
        ("looks at the audit log", "help", "Get-CsAdminAudit", json!({}), 403, "CmdletNotInRole"),
        ("uses a role that is no more", "gone", "Get-CsHostingProvider", json!({}), 403, "NoRole"),
        ("uses a disabled account's token", "off", "Get-CsHostingProvider", json!({}), 401, "NotSignedIn"),
        (
            "a name with a path in it",
            "view",
            "Get-CsAdminRole%2F..%2FNew-CsHostingProvider",
            json!({}),
            404,
            "CommandNotFoundException",
        ),
        ("a name with an end in it", "view", "New-CsHostingProvider%00", json!({}), 404, "CommandNotFoundException"),
        ("a name with a blank", "view", "New-CsHostingProvider%20", json!({}), 404, "CommandNotFoundException"),
        ("a path that climbs", "view", "../cmdlets/New-CsHostingProvider", json!({}), 404, "NotFound"),
    ] {
        let answer = office.run(who, cmdlet, parameters).await;
        assert_eq!((answer.status, answer.id()), (status, id), "{who} {why}: {cmdlet}: {}", answer.body);
    }
    assert_eq!(state(&office), before, "nothing was changed by all this");
    // And what they may, they may.
    for (who, cmdlet, parameters) in [
        (
            "red",
            "Set-CsMcxConfiguration",
            json!({"Identity": "SITE:redmond", "PushNotificationProxyUri": "sip:push@push.lync.com"}),
        ),
        (
            "editor",
            "New-CsAdminRole",
            json!({"Identity": "Small", "Template": "CsVoiceAdministrator", "Cmdlets": ["Get-CsAdminRole"], "ConfigScopes": ["site:Redmond"]}),
        ),
        ("editor", "New-CsAdminAccount", json!({"Identity": "small", "Roles": ["Small"]})),
        ("editor", "New-CsAdminToken", json!({"Account": "small"})),
    ] {
        let answer = office.run(who, cmdlet, parameters).await;
        assert_eq!(answer.status, 200, "{who} {cmdlet}: {}", answer.body);
    }
    // Who was refused is in the record, and the secret that came with it is not.
    let audit = office.run("adm", "Get-CsAdminAudit", json!({"Outcome": "Refused", "Last": 1000})).await;
    let entries = audit.body["objects"].as_array().unwrap();
    assert!(entries.len() > 40, "{}", entries.len());
    assert!(!audit.body.to_string().contains("a new password 1"));
}

/// Everything that the attempts could have changed.
fn state(office: &Office) -> (u64, Vec<Account>, usize) {
    let accounts = office.desk.accounts.accounts().unwrap();
    let tokens = office.desk.accounts.passes(PassKind::Token).unwrap().len();
    (office.desk.settings.snapshot().version(), accounts, tokens)
}

#[tokio::test]
async fn requests_that_pretend_are_refused() {
    let mut office = Office::new();
    office.account("adm", &["CsAdministrator"], false).await;
    let token = office.tokens["adm"].clone();
    let bearer = format!("Bearer {token}");
    let forged = format!("{}x", &bearer[..bearer.len() - 1]);
    let nobody = Peer::Local { uid: 3_999_999_999 };
    for (why, peer, method, path, fields, body, status) in [
        ("with a token", remote(), Method::GET, "/admin/v1/me", vec![("authorization", bearer.as_str())], "", 200),
        ("without anything", remote(), Method::GET, "/admin/v1/me", vec![], "", 401),
        ("with a forged token", remote(), Method::GET, "/admin/v1/me", vec![("authorization", &*forged)], "", 401),
        (
            "with two",
            remote(),
            Method::GET,
            "/admin/v1/me",
            vec![("authorization", &*bearer), ("authorization", "x")],
            "",
            400,
        ),
        ("with a password", remote(), Method::GET, "/admin/v1/me", vec![("authorization", "Basic YWRtOng=")], "", 401),
        (
            "as a proxy's user",
            remote(),
            Method::GET,
            "/admin/v1/me",
            vec![("x-remote-user", "adm"), ("x-forwarded-for", "127.0.0.1")],
            "",
            401,
        ),
        ("the document", remote(), Method::GET, "/admin/v1/openapi.json", vec![], "", 401),
        (
            "by a page",
            remote(),
            Method::GET,
            "/admin/v1/me",
            vec![("authorization", &*bearer), ("origin", "https://evil.example")],
            "",
            403,
        ),
        (
            "by a form",
            remote(),
            Method::POST,
            "/admin/v1/cmdlets/Get-CsAdminRole",
            vec![("authorization", &*bearer), ("content-type", "text/plain")],
            "{}",
            415,
        ),
        (
            "by a link",
            remote(),
            Method::GET,
            "/admin/v1/cmdlets/Update-CsAdminRole",
            vec![("authorization", &*bearer)],
            "",
            405,
        ),
        (
            "with no JSON",
            remote(),
            Method::POST,
            "/admin/v1/cmdlets/Get-CsAdminRole",
            vec![("authorization", &*bearer), ("content-type", "application/json")],
            "{",
            400,
        ),
        (
            "with other members",
            remote(),
            Method::POST,
            "/admin/v1/cmdlets/Get-CsAdminRole",
            vec![("authorization", &*bearer), ("content-type", "application/json")],
            r#"{"caller":"root"}"#,
            400,
        ),
        (
            "with members twice",
            remote(),
            Method::POST,
            "/admin/v1/cmdlets/Get-CsAdminRole",
            vec![("authorization", &*bearer), ("content-type", "application/json")],
            r#"{"parameters":{},"parameters":{}}"#,
            400,
        ),
        (
            "a local user of no group",
            nobody,
            Method::POST,
            "/admin/v1/cmdlets/Get-CsAdminRole",
            vec![("host", "localhost"), ("content-type", "application/json")],
            "{}",
            403,
        ),
        (
            "the same with a token",
            nobody,
            Method::POST,
            "/admin/v1/cmdlets/Get-CsAdminRole",
            vec![("host", "localhost"), ("content-type", "application/json"), ("authorization", &*bearer)],
            "{}",
            403,
        ),
        ("root", Peer::Local { uid: 0 }, Method::GET, "/admin/v1/me", vec![("host", "localhost")], "", 200),
    ] {
        let mut request = Request::builder().method(method).uri(path);
        if !fields.iter().any(|(name, _)| *name == "host") {
            request = request.header("host", NAME);
        }
        for (name, value) in fields {
            request = request.header(name, value);
        }
        let answer = office.ask(peer, request.body(Full::from(body.to_owned())).unwrap()).await;
        assert_eq!(answer.status, status, "{why}: {}", answer.body);
    }
    let large = json!({ "parameters": { "Identity": "x".repeat(300_000) } });
    let answer = office.run("adm", "Get-CsAdminRole", large).await;
    assert_eq!(answer.status, 413, "{}", answer.body);
}

#[tokio::test]
async fn a_session_begins_with_a_password_and_guesses_must_wait() {
    let mut office = Office::new();
    office.account("ann", &["CsHelpDesk"], false).await;
    let sign_in = |password: &str| {
        let body = json!({ "account": "Ann", "password": password });
        post("/admin/v1/session").body(Full::from(body.to_string())).unwrap()
    };
    let answer = office.ask(remote(), sign_in(PASSWORD)).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    office.tokens.insert("session".into(), answer.body["token"].as_str().unwrap().into());
    assert_eq!(office.run("session", "Get-CsAdminRole", json!({"Identity": "CsHelpDesk"})).await.status, 200);
    let bearer = format!("Bearer {}", office.tokens["session"]);
    let out = Request::delete("/admin/v1/session").header("host", NAME).header("authorization", bearer);
    assert_eq!(office.ask(remote(), out.body(Full::default()).unwrap()).await.status, 204);
    assert_eq!(office.run("session", "Get-CsAdminRole", json!({})).await.status, 401);
    for _ in 0..5 {
        let answer = office.ask(remote(), sign_in("wrong horse battery")).await;
        assert_eq!((answer.status, answer.id()), (401, "NotSignedIn"));
    }
    // From elsewhere too, and with the right password: whoever guesses must not be told when he was right.
    let elsewhere = Peer::Remote { address: "198.51.100.7".parse().unwrap(), certificate: None };
    let answer = office.ask(elsewhere, sign_in(PASSWORD)).await;
    assert_eq!((answer.status, answer.retry_after.as_deref()), (429, Some("1")), "{}", answer.body);
}

#[tokio::test]
async fn two_administrators_at_once_lose_nothing_and_the_second_is_told() {
    let mut office = Office::new();
    office.account("ann", &["CsAdministrator"], false).await;
    office.account("ben", &["CsAdministrator"], false).await;
    let get = json!({"Identity": "global"});
    let read = office.run("ann", "Get-CsMcxConfiguration", get.clone()).await.body["objects"][0].clone();
    let ann = json!({"Instance": read, "PushNotificationProxyUri": "sip:push@a.example"});
    assert_eq!(office.run("ann", "Set-CsMcxConfiguration", ann).await.status, 200);
    let ben = json!({"Instance": read, "PushNotificationProxyUri": "sip:push@b.example"});
    let answer = office.run("ben", "Set-CsMcxConfiguration", ben).await;
    assert_eq!(answer.status, 409, "{}", answer.body);
    assert!(answer.body["message"].as_str().unwrap().contains("by ann"), "{}", answer.body);
    let now = office.run("ben", "Get-CsMcxConfiguration", get).await;
    assert_eq!(now.body["objects"][0]["PushNotificationProxyUri"], "sip:push@a.example");
    // The same for accounts.
    let read = office.run("ann", "Get-CsAdminAccount", json!({"Identity": "ben"})).await.body["objects"][0].clone();
    let first = json!({"Instance": read, "Roles": {"Add": ["CsHelpDesk"]}});
    assert_eq!(office.run("ann", "Set-CsAdminAccount", first.clone()).await.status, 200);
    let second = office.run("ann", "Set-CsAdminAccount", first).await;
    assert_eq!((second.status, second.id()), (409, "ChangedMeanwhile"), "{}", second.body);
}

#[tokio::test]
async fn a_right_token_comes_in_from_an_address_that_others_guess_from() {
    let mut office = Office::new();
    office.account("ann", &["CsHelpDesk"], false).await;
    office.account("off", &["CsHelpDesk"], true).await;
    let get = json!({"Identity": "CsHelpDesk"});
    for _ in 0..30 {
        assert_eq!(office.run("off", "Get-CsAdminRole", get.clone()).await.status, 401, "that is no guess");
    }
    let guess = || Issued::new(PassKind::Token).text;
    let mut codes = Vec::new();
    for _ in 0..22 {
        office.tokens.insert("guess".into(), guess());
        codes.push(office.run("guess", "Get-CsAdminRole", get.clone()).await.status);
    }
    assert!(codes[..20].iter().all(|code| *code == 401) && codes[21] == 429, "{codes:?}");
    assert_eq!(office.run("ann", "Get-CsAdminRole", get.clone()).await.status, 200);
    assert_eq!(office.run("off", "Get-CsAdminRole", get).await.status, 401);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_show_who_he_is_does_not_keep_a_connection() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut office = Office::new();
    office.account("ann", &["CsHelpDesk"], false).await;
    let known =
        format!("GET /admin/v1/me HTTP/1.1\r\nhost: {NAME}\r\nauthorization: Bearer {}\r\n\r\n", office.tokens["ann"]);
    let nobody = format!("GET /admin/v1/me HTTP/1.1\r\nhost: {NAME}\r\n\r\n");
    let slow = format!(
        "POST /admin/v1/session HTTP/1.1\r\nhost: {NAME}\r\ncontent-type: application/json\r\ncontent-length: 9\r\n\r\n"
    );
    // Sent, the seconds within which it must have ended, the seconds that it must have lasted, and its answer.
    for (sent, at_most, at_least, answer) in [
        ("", 11, 9, ""),
        ("GET /admin/v1/me HT", 11, 9, ""),
        (&*nobody, 1, 0, "HTTP/1.1 401"),
        ("GET /nothing HTTP/1.1\r\nhost: evil.example\r\n\r\n", 1, 0, "HTTP/1.1 403"),
        (&*slow, 31, 15, ""),
        (&*known, 61, 55, "HTTP/1.1 200"),
    ] {
        let (mut ours, theirs) = tokio::io::duplex(64 * 1024);
        let server = tokio::spawn(Arc::clone(&office.api).converse(theirs, remote(), CancellationToken::new()));
        let begun = tokio::time::Instant::now();
        ours.write_all(sent.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        ours.read_to_end(&mut read).await.unwrap();
        server.await.unwrap();
        let (took, text) = (begun.elapsed().as_secs(), String::from_utf8_lossy(&read));
        assert!((at_least..=at_most).contains(&took) && text.starts_with(answer), "{sent:?}: {took} s, {text}");
    }
}
