//! A server that answers from a table and writes down what it was asked, and a terminal that nobody sits at.

use std::sync::{Arc, Mutex};

use reveille_admin::cmdlet::{Name, Outcome};
use reveille_admin::{Category, Cmdlet, Failure, Object, Secret, Value};
use reveille_core::Timestamp;
use reveille_shell::Session;
use reveille_shell::host::{Host, Invocation, Terminal};

use crate::catalogue::CMDLETS;

/// What happens, in order: calls, output, errors.
#[derive(Clone, Debug, Default)]
pub(crate) struct World {
    log: Arc<Mutex<String>>,
    /// What the person at the keyboard types, the last first; nobody is there when it is empty.
    pub(crate) typed: Vec<String>,
}

impl World {
    /// Runs a script in a session of its own; gives all that is seen, and the exit status.
    pub(crate) fn run(&mut self, script: &str) -> (String, u8) {
        self.run_in(&mut Session::new(), script)
    }

    /// Runs a script.
    pub(crate) fn run_in(&mut self, session: &mut Session, script: &str) -> (String, u8) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let host = self.clone();
        let ended = runtime.block_on(session.run(script, &host, self));
        (std::mem::take(&mut *self.log.lock().unwrap()), ended.status)
    }

    fn write(&self, text: &str) {
        self.log.lock().unwrap().push_str(text);
    }
}

impl Terminal for World {
    fn out(&mut self, text: &str) {
        self.write(text);
    }

    fn say(&mut self, text: &str) {
        self.write(text);
    }

    fn ask(&mut self, prompt: &str) -> Option<String> {
        let answer = self.typed.pop()?;
        self.write(&format!("{prompt}{answer}\n"));
        Some(answer)
    }

    fn ask_secret(&mut self, prompt: &str) -> Option<Secret> {
        let answer = self.typed.pop()?;
        self.write(&format!("{prompt}\n"));
        Some(Secret::new(answer))
    }

    fn now(&self) -> Timestamp {
        // Sat, 13 Nov 2010 23:29:00 GMT, with RFC 3261.
        Timestamp::from_millis(1_289_690_940_000)
    }

    fn width(&self) -> usize {
        100
    }

    fn environment(&self, name: &str) -> Option<String> {
        match name {
            "REVEILLE_CREDENTIAL_KENMYER" => Some("ken-9-stars".into()),
            "USERNAME" => Some("pilar".into()),
            _ => None,
        }
    }
}

impl Host for World {
    fn cmdlets(&self) -> &[&'static dyn Cmdlet] {
        CMDLETS
    }

    fn invoke<'a>(&'a self, name: Name, parameters: &'a Object) -> Invocation<'a> {
        // A reading cmdlet shows by what it gives that it was called.
        if name.verb.as_str() != "Get" {
            self.write(&format!("call {name} {}\n", serde_json::to_string(parameters).unwrap()));
        }
        Box::pin(async move { answer(&name.to_string(), parameters) })
    }
}

fn answer(name: &str, parameters: &Object) -> Result<Outcome, Failure> {
    let text = |parameter: &str| parameters.property(parameter).map(Value::to_string).unwrap_or_default();
    let identity = text("Identity");
    if parameters.property("WhatIf") == Some(&Value::Bool(true)) {
        let what_if = vec![format!("Performing operation \"{name}\" on Target \"{identity}\".")];
        return Ok(Outcome { what_if, ..Outcome::default() });
    }
    match name {
        "Get-CsAdminRole" => Ok(Outcome::of(roles())),
        "Get-CsAccessEdgeConfiguration" => Ok(Outcome::of([access_edge()])),
        "Get-CsAllowedDomain" => named(domains(), &identity),
        "Get-CsHostingProvider" => named(providers(), &identity),
        "Get-CsImFilterConfiguration" => Ok(Outcome::of([im_filter()])),
        "Get-CsMcxConfiguration" => Ok(Outcome::of([mcx()])),
        "New-CsAllowedDomain" if identity == "push.lync.com" => {
            let said = "The domain push.lync.com is already on the list of allowed domains.";
            let failure = Failure::new(Category::ResourceExists, "DomainExists", said).of("push.lync.com");
            Err(failure.advise("Set-CsAllowedDomain -Identity push.lync.com"))
        }
        "Test-CsMcxPushNotification" if text("AccessEdgeFqdn") == "lyncedge.mydomain.com" => Err(Failure {
            exception: "FailureResponseException".into(),
            ..Failure::new(
                Category::OperationStopped,
                "WorkflowNotCompleted",
                "A 504 (Server time-out) response was received from the network and the operation failed. See the \
                 exception details for more information.",
            )
        }),
        _ if name.starts_with("Test-") => Ok(Outcome {
            verbose: vec!["'Register' activity started.".into(), "Sending Registration request:".into()],
            logger: Some(Object::new("Logger").with("Activities", vec!["Register"])),
            warnings: Vec::new(),
            ..Outcome::of([success()])
        }),
        _ => Ok(Outcome::default()),
    }
}

fn named(all: Vec<Object>, identity: &str) -> Result<Outcome, Failure> {
    let found: Vec<Object> = all
        .into_iter()
        .filter(|object| identity.is_empty() || object.property("Identity") == Some(&identity.into()))
        .collect();
    if found.is_empty() {
        let said = format!("There is no {identity}.");
        return Err(Failure::new(Category::ObjectNotFound, "NotFound", said).of(identity));
    }
    Ok(Outcome::of(found))
}

fn roles() -> Vec<Object> {
    let role = |name: &str, cmdlets: &[&str]| {
        Object::new("AdminRole").with("Identity", name).with("Cmdlets", cmdlets.to_vec()).with("IsStandardRole", true)
    };
    vec![
        role("CsAdministrator", &["Get-CsAllowedDomain", "Test-CsMcxPushNotification"]),
        role("CsHelpDesk", &["Get-CsAllowedDomain"]),
    ]
}

fn access_edge() -> Object {
    Object::new("AccessEdgeConfiguration")
        .with("Identity", "Global")
        .with("AllowFederatedUsers", false)
        .with("EnablePartnerDiscovery", false)
        .with("OutgoingTlsCountForFederatedPartners", 4i64)
        .with("RoutingMethod", "UseDnsSrvRouting")
}

fn domains() -> Vec<Object> {
    let domain = |name: &str, comment: Value, monitored: bool| {
        Object::new("AllowedDomain")
            .with("Identity", name)
            .with("Domain", name)
            .with("Comment", comment)
            .with("MarkForMonitoring", monitored)
    };
    vec![
        domain("fabrikam.com", "a partner".into(), true),
        domain("push.lync.com", Value::Null, false),
        domain("adatum.com", "on probation".into(), false),
    ]
}

fn providers() -> Vec<Object> {
    let provider = |name: &str, proxy: &str, enabled: bool| {
        Object::new("HostingProvider")
            .with("Identity", name)
            .with("ProxyFqdn", proxy)
            .with("VerificationLevel", "UseSourceVerification")
            .with("Enabled", enabled)
            .with("@version", 7i64)
    };
    vec![provider("LyncOnline", "sipfed.online.lync.com", true), provider("Fabrikam", "access.fabrikam.com", false)]
}

fn im_filter() -> Object {
    Object::new("ImFilterConfiguration")
        .with("Identity", "Global")
        .with("Prefixes", vec!["callto:", "http:", "https:", "sip:"])
        .with("AllowMessage", Value::Null)
        .with("Enabled", true)
        .with("Action", "Block")
        .with("@version", 2i64)
}

fn mcx() -> Object {
    Object::new("McxConfiguration")
        .with("Identity", "Global")
        .with("SessionExpirationInterval", 259_200i64)
        .with("SessionShortExpirationInterval", 3600i64)
        .with("ExposedWebURL", "External")
        .with("PushNotificationProxyUri", "sip:push@push.lync.com")
        .with("@version", 1i64)
}

fn success() -> Object {
    Object::new("TestResult")
        .with("TargetFqdn", "atl-cs-001.litwareinc.com")
        .with("Result", "Success")
        .with("Latency", "00:00:00")
        .with("Error", Value::Null)
        .with("Diagnosis", Value::Null)
}
