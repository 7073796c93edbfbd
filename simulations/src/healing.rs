//! When all faults are over and no new one begins, everybody soon has what had been written by then: judged each time
//! while a world runs, not only after its last fault.

use std::collections::BTreeMap;

use crate::network::NodeNumber;
use crate::observe::{Position, Seen};
use crate::scenario::Span;

/// A feed: party and kind.
type Feed = (String, &'static str);

/// What everybody must have, and when.
pub(crate) struct Healing {
    /// In milliseconds of virtual time.
    pub(crate) due_ms: u64,
    within: Span,
    written: BTreeMap<Feed, Position>,
}

impl Healing {
    /// All faults are over now.
    pub(crate) fn begin(seen: &Seen, within: Span) -> Healing {
        Healing { due_ms: seen.at_ms + within.ms(), within, written: seen.written() }
    }

    /// Who has not what had been written when the faults were over.
    ///
    /// # Errors
    /// Says which node lacks what.
    pub(crate) fn judge(&self, seen: &Seen) -> Result<(), String> {
        let up = seen.nodes.iter().filter(|node| node.view.is_some());
        let held: Vec<_> = up.map(|node| (node.number, node.positions())).collect();
        let Some((node, feed, held)) = first_behind(&self.written, &held) else { return Ok(()) };
        let (party, kind) = feed;
        let (wanted, within) = (&self.written[feed], self.within);
        let held = held.map_or_else(|| "not there".to_owned(), |held| format!("at {held:?}"));
        Err(format!(
            "node {node}: {within} after all faults {party}/{kind} is {held}, it had been at {wanted:?} then"
        ))
    }
}

/// The first node that is behind, in which feed, and what it has of it.
fn first_behind<'h>(
    written: &'h BTreeMap<Feed, Position>,
    held: &'h [(NodeNumber, BTreeMap<Feed, Position>)],
) -> Option<(NodeNumber, &'h Feed, Option<&'h Position>)> {
    held.iter().find_map(|(node, held)| {
        let (feed, _) = written.iter().find(|(feed, wanted)| is_behind(held.get(*feed), wanted))?;
        Some((*node, feed, held.get(feed)))
    })
}

/// A later version is as good; the same with another root is not.
fn is_behind(held: Option<&Position>, (incarnation, seq, root): &Position) -> bool {
    held.is_none_or(|held| {
        let (now, wanted) = ((held.0, held.1), (*incarnation, *seq));
        now < wanted || (now == wanted && held.2 != *root)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lacks_what_was_written_is_named() {
        let feed = ("CPO:DEABC".to_owned(), "status");
        let at = |incarnation, seq, root: &str| (incarnation, seq, root.to_owned());
        let written = BTreeMap::from([(feed.clone(), at(1, 5, "r"))]);
        let good = [at(1, 5, "r"), at(1, 6, "s"), at(2, 1, "t")];
        let held: Vec<_> =
            (1..).zip(good.map(|position| BTreeMap::from([(feed.clone(), position)]))).collect();
        assert!(first_behind(&written, &held).is_none());
        for bad in [Some(at(1, 4, "q")), Some(at(0, 9, "r")), Some(at(1, 5, "x")), None] {
            let behind = BTreeMap::from_iter(bad.clone().map(|position| (feed.clone(), position)));
            let mut held = held.clone();
            held.push((7, behind));
            assert_eq!(first_behind(&written, &held), Some((7, &feed, bad.as_ref())));
        }
    }
}
