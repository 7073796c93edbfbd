//! Whether the clock of this node can be right, by the times that others sign (`decisions.md` 23).
//!
//! A message can be late, never early: of each party the least late one of the last quarter of an hour
//! counts, so that whoever holds some messages back makes nobody doubt his clock. Times are kept against our
//! monotonic clock. When our two clocks part, because the wall clock was set or the machine slept, what was
//! heard before says nothing any more.

use std::collections::BTreeMap;

use super::Roaming;
use super::clock_ask::Asked;
use super::effect::{Action, Effects, Report};
use super::input::Now;
use crate::identity::{PublicKey, Speaker};
use crate::oicp::status_code::{Code, StatusCode};

/// A difference of clocks from which on it matters, in milliseconds (`decisions.md` 23).
const OFF_MS_MAX: i64 = 60_000;

/// Parties that have to agree that we are off before we stop signing (`decisions.md` 23).
const AGREEING_MIN: usize = 3;

/// How long what a party said counts, in milliseconds: three heartbeats.
const HEARD_MS_MAX: u64 = 900_000;

/// Parties that are remembered: more than enough for a median.
const HEARD_MAX: usize = 1_024;

/// Our wall clock was set, or the machine slept, if it moved against the monotonic clock by more than this
/// between two looks, in milliseconds: slewing moves it by less.
const JUMP_MS: i64 = 1_000;

/// How often the clock is judged, in milliseconds.
const JUDGE_MS: u64 = 5_000;

/// How the clock of this node stands to those of others. A positive difference: ours is behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClockState {
    /// Nobody was heard.
    #[default]
    Unknown,
    /// The median of those who were heard is within a minute.
    Right {
        /// How far others are ahead of us, in milliseconds.
        off_ms: i64,
    },
    /// It is not, but too few were heard to say whose clock is wrong.
    Doubtful {
        /// How far others are ahead of us, in milliseconds.
        off_ms: i64,
        /// How many say so.
        parties: usize,
    },
    /// Enough parties agree that ours is wrong: nothing is signed.
    Wrong {
        /// How far others are ahead of us, in milliseconds.
        off_ms: i64,
        /// How many say so.
        parties: usize,
    },
}

impl ClockState {
    /// How far others are ahead of us, in milliseconds; `None` if nobody was heard.
    pub fn off_ms(&self) -> Option<i64> {
        match *self {
            ClockState::Unknown => None,
            ClockState::Right { off_ms }
            | ClockState::Doubtful { off_ms, .. }
            | ClockState::Wrong { off_ms, .. } => Some(off_ms),
        }
    }

    /// Whether it is wrong as far as we can tell.
    pub fn is_wrong(&self) -> bool {
        matches!(self, ClockState::Wrong { .. })
    }
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    /// A party's wall clock when our monotonic clock was at zero, in milliseconds.
    zero_ms: i64,
    at_ms: u64,
}

/// What the clocks of others said.
#[derive(Debug, Default)]
pub(super) struct ClockCheck {
    /// By org key: a company counts once, however many nodes and roles it has.
    heard: BTreeMap<PublicKey, Heard>,
    /// Our own wall clock when our monotonic clock was at zero, as it was judged last.
    ours_ms: Option<i64>,
    state: ClockState,
    judge_at_ms: u64,
    pub(super) asked: Asked,
}

impl ClockCheck {
    /// Something that was signed at `created_unix_ms` has just come.
    pub(super) fn heard(&mut self, org_key: &PublicKey, created_unix_ms: u64, now: Now) {
        let zero_ms = difference(created_unix_ms, now.mono_ms);
        let new = Heard { zero_ms, at_ms: now.mono_ms };
        let room = self.heard.len() < HEARD_MAX;
        match self.heard.get_mut(org_key) {
            Some(old) if new.zero_ms >= old.zero_ms || is_old(old, now) => *old = new,
            Some(_) => {}
            None if room => drop(self.heard.insert(*org_key, new)),
            None => {}
        }
    }

    /// Judges anew, and says how it stands if that is another kind of state than before.
    pub(super) fn judge(&mut self, now: Now) -> Option<ClockState> {
        self.judge_at_ms = now.mono_ms + JUDGE_MS;
        let ours = difference(now.unix_ms, now.mono_ms);
        let before = self.ours_ms.replace(ours).unwrap_or(ours);
        if before.abs_diff(ours) > JUMP_MS.unsigned_abs() {
            self.heard.clear();
            self.asked = Asked::default();
        }
        self.heard.retain(|_, heard| !is_old(heard, now));
        let off: Vec<i64> = self.heard.values().map(|heard| heard.zero_ms.saturating_sub(ours)).collect();
        let before = std::mem::replace(&mut self.state, state_of(off));
        let changed = std::mem::discriminant(&before) != std::mem::discriminant(&self.state);
        changed.then_some(self.state)
    }

    /// How many parties were heard since a time on the monotonic clock, in milliseconds.
    pub(super) fn heard_since(&self, since_ms: u64) -> usize {
        self.heard.values().filter(|heard| heard.at_ms >= since_ms).count()
    }

    /// Whether a party was.
    pub(super) fn was_heard_since(&self, org_key: &PublicKey, since_ms: u64) -> bool {
        self.heard.get(org_key).is_some_and(|heard| heard.at_ms >= since_ms)
    }

    /// How it stood when it was judged last.
    pub(super) fn state(&self) -> ClockState {
        self.state
    }
}

fn difference(a: u64, b: u64) -> i64 {
    i64::try_from(i128::from(a) - i128::from(b)).unwrap_or(i64::MAX)
}

fn is_old(heard: &Heard, now: Now) -> bool {
    heard.at_ms.saturating_add(HEARD_MS_MAX) < now.mono_ms
}

/// The verdict on what others are ahead of us, in milliseconds, one number for each.
fn state_of(mut off_ms: Vec<i64>) -> ClockState {
    off_ms.sort_unstable();
    let middle = |index: usize| off_ms.get(index).copied();
    let (Some(lower), Some(upper)) = (middle(off_ms.len().saturating_sub(1) / 2), middle(off_ms.len() / 2))
    else {
        return ClockState::Unknown;
    };
    // Of two in the middle the one that speaks for us.
    let median = if lower.saturating_abs() <= upper.saturating_abs() { lower } else { upper };
    if lower < 0 && upper > 0 || median.saturating_abs() <= OFF_MS_MAX {
        return ClockState::Right { off_ms: median };
    }
    let agrees = |off: &&i64| off.saturating_abs() > OFF_MS_MAX && off.signum() == median.signum();
    let parties = off_ms.iter().filter(agrees).count();
    if parties < AGREEING_MIN {
        return ClockState::Doubtful { off_ms: median, parties };
    }
    ClockState::Wrong { off_ms: median, parties }
}

impl Roaming {
    /// Something of somebody else has just come, and it is not an old one that is repeated; its signature holds.
    pub(super) fn hear_clock(&mut self, speaker: &Speaker, created_unix_ms: u64, now: Now) {
        if !self.is_own_key(speaker.org_key()) {
            self.clock_check.heard(speaker.org_key(), created_unix_ms, now);
        }
    }

    pub(super) fn is_own_key(&self, org_key: &PublicKey) -> bool {
        self.parties.values().any(|ours| ours.speaker.org_key() == org_key)
    }

    pub(super) fn tick_clock(&mut self, now: Now, fx: &mut Effects) {
        if now.mono_ms < self.clock_check.judge_at_ms {
            return;
        }
        if let Some(state) = self.clock_check.judge(now) {
            fx.actions.push(Action::Report(Report::Clock { state }));
        }
        self.ask_times(now, fx);
    }

    /// Whether what we sign now bears a time that can be right.
    pub(super) fn may_sign(&self) -> bool {
        !self.clock_check.state().is_wrong()
    }

    /// The answer to a push while nothing is signed.
    pub(super) fn refuse_unless_signing(&self) -> Result<(), StatusCode> {
        match self.clock_check.state() {
            ClockState::Wrong { off_ms, parties } => Err(StatusCode::with_info(
                Code::ServiceNotAvailable,
                &format!(
                    "the clock of this node differs by {} s from those of {parties} other parties, so it signs \
                     nothing: correct the clock and send the message again",
                    off_ms / 1_000
                ),
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::SecretKey;

    fn key(number: u8) -> PublicKey {
        SecretKey::from_seed(&[number; 32]).public()
    }

    #[test]
    fn three_that_agree_and_no_majority_against_them() {
        use ClockState::{Doubtful, Right, Unknown, Wrong};
        let table = [
            (vec![], Unknown),
            (vec![10], Right { off_ms: 10 }),
            (vec![60_000, -60_000], Right { off_ms: -60_000 }),
            (vec![61_000], Doubtful { off_ms: 61_000, parties: 1 }),
            (vec![61_000, 70_000], Doubtful { off_ms: 61_000, parties: 2 }),
            (vec![61_000, 70_000, 80_000], Wrong { off_ms: 70_000, parties: 3 }),
            (vec![-61_000, -70_000, -80_000], Wrong { off_ms: -70_000, parties: 3 }),
            (vec![-61_000, 70_000, 80_000], Doubtful { off_ms: 70_000, parties: 2 }),
            (vec![61_000, 70_000, 80_000, 10, 20, -5, 3], Right { off_ms: 20 }),
            (vec![61_000, 70_000, 80_000, 10, 20, -5], Right { off_ms: 20 }),
            (vec![61_000, 70_000, 80_000, 10, 20], Wrong { off_ms: 61_000, parties: 3 }),
            (vec![61_000, 70_000, -61_000, -70_000], Right { off_ms: -61_000 }),
        ];
        for (off, state) in table {
            assert_eq!(state_of(off.clone()), state, "{off:?}");
        }
    }

    #[test]
    fn late_messages_raise_no_doubt_and_a_clock_that_is_set_is_judged_anew() {
        const START: u64 = 1_800_000_000_000;
        let at = |mono_ms: u64, ahead_ms: i64| Now {
            unix_ms: (START + mono_ms).saturating_add_signed(ahead_ms),
            mono_ms,
        };
        let mut check = ClockCheck::default();
        for number in 0..3 {
            check.heard(&key(number), START + 1_000, at(1_000, 0));
            // Somebody held this one back for two minutes.
            check.heard(&key(number), START + 2_000, at(122_000, 0));
        }
        assert_eq!(check.judge(at(122_000, 0)), Some(ClockState::Right { off_ms: 0 }));
        // Our clock jumps: so it would look after a machine has slept, too.
        assert_eq!(check.judge(at(123_000, 300_000)), Some(ClockState::Unknown));
        for number in 0..3 {
            check.heard(&key(number), START + 124_000, at(124_000, 300_000));
        }
        let wrong = ClockState::Wrong { off_ms: -300_000, parties: 3 };
        assert_eq!(check.judge(at(124_000, 300_000)), Some(wrong));
        assert_eq!(check.judge(at(125_000, 300_000)), None, "told once");
        assert!(check.state().is_wrong());
        // It is corrected: signing goes on at once.
        assert_eq!(check.judge(at(126_000, 0)), Some(ClockState::Unknown));
        check.heard(&key(1), START + 126_000, at(126_000, 0));
        assert_eq!(check.judge(at(127_000, 0)), Some(ClockState::Right { off_ms: 0 }));
        // What was heard long ago says nothing.
        assert_eq!(check.judge(at(126_000 + HEARD_MS_MAX + 1, 0)), Some(ClockState::Unknown));
    }

    #[test]
    fn one_company_is_one_voice_and_the_memory_is_bounded() {
        let mut check = ClockCheck::default();
        let now = Now { unix_ms: 1_800_000_000_000, mono_ms: 5 };
        for _ in 0..3 {
            check.heard(&key(1), now.unix_ms + 100_000, now);
        }
        assert_eq!(check.judge(now), Some(ClockState::Doubtful { off_ms: 100_000, parties: 1 }));
        let many = HEARD_MAX as u64 + 50;
        for number in 0..many {
            let mut seed = [9; 32];
            seed[..8].copy_from_slice(&number.to_be_bytes());
            check.heard(&SecretKey::from_seed(&seed).public(), now.unix_ms, now);
        }
        assert_eq!(check.heard.len(), HEARD_MAX);
    }
}
