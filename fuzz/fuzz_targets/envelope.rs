#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| flowgate_fuzz::envelope(data));
