//! Connections of the world, and what is lost with one: a stream never outlives its connection, and who
//! asked on it is told.

use super::*;

impl World {
    pub(super) fn connect(&mut self, a: usize, b: usize) {
        for (one, other) in [(a, b), (b, a)] {
            if self.nodes[one].links.insert(other) {
                self.deliver(one, None, 0, Event::Input(Input::PeerUp(node_id(other))));
            }
        }
    }

    pub(super) fn connect_all(&mut self) {
        let running: Vec<usize> = (0..self.nodes.len()).filter(|i| self.nodes[*i].core.is_some()).collect();
        for a in &running {
            running.iter().filter(|b| *b > a).for_each(|b| self.connect(*a, *b));
        }
    }

    pub(super) fn disconnect(&mut self, a: usize, b: usize) {
        for (one, other) in [(a, b), (b, a)] {
            if self.nodes[one].links.remove(&other) {
                self.deliver(one, None, 0, Event::Input(Input::PeerDown(node_id(other))));
            }
        }
        self.sever(a, b);
    }

    /// What is under way between two nodes is lost, though they may be connected again at once.
    pub(super) fn sever(&mut self, a: usize, b: usize) {
        let under_way = |delivery: &Delivery| {
            delivery.from.is_some_and(|from| [(a, b), (b, a)].contains(&(from, delivery.to)))
        };
        let (lost, rest) =
            std::mem::take(&mut self.queue).into_iter().partition(|(_, delivery)| under_way(delivery));
        self.queue = rest;
        for delivery in BTreeMap::into_values(lost) {
            self.lose(delivery);
        }
    }

    /// Tells who asked.
    pub(super) fn lose(&mut self, delivery: Delivery) {
        let (asker, failed) = match delivery.event {
            Event::Ask { from, request, .. } => (from, Input::AskFailed { request, sent: true }),
            Event::Input(Input::Answered { request, .. }) => {
                (delivery.to, Input::AskFailed { request, sent: true })
            }
            Event::Sync { from, sync, .. } => (from, Input::SyncFailed { sync }),
            Event::Input(Input::SyncFrame { sync, .. }) => (delivery.to, Input::SyncFailed { sync }),
            Event::Input(_) | Event::Gossip { .. } => return,
        };
        self.deliver(asker, None, 1, Event::Input(failed));
    }
}
