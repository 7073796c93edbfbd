//! `chargemesh trust watch`: says what changes among those that a node knows, and rings if somebody claims
//! this node's own id (decisions.md 20).

use std::collections::{BTreeMap, BTreeSet};
use std::process::ExitCode;
use std::time::Duration;

use chargemesh::oicp::json::Node;

use super::table::shown;
use super::who::{PATH, claims, names, own_alarm, words};
use super::{Lines, Target, items, parsed, text};
use crate::cli::EXIT_FOUND;
use crate::cli::text::{print, reader_gone};

/// Between two looks at the node.
const POLL: Duration = Duration::from_secs(5);

/// Arguments of `chargemesh trust watch`.
#[derive(clap::Args)]
pub(crate) struct WatchArgs {
    #[command(flatten)]
    target: Target,
    /// Look once and end.
    #[arg(long)]
    once: bool,
}

/// Polls until this node's own id is claimed by another key, or nobody reads what is said.
pub(crate) async fn watch(args: &WatchArgs) -> anyhow::Result<ExitCode> {
    let mut before: Option<Seen> = None;
    let mut is_reached = true;
    loop {
        match look(&args.target, before.as_ref()).await {
            Ok(Look { claimed: true, .. }) => return Ok(ExitCode::from(EXIT_FOUND)),
            Ok(look) => {
                if !is_reached {
                    print("The node answers again\n")?;
                }
                is_reached = true;
                before = Some(look.seen);
            }
            Err(error) if args.once || before.is_none() => return Err(error),
            Err(error) => {
                if is_reached {
                    print(&format!("NOT WATCHED: {error:#}\n"))?;
                }
                is_reached = false;
            }
        }
        if args.once {
            return Ok(ExitCode::SUCCESS);
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            () = reader_gone() => return Ok(ExitCode::SUCCESS),
        }
    }
}

struct Look {
    seen: Seen,
    /// Whether an id of this node's own is claimed by another key.
    claimed: bool,
}

/// Looks once and prints what is not as it was.
async fn look(target: &Target, before: Option<&Seen>) -> anyhow::Result<Look> {
    let answer = target.get(PATH).await?;
    let root = parsed(&answer)?;
    let seen = Seen::of(&root);
    let mut out = Lines::default();
    match before {
        Some(before) => changes(before, &seen).iter().for_each(|change| out.line(change)),
        None => {
            let (parties, conflicts) = (seen.parties.len(), seen.conflicts.len());
            out.line(&format!("Watching: {parties} parties, {conflicts} conflicts"));
            seen.conflicts.iter().for_each(|id| out.line(&format!("conflict: {}", shown(id))));
        }
    }
    let own = names(&root, "own_conflicts");
    for id in &own {
        // A terminal rings.
        out.line(&format!("\u{7}{}", own_alarm(id)));
        out.0.push_str(&claims(&root, id));
    }
    print(&out.0)?;
    Ok(Look { seen, claimed: !own.is_empty() })
}

/// What was seen at one time.
#[derive(Default)]
struct Seen {
    /// Party and org key; standing, who vouches, and the six words.
    parties: BTreeMap<(String, String), Party>,
    conflicts: BTreeSet<String>,
}

#[derive(Clone)]
struct Party {
    standing: String,
    vouched_by: String,
    words: String,
}

impl Seen {
    fn of(root: &Node<'_>) -> Seen {
        let party = |party: &Node<'_>| {
            let seen = Party {
                standing: text(party, "standing"),
                vouched_by: names(party, "vouched_by").join(", "),
                words: words(party),
            };
            ((text(party, "party"), text(party, "org_key")), seen)
        };
        Seen {
            parties: items(root, "parties").iter().map(party).collect(),
            conflicts: names(root, "conflicts").into_iter().collect(),
        }
    }
}

/// One line for each thing that is not as it was.
fn changes(before: &Seen, after: &Seen) -> Vec<String> {
    let mut lines = Vec::new();
    for (key @ (id, _), party) in &after.parties {
        let Party { standing, vouched_by, words } = party;
        match before.parties.get(key) {
            None => lines.push(format!(
                "new: {} {}, vouched for by {}, {words}",
                shown(id),
                shown(standing),
                shown(vouched_by)
            )),
            Some(old) if old.standing != *standing => {
                lines.push(format!("changed: {} {} -> {}", shown(id), shown(&old.standing), shown(standing)));
            }
            Some(old) if old.vouched_by != *vouched_by => {
                lines.push(format!("changed: {} is vouched for by {}", shown(id), shown(vouched_by)));
            }
            Some(_) => (),
        }
    }
    let gone = before.parties.keys().filter(|key| !after.parties.contains_key(*key));
    lines.extend(gone.map(|(id, _)| format!("gone: {}", shown(id))));
    lines.extend(after.conflicts.difference(&before.conflicts).map(|id| format!("conflict: {}", shown(id))));
    let over = before.conflicts.difference(&after.conflicts);
    lines.extend(over.map(|id| format!("conflict over: {}", shown(id))));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(parties: &[(&str, &str, &str)], conflicts: &[&str]) -> Seen {
        let party = |(id, standing, vouched_by): &(&str, &str, &str)| {
            let (standing, vouched_by) = ((*standing).to_owned(), (*vouched_by).to_owned());
            (((*id).to_owned(), "key".to_owned()), Party { standing, vouched_by, words: "a b".to_owned() })
        };
        Seen {
            parties: parties.iter().map(party).collect(),
            conflicts: conflicts.iter().map(|id| (*id).to_owned()).collect(),
        }
    }

    #[test]
    fn each_change_is_told_once() {
        let one = seen(&[("CPO:A", "live", "R"), ("CPO:B", "live", "R")], &["CPO:A"]);
        let two = seen(&[("CPO:A", "revoked", "R"), ("CPO:B", "live", "R, S"), ("CPO:C", "live", "S")], &[]);
        assert_eq!(changes(&one, &one), Vec::<String>::new());
        assert_eq!(
            changes(&one, &two),
            [
                "changed: CPO:A live -> revoked",
                "changed: CPO:B is vouched for by R, S",
                "new: CPO:C live, vouched for by S, a b",
                "conflict over: CPO:A",
            ]
        );
        let back = changes(&two, &one);
        assert!(back.contains(&"gone: CPO:C".to_owned()) && back.contains(&"conflict: CPO:A".to_owned()));
    }
}
