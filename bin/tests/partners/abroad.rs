//! The edge of a partner, played by the test: it proves its names, takes whatever is sent to it, and remembers what.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use parking_lot::Mutex;
use reveille_federation::message;
use reveille_sip::Message;
use reveille_sip_net::{Flow, Handler, ListenLimits, Listener, TlsServer};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// One partner's edge, until it is dropped.
pub(crate) struct Abroad {
    inbox: Arc<Inbox>,
    stop: CancellationToken,
    _task: JoinHandle<()>,
}

impl Abroad {
    /// Listens.
    pub(crate) fn start(runtime: &Runtime, address: SocketAddr, tls: TlsServer) -> Result<Self> {
        let (inbox, stop) = (Arc::new(Inbox::default()), CancellationToken::new());
        let _guard = runtime.enter();
        let listener = Listener::tls(address, Arc::new(tls), ListenLimits::default());
        let listener = listener.with_context(|| format!("{address} cannot be listened on"))?;
        let handler: Arc<dyn Handler> = Arc::clone(&inbox) as _;
        let task = runtime.spawn(listener.run(handler, stop.clone()));
        Ok(Self { inbox, stop, _task: task })
    }

    /// The texts of all messages so far.
    pub(crate) fn heard(&self) -> Vec<String> {
        self.inbox.0.lock().clone()
    }
}

impl Drop for Abroad {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[derive(Default)]
struct Inbox(Mutex<Vec<String>>);

impl Handler for Inbox {
    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        for message in batch.drain(..).filter(|message| message.method().is_some()) {
            self.0.lock().push(String::from_utf8_lossy(message.body_bytes()).into_owned());
            // Who has gone needs no answer.
            let _ = flow.send(message::respond(&message, 200, "abroad", |_| ()));
        }
    }
}
