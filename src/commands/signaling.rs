use clap::Args;
use tokio_util::sync::CancellationToken;
use turnpike_signaling::Signaling;

use super::ConfigFile;
use crate::{
    ready::Ready,
    reloading::{Reloading, Services},
    service,
    stopping::Stopping,
};

/// Serve signaling and the page only.
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
        let signaling = Signaling::bind(&loaded.config).await?;
        Ready::of(&loaded.config, None, Some(signaling.listening())).log();
        service::started(
            &loaded.config,
            reloading,
            Services { relay: None, signaling: Some(signaling.remote()) },
        );
        // Calls go on without signaling, and their sessions with the next start: nobody is waited for.
        let served = tokio::spawn(signaling.serve(CancellationToken::new(), stopping.drain.clone()));
        service::outcome("signaling", served, &stopping).await
    })
}
