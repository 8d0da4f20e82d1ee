//! The admin API: the catalogue over HTTP, by a socket for users of this machine and by TLS for accounts.
//!
//! | request | answer |
//! |---|---|
//! | `POST /admin/v1/cmdlets/NAME` with `{"parameters":{…}}` | what the cmdlet gives: [`Outcome`](crate::Outcome) |
//! | `GET /admin/v1/cmdlets` | the cmdlets that the caller may run |
//! | `GET /admin/v1/me` | who the caller is, and what his roles reach |
//! | `GET /admin/v1/openapi.json` | all of it, for programs |
//! | `POST /admin/v1/session` with `{"account":…,"password":…}` | a session's token |
//! | `DELETE /admin/v1/session` | ends it |
//!
//! Whatever goes wrong is a problem of RFC 9457 with the members of [`Failure`](crate::Failure).

mod answer;
mod converse;
mod door;
mod line;
mod local;
mod openapi;
mod pace;
mod problem;
mod routes;
mod seats;
#[cfg(test)]
mod tests;
mod throttle;

use std::net::IpAddr;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::accounts::{self, NotAdmitted};
use crate::call::Caller;
use crate::desk::Desk;
use crate::room::Room;

pub use local::{Groups, LocalUsers};
pub use openapi::document;

use pace::Pace;
use problem::Problem;
pub use seats::RUNNING_MAX;
use seats::Seats;
pub(crate) use throttle::Throttle;

/// The admin API of one server, whatever its listeners are.
pub struct Api {
    desk: Arc<Desk>,
    /// The names that requests over TLS may be addressed to.
    names: Vec<String>,
    users: LocalUsers,
    throttle: Throttle,
    pace: Pace,
    seats: Seats,
    hashing: Arc<Semaphore>,
    tasks: TaskTracker,
    /// Where cmdlets are computed.
    room: Room,
    /// The runtime of the roles that cmdlets ask.
    home: Handle,
}

/// Who is at the other end of a connection, as far as the connection tells.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Peer {
    /// A process of this machine, by the system's word.
    Local {
        /// Its user.
        uid: u32,
    },
    /// Somebody from elsewhere.
    Remote {
        /// From where.
        address: IpAddr,
        /// The SHA-256 fingerprint of the client certificate, whose chain the listener has verified.
        certificate: Option<[u8; 32]>,
    },
}

impl Api {
    /// The API of that desk. Requests over TLS must be addressed to one of `names`. Cmdlets are computed in `room`, which
    /// needs [`RUNNING_MAX`] threads for them; to be called in the runtime of the roles, which keeps what cmdlets begin there.
    pub fn new(desk: Arc<Desk>, names: Vec<String>, users: LocalUsers, room: Room) -> Arc<Self> {
        let throttle = Throttle::new(Arc::clone(&desk.guesses), Arc::clone(&desk.clock));
        Arc::new(Self {
            desk,
            names,
            users,
            throttle,
            pace: Pace::default(),
            seats: Seats::default(),
            hashing: Arc::new(Semaphore::new(HASHING_MAX)),
            tasks: TaskTracker::new(),
            room,
            home: Handle::current(),
        })
    }

    /// Waits for the cmdlets that are under way, after the listeners have stopped.
    pub async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The caller of a request: by the system's word, else by its token or session, else by its certificate.
    async fn caller(&self, peer: Peer, bearer: Option<&str>) -> Result<Caller, Problem> {
        let (address, certificate) = match peer {
            Peer::Local { uid } => return Ok(self.users.caller(uid).await),
            Peer::Remote { address, certificate } => (address, certificate),
        };
        let from = address.to_string();
        let admitted = match (bearer, certificate) {
            (Some(bearer), _) => accounts::admit_pass(bearer, &from, &self.desk).map(|(caller, _)| caller),
            (None, Some(fingerprint)) => accounts::admit_certificate(&fingerprint, &from, &self.desk),
            (None, None) => {
                return Err(Problem::unauthorised("This needs a token, a session or a client certificate."));
            }
        };
        let caller = match admitted {
            Ok(caller) => caller,
            // Whoever has been disabled or has expired had the right secret: his nightly job guesses at nothing.
            Err(why @ (NotAdmitted::Disabled | NotAdmitted::Expired)) => {
                return Err(not_admitted(address, &why));
            }
            // The credential has been looked at first, which costs the same whatever it is: a right one is let in from
            // an address that others guess from, since nobody guesses 256 bits.
            Err(why) => {
                let wait = self.throttle.wait_of(None, address).filter(|_| why == NotAdmitted::Unknown);
                if let Some(wait) = wait {
                    return Err(Problem::too_many(wait));
                }
                if why == NotAdmitted::Unknown {
                    self.throttle.failed(None, address);
                }
                return Err(not_admitted(address, &why));
            }
        };
        self.pace.take(&caller.name).map_err(Problem::too_many)?;
        Ok(caller)
    }
}

/// What somebody is told who was not let in: that, and not why. The log says why.
fn not_admitted(address: IpAddr, why: &NotAdmitted) -> Problem {
    tracing::info!(admin.from = %address, %why, "an administrator was not let in");
    match why {
        NotAdmitted::Store(error) => Problem::from(crate::cmdlets::unavailable(error.clone())),
        NotAdmitted::Disabled | NotAdmitted::Expired | NotAdmitted::Unknown => Problem::not_known(),
    }
}

/// Passwords hashed at once: each takes 19 MiB and a processor for tens of milliseconds.
const HASHING_MAX: usize = 2;
