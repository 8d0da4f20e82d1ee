//! A gate for answers: shut by `hold`, opened by `release`.

use tokio::sync::watch;

/// The gate of one simulator.
#[derive(Debug, Default)]
pub(crate) struct Hold {
    gate: watch::Sender<Gate>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Gate {
    shut: bool,
    releases: u64,
}

impl Hold {
    pub(crate) fn on(&self) {
        self.gate.send_modify(|gate| gate.shut = true);
    }

    pub(crate) fn release(&self) {
        self.gate.send_modify(|gate| *gate = Gate { shut: false, releases: gate.releases + 1 });
    }

    pub(crate) fn is_on(&self) -> bool {
        self.gate.borrow().shut
    }

    /// Waits while the gate is shut; `in_any_case` waits for the next release even if it is open.
    pub(crate) async fn wait(&self, in_any_case: bool) {
        let mut gate = self.gate.subscribe();
        let now = *gate.borrow_and_update();
        if now.shut || in_any_case {
            // The sender is ours.
            let _ = gate.wait_for(|gate| gate.releases > now.releases).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn answers_wait_for_the_next_release() {
        let hold = std::sync::Arc::new(Hold::default());
        hold.wait(false).await;
        hold.on();
        assert!(hold.is_on());
        for in_any_case in [false, true] {
            let waiting = tokio::spawn({
                let hold = hold.clone();
                async move { hold.wait(in_any_case).await }
            });
            tokio::task::yield_now().await;
            assert!(!waiting.is_finished());
            hold.release();
            waiting.await.unwrap();
        }
        assert!(!hold.is_on());
    }
}
