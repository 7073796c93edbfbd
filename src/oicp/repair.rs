//! Turns deviating names, types and shapes into the published ones, along the same tables as the check. Never
//! invents a value: what it cannot derive from the text itself stays as it is.

use std::borrow::Cow;

use super::check::{flag_of, is_number, is_placeholder, word, wraps_into_list};
use super::geo::{self, GeoFormat};
use super::json::{Node, Value};
use super::schema::{Field, Kind, Need, Table};

/// Repairs one object in place; true if anything changed.
pub(super) fn object(node: &mut Node<'_>, table: &'static Table) -> bool {
    let Value::Object(members) = &mut node.value else { return false };
    let mut changed = rename(members, table);
    for (name, member) in members.iter_mut() {
        if let Some(field) = table.exact(name) {
            changed |= member_value(field, member);
        }
    }
    changed
}

/// Gives deviating names their published spelling: a value moves onto a null, a null beside a value goes.
fn rename<'a>(members: &mut Vec<(Cow<'a, str>, Node<'a>)>, table: &'static Table) -> bool {
    let mut changed = false;
    let mut at = 0;
    while let Some((name, member)) = members.get(at) {
        let meant = if table.exact(name).is_some() { None } else { table.meant(name) };
        let Some(field) = meant else {
            at += 1;
            continue;
        };
        let is_null = member.is_null();
        let published = members.iter().position(|(other, _)| other == field.name);
        let published_is_null =
            published.and_then(|place| members.get(place)).is_some_and(|(_, member)| member.is_null());
        match published {
            None => {
                if let Some((name, _)) = members.get_mut(at) {
                    *name = Cow::Borrowed(field.name);
                }
                changed = true;
                at += 1;
            }
            Some(_) if is_null => {
                members.remove(at);
                changed = true;
            }
            Some(place) if published_is_null => {
                let (_, value) = members.remove(at);
                let place = if at < place { place - 1 } else { place };
                if let Some((_, target)) = members.get_mut(place) {
                    *target = value;
                }
                changed = true;
            }
            Some(_) => at += 1,
        }
    }
    changed
}

fn member_value(field: &'static Field, node: &mut Node<'_>) -> bool {
    if node.is_null() {
        return false;
    }
    let optional = matches!(field.need, Need::Free | Need::HubAssigned);
    let empty_text = node.as_str().is_some_and(|text| text.trim().is_empty());
    let unneeded = empty_text && !matches!(field.kind, Kind::Text { .. })
        || field.name == "GeoChargingPointEntrance" && is_placeholder(node);
    if optional && unneeded {
        node.value = Value::Null;
        return true;
    }
    value(&field.kind, node)
}

fn value(kind: &'static Kind, node: &mut Node<'_>) -> bool {
    match kind {
        Kind::Text { .. } | Kind::Pattern(_) | Kind::Operator | Kind::Instant => number_to_text(node),
        Kind::Evse | Kind::Decimal | Kind::Readings => false,
        Kind::Choice(values) => match node.as_bool().map(word) {
            Some(text) if values.contains(&text) => replace(node, Value::String(Cow::Borrowed(text))),
            _ => false,
        },
        Kind::Flag => match (node.as_bool(), flag_of(node)) {
            (None, Some(flag)) => replace(node, Value::Bool(flag)),
            _ => false,
        },
        Kind::Number { .. } | Kind::Power => text_to_number(node),
        Kind::Position | Kind::Center => position(node),
        Kind::List { of, .. } => list(of, node),
        Kind::Object(table) => object(node, table),
    }
}

fn replace<'a>(node: &mut Node<'a>, value: Value<'a>) -> bool {
    node.value = value;
    true
}

fn number_to_text(node: &mut Node<'_>) -> bool {
    match &mut node.value {
        Value::Number(spelling) => {
            let spelling = std::mem::take(spelling);
            replace(node, Value::String(spelling))
        }
        _ => false,
    }
}

fn text_to_number(node: &mut Node<'_>) -> bool {
    match &node.value {
        Value::String(text) if is_number(text) => {
            let spelling = text.trim().to_owned();
            replace(node, Value::Number(Cow::Owned(spelling)))
        }
        _ => false,
    }
}

fn list(of: &'static Kind, node: &mut Node<'_>) -> bool {
    let mut changed = false;
    if !node.is_array()
        && wraps_into_list(of, node)
        && node.as_str().is_none_or(|text| !text.trim().is_empty())
    {
        let lone = std::mem::replace(node, Node::null());
        node.value = Value::Array(vec![lone]);
        changed = true;
    }
    if let Value::Array(items) = &mut node.value {
        for item in items {
            changed |= value(of, item);
        }
    }
    changed
}

/// One notation, in the shape and spelling of its type; an unreadable position stays as it is.
fn position(node: &mut Node<'_>) -> bool {
    let Some(pair) = geo::read_pair(node) else { return false };
    if node.as_str().is_some() {
        let google = (Cow::Borrowed("Google"), pair.to_node(GeoFormat::Google));
        return replace(node, Value::Object(vec![google]));
    }
    let format = geo::first_readable(node);
    let (Some(format), Value::Object(members)) = (format, &mut node.value) else { return false };
    let (mut changed, mut kept) = (false, false);
    members.retain_mut(|(name, member)| match GeoFormat::parse(name) {
        None => true,
        // A null goes if the value beside it is about to get its name.
        Some(notation) if member.is_null() => notation != format || kept,
        Some(notation) if notation != format => {
            changed = replace(member, Value::Null);
            true
        }
        // The same notation once more, in another spelling: two members of one name cannot be written.
        Some(_) if kept => {
            changed = true;
            false
        }
        Some(_) => {
            kept = true;
            if name != format.as_str() || !geo::is_well_shaped(format, member) {
                *name = Cow::Borrowed(format.as_str());
                *member = pair.to_node(format);
                changed = true;
            }
            true
        }
    });
    changed
}
