use proptest::prelude::*;
use turnpike_turn_client::{Deframer, Kind, Message, TransactionId, Writer};

proptest! {
    #[test]
    fn what_is_written_is_read(
        kind in 0u16..0x4000,
        transaction: [u8; 12],
        attributes in prop::collection::vec((0u16..0x8000, prop::collection::vec(any::<u8>(), 0..40)), 0..8),
    ) {
        let start = Writer::new(Kind(kind), TransactionId(transaction));
        let writer = attributes.iter().fold(start, |writer, (kind, value)| writer.attribute(*kind, value));
        let written = writer.message_integrity(b"key").fingerprint().finish();
        let message = Message::read(written).unwrap();
        prop_assert_eq!(message.kind(), Kind(kind));
        prop_assert_eq!(message.transaction(), TransactionId(transaction));
        let read: Vec<_> = message.attributes().map(|a| (a.kind, a.value.to_vec())).collect();
        prop_assert_eq!(&read[..attributes.len()], &attributes[..]);
        if attributes.iter().all(|(kind, _)| *kind != 0x0008) {
            prop_assert!(message.is_signed_sha1(b"key"));
        }
    }

    #[test]
    fn nothing_that_arrives_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), head in 0u8..4) {
        let mut framed = vec![0, head];
        framed.extend(((bytes.len().saturating_sub(16)) as u16).to_be_bytes());
        framed.extend([0x21, 0x12, 0xA4, 0x42]);
        framed.extend(&bytes);
        for input in [&bytes[..], &framed] {
            if let Ok(message) = Message::read(input) {
                message.is_signed_sha1(b"key");
                message.is_signed_sha256(b"key");
                message.error_code();
                message.unknown_attributes();
                message.xor_addresses(0x0020);
                message.address(0x8023);
            }
            let mut deframer = Deframer::default();
            deframer.push(input);
            while let Ok(Some(_)) = deframer.next_message() {}
        }
    }
}
