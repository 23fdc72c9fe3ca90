//! How many allocations there may be: in total, of one subject, and of one client address.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, Hash, RandomState},
    net::IpAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;
use turnpike_config::source_prefix;
use turnpike_proto::{RelayRefused, RelayRequest};

const STRIPES: usize = 64;

/// Counts allocations by subject, by client address and in total.
#[derive(Debug)]
pub(crate) struct Admission {
    limit: usize,
    /// 0 is no limit.
    limit_per_subject: usize,
    /// 0 is no limit.
    limit_per_ip: usize,
    allocations: AtomicUsize,
    /// Notified when the last allocation has ended.
    idle: Notify,
    subjects: Arc<Counts<Box<str>>>,
    /// By IPv4 address or IPv6 /64.
    clients: Arc<Counts<IpAddr>>,
}

/// How many there are of each key, in stripes with a lock each.
#[derive(Debug)]
struct Counts<K> {
    stripes: Box<[Mutex<HashMap<K, u32>>]>,
    hasher: RandomState,
}

/// One allocation's place on this node; free again when dropped.
#[derive(Debug)]
pub(crate) struct NodePermit(Arc<Admission>);

/// One allocation's or held port's places under its subject and its client's address; free again when dropped.
#[derive(Debug)]
pub(crate) struct SubjectPermit {
    subject: Permit<Box<str>>,
    client: Permit<IpAddr>,
}

/// One place under a key.
#[derive(Debug)]
struct Permit<K: Hash + Eq> {
    counts: Arc<Counts<K>>,
    key: K,
}

impl Admission {
    pub(crate) fn new(limit: usize, limit_per_subject: usize, limit_per_ip: usize) -> Self {
        Self {
            limit,
            limit_per_subject,
            limit_per_ip,
            allocations: AtomicUsize::new(0),
            idle: Notify::new(),
            subjects: Arc::default(),
            clients: Arc::default(),
        }
    }

    /// `None` when the node has as many allocations as it may.
    pub(crate) fn enter_node(self: &Arc<Self>) -> Option<NodePermit> {
        let one_more = |count: usize| (count < self.limit).then_some(count + 1);
        self.allocations
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more)
            .ok()
            .map(|_| NodePermit(Arc::clone(self)))
    }

    /// A place under the subject of a request, whose username may carry a limit of its own, and one under its client's
    /// address.
    ///
    /// # Errors
    /// Which of both has as many as it may.
    pub(crate) fn enter_subject(&self, request: &RelayRequest) -> Result<SubjectPermit, RelayRefused> {
        let configured = most(self.limit_per_subject);
        let limit = request.limit.map_or(configured, |own| own.min(configured));
        let subject = self.subjects.enter(&request.subject, limit).ok_or(RelayRefused::SubjectQuota)?;
        let client = source_prefix(request.client);
        let client = self.clients.enter(&client, most(self.limit_per_ip)).ok_or(RelayRefused::ClientQuota)?;
        Ok(SubjectPermit { subject, client })
    }

    /// Live allocations.
    pub(crate) fn allocations(&self) -> usize {
        self.allocations.load(Ordering::Acquire)
    }

    /// Waits until there is no allocation.
    pub(crate) async fn until_idle(&self) {
        while self.allocations() > 0 {
            self.idle.notified().await;
        }
    }
}

/// A configured limit, of which 0 is none.
fn most(limit: usize) -> u32 {
    match limit {
        0 => u32::MAX,
        limit => u32::try_from(limit).unwrap_or(u32::MAX),
    }
}

impl<K> Default for Counts<K> {
    fn default() -> Self {
        Self { stripes: (0..STRIPES).map(|_| Mutex::default()).collect(), hasher: RandomState::new() }
    }
}

impl<K: Hash + Eq + Clone> Counts<K> {
    /// `None` when there are as many of the key as there may be.
    fn enter(self: &Arc<Self>, key: &K, limit: u32) -> Option<Permit<K>> {
        let mut stripe = self.stripe(key);
        let count = stripe.get(key).copied().unwrap_or(0);
        if count >= limit {
            return None;
        }
        stripe.insert(key.clone(), count + 1);
        Some(Permit { counts: Arc::clone(self), key: key.clone() })
    }
}

impl<K: Hash + Eq> Counts<K> {
    fn stripe(&self, key: &K) -> MutexGuard<'_, HashMap<K, u32>> {
        let stripe = self.hasher.hash_one(key) as usize % STRIPES;
        self.stripes[stripe].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SubjectPermit {
    /// Whether its places are those that a request would take.
    pub(crate) fn is_of(&self, request: &RelayRequest) -> bool {
        self.subject.key == request.subject && self.client.key == source_prefix(request.client)
    }
}

impl Drop for NodePermit {
    fn drop(&mut self) {
        if self.0.allocations.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_one();
        }
    }
}

impl<K: Hash + Eq> Drop for Permit<K> {
    fn drop(&mut self) {
        let mut stripe = self.counts.stripe(&self.key);
        match stripe.get_mut(&self.key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                stripe.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use turnpike_proto::{ByFamily, PortRequest};

    use super::*;

    fn request(subject: &str, limit: Option<u32>, client: &str) -> RelayRequest {
        let client = client.parse().unwrap();
        let (credential, families) = (None, ByFamily::default());
        RelayRequest { subject: subject.into(), limit, credential, client, families, port: PortRequest::Any }
    }

    fn of_subject(subject: &str, limit: Option<u32>) -> RelayRequest {
        request(subject, limit, "192.0.2.1")
    }

    fn is_empty(admission: &Admission) -> bool {
        admission.subjects.stripes.iter().all(|counts| counts.lock().unwrap().is_empty())
            && admission.clients.stripes.iter().all(|counts| counts.lock().unwrap().is_empty())
    }

    #[test]
    fn the_lower_of_both_limits_holds_for_a_subject() {
        let admission = Admission::new(100, 3, 0);
        let enter = |subject, limit| admission.enter_subject(&of_subject(subject, limit));
        let held: Vec<_> = (0..3).map(|_| enter("a", Some(9)).unwrap()).collect();
        assert_eq!(enter("a", Some(9)).unwrap_err(), RelayRefused::SubjectQuota);
        assert!(enter("a", None).is_err());
        let one = enter("b", Some(1)).unwrap();
        assert!(enter("b", Some(1)).is_err());
        assert!(enter("c", Some(0)).is_err());
        drop((held, one));
        assert!(enter("a", Some(1)).is_ok());
        assert!(is_empty(&admission));
    }

    #[test]
    fn a_client_address_has_a_limit_of_its_own_and_an_ipv6_one_counts_by_its_64() {
        let admission = Admission::new(100, 0, 2);
        let enter = |subject: &str, client| admission.enter_subject(&request(subject, None, client));
        let held = [enter("a", "192.0.2.1").unwrap(), enter("b", "192.0.2.1").unwrap()];
        assert_eq!(enter("c", "192.0.2.1").unwrap_err(), RelayRefused::ClientQuota);
        let others = [enter("a", "192.0.2.2"), enter("a", "2001:db8::1"), enter("a", "2001:db8::ffff:1")];
        assert!(others.iter().all(Result::is_ok));
        assert_eq!(enter("d", "2001:db8::2").unwrap_err(), RelayRefused::ClientQuota);
        assert!(enter("d", "2001:db8:0:1::1").is_ok());
        drop((held, others));
        assert!(enter("c", "192.0.2.1").is_ok());
        assert!(is_empty(&admission), "a refused one keeps no place either");
    }

    #[test]
    fn zero_is_no_limit_for_a_subject_and_an_address() {
        let admission = Admission::new(1, 0, 0);
        let held: Vec<_> =
            (0..1_000).map(|_| admission.enter_subject(&of_subject("a", None)).unwrap()).collect();
        assert_eq!(held.len(), 1_000);
    }

    #[test]
    fn threads_never_hold_more_than_the_limits() {
        let admission = Arc::new(Admission::new(5, 3, 0));
        let (total, of_one) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if let Some(permit) = admission.enter_node() {
                            assert!(total.fetch_add(1, Ordering::SeqCst) < 5);
                            total.fetch_sub(1, Ordering::SeqCst);
                            drop(permit);
                        }
                        if let Ok(permit) = admission.enter_subject(&of_subject("x", None)) {
                            assert!(of_one.fetch_add(1, Ordering::SeqCst) < 3);
                            of_one.fetch_sub(1, Ordering::SeqCst);
                            drop(permit);
                        }
                    }
                });
            }
        });
        assert_eq!(admission.allocations(), 0);
        assert!(is_empty(&admission));
    }
}
