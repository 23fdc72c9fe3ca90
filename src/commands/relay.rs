use clap::Args;
use turnpike_relay::Relay;

use super::ConfigFile;
use crate::{
    ready::Ready,
    reloading::{Reloading, Services},
    service,
    stopping::Stopping,
};

/// Serve STUN and TURN only.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
}

/// # Errors
/// What is wrong with the configuration, or what cannot be bound.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let (loaded, levels) = service::load(&arguments.config, false)?;
    service::block_on(async {
        let reloading = Reloading::new(&arguments.config, false, &loaded, levels)?;
        let stopping = Stopping::on_signals(loaded.config.relay.drain_timeout)?;
        let relay = Relay::bind(&loaded.config)?;
        Ready::of(&loaded.config, Some(relay.listening()), None).log();
        service::started(
            &loaded.config,
            reloading,
            Services { relay: Some(relay.remote()), signaling: None },
        );
        let Stopping { drain, stop } = stopping.clone();
        let served = tokio::spawn(async move { relay.serve(drain, stop).await });
        service::outcome("the relay", served, &stopping).await
    })
}
