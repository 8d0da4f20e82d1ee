//! `reveille trace`: the walk of one push, in plain words, as the server of this machine knows it.
//!
//! It asks what `Get-CsPushTrace` tells, so that whoever may not run that cmdlet learns nothing here either.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, anyhow};
use clap::Args;
use reveille_admin::Object;

use crate::{FAILED, out, shell};

/// Which push, and which server is asked; without a server the only one that runs on this machine.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// The push's id, as logs and Get-CsPushTrace show it: the same at home and at the publisher
    #[arg(value_name = "ID")]
    id: String,
    /// Only as this organisation has sent it: two may have chosen one id
    #[arg(long, value_name = "DOMAIN")]
    origin: Option<String>,
    /// The server of this configuration
    #[arg(short, long, value_name = "FILE", conflicts_with = "socket")]
    config: Option<PathBuf>,
    /// Its admin socket; also $REVEILLE_SOCKET
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

/// Prints the walk; 1 where nothing is known of the push.
pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let remote = shell::here(options.socket, options.config)?;
    let mut wanted = Object::new("Parameters").with("Id", options.id.as_str());
    if let Some(origin) = &options.origin {
        wanted = wanted.with("Origin", origin.as_str());
    }
    match remote.run("Get-CsPushTrace", &wanted).await {
        Ok(outcome) => {
            for push in outcome.objects.iter().filter_map(|push| push.as_object()) {
                walk(push).iter().for_each(|line| out::data(line));
            }
            outcome.warnings.iter().for_each(|warning| out::note(warning));
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) if &*failure.id == "PushNotFound" => {
            out::note(&format!("reveille: {}", failure.message));
            Ok(ExitCode::from(FAILED))
        }
        Err(failure) => Err(anyhow!("{}", failure.message)),
    }
}

/// What one place knows of a push, line by line, the oldest first.
fn walk(push: &Object) -> Vec<String> {
    let text = |name: &str| push.property(name).map(ToString::to_string).unwrap_or_default();
    let (explanation, house) = (text("Explanation"), text("ClearingHouse"));
    let at_home = text("Place") == "home";
    let begun = match at_home {
        true => format!(
            "home owes it: {} for {} on device {}, on the {} channel, of use until {}",
            text("Event"),
            text("User"),
            text("Device"),
            text("Channel"),
            text("Expires")
        ),
        false => format!(
            "the clearing house has taken it from {} for {}, on the {} channel, of use until {}; it is on disk",
            text("Origin"),
            text("App"),
            text("Channel"),
            text("Expires")
        ),
    };
    let now = match text("State").as_str() {
        "owed" if text("Attempt") == "0" => format!("it is about to be asked for at {house}"),
        "owed" => format!("{house} has not taken it yet, after {} tries; next {}", text("Attempt"), text("NextTry")),
        "requested" => format!("{house} was asked, and has not answered yet"),
        "journaled" if at_home => format!("{house} has taken it; from there only bad news comes back"),
        "journaled" if text("Attempt") == "0" => "it waits for its turn".to_owned(),
        "journaled" => format!("it waits for its next attempt, after {} that failed", text("Attempt")),
        "sending" => "it is being sent to the push service".to_owned(),
        "accepted" => "the push service has taken it: what the phone showed only the phone knows".to_owned(),
        "not-pushed" => format!("it was not pushed: {}", text("Reason")),
        other => other.to_owned(),
    };
    let mut lines = vec![format!("{}  {begun}", text("Created")), format!("{}  {now}", text("Since"))];
    for (label, said) in [("why", explanation), ("what mends it", text("Remedy"))] {
        if !said.is_empty() {
            lines.push(format!("    {label}: {said}"));
        }
    }
    // What its home has heard of that, and when.
    if !text("FeedbackOwed").is_empty() {
        lines.push(format!("{}  its home is owed the news of that: that is on disk too", text("FeedbackOwed")));
    }
    match text("Feedback").as_str() {
        "feedback-delivered" => lines.push(format!("{}  its home has taken the news", text("FeedbackOver"))),
        "feedback-given-up" => {
            lines.push(format!("{}  its home does not believe the news, and is told no more", text("FeedbackOver")));
        }
        _ => {}
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(place: &str, state: &str, attempt: i64) -> Object {
        Object::new("PushTrace")
            .with("Place", place)
            .with("State", state)
            .with("Attempt", attempt)
            .with("Created", "10:00")
            .with("Since", "10:05")
            .with("ClearingHouse", "push.example.net")
            .with("Origin", "contoso.com")
    }

    #[test]
    fn each_state_is_told_in_words() {
        for (place, state, attempt, says) in [
            ("home", "owed", 0, "about to be asked for at push.example.net"),
            ("home", "owed", 3, "has not taken it yet, after 3 tries"),
            ("home", "journaled", 1, "push.example.net has taken it"),
            ("clearing house", "journaled", 0, "waits for its turn"),
            ("clearing house", "journaled", 2, "after 2 that failed"),
            ("clearing house", "accepted", 0, "the push service has taken it"),
        ] {
            let lines = walk(&push(place, state, attempt));
            assert!(lines[0].starts_with("10:00  ") && lines[1].starts_with("10:05  "), "{lines:?}");
            assert!(lines[1].contains(says), "{state}: {lines:?}");
            assert_eq!(lines.len(), 2, "nothing is wrong: {lines:?}");
        }
    }

    #[test]
    fn what_its_home_has_heard_is_told_with_its_times() {
        let with = |feedback: &str| {
            let push = push("clearing house", "not-pushed", 0).with("Reason", "expired").with("Feedback", feedback);
            let over = if feedback == "feedback-owed" { "" } else { "10:07" };
            walk(&push.with("FeedbackOwed", "10:05").with("FeedbackOver", over))[2..].to_vec()
        };
        let owed = "10:05  its home is owed the news of that: that is on disk too";
        assert_eq!(with("feedback-owed"), [owed]);
        assert_eq!(with("feedback-delivered"), [owed, "10:07  its home has taken the news"]);
        assert_eq!(with("feedback-given-up"), [owed, "10:07  its home does not believe the news, and is told no more"]);
    }

    #[test]
    fn what_went_wrong_is_told_with_why_and_what_mends_it() {
        let push = push("clearing house", "not-pushed", 0)
            .with("Reason", "identity-dead")
            .with("Explanation", "the provider has declared the device's token dead: Unregistered")
            .with("Remedy", "open the app on the device once");
        let lines = walk(&push);
        assert_eq!(lines[1], "10:05  it was not pushed: identity-dead");
        assert!(lines[2].ends_with("Unregistered") && lines[3].contains("open the app"), "{lines:?}");
    }
}
