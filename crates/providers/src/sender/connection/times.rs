//! The times of a connection: answers that are late, pings, a farewell that must end.

use std::time::Duration;

use tokio::time::Instant;

use super::Connection;

/// When what happened, and what is due.
#[derive(Debug)]
pub(super) struct Times {
    pub(super) opened: Instant,
    /// When a push was last handed to it, or a pong came.
    used: Instant,
    /// When the last answer came.
    answered: Instant,
    /// When a ping went out whose pong is awaited.
    pinged: Option<Instant>,
    /// When a ping was last answered.
    ponged: Option<Instant>,
    /// Takes nothing before.
    pub(super) rests_until: Option<Instant>,
    /// Whatever is left then is given up.
    pub(super) end: Option<Instant>,
    /// When the clocks are compared again.
    compare_at: Instant,
}

impl Times {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            opened: now,
            used: now,
            answered: now,
            pinged: None,
            ponged: None,
            rests_until: None,
            end: None,
            compare_at: now,
        }
    }

    pub(super) fn launched(&mut self, now: Instant) {
        self.used = now;
    }

    pub(super) fn answered(&mut self, now: Instant) {
        self.answered = now;
    }

    /// Whether the provider's clock is to be looked at in this answer: once in a while is enough.
    pub(super) fn clock_is_due(&mut self, now: Instant) -> bool {
        let due = self.compare_at <= now;
        if due {
            self.compare_at = now + COMPARE_EVERY;
        }
        due
    }
}

impl Connection {
    /// Nothing is under way any more: time to say goodbye, but not for ever.
    pub(super) fn linger(&mut self) {
        self.line.close();
        let now = Instant::now();
        let end = now + LINGER;
        self.times.end = Some(self.times.end.map_or(end, |known| known.min(end)));
        self.set_alarm(now);
    }

    /// Looks what is late. Answers whether the connection is to end now.
    pub(super) fn on_alarm(&mut self) -> bool {
        let now = Instant::now();
        if self.times.end.is_some_and(|end| end <= now) {
            return true;
        }
        self.give_up_late(now);
        let unheard = self.times.pinged.is_some_and(|pinged| pinged + self.pong_timeout() <= now);
        if unheard && self.open {
            // Whatever is under way is lost with it, and those who wait know sooner.
            let why = if self.under_way() == 0 { "no answer to a ping" } else { "no answer to pushes nor to a ping" };
            self.retire(why);
            let lost = self.line.client.take_back(|_| true);
            self.give_up(lost, why);
            return true;
        }
        if self.open && self.under_way() == 0 && self.spare && self.is_idle(now) {
            self.step_down("it was opened for a crowd that has gone");
        }
        if self.ping_at().is_some_and(|at| at <= now) {
            // RFC 9113 §6.5.2: a limit of no streams is for a short time only. Another server may take something.
            if self.open && self.under_way() == 0 && self.line.client.room() == 0 {
                self.retire("it allows no pushes");
            } else if self.line.client.ping() {
                self.times.pinged = Some(now);
            }
        }
        self.set_alarm(now);
        false
    }

    /// Gives up pushes whose answer has not come in time, and the connection with them: others would fare no better, and
    /// each stream that we reset ourselves brings it nearer to the peer's patience.
    fn give_up_late(&mut self, now: Instant) {
        let timeout = self.lane.config.response_timeout;
        if self.oldest().is_none_or(|started| started + timeout > now) {
            return;
        }
        let late = self.line.client.take_back(|flight| flight.started + timeout <= now);
        let reason = format!("no answer within {} s", timeout.as_secs_f32());
        self.give_up(late, &reason);
        self.retire(&reason);
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.times.used + self.lane.config.spare_idle <= now
    }

    /// When the oldest push under way was sent.
    fn oldest(&self) -> Option<Instant> {
        self.line.client.oldest().map(|flight| flight.started)
    }

    /// When to ask whether the other side is still there: after a long idle time, and when answers stall.
    fn ping_at(&self) -> Option<Instant> {
        if self.times.pinged.is_some() || !self.open {
            return None;
        }
        let heard = self.times.ponged.unwrap_or(self.times.opened).max(self.times.answered);
        Some(match self.oldest() {
            Some(oldest) => oldest.max(heard) + self.stall(),
            None => self.times.used.max(heard) + self.lane.config.idle_ping,
        })
    }

    /// No answer for so long is odd, where some are awaited.
    fn stall(&self) -> Duration {
        self.lane.config.response_timeout / 4
    }

    /// A server that answers nothing has half the time of one that is merely slow.
    fn pong_timeout(&self) -> Duration {
        let timeout = self.lane.config.response_timeout;
        if self.under_way() == 0 { timeout } else { timeout / 4 }
    }

    /// Sets the alarm to the earliest time that matters.
    pub(super) fn set_alarm(&mut self, now: Instant) {
        let config = &self.lane.config;
        let late = self.oldest().map(|started| started + config.response_timeout);
        let pong = self.times.pinged.map(|pinged| pinged + self.pong_timeout());
        // Never at once again: a ping that could not be sent would spin.
        let ping = self.ping_at().map(|at| at.max(now + SOON));
        let spare = (self.spare && self.open && self.under_way() == 0)
            .then(|| (self.times.used + config.spare_idle).max(now + SOON));
        let all = [late, pong, ping, spare, self.times.rests_until, self.times.end];
        let next = all.into_iter().flatten().min().unwrap_or(now + config.idle_ping);
        self.alarm.as_mut().reset(next);
    }

    /// Sees to it that the alarm does not sleep through what a push sent at `started` will need first.
    pub(super) fn set_alarm_for(&mut self, started: Instant) {
        let stall = started + self.stall();
        if self.alarm.deadline() > stall {
            self.alarm.as_mut().reset(stall);
        }
    }

    pub(super) fn listen_for_pong(&mut self) {
        if self.line.client.pong() {
            let now = Instant::now();
            (self.times.pinged, self.times.ponged) = (None, Some(now));
            self.set_alarm(now);
        }
    }
}

/// How long a connection without work may take to say goodbye.
const LINGER: Duration = Duration::from_secs(2);
/// The least time to the next look at something that could not be done now.
const SOON: Duration = Duration::from_millis(50);
/// How often the provider's clock is compared with ours on one connection.
const COMPARE_EVERY: Duration = Duration::from_secs(60);
