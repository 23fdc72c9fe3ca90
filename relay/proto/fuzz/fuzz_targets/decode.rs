#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| turnpike_proto_fuzz::targets::decode::run(input));
