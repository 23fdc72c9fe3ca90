#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| turnpike_config_fuzz::target::run(input));
