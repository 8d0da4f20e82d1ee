//! Tests that say what is wrong, on real processes: each way in which the push road breaks is provoked, told apart, and
//! mended by what the test itself says.
//!
//! With `REVEILLE_SHOW=1` the table is printed (issue 4, must show b).

#[path = "partners/contoso.rs"]
#[allow(dead_code, reason = "other tests with partners use the rest of it")]
mod contoso;
#[path = "partners/kamailio.rs"]
#[allow(dead_code, reason = "other tests with partners use the rest of it")]
mod kamailio;
#[path = "diagnose/night.rs"]
mod night;
#[path = "diagnose/others.rs"]
mod others;
#[path = "partners/presence.rs"]
mod presence;
#[path = "diagnose/real.rs"]
mod real;
#[path = "diagnose/scene.rs"]
mod scene;
mod support;
#[path = "diagnose/table.rs"]
mod table;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use reveille_sim::certs::{Ca, Leaf};
use reveille_sim::phone::{Phone, PhoneOptions};
use reveille_sim::recorder::Query;
use serde_json::{Value, json};

use contoso::Contoso;
use kamailio::Kamailio;
use others::Others;
use presence::{here, on_path};
use scene::{APP, OUTER, Part, RECORDS, Scene, TEAM};
use support::{http, until};
use table::{INNER, Table};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn each_way_in_which_the_road_breaks_is_told_apart_and_mended_by_what_the_test_says() -> Result<()> {
    let mut table = Table::over(Scene::start("diagnose").await?);
    tokio::task::block_in_place(|| {
        comes_through(&table)?;
        settings(&mut table)?;
        names(&mut table)?;
        own_name(&mut table)?;
        servers(&mut table)?;
        certificates(&mut table)?;
        partners_side(&mut table)?;
        edges_names(&table)?;
        table.show()
    })?;
    table.told_apart(19)?;
    table.scene.stop()
}

/// The road that works, with every stage and its time.
fn comes_through(table: &Table) -> Result<()> {
    let object = table.succeeds("at the beginning")?;
    let stages = object["Stages"].as_array().context("stages")?;
    let told: Vec<&str> = stages.iter().filter_map(|stage| stage["Stage"].as_str()).collect();
    let expected = [
        "settings",
        "our-edge",
        "own-name",
        "policy",
        "name",
        "address",
        "connect",
        "their-certificate",
        "our-certificate",
        "sip",
        "partners-policy",
        "intake",
        "journal",
        "dispatch",
    ];
    ensure!(told == expected, "{told:?}");
    let took = |name: &str| {
        stages.iter().find(|stage| stage["Stage"] == name).and_then(|stage| stage["Milliseconds"].as_f64())
    };
    for stage in ["connect", "their-certificate", "our-certificate", "sip", "journal"] {
        ensure!(took(stage).is_some_and(|took| took > 0.0), "{stage} takes some time: {object:#}");
    }
    // The documents' own form, and their own test of the way there.
    let parameters = json!({ "AccessEdgeFqdn": INNER });
    let plain = table.scene.cmdlet(Part::Contoso, "Test-CsMcxPushNotification", &parameters)?;
    let plain = plain.map_err(|problem| anyhow::anyhow!("{problem}"))?;
    let object = &plain["objects"][0];
    ensure!(object["TargetFqdn"] == "home.contoso.com" && object["Result"] == "Success", "{object:#}");
    ensure!(
        object["Error"] == "" && object["Latency"].as_str().is_some_and(|it| it.starts_with("00:00:0")),
        "{object:#}"
    );
    let parameters = json!({ "TargetFqdn": INNER, "Domain": "push.lync.com", "ProxyFqdn": "sipfed.online.lync.com" });
    let partner = table.scene.cmdlet(Part::Contoso, "Test-CsFederatedPartner", &parameters)?;
    let partner = partner.map_err(|problem| anyhow::anyhow!("{problem}"))?;
    ensure!(partner["objects"][0]["Result"] == "Success", "{partner:#}");
    Ok(())
}

/// What an administrator of ours has set wrongly.
fn settings(table: &mut Table) -> Result<()> {
    table.mended_by_its_command(
        "federation off",
        "Set-CsAccessEdgeConfiguration -AllowFederatedUsers $False",
        ("policy", "federation is switched off", "Set-CsAccessEdgeConfiguration -AllowFederatedUsers $True"),
    )?;
    table.mended_by_its_command(
        "allow list missing",
        "Remove-CsAllowedDomain -Identity push.lync.com",
        ("policy", "push.lync.com is not an allowed domain", "New-CsAllowedDomain -Identity push.lync.com"),
    )?;
    table.mended_by_its_command(
        "hosting provider disabled",
        "Disable-CsHostingProvider -Identity LyncOnline",
        ("policy", "is not enabled", "Enable-CsHostingProvider -Identity \"LyncOnline\""),
    )?;
    table.mended_by_its_command(
        "hosting provider missing",
        "Remove-CsHostingProvider -Identity LyncOnline",
        ("policy", "no hosting provider of ours", "New-CsHostingProvider -Identity \"sipfed.online.lync.com\""),
    )?;
    table.mended_by_its_command(
        "push switched off",
        "Set-CsPushNotificationConfiguration -EnableApplePushNotificationService $False \
         -EnableMicrosoftPushNotificationService $False",
        ("settings", "no push service is switched on", "Set-CsPushNotificationConfiguration"),
    )?;
    table.mended_by_its_command(
        "PushNotificationProxyUri: wrong domain",
        "Set-CsMcxConfiguration -PushNotificationProxyUri \"sip:push@push.wrong.example\"",
        ("policy", "leads to sip:push@push.wrong.example", "-PushNotificationProxyUri \"sip:push@push.lync.com\""),
    )?;
    table.mended_by_its_command(
        "PushNotificationProxyUri: no such user",
        "Set-CsMcxConfiguration -PushNotificationProxyUri \"sip:bell@push.lync.com\"",
        ("intake", "sip:bell@push.lync.com", "-PushNotificationProxyUri \"sip:push@push.lync.com\""),
    )?;
    // The documents' own conflict, with the documents' own words where they are asked for.
    table.scene.types(Part::Contoso, "Set-CsImFilterConfiguration -Identity site:Redmond -Action Block")?;
    let remedy = table.fails(
        "IM filter blocks http:",
        "settings",
        "IM filter of site:Redmond",
        "Set-CsImFilterConfiguration -Identity site:Redmond",
    )?;
    let parameters = json!({ "AccessEdgeFqdn": INNER });
    let rejected = table.scene.cmdlet(Part::Contoso, "Test-CsMcxPushNotification", &parameters)?;
    let problem = rejected.err().context("the documents' error")?;
    ensure!(problem["message"] == "Push Notification request was rejected.", "{problem:#}");
    ensure!(
        problem["exception"] == "SyntheticTransactionException" && problem["id"] == "WorkflowNotCompleted",
        "{problem:#}"
    );
    table.scene.types(Part::Contoso, &remedy)?;
    table.succeeds("IM filter blocks http:")?;
    Ok(())
}

/// What the name servers say.
fn names(table: &mut Table) -> Result<()> {
    let without = |owner: &str| RECORDS.into_iter().filter(|(known, _)| *known != owner).collect::<Vec<_>>();
    let mut elsewhere = without("push.lync.com");
    elsewhere.push(("push.lync.com", "sip.other.example"));
    for (case, records, expected) in [
        (
            "SRV missing",
            without("push.lync.com"),
            (
                "name",
                "is not found through its SRV record",
                "publish: _sipfederationtls._tcp.push.lync.com. IN SRV 0 0 5061 sipfed.online.lync.com.",
            ),
        ),
        (
            "SRV mismatching",
            elsewhere,
            (
                "name",
                "leads to sip.other.example",
                "_sipfederationtls._tcp.push.lync.com. IN SRV 0 0 5061 sipfed.online.lync.com.",
            ),
        ),
    ] {
        table.scene.write_configurations(&records)?;
        table.scene.end(Part::Contoso)?;
        table.scene.begin(Part::Contoso)?;
        table.fails(case, expected.0, expected.1, expected.2)?;
        if case == "SRV missing" {
            let parameters = json!({ "AccessEdgeFqdn": INNER });
            let lost = table.scene.cmdlet(Part::Contoso, "Test-CsMcxPushNotification", &parameters)?;
            let problem = lost.err().context("the documents' error")?;
            let message = problem["message"].as_str().unwrap_or_default();
            ensure!(
                message.starts_with("A 504 (Server time-out) response was received from the network"),
                "{problem:#}"
            );
            ensure!(problem["exception"] == "FailureResponseException", "{problem:#}");
            let parameters = json!({ "TargetFqdn": INNER, "Domain": "push.lync.com" });
            let partner = table.scene.cmdlet(Part::Contoso, "Test-CsFederatedPartner", &parameters)?;
            let object = partner.map_err(|problem| anyhow::anyhow!("{problem}"))?["objects"][0].clone();
            ensure!(object["Result"] == "Failure" && object["Error"] == "504, Server time-out", "{object:#}");
            let diagnosis = object["Diagnosis"].as_str().unwrap_or_default();
            ensure!(diagnosis.starts_with("ErrorCode=1008,Source=edge.contoso.com,Reason="), "{object:#}");
        }
        // The remedy is somebody's zone file: here it is the table of the test.
        table.scene.write_configurations(&RECORDS)?;
        table.scene.end(Part::Contoso)?;
        table.scene.begin(Part::Contoso)?;
        table.succeeds(case)?;
    }
    Ok(())
}

/// Our own record is missing: a failure, unless the clearing house's side says that it finds us without.
fn own_name(table: &mut Table) -> Result<()> {
    let with = |table: &mut Table, records: &[(&'static str, &'static str)]| {
        table.scene.write_configurations(records)?;
        table.scene.restart(Part::Contoso)
    };
    let without = RECORDS.into_iter().filter(|(known, _)| *known != "contoso.com").collect::<Vec<_>>();
    with(table, &without)?;
    let written_down = table.succeeds("own SRV missing, and our edge written down there")?;
    let hint = written_down["Hints"][0].as_str().unwrap_or_default();
    ensure!(
        hint.contains("push.lync.com does not need it: it reaches us at edge.contoso.com, our edge"),
        "{written_down:#}"
    );
    // The test of the way to a partner hears the same of the partner's edge.
    let partner = |table: &Table| {
        let parameters = json!({ "TargetFqdn": INNER, "Domain": "push.lync.com", "Detailed": true });
        let outcome = table.scene.cmdlet(Part::Contoso, "Test-CsFederatedPartner", &parameters)?;
        let outcome = outcome.map_err(|problem| anyhow::anyhow!("{problem}"))?;
        anyhow::Ok(outcome["objects"][0].clone())
    };
    let known = partner(table)?;
    let hint = known["Hints"][0].as_str().unwrap_or_default();
    ensure!(known["Result"] == "Success" && hint.contains("it reaches us at edge.contoso.com, our edge"), "{known:#}");

    table.scene.types(Part::Edge, "Set-CsAllowedDomain -Identity contoso.com -ProxyFqdn $null")?;
    // The publisher's clearing house is another process than the edge where that was typed.
    until("the clearing house has seen the setting", || Ok((table.detailed()?["Result"] == "Failure").then_some(())))?;
    let remedy = table.fails(
        "own SRV missing",
        "own-name",
        "push requests go out (push.lync.com has taken this one)",
        "publish: _sipfederationtls._tcp.contoso.com. IN SRV 0 0 5061 edge.contoso.com.",
    )?;
    let unknown = partner(table)?;
    ensure!(unknown["FailedStage"] == "own-name", "{unknown:#}");
    // Who knows better than our name servers runs the command behind the dash.
    let (_, command) = remedy.split_once("than ours: ").context("a command")?;
    ensure!(command.ends_with(" -IgnoreOwnName"), "{command}");
    let said = table.scene.types(Part::Contoso, command)?;
    ensure!(said.contains("Success"), "{said}");
    with(table, &RECORDS)?;
    table.succeeds("own SRV missing")?;
    table.scene.types(Part::Edge, "Set-CsAllowedDomain -Identity contoso.com -ProxyFqdn edge.contoso.com")?;
    table.succeeds("own SRV missing, and our edge written down there")?;
    Ok(())
}

/// Servers that are down, or rude.
fn servers(table: &mut Table) -> Result<()> {
    table.scene.end(Part::House)?;
    table.fails("clearing house down", "intake", "the edge of push.lync.com answers", "tell push.lync.com")?;
    table.scene.begin(Part::House)?;
    // The partner's edge makes a pause of its own after a failure, which no test of ours can end.
    until("the partner's edge asks its clearing house again", || Ok(table.succeeds("clearing house down").ok()))?;

    table.scene.end(Part::Edge)?;
    table.fails(
        "partner's edge down",
        "connect",
        "refused the connection",
        "check that sipfed.online.lync.com runs",
    )?;
    {
        let rude = Others::drop_connections(&format!("{}.3:5061", table.scene.net))?;
        table.fails(
            "TLS reset",
            "their-certificate",
            "closed the connection during the TLS handshake",
            "a firewall in between",
        )?;
        rude.stop()?;
    }
    table.scene.begin(Part::Edge)?;
    table.succeeds("TLS reset")?;
    Ok(())
}

/// Certificates that are not what they should be.
fn certificates(table: &mut Table) -> Result<()> {
    table.scene.certify(OUTER, &["edge.push.example.net", "push.example.net"])?;
    table.scene.restart(Part::Edge)?;
    table.fails(
        "their certificate names another",
        "their-certificate",
        "the certificate names edge.push.example.net",
        "ask push.lync.com for a certificate that names sipfed.online.lync.com",
    )?;
    table.scene.certify_publisher(&table.scene.ca)?;
    table.scene.restart(Part::Edge)?;
    table.succeeds("their certificate names another")?;

    // Another authority of theirs, which our remedy says to trust.
    let other = Ca::new("Other authority")?;
    table.scene.certify_publisher(&other)?;
    table.scene.restart(Part::Edge)?;
    let remedy = table.fails(
        "their certificate from an authority unknown here",
        "their-certificate",
        "issued by CN=Other authority",
        "edge.tls.roots",
    )?;
    ensure!(remedy.contains("append its certificate"), "{remedy}");
    let roots = table.scene.ca.pem() + &other.pem();
    table.scene.folder.write("roots-of-contoso.pem", &roots)?;
    table.scene.restart(Part::Contoso)?;
    table.succeeds("their certificate from an authority unknown here")?;
    table.scene.certify_publisher(&table.scene.ca)?;
    table.scene.restart(Part::Edge)?;

    table.scene.folder.write("roots-of-publisher.pem", &other.pem())?;
    table.scene.restart(Part::Edge)?;
    table.fails(
        "our certificate not trusted there",
        "our-certificate",
        "alert",
        "have push.lync.com trust the authority",
    )?;
    let roots = table.scene.ca.pem();
    table.scene.folder.write("roots-of-publisher.pem", &roots)?;
    table.scene.restart(Part::Edge)?;
    table.succeeds("our certificate not trusted there")?;
    Ok(())
}

/// What the partner has set about us; its administrator runs what we are told to ask for.
fn partners_side(table: &mut Table) -> Result<()> {
    for (case, breaks, sentence) in [
        (
            "partner does not allow us",
            "Remove-CsAllowedDomain -Identity contoso.com",
            "push.lync.com does not allow contoso.com",
        ),
        (
            "partner has federation off",
            "Set-CsAccessEdgeConfiguration -AllowFederatedUsers $False",
            "push.lync.com has federation switched off",
        ),
    ] {
        table.scene.types(Part::Edge, breaks)?;
        let remedy = table.fails(case, "partners-policy", sentence, "ask push.lync.com to run: ")?;
        let (_, command) = remedy.split_once("to run: ").context("a command")?;
        table.scene.types(Part::Edge, command)?;
        // By its SRV record or by its own name our edge is who it says: what is allowed again is let in again.
        table.succeeds(case)?;
    }
    Ok(())
}

/// Names that administrators confuse.
fn edges_names(table: &Table) -> Result<()> {
    let test = |edge: &str| {
        let parameters = json!({ "AccessEdgeFqdn": edge, "Detailed": true });
        let outcome = table.scene.cmdlet(Part::Contoso, "Test-CsMcxPushNotification", &parameters)?;
        let outcome = outcome.map_err(|problem| anyhow::anyhow!("{problem}"))?;
        anyhow::Ok(outcome["objects"][0].clone())
    };
    let outer = test("edge.contoso.com")?;
    let hint = outer["Hints"][0].as_str().unwrap_or_default();
    ensure!(outer["Result"] == "Success" && hint.contains("-AccessEdgeFqdn accessproxy.contoso.com"), "{outer:#}");
    let stranger = test("edge.fabrikam.com")?;
    ensure!(stranger["FailedStage"] == "our-edge", "{stranger:#}");
    ensure!(stranger["Remedy"] == "Test-CsMcxPushNotification -AccessEdgeFqdn edge.contoso.com", "{stranger:#}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_test_device_is_woken_and_acknowledges() -> Result<()> {
    let scene = Scene::start("diagnose-device").await?;
    let token = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";
    let phone = Phone::new(PhoneOptions {
        user: "bob".into(),
        domain: "contoso.com".into(),
        password: "bob-builds".into(),
        registrar: format!("{}.1:5060", scene.net).parse()?,
        tls: None,
        instance: "urn:uuid:diagnose-bob".into(),
        push: Some(format!("pn-provider=apns;pn-param={TEAM}.{APP}.remote;pn-prid={token}")),
        user_agent: "Test phone".into(),
    });
    phone.sign_in().await?;
    phone.suspend().await;
    let socket = scene.socket(Part::Contoso);
    let test = async |secs: u32, user: &str| {
        let parameters = json!({ "AccessEdgeFqdn": INNER, "User": user, "AcknowledgeWithin": secs, "Detailed": true });
        let socket = socket.clone();
        let asked =
            tokio::task::spawn_blocking(move || scene::cmdlet(&socket, "Test-CsMcxPushNotification", &parameters));
        let outcome = asked.await??.map_err(|problem| anyhow::anyhow!("{problem}"))?;
        anyhow::Ok(outcome["objects"][0].clone())
    };
    let api = format!("http://{}.1:8080/mobility/v1/ack", scene.net);

    // Nobody answers: the push has left, and the device is what is missing.
    let silent = test(1, "bob@contoso.com").await?;
    ensure!(silent["FailedStage"] == "probe", "{silent:#}");

    // The device reads its push and says the code back.
    let before = scene.apns.recorder().latest();
    let woken = async {
        let push = scene.apns.recorder().wait(Query { after: before, ..Query::default() }).await.push;
        let body: Value = serde_json::from_str(push.payload.context("a payload")?.get())?;
        let said = json!({ "push": body["reveille"]["push"], "code": body["reveille"]["sealed"] });
        let wrong = json!({ "push": body["reveille"]["push"], "code": "0" });
        tokio::task::block_in_place(|| {
            let refused = http(&api, Some(&wrong))?;
            ensure!(refused.0 == 404, "{refused:?}");
            let taken = http(&api, Some(&said))?;
            ensure!(taken.0 == 204, "{taken:?}");
            let again = http(&api, Some(&said))?;
            ensure!(again.0 == 404, "a code is good for once: {again:?}");
            anyhow::Ok(())
        })
    };
    let (object, acknowledged) = tokio::join!(test(20, "bob@contoso.com"), woken);
    acknowledged?;
    let object = object?;
    ensure!(object["Result"] == "Success", "{object:#}");
    let last = object["Stages"].as_array().and_then(|stages| stages.last()).context("stages")?;
    ensure!(last["Stage"] == "probe" && last["Outcome"] == "Passed", "{last:#}");

    // Somebody who is no test user is nobody's to wake.
    let other = test(1, "alice@contoso.com").await?;
    ensure!(other["FailedStage"] == "settings", "{other:#}");
    phone.shutdown().await;
    tokio::task::block_in_place(|| scene.stop())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_scheduled_test_that_fails_raises_an_alarm_which_outlives_the_process_until_it_succeeds() -> Result<()> {
    let mut scene = Scene::start("diagnose-schedule").await?;
    tokio::task::block_in_place(|| {
        scene.end(Part::House)?;
        scene.types(Part::Contoso, "Set-CsProbeSchedule -Identity Test-CsMcxPushNotification -IntervalMinutes 1")?;
        let latest = |scene: &Scene| {
            let parameters = json!({ "Identity": "Test-CsMcxPushNotification" });
            let outcome = scene.cmdlet(Part::Contoso, "Get-CsProbeResult", &parameters)?;
            let outcome = outcome.map_err(|problem| anyhow::anyhow!("{problem}"))?;
            anyhow::Ok(outcome["objects"][0].clone())
        };
        let failed = until("the test has run by itself", || {
            let found = latest(&scene)?;
            Ok((found["Result"] == "Failure").then_some(found))
        })?;
        ensure!(failed["FailedStage"] == "intake", "{failed:#}");
        let said = scene.said(Part::Contoso);
        ensure!(said.contains("probe-failed") && said.contains("Test-CsMcxPushNotification"), "{said}");
        let ops = format!("http://{}.1:9090/metrics", scene.net);
        let metrics = || http(&ops, None).map(|(_, body)| body);
        let alarm = "reveille_probe_failed{test=\"Test-CsMcxPushNotification\"}";
        ensure!(metrics()?.contains(&format!("{alarm} 1")), "{}", metrics()?);

        scene.begin(Part::House)?;
        scene.restart(Part::Contoso)?;
        let kept = latest(&scene)?;
        ensure!(kept["Result"] == "Failure" && kept["Time"] == failed["Time"], "{kept:#}");
        until("the alarm is still there", || Ok(metrics()?.contains(&format!("{alarm} 1")).then_some(())))?;
        scene.stop()
    })
}

/// An edge that others wrote tells nothing of stages; what it answers to everybody is enough.
#[test]
fn a_foreign_edge_is_tested_by_what_every_edge_answers() -> Result<()> {
    if !here(&[on_path("kamailio")])? {
        return Ok(());
    }
    let settings = r#"{ "settings": [
        { "Kind": "AllowedDomain", "Identity": "fabrikam.com", "ProxyFqdn": "edge.fabrikam.com" },
        { "Kind": "AccessEdgeConfiguration", "AllowFederatedUsers": true } ] }"#;
    let contoso = Contoso::start("diagnose-kamailio", settings)?;
    let names = ["edge.fabrikam.com", "fabrikam.com"];
    let kamailio = Kamailio::start(&contoso, "fabrikam.com", Leaf::new(names[0], &names))?;
    let listens = || {
        let edge = format!("{}:5061", contoso.host(3));
        until("Kamailio listens", || Ok(std::net::TcpStream::connect(&edge).ok().map(drop)))
    };
    listens()?;
    let socket = contoso.folder().path().join("store/admin/reveille.sock");
    let test = || {
        let parameters = json!({
            "TargetFqdn": "edge.contoso.com", "Domain": "fabrikam.com", "Detailed": true, "IgnoreOwnName": true,
        });
        let outcome = scene::cmdlet(&socket, "Test-CsFederatedPartner", &parameters)?;
        let outcome = outcome.map_err(|problem| anyhow::anyhow!("{problem}"))?;
        anyhow::Ok(outcome["objects"][0].clone())
    };
    // Nobody is behind it: its edge is passed, and that is told.
    let alone = test()?;
    ensure!(alone["FailedStage"] == "intake" && alone["Fault"] == "peer", "{alone:#}");
    let sentence = alone["Sentence"].as_str().unwrap_or_default();
    ensure!(sentence.contains("the edge of fabrikam.com answers, and its server behind it does not"), "{sentence}");

    let behind = std::net::UdpSocket::bind(format!("{}:5060", contoso.host(4)))?;
    behind.set_read_timeout(Some(Duration::from_secs(20)))?;
    let answering = std::thread::spawn(move || -> Result<String> {
        let mut buffer = vec![0; 65_535];
        let (length, from) = behind.recv_from(&mut buffer)?;
        let request = String::from_utf8_lossy(&buffer[..length]).into_owned();
        let kept = ["via:", "from:", "to:", "call-id:", "cseq:", "record-route:"];
        let is_kept = |line: &&str| kept.iter().any(|name| line.to_ascii_lowercase().starts_with(name));
        let lines: Vec<&str> = request.lines().filter(is_kept).collect();
        let answer = format!("SIP/2.0 200 OK\r\n{}\r\nContent-Length: 0\r\n\r\n", lines.join("\r\n"));
        behind.send_to(answer.as_bytes(), from)?;
        Ok(request)
    });
    let well = test()?;
    ensure!(well["Result"] == "Success", "{well:#}\n{}", kamailio.said());
    let request = answering.join().ok().context("it answers")??;
    ensure!(request.starts_with("OPTIONS sip:fabrikam.com"), "{request}");
    ensure!(
        !request.to_ascii_lowercase().contains("reveille-"),
        "what is between a home and its edge has left:\n{request}"
    );
    kamailio.stop()?;

    let impostor = ["edge.litware.com", "litware.com"];
    let kamailio = Kamailio::start(&contoso, "fabrikam.com", Leaf::new(impostor[0], &impostor))?;
    listens()?;
    let wrong = test()?;
    ensure!(wrong["FailedStage"] == "their-certificate", "{wrong:#}");
    kamailio.stop()?;
    contoso.stop()
}
