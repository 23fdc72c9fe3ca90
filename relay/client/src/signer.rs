use zeroize::Zeroizing;

use crate::{Challenge, Credentials, Message, Writer, attribute, integrity::PasswordAlgorithm};

/// How requests are signed (RFC 8489 §9.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AlgorithmChoice {
    /// MD5 and MESSAGE-INTEGRITY, with no word about algorithms.
    Legacy,
    /// PASSWORD-ALGORITHM names this one, PASSWORD-ALGORITHMS repeats the offer, MESSAGE-INTEGRITY-SHA256 signs.
    Named(PasswordAlgorithm),
}

/// Signs requests with one password under one challenge, and checks answers.
///
/// Its parts are open: a test takes them apart to send what is wrong.
#[derive(Debug, Clone)]
pub struct Signer {
    /// As sent in USERNAME.
    pub username: String,
    /// Where the nonce came from.
    pub challenge: Challenge,
    /// The key of both MACs.
    pub key: Zeroizing<Vec<u8>>,
    /// What is named, and which MAC signs.
    pub choice: AlgorithmChoice,
}

impl Signer {
    /// A signer for these credentials.
    pub fn new(credentials: &Credentials, challenge: Challenge, choice: AlgorithmChoice) -> Self {
        let algorithm = match choice {
            AlgorithmChoice::Legacy => PasswordAlgorithm::Md5,
            AlgorithmChoice::Named(algorithm) => algorithm,
        };
        let key = algorithm.key(&credentials.username, &challenge.realm, &credentials.password);
        Self { username: credentials.username.clone(), challenge, key, choice }
    }

    /// Adds the user, the challenge and the MAC to a request.
    pub fn sign(&self, request: Writer) -> Writer {
        self.mac(self.identify(request))
    }

    /// Adds USERNAME, REALM, NONCE, and what is said about algorithms.
    pub fn identify(&self, request: Writer) -> Writer {
        let request = request
            .attribute(attribute::USERNAME, self.username.as_bytes())
            .attribute(attribute::REALM, &self.challenge.realm)
            .attribute(attribute::NONCE, &self.challenge.nonce);
        match self.choice {
            AlgorithmChoice::Legacy => request,
            AlgorithmChoice::Named(algorithm) => {
                request.attribute(attribute::PASSWORD_ALGORITHM, &algorithm.value()).attribute(
                    attribute::PASSWORD_ALGORITHMS,
                    self.challenge.algorithms.as_deref().unwrap_or_default(),
                )
            }
        }
    }

    /// Adds the MAC.
    pub fn mac(&self, request: Writer) -> Writer {
        match self.choice {
            AlgorithmChoice::Legacy => request.message_integrity(&self.key),
            AlgorithmChoice::Named(_) => request.message_integrity_sha256(&self.key),
        }
    }

    /// Whether an answer is signed with this key, by the MAC that the request used.
    pub fn verifies<B: AsRef<[u8]>>(&self, response: &Message<B>) -> bool {
        match self.choice {
            AlgorithmChoice::Legacy => response.is_signed_sha1(&self.key),
            AlgorithmChoice::Named(_) => response.is_signed_sha256(&self.key),
        }
    }
}
