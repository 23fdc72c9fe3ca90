//! `turnpike init` on machines of many kinds, each a network namespace with a metadata service of its own or none.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener, UdpSocket},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Output},
    thread,
};

use turnpike_turn_client::{Kind, Message, Writer, attribute, encode_xor_address};

use crate::{
    namespace::{alone, interface, ip},
    node::{Site, turnpike},
};

const BINDING_SUCCESS: Kind = Kind(0x0101);
const METADATA: (Ipv4Addr, u16) = (Ipv4Addr::new(169, 254, 169, 254), 80);

/// What a service of a cloud answers to a request: method, path, headers in small letters; `None` is 404.
type Answers = fn(&str, &str, &str) -> Option<&'static str>;

/// Answers on the address of metadata services, in the namespace of the caller, until the process ends.
fn serve(answers: Answers) {
    ip("address add 169.254.169.254/32 dev lo");
    let listener = TcpListener::bind(METADATA).unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                let Some(first) = lines.next() else { return };
                let headers: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
                let mut words = first.split(' ');
                let (method, path) = (words.next().unwrap(), words.next().unwrap());
                let answer = answers(method, path, &headers.join("\n").to_lowercase());
                let (status, body) = answer.map_or(("404 Not Found", ""), |body| ("200 OK", body));
                let length = body.len();
                // The asker may have gone.
                let _ = write!(
                    &stream,
                    "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
            });
        }
    });
}

/// A service that nobody has asked for as long as nothing is accepted from it.
fn nobody() -> TcpListener {
    ip("address add 169.254.169.254/32 dev lo");
    let listener = TcpListener::bind(METADATA).unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

fn aws(method: &str, path: &str, headers: &str) -> Option<&'static str> {
    match (method, path) {
        ("PUT", "/latest/api/token") if headers.contains("x-aws-ec2-metadata-token-ttl-seconds: ") => {
            Some("t0ken")
        }
        ("GET", "/latest/meta-data/public-ipv4") if headers.contains("x-aws-ec2-metadata-token: t0ken") => {
            Some("198.18.7.1")
        }
        _ => None,
    }
}

fn gcp(_: &str, path: &str, headers: &str) -> Option<&'static str> {
    let is_it = path == "/computeMetadata/v1/instance/network-interfaces/0/access-configs/0/external-ip";
    (is_it && headers.contains("metadata-flavor: google")).then_some("198.18.7.2\n")
}

fn azure(_: &str, path: &str, headers: &str) -> Option<&'static str> {
    if !headers.contains("metadata: true") {
        return None;
    }
    match path.split('?').next()? {
        // As with an address of the standard kind.
        "/metadata/instance/network/interface/0/ipv4/ipAddress/0/publicIpAddress" => Some(""),
        "/metadata/loadbalancer" => Some(
            r#"{"loadbalancer":{"publicIpAddresses":[{"frontendIpAddress":"198.18.7.3","privateIpAddress":"10.0.0.5"}]}}"#,
        ),
        _ => None,
    }
}

fn hetzner(_: &str, path: &str, _: &str) -> Option<&'static str> {
    (path == "/hetzner/v1/metadata/public-ipv4").then_some("198.18.7.4")
}

fn digital_ocean(_: &str, path: &str, _: &str) -> Option<&'static str> {
    (path == "/metadata/v1/interfaces/public/0/ipv4/address").then_some("198.18.7.5")
}

fn vultr(_: &str, path: &str, _: &str) -> Option<&'static str> {
    (path == "/v1/interfaces/0/ipv4/address").then_some("198.18.7.6")
}

fn init(config: &Path, arguments: &[&str]) -> Output {
    let mut command = turnpike(&["init", "--non-interactive", "--config"]);
    command.arg(config).args(arguments).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

/// What stands in the configuration but for comments.
fn keys(config: &Path) -> String {
    let text = fs::read_to_string(config).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn each_cloud_tells_the_address_behind_its_nat() {
    let clouds: [(&str, Answers, &str); 6] = [
        ("AWS", aws, "198.18.7.1"),
        ("Google Cloud", gcp, "198.18.7.2"),
        ("Azure", azure, "198.18.7.3"),
        ("Hetzner", hetzner, "198.18.7.4"),
        ("DigitalOcean", digital_ocean, "198.18.7.5"),
        ("Vultr", vultr, "198.18.7.6"),
    ];
    for (name, answers, address) in clouds {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("turnpike.toml");
        alone(|| {
            interface("eth0", &["10.0.0.5/24"]);
            serve(answers);
            let output = init(&config, &["--domain", "turn.example.org"]);
            let said = said(&output);
            assert!(output.status.success(), "{said}");
            let learned = format!("{address} (told by the metadata service of {name})");
            assert!(
                said.contains(&learned)
                    && said.contains("10.0.0.5 (found on interface eth0) behind a 1:1 NAT"),
                "{said}"
            );
            assert!(said.contains(&format!("turn.example.org. A    {address}")), "{said}");
            assert!(said.contains("49152-65535/udp  relayed media"), "{said}");

            let check =
                turnpike(&["config", "check", "--config", config.to_str().unwrap()]).output().unwrap();
            assert!(
                self::said(&check).contains("relay       ports 49152-65535 on 10.0.0.5"),
                "{}",
                self::said(&check)
            );
        });
        assert_eq!(
            keys(&config),
            format!(
                "[node]\ndomain = \"turn.example.org\"\npublic_ipv4 = \"{address}\"\n[relay]\nrelay_ipv4 = \"10.0.0.5\"\n\
                 [auth]\nsecret_file = \"secret\""
            )
        );
    }
}

#[test]
fn a_public_address_of_an_interface_asks_nobody_and_is_found_again_at_each_start() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("turnpike.toml");
    alone(|| {
        interface("eth0", &["198.18.0.1/24", "2001:db8::1/64"]);
        let service = nobody();
        let output = init(&config, &["--domain", "turn.example.org", "--email", "admin@example.org"]);
        assert!(service.accept().is_err(), "the metadata service was asked");
        let said = said(&output);
        assert!(output.status.success(), "{said}");
        assert!(said.contains("turn.example.org. A    198.18.0.1\n"), "{said}");
        assert!(said.contains("turn.example.org. AAAA 2001:db8::1\n") && said.contains("80/tcp"), "{said}");
    });
    assert_eq!(
        keys(&config),
        "[node]\ndomain = \"turn.example.org\"\n[tls]\nmode = \"acme\"\nacme_email = \"admin@example.org\"\n[auth]\n\
         secret_file = \"secret\""
    );
    for file in [&config, &folder.path().join("secret")] {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o640, "{file:?}");
    }
}

#[test]
fn a_machine_without_a_public_address_says_whom_it_serves() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("turnpike.toml");
    alone(|| {
        interface("eth0", &["10.0.0.5/24"]);
        let output = init(&config, &[]);
        assert!(output.status.success(), "{}", said(&output));
        assert!(said(&output).contains("which strangers cannot reach"), "{}", said(&output));
    });
    assert!(keys(&config).contains("allow_private_address = true"));
}

/// Sees everybody at 198.18.9.9.
fn stun_server() -> u16 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = socket.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut datagram = [0; 1500];
        while let Ok((length, from)) = socket.recv_from(&mut datagram) {
            let Ok(request) = Message::read(&datagram[..length]) else { continue };
            let mapped = encode_xor_address("198.18.9.9:5000".parse().unwrap(), request.transaction());
            let answer = Writer::new(BINDING_SUCCESS, request.transaction());
            socket.send_to(answer.attribute(attribute::XOR_MAPPED_ADDRESS, &mapped).bytes(), from).unwrap();
        }
    });
    port
}

#[test]
fn a_stun_server_tells_the_address_where_no_cloud_does_and_the_configuration_may_name_both() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("turnpike.toml");
    alone(|| {
        interface("eth0", &["10.0.0.5/24"]);
        let server = format!("127.0.0.1:{}", stun_server());
        let output = init(&config, &["--stun", &server]);
        assert!(
            said(&output).contains(&format!("198.18.9.9 (seen by the STUN server {server})")),
            "{}",
            said(&output)
        );

        serve(aws);
        let learned = |detect: &str| {
            fs::write(&config, format!("[node]\ndetect = {detect}\n[auth]\nsecret_file = \"secret\"\n"))
                .unwrap();
            let shown = turnpike(&["config", "show", "--effective", "--config", config.to_str().unwrap()])
                .output()
                .unwrap();
            said(&shown)
        };
        let stun = format!("\"stun:{server}\"");
        assert!(learned(&format!("[{stun}]")).contains(": 198.18.9.9 (seen by the STUN server"));
        assert!(
            learned(&format!("[\"interface\", \"metadata\", {stun}]"))
                .contains(": 198.18.7.1 (told by the metadata")
        );
        assert!(
            learned("[\"interface\"]").contains("is 10.0.0.5 (found on interface eth0), a private address")
        );
    });
}

#[test]
fn nothing_is_ever_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("turnpike.toml");
    fs::write(&config, "[node]\nallow_private_address = true\n[auth]\nsecret_file = \"secret\"\n").unwrap();
    alone(|| {
        let refused = init(&config, &[]);
        assert_eq!(refused.status.code(), Some(1));
        assert!(said(&refused).contains("is there already, and is never overwritten"), "{}", said(&refused));
        let left = init(&config, &["--if-missing"]);
        assert!(left.status.success() && said(&left).contains("made a new secret in"), "{}", said(&left));
        let secret = fs::read(folder.path().join("secret")).unwrap();
        assert!(init(&config, &["--if-missing"]).status.success());
        assert_eq!(fs::read(folder.path().join("secret")).unwrap(), secret);
    });
    assert!(fs::read_to_string(&config).unwrap().starts_with("[node]\nallow_private_address"));
    let alone_with_email = init(&folder.path().join("other.toml"), &["--email", "a@example.org"]);
    assert!(said(&alone_with_email).contains("give --domain too"));
}

#[test]
fn an_address_that_changes_while_the_relay_runs_is_told() {
    alone(|| {
        interface("eth0", &["198.18.0.1/24"]);
        let site = Site::new(Ipv4Addr::LOCALHOST, "");
        let config = fs::read_to_string(site.config()).unwrap();
        let config =
            config.replace("public_ipv4 = \"127.0.0.1\"\n", "").replace("relay_ipv4 = \"127.0.0.1\"\n", "");
        fs::write(site.config(), config).unwrap();
        let node = site.start("relay");
        ip("address del 198.18.0.1/24 dev eth0");
        ip("address add 198.18.0.2/24 dev eth0");
        let told = node
            .log
            .wait_for_start("198.18.0.1 is advertised, and this machine's public address is 198.18.0.2");
        assert_eq!(told["code"], "address_changed");
        let status = said(&node.site.command(&["status"]).output().unwrap());
        assert!(status.contains("Restart     198.18.0.1 is advertised"), "{status}");
        let doctor = said(&node.site.command(&["doctor", "--only", "config"]).output().unwrap());
        assert!(doctor.contains("warn  config      198.18.0.1 is advertised"), "{doctor}");
    });
}

#[test]
fn a_command_that_is_not_to_ask_does_not() {
    alone(|| {
        interface("eth0", &["198.18.0.1/24"]);
        let service = nobody();
        let mut command = Command::new(env!("CARGO_BIN_EXE_turnpike"));
        let shown = command.args(["config", "show", "--effective"]).env("HOME", "/nowhere").output().unwrap();
        assert!(shown.status.success(), "{}", said(&shown));
        assert!(service.accept().is_err(), "the metadata service was asked");
    });
}
