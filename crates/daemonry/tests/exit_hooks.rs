//! What arming a signal does to those that the program has dealt with itself. That the pidfile goes is tested with daemons.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::atomic::{AtomicU32, Ordering};

static HEARD: AtomicU32 = AtomicU32::new(0);

extern "C" fn hear(_signal: libc::c_int) {
    HEARD.fetch_add(1, Ordering::SeqCst);
}

fn set(signal: i32, handler: libc::sighandler_t) -> libc::sighandler_t {
    // SAFETY: the handlers used here are async-signal-safe.
    unsafe { libc::signal(signal, handler) }
}

fn raise(signal: i32) {
    // SAFETY: raise touches no memory.
    unsafe { libc::raise(signal) };
}

#[test]
fn an_ignored_signal_stays_ignored() {
    set(libc::SIGHUP, libc::SIG_IGN);
    daemonry::arm(libc::SIGHUP).unwrap();
    assert_eq!(set(libc::SIGHUP, libc::SIG_DFL), libc::SIG_IGN);
}

#[test]
fn an_armed_signal_afterwards_does_what_it_did_before() {
    let hear: extern "C" fn(libc::c_int) = hear;
    set(libc::SIGTERM, hear as libc::sighandler_t);
    daemonry::arm(libc::SIGTERM).unwrap();
    raise(libc::SIGTERM);
    assert_eq!(HEARD.load(Ordering::SeqCst), 1);
    assert_eq!(set(libc::SIGTERM, libc::SIG_DFL), hear as libc::sighandler_t);
}
