//! The long-term credential mechanism, in the order of RFC 8489 §9.2.4.

use std::{thread, time::Duration};

use turnpike_turn_client::{AlgorithmChoice, Credentials, Signer, Writer, attribute, method};

use crate::{
    Rule,
    client::{Client, allocate},
    describe, expect,
    finding::{Check, Finding},
    lab::{Lab, unix_now},
};

/// Longest name that must be parsed, in bytes (RFC 8489 §14.3).
const LONGEST_NAME: usize = 763;

pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::wire(
            24,
            "S9.2.4",
            "no MESSAGE-INTEGRITY: 401 with REALM and NONCE, no USERNAME, unsigned",
            unsigned,
        ),
        Rule::wire(25, "S9.2.4", "MESSAGE-INTEGRITY but no USERNAME, REALM or NONCE: bare 400", incomplete),
        Rule::wire(
            26,
            "S9.2.4",
            "Allocate by an unknown or expired user: 401; a live allocation outlives the expiry",
            unknown_or_expired,
        ),
        Rule::wire(27, "S9.2.4", "wrong MAC: 401 with REALM and NONCE", wrong_mac),
        Rule::wire(
            39,
            "S14.3, 14.9-10",
            "USERNAME, REALM, NONCE of 763 bytes are parsed, longer ones refused cleanly",
            long_names,
        ),
        Rule::wire(40, "S9.2.4, T5", "another realm: 401", other_realm),
    ]
}

fn unsigned(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    for method in [method::ALLOCATE, method::REFRESH, method::CREATE_PERMISSION, method::CHANNEL_BIND] {
        let answer = client.ask(&Writer::request(method).requested_transport(17))?;
        let challenge = expect::challenge("an unsigned request", &answer, 401)?;
        expect::lacks(
            "that 401",
            &answer,
            &[attribute::USERNAME, attribute::MESSAGE_INTEGRITY, attribute::MESSAGE_INTEGRITY_SHA256],
        )?;
        if let Some(realm) = &lab.target.realm {
            expect::equal("REALM", &String::from_utf8_lossy(&challenge.realm).as_ref(), &realm.as_str())?;
        }
    }
    Ok(())
}

fn incomplete(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    let signer = client.signer()?;
    let all = [
        (attribute::USERNAME, signer.username.as_bytes()),
        (attribute::REALM, &signer.challenge.realm),
        (attribute::NONCE, &signer.challenge.nonce),
    ];
    for (missing, _) in all {
        let present = all.iter().filter(|(kind, _)| *kind != missing);
        let request = present.fold(allocate(), |request, (kind, value)| request.attribute(*kind, value));
        let answer = client.ask(&signer.mac(request))?;
        let what = format!("an Allocate without {}", describe::attribute_name(missing));
        expect::code(&what, &answer, 400)?;
        expect::lacks(
            "that 400",
            &answer,
            &[attribute::REALM, attribute::NONCE, attribute::MESSAGE_INTEGRITY],
        )?;
    }
    Ok(())
}

/// A 401 that is challenged as well as the first one was.
fn is_unauthorized(client: &mut Client, what: &str) -> Check {
    let offered = client.challenge()?.algorithms.is_some();
    let answer = client.ask_signed(allocate())?;
    let challenge = expect::challenge(what, &answer, 401)?;
    expect::that(
        challenge.algorithms.is_some() == offered,
        "PASSWORD-ALGORITHMS as in the first 401",
        "not so",
    )
}

fn unknown_or_expired(lab: &Lab<'_>) -> Check {
    let past = unix_now() - 10;
    for (what, credentials) in [
        ("an Allocate by an unknown user", Credentials::new("nobody", "secret")),
        ("an Allocate by an expired user", lab.credentials_until(past)),
    ] {
        let mut client = lab.client()?;
        client.credentials = credentials;
        is_unauthorized(&mut client, what)?;
    }
    let mut client = lab.client()?;
    client.credentials = lab.credentials_until(unix_now() + 2);
    client.allocate()?;
    thread::sleep(Duration::from_millis(3100));
    let refreshed = client.refresh(None)?;
    expect::success("a Refresh after the credential's expiry", &refreshed)?;
    let peer = lab.peer()?;
    let permitted = client.create_permission(&[peer.address])?;
    expect::success("a CreatePermission after the credential's expiry", &permitted)
}

fn wrong_mac(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    let mut signer = client.signer()?;
    signer.key[0] ^= 0x01;
    client.sign_with(signer.clone());
    is_unauthorized(&mut client, "an Allocate with a wrong MAC")?;
    for length in [0, 16, 19, 21, 32] {
        let request = signer.identify(allocate()).attribute(attribute::MESSAGE_INTEGRITY, &vec![7; length]);
        let answer = client.ask(&request)?;
        expect::any_code(&format!("a MESSAGE-INTEGRITY of {length} bytes"), &answer, &[400, 401])?;
    }
    Ok(())
}

fn long_names(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    let signer = client.signer()?;
    let plain = signer.username.clone();
    let longest = format!("{plain}{}", "x".repeat(LONGEST_NAME - plain.len()));
    let credentials = Credentials::of_secret(lab.target.secret.as_bytes(), longest);
    let long = Signer::new(&credentials, signer.challenge.clone(), AlgorithmChoice::Legacy);
    let answer = client.ask(&long.sign(allocate()))?;
    expect::success(&format!("an Allocate with a right USERNAME of {LONGEST_NAME} bytes"), &answer)?;
    client.ask(&long.sign(Writer::request(method::REFRESH).lifetime(0)))?;
    for length in [LONGEST_NAME, LONGEST_NAME + 1, 4000] {
        let name = vec![b'x'; length];
        for kind in [attribute::USERNAME, attribute::REALM, attribute::NONCE] {
            let mut one = signer.clone();
            match kind {
                attribute::USERNAME => one.username = "x".repeat(length),
                attribute::REALM => one.challenge.realm.clone_from(&name),
                _ => one.challenge.nonce.clone_from(&name),
            }
            let what = format!("{} of {length} bytes", describe::attribute_name(kind));
            let answer = client.ask(&one.sign(allocate()))?;
            expect::any_code(&what, &answer, &[400, 401, 438])?;
        }
    }
    expect::success("a Binding behind them", &client.ask(&Writer::request(method::BINDING))?)
}

fn other_realm(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    let mut challenge = client.challenge()?;
    challenge.realm = b"some.other.realm".to_vec();
    let consistent = Signer::new(&client.credentials, challenge.clone(), AlgorithmChoice::Legacy);
    let answer = client.ask(&consistent.sign(allocate()))?;
    expect::challenge("an Allocate in another realm", &answer, 401)?;
    let mut named_only = client.signer()?;
    named_only.challenge.realm = challenge.realm;
    let answer = client.ask(&named_only.sign(allocate()))?;
    let refused = expect::challenge("an Allocate that names another realm", &answer, 401)?;
    match refused.realm == client.signer()?.challenge.realm {
        true => Ok(()),
        false => Err(Finding::fail("the server's own REALM in that 401", "another one")),
    }
}
