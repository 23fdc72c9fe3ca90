//! One battery over both stores: a node alone in memory, and three nodes through one Redis.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use tokio_util::sync::{CancellationToken, DropGuard};
use turnpike_matching::{Event, Id, Matching, Mode, Role, Rules, Wishes};
use turnpike_signaling::store::{self, News, Place, Shared, Watch};

use crate::redis_server::Redis;

const RULES: Rules = Rules {
    widen_after: Duration::from_millis(300),
    accept_within: Duration::from_millis(1_500),
    rematch_after: Duration::from_millis(20),
};
const SOON: Duration = Duration::from_secs(30);

/// What a person was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Idle,
    Waiting,
    Found { pair: Id, role: Role, common: Vec<String> },
    Started { pair: Id, role: Role },
}

impl Told {
    fn pair(&self) -> Option<Id> {
        match self {
            Self::Found { pair, .. } | Self::Started { pair, .. } => Some(*pair),
            Self::Idle | Self::Waiting => None,
        }
    }
}

struct Node {
    start: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    matching: Matching,
    shared: Option<Shared>,
    told: HashMap<Id, Told>,
    /// Since when who waits does.
    asked: HashMap<Id, Instant>,
    /// From a join to an offer.
    waits: Vec<Duration>,
    started: usize,
}

impl Node {
    fn step<T>(&self, step: impl FnOnce(&mut Matching, Duration, &mut dyn FnMut() -> Id) -> T) -> T {
        self.with(|inner, now| step(&mut inner.matching, now, &mut random_id))
    }

    fn with<T>(&self, step: impl FnOnce(&mut Inner, Duration) -> T) -> T {
        let mut inner = self.inner.lock().unwrap();
        let inner = &mut *inner;
        let now = self.start.elapsed();
        let result = step(inner, now);
        while let Some(event) = inner.matching.poll_event() {
            inner.take_in(&event);
        }
        if let Some(shared) = &mut inner.shared {
            shared.tell(&mut inner.matching, now);
        }
        result
    }
}

impl Watch for Node {
    fn news(&self, news: News) {
        self.with(|inner, now| {
            if let Some(shared) = &mut inner.shared {
                shared.take(&mut inner.matching, now, news, &mut random_id);
            }
        });
    }

    fn took(&self, _: Duration) {}

    fn failed(&self, _: &'static str) {}
}

impl Inner {
    /// Each event must fit what the person was told before.
    fn take_in(&mut self, event: &Event) {
        let (session, next) = match event.clone() {
            Event::Waiting { session, .. } => {
                assert!(matches!(self.told[&session], Told::Idle | Told::Waiting), "{event:?}");
                (session, Told::Waiting)
            }
            Event::Found { session, pair, role, common } => {
                assert_eq!(self.told[&session], Told::Waiting, "a double pair: {event:?}");
                let partner = self.matching.membership(session).unwrap().partner;
                assert_ne!(partner, session, "a self pair");
                self.waits.extend(self.asked.remove(&session).map(|asked| asked.elapsed()));
                (session, Told::Found { pair, role, common })
            }
            Event::Started { session, pair } => {
                let Told::Found { pair: found, role, .. } = self.told[&session] else { panic!("{event:?}") };
                assert_eq!(found, pair);
                self.started += 1;
                (session, Told::Started { pair, role })
            }
            Event::Ended { session, pair, .. } => {
                assert_eq!(self.told[&session].pair(), Some(pair), "{event:?}");
                (session, Told::Idle)
            }
        };
        self.told.insert(session, next);
    }
}

fn random_id() -> Id {
    Id::new(rand::random())
}

/// People of several nodes, each at one of them.
struct World {
    nodes: Vec<Arc<Node>>,
    people: Vec<Id>,
    _stop: DropGuard,
    redis: Option<Redis>,
}

impl World {
    async fn in_memory(people: usize) -> Self {
        Self::of(1, people, None).await
    }

    async fn through_redis(people: usize) -> Self {
        Self::of(3, people, Some(Redis::start().await)).await
    }

    async fn of(count: usize, people: usize, redis: Option<Redis>) -> Self {
        let stop = CancellationToken::new();
        let mut nodes = Vec::new();
        for _ in 0..count {
            let id = random_id();
            let (shared, outgoing) = redis.as_ref().map(|_| Shared::new(id)).unzip();
            let inner = Inner {
                matching: Matching::new(RULES),
                shared,
                told: HashMap::new(),
                asked: HashMap::new(),
                waits: Vec::new(),
                started: 0,
            };
            let node = Arc::new(Node { start: Instant::now(), inner: Mutex::new(inner) });
            if let (Some(redis), Some(outgoing)) = (&redis, outgoing) {
                let place = Place::new(&redis.url(), "battery").unwrap();
                let (watch, until) = (Arc::clone(&node), stop.clone());
                tokio::spawn(async move {
                    store::run(place, id, RULES.accept_within, outgoing, &*watch, until).await;
                });
            }
            let (ticking, until) = (Arc::clone(&node), stop.clone());
            tokio::spawn(until.run_until_cancelled_owned(async move {
                loop {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    ticking.step(|m, now, mut next| m.handle_timeout(now, &mut next));
                }
            }));
            nodes.push(node);
        }
        let people: Vec<Id> = (0..people).map(|_| random_id()).collect();
        let world = Self { nodes, people, _stop: stop.drop_guard(), redis };
        if world.redis.is_some() {
            world.until("Redis is there", |world| world.nodes.iter().all(|node| node.is_up())).await;
        }
        (0..world.people.len()).for_each(|n| world.enter(n));
        world
    }

    /// The node of this person.
    fn node(&self, n: usize) -> &Node {
        &self.nodes[n % self.nodes.len()]
    }

    fn told(&self, n: usize) -> Told {
        self.node(n).inner.lock().unwrap().told[&self.people[n]].clone()
    }

    fn enter(&self, n: usize) {
        let id = self.people[n];
        self.node(n).with(|inner, _| {
            inner.matching.enter(id);
            inner.told.insert(id, Told::Idle);
        });
    }

    fn join(&self, n: usize, interests: &[&str]) {
        self.join_with(n, Wishes::new(Mode::Video, interests));
    }

    fn join_with(&self, n: usize, wishes: Wishes) {
        let id = self.people[n];
        self.node(n).with(|inner, now| {
            if inner.matching.join(now, id, wishes, &mut random_id).is_ok() {
                inner.asked.insert(id, Instant::now());
            }
        });
    }

    fn accept(&self, n: usize) {
        if let Some(pair) = self.told(n).pair() {
            let _ = self.node(n).step(|m, _, _| m.accept(self.people[n], pair));
        }
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        while !is_so(self) {
            assert!(began.elapsed() < SOON, "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until all that was said to Redis is done there.
    async fn settle(&self) {
        for node in &self.nodes {
            let flushed = node.inner.lock().unwrap().shared.as_ref().map(Shared::flush);
            if let Some(flushed) = flushed {
                let _ = tokio::time::timeout(SOON, flushed).await.expect("Redis answers");
            }
        }
    }

    /// Everybody's pair, while nothing happens.
    fn is_whole(&self) -> bool {
        let told: Vec<Told> = (0..self.people.len()).map(|n| self.told(n)).collect();
        let mut sides: HashMap<Id, Vec<&Told>> = HashMap::new();
        told.iter().for_each(|told| sides.entry(told.pair().unwrap_or(random_id())).or_default().push(told));
        sides.into_values().all(|sides| match sides[..] {
            [one] => one.pair().is_none(),
            [Told::Started { role: one, .. }, Told::Started { role: other, .. }]
            | [Told::Found { role: one, .. }, Told::Found { role: other, .. }] => one != other,
            _ => false,
        })
    }
}

impl Node {
    fn is_up(&self) -> bool {
        self.inner.lock().unwrap().shared.as_ref().is_some_and(Shared::is_up)
    }
}

/// The rules, one after another, with the same people.
async fn rules(world: &World) {
    // Whoever waits longer is the initiator, and both must accept.
    world.join(0, &[]);
    world.until("0 waits", |w| w.told(0) == Told::Waiting).await;
    world.settle().await;
    world.join(1, &[]);
    world.until("0 and 1 are found", |w| w.told(0).pair().is_some() && w.told(1).pair().is_some()).await;
    assert!(matches!(world.told(0), Told::Found { role: Role::Initiator, .. }));
    assert!(matches!(world.told(1), Told::Found { role: Role::Responder, .. }));
    world.accept(0);
    world.settle().await;
    assert!(matches!(world.told(0), Told::Found { .. }), "one consent starts nothing");
    world.accept(1);
    let started = |w: &World, n| matches!(w.told(n), Told::Started { .. });
    world.until("0 and 1 start", |w| started(w, 0) && started(w, 1)).await;

    // Interests come first, whoever waits longer without them.
    world.join(2, &[]);
    world.settle().await;
    world.join(3, &["Rust", " chess"]);
    world.settle().await;
    world.join(4, &["chess", "go"]);
    world.until("3 and 4 are found", |w| w.told(3).pair().is_some()).await;
    assert_eq!(world.told(3).pair(), world.told(4).pair());
    let Told::Found { common, .. } = world.told(4) else { panic!("{:?}", world.told(4)) };
    assert_eq!(common, ["chess"]);
    // Who leaves an offer lets the other one wait again, at its place.
    world.node(3).step(|m, now, mut next| m.leave(now, world.people[3], &mut next));
    world
        .until("4 waits again, widens, and finds 2", |w| {
            w.told(4).pair().is_some() && w.told(4).pair() == w.told(2).pair()
        })
        .await;
    world.accept(2);
    world.accept(4);
    world.until("2 and 4 start", |w| started(w, 2) && started(w, 4)).await;

    // Video meets no text.
    world.join(3, &[]);
    world.join_with(5, Wishes::new(Mode::Text, [""; 0]));
    world.settle().await;
    world.join_with(0, Wishes::new(Mode::Text, [""; 0]));
    assert!(started(world, 0), "a join within a pair changes nothing");
    // The end of a pair reaches the other side; next joins again in one step.
    let pair = world.told(1).pair().unwrap();
    world.node(1).step(|m, now, mut next| m.next(now, world.people[1], pair, None, &mut next)).unwrap();
    world.until("0 is alone", |w| w.told(0) == Told::Idle).await;
    world.until("1 finds 3", |w| w.told(1).pair().is_some() && w.told(1).pair() == w.told(3).pair()).await;
    assert_eq!(world.told(5), Told::Waiting);
    // Nobody who leaves takes others out of the queue with it.
    world.join_with(0, Wishes::new(Mode::Text, [""; 0]));
    world.until("0 and 5 are found", |w| w.told(0).pair().is_some() && w.told(5).pair().is_some()).await;
    // Nobody accepts: both sides are free again.
    world.until("the offers end", |w| w.told(0) == Told::Idle && w.told(5) == Told::Idle).await;
    world.settle().await;
    assert!(world.is_whole());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rules_of_meeting_hold_in_memory() {
    rules(&World::in_memory(6).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rules_of_meeting_hold_through_redis() {
    rules(&World::through_redis(6).await).await;
}

fn wishes(random: &mut SmallRng) -> Wishes {
    let mode = if random.random_ratio(1, 4) { Mode::Text } else { Mode::Video };
    let count = random.random_range(0..4);
    Wishes::new(mode, (0..count).map(|_| format!("i{}", random.random_range(0..12))))
}

fn random_step(world: &World, random: &mut SmallRng) {
    let n = random.random_range(0..world.people.len());
    let (id, told) = (world.people[n], world.told(n));
    let node = world.node(n);
    match (random.random_range(0..20), told) {
        (0..=12, Told::Found { .. }) => world.accept(n),
        (0..=9, Told::Idle | Told::Waiting) => world.join_with(n, wishes(random)),
        (0..=2, Told::Started { pair, .. }) => {
            let _ = node.step(|m, now, mut next| m.next(now, id, pair, None, &mut next));
        }
        (3..=4, Told::Started { pair, .. }) => {
            let _ = node.step(|m, now, mut next| m.leave_pair(now, id, pair, &mut next));
        }
        (13..=15, Told::Waiting) => node.with(|inner, now| {
            if inner.matching.leave(now, id, &mut random_id) == turnpike_matching::Left::Queue {
                inner.told.insert(id, Told::Idle);
            }
        }),
        (16, _) => node.with(|inner, now| {
            inner.matching.exit(now, id, &mut random_id);
            while let Some(event) = inner.matching.poll_event() {
                inner.take_in(&event);
            }
            inner.matching.enter(id);
            inner.told.insert(id, Told::Idle);
        }),
        (17, _) => {
            node.step(|m, now, mut next| m.away(now, id, &mut next));
            node.step(|m, now, mut next| m.back(now, id, &mut next));
        }
        _ => {}
    }
}

/// Steps at random, and in the end nobody is in half a pair, and whoever can meet has met.
async fn churn(world: &World, steps: usize, disturb: impl AsyncFn(usize)) {
    let mut random = SmallRng::seed_from_u64(7);
    let began = Instant::now();
    for step in 0..steps {
        random_step(world, &mut random);
        if step % 64 == 0 {
            disturb(step).await;
            if world.nodes.iter().all(|node| node.is_up()) {
                world.settle().await;
            }
            tokio::task::yield_now().await;
        }
    }
    let took = began.elapsed();
    // Everybody accepts from now on, and who is idle stays so.
    let waits = |world: &World| (0..world.people.len()).filter(|n| world.told(*n) == Told::Waiting).count();
    let settling = Instant::now();
    loop {
        (0..world.people.len()).for_each(|n| world.accept(n));
        let offered = (0..world.people.len()).any(|n| matches!(world.told(n), Told::Found { .. }));
        if !offered && waits(world) <= 2 && world.is_whole() {
            break;
        }
        let told: Vec<Told> = (0..world.people.len()).map(|n| world.told(n)).collect();
        assert!(settling.elapsed() < SOON, "half pairs, or people who could meet wait: {told:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut found: Vec<Duration> = Vec::new();
    let mut started = 0;
    for node in &world.nodes {
        let mut inner = node.inner.lock().unwrap();
        found.append(&mut inner.waits);
        started += inner.started;
    }
    found.sort_unstable();
    assert!(started > steps / 100, "{started} of {steps} steps started a pair");
    println!(
        "{} nodes, {steps} steps in {took:.1?}: {} offers, {started} starts; settled in {:.1?}",
        world.nodes.len(),
        found.len(),
        settling.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn churn_in_memory_makes_no_double_half_or_self_pair_and_loses_nobody() {
    churn(&World::in_memory(60).await, 20_000, async |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn churn_through_redis_makes_no_double_half_or_self_pair_and_loses_nobody() {
    churn(&World::through_redis(60).await, 20_000, async |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a million steps: make soak"]
async fn soak_a_million_steps_through_redis_and_in_memory() {
    churn(&World::in_memory(300).await, 1_000_000, async |_| {}).await;
    churn(&World::through_redis(300).await, 1_000_000, async |_| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn churn_goes_on_while_redis_is_paused_and_is_whole_afterwards() {
    let world = World::through_redis(60).await;
    let redis = world.redis.as_ref().unwrap();
    churn(&world, 6_000, async |step| {
        match step {
            1_984 => redis.pause(),
            // Offers that wait for the other node end, and people of one node meet.
            2_048 => {
                world.until("it is missed", |world| world.nodes.iter().all(|node| !node.is_up())).await;
            }
            4_032 => {
                redis.go_on();
                world.until("it is back", |world| world.nodes.iter().all(|node| node.is_up())).await;
            }
            _ => {}
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waits_with_somebody_to_meet_meets_within_100_ms_through_redis() {
    let world = World::through_redis(120).await;
    // One after another, so that each pair of joins is a wait of its own.
    for n in (0..world.people.len()).step_by(2) {
        world.join(n, &[]);
        world.settle().await;
        world.node(n).with(|inner, _| inner.asked.clear());
        world.join(n + 1, &[]);
        world.until("they are found", |w| w.told(n).pair().is_some() && w.told(n + 1).pair().is_some()).await;
        for side in [n, n + 1] {
            world.accept(side);
        }
        world.until("they start", |w| matches!(w.told(n), Told::Started { .. })).await;
    }
    let mut waits: Vec<Duration> =
        world.nodes.iter().flat_map(|node| std::mem::take(&mut node.inner.lock().unwrap().waits)).collect();
    waits.sort_unstable();
    let p99 = waits[waits.len() * 99 / 100];
    println!("join to found through Redis: p50 {:?}, p99 {p99:?} of {}", waits[waits.len() / 2], waits.len());
    assert!(waits.len() >= 60 && waits[waits.len() / 2] <= Duration::from_millis(100), "{waits:?}");
}
