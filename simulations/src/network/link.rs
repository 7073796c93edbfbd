//! What a link does to bytes, and what cuts it.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_core::Rng as _;

use super::NodeNumber;

/// Bytes of one TCP segment: loss is drawn for each.
const SEGMENT_BYTES: usize = 1_400;

/// First time-out until a lost segment is sent again; doubles (RFC 6298 allows no less than a second, the
/// usual stacks take 200 ms).
const RETRANSMIT_AFTER: Duration = Duration::from_millis(200);

/// Retransmissions after which a segment gets through: longer silence is a cut, not a loss.
const RETRANSMISSIONS_MAX: u32 = 6;

/// Bytes under way in one direction of one connection.
pub(crate) const WINDOW_BYTES: usize = 256 * 1024;

/// A link, in one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Link {
    /// Time from one end to the other.
    pub(crate) latency: Duration,
    /// Longest time in addition, evenly drawn for each write.
    pub(crate) jitter: Duration,
    /// Share of lost segments, 0 to 1: TCP sends them again, so a loss is a delay.
    pub(crate) loss: f64,
    /// Bytes per second of one connection; 0: any number.
    pub(crate) bytes_per_s: u64,
}

impl Link {
    /// How long bytes are under way.
    pub(super) fn delay(&self, bytes: usize, chance: &mut ChaCha8Rng) -> Duration {
        let mut delay = self.latency;
        if !self.jitter.is_zero() {
            delay += self.jitter.mul_f64(share(chance));
        }
        if self.loss > 0.0 {
            let lost = (0..bytes.div_ceil(SEGMENT_BYTES)).map(|_| retransmission(self.loss, chance)).max();
            delay += lost.unwrap_or_default();
        }
        if self.bytes_per_s > 0 {
            delay += Duration::from_secs_f64(bytes as f64 / self.bytes_per_s as f64);
        }
        delay
    }
}

fn retransmission(loss: f64, chance: &mut ChaCha8Rng) -> Duration {
    let times = (0..RETRANSMISSIONS_MAX).take_while(|_| share(chance) < loss).count() as u32;
    RETRANSMIT_AFTER * ((1 << times) - 1)
}

/// A number from 0 up to 1.
pub(crate) fn share(chance: &mut ChaCha8Rng) -> f64 {
    (chance.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// What is cut off from what. Bytes wait at the cut until it heals; dials time out.
#[derive(Clone, Debug)]
pub(crate) enum Cut {
    /// These nodes from all others, both ways.
    Split(Vec<NodeNumber>),
    /// Nothing gets from these nodes to the others; they still hear.
    OneWay(Vec<NodeNumber>),
    /// Each of these nodes from everybody.
    Isolate(Vec<NodeNumber>),
}

impl Cut {
    pub(super) fn holds_back(&self, from: NodeNumber, to: NodeNumber) -> bool {
        match self {
            Cut::Split(nodes) => nodes.contains(&from) != nodes.contains(&to),
            Cut::OneWay(nodes) => nodes.contains(&from) && !nodes.contains(&to),
            Cut::Isolate(nodes) => nodes.contains(&from) || nodes.contains(&to),
        }
    }
}
