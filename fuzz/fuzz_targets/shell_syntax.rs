#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| cswatch_fuzz::shell_syntax(input));
