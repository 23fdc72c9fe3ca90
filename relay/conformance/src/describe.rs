//! Messages in a few words, for the detail of a verdict.

use turnpike_turn_client::{Class, Message, attribute, channel_data, method};

/// A message as it came.
pub(crate) fn bytes(bytes: &[u8]) -> String {
    if let Some((number, payload)) = channel_data::decode(bytes) {
        return format!("ChannelData on {number:#06x} with {} bytes", payload.len());
    }
    match Message::read(bytes) {
        Ok(read) => message(&read.to_owned()),
        Err(why) => format!("{} bytes {why}", bytes.len()),
    }
}

/// Class or code, and the attributes' names.
pub(crate) fn message(message: &Message) -> String {
    let name = match message.kind().method() {
        method::BINDING => "Binding".to_owned(),
        method::ALLOCATE => "Allocate".to_owned(),
        method::REFRESH => "Refresh".to_owned(),
        method::SEND => "Send".to_owned(),
        method::DATA => "Data".to_owned(),
        method::CREATE_PERMISSION => "CreatePermission".to_owned(),
        method::CHANNEL_BIND => "ChannelBind".to_owned(),
        other => format!("method {other:#05x}"),
    };
    let what = match message.kind().class() {
        Class::Success => format!("{name} success"),
        Class::Error => format!("{name} error {}", message.code()),
        Class::Request => format!("{name} request"),
        Class::Indication => format!("{name} indication"),
    };
    let attributes: Vec<String> = message.attributes().map(|a| attribute_name(a.kind)).collect();
    match attributes.is_empty() {
        true => format!("{what} without attributes"),
        false => format!("{what} with {}", attributes.join(", ")),
    }
}

/// The name of an attribute type, or its number.
pub(crate) fn attribute_name(kind: u16) -> String {
    attribute::name(kind).map_or_else(|| format!("{kind:#06x}"), str::to_owned)
}
