//! The driver with connections that a test carries, under a clock that the test turns.

mod bounds;
mod reunion;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reveille_sip::proxy::{Edits, Nobody, Reply, Routed};
use reveille_sip::{Frame, Limits, Message, Method, Name, StreamFramer};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::Side;
use crate::close::CloseReason;
use crate::names::PeerCertificate;

/// A proxy at work, with a caller's connection.
struct Rig {
    proxy: Arc<Proxy>,
    caller: Line,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

/// A connection and what came out of it.
struct Line {
    flow: Arc<Flow>,
    buffer: BytesMut,
    framer: StreamFramer,
}

impl Line {
    fn new(transport: Transport, host: u8) -> Self {
        Self::of(transport, host, None)
    }

    /// A connection of a peer that has shown this certificate.
    fn of(transport: Transport, host: u8, certificate: Option<&str>) -> Self {
        let at = |host: u8| SocketAddr::from(([192, 0, 2, host], 5060));
        let peer = certificate
            .map(|name| Arc::new(PeerCertificate { sha256_fingerprint: name.into(), ..PeerCertificate::default() }));
        let flow = Flow::carried(transport, Side::Accepted, at(100), at(host), peer, 1 << 20);
        Self { flow, buffer: BytesMut::new(), framer: StreamFramer::new(Limits::default(), Side::Initiated) }
    }

    /// Everything sent on it since the last time.
    fn sent(&mut self) -> Vec<Message> {
        let mut chunks = VecDeque::new();
        self.flow.take_queued(&mut chunks);
        for chunk in chunks {
            self.flow.written(chunk.len());
            self.buffer.extend_from_slice(&chunk);
        }
        let mut messages = Vec::new();
        while let Some(frame) = self.framer.next(&mut self.buffer).expect("sound framing") {
            if let Frame::Message(message) = frame {
                messages.push(message);
            }
        }
        messages
    }

    fn words(&mut self) -> Vec<String> {
        let word = |message: &Message| match (message.method(), message.status()) {
            (Some(method), _) => method.as_str().to_owned(),
            (None, status) => status.unwrap_or_default().to_string(),
        };
        self.sent().iter().map(word).collect()
    }

    fn close(&self, proxy: &Proxy) {
        self.flow.finish(&CloseReason::Idle);
        proxy.flow_gone(&self.flow);
    }
}

impl Rig {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut ProxyConfig)) -> Self {
        let mut config =
            ProxyConfig::new("us.example", |uri| uri.host().and_then(|host| host.domain()) == Some("us.example"));
        change(&mut config);
        let proxy = Proxy::new(config);
        let stop = CancellationToken::new();
        let running = tokio::spawn(Arc::clone(&proxy).run(stop.clone()));
        Self { proxy, caller: Line::new(Transport::Tcp, 1), stop, running }
    }

    fn take(&self, text: &str) -> Taken {
        self.proxy.take(&self.caller.flow, read(text.to_owned()))
    }

    /// Takes a request and sends it to these connections, all at once.
    fn forward(&self, text: &str, lines: &[&Line]) {
        let Taken::Request { request, routed } = self.take(text) else { panic!("not to be decided: {text}") };
        let legs = lines.iter().map(|line| Leg::to(To::Flow(Arc::clone(&line.flow)))).collect();
        let plan = Plan { legs, ..Plan::to(Leg::to(To::Flow(Arc::clone(&lines[0].flow))), routed, Arc::new(Nobody)) };
        self.proxy.forward(&self.caller.flow, &request, plan);
    }

    fn hears(&self, line: &Line, response: &Message) -> bool {
        self.proxy.on_response(&line.flow, response)
    }

    async fn end(self) {
        self.stop.cancel();
        self.running.await.expect("it stops");
    }
}

fn read(text: impl Into<Bytes>) -> Message {
    reveille_sip::parse_datagram(text.into(), &Limits::default()).expect("sound")
}

fn request(method: &str, more: &str) -> String {
    format!(
        "{method} sip:b@b.example SIP/2.0\r\nVia: SIP/2.0/TCP a.example;branch=z9hG4bKa\r\nMax-Forwards: 70\r\n\
         From: <sip:a@a.example>;tag=1\r\nTo: <sip:b@b.example>\r\nCall-ID: c\r\nCSeq: 1 {method}\r\n{more}\
         Content-Length: 0\r\n\r\n"
    )
}

fn respond(request: &Message, status: u16) -> Message {
    read(Reply::new(status).write(request, "callee", None).expect("written"))
}

async fn pass_ms(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[tokio::test(start_paused = true)]
async fn a_call_goes_out_rings_and_is_answered_and_is_forgotten_after_32_s() {
    let (mut rig, mut callee) = (Rig::new(), Line::new(Transport::Tcp, 2));
    rig.forward(&request("INVITE", ""), &[&callee]);
    let invite = callee.sent().remove(0);
    assert_eq!(invite.top_via().map(|via| via.sent_by()), Ok("us.example"));
    pass_ms(300).await;
    assert_eq!(rig.caller.words(), ["100"]);
    for status in [180, 200, 200] {
        assert!(rig.hears(&callee, &respond(&invite, status)));
    }
    assert_eq!(rig.caller.words(), ["180", "200", "200"], "also the 2xx that is repeated");
    assert!(rig.proxy.flow_of("x").is_err());
    assert_eq!((rig.proxy.in_flight(), rig.proxy.unanswered()), (1, 0));
    pass_ms(32_100).await;
    assert_eq!(rig.proxy.in_flight(), 0);
    assert!(rig.hears(&callee, &respond(&invite, 200)), "ours by its form");
    assert_eq!(rig.caller.words(), [""; 0], "and dropped: nothing of it is known any more");
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_busy_callee_frees_everything_with_the_callers_ack() {
    let (mut rig, mut callee) = (Rig::new(), Line::new(Transport::Tcp, 2));
    rig.forward(&request("INVITE", ""), &[&callee]);
    let invite = callee.sent().remove(0);
    rig.hears(&callee, &respond(&invite, 486));
    assert_eq!((callee.words(), rig.caller.words()), (vec!["ACK".to_owned()], vec!["486".to_owned()]));
    assert!(matches!(rig.take(&request("ACK", "")), Taken::Done));
    assert_eq!(rig.proxy.in_flight(), 0);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_is_answered_goes_on_and_its_487_comes_back() {
    let (mut rig, mut callee) = (Rig::new(), Line::new(Transport::Tcp, 2));
    rig.forward(&request("INVITE", ""), &[&callee]);
    let invite = callee.sent().remove(0);
    rig.hears(&callee, &respond(&invite, 180));
    rig.caller.sent();
    assert!(matches!(rig.take(&request("CANCEL", "Reason: SIP;cause=200\r\n")), Taken::Done));
    assert_eq!(rig.caller.words(), ["200"]);
    let cancel = callee.sent().remove(0);
    assert_eq!((cancel.method(), cancel.header(Name::Reason)), (Some(Method::Cancel), Some("SIP;cause=200")));
    rig.hears(&callee, &respond(&cancel, 200));
    rig.hears(&callee, &respond(&invite, 487));
    assert_eq!((callee.words(), rig.caller.words()), (vec!["ACK".to_owned()], vec!["487".to_owned()]));
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_of_nothing_or_of_somebody_elses_call_is_481() {
    let (mut rig, mut callee) = (Rig::new(), Line::new(Transport::Tcp, 2));
    rig.take(&request("CANCEL", ""));
    assert_eq!(rig.caller.words(), ["481"]);
    rig.forward(&request("INVITE", ""), &[&callee]);
    let invite = callee.sent().remove(0);
    rig.hears(&callee, &respond(&invite, 180));
    // The same branch and sent-by from another peer.
    let mut stranger = Line::new(Transport::Tcp, 66);
    rig.proxy.take(&stranger.flow, read(request("CANCEL", "")));
    assert_eq!((stranger.words(), callee.words()), (vec!["481".to_owned()], vec![]));
    // The caller may use another connection of its own.
    let mut second = Line::new(Transport::Tcp, 1);
    rig.proxy.take(&second.flow, read(request("CANCEL", "")));
    assert_eq!((second.words(), callee.words()), (vec!["200".to_owned()], vec!["CANCEL".to_owned()]));
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_cancel_before_the_decision_keeps_the_call_from_ringing() {
    let (mut rig, mut callee) = (Rig::new(), Line::new(Transport::Tcp, 2));
    let Taken::Request { request: invite, routed } = rig.take(&request("INVITE", "")) else { panic!("new") };
    rig.take(&request("CANCEL", ""));
    assert_eq!(rig.caller.words(), ["200", "487"]);
    let plan = Plan::to(Leg::to(To::Flow(Arc::clone(&callee.flow))), routed, Arc::new(Nobody));
    rig.proxy.forward(&rig.caller.flow, &invite, plan);
    assert!(callee.words().is_empty());
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn the_first_to_answer_gets_the_call_and_the_other_phone_stops() {
    let mut rig = Rig::new();
    let (mut one, mut two) = (Line::new(Transport::Tcp, 2), Line::new(Transport::Tcp, 3));
    rig.forward(&request("INVITE", ""), &[&one, &two]);
    let (first, second) = (one.sent().remove(0), two.sent().remove(0));
    rig.hears(&one, &respond(&first, 180));
    rig.hears(&two, &respond(&second, 200));
    assert_eq!(rig.caller.words(), ["180", "200"]);
    assert_eq!(one.words(), ["CANCEL"]);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_callee_whose_connection_ends_has_failed_and_another_stands_in() {
    let mut rig = Rig::new();
    let (mut one, mut two) = (Line::new(Transport::Tcp, 2), Line::new(Transport::Tcp, 3));
    let Taken::Request { request: invite, routed } = rig.take(&request("INVITE", "")) else { panic!("new") };
    let to = vec![To::Flow(Arc::clone(&one.flow)), To::Flow(Arc::clone(&two.flow))];
    let leg = Leg { to, request_uri: None, q: 1000, edits: Edits::default(), record_route: None };
    rig.proxy.forward(&rig.caller.flow, &invite, Plan::to(leg, routed, Arc::new(Nobody)));
    assert_eq!((one.words(), two.words()), (vec!["INVITE".to_owned()], vec![]));
    one.close(&rig.proxy);
    assert_eq!(two.words(), ["INVITE"]);
    two.close(&rig.proxy);
    assert_eq!(rig.caller.words(), ["500"]);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_closed_already_fails_at_once() {
    let mut rig = Rig::new();
    let callee = Line::new(Transport::Tcp, 2);
    callee.close(&rig.proxy);
    rig.forward(&request("MESSAGE", ""), &[&callee]);
    assert_eq!((rig.caller.words(), rig.proxy.in_flight()), (vec!["500".to_owned()], 0));
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_who_is_gone_has_hung_up() {
    let (rig, mut callee) = (Rig::new(), Line::new(Transport::Tcp, 2));
    rig.forward(&request("INVITE", ""), &[&callee]);
    let invite = callee.sent().remove(0);
    rig.hears(&callee, &respond(&invite, 180));
    rig.caller.close(&rig.proxy);
    assert_eq!(callee.words(), ["CANCEL"]);
    rig.hears(&callee, &respond(&invite, 487));
    assert_eq!((callee.words(), rig.proxy.in_flight()), (vec!["ACK".to_owned()], 0));
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn answers_count_only_from_where_the_request_went_and_with_its_key() {
    let (mut rig, mut callee) = (Rig::new(), Line::new(Transport::Tcp, 2));
    rig.forward(&request("MESSAGE", ""), &[&callee]);
    let message = callee.sent().remove(0);
    let elsewhere = Line::new(Transport::Tcp, 66);
    assert!(rig.hears(&elsewhere, &respond(&message, 200)));
    let branch = message.top_via().expect("ours").branch().expect("ours").to_owned();
    let key = branch.split('.').nth(2).expect("a key").to_owned();
    let guessed = String::from_utf8(respond(&message, 200).as_bytes().to_vec()).expect("text");
    assert!(rig.hears(&callee, &read(guessed.replace(&key, "0123456789abcdef"))));
    assert!(rig.caller.words().is_empty());
    assert!(!rig.hears(&callee, &read(guessed.replace(&branch, "z9hG4bKother"))), "not of our form");
    rig.hears(&callee, &respond(&message, 200));
    assert_eq!((rig.caller.words(), rig.proxy.in_flight()), (vec!["200".to_owned()], 0));
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_only_in_the_words_of_its_request_and_goes_back_its_way() {
    let (mut rig, mut callee) = (Rig::new(), Line::new(Transport::Tcp, 2));
    rig.forward(&request("INVITE", ""), &[&callee]);
    let invite = callee.sent().remove(0);
    let sound = String::from_utf8(respond(&invite, 200).as_bytes().to_vec()).expect("text");
    let back = "Via: SIP/2.0/TCP a.example;branch=z9hG4bKa;received=192.0.2.1\r\n";
    for (words, instead) in [
        ("Call-ID: c", "Call-ID: d"),
        ("CSeq: 1 INVITE", "CSeq: 7 BYE"),
        ("CSeq: 1 INVITE", "CSeq: 2 INVITE"),
        (">;tag=1", ">;tag=2"),
        (back, ""),
    ] {
        assert!(sound.contains(words), "{words} in {sound}");
        assert!(rig.hears(&callee, &read(sound.replacen(words, instead, 1))), "ours by its form");
        assert_eq!((rig.caller.words(), rig.proxy.unanswered()), (vec![], 1), "{instead}");
    }
    let elsewhere = sound.replacen("a.example;branch=z9hG4bKa", "victim.example;branch=z9hG4bKv", 1);
    rig.hears(&callee, &read(elsewhere));
    let heard = rig.caller.sent().remove(0);
    assert_eq!(heard.values(Name::Via).collect::<Vec<_>>(), [back.trim_start_matches("Via: ").trim_end()]);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_ours_over_udp_is_repeated_until_its_ack_and_then_remembered_for_t4() {
    let rig = Rig::new();
    let mut caller = Line::new(Transport::Udp, 1);
    let invite = read(request("INVITE", "").replace("/TCP", "/UDP"));
    let Taken::Request { request: invite, .. } = rig.proxy.take(&caller.flow, invite) else { panic!("new") };
    rig.proxy.reply(&caller.flow, &invite, &Reply::new(403));
    pass_ms(1_600).await;
    assert_eq!(caller.words(), ["403", "403", "403"], "at 0, 0.5 and 1.5 s");
    assert!(matches!(rig.proxy.take(&caller.flow, invite.clone()), Taken::Done));
    assert_eq!(caller.words(), ["403"]);
    assert!(matches!(rig.proxy.take(&caller.flow, read(request("ACK", "").replace("/TCP", "/UDP"))), Taken::Done));
    pass_ms(4_000).await;
    assert_eq!((caller.words(), rig.proxy.in_flight()), (vec![], 1));
    pass_ms(1_100).await;
    assert_eq!(rig.proxy.in_flight(), 0);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn an_ack_of_a_success_is_passed_on_and_one_of_our_own_refusals_is_not() {
    let (mut rig, mut callee) = (Rig::new(), Line::new(Transport::Tcp, 2));
    let untagged = request("ACK", "Route: <sip:tok@us.example;lr>\r\n").replace("z9hG4bKa", "z9hG4bKnew");
    assert!(matches!(rig.take(&untagged), Taken::Done), "it belongs to no dialog");
    let ack = untagged.replace("To: <sip:b@b.example>", "To: <sip:b@b.example>;tag=b");
    let Taken::Ack { ack: passed, routed } = rig.take(&ack) else { panic!("to be passed on") };
    assert_eq!((routed.token.as_deref(), routed.routes.len()), (Some("tok"), 0));
    let plan = Plan::to(Leg::to(To::Flow(Arc::clone(&callee.flow))), routed, Arc::new(Nobody));
    rig.proxy.pass_ack(&rig.caller.flow, &passed, plan);
    let left = callee.sent().remove(0);
    assert_eq!((left.method(), left.header(Name::Route), left.max_forwards()), (Some(Method::Ack), None, Some(69)));
    // Refused without state: the ACK carries the tag that we gave.
    let Taken::Refused { request: refused, reply } = rig.take(&request("INVITE", "").replace(": 70", ": 0")) else {
        panic!("no hop is left")
    };
    rig.proxy.reply(&rig.caller.flow, &refused, &reply);
    let answer = rig.caller.sent().remove(0);
    assert_eq!(answer.status(), Some(483));
    let to = answer.header(Name::To).expect("To").to_owned();
    let ack = request("ACK", "").replace("To: <sip:b@b.example>", &format!("To: {to}"));
    assert!(matches!(rig.take(&ack), Taken::Done));
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_comes_back_unchanged_is_a_loop_and_a_changed_one_a_spiral() {
    let (mut rig, mut callee) = (Rig::new(), Line::new(Transport::Tcp, 2));
    rig.forward(&request("INVITE", ""), &[&callee]);
    let back = callee.sent().remove(0);
    let Taken::Refused { reply, .. } = rig.proxy.take(&callee.flow, back.clone()) else { panic!("a loop") };
    assert_eq!(reply.status, 482);
    let text = String::from_utf8(back.as_bytes().to_vec()).expect("text");
    let spiral = read(text.replacen("sip:b@b.example", "sip:voicemail@b.example", 1));
    assert!(matches!(rig.proxy.take(&callee.flow, spiral), Taken::Request { .. }));
    // The same on another side is neither.
    let next = read(text.replacen("Via: ", "Via: SIP/2.0/TCP p.example;branch=z9hG4bKp1\r\nVia: ", 1));
    assert!(matches!(rig.proxy.take_on("inside", Share::Part, &callee.flow, next), Taken::Request { .. }));
    assert!(rig.caller.words().is_empty());
    rig.end().await;
}

/// Counts what it is told.
#[derive(Default)]
struct Told(parking_lot::Mutex<Vec<u16>>);

impl reveille_sip::proxy::Owner for Told {
    fn ended(&self, status: u16, _leg: Option<usize>) {
        self.0.lock().push(status);
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_forwards_what_was_cancelled_meanwhile_hears_how_it_ended() {
    let (rig, callee) = (Rig::new(), Line::new(Transport::Tcp, 2));
    let Taken::Request { request: invite, routed } = rig.take(&request("INVITE", "")) else { panic!("new") };
    rig.take(&request("CANCEL", ""));
    let told = Arc::new(Told::default());
    let plan = Plan::to(Leg::to(To::Flow(Arc::clone(&callee.flow))), routed, Arc::clone(&told) as _);
    rig.proxy.forward(&rig.caller.flow, &invite, plan);
    assert_eq!(*told.0.lock(), [487]);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn flow_tokens_lead_to_their_connection_while_it_lives_and_cannot_be_made_up() {
    let rig = Rig::new();
    let phone = Line::new(Transport::Tcp, 7);
    let token = rig.proxy.flow_token(&phone.flow);
    assert_eq!(rig.proxy.flow_of(&token).map(|flow| flow.id()), Ok(phone.flow.id()));
    for forged in [token.replace('.', ".0"), Rig::new().proxy.flow_token(&phone.flow), String::new()] {
        assert_eq!(rig.proxy.flow_of(&forged).err(), Some(TokenError::Forged), "{forged}");
    }
    let role = rig.proxy.seal("flow", "c1");
    assert_eq!(rig.proxy.flow_of(&role).err(), Some(TokenError::Forged), "a role's own label is another one");
    phone.close(&rig.proxy);
    assert_eq!(rig.proxy.flow_of(&token).err(), Some(TokenError::Gone));
    assert_eq!((TokenError::Forged.status(), TokenError::Gone.status()), (403, 430));
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn legs_and_routes_of_a_plan_reach_the_wire() {
    let (rig, mut callee) = (Rig::new(), Line::new(Transport::Tls, 2));
    let Taken::Request { request: invite, .. } = rig.take(&request("INVITE", "")) else { panic!("new") };
    let routed =
        Routed { request_uri: "sip:b@b.example".into(), routes: vec!["<sip:p;lr>".into()], ..Routed::default() };
    let mut leg = Leg::to(To::Flow(Arc::clone(&callee.flow)));
    leg.request_uri = Some("sip:b@10.0.0.1".into());
    let mut plan = Plan::to(leg, routed, Arc::new(Nobody));
    plan.record_route = vec!["sip:t@us.example;lr".into(), "sip:t@us.example:5062;lr".into()];
    rig.proxy.forward(&rig.caller.flow, &invite, plan);
    let left = callee.sent().remove(0);
    assert_eq!((left.request_uri(), left.header(Name::Route)), (Some("sip:b@10.0.0.1"), Some("<sip:p;lr>")));
    let recorded: Vec<&str> = left.headers(Name::RecordRoute).collect();
    assert_eq!(recorded, ["<sip:t@us.example;lr>", "<sip:t@us.example:5062;lr>"]);
    assert!(
        left.headers(Name::Via).next().is_some_and(|via| via.starts_with("SIP/2.0/TLS us.example;branch=z9hG4bKp"))
    );
    rig.end().await;
}
