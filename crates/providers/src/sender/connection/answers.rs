//! The answers of a connection: what each means for its push, for the connection, and for the circuits.

use std::time::Duration;

use reveille_core::{Channel, Timestamp, Verdict};
use reveille_http2::{Answer as Said, Lost};
use tokio::time::Instant;

use super::{Connection, PERMIT_REST};
use crate::notification::Outcome;
use crate::sender::dialect::{Answer, Reply, Then, ahead_of, retry, retry_after};
use crate::sender::flight::{Flight, Probe, broken};
use crate::sender::gates::Bad;

impl Connection {
    /// Reads the answers that have come. Answers whether any had.
    pub(super) fn collect(&mut self) -> bool {
        let mut landed = 0;
        let mut probed = false;
        let mut now = None;
        while let Some(ended) = self.line.client.next_ended() {
            landed += 1;
            probed |= ended.cargo.probe != Probe::No;
            let now = *now.get_or_insert_with(|| (self.lane.clock.now(), Instant::now()));
            self.land(ended.cargo, &ended.how, now);
            if let Ok(said) = ended.how {
                self.line.client.recycle(said);
            }
        }
        if let Some((wall, now)) = now {
            self.times.answered(now);
            self.lane.landed(landed);
            self.learn(probed, wall, now);
            if self.under_way() == 0 && !self.open {
                self.linger();
            }
        }
        landed > 0
    }

    fn land(&mut self, flight: Flight, said: &Result<Said, Lost>, (now, at): (Timestamp, Instant)) {
        let (status, asked, reply) = match said {
            Ok(said) => {
                self.lane.meter.answered(at.saturating_duration_since(flight.started));
                let Said { status, fields, body, .. } = said;
                if self.times.clock_is_due(at) {
                    self.lane.compare_clocks(ahead_of(fields, now));
                }
                let answer = Answer { status: *status, fields, body, minted: flight.minted, proven: self.proven };
                let asked = if *status == 503 { retry_after(fields, now) } else { None };
                (*status, asked, self.papers.dialect.decode(&answer, now))
            }
            Err(lost) => (0, None, broken(lost)),
        };
        let Reply { verdict, provider_id, then } = reply;
        match then {
            Then::Continue => self.suspect = 0,
            Then::Suspect => {
                self.suspect += 1;
                if self.suspect == SUSPECT_MAX {
                    self.retire(&format!("{SUSPECT_MAX} failures in a row, the last: {}", reason(&verdict)));
                }
            }
            Then::Retire => self.retire(reason(&verdict)),
        }
        self.proven |= verdict == Verdict::Accepted;
        match &verdict {
            Verdict::Accepted | Verdict::Forget { .. } | Verdict::Reject { .. } => self.lesson.good += 1,
            Verdict::Retry { unprocessed, .. } => {
                // A call is repeated at once, and must not come back to where it was just turned away.
                if *unprocessed && self.lane.config.lane.channel == Channel::Voip {
                    self.rest(at);
                }
                self.lesson.bad.push(Bad { verdict: verdict.clone(), status, asked });
            }
            Verdict::Configuration { .. } | Verdict::Unknown { .. } => {
                self.lesson.bad.push(Bad { verdict: verdict.clone(), status, asked });
            }
        }
        if flight.probe != Probe::Own {
            self.done.push(Outcome { key: flight.key, verdict, sent: flight.sent, status, provider_id });
        }
    }

    /// Tells the circuits what this batch of answers says of the provider.
    fn learn(&mut self, probed: bool, wall: Timestamp, now: Instant) {
        self.lane.learn(&self.lesson, &*self.papers.dialect, now, wall);
        if probed {
            // Where the answer has decided, the permit is gone already.
            self.lane.gates.unused(now + PERMIT_REST);
        }
        self.lesson.good = 0;
        self.lesson.bad.clear();
    }

    /// Ends pushes whose answer is not waited for any longer.
    pub(super) fn give_up(&mut self, flights: Vec<Flight>, reason: &str) {
        let mut count = 0;
        for Flight { key, sent, probe, .. } in flights {
            count += 1;
            if probe != Probe::No {
                self.lane.gates.unused(Instant::now() + PERMIT_REST);
            }
            if probe != Probe::Own {
                // It was handed to the connection, and nobody knows how far it got.
                let verdict = retry(reason, None, false);
                self.done.push(Outcome { key, verdict, sent, status: 0, provider_id: None });
            }
        }
        self.lane.landed(count);
    }

    /// Steps back for a moment, if there are others.
    fn rest(&mut self, now: Instant) {
        if self.lane.board.connections() > 1 && self.open {
            self.times.rests_until = Some(now + REST);
            // We may be the one that the next push would wake.
            self.lane.queue.nudge(Some(self.number));
            self.set_alarm(now);
        }
    }

    /// Whether it steps back at the moment; the alarm wakes it when that is over.
    pub(super) fn rests(&mut self) -> bool {
        let Some(until) = self.times.rests_until else { return false };
        if until > Instant::now() && self.lane.board.connections() > 1 {
            return true;
        }
        self.times.rests_until = None;
        false
    }
}

fn reason(verdict: &Verdict) -> &str {
    verdict.provider_reason().unwrap_or_default()
}

/// So many suspicious answers in a row end a connection: another server may do better.
const SUSPECT_MAX: u32 = 20;
/// How long a connection that has turned a call away takes no other: long enough for its repeat to go elsewhere.
const REST: Duration = Duration::from_millis(500);
