use std::io;

/// Why bytes are not a STUN message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than a header.
    #[error("shorter than a header")]
    Short,
    /// The first two bits are not zero.
    #[error("not STUN by its first two bits")]
    NotStun,
    /// Not the magic cookie.
    #[error("without the magic cookie")]
    Cookie,
    /// The length field is not a multiple of four, or not the length.
    #[error("with a length field that does not fit")]
    Length,
    /// An attribute ends behind the message.
    #[error("with an attribute longer than the message")]
    Attribute,
    /// FINGERPRINT is wrong, or not last.
    #[error("with a wrong FINGERPRINT")]
    Fingerprint,
    /// Neither STUN nor ChannelData where a stream's next message starts.
    #[error("neither STUN nor ChannelData at the start of a message")]
    Framing,
}

/// Why something asked of a server did not happen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The socket.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The server closed the connection.
    #[error("the server closed the connection")]
    Closed,
    /// What came is no message.
    #[error("what came is {0}")]
    Malformed(#[from] Malformed),
    /// No answer after all retransmissions.
    #[error("no answer")]
    Unanswered,
    /// The answer is an error.
    #[error("refused with {code}")]
    Refused {
        /// The ERROR-CODE.
        code: u16,
    },
    /// The answer's MAC is missing or wrong.
    #[error("the answer is not signed with this password")]
    Unsigned,
    /// An answer without what it must have.
    #[error("the answer has no {0}")]
    Incomplete(&'static str),
    /// TLS could not be set up.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// A certificate file that cannot be read.
    #[error("the certificates to trust cannot be read: {0}")]
    Certificates(String),
}
