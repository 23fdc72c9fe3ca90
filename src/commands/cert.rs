use std::{
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use turnpike_config::{Loaded, MissingSecret, Tls};
use turnpike_relay_api::admin::{STATUS, Status};

use super::ConfigFile;
use crate::{
    exit::Shown,
    quantity,
    relay_admin::RelayAdmin,
    screen::{Screen, Verdict},
};

/// Look after the TLS certificate.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Say what the certificate is good for, and how its renewal goes
    Status {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Check a certificate with its key, and put both where [tls] names them, as certbot's deploy hook does
    Install {
        /// The folder that holds fullchain.pem and privkey.pem
        #[arg(long, value_name = "DIR")]
        from: PathBuf,
        #[command(flatten)]
        config: ConfigFile,
    },
}

/// # Errors
/// What is wrong with the configuration; [`Shown`] when the certificate cannot be used.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    match &arguments.action {
        Action::Status { config } => status(config),
        Action::Install { from, config } => install(config, from),
    }
}

fn status(file: &ConfigFile) -> anyhow::Result<()> {
    let loaded = file.load(MissingSecret::StandIn, false)?;
    let tls = tls_of(&loaded)?;
    let mut screen = Screen::stdout();
    let checked = turnpike_relay::check_certificate(tls, loaded.config.node.domain.as_deref());
    let (verdict, found) = match &checked {
        Ok(certificate) if certificate.expires_soon() && tls.acme.is_none() => {
            (Verdict::Warn, format!("{certificate}: renew it"))
        }
        Ok(certificate) => (Verdict::Ok, certificate.to_string()),
        Err(error) => (Verdict::Fail, error.to_string()),
    };
    screen.verdict(verdict, "certificate", &found)?;
    screen.verdict(
        Verdict::Ok,
        "files",
        &format!("{}, {}", tls.cert_file.display(), tls.key_file.display()),
    )?;
    let relay: Option<Status> = RelayAdmin::of(file)?.get(STATUS).ok();
    match relay.as_ref().map(|status| &status.certificate) {
        None => screen.verdict(Verdict::Unknown, "in use", "no relay answers: start turnpike-relay")?,
        Some(None) => {
            screen.verdict(Verdict::Warn, "in use", "none: restart turnpike-relay to turn TLS on")?
        }
        Some(Some(in_use)) => {
            match in_use.not_after {
                Some(until) => {
                    screen.verdict(Verdict::Ok, "in use", &format!("until {}", quantity::moment(until)))?
                }
                None => screen.verdict(Verdict::Fail, "in use", "none yet")?,
            }
            if let Some(acme) = &in_use.acme {
                let next = quantity::moment(acme.next_attempt);
                match &acme.last_error {
                    Some(error) => screen.verdict(
                        Verdict::Fail,
                        "acme",
                        &format!("{error}; failed {} times, tried again {next}", acme.failures),
                    )?,
                    None => screen.verdict(Verdict::Ok, "acme", &format!("renewed {next}"))?,
                }
            }
        }
    }
    if checked.is_ok() { Ok(()) } else { Err(Shown.into()) }
}

/// The relay notices by itself that the files are others.
fn install(file: &ConfigFile, from: &Path) -> anyhow::Result<()> {
    let loaded = file.load(MissingSecret::StandIn, false)?;
    let tls = tls_of(&loaded)?;
    if tls.acme.is_some() {
        bail!(
            "[tls] mode is \"acme\", and this node gets its certificate by itself: set it to \"files\" first"
        );
    }
    let new =
        Tls { cert_file: from.join("fullchain.pem"), key_file: from.join("privkey.pem"), ..tls.clone() };
    let certificate = turnpike_relay::check_certificate(&new, loaded.config.node.domain.as_deref())?;
    // The key first: until the certificate has followed, the pair does not fit, and the one before stays in use.
    for (source, target) in [(&new.key_file, &tls.key_file), (&new.cert_file, &tls.cert_file)] {
        replace(source, target).with_context(|| {
            format!("{} cannot be written: run this as root, such as by sudo", target.display())
        })?;
    }
    Ok(Screen::stdout()
        .line(&format!("installed the certificate {certificate}; a running relay takes it within seconds"))?)
}

/// Whole or not at all, readable for whoever could read the one before, or else for the group of the folder.
fn replace(source: &Path, target: &Path) -> io::Result<()> {
    let bytes = fs::read(source)?;
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let group = fs::metadata(target).or_else(|_| fs::metadata(folder))?.gid();
    let mut draft = target.as_os_str().to_owned();
    draft.push(format!(".{}", std::process::id()));
    let written = (|| {
        let mut file = File::options().write(true).create_new(true).mode(0o640).open(&draft)?;
        file.write_all(&bytes)?;
        fchown(&file, None, Some(group))?;
        file.sync_all()?;
        fs::rename(&draft, target)
    })();
    if written.is_err() {
        // It may not exist.
        let _ = fs::remove_file(&draft);
    }
    written
}

fn tls_of(loaded: &Loaded) -> anyhow::Result<&Tls> {
    loaded.config.tls.as_ref().context(
        "TLS is off: set [tls] mode = \"acme\" with node.domain, or mode = \"files\" with tls.cert_file and tls.key_file",
    )
}
