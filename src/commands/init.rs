use std::{
    fmt::Write as _,
    fs::{self, File, Permissions},
    io::{self, IsTerminal as _, Write as _},
    net::IpAddr,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, chown},
    path::Path,
};

use anyhow::{Context as _, bail};
use clap::Args;
use nix::unistd::{Gid, Group, geteuid};
use turnpike_config::{Detect, Host, MissingSecret, PublicAddress, Request, SecretFile, check_text};

use super::{ConfigFile, ports};
use crate::{address, screen::Screen};

/// The group that both services run as, by sysusers.d.
const GROUP: &str = "turnpike";

/// Find the public addresses of this machine, and write a configuration and a secret.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigFile,
    /// The DNS name that strangers reach this node by
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,
    /// Whom the certificate authority writes to. With it and a name, this node gets its certificate from Let's Encrypt, and
    /// you agree to the terms there
    #[arg(long, value_name = "ADDRESS")]
    email: Option<String>,
    /// A STUN server that is asked where no interface and no cloud tells a public address; may be given several times
    #[arg(long, value_name = "HOST:PORT", value_parser = stun)]
    stun: Vec<Detect>,
    /// Ask no questions, as without a terminal
    #[arg(long)]
    non_interactive: bool,
    /// Leave a configuration that is there as it is; make the secret if that is missing
    #[arg(long)]
    if_missing: bool,
}

/// What was found out about the IPv4 address.
struct Found {
    /// What a network interface has.
    own: Option<PublicAddress>,
    /// What others say.
    outside: Option<PublicAddress>,
    ipv6: Option<PublicAddress>,
}

/// # Errors
/// When there is a configuration already, or a file cannot be written.
pub(crate) fn execute(arguments: &Arguments) -> anyhow::Result<()> {
    let path = arguments.config.path();
    if path.exists() {
        return with_what_is_there(arguments, &path);
    }
    let mut screen = Screen::stdout();
    let (domain, email) = answers(arguments)?;
    let host = Host::detect();
    let found = Found::about(&host, &arguments.stun);
    let text = found.configuration(&path, domain.as_deref(), email.as_deref());
    let request =
        Request { file: Some(path.clone()), this_machine: false, missing_secret: MissingSecret::StandIn };
    check_text(&request, &text, &host)?;
    write(&path, &text).with_context(|| {
        format!("{} cannot be written: run this as root, such as by sudo", path.display())
    })?;
    let loaded = arguments.config.load(MissingSecret::StandIn, false)?;
    make_secret(&loaded.secret_file)?;

    screen.heading("Configured:")?;
    found.print(&mut screen)?;
    screen.pair("Config", &path.display().to_string())?;
    screen.pair("Secret", &loaded.secret_file.display().to_string())?;
    let node = &loaded.config.node;
    screen.line("")?;
    match &node.domain {
        Some(domain) => {
            screen.heading("DNS records to make:")?;
            for public in node.public_addresses() {
                screen.line(&format!("  {domain}. {}", record(public.address)))?;
            }
        }
        None => screen.line(
            "No name was given: a browser gives no camera to a page without HTTPS, which takes one. When you have a name, \
             set node.domain, [tls] mode = \"acme\" and tls.acme_email.",
        )?,
    }
    screen.line("")?;
    screen.heading("Ports to open, in this machine's firewall and in its provider's:")?;
    for line in ports::table(&ports::openings(&loaded.config)) {
        screen.line(&format!("  {line}"))?;
    }
    screen.line("")?;
    screen.heading("Next:")?;
    let start = match Path::new("/run/systemd/system").exists() {
        true => "systemctl enable --now turnpike.target",
        false => "turnpike run",
    };
    screen.line(&format!("  {start}"))?;
    screen.line("  turnpike doctor")?;
    Ok(())
}

fn with_what_is_there(arguments: &Arguments, path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    if !arguments.if_missing {
        bail!(
            "{shown} is there already, and is never overwritten: change it, or move it away and run this again"
        );
    }
    let loaded = arguments.config.load(MissingSecret::StandIn, false)?;
    let mut screen = Screen::stdout();
    screen.line(&format!("{shown} is there already, and stays as it is"))?;
    match make_secret(&loaded.secret_file)? {
        true => Ok(screen.line(&format!("made a new secret in {}", loaded.secret_file.display()))?),
        false => Ok(()),
    }
}

/// Name and address, asked for on a terminal.
fn answers(arguments: &Arguments) -> anyhow::Result<(Option<String>, Option<String>)> {
    let (mut domain, mut email) = (arguments.domain.clone(), arguments.email.clone());
    if !arguments.non_interactive && io::stdin().is_terminal() {
        if domain.is_none() {
            domain = ask("The DNS name that strangers reach this node by (empty: none): ")?;
        }
        if domain.is_some() && email.is_none() {
            email = ask(
                "Whom Let's Encrypt writes to about the certificate that this node gets there, whose terms you agree to \
                 (empty: no certificate): ",
            )?;
        }
    }
    if email.is_some() && domain.is_none() {
        bail!("--email is for a certificate, which takes a name: give --domain too");
    }
    Ok((domain, email))
}

fn ask(question: &str) -> io::Result<Option<String>> {
    Screen::stdout().text(question)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(Some(answer.trim().to_owned()).filter(|answer| !answer.is_empty()))
}

impl Found {
    fn about(host: &Host, stun: &[Detect]) -> Self {
        let own = host.public_ipv4();
        let outside = match &own {
            Some(own) if !own.is_private() => None,
            _ => address::ask(&[&[Detect::Metadata], stun].concat()),
        };
        Self { own, outside, ipv6: host.public_ipv6() }
    }

    fn configuration(&self, path: &Path, domain: Option<&str>, email: Option<&str>) -> String {
        let mut text = String::from(
            "# Turnpike, as `turnpike init` has found things. Every other key has its default: `turnpike config show\n\
             # --effective` lists them, `turnpike config explain KEY` tells what one is for, and `turnpike config check` reads\n\
             # this file.\n\n[node]\n",
        );
        let mut line = |line: String| {
            text.push_str(&line);
            text.push('\n');
        };
        if let Some(domain) = domain {
            line(format!("domain = {}", quoted(domain)));
        }
        match (&self.own, &self.outside) {
            (own, Some(outside)) => {
                let nat = own.as_ref().map(|own| format!("; this machine has {own}, behind a 1:1 NAT"));
                line(format!("# {}{}.", outside.learned, nat.unwrap_or_default()));
                line(format!("public_ipv4 = \"{}\"", outside.address));
                if let Some(own) = own {
                    line(format!("\n[relay]\nrelay_ipv4 = \"{}\"", own.address));
                }
            }
            (Some(own), None) if !own.is_private() => line(format!("# IPv4: {own}.")),
            // An address of IPv6 serves strangers too.
            (Some(_), None) if self.ipv6.is_some() => {
                line("# No public IPv4 address was found.\npublic_ipv4 = \"none\"".to_owned());
            }
            (_, None) if self.ipv6.is_some() => {}
            (_, None) => line(
                "# No public address was found: only this machine's own network is served. Write the public one in\n\
                 # public_ipv4, and take the next line out, to serve strangers.\nallow_private_address = true"
                    .to_owned(),
            ),
        }
        if let (Some(_), Some(email)) = (domain, email) {
            line(format!("\n[tls]\nmode = \"acme\"\nacme_email = {}", quoted(email)));
        }
        if path != Path::new(super::config_file::SYSTEM_FILE) {
            line("\n[auth]\nsecret_file = \"secret\"".to_owned());
        }
        text
    }

    fn print(&self, screen: &mut Screen) -> io::Result<()> {
        match (&self.own, &self.outside) {
            (Some(own), Some(outside)) => {
                screen.pair("IPv4", &format!("{outside}; {own} behind a 1:1 NAT"))?;
            }
            (None, Some(outside)) => screen.pair("IPv4", &outside.to_string())?,
            (Some(own), None) if own.is_private() => screen.pair(
                "IPv4",
                &format!("{own}, which strangers cannot reach; write the public one in node.public_ipv4"),
            )?,
            (Some(own), None) => screen.pair("IPv4", &own.to_string())?,
            (None, None) => screen.pair("IPv4", "none")?,
        }
        match &self.ipv6 {
            Some(ipv6) => screen.pair("IPv6", &ipv6.to_string()),
            None => screen.pair("IPv6", "none"),
        }
    }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => _ = write!(quoted, "\\{c}"),
            c if c.is_control() => _ = write!(quoted, "\\u{:04X}", u32::from(c)),
            c => quoted.push(c),
        }
    }
    quoted + "\""
}

fn record(address: IpAddr) -> String {
    format!("{:<4} {address}", if address.is_ipv4() { "A" } else { "AAAA" })
}

/// Never over another file.
fn write(path: &Path, text: &str) -> io::Result<()> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    let mut file = File::options().write(true).create_new(true).mode(0o640).open(path)?;
    // The umask may have taken the group's right away.
    file.set_permissions(Permissions::from_mode(0o640))?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    give_to_group(path)
}

/// Tells whether it was made.
fn make_secret(path: &Path) -> anyhow::Result<bool> {
    let made = SecretFile::at(path).make()?;
    if made {
        give_to_group(path)
            .with_context(|| format!("{} cannot be given to the group {GROUP}", path.display()))?;
    }
    Ok(made)
}

/// The services read it as their group, where that exists and this is root.
fn give_to_group(path: &Path) -> io::Result<()> {
    match Group::from_name(GROUP).map_err(io::Error::from)? {
        Some(Group { gid, .. }) if geteuid().is_root() => chown(path, None, Some(Gid::as_raw(gid))),
        _ => Ok(()),
    }
}

fn stun(text: &str) -> Result<Detect, String> {
    let server = text.strip_prefix("stun:").unwrap_or(text);
    format!("stun:{server}")
        .parse()
        .map_err(|_| format!("`{text}` is no server: write stun.example.org:3478"))
}

#[cfg(test)]
mod tests {
    use turnpike_config::Learned;

    use super::*;

    const SYSTEM: &str = super::super::config_file::SYSTEM_FILE;

    fn address(text: &str, learned: Learned) -> Option<PublicAddress> {
        Some(PublicAddress { address: text.parse().unwrap(), learned })
    }

    fn eth0(text: &str) -> Option<PublicAddress> {
        address(text, Learned::Interface("eth0".to_owned()))
    }

    /// The lines that are no comments.
    fn lines(found: &Found, domain: Option<&str>, email: Option<&str>) -> String {
        let text = found.configuration(Path::new(SYSTEM), domain, email);
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn what_is_written_is_what_cannot_be_found_again_at_each_start() {
        let found = Found { own: eth0("198.18.0.1"), outside: None, ipv6: eth0("2001:db8::1") };
        assert_eq!(lines(&found, None, None), "[node]");
        let outside = address("198.18.0.1", Learned::Metadata("AWS".to_owned()));
        let behind_nat = Found { own: eth0("10.0.0.5"), outside, ipv6: None };
        assert_eq!(
            lines(&behind_nat, Some("turn.example.org"), Some("a@example.org")),
            "[node]\ndomain = \"turn.example.org\"\npublic_ipv4 = \"198.18.0.1\"\n[relay]\nrelay_ipv4 = \"10.0.0.5\"\n\
             [tls]\nmode = \"acme\"\nacme_email = \"a@example.org\""
        );
        let alone = Found { own: eth0("10.0.0.5"), outside: None, ipv6: None };
        assert_eq!(lines(&alone, None, None), "[node]\nallow_private_address = true");
        let by_ipv6 = Found { own: eth0("10.0.0.5"), outside: None, ipv6: eth0("2001:db8::1") };
        assert_eq!(lines(&by_ipv6, None, None), "[node]\npublic_ipv4 = \"none\"");
    }

    #[test]
    fn what_is_written_is_a_configuration_whatever_was_typed() {
        let found = Found { own: eth0("10.0.0.5"), outside: None, ipv6: None };
        let host = Host { outside: None, ..Host::default() };
        let request = Request {
            file: Some(SYSTEM.into()),
            this_machine: false,
            missing_secret: MissingSecret::StandIn,
        };
        let check = |domain: &str| {
            check_text(&request, &found.configuration(Path::new(SYSTEM), Some(domain), None), &host)
        };
        assert_eq!(check("turn.example.org").unwrap().node.domain.as_deref(), Some("turn.example.org"));
        assert!(check("a\"\nb").unwrap_err().to_string().contains("`node.domain` is"), "no line is broken");
    }
}
