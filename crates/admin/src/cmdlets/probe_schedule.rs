//! `CsProbeSchedule`: how often each test runs by itself. Monthly, as documented, until somebody says otherwise.

use reveille_core::settings::Setting;

use crate::call::Call;
use crate::cmdlet::{About, Area, Cmdlet, Name, Outcome, Parameter, Pipeline, Running, Verb};
use crate::desk::Desk;
use crate::family::parameters::{FORCE, LOCAL_STORE, removed};
use crate::family::{Family, central};
use crate::kind::Kind;
use crate::probes::schedule::SCHEDULED;

const NOUN: &str = "CsProbeSchedule";
const OUTPUTS: &[&str] = &["Identity", "Enabled", "IntervalMinutes", "Alarm"];
const FAMILY: Family = Family::new("CsProbeSchedule", Area::Topology, OUTPUTS);
const TESTS: Kind = Kind::Choice(&SCHEDULED);

/// `Get-CsProbeSchedule`
pub(super) struct Get;

impl Cmdlet for Get {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Get, NOUN),
                summary: "Shows how often tests run by themselves",
                parameters: &[Parameter::new("Identity", TESTS, "The test").at(2), LOCAL_STORE],
                outputs: OUTPUTS,
                area: Area::Topology,
                notes: &["43200 minutes are thirty days.", "Get-CsProbeResult shows what they found."],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async move {
            let settings = if call.is_on("LocalStore") { desk.settings.snapshot() } else { central(desk)? };
            let wanted = |test: &&str| call.text("Identity").is_none_or(|only| only.eq_ignore_ascii_case(test));
            let rows = SCHEDULED.iter().copied().filter(|test| wanted(test)).map(|test| {
                let setting = Setting::ProbeSchedule(settings.probe_schedule(test));
                FAMILY.object_of(setting, &settings)
            });
            Ok(Outcome::of(rows))
        })
    }
}

/// `Set-CsProbeSchedule`
pub(super) struct Set;

impl Cmdlet for Set {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Set, NOUN),
                summary: "Changes how often a test runs by itself",
                parameters: &[
                    Parameter::new("Identity", TESTS, "The test").required().at(2).from(Pipeline::ByName),
                    Parameter::new("Enabled", Kind::Bool, "Whether it runs by itself").or("True"),
                    Parameter::new(
                        "IntervalMinutes",
                        Kind::Int { min: 1, max: 525_600 },
                        "How long after a run the next one begins",
                    )
                    .or("43200"),
                    Parameter::new(
                        "Alarm",
                        Kind::Bool,
                        "Whether a failure is said in the log and the metrics until it succeeds",
                    )
                    .or("True"),
                    FORCE,
                ],
                area: Area::Topology,
                changes: true,
                examples: &[(
                    "Set-CsProbeSchedule -Identity Test-CsMcxPushNotification -IntervalMinutes 60",
                    "Tests the push road every hour.",
                )],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        let test = call.text("Identity").unwrap_or_default();
        Box::pin(FAMILY.adapt(move |settings| Setting::ProbeSchedule(settings.probe_schedule(test)), call, desk))
    }
}

/// `Remove-CsProbeSchedule`
pub(super) struct Remove;

impl Cmdlet for Remove {
    fn about(&self) -> &'static About {
        const {
            &About {
                summary: "Has a test run monthly again",
                parameters: &[removed(TESTS, "The test"), FORCE],
                ..FAMILY.about(Verb::Remove)
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(FAMILY.take(call.text("Identity").unwrap_or_default(), call, desk))
    }
}
