//! The first bytes of each payload: whose datagram it is, and when it was sent.

/// Bytes of a stamp, and the shortest payload.
pub const LEN: usize = 16;

/// Which way a datagram goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Way {
    /// From a client.
    Up = 1,
    /// Back from the echo peer.
    Down = 2,
}

/// What a payload says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// The flow, by the number of the client that began it.
    pub flow: u32,
    /// Which way.
    pub way: Way,
    /// The last one of its burst.
    pub last: bool,
    /// The low bits of the number of the cell: a datagram of an earlier one is late, and no longer of interest.
    pub epoch: u16,
    /// Nanoseconds since the generator began.
    pub sent: u64,
}

impl Stamp {
    /// Writes it into the beginning of a payload.
    pub fn write(&self, payload: &mut [u8]) {
        payload[..4].copy_from_slice(&self.flow.to_be_bytes());
        payload[4] = self.way as u8;
        payload[5] = if self.last { b'L' } else { b'T' };
        payload[6..8].copy_from_slice(&self.epoch.to_be_bytes());
        payload[8..LEN].copy_from_slice(&self.sent.to_be_bytes());
    }

    /// Reads it; `None` for what is no payload of the generator.
    pub fn read(payload: &[u8]) -> Option<Self> {
        let stamp = payload.first_chunk::<LEN>()?;
        let way = match stamp[4] {
            1 => Way::Up,
            2 => Way::Down,
            _ => return None,
        };
        let last = match stamp[5] {
            b'T' => false,
            b'L' => true,
            _ => return None,
        };
        let (head, sent) = stamp.split_at(8);
        Some(Self {
            flow: u32::from_be_bytes([head[0], head[1], head[2], head[3]]),
            way,
            last,
            epoch: u16::from_be_bytes([head[6], head[7]]),
            sent: u64::from_be_bytes(sent.try_into().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written_and_nothing_else_is() {
        let stamp = Stamp { flow: 70_000, way: Way::Down, last: true, epoch: 3, sent: u64::MAX / 3 };
        let mut payload = [9; 20];
        assert_eq!(Stamp::read(&payload), None);
        stamp.write(&mut payload);
        assert_eq!(Stamp::read(&payload), Some(stamp));
        assert_eq!(Stamp::read(&payload[..15]), None);
    }
}
