//! What the tasks of the exchange and sync streams share: the way out, the way to the engine, the
//! limits, and the gate that counts what a peer holds.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use libp2p::{PeerId, Stream, StreamProtocol};
use libp2p_stream::{Control, OpenStreamError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::event::SyncId;
use super::{Config, MeshEvent, Penalty};

/// Starts a task; the node decides on which runtime.
pub type Executor = Arc<dyn Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync>;

/// What a stream task tells the swarm's task.
#[derive(Debug)]
pub(super) enum Notice {
    /// A partner stream was used by the other side.
    Used(PeerId),
    /// The peer did something that costs.
    Offence(PeerId, Penalty),
    /// A sync of ours is over.
    SyncOver(SyncId),
    /// Nothing is known of where this node is: look for it.
    Seek(PeerId),
}

/// Cheap to clone; one for each task.
#[derive(Clone)]
pub(super) struct Streams {
    pub(super) control: Control,
    pub(super) events: mpsc::Sender<MeshEvent>,
    pub(super) notices: mpsc::Sender<Notice>,
    pub(super) stop: CancellationToken,
    pub(super) config: Arc<Config>,
    pub(super) executor: Executor,
    pub(super) tasks: TaskTracker,
}

/// Why a stream could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OpenFailure {
    Unreachable,
    Unsupported,
}

impl Streams {
    /// Starts a task that ends when the mesh stops.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let stop = self.stop.clone();
        // In a box of its own, as the task holds what it was given beside what it runs: twice.
        let mut task = Box::pin(task);
        let task = async move {
            tokio::select! { biased; () = stop.cancelled() => {}, () = &mut task => {} }
        };
        (self.executor)(Box::pin(self.tasks.track_future(task)));
    }

    /// Opens a stream, dialling if there is no connection.
    pub(super) async fn open(&self, peer: PeerId, protocol: StreamProtocol) -> Result<Stream, OpenFailure> {
        let mut control = self.control.clone();
        let open = async {
            let first = control.open_stream(peer, protocol.clone()).await;
            match first {
                // The connection was being closed: there may be another.
                Err(OpenStreamError::Io(error)) if error.kind() == ErrorKind::ConnectionReset => {
                    control.open_stream(peer, protocol).await
                }
                first => first,
            }
        };
        match timeout(self.open_deadline(), open).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(OpenStreamError::UnsupportedProtocol(_))) => Err(OpenFailure::Unsupported),
            Ok(Err(error)) => {
                tracing::debug!(%peer, %error, "no stream to a node");
                self.notice(Notice::Seek(peer));
                Err(OpenFailure::Unreachable)
            }
            Err(_) => Err(OpenFailure::Unreachable),
        }
    }

    /// Tells the engine, waiting for room.
    pub(super) async fn tell(&self, event: MeshEvent) {
        // The engine is gone only when the node stops.
        let _ = self.events.send(event).await;
    }

    /// Tells the swarm's task; lost if that has no room, which delays a penalty but nothing else.
    pub(super) fn notice(&self, notice: Notice) {
        if let Err(error) = self.notices.try_send(notice) {
            tracing::debug!(%error, "a notice was lost");
        }
    }

    pub(super) fn frame_deadline(&self) -> Duration {
        Duration::from_millis(self.config.frame_deadline_ms)
    }

    fn open_deadline(&self) -> Duration {
        Duration::from_millis(self.config.open_deadline_ms)
    }
}

/// Counts what each peer holds of something, and what all hold together.
pub(super) struct Gate {
    all: Arc<Semaphore>,
    peers: BTreeMap<PeerId, Arc<Semaphore>>,
    per_peer_max: usize,
    all_max: usize,
}

/// A place in a [`Gate`]; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    _all: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

impl Gate {
    pub(super) fn new(per_peer_max: usize, all_max: usize) -> Gate {
        Gate { all: Arc::new(Semaphore::new(all_max)), peers: BTreeMap::new(), per_peer_max, all_max }
    }

    /// A place for the peer, or `None` if it, or all together, hold too many.
    pub(super) fn enter(&mut self, peer: PeerId) -> Option<Place> {
        let all = self.all.clone().try_acquire_owned().ok()?;
        let max = self.per_peer_max;
        // Whoever holds nothing is forgotten: the map is as long as there are places taken.
        self.peers.retain(|_, own| own.available_permits() < max);
        let own = self.peers.entry(peer).or_insert_with(|| Arc::new(Semaphore::new(max)));
        Some(Place { _own: own.clone().try_acquire_owned().ok()?, _all: all })
    }

    /// Places taken by all.
    pub(super) fn held(&self) -> usize {
        self.all_max - self.all.available_permits()
    }

    /// Whether the peer holds a place.
    pub(super) fn holds(&self, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|own| own.available_permits() < self.per_peer_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_counts_each_peer_and_all() {
        let mut gate = Gate::new(2, 3);
        let [one, two] = [PeerId::random(), PeerId::random()];
        let first = gate.enter(one).unwrap();
        let _second = gate.enter(one).unwrap();
        assert!(gate.enter(one).is_none(), "two places for one peer");
        let third = gate.enter(two).unwrap();
        assert!(gate.enter(two).is_none(), "three places for all");
        drop((first, third));
        assert!(gate.enter(one).is_some());
        assert!(gate.holds(&one));
        assert!(!gate.holds(&two));
    }
}
