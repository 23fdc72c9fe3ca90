//! What is no message at all.

use turnpike_turn_client::{Class, Kind, TransactionId, Writer, attribute, method};

use crate::{Rule, client::allocate, finding::Check, lab::Lab};

pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::wire(1, "S5, T12", "first byte neither STUN nor ChannelData: silence", first_bytes),
        Rule::wire(2, "S6.3, T5", "wrong magic cookie: silence", magic_cookie),
        Rule::wire(
            3,
            "S5, S6.3",
            "length field not a multiple of 4, or not the length: silence",
            length_field,
        ),
        Rule::wire(4, "S6.3", "unknown method: silence", unknown_methods),
        Rule::wire(5, "S6.3, T17", "class that the method does not have: silence", wrong_classes),
        Rule::wire(6, "S6.3", "responses that arrive at the server: silence", responses),
        Rule::wire(7, "S7, S14.7", "FINGERPRINT wrong or not last: silence", fingerprints),
        Rule::wire(12, "S14", "attribute longer than the message: silence", overlong_attributes),
    ]
}

fn first_bytes(lab: &Lab<'_>) -> Check {
    let binding = |first: u8| {
        let mut bytes = Writer::request(method::BINDING).finish();
        bytes[0] = first;
        bytes
    };
    if lab.target.transport.is_stream() {
        for first in [4, 20, 63, 80, 128, 255] {
            lab.client()?.is_silent_or_closed_about(&format!("first byte {first}"), &binding(first))?;
        }
        return Ok(());
    }
    let mut client = lab.client()?;
    for first in 4..=255 {
        client.connection.send_bytes(&binding(first))?;
    }
    client.is_silent("first bytes 4 to 255")
}

fn magic_cookie(lab: &Lab<'_>) -> Check {
    for byte in 4..8 {
        let mut bytes = Writer::request(method::BINDING).finish();
        bytes[byte] ^= 0x01;
        lab.client()?.is_silent_or_closed_about("a Binding with another cookie", &bytes)?;
    }
    Ok(())
}

fn length_field(lab: &Lab<'_>) -> Check {
    let binding = |length: u16, behind: usize| {
        let mut bytes = Writer::request(method::BINDING).finish();
        bytes[2..4].copy_from_slice(&length.to_be_bytes());
        bytes.resize(20 + behind, 0);
        bytes
    };
    if lab.target.transport.is_stream() {
        for length in [1, 2, 3, 5] {
            let what = format!("a length field of {length}");
            lab.client()?.is_silent_or_closed_about(&what, &binding(length, usize::from(length)))?;
        }
        return Ok(());
    }
    let mut client = lab.client()?;
    for (length, behind) in [(1, 1), (2, 2), (3, 3), (5, 5), (4, 0), (0, 4), (8, 4), (4, 8), (65_532, 0)] {
        let what = format!("a length field of {length} before {behind} bytes");
        client.is_silent_about(&what, &binding(length, behind))?;
    }
    let short = Writer::request(method::BINDING).finish();
    client.is_silent_about("19 bytes of a Binding", &short[..19])
}

fn unknown_methods(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    for method in [0x000, 0x002, 0x0FF, 0x7FF, 0xFFF] {
        let (request, what) = (Writer::request(method), format!("a request of method {method:#05x}"));
        // Above 0x0FF the first byte is none of STUN's (rule 1), where a stream may end.
        match lab.target.transport.is_stream() && method > 0x0FF {
            true => lab.client()?.is_silent_or_closed_about(&what, request.bytes())?,
            false => client.is_silent_about(&what, request.bytes())?,
        }
    }
    Ok(())
}

fn wrong_classes(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    for method in [method::SEND, method::DATA] {
        client.is_silent_about(&format!("a request of method {method}"), Writer::request(method).bytes())?;
    }
    for method in [method::ALLOCATE, method::REFRESH, method::CREATE_PERMISSION, method::CHANNEL_BIND] {
        let indication = Writer::indication(method).requested_transport(17);
        client.is_silent_about(&format!("an indication of method {method}"), indication.bytes())?;
    }
    client.is_silent_about("a Data indication", Writer::indication(method::DATA).data(b"x").bytes())
}

fn responses(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    for method in [method::BINDING, method::ALLOCATE, method::REFRESH] {
        for class in [Class::Success, Class::Error] {
            let response = Writer::new(Kind::new(method, class), TransactionId::random());
            client.is_silent_about(&format!("a response of method {method}"), response.bytes())?;
        }
    }
    Ok(())
}

fn fingerprints(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    client.ask(&Writer::request(method::BINDING).fingerprint())?;
    let mut wrong = Writer::request(method::BINDING).fingerprint().finish();
    wrong[27] ^= 0x01;
    client.is_silent_about("a wrong FINGERPRINT", &wrong)?;
    let not_last = Writer::request(method::BINDING).fingerprint().attribute(attribute::SOFTWARE, b"test");
    client.is_silent_about("a FINGERPRINT that is not last", not_last.bytes())?;
    let short = Writer::request(method::BINDING).attribute(attribute::FINGERPRINT, &[1, 2]);
    client.is_silent_about("a FINGERPRINT of 2 bytes", short.bytes())
}

fn overlong_attributes(lab: &Lab<'_>) -> Check {
    let mut client = lab.client()?;
    for length in [5u16, 100, 65_535] {
        for request in [Writer::request(method::BINDING), allocate()] {
            let mut bytes = request.attribute(attribute::SOFTWARE, b"four").finish();
            let at = bytes.len() - 6;
            bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
            client.is_silent_about(&format!("an attribute of {length} bytes in 4"), &bytes)?;
        }
    }
    let header = Writer::request(method::BINDING).attribute(attribute::SOFTWARE, b"").finish();
    let mut cut = header;
    cut.extend([0x80, 0x22]);
    cut[3] = 6;
    client.is_silent_or_closed_about("half an attribute's header", &cut)
}
