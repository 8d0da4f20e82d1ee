//! The feedback outbox against an edge of our own making, over mutual TLS: what homes hear, in which order, and who
//! waits for whom.

use reveille_federation::feedback::{Feedback, FeedbackVerdict, read_body};
use reveille_federation::message;
use reveille_sim::office::Office;
use reveille_sip::{Message, Name};
use reveille_sip_net::{
    ClientAuth, CloseReason, Flow, Handler, ListenLimits, Listener, Pool, PoolLimits, Requests, Target, Transport,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::feedback::{Federation, Outbox};

const EDGE: &str = "edge.push.example.net";
/// As good as the status of a home that never answers.
const SILENCE: u16 = 0;

/// The publisher's edge, and all homes behind it: each takes what it believes.
struct Homes {
    /// What is answered on the way to a home, with a diagnosis, instead of its own answer.
    moods: Mutex<HashMap<String, u16>>,
    /// Pushes that no home believes in: its own 403 has no diagnosis.
    disbelieved: Mutex<Vec<PushId>>,
    /// In whose name each MESSAGE came.
    names: Mutex<Vec<String>>,
    heard: mpsc::UnboundedSender<(String, Feedback)>,
}

impl Handler for Homes {
    fn messages(&self, flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        for message in batch.drain(..) {
            let home = message::destination(&message).unwrap().to_string();
            self.names.lock().push(message::from_domain(&message).unwrap().to_string());
            let feedback = read_body(message.body_bytes()).unwrap();
            let disbelieved = self.disbelieved.lock();
            let believed = !feedback.items.iter().any(|item| disbelieved.contains(&item.push));
            match self.moods.lock().get(&home) {
                Some(&SILENCE) => {}
                Some(&status) => {
                    let refused = message::respond(&message, status, "edge", |response| {
                        response.header(Name::MsDiagnostics, "90103;reason=\"not today\"");
                    });
                    flow.send(refused).unwrap();
                }
                None => {
                    let status = if believed { 200 } else { 403 };
                    flow.send(message::respond(&message, status, "home", |_| {})).unwrap();
                }
            }
            self.heard.send((home, feedback)).unwrap();
        }
    }
}

/// Takes the answers.
struct Ear(Arc<Requests>);

impl Handler for Ear {
    fn messages(&self, _flow: &Arc<Flow>, batch: &mut Vec<Message>) {
        batch.drain(..).for_each(|message| self.0.on_response(message));
    }

    fn closed(&self, flow: &Arc<Flow>, _why: &CloseReason) {
        self.0.flow_gone(flow.id());
    }
}

/// A house whose outbox runs.
struct Reporting {
    house: House,
    homes: Arc<Homes>,
    heard: mpsc::UnboundedReceiver<(String, Feedback)>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Reporting {
    async fn start() -> Self {
        Self::over(House::new().await)
    }

    fn over(house: House) -> Self {
        let office = Office::open();
        let (at, server) = (([127, 0, 0, 1], 0).into(), office.server(EDGE, ClientAuth::Required));
        let listener = Listener::tls(at, server, ListenLimits::default()).unwrap();
        let edge = Target::at(EDGE, listener.local_addr(), Transport::Tls);
        let (told, heard) = mpsc::unbounded_channel();
        let (moods, disbelieved, names) = <(Mutex<_>, Mutex<_>, Mutex<_>)>::default();
        let homes = Arc::new(Homes { moods, disbelieved, names, heard: told });
        let stop = CancellationToken::new();
        let requests = Requests::new();
        let client = Arc::new(office.client("house.push.example.net"));
        let pool = Pool::new(
            Arc::new(Ear(Arc::clone(&requests))),
            Arc::clone(&requests) as _,
            Some(client),
            None,
            PoolLimits::default(),
            stop.clone(),
        );
        let (name, domain) = (domain("house.push.example.net"), domain("push.example.net"));
        let road = Arc::new(Federation { requests, pool: pool.clone(), edge, name, domain });
        let (journal, clock) = (Arc::clone(&house.journal) as _, Arc::new(house.clock.clone()));
        let outbox = Outbox::new(journal, clock, Arc::clone(&house.feedback), road);
        let finish = async move { pool.finish().await };
        let (edge_stop, outbox_stop, pool_stop) = (stop.clone(), stop.clone(), stop.clone());
        let tasks = vec![
            tokio::spawn(listener.run(Arc::clone(&homes) as _, edge_stop)),
            tokio::spawn(outbox.run(outbox_stop)),
            tokio::spawn(async move {
                pool_stop.cancelled().await;
                finish.await;
            }),
        ];
        Self { house, homes, heard, stop, tasks }
    }

    fn mood(&self, home: &str, status: u16) {
        self.homes.moods.lock().insert(home.into(), status);
    }

    fn good_mood(&self, home: &str) {
        self.homes.moods.lock().remove(home);
    }

    /// The journal comes to owe feedback about these pushes, and the outbox is woken.
    async fn owe(&self, home: &str, pushes: impl IntoIterator<Item = u128>) {
        self.owe_as("push.example.net", home, pushes).await;
    }

    /// The same for pushes that were sent to that domain.
    async fn owe_as(&self, asked: &str, home: &str, pushes: impl IntoIterator<Item = u128>) {
        let item = |number| FeedbackItem {
            push: id(number),
            identity: IdentityId::from_u128(number),
            token_generation: 0,
            verdict: "state".into(),
            reason: "expired".into(),
            provider_time: None,
            at: self.house.now(),
        };
        let items = pushes.into_iter().map(item).collect();
        wait(|done| self.house.journal.owe_feedback(domain(home), domain(asked), items, done)).await.unwrap();
        self.house.feedback.notify_one();
    }

    /// What the next MESSAGE brought, and to whom.
    async fn heard(&mut self) -> (String, Vec<PushId>) {
        let (home, feedback) = timeout(PATIENCE, self.heard.recv()).await.expect("feedback in time").unwrap();
        (home, feedback.items.iter().map(|item| item.push).collect())
    }

    /// Waits until what is owed is as it should be.
    async fn until(&self, what: &str, holds: impl Fn(&[OwedFeedback]) -> bool) {
        let waiting = async {
            while !holds(&self.house.owed()) {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, waiting).await.expect(what);
    }

    async fn end(self) {
        self.stop.cancel();
        for task in self.tasks {
            timeout(PATIENCE, task).await.expect("it stops").unwrap();
        }
    }
}

#[tokio::test]
async fn home_hears_from_the_name_that_it_asked_and_in_order() {
    let mut reporting = Reporting::start().await;
    reporting.owe("contoso.com", [1, 2]).await;
    reporting.owe_as("push.lync.com", "contoso.com", [3]).await;
    reporting.owe("contoso.com", [4]).await;
    reporting.until("all is taken", <[_]>::is_empty).await;
    let mut last = (String::new(), 0);
    while let Ok((_, feedback)) = reporting.heard.try_recv() {
        last = (reporting.homes.names.lock().remove(0), feedback.items.last().unwrap().push.to_u128());
        let expected = if last.1 == 3 { "push.lync.com" } else { "push.example.net" };
        assert_eq!(last.0, expected, "push {}", last.1);
    }
    assert_eq!(last.1, 4);
    reporting.end().await;
}

#[tokio::test]
async fn a_verdict_travels_home_from_the_publisher_with_all_that_it_says() {
    let mut reporting = Reporting::start().await;
    let house = &reporting.house;
    house.submit("contoso.com", &[message(1)]).await.unwrap();
    let since = Some(Timestamp::from_millis(NOON + 5));
    house.answer(house.messages.keys()[0], Verdict::Forget { reason: "Unregistered".into(), since }).await;
    let (home, feedback) = timeout(PATIENCE, reporting.heard.recv()).await.unwrap().unwrap();
    assert_eq!((home.as_str(), feedback.items.len()), ("contoso.com", 1));
    let item = &feedback.items[0];
    assert_eq!((item.push, item.identity, item.verdict), (id(1), message(1).identity, FeedbackVerdict::Forget));
    assert_eq!((&*item.reason, item.provider_time), ("Unregistered", since));
    reporting.until("what was taken is owed no more", <[_]>::is_empty).await;
    reporting.end().await;
}

#[tokio::test]
async fn each_home_hears_its_own_in_order() {
    let mut reporting = Reporting::start().await;
    reporting.owe("contoso.com", 1..=3).await;
    assert_eq!(reporting.heard().await, ("contoso.com".into(), vec![id(1), id(2), id(3)]));
    reporting.owe("fabrikam.com", [4]).await;
    assert_eq!(reporting.heard().await, ("fabrikam.com".into(), vec![id(4)]));
    reporting.owe("contoso.com", [5]).await;
    assert_eq!(reporting.heard().await, ("contoso.com".into(), vec![id(5)]));
    reporting.until("everything was taken", <[_]>::is_empty).await;
    reporting.end().await;
}

#[tokio::test]
async fn what_a_home_cannot_take_is_told_again_later_and_nothing_overtakes_it() {
    let mut reporting = Reporting::start().await;
    reporting.mood("contoso.com", 503);
    reporting.owe("contoso.com", [1]).await;
    assert_eq!(reporting.heard().await, ("contoso.com".into(), vec![id(1)]));
    reporting.until("it is put off", |owed| owed.iter().any(|owed| owed.attempt == 1)).await;
    assert!(reporting.house.owed()[0].due > reporting.house.now());
    reporting.good_mood("contoso.com");
    // Newer feedback does not go ahead of it; fabrikam's is a sign that the outbox has looked.
    reporting.owe("contoso.com", [2]).await;
    reporting.owe("fabrikam.com", [3]).await;
    assert_eq!(reporting.heard().await, ("fabrikam.com".into(), vec![id(3)]));
    reporting.house.clock.turn(Duration::from_secs(600));
    reporting.house.feedback.notify_one();
    assert_eq!(reporting.heard().await, ("contoso.com".into(), vec![id(1), id(2)]));
    reporting.until("everything was taken", <[_]>::is_empty).await;
    reporting.end().await;
}

#[tokio::test]
async fn feedback_that_was_put_off_is_told_when_the_clock_is_set_back_by_hours() {
    let mut reporting = Reporting::start().await;
    reporting.mood("contoso.com", 503);
    reporting.owe("contoso.com", [1]).await;
    assert_eq!(reporting.heard().await, ("contoso.com".into(), vec![id(1)]));
    reporting.until("it is put off", |owed| owed.iter().any(|owed| owed.attempt == 1)).await;
    reporting.good_mood("contoso.com");
    reporting.house.clock.turn_back(Duration::from_secs(3 * 3600));
    reporting.house.feedback.notify_one();
    assert_eq!(reporting.heard().await, ("contoso.com".into(), vec![id(1)]));
    reporting.until("it was taken", <[_]>::is_empty).await;
    reporting.end().await;
}

#[tokio::test]
async fn a_home_behind_an_edge_that_refuses_holds_up_no_other_and_loses_nothing() {
    let mut reporting = Reporting::start().await;
    reporting.mood("contoso.com", 403);
    reporting.owe("contoso.com", [1]).await;
    reporting.owe("fabrikam.com", [2]).await;
    let mut heard = [reporting.heard().await, reporting.heard().await];
    heard.sort();
    assert_eq!(heard, [("contoso.com".into(), vec![id(1)]), ("fabrikam.com".into(), vec![id(2)])]);
    reporting.until("only contoso's is kept", |owed| owed.len() == 1 && owed[0].attempt == 1).await;
    assert_eq!(reporting.house.owed()[0].origin, domain("contoso.com"));
    reporting.end().await;
}

#[tokio::test]
async fn what_a_home_does_not_believe_is_given_up_and_holds_up_nothing_else() {
    let mut reporting = Reporting::start().await;
    reporting.homes.disbelieved.lock().push(id(3));
    reporting.owe("contoso.com", 1..=5).await;
    let mut taken = Vec::new();
    while taken.len() < 4 {
        let (_, pushes) = reporting.heard().await;
        if !pushes.contains(&id(3)) {
            taken.extend(pushes);
        }
    }
    assert_eq!(taken, [1, 2, 4, 5].map(id));
    reporting.until("nothing is kept for ever", <[_]>::is_empty).await;
    reporting.end().await;
}

#[tokio::test]
async fn a_home_that_does_not_answer_holds_up_no_other() {
    let mut reporting = Reporting::start().await;
    reporting.mood("contoso.com", SILENCE);
    reporting.owe("contoso.com", [1]).await;
    assert_eq!(reporting.heard().await, ("contoso.com".into(), vec![id(1)]));
    // contoso has 20 s to answer; fabrikam's feedback comes up meanwhile.
    reporting.owe("fabrikam.com", [2]).await;
    let heard = timeout(Duration::from_secs(10), reporting.heard()).await.expect("while contoso is silent");
    assert_eq!(heard, ("fabrikam.com".into(), vec![id(2)]));
    assert!(reporting.house.owed().iter().any(|owed| owed.origin == domain("contoso.com")));
    reporting.end().await;
}

#[tokio::test]
async fn what_a_home_has_taken_and_the_disk_has_not_noted_is_said_again_in_order_after_a_crash() {
    let mut reporting = Reporting::start().await;
    // What was taken is never noted: the process ends before.
    reporting.house.journal.refuse("told", disk_full());
    reporting.owe("contoso.com", 1..=3).await;
    assert_eq!(reporting.heard().await, ("contoso.com".into(), vec![id(1), id(2), id(3)]));
    reporting.owe("contoso.com", [4]).await;
    reporting.stop.cancel();
    for task in std::mem::take(&mut reporting.tasks) {
        task.abort();
        let _ = task.await;
    }
    let Reporting { house, .. } = reporting;
    let mut reporting = Reporting::over(house.restarted().await);
    assert_eq!(reporting.heard().await, ("contoso.com".into(), vec![id(1), id(2), id(3), id(4)]));
    reporting.until("everything was taken", <[_]>::is_empty).await;
    reporting.end().await;
}

#[tokio::test]
async fn the_trace_tells_when_a_home_has_heard_and_when_it_did_not_believe() {
    let reporting = Reporting::start().await;
    let house = &reporting.house;
    reporting.homes.disbelieved.lock().push(id(2));
    house.submit("contoso.com", &[message(1), message(2), message(3)]).await.unwrap();
    for at in 0..2 {
        let wrong = Verdict::Reject { reason: "PayloadTooLarge".into() };
        house.answer(house.messages.keys()[at], wrong).await;
        reporting.until("it is taken or given up", <[_]>::is_empty).await;
    }
    house.answer(house.messages.keys()[2], Verdict::Accepted).await;
    let steps = |number| {
        let traced = house.journal.trace(&domain("contoso.com"), id(number)).unwrap().expect("it is known");
        traced.steps().into_iter().map(|(step, at)| (step.as_str(), at)).collect::<Vec<_>>()
    };
    let now = house.now();
    let ended = ["journaled", "not-pushed", "feedback-owed"].map(|step| (step, now));
    assert_eq!(steps(1), [&ended[..], &[("feedback-delivered", now)]].concat());
    assert_eq!(steps(2), [&ended[..], &[("feedback-given-up", now)]].concat());
    assert_eq!(steps(3), ["journaled", "accepted"].map(|step| (step, now)));
    reporting.end().await;
}

#[tokio::test]
async fn much_feedback_leaves_without_pauses() {
    let mut reporting = Reporting::start().await;
    reporting.owe("contoso.com", 1..=640).await;
    let everything = async {
        let mut pushes = Vec::new();
        while pushes.len() < 640 {
            let (_, some) = reporting.heard().await;
            assert!(some.len() <= 64);
            pushes.extend(some);
        }
        pushes
    };
    // Ten MESSAGEs; a look around every two seconds alone would take eighteen.
    let pushes = timeout(Duration::from_secs(9), everything).await.expect("one MESSAGE after the other");
    assert_eq!(pushes, (1..=640).map(id).collect::<Vec<_>>());
    reporting.end().await;
}
