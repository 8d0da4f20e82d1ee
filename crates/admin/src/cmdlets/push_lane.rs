//! `CsPushLane`: the lanes of a clearing house, each with its health. Calls have lanes of their own.

use crate::call::Call;
use crate::cmdlet::{About, Area, Cmdlet, Name, Outcome, Parameter, Pipeline, Running, Verb};
use crate::cmdlets::remedy;
use crate::desk::Desk;
use crate::family::fits;
use crate::kind::Kind;
use crate::ports::house::Lane;
use crate::value::Object;

/// `Get-CsPushLane`
pub(super) struct Get;

impl Cmdlet for Get {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Get, "CsPushLane"),
                summary: "Shows the lanes of a clearing house: one for each app and channel, with its connections and last trouble",
                description: "State is ready while there is a connection to the push service, refused if that takes no \
                              push for the app's sake, failing if it answers with failures only, paused if it asks for a \
                              pause (then one push probes from time to time, and calls never do), starting before the first connection, unreachable without one, \
                              draining while the server stops. Queued wait in memory, OnDisk in the journal, each \
                              organisation in a line of its own; they take turns, so that Noisiest, of which most wait, \
                              delays no other. Trouble is the last thing that went \
                              wrong; push services close connections as they like, so a ready lane may have one.",
                parameters: &[Parameter::new(
                    "App",
                    Kind::Text,
                    "Lanes of this app, or of those that fit a pattern with *",
                )
                .at(1)
                .from(Pipeline::ByName)],
                outputs: &[
                    "Lane",
                    "State",
                    "Connections",
                    "InFlight",
                    "Queued",
                    "OnDisk",
                    "Organisations",
                    "Noisiest",
                    "Trouble",
                    "TroubleAt",
                    "Remedy",
                    "Provider",
                    "App",
                    "Environment",
                    "Channel",
                ],
                area: Area::Topology,
                examples: &[
                    (
                        "Get-CsPushLane | Where-Object {$_.State -ne \"ready\"}",
                        "The lanes that send nothing at this moment, with the reason.",
                    ),
                    (
                        "Get-CsPushLane | Where-Object {$_.OnDisk -gt 0} | Select-Object Lane, Queued, OnDisk, Noisiest",
                        "Where more waits than a lane holds in memory, and who has sent most of it.",
                    ),
                ],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let house = desk.ports.clearing_house()?;
            let wanted = call.text("App").unwrap_or("*");
            let lanes = house.lanes();
            let lanes =
                lanes.iter().filter(|lane| fits(wanted, &lane.key.app.app) || fits(wanted, &lane.key.app.to_string()));
            let mut outcome = Outcome::of(lanes.map(object));
            let (in_memory, spilled) = house.load();
            if spilled {
                outcome.warnings.push(format!(
                    "{in_memory} accepted pushes are in memory, and more wait on disk: the push services take them more \
                     slowly than they come."
                ));
            }
            Ok(outcome)
        })
    }
}

fn object(lane: &Lane) -> Object {
    let key = &lane.key;
    Object::new("PushLane")
        .with("Lane", key.to_string())
        .with("State", lane.state)
        .with("Connections", count(lane.connections))
        .with("InFlight", count(lane.in_flight))
        .with("Queued", count(lane.queued))
        .with("OnDisk", count(lane.on_disk))
        .with("Organisations", count(lane.organisations))
        .with("Noisiest", lane.noisiest.as_ref().map(|(origin, waits)| format!("{origin} ({waits})")))
        .with("Trouble", lane.trouble.as_ref().map(|(_, sentence)| sentence.as_str()))
        .with("TroubleAt", lane.trouble.as_ref().map(|(at, _)| at.to_string()))
        .with("Remedy", remedy_of(lane))
        .with("Provider", key.app.provider.as_str())
        .with("App", &*key.app.app)
        .with("Environment", key.app.environment.as_str())
        .with("Channel", key.channel.as_str())
}

/// What to do about a lane that has no connection.
pub(super) fn remedy_of(lane: &Lane) -> Option<String> {
    let broken = matches!(lane.state, "failing" | "refused" | "unreachable");
    broken.then(|| format!("Test-CsPushCredential -App {}", remedy::quoted(&lane.key.app.app)))
}

/// A number of things.
pub(super) fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
