//! Who charges where, drawn from the seed before a run.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng as _, SeedableRng as _};

use super::contracts::has_contract;
use super::play::Play;
use crate::scenario::{Death, Scenario, Sessions};
use crate::schedule::{Act, Entry};

/// How a session begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum How {
    /// A driver's app at the EMP starts it.
    Remote,
    /// The EMP reserves the charging point.
    Reservation,
    /// A card is held to the charging point.
    Card,
    /// The vehicle names its contract (Plug & Charge).
    Contract,
}

/// Which notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Notice {
    Start,
    Progress,
    End,
    Error,
}

/// A driver who charges.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Start {
    /// Number of the story; whatever follows in it names it.
    pub(crate) charge: u32,
    pub(crate) how: How,
    pub(crate) provider: u32,
    pub(crate) operator: u32,
    /// Number of the EVSE within its operator.
    pub(crate) evse: u32,
    /// Number of the card among its provider's.
    pub(crate) card: u32,
    /// How the backend that decides behaves.
    pub(crate) play: Play,
    /// Another provider that says yes to the card as well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) other: Option<u32>,
    /// The backend that asks hangs up if it is not answered within so many milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) hangs_up_ms: Option<u64>,
}

impl std::fmt::Display for Start {
    fn fmt(&self, text: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Start { charge, how, provider, operator, evse, card, play, other, hangs_up_ms } = self;
        write!(
            text,
            "charge {charge}: {how:?} by provider {provider} with card {card} at EVSE {evse} of operator "
        )?;
        write!(text, "{operator}, whose question is answered with {play:?}")?;
        if let Some(other) = other {
            write!(text, ", and with yes by provider {other}")?;
        }
        if let Some(ms) = hangs_up_ms {
            write!(text, "; who asks hangs up after {ms} ms")?;
        }
        Ok(())
    }
}

/// The longest that a backend waits that hangs up, in milliseconds.
const HANGS_UP_MS_MAX: u64 = 2_000;

/// A provider's node that is to be away goes down so long after the last charge began, in milliseconds.
pub(crate) const AWAY_AFTER_MS: u64 = 60_000;

/// Of a hundred sessions so many begin in each way.
const HOW: [(How, u64); 4] =
    [(How::Remote, 45), (How::Card, 30), (How::Contract, 10), (How::Reservation, 15)];

/// Charges and whatever happens in them.
pub(crate) fn draw(scenario: &Scenario, seed: u64, evses_of: &[u32]) -> Vec<Entry> {
    let sessions = &scenario.sessions;
    let mut draw = Draw {
        // Streams of their own, so that other entries stay as they are.
        chance: ChaCha8Rng::seed_from_u64(seed ^ 0xc4a2_6e00),
        patience: ChaCha8Rng::seed_from_u64(seed ^ 0x9a71_e4ce),
        scenario,
        sessions,
        entries: Vec::new(),
    };
    let duration_ms = match sessions.until.ms() {
        0 => scenario.duration.ms(),
        until_ms => until_ms.min(scenario.duration.ms()),
    };
    let count = (sessions.per_s * duration_ms as f64 / 1_000.0).round() as u32;
    for charge in 0..count {
        let at_ms = draw.below(duration_ms);
        draw.charge(charge, at_ms, evses_of);
    }
    let down_ms = sessions.away.ms();
    if down_ms > 0 {
        let nodes = scenario.nodes;
        let node = nodes.bootstrap + nodes.cpo + nodes.emp - 1;
        draw.add(duration_ms + AWAY_AFTER_MS, Act::Crash { node, kind: Death::Process, down_ms });
    }
    draw.entries
}

struct Draw<'s> {
    chance: ChaCha8Rng,
    patience: ChaCha8Rng,
    scenario: &'s Scenario,
    sessions: &'s Sessions,
    entries: Vec<Entry>,
}

impl Draw<'_> {
    fn below(&mut self, limit: u64) -> u64 {
        self.chance.next_u64() % limit.max(1)
    }

    fn is(&mut self, share: f64) -> bool {
        (self.below(1 << 32) as f64) < share * (1u64 << 32) as f64
    }

    fn add(&mut self, at_ms: u64, act: Act) {
        // What would come after the end has no place in the run.
        if at_ms < self.scenario.duration.ms() {
            self.entries.push(Entry { at_ms, act });
        }
    }

    fn play(&mut self) -> Play {
        if !self.is(self.sessions.faulty) {
            return if self.is(0.1) { Play::No } else { Play::Yes };
        }
        let slow_ms = 500 + self.below(self.sessions.slow.ms());
        let faults =
            [Play::Slow(slow_ms), Play::Slow(slow_ms), Play::Silent, Play::Dies, Play::Off, Play::Broken];
        match self.below(7) as usize {
            6 => Play::Garbage,
            fault => faults[fault],
        }
    }

    fn charge(&mut self, charge: u32, at_ms: u64, evses_of: &[u32]) {
        let nodes = self.scenario.nodes;
        let provider = self.below(nodes.emp.into()) as u32;
        // A few try where their EMP has no contract.
        let anywhere = self.is(0.03);
        let operators: Vec<u32> = (0..nodes.cpo)
            .filter(|operator| anywhere || has_contract(self.scenario, provider, *operator))
            .collect();
        let operator = operators[self.below(operators.len() as u64) as usize];
        let evse = self.below(evses_of[operator as usize].into()) as u32;
        let mut number = self.below(HOW.iter().map(|(_, share)| share).sum());
        let mut how = How::Remote;
        for (one, share) in HOW {
            how = one;
            match number.checked_sub(share) {
                Some(rest) => number = rest,
                None => break,
            }
        }
        if self.sessions.cards_only {
            how = How::Card;
        }
        let card = self.below(self.sessions.cards.into()) as u32;
        let other = (how == How::Card && self.is(self.sessions.doubles))
            .then(|| (provider + 1 + self.below(u64::from(nodes.emp) - 1) as u32) % nodes.emp)
            .filter(|other| *other != provider);
        let play = self.play();
        let hangs_up_ms = self.hangs_up();
        let start = Start { charge, how, provider, operator, evse, card, play, other, hangs_up_ms };
        self.add(at_ms, Act::Start(start));
        self.retries(charge, how, at_ms);
        if !self.sessions.cards_only {
            self.course(charge, at_ms);
        }
    }

    /// Half as many backends hang up as have another fault.
    fn hangs_up(&mut self) -> Option<u64> {
        let number = self.patience.next_u64();
        let share = self.sessions.faulty / 2.0;
        (((number >> 32) as f64) < share * (1u64 << 32) as f64).then_some(number % HANGS_UP_MS_MAX)
    }

    /// A backend that is impatient, or has a fault, asks again.
    fn retries(&mut self, charge: u32, how: How, at_ms: u64) {
        if !matches!(how, How::Remote | How::Reservation) || !self.is(self.sessions.again) {
            return;
        }
        match self.below(3) {
            0 => (0..4).for_each(|again| self.add(at_ms + again, Act::Again { charge })),
            _ => {
                let after_ms = 1 + self.below(20_000);
                self.add(at_ms + after_ms, Act::Again { charge });
            }
        }
    }

    fn course(&mut self, charge: u32, at_ms: u64) {
        let begin_ms = at_ms + self.below(5_000);
        let play = self.play();
        self.add(begin_ms, Act::Notify { charge, kind: Notice::Start, stranger: false, play });
        let mut then_ms = begin_ms;
        for kind in [Notice::Progress, Notice::Error, Notice::End] {
            if self.is(0.4) {
                then_ms += self.below(20_000);
                let (stranger, play) = (self.is(0.03), self.play());
                self.add(then_ms, Act::Notify { charge, kind, stranger, play });
            }
        }
        if self.is(0.7) {
            // Some stops come before the answer to their start.
            let early = self.is(0.2);
            let stop_ms = if early { at_ms + self.below(2_000) } else { then_ms + self.below(20_000) };
            let (stranger, play) = (self.is(0.03), self.play());
            self.add(stop_ms, Act::Stop { charge, stranger, play });
            then_ms = then_ms.max(stop_ms);
        }
        self.cdrs(charge, then_ms);
    }

    /// A backend that did not hear the answer brings its record again; a few bring another one.
    fn cdrs(&mut self, charge: u32, after_ms: u64) {
        if !self.is(self.sessions.cdrs) {
            return;
        }
        let mut at_ms = after_ms + self.below(self.sessions.cdr_within.ms());
        let play = self.play();
        self.add(at_ms, Act::Cdr { charge, other: false, play });
        for _ in 0..2 {
            if self.is(0.3) {
                at_ms += self.below(10_000);
                let other = self.is(0.2);
                self.add(at_ms, Act::Cdr { charge, other, play });
            }
        }
    }
}
