//! `CsServiceStatus`: what runs in this server, and everything that an administrator should look at.

use reveille_core::Timestamp;
use reveille_store::{Brake, Braked, StoreError};

use crate::call::Call;
use crate::cmdlet::{About, Area, Cmdlet, Name, Outcome, Parameter, Running, Verb};
use crate::cmdlets::certificate::{SOON_DAYS, days_left, machine};
use crate::cmdlets::push_brake::remedy_of as remedy_of_brake;
use crate::cmdlets::push_credential::replaced;
use crate::cmdlets::push_lane::remedy_of;
use crate::cmdlets::push_trouble::{self, PushTrouble};
use crate::desk::Desk;
use crate::kind::Kind;
use crate::ports::border::Partner;
use crate::ports::devices::QuotaSeen;
use crate::ports::house::{Credential, Lane};
use crate::ports::machine::{Certificate, Figures, Part};
use crate::probes::results::Found;
use crate::value::Object;

/// `Get-CsServiceStatus`
pub(super) struct Get;

impl Cmdlet for Get {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Get, "CsServiceStatus"),
                summary: "Shows what runs in this server, and everything that needs somebody's attention",
                description: "One line for the server, each role and each listener, and one for each trouble: push lanes \
                              without a connection, brakes on apps' verdicts, partners that cannot be reached, pushes of the last day that a publisher \
                              refuses or that nobody takes, tests that ran by themselves and failed, certificates near \
                              their end or without a name that they need, keys of push services that are not the ones in \
                              their files, files that could not be read again, and settings that contradict nothing and \
                              yet will not work. Where Status is not Running, Detail says what it is and Remedy what to do.",
                parameters: &[Parameter::new("Trouble", Kind::Switch, "Only what needs attention")],
                outputs: &["Kind", "Name", "Status", "Detail", "Remedy"],
                area: Area::Topology,
                examples: &[("Get-CsServiceStatus -Trouble | Format-List", "What is wrong, and how to mend it.")],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let (machine, now) = (machine(desk)?, desk.clock.now());
            let mut lines = vec![process(machine.figures(), now)];
            lines.extend(machine.parts().iter().map(part));
            if let Some(house) = &desk.ports.house {
                lines.extend(house.lanes().iter().map(lane));
                lines.extend(house.credentials().iter().filter_map(credential));
                lines.extend(brakes(house.brakes().await));
            }
            if let Some(border) = &desk.ports.border {
                lines.extend(border.partners().iter().filter_map(partner));
            }
            if let Some(home) = desk.ports.devices.as_deref() {
                lines.extend(home.quotas().iter().map(quota));
                lines.extend(pushes(push_trouble::troubles(home, desk).await));
            }
            if let Some(results) = &desk.ports.results {
                lines.extend(results.all().iter().filter_map(|(test, known)| failed(test, known.found.first()?)));
            }
            lines.extend(machine.certificates(true).iter().filter_map(|it| certificate(it, now)));
            lines.extend(
                machine.unread().iter().map(|sentence| {
                    line("file", "", "Warning", sentence, "correct the file: it is read again by itself")
                }),
            );
            lines.extend(desk.settings.snapshot().warnings().iter().map(|warning| setting(warning)));
            if call.is_on("Trouble") {
                lines.retain(|line| line.property("Status").and_then(crate::Value::as_text) != Some(RUNNING));
            }
            Ok(Outcome::of(lines))
        })
    }
}

/// All is well.
const RUNNING: &str = "Running";

fn line(kind: &str, name: &str, status: &str, detail: &str, remedy: &str) -> Object {
    Object::new("ServiceStatus")
        .with("Kind", kind)
        .with("Name", name)
        .with("Status", status)
        .with("Detail", detail)
        .with("Remedy", remedy)
}

fn process(figures: Figures, now: Timestamp) -> Object {
    let up = now.since(figures.started).as_secs();
    let detail = format!(
        "up {} d {:02}:{:02}:{:02}, {} MB at the most, {} s of processor time",
        up / 86_400,
        up / 3600 % 24,
        up / 60 % 60,
        up % 60,
        figures.peak_rss_bytes / 1_000_000,
        figures.cpu_ms / 1000
    );
    line("server", "reveille", RUNNING, &detail, "")
}

fn part(part: &Part) -> Object {
    let address = part.address.clone().unwrap_or_default();
    match part.runs {
        true => line(part.kind, &part.name, RUNNING, if part.remark.is_empty() { &address } else { &part.remark }, ""),
        false => {
            let remedy = "look for the last lines of the log with this name, and restart the server";
            line(part.kind, &part.name, "Ended", format!("{address} {}", part.remark).trim(), remedy)
        }
    }
}

/// What a clearing house still takes of this organisation.
fn quota(seen: &QuotaSeen) -> Object {
    let left = |(name, limit, remaining, reset): &(&str, u32, u32, u32)| {
        let name = if *name == "day" { "requests of the day" } else { name };
        format!("{remaining} of {limit} {name} left, all of them in {reset} s")
    };
    let left: Vec<_> = seen.allowances.iter().map(left).collect();
    let detail = format!("{} ({})", left.join("; "), seen.at);
    let is_used_up = seen.allowances.iter().any(|(_, limit, remaining, _)| *remaining == 0 && *limit > 0);
    let (status, remedy) = match is_used_up {
        true => ("Throttled", "wait; ask the publisher for more if it goes on: Set-CsPushQuota there"),
        false => (RUNNING, ""),
    };
    line("quota", seen.clearing_house.as_str(), status, &detail, remedy)
}

fn lane(lane: &Lane) -> Object {
    let name = lane.key.to_string();
    let status = match lane.state {
        "ready" => RUNNING,
        "unreachable" => "Unreachable",
        "refused" => "Refused",
        "failing" => "Failing",
        "paused" => "Paused",
        "draining" => "Stopping",
        _ => "Starting",
    };
    let detail = match (&lane.trouble, lane.state) {
        (Some((at, sentence)), "failing" | "paused" | "refused" | "unreachable" | "starting") => {
            format!("{sentence} ({at})")
        }
        _ => format!("{} connections, {} in flight, {} waiting", lane.connections, lane.in_flight, lane.queued),
    };
    line("lane", &name, status, &detail, &remedy_of(lane).unwrap_or_default())
}

/// A key whose file cannot be used any more.
fn credential(credential: &Credential) -> Option<Object> {
    let (differs, remedy) = (credential.differs.as_deref()?, replaced(credential)?);
    Some(line("credential", &credential.app.to_string(), "Warning", differs, &remedy))
}

/// Apps whose tokens were rejected in mass: somebody has to decide.
fn brakes(found: Result<Vec<Braked>, StoreError>) -> Vec<Object> {
    let line_of = |it: &Braked| {
        let Brake { scope, since, rejected, answers, word, .. } = &it.brake;
        let detail = format!(
            "{rejected} of {answers} answers rejected their token: {word}; {} verdicts wait ({since})",
            it.frozen
        );
        line("brake", &scope.to_string(), "Frozen", &detail, &remedy_of_brake(it))
    };
    match found {
        Ok(found) => found.iter().map(line_of).collect(),
        Err(error) => vec![unread("brake", &format!("the brakes cannot be read: {error}"))],
    }
}

/// A partner that something is wrong with.
fn partner(partner: &Partner) -> Option<Object> {
    if !matches!(partner.state, "failing" | "not-found" | "watched") {
        return None;
    }
    let error = partner.last_error.clone().unwrap_or_default();
    let remedy = match error.advice.as_str() {
        "" => format!("Get-CsFederationPartner {}", partner.domain),
        advice => advice.to_owned(),
    };
    Some(line("partner", &partner.domain, "Warning", &format!("{}: {}", partner.state, error.sentence), &remedy))
}

/// What is wrong with this home's pushes.
fn pushes(found: Result<Vec<PushTrouble>, StoreError>) -> Vec<Object> {
    let line_of = |it: &PushTrouble| line("push", &it.publisher, "Warning", &it.detail, &it.remedy);
    match found {
        Ok(found) => found.iter().map(line_of).collect(),
        Err(error) => vec![unread("push", &format!("what became of pushes cannot be read: {error}"))],
    }
}

/// What should be told here and is on a disk that fails.
fn unread(kind: &str, detail: &str) -> Object {
    line(kind, "", "Warning", detail, "look at the volume that holds store.dir, and at the log")
}

/// A test that ran by itself, and failed the last time.
fn failed(test: &str, found: &Found) -> Option<Object> {
    let detail = || format!("{} at {} ({})", found.sentence, found.stage, found.at);
    (!found.succeeded && !found.skipped).then(|| line("test", test, "Failure", &detail(), &found.remedy))
}

/// A certificate that ends soon.
fn certificate(certificate: &Certificate, now: Timestamp) -> Option<Object> {
    let days = days_left(certificate, now);
    if days >= SOON_DAYS {
        return None;
    }
    let (status, when) = match days {
        ..0 => ("Expired", format!("has expired on {}", certificate.not_after)),
        _ => ("Warning", format!("ends in {days} days, on {}", certificate.not_after)),
    };
    let remedy = match certificate.which {
        "own" | "own-issuer" => "renew it and put it in place of the file: it is read again by itself",
        "authority" => "ask its owner for the authority's next certificate, and add it to the roots",
        _ => "its owner has to renew it; until then its connections end and are refused",
    };
    Some(line(
        "certificate",
        &certificate.subject,
        status,
        &format!("{} ({}) {when}", certificate.which, certificate.key),
        remedy,
    ))
}

/// A warning about settings; its command stands at its end.
fn setting(warning: &str) -> Object {
    let (detail, remedy) = match warning.rsplit_once(": ") {
        Some((detail, remedy)) if remedy.contains("-Cs") => (detail, remedy),
        _ => (warning, ""),
    };
    line("setting", "", "Warning", detail, remedy)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reveille_core::{AppKey, Environment, Provider};
    use reveille_store::BrakeScope;

    use super::*;
    use crate::cmdlets::fakes::{self, ClearingHouse, Edge, NOW, Process, column, run};
    use crate::ports::Ports;
    use crate::ports::border::LastError;
    use crate::probes::results::Results;

    fn certificate(which: &'static str, days: u64) -> Certificate {
        Certificate {
            role: "edge".into(),
            key: "edge.tls".into(),
            which,
            subject: format!("CN={which}{days}"),
            issuer: "CN=ca".into(),
            names: vec![format!("{which}{days}.contoso.com")],
            not_before: NOW,
            not_after: Timestamp::from_millis(NOW.millis() + days * 86_400_000),
            serial: "2a".into(),
            sha256: "00".into(),
            listeners: vec!["edge.external 192.0.2.1:5061".into()],
        }
    }

    fn desk() -> crate::testing::TestDesk {
        let part =
            |kind, name: &str, runs| Part { kind, name: name.into(), address: None, runs, remark: String::new() };
        let process = Process {
            parts: vec![part("role", "edge", true), part("listener", "edge.external", false)],
            certificates: vec![certificate("own", 400), certificate("own", 8), certificate("peer", 0)],
            unread: vec!["edge.tls.key: the file is not there".into()],
        };
        let unfound = LastError {
            at: "2023-11-14T22:13:20Z".into(),
            reason: "srv-not-found".into(),
            sentence: "the server for push.lync.com is not found".into(),
            advice: "publish it".into(),
        };
        let results = Results::forgotten();
        let found = |succeeded| Found {
            at: NOW,
            succeeded,
            skipped: false,
            stage: "name".into(),
            fault: "peer".into(),
            sentence: "no record".into(),
            remedy: "publish it".into(),
            took_ms: 5,
        };
        // The newest counts.
        results.add("Test-CsFederatedPartner", found(false));
        results.add("Test-CsFederatedPartner", found(true));
        results.add("Test-CsMcxPushNotification", found(true));
        results.add("Test-CsMcxPushNotification", found(false));
        let partners = vec![
            Partner { domain: "a.example".into(), state: "connected", ..Partner::default() },
            Partner {
                domain: "push.lync.com".into(),
                state: "not-found",
                last_error: Some(unfound),
                ..Partner::default()
            },
        ];
        fakes::desk_of(Ports {
            machine: Some(Arc::new(process)),
            border: Some(Arc::new(Edge(partners))),
            house: Some(Arc::new(ClearingHouse::default())),
            results: Some(Arc::new(results)),
            ..Ports::default()
        })
    }

    #[tokio::test]
    async fn what_needs_attention_is_told_with_its_remedy() {
        let desk = desk();
        let all = run(&desk, "Get-CsServiceStatus", &[]).await.expect("lines");
        assert_eq!(column(&all, "Kind")[..3], ["server", "role", "listener"]);
        assert!(column(&all, "Detail")[0].starts_with("up 0 d 01:01:01, 40 MB"), "{all:?}");
        let trouble = run(&desk, "Get-CsServiceStatus", &[("Trouble", "$true")]).await.expect("lines");
        assert_eq!(column(&trouble, "Kind"), ["listener", "partner", "test", "certificate", "certificate", "file"]);
        assert_eq!(column(&trouble, "Status"), ["Ended", "Warning", "Failure", "Warning", "Warning", "Warning"]);
        assert_eq!(column(&trouble, "Remedy")[1], "publish it");
        assert_eq!(column(&trouble, "Name")[2], "Test-CsMcxPushNotification");
        assert!(column(&trouble, "Detail")[3].contains("ends in 8 days"), "{trouble:?}");
    }

    #[tokio::test]
    async fn a_brake_that_is_on_waits_for_a_decision_and_is_trouble() {
        let (app, machine) = ("org.example.app", Some(Arc::new(Process::default()) as _));
        let key = AppKey { provider: Provider::Apns, app: app.into(), environment: Environment::Production };
        let scope = BrakeScope { app: key, origin: Some("contoso.com".parse().unwrap()) };
        let brake = Brake { scope, since: NOW, reach: NOW, rejected: 60, answers: 64, word: "BadDeviceToken".into() };
        let house = ClearingHouse { brakes: vec![Braked { brake, frozen: 58 }].into(), ..ClearingHouse::default() };
        let desk = fakes::desk_of(Ports { machine, house: Some(Arc::new(house)), ..Ports::default() });
        let trouble = run(&desk, "Get-CsServiceStatus", &[("Trouble", "$true")]).await.expect("lines");
        assert_eq!(
            (column(&trouble, "Kind"), column(&trouble, "Status")),
            (vec!["brake".into()], vec!["Frozen".into()])
        );
        assert_eq!(column(&trouble, "Name"), ["apns/org.example.app of contoso.com"]);
        let detail = &column(&trouble, "Detail")[0];
        assert!(
            detail.starts_with("60 of 64 answers rejected their token: BadDeviceToken; 58 verdicts wait"),
            "{detail}"
        );
        assert!(column(&trouble, "Remedy")[0].contains("Clear-CsPushBrake -App org.example.app -Verdict Wrong"));
    }

    #[tokio::test]
    async fn what_a_clearing_house_still_takes_is_shown_and_is_trouble_once_nothing_is_left() {
        let seen = |remaining| QuotaSeen {
            clearing_house: "push.example.net".parse().unwrap(),
            at: fakes::NOW,
            allowances: vec![("messages", 200, 199, 1), ("day", 9, remaining, 60)],
        };
        for (remaining, status, trouble) in [(8, "Running", 0), (0, "Throttled", 1)] {
            let home = fakes::Home { quotas: vec![seen(remaining)], ..fakes::Home::default() };
            let machine = Some(Arc::new(fakes::Process::default()) as _);
            let desk = fakes::desk_of(Ports { machine, devices: Some(Arc::new(home)), ..Ports::default() });
            let all = run(&desk, "Get-CsServiceStatus", &[]).await.expect("lines");
            let at = column(&all, "Kind").iter().position(|kind| kind == "quota").expect("its line");
            assert_eq!((&*column(&all, "Name")[at], &*column(&all, "Status")[at]), ("push.example.net", status));
            let detail = &column(&all, "Detail")[at];
            let expected = format!(
                "199 of 200 messages left, all of them in 1 s; {remaining} of 9 requests of the day left, all of them in 60 s"
            );
            assert!(detail.starts_with(&expected), "{detail}");
            let only = run(&desk, "Get-CsServiceStatus", &[("Trouble", "$true")]).await.expect("lines");
            assert_eq!(column(&only, "Kind").iter().filter(|kind| *kind == "quota").count(), trouble);
        }
    }

    #[tokio::test]
    async fn certificates_and_partners_can_be_picked() {
        let desk = desk();
        let names = |parameters: &'static [(&str, &str)]| {
            let desk = &desk;
            async move { column(&run(desk, "Get-CsCertificate", parameters).await.expect("some"), "Subject") }
        };
        assert_eq!(names(&[]).await, ["CN=own400", "CN=own8"]);
        assert_eq!(names(&[("ExpiresWithin", "30"), ("Peer", "$true")]).await, ["CN=own8", "CN=peer0"]);
        assert_eq!(names(&[("Filter", "own8.*")]).await, ["CN=own8"]);
        let partner = run(&desk, "Get-CsFederationPartner", &[("Domain", "push.*")]).await.expect("one");
        assert_eq!(
            (column(&partner, "State"), column(&partner, "LastError")),
            (vec!["not-found".into()], vec!["srv-not-found".into()])
        );
        let stranger = run(&desk, "Get-CsFederationPartner", &[("Domain", "b.example")]).await.expect("none");
        assert_eq!((stranger.objects.len(), stranger.warnings.len()), (0, 1));
    }
}
