//! Whole files against what is said about them.

#![allow(clippy::unwrap_used, reason = "a test ends at what it did not expect")]

mod corpus;
mod defaults;
mod files;
mod secrets;
mod values;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use turnpike_config::{ConfigError, Host, InterfaceAddress, Loaded, MissingSecret, Request, load};

/// An address of eth0.
fn interface(address: &str) -> InterfaceAddress {
    InterfaceAddress { interface: "eth0".to_owned(), address: address.parse().unwrap(), is_passing: false }
}

/// A machine on the lab's internet with a secret of its own.
struct Machine {
    folder: tempfile::TempDir,
    host: Host,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let eth0 = interface("198.18.0.1");
        let mut host = Host { name: "node-1".to_owned(), cores: 4, addresses: vec![eth0], ..Host::default() };
        host.data_home = Some(folder.path().join("share"));
        Self { folder, host }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.host.environment.insert(name.to_owned(), value.to_owned());
    }

    /// Keeps the secret in the machine's folder whatever the file says.
    fn with_own_secret(mut self) -> Self {
        let path = self.folder.path().join("secret");
        fs::write(&path, "s".repeat(48)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        self.set("TURNPIKE_AUTH__SECRET_FILE", path.to_str().unwrap());
        self
    }

    fn load(&self, file: Option<&Path>) -> Result<Loaded, ConfigError> {
        self.load_as(file, MissingSecret::Make, false)
    }

    fn load_as(
        &self,
        file: Option<&Path>,
        missing_secret: MissingSecret,
        this_machine: bool,
    ) -> Result<Loaded, ConfigError> {
        load(&Request { file: file.map(Path::to_owned), this_machine, missing_secret }, &self.host)
    }

    /// Loads a file with this text.
    fn load_text(&self, text: &str) -> Result<Loaded, ConfigError> {
        let path = self.folder.path().join("turnpike.toml");
        fs::write(&path, text).unwrap();
        self.load(Some(&path))
    }
}
