#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| flowgate_fuzz::node_format(data));
