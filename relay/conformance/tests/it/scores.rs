//! The table in relay/README.md is what a run prints. `UPDATE_SCORES=1` writes it anew.

use std::{env, fs, path::PathBuf};

use turnpike_conformance::{Column, Report, markdown, score};

use crate::{
    coturn::{Coturn, DENIED, REALM},
    ports,
    turnpike::Turnpike,
};

/// What stands around the table.
const START: &str = "<!-- scores -->\n";
const END: &str = "<!-- end of scores -->";
/// Ports of a server that is run out of them.
const SMALL: u16 = 16;
/// Where a server sends its clients.
const ALTERNATE: &str = "127.0.0.9:3478";
/// Options that bring coturn closer to the RFCs than its defaults do.
const STRICT: [&str; 2] = ["--no-stun-backward-compatibility", "--response-origin-only-with-rfc5780"];

fn coturn() -> Vec<Report> {
    let usual = Coturn::start(&STRICT);
    let ipv6 = format!("[::1]:{}", usual.port);
    let usual = score(
        &usual.target(&["--realm", REALM, "--software", "on", "--denied-peer", DENIED, "--ipv6", &ipv6]),
        &[],
    );
    let first = ports::free_range(SMALL);
    let last = first + SMALL - 1;
    let (first, last) = (first.to_string(), last.to_string());
    let small = Coturn::start(&[
        "--min-port",
        &first,
        "--max-port",
        &last,
        "--user-quota",
        "3",
        "--no-software-attribute",
    ]);
    let range = format!("{first}-{last}");
    let small =
        score(&small.target(&["--software", "off", "--quota", "3", "--ports", &range]), &[21, 56, 59, 60]);
    let elsewhere = Coturn::start(&["--alternate-server", ALTERNATE]);
    let elsewhere = score(&elsewhere.target(&["--alternate", ALTERNATE]), &[65]);
    let slow = Coturn::start(&["--max-bps", "50000"]);
    let slow = score(&slow.target(&["--user-bitrate", "400000"]), &[94]);
    vec![usual, small, elsewhere, slow]
}

fn turnpike(transport: &str) -> Vec<Report> {
    let limits = ["--max-permissions", "128", "--max-channels", "128"];
    let usual =
        [&["--own", "--realm", REALM, "--software", "off", "--denied-peer", DENIED][..], &limits].concat();
    let server = Turnpike::start("");
    let ipv6 = server.ipv6().to_string();
    let usual = score(&server.target(transport, &[&usual[..], &["--ipv6", &ipv6]].concat()), &[]);
    let first = ports::free_range(SMALL);
    let last = first + SMALL - 1;
    let small = format!(
        "port_range = [{first}, {last}]\nmax_allocations = {SMALL}\nmax_allocations_per_subject = 3\nsoftware_attribute = true"
    );
    let small = Turnpike::start(&small);
    let range = format!("{first}-{last}");
    let arguments = ["--own", "--software", "on", "--quota", "3", "--ports", &range];
    let small = score(&small.target(transport, &arguments), &[21, 56, 59, 60]);
    let slow = Turnpike::start("max_bitrate_per_subject = \"400kbit\"");
    let slow = score(&slow.target(transport, &["--own", "--user-bitrate", "400000"]), &[94]);
    let mut runs = vec![usual, small, slow];
    // Over TLS nobody is sent elsewhere: the certificate there has another name.
    if transport != "tls" {
        let elsewhere = Turnpike::start(&format!("drain_alternate = \"{ALTERNATE}\""));
        elsewhere.drain();
        runs.push(score(&elsewhere.target(transport, &["--own", "--alternate", ALTERNATE]), &[65]));
    }
    runs
}

/// The rows of rules without the last column: how coturn does under load is not ours to promise.
fn rows(text: &str) -> Vec<&str> {
    let rows = text.lines().filter(|line| line.starts_with("| "));
    rows.filter_map(|row| row.trim_end_matches(" |").rsplit_once(" | ")).map(|(ours, _)| ours).collect()
}

#[test]
fn the_committed_scores_are_what_a_run_gives() {
    let ours = |transport| Column {
        name: format!("Turnpike {}", env!("CARGO_PKG_VERSION")),
        runs: turnpike(transport),
    };
    let theirs = Column { name: format!("coturn {}", Coturn::version()), runs: coturn() };
    let columns = [ours("udp"), ours("tcp"), ours("tls"), theirs];
    for run in columns.iter().flat_map(|column| &column.runs) {
        println!("{}", run.table(false));
    }
    let text = markdown(&columns);
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let page = fs::read_to_string(&file).unwrap();
    let (before, rest) = page.split_once(START).expect("the page has the mark of the scores");
    let (committed, after) = rest.split_once(END).expect("the scores end at a mark");
    if env::var_os("UPDATE_SCORES").is_some() {
        fs::write(&file, format!("{before}{START}{text}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(rows(&text), rows(committed), "if that is right, write the page anew: UPDATE_SCORES=1");
}
