//! A TLS listener that can be taken down and brought up again, with every task owned by it.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::certs::CertFailure;

/// What a client meets while a simulator is down.
#[derive(Clone, Copy, Debug, Eq, PartialEq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outage {
    /// Connections are taken and closed at once.
    Drop,
    /// Nothing listens: connections are refused.
    Refuse,
}

/// Why a simulator could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartFailure {
    #[error("the simulator cannot listen on {addr}: {source}")]
    Listen { addr: SocketAddr, source: io::Error },
    #[error(transparent)]
    Tls(#[from] CertFailure),
}

/// One conversation on one TLS connection; the number counts connections from 1.
pub(crate) type Conversation = Arc<dyn Fn(TlsStream<TcpStream>, u64) -> Talk + Send + Sync>;
pub(crate) type Talk = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The owner of the listener and all of its connections.
#[derive(Debug)]
pub(crate) struct Line {
    addr: SocketAddr,
    switch: watch::Sender<Switch>,
    applied: watch::Receiver<u64>,
    live: watch::Sender<usize>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

#[derive(Clone, Copy, Debug)]
struct Switch {
    outage: Option<Outage>,
    /// Rises with every change, so that a change can be awaited.
    change: u64,
}

impl Line {
    /// Binds and begins to accept.
    pub(crate) async fn start(
        listen: SocketAddr,
        tls: Arc<ServerConfig>,
        talk: Conversation,
    ) -> Result<Self, StartFailure> {
        let failed = |source| StartFailure::Listen { addr: listen, source };
        let listener = TcpListener::bind(listen).await.map_err(failed)?;
        let addr = listener.local_addr().map_err(failed)?;
        let (applied_to, applied) = watch::channel(0);
        let line = Self {
            addr,
            switch: watch::Sender::new(Switch { outage: None, change: 0 }),
            applied,
            live: watch::Sender::new(0),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        };
        let door = Door {
            addr,
            tls: TlsAcceptor::from(tls),
            talk,
            switch: line.switch.subscribe(),
            live: line.live.clone(),
            seats: Arc::new(Semaphore::new(CONNECTIONS_MAX)),
            stop: line.stop.clone(),
            tasks: line.tasks.clone(),
        };
        line.tasks.spawn(door.accept(listener, applied_to));
        Ok(line)
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many connections are open.
    pub(crate) fn live(&self) -> usize {
        *self.live.borrow()
    }

    /// Closes every connection and takes no more; returns when that is so.
    pub(crate) async fn down(&self, outage: Outage) {
        self.switch_to(Some(outage)).await;
        // The sender is ours.
        let _ = self.live.subscribe().wait_for(|live| *live == 0).await;
    }

    /// Accepts again; returns when that is so.
    pub(crate) async fn up(&self) {
        self.switch_to(None).await;
    }

    async fn switch_to(&self, outage: Option<Outage>) {
        let mut change = 0;
        self.switch.send_modify(|switch| {
            *switch = Switch { outage, change: switch.change + 1 };
            change = switch.change;
        });
        // Fails only when the line has been shut down, where there is nothing to wait for.
        let _ = self.applied.clone().wait_for(|applied| *applied >= change).await;
    }

    /// Closes listener and connections, and waits for their tasks.
    pub(crate) async fn shutdown(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The accepting side.
struct Door {
    addr: SocketAddr,
    tls: TlsAcceptor,
    talk: Conversation,
    switch: watch::Receiver<Switch>,
    live: watch::Sender<usize>,
    seats: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl Door {
    async fn accept(mut self, listener: TcpListener, applied: watch::Sender<u64>) {
        let stop = self.stop.clone();
        let mut listener = Some(listener);
        let mut number = 0;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                Ok(()) = self.switch.changed() => {
                    let switch = *self.switch.borrow_and_update();
                    match switch.outage {
                        Some(Outage::Refuse) => listener = None,
                        Some(Outage::Drop) | None if listener.is_none() => {
                            let Some(bound) = stop.run_until_cancelled(rebind(self.addr)).await else { return };
                            listener = Some(bound);
                        }
                        Some(Outage::Drop) | None => {}
                    }
                    applied.send_replace(switch.change);
                }
                guest = next(listener.as_ref()) => {
                    if self.switch.borrow().outage.is_none() {
                        number += 1;
                        self.admit(guest, number);
                    }
                }
            }
        }
    }

    fn admit(&self, guest: TcpStream, number: u64) {
        let Ok(seat) = Arc::clone(&self.seats).try_acquire_owned() else {
            tracing::info!(connections = CONNECTIONS_MAX, "connection turned away: all seats are taken");
            return;
        };
        let (tls, talk, stop) = (self.tls.clone(), Arc::clone(&self.talk), self.stop.clone());
        let mut switch = self.switch.clone();
        let live = Live::enter(self.live.clone());
        self.tasks.spawn(async move {
            let conversation = async {
                // Answers are small and awaited: Nagle's algorithm would only delay them.
                let _ = guest.set_nodelay(true);
                match timeout(HANDSHAKE_TIME, tls.accept(guest)).await {
                    Ok(Ok(stream)) => talk(stream, number).await,
                    Ok(Err(refused)) => tracing::debug!(reason = %refused, "TLS handshake failed"),
                    Err(_) => tracing::debug!("TLS handshake took too long"),
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                _ = switch.wait_for(|switch| switch.outage.is_some()) => {}
                () = conversation => {}
            }
            drop((live, seat));
        });
    }
}

/// Counts a connection for as long as it lives.
struct Live(watch::Sender<usize>);

impl Live {
    fn enter(count: watch::Sender<usize>) -> Self {
        count.send_modify(|live| *live += 1);
        Self(count)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.0.send_modify(|live| *live -= 1);
    }
}

async fn next(listener: Option<&TcpListener>) -> TcpStream {
    let Some(listener) = listener else { return std::future::pending().await };
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            // Out of descriptors, or the guest has left already: neither ends the listener.
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Takes the same address again. Somebody else may have it for a moment; nobody else is told of it.
async fn rebind(addr: SocketAddr) -> TcpListener {
    loop {
        match TcpListener::bind(addr).await {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

const CONNECTIONS_MAX: usize = 4096;
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
