//! Tests that run by themselves: monthly as documented, or as `ProbeSchedule` says, made up for after a downtime, with an
//! alarm when one fails.

use std::sync::Arc;
use std::time::Duration;

use reveille_core::diagnosis::Failure;
use reveille_core::settings::{McxConfiguration, ProbeSchedule, Setting, Snapshot};
use reveille_core::{Aor, SipDomain, Timestamp};
use reveille_federation::probe::{Goal, Order, Report};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::results::{Found, Known, Results};
use crate::desk::Desk;
use crate::ports::synthetic::{self, Act};

/// The tests that can run by themselves.
pub const SCHEDULED: [&str; 4] =
    ["Test-CsAVEdgeConnectivity", "Test-CsFederatedPartner", "Test-CsMcxP2PIM", "Test-CsMcxPushNotification"];
/// How often it is looked whether one is due.
const LOOK: Duration = Duration::from_secs(5);
/// Domains that one run of a test goes to.
const DOMAINS_MAX: usize = 64;
/// The shortest time between two runs of one test, whatever the schedule says.
const SHORTEST: Duration = Duration::from_secs(60);

/// Runs what is due until `stop`, one test at a time. Ends at once where no home can walk the road.
pub async fn run(desk: Arc<Desk>, results: Arc<Results>, stop: CancellationToken) {
    if desk.ports.road.is_none() {
        return;
    }
    remember(&desk, &results);
    while stop.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        for test in SCHEDULED {
            if stop.run_until_cancelled(look(test, &desk, &results)).await.is_none() {
                return;
            }
        }
    }
}

/// The alarms that were there when the process ended, which go on until the tests succeed.
fn remember(desk: &Desk, results: &Results) {
    let settings = desk.settings.snapshot();
    for (test, known) in results.all() {
        let failed = known.found.first().is_some_and(|last| !last.succeeded && !last.skipped);
        alarm(&test, failed && settings.probe_schedule(&test).alarm);
    }
}

/// Runs a test if it is due, and keeps what it found.
async fn look(test: &str, desk: &Desk, results: &Results) {
    let (settings, now) = (desk.settings.snapshot(), desk.clock.now());
    let schedule = settings.probe_schedule(test);
    let is_set = settings.of_kind("ProbeSchedule").any(|row| row.setting.identity().eq_ignore_ascii_case(test));
    let known = results.of(test, now);
    if next(&schedule, is_set, &known).is_none_or(|due| now < due) {
        return;
    }
    // Whoever is busy is asked again at the next look, and so is a test that lacks its users.
    let Some(report) = walked(test, desk, &settings).await else { return };
    // What nobody has set up is no failure, and nobody waits for a test of it.
    if !is_unwanted(&report) {
        tell(test, &schedule, &report);
    }
    results.add(test, found(&report, now));
}

/// When a test is due; never while it is switched off. One that somebody has scheduled here and that never ran is due at
/// once, any other one interval after it was first seen.
pub fn next(schedule: &ProbeSchedule, is_set: bool, known: &Known) -> Option<Timestamp> {
    let interval = Duration::from_secs(u64::from(schedule.interval_minutes) * 60).max(SHORTEST);
    let due = match known.found.first() {
        Some(last) => last.at.plus(interval),
        None if is_set => known.since,
        None => known.since.plus(interval),
    };
    schedule.enabled.then_some(due)
}

/// Runs a test with what it has when nobody types its parameters. Nothing if it cannot be run now.
async fn walked(test: &str, desk: &Desk, settings: &Snapshot) -> Option<Report> {
    match act(test) {
        Some((act, players)) => {
            let order = synthetic::Order { target: pool(settings)?, port: None, players: vec![None; players], act };
            desk.ports.synthetic.as_ref()?.run(order).await
        }
        None => {
            let mut last = None;
            for goal in goals(test, settings) {
                let order = Order { edge: None, ignore_own_name: false, goal };
                let report = desk.ports.road.as_ref()?.probe(order).await?;
                // One that fails is what there is to tell.
                if !report.walk.succeeded() {
                    return Some(report);
                }
                last = Some(report);
            }
            last
        }
    }
}

/// What test users do in a test, and how many take part.
fn act(test: &str) -> Option<(Act, usize)> {
    match test {
        "Test-CsAVEdgeConnectivity" => Some((Act::AvEdge { host: None, udp: None, tcp: None }, 1)),
        "Test-CsMcxP2PIM" => Some((Act::Pair, 2)),
        _ => None,
    }
}

/// The pool that has test users; without any nobody signs in for a test.
fn pool(settings: &Snapshot) -> Option<SipDomain> {
    settings.of_kind("HealthMonitoringConfiguration").find_map(|row| match &row.setting {
        Setting::HealthMonitoringConfiguration(record) => Some(record.identity.clone()),
        _ => None,
    })
}

/// Where a test of the road goes, by home's own edge: to the publisher that the settings name, if push is wanted at all, and
/// to every domain that is marked for monitoring.
fn goals(test: &str, settings: &Snapshot) -> Vec<Goal> {
    if test == "Test-CsMcxPushNotification" {
        return vec![Goal::Push { device: None, patience: Duration::ZERO }];
    }
    let push_is_on = settings.of_kind("PushNotificationConfiguration").any(|row| match &row.setting {
        Setting::PushNotificationConfiguration(record) => record.any_on(),
        _ => false,
    });
    let publisher = publisher(settings).filter(|_| push_is_on);
    let marked = settings.allowed_domains().filter(|record| record.mark_for_monitoring);
    let marked = marked.map(|record| record.identity.clone()).filter(|domain| publisher.as_ref() != Some(domain));
    let domains: Vec<SipDomain> = publisher.iter().cloned().chain(marked).take(DOMAINS_MAX).collect();
    domains.into_iter().map(|domain| Goal::Partner { domain, proxy: None }).collect()
}

/// The domain of the clearing house: that of the whole organisation, else the first that a site names.
fn publisher(settings: &Snapshot) -> Option<SipDomain> {
    let set = settings.of_kind("McxConfiguration").filter_map(|row| match &row.setting {
        Setting::McxConfiguration(record) => Some(record.clone()),
        _ => None,
    });
    let uri = set.min_by_key(|record| record.identity.to_string() != "global");
    let uri = uri.unwrap_or_else(McxConfiguration::default).push_notification_proxy_uri;
    uri.strip_prefix("sip:")?.parse::<Aor>().ok().map(|aor| aor.domain().clone())
}

fn is_unwanted(report: &Report) -> bool {
    let failure = report.walk.trouble.as_ref().map(|trouble| trouble.failure);
    matches!(failure, Some(Failure::NoTestUsers | Failure::PushSwitchedOff | Failure::RelayNotConfigured))
}

/// The alarm, and its end.
fn tell(test: &str, schedule: &ProbeSchedule, report: &Report) {
    let outcome = if report.walk.succeeded() { "success" } else { "failure" };
    metrics::counter!("reveille_probe_runs_total", "test" => test.to_owned(), "outcome" => outcome).increment(1);
    alarm(test, schedule.alarm && !report.walk.succeeded());
    match &report.walk.trouble {
        Some(trouble) if schedule.alarm => warn!(
            code = "probe-failed",
            test,
            stage = trouble.stage.as_str(),
            fault = trouble.fault.as_str(),
            remedy = trouble.remedy,
            "a scheduled test has failed: {}",
            trouble.sentence
        ),
        Some(trouble) => {
            info!(test, stage = trouble.stage.as_str(), "a scheduled test has failed: {}", trouble.sentence)
        }
        None => info!(code = "probe-succeeded", test, "a scheduled test has succeeded"),
    }
}

fn alarm(test: &str, on: bool) {
    metrics::gauge!("reveille_probe_failed", "test" => test.to_owned()).set(if on { 1.0 } else { 0.0 });
}

/// What is kept of a report.
pub fn found(report: &Report, at: Timestamp) -> Found {
    let trouble = report.walk.trouble.as_ref();
    Found {
        at,
        succeeded: report.walk.succeeded(),
        skipped: is_unwanted(report),
        stage: trouble.map(|trouble| trouble.stage.as_str()).unwrap_or_default().into(),
        fault: trouble.map(|trouble| trouble.fault.as_str()).unwrap_or_default().into(),
        sentence: trouble.map(|trouble| trouble.sentence.clone()).unwrap_or_default(),
        remedy: trouble.map(|trouble| trouble.remedy.clone()).unwrap_or_default(),
        took_ms: u64::try_from(report.walk.took.as_millis()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use reveille_core::stage::{Stage, Trouble};

    use super::*;
    use crate::probes::report::tests::{no_record, report};
    use crate::probes::road::tests::Fixed;
    use crate::testing::desk_with;

    const PUSH: &str = "Test-CsMcxPushNotification";
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_test_is_due_an_interval_after_its_last_run_and_at_once_when_somebody_schedules_it() {
        let monthly = ProbeSchedule::new(PUSH);
        let never = Known { since: at(5), found: Vec::new() };
        let month = 30 * DAY;
        assert_eq!(next(&monthly, false, &never), Some(at(5).plus(month)));
        assert_eq!(next(&monthly, true, &never), Some(at(5)));
        let ran = Known { found: vec![found(&report(None), at(1000))], ..never };
        assert_eq!(next(&monthly, true, &ran), Some(at(1000).plus(month)));
        let hasty = ProbeSchedule { interval_minutes: 0, ..monthly.clone() };
        assert_eq!(next(&hasty, true, &ran), Some(at(1000).plus(SHORTEST)));
        assert_eq!(next(&ProbeSchedule { enabled: false, ..monthly }, true, &ran), None);
    }

    #[tokio::test]
    async fn what_was_missed_is_made_up_for_once_and_kept() {
        let home = Fixed::new(report(Some(no_record())));
        let desk = desk_with(home.ports());
        let results = Results::forgotten();
        // Scheduled at the time 1, and due a month later: long over when the process runs again.
        look(PUSH, &desk, &results).await;
        assert!(home.orders.lock().unwrap().is_empty(), "not before its time");
        desk.turn_to(at(1).plus(90 * DAY));
        look(PUSH, &desk, &results).await;
        look(PUSH, &desk, &results).await;
        assert_eq!(home.orders.lock().unwrap().len(), 1, "one run makes up for all that were missed");
        let known = results.all().remove(PUSH).unwrap();
        assert_eq!((known.found.len(), known.found[0].stage.as_str()), (1, "name"));
        assert_eq!(known.found[0].remedy, "publish it");
    }

    #[tokio::test]
    async fn push_that_nobody_has_switched_on_is_no_failure() {
        let off = Trouble::new(Stage::Settings, Failure::PushSwitchedOff, "it is off", "");
        assert!(
            is_unwanted(&report(Some(off))) && !is_unwanted(&report(Some(no_record()))) && !is_unwanted(&report(None))
        );
    }

    #[tokio::test]
    async fn tests_with_users_wait_until_there_are_some() {
        let desk = desk_with(Fixed::new(report(None)).ports());
        for test in SCHEDULED {
            let settings = desk.settings.snapshot();
            let runs = walked(test, &desk, &settings).await.is_some();
            assert_eq!(runs, test == PUSH, "{test}: nobody wants push yet, and no partner is watched");
        }
        let users = r#"{"Kind":"HealthMonitoringConfiguration","Identity":"home.contoso.com","FirstTestUserSipUri":"sip:a@contoso.com","SecondTestUserSipUri":"sip:b@contoso.com"}"#;
        let settings = Snapshot::of([serde_json::from_str::<Setting>(users).unwrap()]).unwrap();
        assert_eq!(pool(&settings).map(|pool| pool.to_string()).as_deref(), Some("home.contoso.com"));
        assert_eq!(pool(&Snapshot::default()), None);
    }

    #[test]
    fn the_partners_that_are_tested_are_the_publisher_and_those_marked_for_it() {
        let of = |rows: &[&str]| {
            let settings = rows.iter().map(|row| serde_json::from_str::<Setting>(row).unwrap());
            let goals = goals("Test-CsFederatedPartner", &Snapshot::of(settings).unwrap());
            let domain = |goal: Goal| match goal {
                Goal::Partner { domain, .. } => domain.to_string(),
                Goal::Push { .. } => "push".to_owned(),
            };
            goals.into_iter().map(domain).collect::<Vec<_>>()
        };
        let on = r#"{"Kind":"PushNotificationConfiguration","EnableApplePushNotificationService":true}"#;
        let marked = r#"{"Kind":"AllowedDomain","Identity":"fabrikam.com","MarkForMonitoring":true}"#;
        let publisher = r#"{"Kind":"AllowedDomain","Identity":"push.lync.com","MarkForMonitoring":true}"#;
        assert_eq!(of(&[]), [""; 0]);
        assert_eq!(of(&[marked, r#"{"Kind":"AllowedDomain","Identity":"b.example"}"#]), ["fabrikam.com"]);
        assert_eq!(of(&[on, marked, publisher]), ["push.lync.com", "fabrikam.com"]);
    }

    #[test]
    fn a_test_by_itself_asks_for_the_publisher_that_the_settings_name() {
        let rows = [
            r#"{"Kind":"McxConfiguration","Identity":"site:Redmond","PushNotificationProxyUri":"sip:push@site.example"}"#,
            r#"{"Kind":"McxConfiguration","PushNotificationProxyUri":"sip:push@push.example.net"}"#,
        ];
        let of = |rows: &[&str]| {
            let settings = rows.iter().map(|row| serde_json::from_str::<Setting>(row).unwrap());
            publisher(&Snapshot::of(settings).unwrap()).map(|domain| domain.to_string())
        };
        assert_eq!(of(&rows).as_deref(), Some("push.example.net"));
        assert_eq!(of(&rows[..1]).as_deref(), Some("site.example"));
        assert_eq!(of(&[]).as_deref(), Some("push.lync.com"));
    }
}
