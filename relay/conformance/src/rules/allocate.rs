//! Allocate: what it must and must not have.

use turnpike_turn_client::{Message, Writer, attribute, method};

use crate::{
    Rule,
    client::{UDP, allocate, relayed},
    describe, expect,
    finding::{Check, Finding},
    lab::Lab,
};

const IPV4: [u8; 4] = [1, 0, 0, 0];
const IPV6: [u8; 4] = [2, 0, 0, 0];

pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::wire(47, "T7.2-3", "REQUESTED-TRANSPORT missing or malformed: 400", missing_transport),
        Rule::wire(48, "T7.2-3", "REQUESTED-TRANSPORT other than UDP: 442", other_transport),
        Rule::wire(49, "T7.2-4", "DONT-FRAGMENT: served, or 420 that lists it", dont_fragment),
        Rule::wire(
            50,
            "T7.2-5",
            "RESERVATION-TOKEN with EVEN-PORT or an address family: 400",
            token_excludes,
        ),
        Rule::wire(51, "T7.2-5", "bad or used RESERVATION-TOKEN: 508", bad_token),
        Rule::wire(52, "T7.2-6", "REQUESTED- and ADDITIONAL-ADDRESS-FAMILY together: 400", both_families),
        Rule::wire(53, "T7.2-7", "unsupported family: 440", unsupported_family),
        Rule::wire(
            54,
            "T7.2-7",
            "no family attribute: IPv4 relayed address, 440 if that is off",
            default_family,
        ),
        Rule::wire(
            55,
            "T7.2-8",
            "EVEN-PORT with R=1 and ADDITIONAL-ADDRESS-FAMILY: 400",
            pair_of_two_families,
        ),
        Rule::wire(
            58,
            "T7.2-9",
            "ADDITIONAL-ADDRESS-FAMILY: IPv4 is a 400, IPv6 gives two addresses or ADDRESS-ERROR-CODE",
            additional_family,
        ),
        Rule::wire(62, "T7.2", "lifetime is max(600, min(asked, maximum))", lifetimes),
        Rule::wire(63, "T7.2", "success has XOR-RELAYED-ADDRESS, LIFETIME, XOR-MAPPED-ADDRESS", success),
    ]
}

fn is_refused(lab: &Lab<'_>, what: &str, request: Writer, code: u16) -> Check {
    let mut client = lab.client()?;
    expect::code(what, &client.ask_signed(request)?, code)
}

fn missing_transport(lab: &Lab<'_>) -> Check {
    is_refused(lab, "an Allocate without REQUESTED-TRANSPORT", Writer::request(method::ALLOCATE), 400)?;
    for value in [&[UDP][..], &[UDP, 0], &[UDP, 0, 0, 0, 0, 0, 0, 0], &[]] {
        let request = Writer::request(method::ALLOCATE).attribute(attribute::REQUESTED_TRANSPORT, value);
        is_refused(lab, &format!("a REQUESTED-TRANSPORT of {} bytes", value.len()), request, 400)?;
    }
    Ok(())
}

fn other_transport(lab: &Lab<'_>) -> Check {
    for protocol in [1, 41, 132, 255, 0] {
        let request = Writer::request(method::ALLOCATE).requested_transport(protocol);
        is_refused(lab, &format!("protocol {protocol}"), request, 442)?;
    }
    Ok(())
}

fn dont_fragment(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    let answer = client.ask_signed(allocate().attribute(attribute::DONT_FRAGMENT, b""))?;
    if answer.is_success() {
        return Ok(());
    }
    expect::code("an Allocate with DONT-FRAGMENT that is not served", &answer, 420)?;
    expect::equal("UNKNOWN-ATTRIBUTES", &answer.unknown_attributes(), &vec![attribute::DONT_FRAGMENT])
}

fn token_excludes(lab: &Lab<'_>) -> Check {
    let others = [
        (attribute::EVEN_PORT, &[0x00][..]),
        (attribute::EVEN_PORT, &[0x80]),
        (attribute::REQUESTED_ADDRESS_FAMILY, &IPV4),
        (attribute::ADDITIONAL_ADDRESS_FAMILY, &IPV6),
    ];
    for (kind, value) in others {
        let what = format!("RESERVATION-TOKEN with {}", describe::attribute_name(kind));
        let request = allocate().attribute(attribute::RESERVATION_TOKEN, &[7; 8]).attribute(kind, value);
        is_refused(lab, &what, request, 400)?;
    }
    Ok(())
}

fn bad_token(lab: &Lab<'_>) -> Check {
    let with_token = |token: &[u8]| allocate().attribute(attribute::RESERVATION_TOKEN, token);
    is_refused(lab, "a RESERVATION-TOKEN that was never given", with_token(&[0xA5; 8]), 508)?;
    let mut client = lab.client()?;
    let answer = client.ask_signed(allocate().attribute(attribute::EVEN_PORT, &[0x80]))?;
    let Some(token) = answer.value(attribute::RESERVATION_TOKEN).map(<[u8]>::to_vec) else { return Ok(()) };
    let mut second = lab.client()?;
    expect::success("a RESERVATION-TOKEN", &second.ask_signed(with_token(&token))?)?;
    is_refused(lab, "a RESERVATION-TOKEN that was used before", with_token(&token), 508)
}

fn both_families(lab: &Lab<'_>) -> Check {
    let request = allocate()
        .attribute(attribute::REQUESTED_ADDRESS_FAMILY, &IPV4)
        .attribute(attribute::ADDITIONAL_ADDRESS_FAMILY, &IPV6);
    is_refused(lab, "both family attributes", request, 400)
}

fn unsupported_family(lab: &Lab<'_>) -> Check {
    let with_family =
        |family: u8| allocate().attribute(attribute::REQUESTED_ADDRESS_FAMILY, &[family, 0, 0, 0]);
    for family in [0, 3, 255] {
        is_refused(lab, &format!("address family {family}"), with_family(family), 440)?;
    }
    for (family, is_ipv6) in [(1, false), (2, true)] {
        let answer = lab.client()?.ask_signed(with_family(family))?;
        if answer.is_success() {
            let relayed = relayed(&answer)?;
            let expected = format!("a relayed address of family {family}, or 440");
            expect::that(relayed.is_ipv6() == is_ipv6, expected, relayed.to_string())?;
        } else {
            expect::code(&format!("address family {family} where it is not served"), &answer, 440)?;
        }
    }
    Ok(())
}

fn default_family(lab: &Lab<'_>) -> Check {
    let answer = lab.client()?.ask_signed(allocate())?;
    if answer.code() == 440 {
        return Ok(());
    }
    expect::success("an Allocate without a family", &answer)?;
    let relayed = answer.xor_addresses(attribute::XOR_RELAYED_ADDRESS);
    let seen = format!("{relayed:?}");
    expect::that(relayed.len() == 1 && relayed[0].is_ipv4(), "one relayed address, of IPv4", seen)
}

fn pair_of_two_families(lab: &Lab<'_>) -> Check {
    let request = allocate()
        .attribute(attribute::EVEN_PORT, &[0x80])
        .attribute(attribute::ADDITIONAL_ADDRESS_FAMILY, &IPV6);
    is_refused(lab, "EVEN-PORT with R=1 and ADDITIONAL-ADDRESS-FAMILY", request, 400)
}

fn additional_family(lab: &Lab<'_>) -> Check {
    let ipv4 = allocate().attribute(attribute::ADDITIONAL_ADDRESS_FAMILY, &IPV4);
    is_refused(lab, "ADDITIONAL-ADDRESS-FAMILY IPv4", ipv4, 400)?;
    let mut client = lab.client()?;
    let answer = client.ask_signed(allocate().attribute(attribute::ADDITIONAL_ADDRESS_FAMILY, &IPV6))?;
    expect::success("ADDITIONAL-ADDRESS-FAMILY IPv6", &answer)?;
    let relayed = answer.xor_addresses(attribute::XOR_RELAYED_ADDRESS);
    let families: Vec<bool> = relayed.iter().map(std::net::SocketAddr::is_ipv6).collect();
    match families[..] {
        [false, true] | [true, false] => {
            expect::lacks("a success with both families", &answer, &[attribute::ADDRESS_ERROR_CODE])
        }
        [_] => one_family_is_explained(&answer),
        _ => Err(Finding::fail("one relayed address or one of each family", format!("{relayed:?}"))),
    }
}

/// RFC 8656 §18.12: family, reserved bits, class, number, reason.
fn one_family_is_explained(answer: &Message) -> Check {
    let value =
        answer.value(attribute::ADDRESS_ERROR_CODE).filter(|value| value.len() >= 4).ok_or_else(|| {
            Finding::fail("a second relayed address or ADDRESS-ERROR-CODE", describe::message(answer))
        })?;
    let (family, code) = (value[0], u16::from(value[2] & 0x07) * 100 + u16::from(value[3]));
    let right = matches!(code, 440 | 508) && matches!(family, 1 | 2);
    expect::that(right, "ADDRESS-ERROR-CODE 440 or 508 for a family", format!("{code} for family {family}"))
}

fn lifetimes(lab: &Lab<'_>) -> Check {
    let maximum = lab.target.max_lifetime;
    for asked in [0, 1, 599, 600, 1200, maximum, u32::MAX] {
        let answer = lab.client()?.ask_signed(allocate().lifetime(asked))?;
        expect::lifetime(&format!("LIFETIME {asked}"), &answer, asked.min(maximum).max(600))?;
    }
    Ok(())
}

fn success(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    let answer = client.ask_signed(allocate())?;
    expect::success("an Allocate", &answer)?;
    expect::has(
        "the success",
        &answer,
        &[attribute::XOR_RELAYED_ADDRESS, attribute::LIFETIME, attribute::XOR_MAPPED_ADDRESS],
    )?;
    let mapped = answer.xor_address(attribute::XOR_MAPPED_ADDRESS);
    expect::equal("XOR-MAPPED-ADDRESS", &mapped, &Some(client.address()?))
}
