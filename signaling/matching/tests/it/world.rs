//! A matching in virtual time, with what its events say about everybody.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use turnpike_matching::{Ended, Event, Id, Matching, Mode, Role, Rules, Wishes};

pub const RULES: Rules = Rules {
    widen_after: Duration::from_secs(8),
    accept_within: Duration::from_secs(3),
    rematch_after: Duration::from_secs(300),
};

/// What the events have told a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    Idle,
    Waiting { widened: bool },
    Found { pair: Id, role: Role, common: Vec<String> },
    Started { pair: Id, role: Role },
}

pub struct World {
    pub matching: Matching,
    pub now: Duration,
    pub told: HashMap<Id, Told>,
    pub log: Vec<Event>,
    pub away: HashSet<Id>,
    pub pairs: u64,
}

pub fn id(n: u8) -> Id {
    Id::new([n; 16])
}

pub fn video(interests: &[&str]) -> Wishes {
    Wishes::new(Mode::Video, interests)
}

impl World {
    pub fn new() -> Self {
        Self {
            matching: Matching::new(RULES),
            now: Duration::from_secs(100),
            told: HashMap::new(),
            log: Vec::new(),
            away: HashSet::new(),
            pairs: 0,
        }
    }

    /// Does a step and takes in its events; each must fit what the session was told before.
    pub fn step<T>(&mut self, step: impl FnOnce(&mut Matching, Duration, &mut dyn FnMut() -> Id) -> T) -> T {
        let pairs = &mut self.pairs;
        let mut next_pair = || {
            *pairs += 1;
            Id::new((u128::from(*pairs) << 64).to_be_bytes())
        };
        let result = step(&mut self.matching, self.now, &mut next_pair);
        while let Some(event) = self.matching.poll_event() {
            self.take_in(event);
        }
        result
    }

    pub fn enter(&mut self, n: u8) {
        self.step(|m, _, _| m.enter(id(n)));
        self.told.insert(id(n), Told::Idle);
    }

    pub fn join(&mut self, n: u8, wishes: Wishes) {
        if !self.told.contains_key(&id(n)) {
            self.enter(n);
        }
        self.step(|m, now, mut next| m.join(now, id(n), wishes, &mut next)).unwrap();
    }

    pub fn accept(&mut self, n: u8) {
        let Told::Found { pair, .. } = self.told[&id(n)] else { panic!("{n} was offered nothing") };
        self.step(|m, _, _| m.accept(id(n), pair)).unwrap();
    }

    /// Two meet and accept.
    pub fn meet(&mut self, one: u8, other: u8) -> Id {
        self.join(one, video(&[]));
        self.join(other, video(&[]));
        self.accept(one);
        self.accept(other);
        self.pair_of(one).unwrap()
    }

    pub fn away(&mut self, n: u8) {
        self.step(|m, now, mut next| m.away(now, id(n), &mut next));
        self.away.insert(id(n));
    }

    pub fn back(&mut self, n: u8) {
        self.away.remove(&id(n));
        self.step(|m, now, mut next| m.back(now, id(n), &mut next));
    }

    pub fn pass(&mut self, seconds: f64) {
        self.now += Duration::from_secs_f64(seconds);
        self.step(|m, now, mut next| m.handle_timeout(now, &mut next));
    }

    pub fn pair_of(&self, n: u8) -> Option<Id> {
        match self.told[&id(n)] {
            Told::Found { pair, .. } | Told::Started { pair, .. } => Some(pair),
            Told::Idle | Told::Waiting { .. } => None,
        }
    }

    pub fn is_waiting(&self, n: u8) -> bool {
        matches!(self.told[&id(n)], Told::Waiting { .. })
    }

    /// Why the last pair of a session ended.
    pub fn ended(&self, n: u8) -> Option<Ended> {
        self.log.iter().rev().find_map(|event| match event {
            Event::Ended { session, reason, .. } if *session == id(n) => Some(*reason),
            _ => None,
        })
    }

    fn take_in(&mut self, event: Event) {
        let (session, next) = match &event {
            Event::Waiting { session, widened, .. } => {
                assert!(matches!(self.told[session], Told::Idle | Told::Waiting { .. }), "{event:?}");
                (*session, Told::Waiting { widened: *widened })
            }
            Event::Found { session, pair, role, common } => {
                assert!(matches!(self.told[session], Told::Waiting { .. }), "{event:?}");
                (*session, Told::Found { pair: *pair, role: *role, common: common.clone() })
            }
            Event::Started { session, pair } => {
                let Told::Found { pair: found, role, .. } = self.told[session] else { panic!("{event:?}") };
                assert_eq!(found, *pair);
                (*session, Told::Started { pair: *pair, role })
            }
            Event::Ended { session, pair, started, .. } => {
                match self.told[session] {
                    Told::Found { pair: found, .. } => assert!(found == *pair && !started),
                    Told::Started { pair: found, .. } => assert!(found == *pair && *started),
                    _ => panic!("{event:?}: ended twice"),
                }
                (*session, Told::Idle)
            }
        };
        let reached = matches!(event, Event::Found { .. } | Event::Started { .. });
        assert!(!(reached && self.away.contains(&session)), "a ghost: {event:?}");
        self.told.insert(session, next);
        self.log.push(event);
    }
}
