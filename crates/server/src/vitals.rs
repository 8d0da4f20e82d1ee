//! What has to live for this server to be ready.

use std::io;
use std::net::SocketAddr;

use reveille_sip_net::{Listener, Pulse};
use tokio::task::AbortHandle;

use crate::server::StartError;

/// The roles and the listeners of one server.
#[derive(Default)]
pub(crate) struct Vitals {
    pub(crate) roles: Vec<(&'static str, AbortHandle)>,
    pub(crate) doors: Doors,
}

impl Vitals {
    /// What has ended, a sentence for each. While the server stops, that is everything in the end.
    pub(crate) fn ended(&self) -> Vec<String> {
        let roles = self.roles.iter().filter(|(_, task)| task.is_finished());
        let doors = self.doors.0.iter().filter(|door| !door.pulse.beats());
        roles
            .map(|(name, _)| format!("the role {name} has ended"))
            .chain(doors.map(|door| format!("{} does not listen on {} any more", door.key, door.address)))
            .collect()
    }
}

/// A role or a listener, and whether it lives.
pub(crate) struct Sign {
    /// The role's name, or the listener's key.
    pub(crate) name: &'static str,
    /// Where a listener listens.
    pub(crate) address: Option<SocketAddr>,
    /// Whether it lives.
    pub(crate) lives: bool,
}

impl Vitals {
    /// Every role, then every listener.
    pub(crate) fn signs(&self) -> impl Iterator<Item = Sign> {
        let roles = self.roles.iter();
        let roles = roles.map(|(name, task)| Sign { name, address: None, lives: !task.is_finished() });
        let doors = self.doors.0.iter();
        roles.chain(doors.map(|it| Sign { name: it.key, address: Some(it.address), lives: it.pulse.beats() }))
    }
}

/// The listeners of one role.
#[derive(Default)]
pub(crate) struct Doors(Vec<Door>);

struct Door {
    key: &'static str,
    address: SocketAddr,
    pulse: Pulse,
}

impl Doors {
    /// Keeps the pulse of a listener; or names the key of one that cannot be had.
    pub(crate) fn open(
        &mut self,
        key: &'static str,
        address: SocketAddr,
        listener: io::Result<Listener>,
    ) -> Result<Listener, StartError> {
        let listener = listener.map_err(|source| StartError::Listen { key, address, source })?;
        self.0.push(Door { key, address: listener.local_addr(), pulse: listener.pulse() });
        Ok(listener)
    }

    /// Those of another role too.
    pub(crate) fn join(&mut self, others: Self) {
        self.0.extend(others.0);
    }
}

#[cfg(test)]
mod tests {
    use reveille_sip_net::ListenLimits;

    use super::*;

    #[tokio::test]
    async fn what_has_ended_is_named() {
        let at = ([127, 0, 0, 1], 0).into();
        let mut vitals = Vitals::default();
        let mut open = |key| vitals.doors.open(key, at, Listener::udp(at, ListenLimits::default())).expect("a port");
        let (one, other) = (open("home.sip_udp"), open("home.sip_tcp"));
        let role = tokio::spawn(std::future::pending::<()>());
        vitals.roles.push(("home", role.abort_handle()));
        assert_eq!(vitals.ended(), [""; 0]);
        let gone = one.local_addr();
        drop(one);
        role.abort();
        assert!(role.await.is_err_and(|error| error.is_cancelled()));
        let expected =
            ["the role home has ended".to_owned(), format!("home.sip_udp does not listen on {gone} any more")];
        assert_eq!(vitals.ended(), expected);
        drop(other);
        assert_eq!(vitals.ended().len(), 3);
    }
}
