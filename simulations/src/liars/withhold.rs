//! Takes everything and gives nothing: it is in everybody's gossip mesh and passes nothing on.

use std::time::Duration;

use bytes::Bytes;
use chargemesh::protocol::{Answer, NodeId, Question, SyncFrame, SyncRequest, Verdict};

use super::liar::{Act, Liar, Served};

/// Withholds.
pub(super) struct Withhold {
    /// Whether it says at least that it has nothing.
    polite: bool,
}

impl Withhold {
    /// The n-th withholding liar of a scenario.
    pub(super) fn new(number: usize) -> Withhold {
        Withhold { polite: number % 2 == 1 }
    }
}

impl Act for Withhold {
    fn every(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn tick(&mut self, _: &mut Liar) {}

    fn gossip(&mut self, liar: &mut Liar, _: &Bytes) -> Option<Verdict> {
        liar.did();
        None
    }

    fn asked(&mut self, liar: &mut Liar, _: &NodeId, question: &Question) -> Option<Answer> {
        match question {
            // It shows what it has, so that it is asked for it.
            Question::Heads(_) if self.polite => Some(liar.archive.honest_answer(question)),
            _ => None,
        }
    }

    fn served(&mut self, _: &mut Liar, _: &NodeId, _: &SyncRequest) -> Served {
        if self.polite { Served::Frames(vec![SyncFrame::Unavailable]) } else { Served::Silence }
    }
}
