//! The only clock of the product.

use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::roaming::Now;

/// Tells the time. A simulation brings its own.
pub trait Clock: Send + Sync {
    /// Wall clock and monotonic clock, read together.
    fn now(&self) -> Now;
}

/// The clock of the machine.
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// Starts the monotonic clock.
    #[allow(clippy::disallowed_methods, reason = "this file is the one place that may")]
    pub fn start() -> Arc<dyn Clock> {
        Arc::new(SystemClock { start: Instant::now() })
    }
}

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this file is the one place that may")]
    fn now(&self) -> Now {
        // A clock before 1970 is a broken machine; zero makes every check of validity fail.
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { unix_ms: unix.as_millis() as u64, mono_ms: self.start.elapsed().as_millis() as u64 }
    }
}
