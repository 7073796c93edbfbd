//! What must hold of sessions after the world has settled. Adding one is one function and one line in a list.

use std::collections::BTreeMap;

use anyhow::Result;
use chargemesh::engine::SessionView;

use super::contracts::takes_notifications;
use super::stories::Story;
use super::{State, cdrs};
use crate::world::{Host, World};

/// One session at all nodes that hold it.
#[derive(Debug, Default)]
pub(crate) struct Held {
    asker: Option<SessionView>,
    /// The sides that were asked, by party.
    asked: BTreeMap<String, SessionView>,
    /// Its charge detail record is stored at both nodes: a day later, memory has forgotten the session.
    has_record: bool,
}

/// All sessions of the world, by SessionID.
pub(crate) type All = BTreeMap<String, Held>;

type Settled = fn(&All, &State) -> Result<(), String>;

/// Checked after settling.
const SETTLED: &[(&str, Settled)] = &[
    ("sessions-settled", sessions_settled),
    ("sessions-agree", sessions_agree),
    ("no-session-lost", no_session_lost),
    ("the-driver-is-told", the_driver_is_told),
];

/// The sessions of all nodes that run.
///
/// # Errors
/// If a node does not answer.
pub(crate) async fn held<'h>(hosts: impl Iterator<Item = &'h Host>) -> Result<All> {
    let mut all = All::new();
    for host in hosts {
        let Some(engine) = host.node().and_then(|node| node.engine()) else { continue };
        for view in engine.sessions(None).await? {
            let held = all.entry(view.session.clone()).or_default();
            match view.asked_by_us {
                true => held.asker = Some(view),
                false => drop(held.asked.insert(view.party.clone(), view)),
            }
        }
    }
    Ok(all)
}

/// Whether all sessions are settled, and the same at both sides.
pub(crate) fn agreed(world: &World, all: &All) -> bool {
    let state = world.charges.state();
    [sessions_settled, sessions_agree].iter().all(|check| check(all, &state).is_ok())
}

/// How many sessions are in each phase, at the side that asked.
pub(crate) fn phases(all: &All) -> BTreeMap<String, u64> {
    let mut phases = BTreeMap::new();
    for view in all.values().filter_map(|held| held.asker.as_ref()) {
        *phases.entry(view.phase.to_owned()).or_default() += 1;
    }
    phases
}

/// What does not hold.
///
/// # Errors
/// If a node does not answer.
pub(crate) async fn settled(world: &World) -> Result<Vec<(&'static str, Result<(), String>)>> {
    let mut all = held(world.honest()).await?;
    let stored = cdrs::stored(world.honest()).await?;
    for session in stored.at_both() {
        all.entry(session.to_owned()).or_default().has_record = true;
    }
    let state = world.charges.state();
    let sessions = SETTLED.iter().map(|(invariant, check)| (*invariant, check(&all, &state)));
    Ok(sessions.chain(cdrs::settled(&stored, &state)).collect())
}

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

/// Nothing hangs: what is not known any more is unconfirmed at both sides.
fn sessions_settled(all: &All, _: &State) -> Result<(), String> {
    for (session, held) in all {
        for view in held.asker.iter().chain(held.asked.values()) {
            let hangs = matches!(view.phase, "requested" | "calling" | "in doubt");
            ensure(!hangs, || format!("{session} is {} at {}", view.phase, view.party))?;
        }
    }
    Ok(())
}

/// Both sides hold the same of every session, and who was asked in vain holds nothing open.
fn sessions_agree(all: &All, state: &State) -> Result<(), String> {
    for (session, held) in all {
        if held.has_record && (held.asker.is_none() || held.asked.is_empty()) {
            continue;
        }
        let Some(asker) = &held.asker else {
            let parties: Vec<&String> = held.asked.keys().collect();
            return Err(format!("{session} is known to {parties:?} and not to the side that asked"));
        };
        let about = || {
            let asked: Vec<String> =
                held.asked.values().map(|view| format!("{} at {}", view.phase, view.party)).collect();
            let of = state.story_of(session).map(|story| story.start.to_string());
            format!(
                "{session} ({}) is {} at {}, {}; {}",
                asker.operation,
                asker.phase,
                asker.party,
                if asked.is_empty() { "unknown to the other side".to_owned() } else { asked.join(", ") },
                of.unwrap_or_default()
            )
        };
        for view in held.asked.values() {
            let is_partner = asker.partner.as_ref() == Some(&view.party);
            let same = if is_partner { view.phase == asker.phase } else { view.phase == "refused" };
            ensure(same, about)?;
        }
        // A session that never came is refused at the side that asked.
        let is_held = asker.partner.as_ref().is_some_and(|partner| held.asked.contains_key(partner));
        ensure(is_held || asker.phase == "refused", about)?;
    }
    Ok(())
}

/// What a node holds of a session.
fn phase(view: Option<&SessionView>) -> String {
    view.map_or_else(|| "nothing of it".to_owned(), |view| format!("it as {} at {}", view.phase, view.party))
}

/// What a backend heard and may have begun is held by both nodes, as a session or as its record; so is what a backend
/// heard a yes of.
fn no_session_lost(all: &All, state: &State) -> Result<(), String> {
    let lives = |view: Option<&SessionView>| {
        view.is_some_and(|view| matches!(view.phase, "active" | "unconfirmed" | "closed" | "expired"))
    };
    let has_record = |session: &String| all.get(session).is_some_and(|held| held.has_record);
    for story in state.stories.values() {
        for session in &story.began {
            let held = all.get(session);
            let at_cpo = held.and_then(|held| held.asked.values().next());
            ensure(lives(at_cpo) || has_record(session), || {
                let phase = phase(at_cpo);
                format!("{session} was heard by its CPO's backend, whose node has {phase}; {}", story.start)
            })?;
        }
        for session in &story.heard_yes {
            let asker = all.get(session).and_then(|held| held.asker.as_ref());
            ensure(lives(asker) || has_record(session), || {
                let phase = phase(asker);
                format!("a backend heard that {session} runs, and its node has {phase}; {}", story.start)
            })?;
            // A record that its CPO's backend handed in shows as much as a notification.
            let known = [&story.shown_alive, &story.stopped].iter().any(|set| set.contains(session))
                || has_record(session);
            let invented = !story.by_card() && !known && !story.said_yes.contains_key(session);
            ensure(!invented, || format!("nobody said yes to {session}; {}", story.start))?;
        }
    }
    Ok(())
}

/// The EMP's backend knows of every remote session that runs, or it is stopped.
fn the_driver_is_told(all: &All, state: &State) -> Result<(), String> {
    for story in state.stories.values().filter(|story| !story.by_card()) {
        let sessions = story.said_yes.keys().chain(&story.shown_alive);
        let running = sessions.filter(|session| {
            let asker = all.get(*session).and_then(|held| held.asker.as_ref());
            asker.is_some_and(|asker| asker.phase == "active")
        });
        for session in running {
            let told = story.emp_knows.contains(session) || story.stopped.contains(session);
            ensure(told, || {
                let takes = takes_notifications(story.start.provider);
                format!(
                    "{session} runs, and the EMP's backend, which takes {} notifications, never heard so; {}",
                    if takes { "all" } else { "no" },
                    story.start
                )
            })?;
        }
    }
    Ok(())
}

impl State {
    /// The charge that a session belongs to.
    fn story_of(&self, session: &str) -> Option<&Story> {
        let is = |known: &Option<String>| known.as_deref() == Some(session);
        self.stories.values().find(|story| {
            is(&story.emp_session) || is(&story.cpo_session) || story.said_yes.contains_key(session)
        })
    }
}
