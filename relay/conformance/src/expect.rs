//! What an answer must be. Each gives the one line that a FAIL shows.

use std::fmt::Debug;

use turnpike_turn_client::{Challenge, Message, attribute};

use crate::{
    describe,
    finding::{Check, Finding},
};

/// A success response.
pub(crate) fn success(what: &str, answer: &Message) -> Check {
    that(answer.is_success(), format!("success for {what}"), describe::message(answer))
}

/// An error response with this code.
pub(crate) fn code(what: &str, answer: &Message, code: u16) -> Check {
    that(answer.code() == code, format!("{code} for {what}"), describe::message(answer))
}

/// An error response with one of these codes.
pub(crate) fn any_code(what: &str, answer: &Message, codes: &[u16]) -> Check {
    let expected = codes.iter().map(u16::to_string).collect::<Vec<_>>().join(" or ");
    that(codes.contains(&answer.code()), format!("{expected} for {what}"), describe::message(answer))
}

/// A 401 or 438 with REALM and NONCE.
pub(crate) fn challenge(what: &str, answer: &Message, expected: u16) -> Result<Challenge, Finding> {
    code(what, answer, expected)?;
    Challenge::of(answer).ok_or_else(|| {
        Finding::fail(format!("{expected} with REALM and NONCE for {what}"), describe::message(answer))
    })
}

/// All these attributes are there.
pub(crate) fn has(what: &str, answer: &Message, attributes: &[u16]) -> Check {
    let missing = attributes.iter().find(|attribute| !answer.has(**attribute));
    missing.map_or(Ok(()), |attribute| {
        let expected = format!("{} in {what}", describe::attribute_name(*attribute));
        Err(Finding::fail(expected, describe::message(answer)))
    })
}

/// None of these attributes is there.
pub(crate) fn lacks(what: &str, answer: &Message, attributes: &[u16]) -> Check {
    let found = attributes.iter().find(|attribute| answer.has(**attribute));
    found.map_or(Ok(()), |attribute| {
        let expected = format!("no {} in {what}", describe::attribute_name(*attribute));
        Err(Finding::fail(expected, describe::message(answer)))
    })
}

/// LIFETIME with this many seconds.
pub(crate) fn lifetime(what: &str, answer: &Message, seconds: u32) -> Check {
    success(what, answer)?;
    let seen = answer.u32(attribute::LIFETIME);
    that(
        seen == Some(seconds),
        format!("LIFETIME {seconds} for {what}"),
        seen.map_or("none".into(), |seen| seen.to_string()),
    )
}

/// Two values are the same.
pub(crate) fn equal<T: Debug + PartialEq>(what: &str, seen: &T, expected: &T) -> Check {
    that(seen == expected, format!("{what} {expected:?}"), format!("{seen:?}"))
}

/// A condition holds.
pub(crate) fn that(holds: bool, expected: impl Into<String>, seen: impl Into<String>) -> Check {
    match holds {
        true => Ok(()),
        false => Err(Finding::fail(expected, seen)),
    }
}
