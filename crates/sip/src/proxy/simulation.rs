//! A caller, the proxy and some callees over a network that loses, repeats and reorders, under a clock that jumps from
//! one event to the next. Everything follows from a seed, which a failing run names.

mod ends;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::*;
use crate::framing::{Limits, parse_datagram};
use crate::message::Message;
use crate::method::Method;
use crate::name::Name;
use crate::timers::{Millis, Reliability, Timers};
use crate::transaction::{
    Action, Actions, ClientTransaction, InviteClientTransaction, InviteServerTransaction, cancel,
};

/// The top Via of the caller's requests, as it stands in what they hear.
const VIA_BACK: &str = "SIP/2.0/UDP a.example;branch=z9hG4bKa;received=192.0.2.1";

/// xorshift64*: the same numbers for the same seed on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % below
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.roll(100) < percent
    }
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Who {
    Callee(usize),
    Caller,
    Proxy,
}

enum Event {
    /// A message arrives, over the leg of that number if it came from or goes to a callee.
    Arrives(Who, Who, Bytes),
    /// The callee makes up its mind.
    Answers(usize),
    /// The caller loses patience.
    HangsUp,
    /// The connection to a callee breaks; only where transports are connections.
    Breaks(usize),
    /// One does, and what that callee says comes on another.
    Parts(usize),
    /// The caller's connection does.
    CallerGone,
    /// The caller's does, and it may come back in time.
    CallerAway,
    CallerBack,
    /// Somebody who knows the branch of a leg answers on it what is none of its business.
    Forges(usize),
}

/// What a callee has in mind: when it rings and answers, if at all.
struct Callee {
    server: Option<InviteServerTransaction>,
    invite: Option<Message>,
    answer: u16,
    silent: bool,
    /// The 2xx, repeated until its ACK (§13.3.1.4), and until when.
    accepted: Option<(Bytes, Millis, Millis, Millis)>,
    /// The proxy has heard it ring: without that there can be no CANCEL (§9.1).
    heard_ringing: bool,
    decided: Option<u16>,
    acknowledged: bool,
    cancelled: bool,
    broken: bool,
    parted: bool,
}

struct World {
    dice: Dice,
    now: Millis,
    order: u64,
    events: BTreeMap<(Millis, u64), Event>,
    loss: u64,
    reliability: Reliability,
    timers: Timers,
    context: Option<Context>,
    passed_acks: usize,
    caller: InviteClientTransaction,
    invite: Bytes,
    /// How many forged responses were dropped, with nothing said to anybody.
    forgeries: usize,
    hang_up: Option<ClientTransaction>,
    caller_is_gone: bool,
    /// No answer ever reached the caller, who knows it by timer B.
    gave_up: bool,
    heard: Vec<u16>,
    callees: Vec<Callee>,
    serial: bool,
    /// All callees but the first only stand in for the one before, with the same servers to choose from or not.
    servers: Option<bool>,
    trace: u64,
}

/// What a run has shown.
#[derive(Debug, Default, Eq, PartialEq)]
struct Shown {
    trace: u64,
    answered: bool,
    refused: bool,
    cancelled: bool,
    forged: bool,
}

fn read(bytes: &Bytes) -> Message {
    parse_datagram(bytes.clone(), &Limits::default()).expect("what is sent is sound")
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            dice.roll(2);
        }
        let invite = Bytes::from_static(
            b"INVITE sip:b@b.example SIP/2.0\r\nVia: SIP/2.0/UDP a.example;branch=z9hG4bKa\r\nMax-Forwards: 70\r\n\
              From: <sip:a@a.example>;tag=1\r\nTo: <sip:b@b.example>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n\
              Content-Length: 0\r\n\r\n",
        );
        let (reliability, loss) = match dice.chance(70) {
            true => (Reliability::Unreliable, dice.roll(30)),
            false => (Reliability::Reliable, 0),
        };
        let timers = Timers::default();
        let (caller, actions) = InviteClientTransaction::start(invite.clone(), reliability, timers, Millis(0));
        let answers = [200, 200, 404, 486, 603, 503, 302, 487];
        let callees = (0..1 + dice.roll(4)).map(|_| Callee {
            server: None,
            invite: None,
            answer: answers[dice.roll(answers.len() as u64) as usize],
            silent: dice.chance(15),
            accepted: None,
            heard_ringing: false,
            decided: None,
            acknowledged: false,
            cancelled: false,
            broken: false,
            parted: false,
        });
        let callees: Vec<Callee> = callees.collect();
        let serial = dice.chance(30);
        let servers = dice.chance(25).then(|| dice.chance(50));
        let mut world = Self {
            dice,
            now: Millis(0),
            order: 0,
            events: BTreeMap::new(),
            loss,
            reliability,
            timers,
            context: None,
            passed_acks: 0,
            caller,
            invite,
            forgeries: 0,
            hang_up: None,
            caller_is_gone: false,
            gave_up: false,
            heard: Vec::new(),
            callees,
            serial,
            servers,
            trace: seed,
        };
        world.caller_does(actions);
        if world.dice.chance(40) {
            let at = world.dice.roll(20_000);
            world.later(at, Event::HangsUp);
        }
        for _ in 0..world.dice.roll(6) {
            let (at, leg) = (world.dice.roll(20_000), world.dice.roll(world.callees.len() as u64) as usize);
            world.later(at, Event::Forges(leg));
        }
        if reliability == Reliability::Reliable {
            if world.dice.chance(20) {
                let (at, callee) = (world.dice.roll(10_000), world.dice.roll(world.callees.len() as u64) as usize);
                world.later(at, Event::Breaks(callee));
            }
            if world.dice.chance(20) {
                let (at, callee) = (world.dice.roll(10_000), world.dice.roll(world.callees.len() as u64) as usize);
                world.later(at, Event::Parts(callee));
            }
            if world.dice.chance(20) {
                let at = world.dice.roll(10_000);
                world.later(at, Event::CallerGone);
            } else if world.dice.chance(40) {
                let (at, returns) = (world.dice.roll(10_000), world.dice.roll(15_000));
                world.later(at, Event::CallerAway);
                world.later(at + returns, Event::CallerBack);
            }
        }
        world
    }

    fn later(&mut self, after: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.now + Millis(after), self.order), event);
    }

    /// The network: loses, repeats, and delays each copy by itself, so that they overtake each other. A connection does
    /// none of that.
    fn send(&mut self, from: Who, to: Who, bytes: Bytes) {
        if self.reliability == Reliability::Reliable {
            return self.later(20, Event::Arrives(from, to, bytes));
        }
        let copies = 1 + u64::from(self.dice.chance(10));
        for _ in 0..copies {
            if !self.dice.chance(self.loss) {
                let delay = 1 + self.dice.roll(400);
                self.later(delay, Event::Arrives(from, to, bytes.clone()));
            }
        }
    }

    fn run(&mut self) {
        for _ in 0..100_000 {
            let timer = self.next_timer();
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            match (event, timer) {
                (None, None) => return,
                (Some(at), timer) if timer.is_none_or(|timer| at <= timer) => {
                    self.now = self.now.max(at);
                    let Some((_, event)) = self.events.pop_first() else { return };
                    self.happens(event);
                }
                (_, Some(at)) => {
                    self.now = self.now.max(at);
                    self.tick();
                }
                (Some(_), None) => return,
            }
        }
        panic!("it never comes to rest");
    }

    fn next_timer(&self) -> Option<Millis> {
        let callees = self.callees.iter().flat_map(|callee| {
            let server = callee.server.as_ref().and_then(InviteServerTransaction::next_deadline);
            [server, callee.accepted.as_ref().map(|(_, at, ..)| *at)]
        });
        let own = [
            self.context.as_ref().and_then(Context::next_deadline),
            self.caller.next_deadline(),
            self.hang_up.as_ref().and_then(ClientTransaction::next_deadline),
        ];
        callees.chain(own).flatten().min()
    }

    fn tick(&mut self) {
        if let Some(context) = &mut self.context {
            let todo = context.on_timer(self.now);
            self.proxy_does(todo);
        }
        let actions = self.caller.on_timer(self.now);
        self.caller_does(actions);
        if let Some(hang_up) = &mut self.hang_up {
            let mut actions = hang_up.on_timer(self.now);
            actions.retain(|action| matches!(action, Action::Send(_)));
            self.caller_does(actions);
        }
        for at in 0..self.callees.len() {
            if let Some(server) = &mut self.callees[at].server {
                let actions = server.on_timer(self.now);
                self.callee_does(at, actions);
            }
            self.repeat_success(at);
        }
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Arrives(from, to, bytes) => self.arrives(from, to, &bytes),
            Event::Answers(callee) => self.callee_answers(callee),
            Event::HangsUp if self.caller.is_proceeding() && !self.caller_is_gone => {
                let cancel = cancel(&self.invite, None).expect("an INVITE");
                let (hang_up, actions) = ClientTransaction::start(cancel, self.reliability, self.timers, self.now);
                self.hang_up = Some(hang_up);
                self.caller_does(actions);
            }
            Event::HangsUp => {}
            Event::Breaks(callee) => {
                self.callees[callee].broken = true;
                let why =
                    Failure { kind: FailureKind::Gone, label: "closed", sentence: "it broke".into(), cause: None };
                if let Some(context) = &mut self.context {
                    let todo = context.on_failed(callee, &why, self.now);
                    self.proxy_does(todo);
                }
            }
            Event::Parts(callee) => {
                self.callees[callee].parted = true;
                let why =
                    Failure { kind: FailureKind::Gone, label: "closed", sentence: "it parted".into(), cause: None };
                if let Some(context) = &mut self.context {
                    let todo = context.on_leg_away(callee, &why, self.now);
                    self.proxy_does(todo);
                }
            }
            Event::Forges(leg) => self.forge(leg),
            Event::CallerAway => {
                if let Some(context) = &mut self.context {
                    context.on_upstream_away(self.now);
                }
            }
            Event::CallerBack => {
                if let Some(context) = &mut self.context {
                    // Too late, unless nothing was left to be told.
                    self.caller_is_gone |= !context.is_upstream_away();
                    let todo = context.on_upstream_back();
                    self.proxy_does(todo);
                }
            }
            Event::CallerGone => {
                self.caller_is_gone = true;
                self.caller.on_transport_failed();
                self.hang_up = None;
                if let Some(context) = &mut self.context {
                    let todo = context.on_upstream_gone(self.now);
                    self.proxy_does(todo);
                }
            }
        }
    }

    fn arrives(&mut self, from: Who, to: Who, bytes: &Bytes) {
        let message = read(bytes);
        let what = message.status().map_or_else(|| bytes[0] as u64, u64::from);
        self.trace = self.trace.wrapping_mul(31).wrapping_add(self.now.0 ^ what);
        match (from, to) {
            (Who::Caller, Who::Proxy) => self.proxy_takes(&message),
            (Who::Callee(leg), Who::Proxy) if !self.callees[leg].broken => {
                if let Some(context) = &mut self.context {
                    self.callees[leg].heard_ringing |= context.is_pending(leg);
                    let todo = context.on_response(leg, &message, self.now);
                    self.proxy_does(todo);
                }
            }
            (_, Who::Caller) if !self.caller_is_gone => self.caller_hears(&message),
            (_, Who::Callee(callee)) if !self.callees[callee].broken => self.callee_hears(callee, message),
            _ => {}
        }
    }

    /// A response on the branch of a leg that is not one to its request, or to its CANCEL, changes nothing at all.
    fn forge(&mut self, leg: usize) {
        let Some(context) = &mut self.context else { return };
        let status = [100, 180, 200, 302, 486, 503, 603][self.dice.roll(7) as usize];
        let sound = format!(
            "SIP/2.0 {status} X\r\nVia: SIP/2.0/UDP us;branch=z9hG4bKp1.{leg}.2.3\r\n\
             Via: SIP/2.0/UDP a.example;branch=z9hG4bKa\r\nFrom: <sip:a@a.example>;tag=1\r\n\
             To: <sip:b@b.example>;tag=t0\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
        );
        let (words, instead) = [
            ("Call-ID: c", "Call-ID: d"),
            ("CSeq: 1 INVITE", "CSeq: 1 BYE"),
            ("CSeq: 1 INVITE", "CSeq: 1 ACK"),
            ("CSeq: 1 INVITE", "CSeq: 2 INVITE"),
            ("CSeq: 1 INVITE", "CSeq: 2 CANCEL"),
            (">;tag=1", ">;tag=2"),
            (">;tag=1", ">"),
            ("Via: SIP/2.0/UDP a.example;branch=z9hG4bKa\r\n", ""),
        ][self.dice.roll(8) as usize];
        let forged = sound.replacen(words, instead, 1);
        assert_ne!(forged, sound);
        let before = (format!("{context:?}"), context.next_deadline());
        let todo = context.on_response(leg, &read(&forged.into()), self.now);
        assert!(todo.is_empty(), "{todo:?} came of a forged response");
        assert_eq!((format!("{context:?}"), context.next_deadline()), before, "a forged response left its mark");
        self.forgeries += 1;
    }

    fn proxy_takes(&mut self, request: &Message) {
        let todo = match (&mut self.context, request.method()) {
            (None, Some(Method::Invite)) => {
                let upstream = Upstream {
                    source: ([192, 0, 2, 1], 5060).into(),
                    reliability: self.reliability,
                    tag: "ours".into(),
                    timers: self.timers,
                    timer_c: Millis(60_000),
                    decide_within: Millis(32_000),
                    return_within: Millis(10_000),
                    bytes_max: 65_507,
                };
                let mut context = Context::new(request, upstream, self.now);
                let legs: Vec<LegPlan> = (0..self.callees.len()).map(|at| self.leg(at)).collect();
                let routed = Routed { request_uri: "sip:b@b.example".into(), ..Routed::default() };
                let todo = context.forward(routed, Edits::default(), legs, Arc::new(Nobody), self.now);
                self.context = Some(context);
                todo
            }
            (Some(context), Some(Method::Invite)) => {
                assert!(!context.is_over(), "an INVITE comes again when its transaction is forgotten");
                context.on_repetition()
            }
            (Some(context), Some(Method::Ack)) => context.on_ack(self.now),
            (Some(context), Some(Method::Cancel)) => {
                let todo = context.on_cancel(None, self.now);
                let answer = Reply::new(200).write(request, "ours", None).expect("written");
                self.send(Who::Proxy, Who::Caller, answer);
                todo
            }
            _ => Todo::new(),
        };
        self.proxy_does(todo);
    }

    fn leg(&self, at: usize) -> LegPlan {
        LegPlan {
            via: format!("SIP/2.0/UDP us;branch=z9hG4bKp1.{at}.2.3"),
            request_uri: None,
            q: if self.serial { 1000 - at as u16 } else { 1000 },
            instead_of: self.servers.and_then(|_| at.checked_sub(1)),
            again: at > 0 && self.servers == Some(true),
            record_route: Vec::new(),
            edits: Edits::default(),
            reliability: self.reliability,
        }
    }

    fn proxy_does(&mut self, todo: Todo) {
        for done in todo {
            match done {
                Do::Ack => self.passed_acks += 1,
                Do::Down(leg, bytes) => self.send(Who::Proxy, Who::Callee(leg), bytes),
                Do::Up(bytes) => {
                    let away = self.context.as_ref().is_some_and(Context::is_upstream_away);
                    assert!(!away, "something was said to a caller who was away");
                    self.send(Who::Proxy, Who::Caller, bytes);
                }
            }
        }
    }

    /// What must hold once nothing moves any more.
    fn judge(&self) -> Shown {
        let finals: Vec<u16> = self.heard.iter().copied().filter(|status| *status >= 300).collect();
        let successes = self.heard.iter().filter(|status| **status < 300).count();
        assert!(finals.len() <= 1, "one refusal: {:?}", self.heard);
        assert!(finals.is_empty() || successes == 0, "a refusal or successes: {:?}", self.heard);
        let Some(context) = &self.context else {
            assert!(self.caller.is_terminated(), "a caller whose INVITE never arrived gives up");
            return Shown::default();
        };
        assert!(context.is_over(), "{context:?} is left over");
        assert_eq!(context.next_deadline(), None);
        for (at, callee) in self.callees.iter().enumerate().filter(|(_, callee)| !callee.broken && !callee.parted) {
            match callee.decided {
                Some(300..) => assert!(callee.acknowledged, "callee {at} was never acknowledged"),
                Some(_) => {}
                None if callee.heard_ringing => {
                    assert!(callee.cancelled, "callee {at} rings for ever");
                }
                None => {}
            }
        }
        let anybody = self.callees.iter().any(|callee| callee.decided == Some(200));
        if !self.caller_is_gone {
            assert!(self.gave_up || !self.heard.is_empty(), "the caller never heard how it ended");
            assert!(anybody || successes == 0, "a success out of nothing");
        }
        let cancelled = self.callees.iter().any(|callee| callee.cancelled);
        let forged = self.forgeries > 0;
        Shown { trace: self.trace, answered: successes > 0, refused: !finals.is_empty(), cancelled, forged }
    }
}

fn play(seed: u64) -> Shown {
    let outcome = std::panic::catch_unwind(|| {
        let mut world = World::new(seed);
        world.run();
        world.judge()
    });
    outcome.unwrap_or_else(|_| panic!("seed {seed} breaks a rule"))
}

#[test]
fn calls_end_cleanly_however_the_network_behaves() {
    let shown: Vec<Shown> = (1..=2_000).map(play).collect();
    // The dice are such that every kind of end is seen often.
    let count = |kind: fn(&Shown) -> bool| shown.iter().filter(|shown| kind(shown)).count();
    let (answered, refused, cancelled, forged) = (
        count(|shown| shown.answered),
        count(|shown| shown.refused),
        count(|shown| shown.cancelled),
        count(|shown| shown.forged),
    );
    let all = [answered, refused, cancelled, forged];
    assert!(all.iter().all(|seen| *seen > 200), "{all:?}");
}

#[test]
fn the_same_seed_is_the_same_story() {
    for seed in [1, 7, 1_000_003] {
        assert_eq!(play(seed), play(seed));
    }
}
