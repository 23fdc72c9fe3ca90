use std::path::{Path, PathBuf};

use clap::Args;
use turnpike_config::{ConfigError, Host, Loaded, MissingSecret, Request, load, ways_to_ask};

use crate::address;

pub(super) const SYSTEM_FILE: &str = "/etc/turnpike/turnpike.toml";

/// Which configuration to use.
#[derive(Debug, Clone, Args)]
pub(crate) struct ConfigFile {
    /// The configuration file [default: /etc/turnpike/turnpike.toml if there is one, else built-in defaults]
    #[arg(long, value_name = "FILE", env = "TURNPIKE_CONFIG", hide_env_values = true)]
    config: Option<PathBuf>,
}

impl ConfigFile {
    /// # Errors
    /// Everything that is wrong with the configuration.
    pub(crate) fn load(
        &self,
        missing_secret: MissingSecret,
        this_machine: bool,
    ) -> Result<Loaded, ConfigError> {
        let system_file = || Path::new(SYSTEM_FILE).exists().then(|| SYSTEM_FILE.into());
        let file = self.config.clone().or_else(system_file);
        let (request, mut host) = (Request { file, this_machine, missing_secret }, Host::detect());
        host.outside = address::ask(&ways_to_ask(&request, &host)?);
        load(&request, &host)
    }

    /// Where it is, or is to be when there is none yet.
    pub(crate) fn path(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| SYSTEM_FILE.into())
    }
}
