//! Ids that nobody guesses.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use turnpike_matching::Id;

/// 128 random bits.
pub(crate) fn id() -> Id {
    Id::new(bytes())
}

/// The name of one minted credential: 72 random bits in 12 characters.
pub(crate) fn credential_id() -> String {
    URL_SAFE_NO_PAD.encode(bytes::<9>())
}

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the kernel gives random bytes once it has started");
    bytes
}
