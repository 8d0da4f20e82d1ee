//! Peers whose connection ends, and who are back on another.

use super::*;

impl Rig {
    /// A rig whose caller has shown a certificate, with an INVITE of it that rings.
    async fn ringing(callee: &mut Line) -> (Self, Message) {
        let mut rig = Self::new();
        rig.caller = Line::of(Transport::Tls, 1, Some("caller"));
        rig.proxy.flow_opened(&rig.caller.flow);
        rig.forward(&request("INVITE", ""), &[callee]);
        let invite = callee.sent().remove(0);
        rig.hears(callee, &respond(&invite, 180));
        assert_eq!(rig.caller.words(), ["180"]);
        (rig, invite)
    }

    /// Another connection is made to us.
    fn opens(&self, host: u8, certificate: &str) -> Line {
        let line = Line::of(Transport::Tls, host, Some(certificate));
        self.proxy.flow_opened(&line.flow);
        line
    }

    /// Nothing is left of anybody.
    async fn ends_empty(self) {
        pass_ms(33_000).await;
        assert_eq!(self.proxy.in_flight(), 0);
        self.caller.close(&self.proxy);
        assert!(self.proxy.table.remembers_nobody(), "connections or what waits for them");
        self.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_whose_connection_ends_hears_the_answer_on_the_next_and_acknowledges_there() {
    let mut callee = Line::new(Transport::Tcp, 2);
    let (mut rig, invite) = Rig::ringing(&mut callee).await;
    rig.caller.close(&rig.proxy);
    assert!(callee.words().is_empty(), "the phone goes on ringing");
    pass_ms(3_000).await;
    rig.caller = rig.opens(1, "caller");
    assert_eq!(rig.caller.words(), ["180"], "what may have been lost with the connection");
    rig.hears(&callee, &respond(&invite, 200));
    assert_eq!(rig.caller.words(), ["200"]);
    let ack = request("ACK", "").replace("To: <sip:b@b.example>", "To: <sip:b@b.example>;tag=callee");
    assert!(matches!(rig.take(&ack), Taken::Ack { .. }), "and is passed on");
    rig.ends_empty().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_goes_to_another_open_connection_of_the_same_peer_at_once() {
    let mut callee = Line::new(Transport::Tcp, 2);
    let (mut rig, invite) = Rig::ringing(&mut callee).await;
    let mut elsewhere = rig.opens(9, "caller");
    let mut stranger = rig.opens(1, "stranger");
    let mut second = rig.opens(1, "caller");
    rig.caller.close(&rig.proxy);
    assert_eq!(second.words(), ["180"], "rather of the same host");
    second.close(&rig.proxy);
    assert_eq!(elsewhere.words(), ["180"]);
    rig.hears(&callee, &respond(&invite, 486));
    assert_eq!((elsewhere.words(), callee.words()), (vec!["486".to_owned()], vec!["ACK".to_owned()]));
    assert!(stranger.words().is_empty());
    rig.caller = elsewhere;
    assert!(matches!(rig.take(&request("ACK", "")), Taken::Done));
    assert_eq!(rig.proxy.in_flight(), 0, "its ACK is known there");
    stranger.close(&rig.proxy);
    rig.ends_empty().await;
}

#[tokio::test(start_paused = true)]
async fn nobody_else_hears_the_answer_and_after_ten_seconds_the_call_is_cancelled() {
    let mut callee = Line::new(Transport::Tcp, 2);
    let (rig, invite) = Rig::ringing(&mut callee).await;
    rig.caller.close(&rig.proxy);
    // The same host with another certificate, and with none.
    let (mut stranger, mut nobody) = (rig.opens(1, "stranger"), Line::new(Transport::Tcp, 1));
    rig.proxy.flow_opened(&nobody.flow);
    pass_ms(9_900).await;
    assert!(callee.words().is_empty());
    pass_ms(200).await;
    assert_eq!(callee.words(), ["CANCEL"]);
    let mut late = rig.opens(1, "caller");
    rig.hears(&callee, &respond(&invite, 487));
    assert_eq!((callee.words(), rig.proxy.in_flight()), (vec!["ACK".to_owned()], 0));
    for line in [&mut stranger, &mut nobody, &mut late] {
        assert!(line.words().is_empty());
        line.close(&rig.proxy);
    }
    rig.ends_empty().await;
}

#[tokio::test(start_paused = true)]
async fn a_caller_without_a_certificate_is_found_by_the_name_that_its_role_knows() {
    let (rig, mut callee) = (Rig::new(), Line::new(Transport::Tcp, 2));
    let Taken::Request { request: invite, routed } = rig.take(&request("INVITE", "")) else { panic!("new") };
    let mut plan = Plan::to(Leg::to(To::Flow(Arc::clone(&callee.flow))), routed, Arc::new(Nobody));
    plan.back.sender = Some("alice's phone".into());
    rig.proxy.forward(&rig.caller.flow, &invite, plan);
    let invite = callee.sent().remove(0);
    rig.hears(&callee, &respond(&invite, 180));
    rig.caller.close(&rig.proxy);
    // It has another address now.
    let (mut phone, mut other) = (Line::new(Transport::Tls, 77), Line::new(Transport::Tls, 1));
    let mut datagrams = Line::new(Transport::Udp, 1);
    rig.proxy.sender_is_on("alice's phone", &datagrams.flow);
    assert!(datagrams.words().is_empty(), "an address proves nobody");
    rig.proxy.sender_is_on("bob's phone", &other.flow);
    rig.proxy.sender_is_on("alice's phone", &phone.flow);
    assert_eq!((phone.words(), other.words()), (vec!["180".to_owned()], vec![]));
    rig.proxy.take(&other.flow, read(request("CANCEL", "")));
    assert_eq!(other.words(), ["481"], "where it was before it is nobody any more");
    rig.proxy.take(&phone.flow, read(request("CANCEL", "")));
    assert_eq!((phone.words(), callee.words()), (vec!["200".to_owned()], vec!["CANCEL".to_owned()]));
    rig.hears(&callee, &respond(&invite, 487));
    assert_eq!(phone.words(), ["487"]);
    phone.close(&rig.proxy);
    other.close(&rig.proxy);
    rig.ends_empty().await;
}

#[tokio::test(start_paused = true)]
async fn an_answer_counts_from_another_connection_of_whoever_rings_and_of_nobody_else() {
    let mut rig = Rig::new();
    let mut callee = Line::of(Transport::Tls, 2, Some("callee"));
    rig.forward(&request("INVITE", ""), &[&callee]);
    let invite = callee.sent().remove(0);
    let (stranger, other) =
        (Line::of(Transport::Tls, 2, Some("stranger")), Line::of(Transport::Tls, 3, Some("callee")));
    assert!(rig.hears(&stranger, &respond(&invite, 200)));
    assert!(rig.caller.words().is_empty());
    assert!(rig.hears(&other, &respond(&invite, 200)));
    assert_eq!(rig.caller.words(), ["200"]);
    rig.end().await;
}
