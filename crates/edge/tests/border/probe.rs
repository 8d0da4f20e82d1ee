//! Tests of the way out: each way of failing is told at its own stage, and nobody outside can ask for one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reveille_core::stage::Stage;
use reveille_federation::message::respond;
use reveille_federation::probe::Answer;
use reveille_sim::phone::RawSip;
use reveille_sip::{Message, Method, Name};
use reveille_sip_net::{Addresses, Resolver, Srv, StaticResolver};

use crate::rig::*;

const PARTNER: &str = "edge.contoso.com";
const ASKS: (Name, &str) = (Name::ReveilleProbe, "1");

/// Where our own record leads, as it should.
fn names() -> StaticResolver {
    srv(StaticResolver::new(), "push.example.net", EDGE, 5061).host(EDGE, [192, 0, 2, 1].into())
}

fn test_of(number: u32) -> bytes::Bytes {
    request_with("push.example.net", "contoso.com", number, 70, &[ASKS])
}

async fn ask(house: &mut RawSip, number: u32) -> (Message, Answer) {
    let message = house.send_and_wait(test_of(number), PATIENCE).await.unwrap();
    let answer = Answer::of(&message);
    (message, answer)
}

/// The stages with what failed marked.
fn stages(answer: &Answer) -> Vec<String> {
    let one = |told: &reveille_federation::probe::Told| match told.passed {
        true => told.stage.as_str().to_owned(),
        false => format!("{} failed: {}", told.stage.as_str(), told.why.as_deref().unwrap_or_default()),
    };
    answer.told.iter().map(one).collect()
}

/// The partner's part: OPTIONS is answered by itself, the request with `more`.
async fn serve(beyond: &mut Beyond, status: u16, more: &[(&'static str, &'static str)]) -> Vec<Message> {
    let mut came = Vec::new();
    loop {
        let (flow, message) = beyond.next().await;
        let is_last = message.method() != Some(Method::Options);
        let answer = respond(&message, if is_last { status } else { 483 }, "beyond", |response| {
            for (name, value) in more.iter().filter(|_| is_last) {
                response.other_header(name, *value);
            }
        });
        flow.send(answer).unwrap();
        came.push(message);
        if is_last {
            return came;
        }
    }
}

#[tokio::test]
async fn each_stage_of_a_way_that_works_is_told_and_the_partner_sees_a_request_like_any_other() {
    let at = partner_address();
    let border = Border::start(settings([allowed("contoso.com", Some(PARTNER))]), names().host(PARTNER, at.ip())).await;
    let mut beyond = Beyond::start(&border.office, PARTNER, at);
    let mut house = border.insider(HOUSE).await;
    let forged = [("Reveille-Stage", "own-name;us=1;failed"), ("Push-Result", "0;result=journaled")];
    house.send(test_of(1), PATIENCE).await.unwrap();
    let came = serve(&mut beyond, 202, &forged).await;
    let message = house.next(PATIENCE).await.unwrap();
    let answer = Answer::of(&message);
    let expected = ["own-name", "policy", "name", "address", "connect", "their-certificate", "our-certificate", "sip"];
    assert_eq!(stages(&answer), expected, "and not a word of what the partner tells of stages");
    assert_eq!((answer.status, answer.result.is_some()), (202, true));
    assert!(message.header(Name::EdgeTrust).is_some(), "an answer of a partner like any other");
    let named = |stage| answer.told.iter().find(|told| told.stage == stage).and_then(|told| told.name.clone());
    assert_eq!(named(Stage::Name).as_deref(), Some(PARTNER));
    assert_eq!(named(Stage::Address), Some(at.to_string()));
    assert_eq!(named(Stage::TheirCertificate).as_deref(), Some(PARTNER));
    assert!(came.iter().all(|message| message.header(Name::ReveilleProbe).is_none()));
    let (first, second) = (&came[0], &came[1]);
    assert_eq!((first.method(), first.max_forwards()), (Some(Method::Options), Some(0)));
    assert_eq!((second.method(), second.max_forwards()), (Some(Method::Message), Some(69)));
    assert!(second.header(Name::AssertedVerification).is_some());
    border.end().await;
    beyond.end().await;
}

#[tokio::test]
async fn what_the_settings_and_the_records_forbid_is_told_before_anybody_is_connected_to() {
    let here = || names().host(PARTNER, [192, 0, 2, 9].into());
    let elsewhere = || srv(here(), "contoso.com", "sip.elsewhere.example", 5061);
    let nowhere = || srv(here(), "contoso.com", "sip.contoso.com", 5061);
    let an_address = || srv(here(), "contoso.com", "192.0.2.9", 5061);
    let ok = "own-name".to_owned();
    for (rows, names, expected, number) in [
        (
            vec![federation(false), allowed("contoso.com", Some(PARTNER))],
            here(),
            "policy failed: federation-off",
            90104,
        ),
        (vec![], here(), "policy failed: domain-not-allowed", 90103),
        (vec![blocked("contoso.com")], here(), "policy failed: domain-blocked", 90102),
        (vec![allowed("contoso.com", None)], here(), "name failed: srv-not-found", 1008),
        (vec![allowed("contoso.com", None)], an_address(), "name failed: srv-not-found", 1008),
        (vec![allowed("contoso.com", None)], elsewhere(), "name failed: srv-names-another", 1009),
        (vec![allowed("contoso.com", None)], nowhere(), "address failed: address-not-found", 1014),
    ] {
        let border = Border::start(settings(rows), names).await;
        let (message, answer) = ask(&mut border.insider(HOUSE).await, 1).await;
        let told = stages(&answer);
        assert_eq!((told.first(), told.last().map(String::as_str)), (Some(&ok), Some(expected)), "{told:?}");
        assert_eq!((answer.number(), answer.is_by_partner()), (number, false), "{expected}");
        assert!(message.header(Name::MsDiagnostics).is_some_and(|it| it.contains("advice=")), "{expected}");
        border.end().await;
    }
    let border = Border::start(settings([allowed("contoso.com", None)]), an_address()).await;
    let (_, answer) = ask(&mut border.insider(HOUSE).await, 1).await;
    let reason = answer.said.map(|said| said.reason).unwrap_or_default();
    assert!(reason.contains("192.0.2.9") && reason.contains("which is no host name"), "{reason}");
    border.end().await;
    let target = |answer: Answer| answer.told.into_iter().find_map(|told| told.name.filter(|_| !told.passed));
    let border = Border::start(settings([allowed("contoso.com", None)]), elsewhere()).await;
    let (_, answer) = ask(&mut border.insider(HOUSE).await, 1).await;
    assert_eq!(target(answer).as_deref(), Some("sip.elsewhere.example"), "where the record leads");
    border.end().await;
}

#[tokio::test]
async fn a_server_that_is_down_wrong_distrustful_or_rude_is_told_apart_and_what_was_mended_is_seen_at_once() {
    let at = partner_address();
    let border = Border::start(settings([allowed("contoso.com", Some(PARTNER))]), names().host(PARTNER, at.ip())).await;
    let mut house = border.insider(HOUSE).await;
    let last = |answer: &Answer| (stages(answer).pop().unwrap(), answer.number());
    let (_, down) = ask(&mut house, 1).await;
    assert_eq!(last(&down), ("connect failed: refused".into(), 1046));

    let wrong = Beyond::start(&border.office, "edge.fabrikam.com", at);
    let (_, named) = ask(&mut house, 2).await;
    assert_eq!(last(&named), ("their-certificate failed: names-another".into(), 1010));
    wrong.end().await;

    let stranger = Beyond::start(&Office::of("Other authority"), PARTNER, at);
    let (_, unknown) = ask(&mut house, 3).await;
    assert_eq!(last(&unknown), ("their-certificate failed: unknown-issuer".into(), 1010));
    stranger.end().await;

    // It is whom we expect, and trusts another authority than ours.
    let distrustful = Beyond::trusting(&border.office, &Office::of("Other authority"), PARTNER, at);
    let (_, ours) = ask(&mut house, 4).await;
    assert_eq!(last(&ours), ("our-certificate failed: peer-rejected-ours".into(), 1047));
    distrustful.end().await;

    let rude = tokio::net::TcpListener::bind(at).await.unwrap();
    house.send(test_of(5), PATIENCE).await.unwrap();
    drop(rude.accept().await.unwrap());
    let reset = Answer::of(&house.next(PATIENCE).await.unwrap());
    assert_eq!(last(&reset), ("their-certificate failed: hung-up".into(), 1046));
    drop(rude);

    // Whatever failed a moment ago: a test tries, and after it so does everybody else.
    let mut right = Beyond::start(&border.office, PARTNER, at);
    house.send(test_of(6), PATIENCE).await.unwrap();
    serve(&mut right, 404, &[]).await;
    let answer = Answer::of(&house.next(PATIENCE).await.unwrap());
    assert_eq!((last(&answer).0, answer.status), ("sip".into(), 404));
    assert_eq!(answer.number(), 1034, "a partner that refuses without a word");
    border.end().await;
    right.end().await;
}

#[tokio::test]
async fn a_test_ends_the_pause_that_requests_make_after_a_failure() {
    let at = partner_address();
    let border = Border::start(settings([allowed("contoso.com", Some(PARTNER))]), names().host(PARTNER, at.ip())).await;
    let mut house = border.insider(HOUSE).await;
    let plain = |number| request("push.example.net", "contoso.com", number);
    for number in 1..=4 {
        house.send_and_wait(plain(number), PATIENCE).await.unwrap();
    }
    let mut beyond = Beyond::start(&border.office, PARTNER, at);
    house.send(test_of(5), PATIENCE).await.unwrap();
    serve(&mut beyond, 202, &[]).await;
    assert_eq!(house.next(PATIENCE).await.unwrap().status(), Some(202));
    house.send(plain(6), PATIENCE).await.unwrap();
    serve(&mut beyond, 200, &[]).await;
    assert_eq!(house.next(PATIENCE).await.unwrap().status(), Some(200), "it need not wait");
    border.end().await;
    beyond.end().await;
}

/// Name servers that have published something since they were asked last.
struct Stale {
    before: parking_lot::Mutex<StaticResolver>,
    since: StaticResolver,
}

impl Resolver for Stale {
    fn srv<'a>(&'a self, owner: &'a str) -> Found<'a, Vec<Srv>> {
        let before = self.before.lock().clone();
        Box::pin(async move { before.srv(owner).await })
    }

    fn addresses<'a>(&'a self, host: &'a str) -> Found<'a, Addresses> {
        let before = self.before.lock().clone();
        Box::pin(async move { before.addresses(host).await })
    }

    fn afresh(&self) -> Option<Arc<dyn Resolver>> {
        Some(Arc::new(self.since.clone()))
    }

    fn forget(&self) {
        *self.before.lock() = self.since.clone();
    }
}

#[tokio::test]
async fn a_record_that_has_just_been_published_is_seen_by_the_test_and_then_by_everybody() {
    let at = partner_address();
    let since = srv(names(), "contoso.com", "sip.contoso.com", 5061).host("sip.contoso.com", at.ip());
    let stale = Arc::new(Stale { before: parking_lot::Mutex::new(names()), since });
    let border = Border::asking(settings([allowed("contoso.com", None)]), stale).await;
    let mut beyond = Beyond::start(&border.office, "contoso.com", at);
    let mut house = border.insider(HOUSE).await;
    let plain = |number| request("push.example.net", "contoso.com", number);
    let before = house.send_and_wait(plain(1), PATIENCE).await.unwrap();
    assert_eq!(told(&before), (504, None, Some("1008")), "that there is no record is kept");
    house.send(test_of(2), PATIENCE).await.unwrap();
    serve(&mut beyond, 202, &[]).await;
    assert_eq!(house.next(PATIENCE).await.unwrap().status(), Some(202));
    house.send(plain(3), PATIENCE).await.unwrap();
    serve(&mut beyond, 200, &[]).await;
    assert_eq!(house.next(PATIENCE).await.unwrap().status(), Some(200), "and is forgotten when it holds no more");
    border.end().await;
    beyond.end().await;
}

#[tokio::test]
async fn what_another_process_has_set_a_moment_ago_counts_for_the_test() {
    let at = partner_address();
    let border = Border::start(settings([]), names().host(PARTNER, at.ip())).await;
    let mut beyond = Beyond::start(&border.office, PARTNER, at);
    let mut house = border.insider(HOUSE).await;
    let plain = request("push.example.net", "contoso.com", 1);
    let before = house.send_and_wait(plain, PATIENCE).await.unwrap();
    assert_eq!(told(&before).0, 403, "nobody is allowed");
    border.change_unseen(allowed("contoso.com", Some(PARTNER)));
    house.send(test_of(2), PATIENCE).await.unwrap();
    serve(&mut beyond, 202, &[]).await;
    assert_eq!(house.next(PATIENCE).await.unwrap().status(), Some(202));
    border.end().await;
    beyond.end().await;
}

#[tokio::test]
async fn our_own_record_is_looked_at_as_well_and_ends_nothing() {
    let at = partner_address();
    let missing = || StaticResolver::new().host(PARTNER, at.ip());
    let elsewhere =
        || srv(missing(), "push.example.net", "old.push.example.net", 5061).host("old.push.example.net", at.ip());
    for (names, expected, led_to) in
        [(missing(), "own-name failed: srv-not-found", EDGE), (elsewhere(), "own-name", "old.push.example.net")]
    {
        let border = Border::start(settings([allowed("contoso.com", Some(PARTNER))]), names).await;
        let mut beyond = Beyond::start(&border.office, PARTNER, at);
        let mut house = border.insider(HOUSE).await;
        house.send(test_of(1), PATIENCE).await.unwrap();
        serve(&mut beyond, 202, &[]).await;
        let answer = Answer::of(&house.next(PATIENCE).await.unwrap());
        assert_eq!((answer.status, stages(&answer)[0].as_str()), (202, expected));
        assert_eq!(answer.told[0].name.as_deref(), Some(led_to));
        border.end().await;
        beyond.end().await;
    }
}

#[tokio::test]
async fn nobody_outside_asks_for_a_test_or_is_told_of_one() {
    let at: SocketAddr = partner_address();
    let border = Border::start(settings([allowed("contoso.com", Some(PARTNER))]), names().host(PARTNER, at.ip())).await;
    let mut partner = border.partner(PARTNER).await;
    let asked = request_with("contoso.com", "push.example.net", 1, 70, &[ASKS, (Name::ReveilleStage, "policy;us=1")]);
    partner.send(asked, PATIENCE).await.unwrap();
    let mut border = border;
    let (flow, came) = border.house.next().await;
    assert!(came.header(Name::ReveilleProbe).is_none() && came.header(Name::ReveilleStage).is_none());
    let answer = respond(&came, 202, "house", |response| {
        response.header(Name::ReveilleStage, "policy;us=1");
    });
    flow.send(answer).unwrap();
    let answer = partner.next(PATIENCE).await.unwrap();
    assert_eq!((answer.status(), answer.header(Name::ReveilleStage)), (Some(202), None));
    // An OPTIONS that goes no further is all that a test needs of us; it takes no admission.
    let mut out = bytes::BytesMut::new();
    let mut options = reveille_sip::RequestBuilder::new(&mut out, Method::Options, "sip:push.example.net");
    options
        .header(Name::Via, "SIP/2.0/TLS peer.contoso.com;branch=z9hG4bK77")
        .header(Name::MaxForwards, "0")
        .header(Name::From, "<sip:mcx@contoso.com>;tag=1")
        .header(Name::To, "<sip:push.example.net>")
        .header(Name::CallId, "o")
        .header(Name::CSeq, "1 OPTIONS")
        .finish()
        .unwrap();
    drop(options);
    assert_eq!(partner.send_and_wait(out.freeze(), PATIENCE).await.unwrap().status(), Some(200));
    assert!(border.house.saw_nothing());
    border.end().await;
}

#[tokio::test]
async fn more_tests_than_there_are_seats_are_told_to_come_again() {
    let at = partner_address();
    let border = Border::start(settings([allowed("contoso.com", Some(PARTNER))]), names().host(PARTNER, at.ip())).await;
    // It takes connections and says nothing.
    let silent = tokio::net::TcpListener::bind(at).await.unwrap();
    let mut house = border.insider(HOUSE).await;
    for number in 0..9 {
        house.send(test_of(number), PATIENCE).await.unwrap();
    }
    let answer = house.next(PATIENCE).await.unwrap();
    assert_eq!((answer.status(), answer.header(Name::RetryAfter)), (Some(480), Some("1")));
    assert!(house.next(Duration::from_millis(20)).await.is_err(), "the others wait for the partner");
    drop(silent);
    border.end().await;
}
