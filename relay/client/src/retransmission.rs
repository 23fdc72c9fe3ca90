use std::time::Duration;

/// When a request over UDP is sent again, and when it is given up (RFC 8489 §6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retransmission {
    /// The wait before the second transmission; each later one is twice as long.
    pub first: Duration,
    /// How often the request is sent (Rc).
    pub transmissions: u32,
    /// The wait after the last transmission, in multiples of `first` (Rm).
    pub last: u32,
}

impl Default for Retransmission {
    fn default() -> Self {
        Self { first: Duration::from_millis(500), transmissions: 7, last: 16 }
    }
}

impl Retransmission {
    /// Over TCP and TLS: sent once, and waited for as long as all retransmissions take (RFC 8489 §6.2.2).
    pub const STREAM: Self = Self { first: Duration::from_millis(39_500), transmissions: 1, last: 1 };

    /// The wait after each transmission, in order; after the last the request has failed.
    pub fn waits(self) -> impl Iterator<Item = Duration> {
        (1..=self.transmissions).map(move |sent| match sent == self.transmissions {
            true => self.first * self.last,
            false => self.first * 2u32.saturating_pow(sent - 1),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8489 §6.2.1 gives the moments 0, 500, 1500, 3500, 7500, 15500, 31500 ms, and 39500 ms for the end.
    #[test]
    fn the_moments_of_the_rfc() {
        let moments: Vec<u128> = Retransmission::default()
            .waits()
            .scan(Duration::ZERO, |at, wait| {
                *at += wait;
                Some(at.as_millis())
            })
            .collect();
        assert_eq!(moments, [500, 1500, 3500, 7500, 15_500, 31_500, 39_500]);
        assert_eq!(Retransmission::STREAM.waits().sum::<Duration>().as_millis(), 39_500);
    }
}
