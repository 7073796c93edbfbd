//! The two functions of libc through which chance and time come into a process, replaced for the thread
//! of the simulation: random bytes come from the seed, and the clocks show virtual time; and what the allocator is
//! told. The only unsafe code of the project.

#![allow(unsafe_code, reason = "names that C code looks for are exported")]

use std::cell::{Cell, RefCell};
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};
use tokio::time::Instant;

/// Wall clock at the start of every simulation, in seconds since 1970.
pub(crate) const START_UNIX_S: u64 = 1_800_000_000;

/// Monotonic clock at the start of every simulation, in seconds.
const START_MONO_S: u64 = 1_000_000;

thread_local! {
    static CHANCE: RefCell<Option<ChaCha8Rng>> = const { RefCell::new(None) };
    static SIMULATED: Cell<bool> = const { Cell::new(false) };
    static BEGIN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// From now on this thread is simulated: chance follows from the seed and clocks stand still, until
/// [`start_clock`].
pub(crate) fn enter(seed: u64) {
    CHANCE.set(Some(ChaCha8Rng::seed_from_u64(seed)));
    SIMULATED.set(true);
}

/// Clocks show tokio's virtual time from now on. To be called within a paused runtime.
pub(crate) fn start_clock() {
    BEGIN.set(Some(Instant::now()));
}

/// Virtual time since [`start_clock`]; zero before.
pub(crate) fn elapsed() -> Duration {
    // While it is paused, tokio's clock asks no other: no recursion.
    BEGIN.get().map_or(Duration::ZERO, |begin| Instant::now().saturating_duration_since(begin))
}

fn fill(bytes: &mut [u8]) -> bool {
    let fill = |chance: &RefCell<Option<ChaCha8Rng>>| match chance.try_borrow_mut() {
        Ok(mut chance) => chance.as_mut().map(|chance| chance.fill_bytes(bytes)).is_some(),
        Err(_) => false,
    };
    CHANCE.try_with(fill).unwrap_or(false)
}

fn simulated() -> bool {
    SIMULATED.try_with(Cell::get).unwrap_or(false)
}

/// Settings of jemalloc. One arena, for one thread makes nearly all; what is free goes back at once: by default that
/// waits for ten seconds on a clock that here shows virtual time.
#[unsafe(export_name = "_rjem_malloc_conf")]
static ALLOCATOR_SETTINGS: &std::ffi::c_char = {
    const TEXT: &std::ffi::CStr = c"narenas:1,dirty_decay_ms:0,muzzy_decay_ms:0";
    // SAFETY: the first character of a text that lives as long as the program.
    unsafe { &*TEXT.as_ptr() }
};

/// getrandom(2).
///
/// # Safety
/// As of the C library: `buffer` has room for `length` bytes.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, flags: u32) -> isize {
    if simulated() && length > 0 && !buffer.is_null() {
        // SAFETY: the caller vouches for the buffer.
        let bytes = unsafe { std::slice::from_raw_parts_mut(buffer, length) };
        if fill(bytes) {
            return length.cast_signed();
        }
    }
    // SAFETY: passed on as it came.
    unsafe { libc::syscall(libc::SYS_getrandom, buffer, length, flags) as isize }
}

/// clock_gettime(2).
///
/// # Safety
/// As of the C library: `time` may be written.
#[unsafe(no_mangle)]
#[inline(never)]
pub(crate) unsafe extern "C" fn clock_gettime(
    clock: libc::clockid_t,
    time: *mut libc::timespec,
) -> libc::c_int {
    let base_s = match clock {
        libc::CLOCK_REALTIME => START_UNIX_S,
        libc::CLOCK_MONOTONIC => START_MONO_S,
        _ => 0,
    };
    if base_s > 0 && simulated() {
        let now = Duration::from_secs(base_s) + elapsed();
        let tv_nsec = i64::from(now.subsec_nanos());
        // SAFETY: the caller vouches for the place.
        unsafe { *time = libc::timespec { tv_sec: now.as_secs().cast_signed(), tv_nsec } };
        return 0;
    }
    // SAFETY: passed on as it came.
    unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) as libc::c_int }
}

/// Real time in seconds, whatever is simulated.
pub(crate) fn real_s(clock: libc::clockid_t) -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the place is ours.
    unsafe { libc::syscall(libc::SYS_clock_gettime, clock, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Wall time in seconds, from some moment on.
pub(crate) fn wall_s() -> f64 {
    real_s(libc::CLOCK_MONOTONIC)
}

/// Largest resident memory of the process so far, in MB.
pub(crate) fn peak_rss_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}
