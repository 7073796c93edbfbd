//! The API of `futures-timer` on tokio's clock, which a simulation can run ahead. libp2p's protocols keep
//! their time with this crate.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

/// A future that is ready after some time.
pub struct Delay {
    sleep: Pin<Box<Sleep>>,
}

impl Delay {
    /// Ready after `duration` from now.
    pub fn new(duration: Duration) -> Delay {
        Delay { sleep: Box::pin(tokio::time::sleep(duration)) }
    }

    /// Starts again: ready after `duration` from now. A task is woken only if it polled since.
    pub fn reset(&mut self, duration: Duration) {
        self.sleep.as_mut().reset(Instant::now() + duration);
    }
}

impl Future for Delay {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        // As upstream, a delay that is over registers no waker, polled before or not: tokio's own does, and
        // would hide the lost wake-up of a caller that resets it and does not poll it again.
        if self.sleep.deadline() <= Instant::now() {
            return Poll::Ready(());
        }
        self.sleep.as_mut().poll(context)
    }
}

impl fmt::Debug for Delay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delay").finish_non_exhaustive()
    }
}
