//! How many allocations there may be: in total, and of one subject.

use std::{
    collections::HashMap,
    hash::{BuildHasher as _, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

const STRIPES: usize = 64;

type Counts = HashMap<Box<str>, u32>;

/// Counts allocations by subject and in total.
#[derive(Debug)]
pub(crate) struct Admission {
    limit: usize,
    /// 0 is no limit.
    limit_per_subject: usize,
    allocations: AtomicUsize,
    /// Notified when the last allocation has ended.
    idle: Notify,
    subjects: Box<[Mutex<Counts>]>,
    hasher: RandomState,
}

/// One allocation's place on this node; free again when dropped.
#[derive(Debug)]
pub(crate) struct NodePermit(Arc<Admission>);

/// One allocation's or held port's place under its subject; free again when dropped.
#[derive(Debug)]
pub(crate) struct SubjectPermit {
    admission: Arc<Admission>,
    subject: Box<str>,
}

impl Admission {
    pub(crate) fn new(limit: usize, limit_per_subject: usize) -> Self {
        Self {
            limit,
            limit_per_subject,
            allocations: AtomicUsize::new(0),
            idle: Notify::new(),
            subjects: (0..STRIPES).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
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

    /// `None` when the subject has as many as it may; `own_limit` is the one signed into its username.
    pub(crate) fn enter_subject(
        self: &Arc<Self>,
        subject: &str,
        own_limit: Option<u32>,
    ) -> Option<SubjectPermit> {
        let configured = match self.limit_per_subject {
            0 => u32::MAX,
            limit => u32::try_from(limit).unwrap_or(u32::MAX),
        };
        let limit = own_limit.map_or(configured, |own| own.min(configured));
        let mut counts = self.stripe(subject);
        let count = counts.get(subject).copied().unwrap_or(0);
        if count >= limit {
            return None;
        }
        counts.insert(subject.into(), count + 1);
        Some(SubjectPermit { admission: Arc::clone(self), subject: subject.into() })
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

    fn stripe(&self, subject: &str) -> MutexGuard<'_, Counts> {
        let stripe = self.hasher.hash_one(subject) as usize % STRIPES;
        self.subjects[stripe].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SubjectPermit {
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }
}

impl Drop for NodePermit {
    fn drop(&mut self) {
        if self.0.allocations.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.idle.notify_one();
        }
    }
}

impl Drop for SubjectPermit {
    fn drop(&mut self) {
        let mut counts = self.admission.stripe(&self.subject);
        match counts.get_mut(&self.subject) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                counts.remove(&self.subject);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn the_lower_of_both_limits_holds_for_a_subject() {
        let admission = Arc::new(Admission::new(100, 3));
        let held: Vec<_> = (0..3).map(|_| admission.enter_subject("a", Some(9)).unwrap()).collect();
        assert!(admission.enter_subject("a", Some(9)).is_none());
        assert!(admission.enter_subject("a", None).is_none());
        let one = admission.enter_subject("b", Some(1)).unwrap();
        assert!(admission.enter_subject("b", Some(1)).is_none());
        assert!(admission.enter_subject("c", Some(0)).is_none());
        drop((held, one));
        assert!(admission.enter_subject("a", Some(1)).is_some());
        assert!(admission.subjects.iter().all(|counts| counts.lock().unwrap().is_empty()));
    }

    #[test]
    fn zero_is_no_limit_for_a_subject() {
        let admission = Arc::new(Admission::new(1, 0));
        let held: Vec<_> = (0..1_000).map(|_| admission.enter_subject("a", None).unwrap()).collect();
        assert_eq!(held.len(), 1_000);
    }

    #[test]
    fn threads_never_hold_more_than_the_limits() {
        let admission = Arc::new(Admission::new(5, 3));
        let (total, of_subject) = (AtomicUsize::new(0), AtomicUsize::new(0));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20_000 {
                        if let Some(permit) = admission.enter_node() {
                            assert!(total.fetch_add(1, Ordering::SeqCst) < 5);
                            total.fetch_sub(1, Ordering::SeqCst);
                            drop(permit);
                        }
                        if let Some(permit) = admission.enter_subject("x", None) {
                            assert!(of_subject.fetch_add(1, Ordering::SeqCst) < 3);
                            of_subject.fetch_sub(1, Ordering::SeqCst);
                            drop(permit);
                        }
                    }
                });
            }
        });
        assert_eq!(admission.allocations(), 0);
        assert!(admission.subjects.iter().all(|counts| counts.lock().unwrap().is_empty()));
    }
}
