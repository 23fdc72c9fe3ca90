use clap::Args;
use turnpike_relay::Relay;
use turnpike_signaling::Signaling;

use super::ConfigFile;
use crate::{
    announcement::Announcement,
    ready::Ready,
    reloading::{Reloading, Services},
    service,
    stopping::Stopping,
};

/// Serve relay and signaling in one process.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// Serve this machine alone: loopback only, local peers allowed, no draining
    #[arg(long)]
    dev: bool,
}

/// Binds both services before either serves.
///
/// # Errors
/// What is wrong with the configuration, or what cannot be bound.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let (loaded, levels) = service::load(&arguments.config, arguments.dev)?;
    if arguments.dev {
        tracing::warn!("--dev: serving this machine alone, and relaying to its own and to private addresses");
    }
    service::block_on(async {
        let config = &loaded.config;
        let reloading = Reloading::new(&arguments.config, arguments.dev, &loaded, levels)?;
        let stopping = Stopping::on_signals(config.relay.drain_timeout)?;
        let relay = Relay::bind(config)?;
        let signaling = Signaling::bind(config).await?;
        let ready = Ready::of(config, Some(relay.listening()), Some(signaling.listening()));
        ready.log();
        let remotes = Services { relay: Some(relay.remote()), signaling: Some(signaling.remote()) };
        service::started(config, reloading, remotes);
        Announcement { loaded: &loaded, ready: &ready, this_machine: arguments.dev }.print()?;

        let Stopping { drain, stop } = stopping.clone();
        let relay = tokio::spawn(async move { relay.serve(drain, stop).await });
        let Stopping { drain, stop } = stopping.clone();
        let signaling = tokio::spawn(signaling.serve(drain, stop));
        let (relay, signaling) = tokio::join!(
            service::outcome("the relay", relay, &stopping),
            service::outcome("signaling", signaling, &stopping)
        );
        relay?;
        signaling
    })
}
