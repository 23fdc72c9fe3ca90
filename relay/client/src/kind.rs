//! The first two bytes of a message: method and class, interleaved (RFC 8489 §5).

/// The class of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Asks for an answer.
    Request,
    /// Asks for none.
    Indication,
    /// Answers a request that was carried out.
    Success,
    /// Answers a request that was not.
    Error,
}

/// Method and class as they are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind(pub u16);

impl Kind {
    /// Interleaves a method of 12 bits and a class.
    pub const fn new(method: u16, class: Class) -> Self {
        let class = match class {
            Class::Request => 0x0000,
            Class::Indication => 0x0010,
            Class::Success => 0x0100,
            Class::Error => 0x0110,
        };
        Self((method & 0x000F) | ((method & 0x0070) << 1) | ((method & 0x0F80) << 2) | class)
    }

    /// A request of this method.
    pub const fn request(method: u16) -> Self {
        Self::new(method, Class::Request)
    }

    /// An indication of this method.
    pub const fn indication(method: u16) -> Self {
        Self::new(method, Class::Indication)
    }

    /// The method.
    pub const fn method(self) -> u16 {
        (self.0 & 0x000F) | ((self.0 & 0x00E0) >> 1) | ((self.0 & 0x3E00) >> 2)
    }

    /// The class.
    pub const fn class(self) -> Class {
        match self.0 & 0x0110 {
            0x0000 => Class::Request,
            0x0010 => Class::Indication,
            0x0100 => Class::Success,
            _ => Class::Error,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_of_the_rfcs_are_written_and_taken_apart() {
        let cases = [
            (0x001, Class::Request, 0x0001),
            (0x001, Class::Success, 0x0101),
            (0x006, Class::Indication, 0x0016),
            (0x009, Class::Error, 0x0119),
            (0x0FF, Class::Request, 0x02EF),
            (0xFFF, Class::Error, 0x3FFF),
        ];
        for (method, class, sent) in cases {
            assert_eq!(Kind::new(method, class), Kind(sent));
            assert_eq!((Kind(sent).method(), Kind(sent).class()), (method, class));
        }
    }
}
