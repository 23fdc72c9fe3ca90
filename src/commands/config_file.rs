use std::path::{Path, PathBuf};

use clap::Args;
use turnpike_config::{ConfigError, Host, Loaded, MissingSecret, Request, load};

const SYSTEM_FILE: &str = "/etc/turnpike/turnpike.toml";

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
        load(&Request { file, this_machine, missing_secret }, &Host::detect())
    }
}
