//! The limits that allocations of one subject or one credential share, on whichever shards they live.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use turnpike_proto::{ByteQuota, LimitedCredential, Now, RelayRefused, RelayRequest, SharedBucket, Shares};

/// Most credentials with limits in their names that are remembered until they expire.
const MOST: usize = 65_536;
/// How often it is told that there are more.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// What is shared, by subject and by credential.
#[derive(Debug)]
pub(crate) struct SharesTable {
    /// Bits a second of each subject; 0 is no limit.
    bitrate_per_subject: u64,
    subjects: Mutex<HashMap<Box<str>, Arc<SharedBucket>>>,
    credentials: Mutex<Credentials>,
}

#[derive(Debug, Default)]
struct Credentials {
    accounts: HashMap<Arc<str>, Account>,
    /// The same, the soonest to expire first.
    by_expiry: BTreeSet<(u64, Arc<str>)>,
    /// Accounts that went before their time because there were too many.
    forgotten: u64,
    tell_at: Duration,
}

#[derive(Debug)]
struct Account {
    bytes: Option<Arc<ByteQuota>>,
    bitrate: Option<Arc<SharedBucket>>,
}

impl SharesTable {
    pub(crate) fn new(bitrate_per_subject: u64) -> Self {
        Self { bitrate_per_subject, subjects: Mutex::default(), credentials: Mutex::default() }
    }

    /// What a new allocation shares with others.
    ///
    /// # Errors
    /// [`RelayRefused::ByteQuota`] when its credential has no bytes left.
    pub(crate) fn of(&self, request: &RelayRequest) -> Result<Shares, RelayRefused> {
        let (credential, bytes) = match &request.credential {
            Some(credential) => lock(&self.credentials).account(credential),
            None => (None, None),
        };
        if bytes.as_ref().is_some_and(|bytes| bytes.is_spent()) {
            return Err(RelayRefused::ByteQuota);
        }
        let subject = (self.bitrate_per_subject > 0).then(|| {
            let mut subjects = lock(&self.subjects);
            let bucket = subjects
                .entry(request.subject.clone())
                .or_insert_with(|| Arc::new(SharedBucket::new(self.bitrate_per_subject)));
            Arc::clone(bucket)
        });
        Ok(Shares { subject, credential, bytes })
    }

    /// Forgets what no allocation holds and what would be the same anew.
    pub(crate) fn sweep(&self, now: Now) {
        lock(&self.subjects).retain(|_, bucket| Arc::strong_count(bucket) > 1 || !bucket.is_full(now.mono));
        lock(&self.credentials).sweep(now);
    }
}

impl Credentials {
    fn account(
        &mut self,
        credential: &LimitedCredential,
    ) -> (Option<Arc<SharedBucket>>, Option<Arc<ByteQuota>>) {
        if let Some(account) = self.accounts.get(&*credential.username) {
            return (account.bitrate.clone(), account.bytes.clone());
        }
        if self.accounts.len() >= MOST {
            self.forget_one();
        }
        let account = Account {
            bytes: credential.bytes.map(|limit| Arc::new(ByteQuota::new(limit))),
            bitrate: credential.bits_per_second.map(|rate| Arc::new(SharedBucket::new(rate))),
        };
        let shares = (account.bitrate.clone(), account.bytes.clone());
        let username = Arc::from(&*credential.username);
        self.by_expiry.insert((credential.expires_at, Arc::clone(&username)));
        self.accounts.insert(username, account);
        shares
    }

    /// The soonest to expire of those that no allocation holds. There are fewer allocations than accounts.
    fn forget_one(&mut self) {
        let idle =
            |(_, username): &&(u64, Arc<str>)| self.accounts.get(username).is_none_or(Account::is_idle);
        if let Some(soonest) = self.by_expiry.iter().find(idle).cloned() {
            self.accounts.remove(&soonest.1);
            self.by_expiry.remove(&soonest);
            self.forgotten += 1;
        }
    }

    /// An expired credential makes no allocation any more; those that live go on counting by themselves.
    fn sweep(&mut self, now: Now) {
        while self.by_expiry.first().is_some_and(|(expires_at, _)| *expires_at <= now.unix) {
            if let Some((_, username)) = self.by_expiry.pop_first() {
                self.accounts.remove(&username);
            }
        }
        if self.forgotten > 0 && now.mono >= self.tell_at {
            tracing::warn!(
                code = "credentials_full",
                forgotten = self.forgotten,
                most = MOST,
                "too many credentials with limits of bytes or bits a second are alive: what the soonest to expire have \
                 used was forgotten; a shorter auth.credential_ttl keeps them few"
            );
            self.forgotten = 0;
            self.tell_at = now.mono + TELL_EVERY;
        }
    }
}

impl Account {
    fn is_idle(&self) -> bool {
        let held = |count: Option<usize>| count.is_some_and(|count| count > 1);
        !held(self.bytes.as_ref().map(Arc::strong_count))
            && !held(self.bitrate.as_ref().map(Arc::strong_count))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use turnpike_proto::{ByFamily, PortRequest};

    use super::*;

    fn request(subject: &str, credential: Option<LimitedCredential>) -> RelayRequest {
        let client = Ipv4Addr::LOCALHOST.into();
        let (families, port) = (ByFamily::default(), PortRequest::Any);
        RelayRequest { subject: subject.into(), limit: None, credential, client, families, port }
    }

    fn limited(name: &str, expires_at: u64, bytes: u64) -> LimitedCredential {
        let username = format!("{expires_at}:{name}:b{bytes}").into();
        LimitedCredential { username, expires_at, bytes: Some(bytes), bits_per_second: None }
    }

    fn at(mono: u64, unix: u64) -> Now {
        Now { mono: Duration::from_secs(mono), unix }
    }

    fn same<T>(one: &Option<Arc<T>>, other: &Option<Arc<T>>) -> bool {
        one.as_ref().zip(other.as_ref()).is_some_and(|(one, other)| Arc::ptr_eq(one, other))
    }

    #[test]
    fn allocations_of_one_subject_share_a_bucket_while_there_are_any() {
        let table = SharesTable::new(1_000_000);
        let [one, two, other] = ["a", "a", "b"].map(|subject| table.of(&request(subject, None)).unwrap());
        assert!(same(&one.subject, &two.subject) && !same(&one.subject, &other.subject));
        table.sweep(at(1, 0));
        assert_eq!(lock(&table.subjects).len(), 2);
        drop((one, two));
        table.sweep(at(1, 0));
        assert_eq!(lock(&table.subjects).len(), 1);
        assert!(SharesTable::new(0).of(&request("a", None)).unwrap().subject.is_none());
    }

    #[test]
    fn a_credential_is_remembered_until_it_expires_and_then_only_by_its_allocations() {
        let table = SharesTable::new(0);
        let of = |bytes| table.of(&request("a", Some(limited("a", 100, bytes))));
        let (one, two, other) = (of(500).unwrap(), of(500).unwrap(), of(600).unwrap());
        assert!(
            same(&one.bytes, &two.bytes) && !same(&one.bytes, &other.bytes),
            "limits are part of the name"
        );
        drop(two);
        table.sweep(at(0, 99));
        assert!(same(&one.bytes, &of(500).unwrap().bytes));
        table.sweep(at(0, 100));
        assert!(!same(&one.bytes, &of(500).unwrap().bytes));
        assert!(matches!(of(0), Err(RelayRefused::ByteQuota)));
    }

    #[test]
    fn too_many_credentials_forget_the_soonest_to_expire_that_is_idle() {
        let table = SharesTable::new(0);
        let of =
            |nth: u64| table.of(&request("a", Some(limited(&nth.to_string(), 1_000 + nth, 500)))).unwrap();
        let first = of(0);
        for nth in 1..MOST as u64 {
            of(nth);
        }
        let second = lock(&table.credentials).accounts.contains_key("1001:1:b500");
        assert!(second);
        of(MOST as u64);
        let credentials = lock(&table.credentials);
        assert_eq!((credentials.accounts.len(), credentials.by_expiry.len()), (MOST, MOST));
        assert!(credentials.accounts.contains_key("1000:0:b500"), "an allocation holds it");
        assert!(!credentials.accounts.contains_key("1001:1:b500"));
        assert_eq!(credentials.forgotten, 1);
        drop(first);
    }
}
