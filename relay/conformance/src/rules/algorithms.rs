//! Password algorithms, MESSAGE-INTEGRITY-SHA256 and bid-down protection.

use turnpike_turn_client::{
    AlgorithmChoice, Challenge, Signer, Writer, attribute, integrity::PasswordAlgorithm, method,
};

use crate::{
    Rule,
    client::{Client, allocate},
    describe, expect,
    finding::{Check, Finding},
    lab::Lab,
};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::wire(
            33,
            "S9.2.4, S18.1",
            "PASSWORD-ALGORITHMS in 401 and 438 when bit 0 is set, and only then",
            offer,
        ),
        Rule::wire(34, "S9.2.4", "no word about algorithms: MD5 is used", legacy),
        Rule::wire(
            35,
            "S9.2.4, S16.1.3",
            "only one of the two attributes, another list, a choice not in it: 400",
            bid_down,
        ),
        Rule::wire(
            36,
            "S9.2.2, S9.2.4, S14.6",
            "SHA-256 keys and MACs serve; who names MD5 is answered with SHA-256 too",
            sha256,
        ),
        Rule::wire(37, "S14.6", "truncated MESSAGE-INTEGRITY-SHA256: refused", truncated),
    ]
}

fn offer(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    let first = client.challenge()?;
    let mut signer = Signer::new(&client.credentials, first.clone(), AlgorithmChoice::Legacy);
    signer.challenge.nonce.push(b'x');
    let answer = client.ask(&signer.sign(allocate()))?;
    let stale = expect::challenge("a stale nonce", &answer, 438)?;
    for (what, challenge) in [("401", first), ("438", stale)] {
        let (bit, list) = (challenge.has_algorithms_bit(), challenge.algorithms.is_some());
        let seen = format!("the bit is {}, the list is {}", set(bit), if list { "there" } else { "missing" });
        expect::that(
            bit == list,
            format!("PASSWORD-ALGORITHMS in the {what} exactly when bit 0 is set"),
            seen,
        )?;
    }
    Ok(())
}

fn set(bit: bool) -> &'static str {
    if bit { "set" } else { "not set" }
}

fn legacy(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    let challenge = client.challenge()?;
    let signer = Signer::new(&client.credentials, challenge, AlgorithmChoice::Legacy);
    let answer = client.ask(&signer.sign(allocate()))?;
    client.sign_with(signer.clone());
    expect::success("an Allocate with an MD5 key and no word about algorithms", &answer)?;
    expect::that(signer.verifies(&answer), "an answer signed with that key", describe::message(&answer))?;
    expect::success("Refresh 0", &client.refresh(Some(0))?)
}

fn bid_down(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    let challenge = client.challenge()?;
    let list = challenge.algorithms.clone().unwrap_or_else(|| [0, 2, 0, 0, 0, 1, 0, 0].to_vec());
    let mut reversed: Vec<u8> = list.chunks(4).rev().flatten().copied().collect();
    if reversed == list {
        reversed.extend([0, 9, 0, 0]);
    }
    let md5 = PasswordAlgorithm::Md5.value();
    let (one, all) = (attribute::PASSWORD_ALGORITHM, attribute::PASSWORD_ALGORITHMS);
    type Attributes<'a> = &'a [(u16, &'a [u8])];
    let cases: [(&str, Attributes<'_>); 5] = [
        ("only PASSWORD-ALGORITHM", &[(one, &md5)]),
        ("only PASSWORD-ALGORITHMS", &[(all, &list)]),
        ("another order of PASSWORD-ALGORITHMS", &[(one, &md5), (all, &reversed)]),
        ("PASSWORD-ALGORITHMS cut down to MD5", &[(one, &md5), (all, &md5)]),
        ("a choice that is not in the list", &[(one, &[0, 9, 0, 0]), (all, &list)]),
    ];
    let signer = Signer::new(&client.credentials, challenge, AlgorithmChoice::Legacy);
    for (what, attributes) in cases {
        let request = signer.identify(allocate());
        let request =
            attributes.iter().fold(request, |request, (kind, value)| request.attribute(*kind, value));
        let answer = client.ask(&request.message_integrity(&signer.key))?;
        if answer.is_success() {
            client.sign_with(signer.clone());
            client.refresh(Some(0))?;
        }
        expect::code(what, &answer, 400)?;
    }
    Ok(())
}

fn offered(client: &mut Client) -> Result<Challenge, Finding> {
    let challenge = client.challenge()?;
    match challenge.offers(PasswordAlgorithm::Sha256) {
        true => Ok(challenge),
        false => Err(Finding::fail("PASSWORD-ALGORITHMS with SHA-256 in the 401", "none offered")),
    }
}

fn sha256(lab: &Lab<'_>) -> Check {
    for algorithm in [PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5] {
        let mut client = lab.client()?;
        let challenge = offered(&mut client)?;
        let signer = Signer::new(&client.credentials, challenge, AlgorithmChoice::Named(algorithm));
        client.sign_with(signer.clone());
        let what = format!("an Allocate that names {algorithm:?}");
        for (what, request) in [(what.as_str(), allocate()), ("a Refresh", Writer::request(method::REFRESH))]
        {
            let answer = client.ask_signed(request)?;
            expect::success(what, &answer)?;
            let signed = signer.verifies(&answer) && !answer.has(attribute::MESSAGE_INTEGRITY);
            let expected = format!("MESSAGE-INTEGRITY-SHA256, right and alone, in the answer to {what}");
            expect::that(signed, expected, describe::message(&answer))?;
        }
        let mut wrong = signer;
        wrong.key[0] ^= 0x01;
        expect::code(
            "a wrong MESSAGE-INTEGRITY-SHA256",
            &client.ask(&wrong.sign(Writer::request(method::REFRESH)))?,
            401,
        )?;
    }
    Ok(())
}

fn truncated(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    let challenge = client.challenge()?;
    if !challenge.offers(PasswordAlgorithm::Sha256) {
        return Err(Finding::not_applicable("there is no MESSAGE-INTEGRITY-SHA256 here (rule 36)"));
    }
    let choice = AlgorithmChoice::Named(PasswordAlgorithm::Sha256);
    let signer = Signer::new(&client.credentials, challenge, choice);
    for length in [0, 4, 16, 20, 28, 31] {
        let unsigned = signer.identify(allocate());
        // The MAC of a message whose length field counts the truncated attribute.
        let placed = unsigned.clone().attribute(attribute::MESSAGE_INTEGRITY_SHA256, &vec![0; length]);
        let mut covered = unsigned.bytes().to_vec();
        covered[2..4].copy_from_slice(&placed.bytes()[2..4]);
        let tag = turnpike_turn_client::integrity::hmac_sha256(&signer.key, &covered);
        let request = unsigned.attribute(attribute::MESSAGE_INTEGRITY_SHA256, &tag[..length]);
        let answer = client.ask(&request)?;
        expect::any_code(&format!("a MESSAGE-INTEGRITY-SHA256 of {length} bytes"), &answer, &[400, 401])?;
    }
    Ok(())
}
