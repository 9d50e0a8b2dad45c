//! Properties that hold for whatever comes in: some random inputs in a test, or, with `DAEMONRY_FUZZ=SECONDS`, as many as
//! there is time for. For a failure, the smallest input that fails is printed.
#![expect(clippy::print_stdout, reason = "scripts/test-fuzz counts the runs")]

use std::cell::Cell;
use std::time::{Duration, Instant};

use proptest::strategy::Strategy;
use proptest::test_runner::{Config, TestRunner};

/// Fails the test with the input for which `property` panics. `least` inputs are tried in any case.
pub(crate) fn holds<S: Strategy>(name: &str, least: u32, inputs: &S, property: impl Fn(S::Value)) {
    let seconds = std::env::var("DAEMONRY_FUZZ").map_or(0, |seconds| seconds.parse().expect("a number of seconds"));
    let (begun, runs) = (Instant::now(), Cell::new(0_u64));
    loop {
        let config = Config { cases: least, failure_persistence: None, ..Config::default() };
        let outcome = TestRunner::new(config).run(inputs, |input| {
            runs.set(runs.get() + 1);
            property(input);
            Ok(())
        });
        if let Err(failure) = outcome {
            panic!("{name}: {failure}");
        }
        if begun.elapsed() >= Duration::from_secs(seconds) {
            break;
        }
    }
    println!("{name}: {} runs", runs.get());
}
