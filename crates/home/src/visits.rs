//! Tests that sign in as users of ours and leave no trace.
//!
//! A test announces whom it plays and gets a number. Requests with that number in `Reveille-Visit` come in by the same
//! doors, prove themselves by the same digest, and go through the same shards and the same store; only under names
//! that stand in for the users', so that no device of theirs rings, no presence changes, and no message of a test lies
//! among theirs. When the visit ends everything under these names is forgotten.
//!
//! A test without passwords (Lync's health-monitoring users) proves itself with one that home has made for this visit
//! alone, that stands on no disk and ends with it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use reveille_core::{Aor, SipDomain};
use reveille_sip::Message;

use crate::front::Front;
use crate::shard::Event;

/// The header field with the number of a visit.
pub const HEADER: &str = "Reveille-Visit";
/// Visits at once: tests are few, and each has a handful of users.
const VISITS_MAX: usize = 16;
/// Users of one visit.
const USERS_MAX: usize = 8;
/// How long a visit may take.
const LIFE: Duration = Duration::from_secs(120);

/// The visits under way.
#[derive(Default)]
pub(crate) struct Visits {
    open: Mutex<HashMap<String, Arc<Open>>>,
}

/// One visit as the doors know it.
pub(crate) struct Open {
    until: Instant,
    /// The domain that its users' names stand under.
    domain: SipDomain,
    guests: Vec<Guest>,
}

struct Guest {
    user: Aor,
    password: String,
}

/// A visit: hold it for as long as the test takes, and forget it by dropping it.
pub struct Visit {
    front: Arc<Front>,
    id: String,
    open: Arc<Open>,
}

/// Why a test cannot begin.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NoVisit {
    /// Somebody is tested already, often enough.
    #[error("{VISITS_MAX} tests are under way already: wait until one has ended")]
    TooMany,
    /// Too many at once.
    #[error("a test has {USERS_MAX} users at the most")]
    TooManyUsers,
    /// There is no such user.
    #[error("{0} is no user of this home")]
    Unknown(String),
}

/// What a request with a number means.
pub(crate) enum Visiting {
    /// It has none: a real request.
    No,
    /// It belongs to a visit.
    Yes(Arc<Open>),
    /// The visit is over, or never was.
    Over,
}

impl Visits {
    /// Which visit a request belongs to.
    pub(crate) fn of(&self, request: &Message) -> Visiting {
        let Some(id) = request.other_header(HEADER) else { return Visiting::No };
        match self.open.lock().get(id) {
            Some(open) if Instant::now() < open.until => Visiting::Yes(Arc::clone(open)),
            _ => Visiting::Over,
        }
    }

    fn admit(&self, users: Vec<Aor>) -> Result<(String, Arc<Open>), NoVisit> {
        if users.len() > USERS_MAX {
            return Err(NoVisit::TooManyUsers);
        }
        let id = format!("{:032x}", rand::random::<u128>());
        let domain = format!("v{id}.invalid").parse().expect("hexadecimal digits make a name");
        let guest = |user| Guest { user, password: format!("{:032x}", rand::random::<u128>()) };
        let guests = users.into_iter().map(guest).collect();
        let now = Instant::now();
        let open = Arc::new(Open { until: now + LIFE, domain, guests });
        let mut all = self.open.lock();
        all.retain(|_, open| now < open.until);
        if all.len() >= VISITS_MAX {
            return Err(NoVisit::TooMany);
        }
        all.insert(id.clone(), Arc::clone(&open));
        Ok((id, open))
    }
}

impl Open {
    /// The name that stands in for a user's here; `None` if he takes no part.
    pub(crate) fn stand_in(&self, user: &Aor) -> Option<Aor> {
        self.guests.iter().find(|guest| guest.user == *user)?;
        Aor::new(user.user(), self.domain.clone()).ok()
    }

    /// The password that proves a user in this visit.
    pub(crate) fn password(&self, user: &Aor) -> Option<&str> {
        self.guests.iter().find(|guest| guest.user == *user).map(|guest| guest.password.as_str())
    }
}

impl Visit {
    /// Begins a visit of these users, each named in any form.
    pub(crate) fn begin(front: Arc<Front>, users: &[String]) -> Result<Self, NoVisit> {
        let named = |name: &String| front.users.named(name).ok_or_else(|| NoVisit::Unknown(name.clone()));
        let users = users.iter().map(named).collect::<Result<_, _>>()?;
        let (id, open) = front.visits.admit(users)?;
        Ok(Self { front, id, open })
    }

    /// Its number, for [`HEADER`].
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Each user as he is kept, with the password that proves him in this visit.
    pub fn users(&self) -> impl Iterator<Item = (&Aor, &str)> {
        self.open.guests.iter().map(|guest| (&guest.user, guest.password.as_str()))
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.front.visits.open.lock().remove(&self.id);
        for guest in &self.open.guests {
            if let Some(user) = self.open.stand_in(&guest.user) {
                // A shard that has no room keeps it until the messages' life is over; nobody ever reads them.
                let _ = self.front.shards.of(&user).try_send(Event::ForgetUser { user: user.clone() });
            }
        }
    }
}

impl fmt::Debug for Visit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let users: Vec<String> = self.open.guests.iter().map(|guest| guest.user.to_string()).collect();
        f.debug_struct("Visit").field("users", &users).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use reveille_sip::{Limits, parse_datagram};

    use super::*;

    fn request(id: &str) -> Message {
        let text = format!(
            "MESSAGE sip:b@c.example SIP/2.0\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nFrom: <sip:a@c.example>;tag=1\r\n\
             To: <sip:b@c.example>\r\nCall-ID: 1\r\nCSeq: 1 MESSAGE\r\n{id}Content-Length: 0\r\n\r\n"
        );
        parse_datagram(text.into(), &Limits::default()).unwrap()
    }

    #[test]
    fn a_guest_has_a_name_and_a_password_for_this_visit_only() {
        let visits = Visits::default();
        let (ken, eve): (Aor, Aor) = ("ken@c.example".parse().unwrap(), "eve@c.example".parse().unwrap());
        let (id, first) = visits.admit(vec![ken.clone()]).unwrap();
        let (_, second) = visits.admit(vec![ken.clone()]).unwrap();
        let name = first.stand_in(&ken).unwrap();
        assert_eq!(name.user(), "ken");
        assert_ne!(Some(name), second.stand_in(&ken));
        assert_ne!(first.password(&ken), second.password(&ken));
        assert_eq!((first.stand_in(&eve), first.password(&eve)), (None, None));
        assert!(matches!(visits.of(&request("")), Visiting::No));
        assert!(matches!(visits.of(&request(&format!("{HEADER}: {id}\r\n"))), Visiting::Yes(_)));
        assert!(matches!(visits.of(&request(&format!("{HEADER}: {:032x}\r\n", 1))), Visiting::Over));
    }

    #[test]
    fn there_are_only_so_many_at_once() {
        let visits = Visits::default();
        let ken: Aor = "ken@c.example".parse().unwrap();
        for _ in 0..VISITS_MAX {
            visits.admit(vec![ken.clone()]).unwrap();
        }
        assert_eq!(visits.admit(vec![ken.clone()]).err(), Some(NoVisit::TooMany));
        assert_eq!(visits.admit(vec![ken; USERS_MAX + 1]).err(), Some(NoVisit::TooManyUsers));
    }
}
