//! What the options of coturn's turnserver.conf are called here.

mod options;
mod translated;

pub(crate) use options::Options;
pub(crate) use translated::translate;
