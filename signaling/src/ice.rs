//! ICE configuration and the credentials in it.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;
use turnpike_config::{Auth, Config, IcePolicy, Secret};
use turnpike_relay_api::{
    cost::Step,
    credential::{self, Credential, Limits},
};

use crate::{
    clock::Clock,
    contract::{Ice, IceServer, Privacy, Warning},
    random,
};

/// A fresh configuration is asked for when four fifths of a credential's life are over.
const REFRESH_AT: (u64, u64) = (4, 5);

/// Whether this node's relay can be reached, and where its budget is; what watches it writes, what mints reads.
#[derive(Debug, Clone)]
pub(crate) struct RelayUp(Arc<Seen>);

#[derive(Debug)]
struct Seen {
    up: AtomicBool,
    /// `None` without a budget, and before the relay has told.
    budget: Mutex<Option<Step>>,
}

impl RelayUp {
    pub(crate) fn new(up: bool) -> Self {
        Self(Arc::new(Seen { up: AtomicBool::new(up), budget: Mutex::default() }))
    }

    /// Tells what it was before.
    pub(crate) fn set(&self, up: bool) -> bool {
        self.0.up.swap(up, Ordering::Relaxed)
    }

    pub(crate) fn get(&self) -> bool {
        self.0.up.load(Ordering::Relaxed)
    }

    pub(crate) fn set_budget(&self, step: Option<Step>) {
        *self.0.budget.lock().unwrap_or_else(PoisonError::into_inner) = step;
    }

    fn budget(&self) -> Option<Step> {
        *self.0.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes ICE configurations.
#[derive(Debug)]
pub(crate) struct IceSource {
    stun_urls: Vec<String>,
    turn_urls: Vec<String>,
    policy: Privacy,
    secret: ArcSwap<Secret>,
    ttl: u64,
    relay: RelayUp,
    clock: Clock,
}

/// What an embedder asks for.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) subject: Option<String>,
    pub(crate) ttl: Option<u64>,
    pub(crate) limits: Limits,
    pub(crate) policy: Option<Privacy>,
}

/// A credential and the configuration that carries it.
#[derive(Debug)]
pub(crate) struct Minted {
    pub(crate) ice: Ice,
    pub(crate) credential_id: String,
    pub(crate) username: String,
    pub(crate) password: String,
    pub(crate) ttl: u64,
}

/// No TURN server can be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unavailable;

fn signing(auth: &Auth) -> Secret {
    auth.secrets.first().expect("a loaded configuration has a secret").clone()
}

impl IceSource {
    pub(crate) fn new(config: &Config, relay: RelayUp, clock: Clock) -> Self {
        Self {
            stun_urls: config.ice.stun_urls.clone(),
            turn_urls: config.ice.turn_urls.clone(),
            policy: match config.ice.policy {
                IcePolicy::All => Privacy::All,
                IcePolicy::Relay => Privacy::Relay,
            },
            secret: ArcSwap::from_pointee(signing(&config.auth)),
            ttl: config.auth.credential_ttl.as_secs(),
            relay,
            clock,
        }
    }

    /// The step of the relay's budget, where it has one.
    pub(crate) fn budget(&self) -> Option<Step> {
        self.relay.budget()
    }

    /// Signs with the first secret of these from now on.
    pub(crate) fn set_secret(&self, auth: &Auth) {
        self.secret.store(Arc::new(signing(auth)));
    }

    /// STUN only: what anyone may have.
    pub(crate) fn stun_only(&self) -> Ice {
        self.configuration(self.policy, None, None)
    }

    /// For one side of a pair; STUN only, with a warning, while the relay cannot be reached. The subject carries session,
    /// pair and credential, so that bytes are known by match.
    pub(crate) fn for_pair(
        &self,
        session: turnpike_matching::Id,
        pair: turnpike_matching::Id,
        privacy: Privacy,
    ) -> Ice {
        let wanted =
            Wanted { subject: Some(format!("{session}.{pair}")), policy: Some(privacy), ..Wanted::default() };
        self.mint(wanted).map_or_else(|Unavailable| self.without_relay(privacy), |minted| minted.ice)
    }

    /// For anyone with leave to mint.
    ///
    /// # Errors
    /// [`Unavailable`] when there is no TURN server, or it cannot be reached.
    pub(crate) fn mint(&self, wanted: Wanted) -> Result<Minted, Unavailable> {
        if self.turn_urls.is_empty() || !self.relay.get() {
            return Err(Unavailable);
        }
        let ttl = wanted.ttl.unwrap_or(self.ttl);
        let credential_id = random::credential_id();
        let subject = match wanted.subject {
            Some(subject) => format!("{subject}.{credential_id}"),
            None => credential_id.clone(),
        };
        let expires_at = self.clock.unix().as_secs() + ttl;
        let Credential { username, password, .. } =
            credential::mint(self.secret.load().expose(), expires_at, &subject, &wanted.limits)
                .expect("subjects are checked where they come in");
        let policy = strictest(self.policy, wanted.policy.unwrap_or(self.policy));
        let server = IceServer::Turn {
            urls: self.turn_urls.clone(),
            username: username.clone(),
            credential: password.to_string(),
        };
        let ice = Ice {
            ttl: Some(ttl),
            expires_at: Some(expires_at),
            refresh_after: Some(ttl * REFRESH_AT.0 / REFRESH_AT.1),
            ..self.configuration(policy, Some(server), None)
        };
        Ok(Minted { ice, credential_id, username, password: password.to_string(), ttl })
    }

    /// A configuration that says why TURN is missing, where it should be there.
    pub(crate) fn without_relay(&self, privacy: Privacy) -> Ice {
        let warning = (!self.turn_urls.is_empty()).then_some(Warning::RelayUnavailable);
        self.configuration(strictest(self.policy, privacy), None, warning)
    }

    pub(crate) fn turn_urls(&self) -> &[String] {
        &self.turn_urls
    }

    fn configuration(&self, policy: Privacy, turn: Option<IceServer>, warning: Option<Warning>) -> Ice {
        let stun = (!self.stun_urls.is_empty()).then(|| IceServer::Stun { urls: self.stun_urls.clone() });
        Ice {
            ice_servers: stun.into_iter().chain(turn).collect(),
            ice_transport_policy: match policy {
                Privacy::All => "all",
                Privacy::Relay => "relay",
            },
            bundle_policy: "max-bundle",
            ttl: None,
            expires_at: None,
            refresh_after: None,
            warning,
        }
    }
}

fn strictest(one: Privacy, other: Privacy) -> Privacy {
    match one == Privacy::Relay || other == Privacy::Relay {
        true => Privacy::Relay,
        false => Privacy::All,
    }
}
