//! The home that is tested with users: who they are, what proves them, and the doors that they come in by.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use reveille_admin::ports::Asked;
use reveille_admin::ports::synthetic::{Act, Order, Player, Synthetic};
use reveille_core::diagnosis::Failure;
use reveille_core::settings::Snapshot;
use reveille_core::stage::{Stage, Trouble, Walk};
use reveille_core::{Aor, SipDomain};
use reveille_federation::probe::Report;
use reveille_home::Desk;
use reveille_home::visits::{NoVisit, Visit};
use reveille_sip_net::{Resolver, TlsClient};
use reveille_synthetic::agent::{Account, Door};
use reveille_synthetic::av_edge::{self, Instead, Reach};
use reveille_synthetic::im::{self, Scene};
use tokio::sync::watch;

use crate::config::Home as Config;

/// The home of this process.
pub(crate) struct OfHome {
    desk: Desk,
    /// Its names, its own first.
    names: Vec<SipDomain>,
    /// Its first domain.
    domain: SipDomain,
    site: String,
    /// Where clients come in over TLS.
    door: Option<SocketAddr>,
    tls: Arc<TlsClient>,
    resolver: Arc<dyn Resolver>,
    settings: watch::Receiver<Arc<Snapshot>>,
}

/// A test as far as it is prepared.
struct Ready {
    door: Door,
    accounts: Vec<Account>,
    /// Held as long as the test runs: with it goes all that the test has left.
    visit: Visit,
}

/// Why a test is not run.
enum Unready {
    /// What the administrator is told.
    Trouble(Box<Trouble>),
    /// As many run as may.
    Busy,
}

impl From<Trouble> for Unready {
    fn from(trouble: Trouble) -> Self {
        Self::Trouble(Box::new(trouble))
    }
}

impl OfHome {
    /// The home of that configuration, as `desk` knows it.
    pub(crate) fn new(
        config: &Config,
        desk: Desk,
        tls: Arc<TlsClient>,
        resolver: Arc<dyn Resolver>,
        settings: watch::Receiver<Arc<Snapshot>>,
    ) -> Self {
        let names = std::iter::once(&config.name).chain(&config.also_named).cloned().collect();
        Self {
            desk,
            names,
            domain: config.domain.clone(),
            site: config.site.clone(),
            door: config.sip_tls,
            tls,
            resolver,
            settings,
        }
    }

    async fn test(&self, order: Order) -> Option<Report> {
        let begun = Instant::now();
        let mut walk = Walk::default();
        match self.ready(&order, &mut walk).await {
            Ok(Ready { door, accounts, visit }) => {
                let users: Vec<String> = accounts.iter().map(|account| account.address.to_string()).collect();
                walk.pass(Stage::Settings, begun.elapsed(), users.join(", "));
                let rest = self.act(order.act, door, accounts).await;
                drop(visit);
                walk.steps.extend(rest.steps);
                walk.hints.extend(rest.hints);
                walk.trouble = rest.trouble;
            }
            Err(Unready::Trouble(trouble)) => walk.fail(begun.elapsed(), *trouble),
            Err(Unready::Busy) => return None,
        }
        walk.took = begun.elapsed();
        let status = walk.trouble.as_ref().and_then(|trouble| status(trouble.failure));
        Some(Report { home: order.target, status, source: self.names[0].to_string(), walk })
    }

    async fn act(&self, act: Act, door: Door, mut accounts: Vec<Account>) -> Walk {
        match act {
            Act::Pair => im::walk(door, accounts, Scene::Pair).await,
            Act::Group => im::walk(door, accounts, Scene::Group).await,
            Act::AvEdge { host, udp, tcp } => {
                let named = host.is_some() || udp.is_some() || tcp.is_some();
                let instead = named.then_some(Instead { host, udp, tcp });
                let reach = Reach { resolver: Arc::clone(&self.resolver), tls: Arc::clone(&self.tls) };
                let account = accounts.remove(0);
                av_edge::walk(av_edge::Order { door, account, instead, reach }).await
            }
        }
    }

    async fn ready(&self, order: &Order, walk: &mut Walk) -> Result<Ready, Unready> {
        if !self.names.contains(&order.target) {
            return Err(self.another(&order.target).into());
        }
        let players = self.players(order)?;
        let mut users = Vec::with_capacity(players.len());
        for player in &players {
            users.push(self.user(player)?);
        }
        if matches!(order.act, Act::Pair | Act::Group) {
            self.permitted(&users)?;
        }
        let names: Vec<String> = users.iter().map(ToString::to_string).collect();
        let visit = self.desk.visit(&names).map_err(|refused| match refused {
            NoVisit::TooMany => Unready::Busy,
            other => Trouble::new(Stage::Settings, Failure::NoTestUsers, other.to_string(), "").into(),
        })?;
        let account = |(player, (_, vouched)): (Player, (&Aor, &str))| Account {
            password: player.credential.map_or_else(|| vouched.to_owned(), |given| given.password.expose().to_owned()),
            address: player.address,
        };
        let accounts = players.into_iter().zip(visit.users()).map(account).collect();
        let door = Door {
            name: order.target.to_string(),
            addresses: vec![self.address(order, walk).await?],
            tls: Arc::clone(&self.tls),
            visit: visit.id().to_owned(),
        };
        Ok(Ready { door, accounts, visit })
    }

    fn another(&self, target: &SipDomain) -> Trouble {
        let names = self.names.iter().map(SipDomain::as_str).collect::<Vec<_>>().join(" or ");
        let sentence = format!("{target} is not this home, which is called {names}");
        let remedy = format!("repeat the test with -TargetFqdn {}, or add the name to home.also_named", self.names[0]);
        Trouble::new(Stage::Settings, Failure::HomeUnknown, sentence, remedy)
    }

    /// Who takes part; those not named are the ones kept for tests.
    fn players(&self, order: &Order) -> Result<Vec<Player>, Trouble> {
        let settings = Arc::clone(&self.settings.borrow());
        let names = std::iter::once(&order.target).chain(&self.names);
        let kept = names.into_iter().find_map(|name| settings.health_monitoring(name));
        let kept = kept.map(|kept| [&kept.first_test_user_sip_uri, &kept.second_test_user_sip_uri]);
        let named = |user: &Aor| order.players.iter().flatten().any(|player| player.address == *user);
        let mut spare = kept.into_iter().flatten().filter(|user| !named(user));
        let missing = || {
            let (target, needed, domain) = (&order.target, order.players.len(), &self.domain);
            let sentence = format!(
                "the test needs {needed} user{}, and those that were given and those kept for tests of {target} are fewer",
                if needed == 1 { "" } else { "s" }
            );
            let remedy = format!(
                "New-CsHealthMonitoringConfiguration -Identity {target} -FirstTestUserSipUri \"sip:USER1@{domain}\" \
                 -SecondTestUserSipUri \"sip:USER2@{domain}\", where USER1 and USER2 are users whom you keep for tests, of those \
                 in the file that home.users names in reveille.toml; or name users with the test's own parameters"
            );
            Trouble::new(Stage::Settings, Failure::NoTestUsers, sentence, remedy)
        };
        let each = order.players.iter().map(|player| match player {
            Some(player) => Ok(player.clone()),
            None => {
                let address = spare.next().ok_or_else(missing)?.clone();
                Ok(Player { address, credential: None })
            }
        });
        each.collect()
    }

    /// The user that a player is, if the name of his credential does not say otherwise.
    fn user(&self, player: &Player) -> Result<Aor, Trouble> {
        let address = &player.address;
        let user = self.desk.named(&address.to_string()).ok_or_else(|| {
            let sentence = format!("{address} is no user of this home");
            Trouble::new(
                Stage::Settings,
                Failure::NoTestUsers,
                sentence,
                "check the address; the users of this home stand in the file that home.users names in reveille.toml",
            )
        })?;
        match player.credential.as_ref().map(|credential| &credential.username) {
            Some(name) if self.desk.named(name).as_ref() != Some(&user) => {
                let sentence = format!("the credential is that of {name}, who is not {address}");
                Err(Trouble::new(Stage::Settings, Failure::SignInRefused, sentence, "give the credential of that user"))
            }
            _ => Ok(user),
        }
    }

    /// Whether the policies of all let them use the mobility service.
    fn permitted(&self, users: &[Aor]) -> Result<(), Trouble> {
        let settings = Arc::clone(&self.settings.borrow());
        for user in users {
            let policy = settings.mobility_policy_of(user, &self.site);
            if !policy.record.enable_mobility {
                let name = &policy.record.identity;
                let sentence = format!("the mobility policy {name} does not let {user} use the mobility service");
                let remedy = format!("Set-CsMobilityPolicy -Identity {name} -EnableMobility $True");
                return Err(Trouble::new(Stage::Settings, Failure::MobilityOff, sentence, remedy));
            }
        }
        Ok(())
    }

    /// Where the users sign in: what the name leads to, or this home's own listener where it leads nowhere.
    async fn address(&self, order: &Order, walk: &mut Walk) -> Result<SocketAddr, Trouble> {
        let Some(door) = self.door else {
            let sentence = "this home has no listener over TLS for clients, and tests sign in over no other";
            let remedy = "give home.sip_tls an address in reveille.toml, and start home again";
            return Err(Trouble::new(Stage::Connect, Failure::HomeUnreachable, sentence, remedy));
        };
        let port = order.port.unwrap_or_else(|| door.port());
        let looked_up = tokio::time::timeout(Duration::from_secs(5), self.resolver.addresses(order.target.as_str()));
        if let Ok(Ok(found)) = looked_up.await
            && let Some(ip) = found.list.first()
        {
            return Ok(SocketAddr::new(*ip, port));
        }
        walk.hints.push(format!(
            "{} has no address that this machine can look up; the users signed in at home's own listener instead",
            order.target
        ));
        let here = if door.ip().is_unspecified() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { door.ip() };
        Ok(SocketAddr::new(here, port))
    }
}

/// What the documents' `Error` shows: an answer of the network, where there was one.
fn status(failure: Failure) -> Option<(u16, String)> {
    match failure {
        Failure::RelayRejectsCredentials | Failure::SignInRefused => Some((401, "Unauthorized".into())),
        Failure::MobilityOff => Some((403, "Forbidden".into())),
        Failure::HomeUnknown | Failure::NoTestUsers | Failure::RelayNotConfigured => Some((404, "Not Found".into())),
        _ => None,
    }
}

impl Synthetic for OfHome {
    fn run(&self, order: Order) -> Asked<'_, Option<Report>> {
        Box::pin(self.test(order))
    }
}
