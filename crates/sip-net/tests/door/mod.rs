//! A listener's door for tests that have a process of their own: it says when a connection is there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reveille_sip::Message;
use reveille_sip_net::{Flow, Handler, Listener};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Far longer than anything here takes; only a broken test waits for it.
const PATIENCE: Duration = Duration::from_secs(120);

/// A listener at work.
pub(crate) struct Open {
    /// The connections, as they come.
    pub(crate) flows: mpsc::UnboundedReceiver<Arc<Flow>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Open {
    pub(crate) fn new(listener: Listener) -> Self {
        let (told, flows) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let task = tokio::spawn(listener.run(Arc::new(Door(told)), stop.clone()));
        Self { flows, stop, task }
    }

    /// Stops the listener, which must end by itself.
    pub(crate) async fn close(self) {
        self.stop.cancel();
        within(self.task).await.expect("the listener ends well");
    }
}

struct Door(mpsc::UnboundedSender<Arc<Flow>>);

impl Handler for Door {
    fn opened(&self, flow: &Arc<Flow>) {
        let _ = self.0.send(flow.clone());
    }

    fn messages(&self, _flow: &Arc<Flow>, _batch: &mut Vec<Message>) {}
}

pub(crate) fn loopback() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("it happens in time")
}
