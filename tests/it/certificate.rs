//! What is said of the TLS certificate before anything is bound.

use std::{net::Ipv4Addr, process::Output};

use crate::{
    authority::{Authority, DOMAIN},
    node::Site,
};

/// A site whose certificate is for these names.
fn site(names: &[&str]) -> Site {
    let site = Site::new(Ipv4Addr::LOCALHOST, "").with_tls();
    Authority::new().sign(site.folder.path(), names);
    site
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_check_tells_what_the_certificate_is_good_for() {
    let output = site(&[DOMAIN, "127.0.0.1"]).command(&["config", "check"]).output().unwrap();
    let said = said(&output);
    assert!(output.status.success(), "{said}");
    let line = said.lines().find(|line| line.starts_with("ok    tls")).unwrap();
    assert!(line.contains(&format!("certificate for {DOMAIN}, 127.0.0.1 until ")), "{said}");
}

#[test]
fn a_certificate_that_clients_would_refuse_stops_the_start_before_anything_is_bound() {
    let site = site(&["other.example.org"]);
    let output = site.command(&["config", "check"]).output().unwrap();
    let line = format!("is for other.example.org, not for {DOMAIN}");
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).lines().any(|said| said.starts_with("FAIL  tls") && said.contains(&line)));

    for service in ["run", "relay"] {
        let output = site.command(&[service]).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("turnpike: the TLS certificate in ") && stderr.contains(&line), "{stderr}");
        assert_eq!(output.status.code(), Some(1));
        assert!(!site.folder.path().join("state").exists(), "nothing is made or bound");
    }
}
