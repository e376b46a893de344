//! See `src/receiver/mod.rs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    ferry_fuzz::receiver::check(data);
});
