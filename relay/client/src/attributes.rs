use crate::{HEADER_LEN, Malformed};

/// One attribute of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Its type.
    pub kind: u16,
    /// Its value, without padding.
    pub value: &'a [u8],
    /// What follows the value up to the next multiple of four.
    pub padding: &'a [u8],
    /// Where it starts, in bytes from the start of the message.
    pub offset: usize,
}

/// The attributes of a message, in order. Ends behind the first [`Malformed`].
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    message: &'a [u8],
    offset: usize,
}

impl<'a> Attributes<'a> {
    pub(crate) fn new(message: &'a [u8]) -> Self {
        Self { message, offset: HEADER_LEN }
    }

    fn read(&self) -> Option<Attribute<'a>> {
        let rest = self.message.get(self.offset..)?;
        let (head, rest) = rest.split_first_chunk::<4>()?;
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let (value, rest) = rest.split_at_checked(length)?;
        let padding = rest.get(..length.next_multiple_of(4) - length)?;
        Some(Attribute { kind: u16::from_be_bytes([head[0], head[1]]), value, padding, offset: self.offset })
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.offset >= self.message.len() {
            return None;
        }
        let read = self.read();
        self.offset = match &read {
            Some(attribute) => attribute.offset + 4 + attribute.value.len() + attribute.padding.len(),
            None => self.message.len(),
        };
        Some(read.ok_or(Malformed::Attribute))
    }
}
