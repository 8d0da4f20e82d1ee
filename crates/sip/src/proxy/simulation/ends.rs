//! The caller and the callees: what they make of what they hear.

use super::*;

impl World {
    pub(super) fn caller_does(&mut self, actions: Actions) {
        for action in actions {
            match action {
                Action::Send(bytes) => self.send(Who::Caller, Who::Proxy, bytes),
                Action::Timeout => self.gave_up = true,
                Action::Deliver | Action::Terminated | Action::TransportFailed => {}
            }
        }
    }

    pub(super) fn caller_hears(&mut self, response: &Message) {
        let status = response.status().expect("a response");
        if response.cseq().expect("sound").method == Method::Cancel {
            if let Some(hang_up) = &mut self.hang_up {
                hang_up.on_response(status, self.now);
            }
            return;
        }
        let vias: Vec<&str> = response.values(Name::Via).collect();
        assert_eq!(vias, [VIA_BACK], "the only way back is that of the request");
        let actions = self.caller.on_response(response, self.now);
        if actions.contains(&Action::Deliver) && status >= 200 {
            self.heard.push(status);
            self.hang_up = None;
        }
        if (200..300).contains(&status) {
            // §13.2.2.4: end to end, for each 2xx; its way is that of the dialog and not of this proxy's contexts.
            let callee = response.to().ok().and_then(|to| to.tag()?.strip_prefix('t')?.parse().ok());
            let ack = Bytes::from_static(
                b"ACK sip:b@b.example SIP/2.0\r\nVia: SIP/2.0/UDP a.example;branch=z9hG4bKb\r\nMax-Forwards: 70\r\n\
                  From: <sip:a@a.example>;tag=1\r\nTo: <sip:b@b.example>;tag=t\r\nCall-ID: c\r\nCSeq: 1 ACK\r\n\
                  Content-Length: 0\r\n\r\n",
            );
            self.send(Who::Caller, Who::Callee(callee.expect("our callees' tags")), ack);
        }
        self.caller_does(actions);
    }

    pub(super) fn callee_does(&mut self, callee: usize, actions: Actions) {
        for action in actions {
            if let Action::Send(bytes) = action {
                self.send(Who::Callee(callee), Who::Proxy, bytes);
            }
        }
    }

    pub(super) fn callee_hears(&mut self, at: usize, request: Message) {
        let now = self.now;
        let rings = 100 + self.dice.roll(1_000);
        let (reliability, timers) = (self.reliability, self.timers);
        let callee = &mut self.callees[at];
        match (request.method(), &mut callee.server) {
            (Some(Method::Invite), None) => {
                let mut server = InviteServerTransaction::start(None, reliability, timers, now);
                let silent = callee.silent;
                callee.invite = Some(request.clone());
                let actions = match silent {
                    true => Actions::new(),
                    false => server.respond(180, answer(&request, at, 180), now),
                };
                callee.server = Some(server);
                self.callee_does(at, actions);
                if !silent {
                    let after = if self.dice.chance(20) { 1_000_000 } else { rings * 10 };
                    if after < 1_000_000 {
                        self.later(after, Event::Answers(at));
                    }
                }
            }
            (Some(Method::Invite), Some(server)) => {
                let actions = server.on_repetition();
                self.callee_does(at, actions);
            }
            (Some(Method::Ack), Some(server)) => {
                callee.acknowledged = true;
                callee.accepted = None;
                server.on_ack(now);
            }
            (Some(Method::Cancel), Some(_)) => {
                callee.cancelled = true;
                let ok = answer(&request, at, 200);
                self.send(Who::Callee(at), Who::Proxy, ok);
                self.decide(at, 487);
            }
            _ => {}
        }
    }

    pub(super) fn callee_answers(&mut self, at: usize) {
        let status = self.callees[at].answer;
        self.decide(at, status);
    }

    fn decide(&mut self, at: usize, status: u16) {
        let callee = &mut self.callees[at];
        let (Some(server), Some(invite), None) = (&mut callee.server, &callee.invite, callee.decided) else { return };
        callee.decided = Some(status);
        let bytes = answer(invite, at, status);
        if status < 300 {
            let first = self.now + self.timers.t1;
            callee.accepted = Some((bytes.clone(), first, self.timers.t1, self.now + Millis(32_000)));
        }
        let actions = server.respond(status, bytes, self.now);
        self.callee_does(at, actions);
    }

    /// §13.3.1.4: whoever accepts repeats its 2xx until the ACK, over every transport.
    pub(super) fn repeat_success(&mut self, at: usize) {
        let Some((bytes, when, interval, until)) = &mut self.callees[at].accepted else { return };
        if self.now < *when {
            return;
        }
        if self.now >= *until {
            self.callees[at].accepted = None;
            return;
        }
        *interval = self.timers.backed_off(*interval);
        *when = self.now + *interval;
        let bytes = bytes.clone();
        self.send(Who::Callee(at), Who::Proxy, bytes);
    }
}

/// The callee's answer. Every other callee writes a way back of its own choice.
fn answer(request: &Message, callee: usize, status: u16) -> Bytes {
    let written = Reply::new(status).write(request, &format!("t{callee}"), None).expect("written");
    match callee % 2 {
        0 => written,
        _ => String::from_utf8_lossy(&written)
            .replace("a.example;branch=z9hG4bKa", "victim.example;branch=z9hG4bKv")
            .into(),
    }
}
