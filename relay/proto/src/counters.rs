//! What the core counts, by closed sets of labels.

use std::marker::PhantomData;

use turnpike_relay_api::admin::Flow;

use crate::{Transport, policy::Denied};

/// A closed set of label values.
pub trait Label: Copy + 'static {
    /// Every value, in the order of [`Label::index`].
    const ALL: &'static [Self];
    /// The place in [`Label::ALL`].
    fn index(self) -> usize;
    /// The value of the label in metrics.
    fn name(self) -> &'static str;
}

macro_rules! labels {
    ($(#[$meta:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident => $label:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $crate::counters::Label for $name {
            const ALL: &'static [Self] = &[$(Self::$variant,)+];
            fn index(self) -> usize { self as usize }
            fn name(self) -> &'static str { match self { $(Self::$variant => $label,)+ } }
        }
    };
}
pub(crate) use labels;

labels! {
    /// Why a datagram went nowhere.
    pub enum DropReason {
        /// Nothing in it.
        Empty => "empty",
        /// The first byte is neither STUN's nor a channel's (RFC 8656 §12).
        NotStun => "not_stun",
        /// Shorter than a header, wrong cookie, wrong length, broken attribute (RFC 8489 §6.3).
        Malformed => "malformed",
        /// FINGERPRINT wrong or not last (RFC 8489 §14.7).
        Fingerprint => "fingerprint",
        /// A method that is not served.
        UnknownMethod => "unknown_method",
        /// A class that does not go with its method, responses included.
        WrongClass => "wrong_class",
        /// An indication with an attribute that must be understood and is not (RFC 8489 §6.3.2).
        UnknownAttribute => "unknown_attribute",
        /// Data from a client without an allocation.
        NoAllocation => "no_allocation",
        /// ChannelData on a number that is not bound.
        NoChannel => "no_channel",
        /// ChannelData whose length field exceeds its datagram (RFC 8656 §12.6).
        ChannelLength => "channel_length",
        /// No live permission for the peer (RFC 8656 §9).
        NoPermission => "no_permission",
        /// The peer's port is one that data is not sent to.
        PeerPort => "peer_port",
        /// A retransmission of a request that is still being worked on.
        InProgress => "in_progress",
        /// The allocation ended while the datagram was under way.
        StaleAllocation => "stale_allocation",
        /// The peer is an address of this node and no live relayed address.
        OwnAddress => "own_address",
        /// The ring to another shard was full.
        RingFull => "ring_full",
        /// The kernel did not take it.
        SendFailed => "send_failed",
        /// Longer than the receive buffer.
        TooLarge => "too_large",
        /// As many 400, 401 and 438 as its source gets.
        UnauthenticatedRate => "unauthenticated_rate",
        /// As many Binding answers as its source gets.
        BindingRate => "binding_rate",
        /// As many bits a second as an allocation may relay.
        AllocationBitrate => "allocation_bitrate",
        /// As many bits a second as its credential may have relayed.
        CredentialBitrate => "credential_bitrate",
        /// As many bits a second as its subject may have relayed.
        SubjectBitrate => "subject_bitrate",
        /// As many bits a second as this node relays.
        TotalBitrate => "total_bitrate",
        /// Its credential has no bytes left.
        ByteQuota => "byte_quota",
        /// Bytes of a stream that are no message, or one longer than its client may send: the connection was closed.
        Framing => "framing",
        /// The client of a stream does not read as fast as its data comes.
        SlowReader => "slow_reader",
        /// An ICMP error of a type that clients are not told of (RFC 8656 §11.5).
        IcmpType => "icmp_type",
        /// As many ICMP errors as one allocation is told of.
        IcmpRate => "icmp_rate",
    }
}

labels! {
    /// Why a request was not let in.
    pub enum AuthFailure {
        /// USERNAME, REALM or NONCE is missing beside MESSAGE-INTEGRITY.
        Incomplete => "incomplete",
        /// Another realm than ours.
        Realm => "realm",
        /// No user of that name, or no timestamp in it.
        UnknownUser => "unknown_user",
        /// The credential's time has passed.
        Expired => "expired",
        /// The operator, or signaling, has revoked the credential.
        Revoked => "revoked",
        /// MESSAGE-INTEGRITY does not match.
        Integrity => "integrity",
        /// NONCE is old or was given to another source.
        StaleNonce => "stale_nonce",
    }
}

labels! {
    /// Why an allocation ended.
    pub enum Cause {
        /// Refresh with lifetime 0.
        Client => "client",
        /// Not refreshed in time.
        Expired => "expired",
        /// Ended over the admin API.
        Revoked => "revoked",
        /// Its credential has no bytes left.
        Quota => "quota",
        /// The client's connection has ended.
        Lost => "lost",
        /// The drain's deadline.
        Drain => "drain",
        /// The process ends.
        Shutdown => "shutdown",
    }
}

labels! {
    /// Error codes of answers (RFC 8489 §14.8, RFC 8656 §19).
    pub enum ErrorCode {
        /// 300
        TryAlternate => "300",
        /// 400
        BadRequest => "400",
        /// 401
        Unauthorized => "401",
        /// 403
        Forbidden => "403",
        /// 420
        UnknownAttribute => "420",
        /// 437
        AllocationMismatch => "437",
        /// 438
        StaleNonce => "438",
        /// 440
        AddressFamilyNotSupported => "440",
        /// 441
        WrongCredentials => "441",
        /// 442
        UnsupportedTransport => "442",
        /// 443
        PeerAddressFamilyMismatch => "443",
        /// 486
        AllocationQuotaReached => "486",
        /// 508
        InsufficientCapacity => "508",
    }
}

labels! {
    /// Methods of requests that are served (RFC 8489 §18.2, RFC 8656 §17).
    pub enum RequestMethod {
        /// Binding.
        Binding => "binding",
        /// Allocate.
        Allocate => "allocate",
        /// Refresh.
        Refresh => "refresh",
        /// CreatePermission.
        CreatePermission => "create_permission",
        /// ChannelBind.
        ChannelBind => "channel_bind",
    }
}

labels! {
    /// What a request was answered with.
    pub enum RequestResult {
        /// A success.
        Success => "success",
        /// An error.
        Error => "error",
        /// 401 to the first Allocate of a client, which has no credentials in it (RFC 8489 §9.2.3.1).
        Challenge => "challenge",
    }
}

/// Answered requests, by method, transport and result.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Requests([[[u64; 3]; 3]; 5]);

impl Requests {
    /// Counts one more.
    pub(crate) fn count(&mut self, method: RequestMethod, transport: Transport, result: RequestResult) {
        self.0[method.index()][transport.index()][result.index()] += 1;
    }

    /// How many.
    pub fn get(&self, method: RequestMethod, transport: Transport, result: RequestResult) -> u64 {
        self.0[method.index()][transport.index()][result.index()]
    }

    /// Every combination that there can be with its count, zeros included.
    pub fn iter(&self) -> impl Iterator<Item = (RequestMethod, Transport, RequestResult, u64)> + '_ {
        RequestMethod::ALL.iter().flat_map(move |method| {
            Transport::ALL.iter().flat_map(move |transport| {
                let results = RequestResult::ALL.iter();
                let can_be =
                    results.filter(|r| **r != RequestResult::Challenge || *method == RequestMethod::Allocate);
                can_be
                    .map(move |result| (*method, *transport, *result, self.get(*method, *transport, *result)))
            })
        })
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: &Self) {
        let theirs = other.0.iter().flatten().flatten();
        self.0.iter_mut().flatten().flatten().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
    }
}

/// One count for each value of a label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally<L> {
    counts: Box<[u64]>,
    label: PhantomData<L>,
}

impl<L: Label> Default for Tally<L> {
    fn default() -> Self {
        Self { counts: vec![0; L::ALL.len()].into(), label: PhantomData }
    }
}

impl<L: Label> Tally<L> {
    /// Counts one more.
    pub fn count(&mut self, label: L) {
        self.counts[label.index()] += 1;
    }

    /// How many.
    pub fn get(&self, label: L) -> u64 {
        self.counts[label.index()]
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Every value with its count, zeros included.
    pub fn iter(&self) -> impl Iterator<Item = (L, u64)> + '_ {
        L::ALL.iter().map(|label| (*label, self.get(*label)))
    }

    /// Adds the counts of another.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(&other.counts) {
            *mine += theirs;
        }
    }
}

/// Everything one [`crate::Server`] has counted since its start, bytes of allocations aside.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that went nowhere.
    pub dropped: Tally<DropReason>,
    /// Requests that were answered.
    pub requests: Requests,
    /// Requests that were not let in.
    pub auth_failures: Tally<AuthFailure>,
    /// Peers that a client may not reach.
    pub peers_denied: Tally<Denied>,
    /// Allocations made.
    pub allocations_created: Tally<Transport>,
    /// Allocations ended.
    pub allocations_closed: Tally<Cause>,
    /// Allocate requests refused after authentication.
    pub allocation_failures: Tally<ErrorCode>,
    /// IP-layer traffic from clients that belongs to no allocation.
    pub unallocated_in: Flow,
    /// The answers to it.
    pub unallocated_out: Flow,
}

impl Counters {
    /// Adds the counts of another.
    pub fn add(&mut self, other: &Self) {
        self.dropped.add(&other.dropped);
        self.requests.add(&other.requests);
        self.auth_failures.add(&other.auth_failures);
        self.peers_denied.add(&other.peers_denied);
        self.allocations_created.add(&other.allocations_created);
        self.allocations_closed.add(&other.allocations_closed);
        self.allocation_failures.add(&other.allocation_failures);
        self.unallocated_in.add(&other.unallocated_in);
        self.unallocated_out.add(&other.unallocated_out);
    }
}
