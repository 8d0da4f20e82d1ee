//! Messages between test users: from one to another, and the invitation of a group with a word from each to all.

use std::time::Duration;

use reveille_core::diagnosis::Failure;
use reveille_core::stage::{Stage, Trouble, Walk};
use reveille_sip::Message;
use tokio::time::Instant;

use crate::agent::{Account, Agent, AgentError, Door};
use crate::sign_in;

/// How long a message may take to arrive.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);
/// The content type of a Lync client's invitation to a group (MS-CONFIM).
pub const INVITATION: &str = "application/ms-conf-invite+xml";

/// Who writes to whom.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scene {
    /// The first writes to the second.
    Pair,
    /// The first invites all others, and then everybody writes to all.
    Group,
}

/// Walks a scene with these users. All bindings are taken back at the end, whatever the test has found.
pub async fn walk(door: Door, accounts: Vec<Account>, scene: Scene) -> Walk {
    let begun = Instant::now();
    let mut walk = Walk::default();
    let mut agents = Vec::with_capacity(accounts.len());
    for account in &accounts {
        match sign_in(&mut walk, &door, account).await {
            Some(agent) => agents.push(agent),
            None => break,
        }
    }
    if agents.len() == accounts.len() && agents.len() >= 2 {
        let since = Instant::now();
        let outcome = match scene {
            Scene::Pair => pair(&mut agents).await,
            Scene::Group => group(&mut agents).await,
        };
        match outcome {
            Ok(said) => walk.pass(Stage::Session, since.elapsed(), said),
            Err(sentence) => {
                let trouble = Trouble::new(Stage::Session, Failure::SessionFailed, sentence, "");
                walk.fail(since.elapsed(), trouble);
            }
        }
    }
    for agent in &mut agents {
        let _ = agent.sign_out().await;
    }
    walk.took = begun.elapsed();
    walk
}

async fn pair(agents: &mut [Agent]) -> Result<String, String> {
    let took = tell(agents, 0, 1, "text/plain;charset=UTF-8").await?;
    Ok(format!("{} wrote to {}: {:.1} ms", agents[0].address(), agents[1].address(), took.as_secs_f64() * 1e3))
}

async fn group(agents: &mut [Agent]) -> Result<String, String> {
    let mut slowest = Duration::ZERO;
    for guest in 1..agents.len() {
        slowest = slowest.max(tell(agents, 0, guest, INVITATION).await?);
    }
    for writer in 0..agents.len() {
        for reader in (0..agents.len()).filter(|reader| *reader != writer) {
            slowest = slowest.max(tell(agents, writer, reader, "text/plain;charset=UTF-8").await?);
        }
    }
    let count = agents.len();
    let organiser = agents[0].address();
    Ok(format!(
        "{organiser} invited {} users, and each of {count} wrote to all: {:.1} ms at most",
        count - 1,
        slowest.as_secs_f64() * 1e3
    ))
}

/// One message from one to another: it must be delivered, to whom it is for, from whom it is, unchanged.
async fn tell(agents: &mut [Agent], writer: usize, reader: usize, content_type: &str) -> Result<Duration, String> {
    let (from, to) = (agents[writer].address().clone(), agents[reader].address().clone());
    let body = body(content_type, &format!("{:032x}", rand::random::<u128>()), &from.to_string());
    let since = Instant::now();
    let Ok([writer, reader]) = agents.get_disjoint_mut([writer, reader]) else {
        return Err("a test user writes to himself".into());
    };
    let (sent, heard) = tokio::join!(writer.write(&to, content_type, body.as_bytes()), reader.hear(ARRIVES_WITHIN));
    let status = sent.map_err(|error| format!("{from} could not write to {to}: {error}"))?;
    let heard: Message = match heard {
        Ok(heard) => heard,
        Err(AgentError::Silent { .. }) => {
            return Err(format!("home answered {status} to {from}, and {to}, who was signed in, heard nothing"));
        }
        Err(error) => return Err(format!("{to} did not hear {from}: {error}")),
    };
    let is_from = heard.from().is_ok_and(|name| name.uri().is_ok_and(|uri| uri.to_string() == format!("sip:{from}")));
    if !is_from || heard.body_bytes() != body.as_bytes() {
        return Err(format!("{to} heard something else than {from} had written"));
    }
    if status != 200 {
        return Err(format!("{to} heard {from}, and home answered {status} as if not"));
    }
    Ok(since.elapsed())
}

fn body(content_type: &str, nonce: &str, organiser: &str) -> String {
    match content_type {
        INVITATION => format!(
            "<Conferencing xmlns=\"http://schemas.microsoft.com/rtc/2005/08/cccpextensions\" version=\"2.0\">\
             <focus-uri>sip:{organiser};gruu;opaque=app:conf:focus:id:{nonce}</focus-uri>\
             <subject>Reveille test</subject></Conferencing>"
        ),
        _ => format!("Reveille test {nonce}"),
    }
}
