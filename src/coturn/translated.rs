//! From coturn's options to keys of ours, and what becomes of those that have none.

use std::{
    fmt::Write as _,
    net::{IpAddr, SocketAddr},
};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};
use toml::Value;

use super::{Options, options::CoturnOption};

/// Ports that coturn takes where none are named.
const PORT: u16 = 3478;
const TLS_PORT: u16 = 5349;

/// Keys by section, and remarks.
#[derive(Debug, Default)]
pub(crate) struct Translated {
    keys: Vec<(&'static str, &'static str, Value)>,
    users: Vec<(String, String)>,
    /// What the operator has to do or to know, each with its line.
    remarks: Vec<(usize, String)>,
    /// What has no equivalent.
    missing: Vec<(usize, String)>,
}

/// Options that change nothing here, and why.
const NEEDLESS: [(&str, &str); 19] = [
    ("fingerprint", "FINGERPRINT goes by what the client sends"),
    ("lt-cred-mech", "there is no other mechanism"),
    ("use-auth-secret", "there is no other way for minted credentials"),
    ("stale-nonce", "nonces always expire"),
    ("no-multicast-peers", "multicast peers are always refused"),
    ("no-loopback-peers", "loopback peers are refused unless relay.allow_peers opens them"),
    ("no-cli", "there is no telnet: `turnpike status`, `sessions` and the rest ask over a Unix socket"),
    ("cli-ip", "there is no telnet"),
    ("cli-port", "there is no telnet"),
    ("cli-password", "there is no telnet"),
    ("syslog", "the log goes to stderr, and by systemd to the journal"),
    ("log-file", "the log goes to stderr, and by systemd to the journal"),
    ("simple-log", "the log goes to stderr, and by systemd to the journal"),
    ("no-stdout-log", "the log goes to stderr, and by systemd to the journal"),
    ("pidfile", "systemd knows the process"),
    ("proc-user", "the unit says which user it runs as"),
    ("proc-group", "the unit says which group it runs as"),
    ("no-rfc5780", "NAT behaviour discovery is not there"),
    ("no-dtls", "there is no DTLS"),
];

/// Translates a turnserver.conf.
pub(crate) fn translate(text: &str) -> Translated {
    let mut options = Options::read(text);
    let mut to = Translated::default();
    listeners(&mut options, &mut to);
    addresses(&mut options, &mut to);
    tls(&mut options, &mut to);
    logins(&mut options, &mut to);
    limits(&mut options, &mut to);
    peers(&mut options, &mut to);
    observed(&mut options, &mut to);
    for (name, why) in NEEDLESS {
        for option in options.take_all(name) {
            to.remarks.push((option.line, format!("{name}: not needed, {why}")));
        }
    }
    for option in options.into_rest() {
        to.missing.push((option.line, option.name));
    }
    to
}

fn listeners(options: &mut Options, to: &mut Translated) {
    let port = to.number(options.take("listening-port")).unwrap_or(i64::from(PORT));
    let addresses = to.addresses(options.take_all("listening-ip"));
    let at = |port: i64| {
        let port = u16::try_from(port).unwrap_or(PORT);
        let listener = |ip: &IpAddr| Value::String(SocketAddr::new(*ip, port).to_string());
        Value::Array(addresses.iter().map(listener).collect())
    };
    let is_special = !addresses.is_empty() || port != i64::from(PORT);
    let any = |port: i64| Value::Array(vec![Value::String(format!("[::]:{port}"))]);
    let value = if addresses.is_empty() { any(port) } else { at(port) };
    if is_special {
        to.set("relay", "listen_udp", value.clone());
    }
    match options.take_flag("no-tcp") {
        true => to.set("relay", "listen_tcp", Value::Array(Vec::new())),
        false if is_special => to.set("relay", "listen_tcp", value),
        false => {}
    }
    if let Some(option) = options.take("no-udp") {
        to.missing.push((option.line, "no-udp: relay.listen_udp holds an address at least".to_owned()));
    }
    let tls_port = options.take("tls-listening-port");
    let has_tls = !options.take_flag("no-tls");
    if has_tls && (tls_port.is_some() || !addresses.is_empty()) {
        let port = to.number(tls_port).unwrap_or(i64::from(TLS_PORT));
        to.set("tls", "listen", if addresses.is_empty() { any(port) } else { at(port) });
    }
    if let Some(threads) = to.number(options.take("relay-threads")).filter(|threads| *threads > 0) {
        to.set("relay", "shards", Value::Integer(threads));
    }
}

fn addresses(options: &mut Options, to: &mut Translated) {
    let mut relayed = to.addresses(options.take_all("relay-ip"));
    for option in options.take_all("external-ip") {
        let (public, private) = option.value.split_once('/').unwrap_or((&option.value, ""));
        match (public.parse::<IpAddr>(), private.parse::<IpAddr>()) {
            (Ok(public), private) => {
                let key = if public.is_ipv4() { "public_ipv4" } else { "public_ipv6" };
                to.set("node", key, Value::String(public.to_string()));
                if let Ok(private) = private {
                    relayed.retain(|known| *known != private);
                    relayed.push(private);
                }
            }
            (Err(_), _) => {
                to.missing.push((option.line, format!("external-ip={}: no address", option.value)))
            }
        }
    }
    for v4 in [true, false] {
        let mut of_family = relayed.iter().filter(|address| address.is_ipv4() == v4);
        if let Some(address) = of_family.next() {
            to.set("relay", if v4 { "relay_ipv4" } else { "relay_ipv6" }, Value::String(address.to_string()));
        }
        for other in of_family {
            to.missing.push((0, format!("relay-ip={other}: one address of a family is relayed from")));
        }
    }
    if let Some(option) = options.take("server-name") {
        to.remarks.push((
            option.line,
            format!("server-name: set node.domain to {} if clients reach the node by it", option.value),
        ));
    }
    let first = to.number(options.take("min-port"));
    let last = to.number(options.take("max-port"));
    if first.is_some() || last.is_some() {
        let range = [first.unwrap_or(49_152), last.unwrap_or(65_535)].map(Value::Integer);
        to.set("relay", "port_range", Value::Array(range.into()));
    }
}

fn tls(options: &mut Options, to: &mut Translated) {
    match (options.take("cert"), options.take("pkey")) {
        (Some(cert), Some(key)) => {
            to.set("tls", "mode", Value::String("files".to_owned()));
            to.set("tls", "cert_file", Value::String(cert.value));
            to.set("tls", "key_file", Value::String(key.value));
            to.remarks.push((
                cert.line,
                "cert: the user turnpike must be able to read both files; [tls] mode = \"acme\" needs none"
                    .to_owned(),
            ));
        }
        (Some(alone), None) | (None, Some(alone)) => {
            to.missing.push((alone.line, format!("{}: takes both cert and pkey", alone.name)));
        }
        (None, None) => {}
    }
}

fn logins(options: &mut Options, to: &mut Translated) {
    if let Some(realm) = options.take("realm").filter(|realm| !realm.value.is_empty()) {
        to.set("auth", "realm", Value::String(realm.value));
    }
    for secret in options.take_all("static-auth-secret") {
        let short = if secret.value.len() < 32 {
            "; it is shorter than 32 bytes, and refused: make a longer one, here and where credentials are minted"
        } else {
            ""
        };
        let remark =
            format!("static-auth-secret: write its value as a line into the file of auth.secret_file{short}");
        to.remarks.push((secret.line, remark));
    }
    for user in options.take_all("user") {
        match user.value.split_once(':') {
            Some((name, password)) if !password.starts_with("0x") => {
                to.users.push((name.to_owned(), password.to_owned()));
            }
            _ => to.missing.push((user.line, "user: a hashed key; write the password itself".to_owned())),
        }
    }
    if let Some(option) = options.take("no-auth") {
        let missing =
            "no-auth: everybody would be relayed, and pay with your name; make credentials".to_owned();
        to.missing.push((option.line, missing));
    }
}

fn limits(options: &mut Options, to: &mut Translated) {
    for (name, key) in [("total-quota", "max_allocations"), ("user-quota", "max_allocations_per_subject")] {
        if let Some(quota) = to.number(options.take(name)) {
            to.set("relay", key, Value::Integer(quota));
        }
    }
    for (name, key) in [("max-bps", "max_bitrate_per_allocation"), ("bps-capacity", "max_bitrate_total")] {
        let option = options.take(name);
        let line = option.as_ref().map_or(0, |option| option.line);
        if let Some(bytes) = to.number(option).filter(|bytes| *bytes > 0) {
            // coturn counts bytes of each direction, and here bits of both together.
            let kilobits = (bytes.saturating_mul(2 * 8) / 1_000).max(8);
            to.set("relay", key, Value::String(format!("{kilobits}kbit")));
            let remark =
                format!("{name}: bytes of each direction there, bits of both together in relay.{key}");
            to.remarks.push((line, remark));
        }
    }
    if let Some(seconds) = to.number(options.take("max-allocate-lifetime")) {
        to.set("relay", "max_lifetime", Value::String(format!("{}s", seconds.max(600))));
    }
    for (name, fixed) in [("channel-lifetime", 600), ("permission-lifetime", 300)] {
        let option = options.take(name);
        let line = option.as_ref().map_or(0, |option| option.line);
        if to.number(option).is_some_and(|seconds| seconds != fixed) {
            to.missing.push((line, format!("{name}: {fixed} seconds, as RFC 8656 has it")));
        }
    }
}

fn peers(options: &mut Options, to: &mut Translated) {
    for (name, key) in [("allowed-peer-ip", "allow_peers"), ("denied-peer-ip", "deny_peers")] {
        let mut networks = Vec::new();
        for option in options.take_all(name) {
            match range(&option.value) {
                Some(found) => networks.extend(found),
                None => to
                    .missing
                    .push((option.line, format!("{name}={}: no address and no range", option.value))),
            }
        }
        if name == "allowed-peer-ip" && options.take_flag("allow-loopback-peers") {
            networks.extend(["127.0.0.1/32", "::1/128"].map(|net| net.parse::<IpNet>().expect("a network")));
        }
        if !networks.is_empty() {
            let networks = networks.iter().map(|net: &IpNet| Value::String(net.to_string())).collect();
            to.set("relay", key, Value::Array(networks));
        }
    }
}

fn observed(options: &mut Options, to: &mut Translated) {
    let very = options.take("Verbose");
    if let Some(option) = options.take("verbose").or(very) {
        to.set("log", "level", Value::String("debug".to_owned()));
        to.remarks.push((option.line, "verbose: \"info\" tells of each allocation already".to_owned()));
    }
    if let Some(port) = to.number(options.take("prometheus-port")) {
        to.set("metrics", "relay_listen", Value::String(format!("127.0.0.1:{port}")));
    }
    if let Some(option) = options.take("prometheus") {
        let remark = "prometheus: always there, on metrics.relay_listen and metrics.signaling_listen";
        to.remarks.push((option.line, remark.to_owned()));
    }
    match options.take_flag("no-software-attribute") {
        true => {}
        // coturn names itself unless told not to; here it is the other way round.
        false => {
            to.remarks.push((0, "relay.software_attribute = true names this software in answers".to_owned()))
        }
    }
}

impl Translated {
    fn set(&mut self, section: &'static str, key: &'static str, value: Value) {
        self.keys.push((section, key, value));
    }

    fn number(&mut self, option: Option<CoturnOption>) -> Option<i64> {
        let option = option?;
        let number = option.value.parse().ok();
        if number.is_none() {
            self.missing.push((option.line, format!("{}={}: no number", option.name, option.value)));
        }
        number
    }

    fn addresses(&mut self, options: Vec<CoturnOption>) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        for option in options {
            match option.value.trim_matches(['[', ']']).parse() {
                Ok(address) => addresses.push(address),
                Err(_) => {
                    self.missing.push((option.line, format!("{}={}: no address", option.name, option.value)))
                }
            }
        }
        addresses
    }

    /// A configuration with remarks.
    pub(crate) fn to_toml(&self, file: &str) -> String {
        let mut text =
            format!("# From {file}. Look through it, then write it to /etc/turnpike/turnpike.toml\n");
        text.push_str("# and run `turnpike config check`. Keys that are not here have their defaults.\n");
        for (title, lines) in [("To do and to know", &self.remarks), ("Without an equivalent", &self.missing)]
        {
            if !lines.is_empty() {
                _ = writeln!(text, "#\n# {title}:");
                let mut lines: Vec<_> = lines.iter().collect();
                lines.sort();
                for (line, remark) in lines {
                    let place = if *line > 0 { format!("line {line}, ") } else { String::new() };
                    // What coturn's file says must not end the comment.
                    let remark: String =
                        remark.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
                    _ = writeln!(text, "#   {place}{remark}");
                }
            }
        }
        for section in ["node", "auth", "relay", "tls", "metrics", "log"] {
            let keys: Vec<_> = self.keys.iter().filter(|(of, ..)| *of == section).collect();
            let users = if section == "auth" { &self.users[..] } else { &[] };
            if !keys.is_empty() {
                _ = writeln!(text, "\n[{section}]");
            }
            for (_, key, value) in keys {
                _ = writeln!(text, "{key} = {value}");
            }
            for (name, password) in users {
                let [name, password] = [name, password].map(|text| Value::String(text.clone()));
                _ = writeln!(text, "\n[[auth.static_user]]\nusername = {name}\npassword = {password}");
            }
        }
        text
    }
}

/// The networks of one address, of a network, or of a range such as `10.0.0.0-10.255.255.255`.
fn range(text: &str) -> Option<Vec<IpNet>> {
    if let Some((first, last)) = text.split_once('-') {
        return match (first.trim().parse().ok()?, last.trim().parse().ok()?) {
            (IpAddr::V4(first), IpAddr::V4(last)) if first <= last => {
                Some(Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect())
            }
            (IpAddr::V6(first), IpAddr::V6(last)) if first <= last => {
                Some(Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect())
            }
            _ => None,
        };
    }
    let net = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    Some(vec![net.ok()?.trunc()])
}

#[cfg(test)]
mod tests {
    use turnpike_config::{Config, Host, MissingSecret, Request, check_text};

    use super::*;

    fn config(toml: &str) -> Config {
        let request = Request {
            file: Some("/etc/turnpike/turnpike.toml".into()),
            this_machine: false,
            missing_secret: MissingSecret::StandIn,
        };
        check_text(&request, toml, &Host { cores: 1, ..Host::default() })
            .unwrap_or_else(|error| panic!("{error}\n{toml}"))
    }

    const FULL: &str = "\
listening-port=3479
tls-listening-port=443
listening-ip=10.0.0.5
external-ip=198.18.0.1/10.0.0.5
min-port=50000
max-port=50999
fingerprint
use-auth-secret
static-auth-secret=too-short
user=alice:word
user=bob:0xabcdef
realm=example.org
total-quota=100
user-quota=12
max-bps=64000
denied-peer-ip=192.0.2.0-192.0.2.130
allowed-peer-ip=10.1.2.3
cert=/etc/c.pem
pkey=/etc/k.pem
mobility
no-multicast-peers
";

    #[test]
    fn what_coturn_was_told_is_told_here() {
        let translated = translate(FULL).to_toml("turnserver.conf");
        let Config { node, auth, relay, tls, .. } = config(&translated);
        assert_eq!(relay.listen_udp, ["10.0.0.5:3479".parse().unwrap()]);
        assert_eq!(relay.listen_tcp, relay.listen_udp);
        assert_eq!(node.public_ipv4.unwrap().address, IpAddr::from([198, 18, 0, 1]));
        assert_eq!(relay.relay_ipv4.unwrap().bound, IpAddr::from([10, 0, 0, 5]));
        assert_eq!(
            (relay.port_range, relay.max_allocations, relay.max_allocations_per_subject),
            ((50_000, 50_999), 100, 12)
        );
        assert_eq!(relay.max_bitrate_per_allocation, 1_024_000);
        let denied: Vec<String> = relay.deny_peers.iter().map(ToString::to_string).collect();
        assert_eq!(denied, ["192.0.2.0/25", "192.0.2.128/31", "192.0.2.130/32"]);
        assert_eq!(relay.allow_peers, ["10.1.2.3/32".parse().unwrap()]);
        assert_eq!((auth.realm.as_str(), auth.static_users.len()), ("example.org", 1));
        assert_eq!(tls.unwrap().listen, ["10.0.0.5:443".parse().unwrap()]);
        for remark in [
            "line 9, static-auth-secret: write its value as a line into the file of auth.secret_file; it is shorter than",
            "line 11, user: a hashed key",
            "line 20, mobility",
            "line 21, no-multicast-peers: not needed",
        ] {
            assert!(translated.contains(remark), "{remark}: {translated}");
        }
        assert!(!translated.contains("too-short"), "a secret is not for a screen: {translated}");
    }

    #[test]
    fn what_is_no_option_breaks_no_line() {
        let translated =
            translate("min-port=many\nrelay-ip=here\nuser=a\"b:c\\d\nfree \u{7}text\n").to_toml("t");
        assert!(translated.contains("line 1, min-port=many: no number"), "{translated}");
        assert!(translated.contains("relay-ip=here: no address"), "{translated}");
        let toml: toml::Table = translated.parse().unwrap();
        assert_eq!(toml["auth"]["static_user"][0]["username"].as_str(), Some("a\"b"));
    }
}
