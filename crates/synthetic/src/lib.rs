//! Synthetic transactions: what real clients do, done by test users, stage by stage, so that a failure names its stage.
//!
//! [`agent`] is a SIP client that signs in by digest over TLS; [`relay`] a TURN client that moves packets. Each test is one
//! [`Walk`]: [`av_edge`] through the A/V edge, [`im`] between two users or more.
#![warn(missing_docs)]

pub mod agent;
pub mod av_edge;
pub mod im;
mod link;
pub mod relay;

use reveille_core::diagnosis::Failure;
use reveille_core::stage::{Stage, Trouble, Walk};
use reveille_sip_net::{ConnectError, Stage as Met};
use tokio::time::Instant;

use agent::{Account, Agent, AgentError, Door};

/// Connects to a home and signs in; `None` if the walk has ended there.
async fn sign_in(walk: &mut Walk, door: &Door, account: &Account) -> Option<Agent> {
    let address = &account.address;
    let since = Instant::now();
    let mut agent = match Agent::connect(door, account.clone()).await {
        Ok((agent, took)) => {
            // The second user of a test meets the same door.
            if walk.steps.iter().all(|step| step.stage != Stage::Connect) {
                let at = door.addresses.first().map(ToString::to_string).unwrap_or_default();
                walk.pass(Stage::Connect, took.connect, at);
                walk.pass(Stage::TheirCertificate, took.handshake, format!("names {}", door.name));
            }
            agent
        }
        Err(error) => {
            walk.fail(since.elapsed(), not_connected(door, &error));
            return None;
        }
    };
    let since = Instant::now();
    match agent.sign_in().await {
        Ok(()) => {
            walk.pass(Stage::SignIn, since.elapsed(), address.to_string());
            Some(agent)
        }
        Err(error) => {
            let sentence = match &error {
                AgentError::Refused { status: 401 | 407, .. } => {
                    format!("home does not take the password that was given for {address}")
                }
                error => format!("{address} could not sign in: {error}"),
            };
            walk.fail(since.elapsed(), Trouble::new(Stage::SignIn, Failure::SignInRefused, sentence, ""));
            None
        }
    }
}

fn not_connected(door: &Door, error: &ConnectError) -> Trouble {
    let name = &door.name;
    match error.stage() {
        Met::Tls => {
            let sentence = format!("a client cannot trust home's certificate for {name}: {error}");
            Trouble::new(Stage::TheirCertificate, Failure::HomeUntrusted, sentence, "")
        }
        Met::Connect | Met::Resolve | Met::Send => {
            let sentence = format!("home's listener for clients ({name}) does not answer: {error}");
            Trouble::new(Stage::Connect, Failure::HomeUnreachable, sentence, "")
        }
    }
}
