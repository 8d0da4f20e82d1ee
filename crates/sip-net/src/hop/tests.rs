//! A next hop as its pool uses it: whose turn it is, what waits, what fails, what is renewed.

use bytes::Bytes;
use reveille_sip::Side;

use super::books::UNNAMED_FOR;
use super::*;
use crate::flow::Transport;
use crate::target::Server;

fn at(last: u8) -> SocketAddr {
    ([192, 0, 2, last], 5061).into()
}

fn server(priority: u16, last: u8) -> Server {
    Server { priority, weight: 0, addresses: vec![at(last)] }
}

/// A next hop with its bounds; a flow for each connection.
struct Bench {
    hop: Hop,
    target: Target,
    limits: PoolLimits,
}

impl Bench {
    fn of(servers: Vec<Server>, change: impl FnOnce(&mut PoolLimits)) -> Self {
        let target = Target::served_by("edge.example", servers, Transport::Tls);
        let mut limits = PoolLimits::default();
        change(&mut limits);
        Self { hop: Hop::new(&target, Arc::default()), target, limits }
    }

    fn one() -> Self {
        Self::of(vec![server(0, 1)], |_| {})
    }

    fn offer(&self, number: u64) -> Next {
        self.hop.offer(parcel(number), &self.target, &self.limits)
    }

    fn offer_for(&self, affinity: u64) -> Next {
        self.hop.offer(parcel(0).with_affinity(affinity), &self.target, &self.limits)
    }

    /// A connection to 192.0.2.`last`.
    fn connect(&self, last: u8, goal: Goal) -> (Arc<Flow>, Moved) {
        let flow = Flow::carried(Transport::Tls, Side::Initiated, at(0), at(last), None, 1000);
        let moved = self.hop.connected(&flow, &Pulse::new(), goal, &self.limits);
        (flow, moved)
    }

    fn connected(&self, last: u8) -> Arc<Flow> {
        self.connect(last, Goal::Any).0
    }

    fn fail(&self, last: u8) {
        self.hop.address_failed(at(last), &refused(), &self.limits);
    }

    /// Which server the next parcel goes to.
    fn goes_to(&self) -> SocketAddr {
        match self.offer(0) {
            Next::Sent { flow, .. } => flow.remote(),
            other => panic!("{other:?}"),
        }
    }
}

fn parcel(token: u64) -> Parcel {
    Parcel::new(token, Bytes::copy_from_slice(token.to_string().as_bytes()))
}

fn sent(flow: &Flow) -> String {
    let mut chunks = VecDeque::new();
    flow.take_queued(&mut chunks);
    chunks.iter().map(|chunk| String::from_utf8_lossy(chunk).into_owned()).collect()
}

fn refused() -> ConnectError {
    ConnectError::Refused { address: at(1) }
}

#[tokio::test]
async fn the_first_parcel_asks_for_a_connection_and_all_leave_in_order_on_it() {
    let bench = Bench::one();
    assert!(matches!(bench.offer(1), Next::Waits { connect: true }));
    assert!(matches!(bench.offer(2), Next::Waits { connect: false }));
    let (flow, moved) = bench.connect(1, Goal::Any);
    assert_eq!(moved.sent, [1, 2]);
    assert!(matches!(bench.offer(3), Next::Sent { connect: Some(Goal::Any), .. }));
    assert_eq!(sent(&flow), "123");
}

#[tokio::test]
async fn a_failed_attempt_names_each_waiting_parcel_and_then_fails_fast() {
    let bench = Bench::one();
    for token in 1..=3 {
        bench.offer(token);
    }
    assert_eq!(bench.hop.attempt_failed(Goal::Any, &refused(), &bench.limits), [1, 2, 3]);
    assert!(matches!(bench.offer(4), Next::Failed(error) if error == refused()));
    let bench = Bench::of(vec![server(0, 1)], |limits| {
        (limits.failure_pause, limits.failure_pause_max) = (Duration::ZERO, Duration::ZERO);
    });
    bench.offer(1);
    bench.hop.attempt_failed(Goal::Any, &refused(), &bench.limits);
    assert!(matches!(bench.offer(2), Next::Waits { connect: true }), "the pause is over");
}

#[tokio::test]
async fn after_several_failures_one_parcel_tries_and_the_others_do_not_wait_for_it() {
    let bench = Bench::of(vec![server(0, 1)], |limits| {
        (limits.failure_pause, limits.failure_pause_max) = (Duration::ZERO, Duration::ZERO);
    });
    for token in 1..=3 {
        assert!(matches!(bench.offer(token), Next::Waits { connect: true }), "{token}");
        assert_eq!(bench.hop.attempt_failed(Goal::Any, &refused(), &bench.limits), [token]);
    }
    assert!(matches!(bench.offer(4), Next::Waits { connect: true }));
    assert!(matches!(bench.offer(5), Next::Failed(error) if error == refused()));
    let state = bench.hop.state();
    assert_eq!(state.failures.as_ref().map(|failures| failures.in_a_row), Some(3));
    assert_eq!((state.connecting, state.waiting), (true, 1));
    assert_eq!(bench.connect(1, Goal::Any).1.sent, [4]);
    assert!(matches!(bench.offer(6), Next::Sent { .. }));
}

#[tokio::test]
async fn what_waits_is_bounded_in_number_and_bytes_and_over_all_next_hops() {
    let few = Bench::of(vec![server(0, 1)], |limits| limits.waiting_max = 1);
    few.offer(1);
    assert!(matches!(few.offer(2), Next::Failed(ConnectError::TooMuchWaiting { .. })));
    let small = Bench::of(vec![server(0, 1)], |limits| limits.waiting_bytes_max = 0);
    assert!(matches!(small.offer(3), Next::Failed(ConnectError::TooMuchWaiting { .. })));
    let in_all = Arc::new(AtomicUsize::new(0));
    let mut benches = [Bench::one(), Bench::one()];
    for bench in &mut benches {
        bench.hop = Hop::new(&bench.target, in_all.clone());
        bench.limits.waiting_in_all_bytes_max = 1;
    }
    assert!(matches!(benches[0].offer(1), Next::Waits { .. }));
    assert!(matches!(benches[1].offer(2), Next::Failed(ConnectError::TooMuchWaiting { .. })));
    benches[0].hop.attempt_failed(Goal::Any, &refused(), &benches[0].limits);
    assert_eq!(in_all.load(Ordering::Relaxed), 0, "room comes back");
    assert!(matches!(benches[1].offer(3), Next::Waits { .. }));
    benches[1].connected(1);
    assert_eq!(in_all.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn connections_take_turns_and_affinity_keeps_to_one() {
    let bench = Bench::one();
    let (one, two) = (bench.connected(1), bench.connected(1));
    for token in 0..4 {
        assert!(matches!(bench.offer(token), Next::Sent { connect: None, .. }));
    }
    assert_eq!((sent(&one).len(), sent(&two).len()), (2, 2));
    for _ in 0..4 {
        bench.offer_for(77);
    }
    let lengths = [sent(&one).len(), sent(&two).len()];
    assert!(lengths.contains(&4) && lengths.contains(&0), "{lengths:?}");
    let mut chosen: Vec<_> = Vec::new();
    for affinity in 0..64 {
        if let Next::Sent { flow, .. } = bench.offer_for(affinity) {
            chosen.push(flow.id());
        }
    }
    assert!(chosen.contains(&one.id()) && chosen.contains(&two.id()), "both get a share");
}

#[tokio::test(start_paused = true)]
async fn an_address_that_is_named_no_more_is_left_though_its_connection_works() {
    let mut bench = Bench::one();
    bench.target = bench.target.clone().with_connections(1);
    bench.connected(1);
    assert!(matches!(bench.offer(0), Next::Sent { connect: None, .. }));
    bench.target = Target::served_by("edge.example", vec![server(0, 2)], Transport::Tls).with_connections(1);
    tokio::time::advance(UNNAMED_FOR / 2).await;
    assert!(matches!(bench.offer(0), Next::Sent { connect: None, .. }), "it has just been heard of");
    tokio::time::advance(UNNAMED_FOR).await;
    assert!(matches!(bench.offer(0), Next::Sent { connect: Some(Goal::Any), .. }), "what works serves meanwhile");
    assert_eq!(bench.hop.order(|_| 0), [at(2)]);
    let moved = bench.connected(2);
    assert_eq!(bench.hop.works(&moved, 1).len(), 1, "the old connection goes");
    assert_eq!(bench.goes_to(), at(2));
}

#[tokio::test]
async fn the_target_says_how_many_connections_it_may_have() {
    let mut bench = Bench::one();
    bench.target = bench.target.clone().with_connections(3);
    bench.connected(1);
    for _ in 0..2 {
        assert!(matches!(bench.offer(0), Next::Sent { connect: Some(Goal::Any), .. }));
    }
    assert!(matches!(bench.offer(0), Next::Sent { connect: None, .. }), "one is there and two are on their way");
    bench.target = bench.target.clone().with_connections(1);
    let (newest, _) = bench.connect(1, Goal::Any);
    assert_eq!(bench.hop.works(&newest, 1).len(), 1, "fewer are allowed now");
    assert_eq!(bench.hop.state().retiring, 1);
}

#[tokio::test]
async fn parcels_sent_into_silence_are_named_when_the_connection_ends() {
    let bench = Bench::one();
    bench.offer(1);
    let silent = bench.connected(1);
    bench.offer(2);
    bench.hop.retire();
    assert_eq!(bench.hop.disconnected(&silent), [1, 2], "also of one that takes nothing new");
    let heard = bench.connected(1);
    bench.offer(3);
    heard.note_heard();
    assert_eq!(bench.hop.disconnected(&heard), [0_u64; 0]);
}

#[tokio::test]
async fn an_unheard_connection_gets_its_turn_and_is_ready_once_it_has_spoken() {
    let bench = Bench::of(vec![server(0, 1)], |limits| limits.connections_per_target = 2);
    let (one, two) = (bench.connected(1), bench.connected(1));
    one.note_heard();
    let leaves = |token| match bench.hop.ready(&bench.target, &bench.limits) {
        Some(flow) => (flow.id(), "written"),
        None => match bench.offer(token) {
            Next::Sent { flow, .. } => (flow.id(), "sent"),
            other => panic!("{other:?}"),
        },
    };
    let chosen: Vec<_> = (0..4).map(leaves).collect();
    assert!(chosen.contains(&(one.id(), "written")) && chosen.contains(&(two.id(), "sent")), "{chosen:?}");
    two.note_heard();
    assert!((0..4).all(|_| bench.hop.ready(&bench.target, &bench.limits).is_some()));
}

#[tokio::test]
async fn a_closed_connection_is_passed_over() {
    let bench = Bench::one();
    let (one, two) = (bench.connected(1), bench.connected(1));
    one.close(crate::CloseReason::Idle);
    for token in 0..3 {
        bench.offer(token);
    }
    assert_eq!(sent(&two).len(), 3);
}

#[tokio::test]
async fn a_server_that_came_back_takes_over_from_its_spare() {
    let bench = Bench::of(vec![server(10, 1), server(20, 2)], |limits| {
        limits.connections_per_target = 1;
        (limits.failure_pause, limits.failure_pause_max) = (Duration::ZERO, Duration::ZERO);
    });
    bench.fail(1);
    let spare = bench.connected(2);
    let Next::Sent { connect, .. } = bench.offer(1) else { panic!("the spare is there") };
    assert_eq!(connect, Some(Goal::Probe(at(1))), "beside the spare, so that nobody waits for it");
    assert!(matches!(bench.offer(2), Next::Sent { connect: None, .. }), "one at a time");
    let (first, _) = bench.connect(1, Goal::Probe(at(1)));
    assert_eq!(bench.hop.state().connections, 2, "the spare stays until the first has spoken");
    let retired = bench.hop.works(&first, 1);
    assert_eq!(retired.iter().map(|retired| retired.flow.id()).collect::<Vec<_>>(), [spare.id()]);
    assert_eq!(bench.goes_to(), at(1));
    assert!(!spare.is_closed(), "what is under way on it may end");
    assert!(bench.hop.state().addresses.iter().all(|address| address.failures.is_none()));
}

#[tokio::test]
async fn a_probe_that_fails_disturbs_nobody() {
    let bench = Bench::of(vec![server(10, 1), server(20, 2)], |limits| limits.connections_per_target = 1);
    bench.connected(2);
    assert_eq!(bench.hop.attempt_failed(Goal::Probe(at(1)), &refused(), &bench.limits), [0_u64; 0]);
    assert_eq!(bench.goes_to(), at(2));
    assert!(bench.hop.state().failures.is_none());
}

#[tokio::test]
async fn a_server_that_is_overloaded_is_left_alone_if_there_is_another() {
    let bench = Bench::of(vec![server(10, 1), server(10, 2)], |_| {});
    let minute = Duration::from_secs(60);
    bench.connected(1);
    assert!(bench.hop.shun(at(1), &refused(), minute), "there is another");
    assert!(matches!(bench.offer(1), Next::Waits { connect: true }), "it waits for the other");
    bench.connected(2);
    for _ in 0..8 {
        assert_eq!(bench.goes_to(), at(2));
    }
    assert!(bench.hop.pass_by(at(1), &refused(), Duration::ZERO));
    assert_eq!(bench.goes_to(), at(2), "what it has asked for holds");
    assert!(bench.hop.shun(at(9), &refused(), minute), "none of its addresses");
    assert!(!bench.hop.pass_by(at(2), &refused(), minute), "nobody else is left");
    let reached: Vec<SocketAddr> = (0..16).map(|_| bench.goes_to()).collect();
    assert!(reached.contains(&at(1)) && reached.contains(&at(2)), "so both are used");
    bench.hop.shun(at(2), &refused(), Duration::ZERO);
    assert!((0..16).all(|_| bench.goes_to() == at(2)), "its rest is over");
}

#[tokio::test]
async fn an_old_connection_is_renewed_before_it_goes() {
    let bench = Bench::of(vec![server(0, 1)], |limits| {
        limits.connections_per_target = 1;
        limits.renew_after = Some(Duration::ZERO);
    });
    let old = bench.connected(1);
    assert!(matches!(bench.offer(1), Next::Sent { connect: Some(Goal::Any), .. }));
    assert!(matches!(bench.offer(2), Next::Sent { connect: None, .. }), "once");
    let (new, _) = bench.connect(1, Goal::Any);
    let retired = bench.hop.works(&new, 1);
    assert_eq!(retired.iter().map(|retired| retired.flow.id()).collect::<Vec<_>>(), [old.id()]);
    assert_eq!(bench.hop.flows().len(), 2, "it stays open until it is drained");
}

#[tokio::test]
async fn addresses_that_change_keep_the_connections() {
    let mut bench = Bench::of(vec![server(0, 1), server(0, 2)], |_| {});
    bench.fail(2);
    let flow = bench.connected(1);
    bench.target = Target::served_by("edge.example", vec![server(0, 3), server(0, 1)], Transport::Tls);
    assert!(matches!(bench.offer(1), Next::Sent { flow: on, .. } if on.id() == flow.id()));
    let addresses: Vec<_> = bench.hop.state().addresses.iter().map(|state| state.address).collect();
    assert_eq!(addresses, [at(3), at(1)]);
}
