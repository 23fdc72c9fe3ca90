//! SIGHUP, or a word on the admin socket: the configuration is read again, and what can be taken without a restart is.

use std::time::SystemTime;

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
};
use turnpike_config::{Config, Loaded, MissingSecret, Written};
use turnpike_relay::ReloadRequest;
use turnpike_relay_api::admin::Reloaded;

use crate::{commands::ConfigFile, logging::Levels, supervisor};

/// Keys whose new values are taken; those of certificates are watched by the relay itself.
const TAKEN: [&str; 6] = [
    "auth.secret_file",
    "auth.api_keys_file",
    "auth.admin_keys_file",
    "auth.jwt_keys_file",
    "auth.static_user",
    "log.level",
];

/// What takes new values.
pub(crate) struct Services {
    pub(crate) relay: Option<turnpike_relay::Remote>,
    pub(crate) signaling: Option<turnpike_signaling::Remote>,
}

impl Services {
    /// Whether all of them are alive.
    pub(crate) fn are_alive(&self) -> bool {
        self.relay.as_ref().is_none_or(|relay| relay.is_alive())
            && self.signaling.as_ref().is_none_or(|signaling| signaling.is_alive())
    }

    fn take(&self, config: &Config) {
        if let Some(relay) = &self.relay {
            relay.set_logins(&config.auth);
        }
        if let Some(signaling) = &self.signaling {
            signaling.set_logins(&config.auth);
        }
    }

    fn reloaded(&self, outcome: &Reloaded) {
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        if let Some(relay) = &self.relay {
            relay.reloaded(outcome.success, now);
            if outcome.success {
                relay.set_changed_keys(outcome.waiting.clone());
            }
        }
    }

    /// Tells which advertised addresses are no longer this machine's.
    pub(crate) fn set_address_changes(&self, changes: Vec<String>) {
        if let Some(relay) = &self.relay {
            relay.set_address_changes(changes);
        }
    }

    fn names(&self) -> Vec<String> {
        let relay = self.relay.is_some().then(|| "relay".to_owned());
        relay.into_iter().chain(self.signaling.is_some().then(|| "signaling".to_owned())).collect()
    }

    /// What the relay's admin socket asks for; nothing where there is no relay.
    fn reload_requests(&self) -> mpsc::Receiver<ReloadRequest> {
        self.relay.as_ref().map_or_else(|| mpsc::channel(1).1, turnpike_relay::Remote::reload_requests)
    }
}

/// Reads the configuration again when told to.
pub(crate) struct Reloading {
    file: ConfigFile,
    this_machine: bool,
    levels: Levels,
    /// What is in force of it.
    written: Written,
    hangups: Signal,
}

impl Reloading {
    /// Listens for SIGHUP from here on: before, it ends the process.
    ///
    /// # Errors
    /// When the kernel refuses the handler.
    pub(crate) fn new(
        file: &ConfigFile,
        this_machine: bool,
        loaded: &Loaded,
        levels: Levels,
    ) -> std::io::Result<Self> {
        let hangups = signal(SignalKind::hangup())?;
        Ok(Self { file: file.clone(), this_machine, levels, written: loaded.written.clone(), hangups })
    }

    /// Takes what is new, for as long as the process lives.
    pub(crate) fn serve(mut self, services: std::sync::Arc<Services>) {
        tokio::spawn(async move {
            let mut requests = services.reload_requests();
            loop {
                let asked_by = tokio::select! {
                    Some(()) = self.hangups.recv() => None,
                    Some(request) = requests.recv() => Some(request),
                    else => return,
                };
                supervisor::reloading();
                // Reading files and telling shards may block.
                let outcome = tokio::task::block_in_place(|| self.reload(&services));
                services.reloaded(&outcome);
                supervisor::ready();
                if let Some(asked_by) = asked_by {
                    // Whoever asked may have gone.
                    let _ = asked_by.send(outcome);
                }
            }
        });
    }

    fn reload(&mut self, services: &Services) -> Reloaded {
        let loaded = match self.file.load(MissingSecret::Refuse, self.this_machine) {
            Ok(loaded) => loaded,
            Err(error) => {
                for problem in error.problems() {
                    tracing::error!(
                        code = "reload_failed",
                        %problem,
                        "the configuration is not reloaded, and what was in force stays: mend this and reload again"
                    );
                }
                let problems = error.problems().iter().map(ToString::to_string).collect();
                return Reloaded { problems, services: services.names(), ..Reloaded::default() };
            }
        };
        if let Err(error) = self.levels.set(&loaded.config.log) {
            tracing::error!(code = "reload_failed", %error, "the level of the log stays as it was");
        }
        services.take(&loaded.config);
        let changed = self.written.changed(&loaded.written);
        let (taken, waiting): (Vec<_>, Vec<_>) =
            changed.iter().map(String::as_str).partition(|key| TAKEN.contains(key));
        tracing::info!(
            secrets = loaded.config.auth.secrets.len(),
            changed = taken.join(","),
            "reloaded: secrets, API keys, static users and the log's level are as configured now"
        );
        if !waiting.is_empty() {
            tracing::warn!(
                code = "restart_needed",
                keys = waiting.join(","),
                "these keys have changed and are taken at the next start only: restart the service when it suits"
            );
        }
        let owned = |keys: Vec<&str>| keys.into_iter().map(str::to_owned).collect();
        Reloaded {
            success: true,
            services: services.names(),
            secrets: loaded.config.auth.secrets.len(),
            taken: owned(taken),
            waiting: owned(waiting),
            problems: Vec::new(),
        }
    }
}
