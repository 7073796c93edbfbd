//! A small JSON tree over the received text: keeps the spelling of numbers, the order of members and the
//! exact source slice of every value, and says where a text is broken.
//!
//! OICP messages are relayed: unknown fields, `22.0` beside `22` and the order of members have to survive a
//! pass-through (TYPES section 1 and 2), which a tree of floats and sorted maps cannot give.

use std::borrow::Cow;
use std::fmt;

use super::json_parse;
use super::json_write::Writer;
use super::reading::Reading;

/// Deepest nesting of arrays and objects that is read. OICP needs 9; the limit bounds the parser's stack.
pub const DEPTH_MAX: usize = 64;

/// Most values in one document. The Swiss register (18,427 records) has about 1.4 million; a value takes
/// about 60 bytes in memory, so the limit bounds one document's tree to roughly a quarter of a gigabyte.
pub const NODES_MAX: usize = 4_000_000;

/// One JSON value with the slice of the text it was read from.
#[derive(Debug, Clone, PartialEq)]
pub struct Node<'a> {
    /// The value; may be changed, then [`Node::raw`] of it and of its parents is stale.
    pub value: Value<'a>,
    raw: &'a str,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// A number in its original spelling (`22.0` stays `22.0`).
    Number(Cow<'a, str>),
    /// A text with its escapes resolved.
    String(Cow<'a, str>),
    /// A list.
    Array(Vec<Node<'a>>),
    /// Members in received order; keys are unique.
    Object(Vec<(Cow<'a, str>, Node<'a>)>),
}

/// Why a text is not JSON that this node reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{problem} at line {line}, column {column} (byte {offset}, {})", shown_pointer(.pointer))]
pub struct JsonError {
    /// What is wrong.
    pub problem: Problem,
    /// Byte offset in the received body.
    pub offset: usize,
    /// Line, first is 1.
    pub line: usize,
    /// Column in characters, first is 1.
    pub column: usize,
    /// RFC 6901 pointer to the value that was being read; empty for the whole document.
    pub pointer: String,
}

/// The ways in which a text can fail to be JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Bytes that are not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// A byte order mark in strict reading.
    #[error("a byte order mark before the JSON text")]
    ByteOrderMark,
    /// The text ends too early.
    #[error("unexpected end of the text")]
    UnexpectedEnd,
    /// Another character was needed here.
    #[error("expected {0}")]
    Expected(&'static str),
    /// Text after the end of the document.
    #[error("text after the end of the JSON value")]
    TrailingText,
    /// A number that breaks the JSON grammar.
    #[error("not a JSON number")]
    BadNumber,
    /// A control character inside a text.
    #[error("a control character inside a text: it must be escaped")]
    ControlCharacter,
    /// An escape that JSON does not have, or half of a surrogate pair.
    #[error("an invalid escape inside a text")]
    BadEscape,
    /// The same member twice in one object.
    #[error("a member that occurs twice in one object")]
    DuplicateKey,
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("nested deeper than {DEPTH_MAX} levels")]
    TooDeep,
    /// More values than [`NODES_MAX`].
    #[error("more than {NODES_MAX} values in one document")]
    TooManyValues,
}

fn shown_pointer(pointer: &str) -> &str {
    if pointer.is_empty() { "the document itself" } else { pointer }
}

/// Reads a whole document from bytes.
///
/// # Errors
/// [`JsonError`] with offset, line, column and pointer. A byte order mark is an error in strict reading only.
pub fn parse(body: &[u8], reading: Reading) -> Result<Node<'_>, JsonError> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let good = error.valid_up_to();
        let before = body.get(..good).and_then(|bytes| std::str::from_utf8(bytes).ok()).unwrap_or_default();
        JsonError::at(before, good, Problem::NotUtf8, String::new())
    })?;
    match text.strip_prefix('\u{feff}') {
        Some(rest) if reading == Reading::Tolerant => parse_text(rest),
        Some(_) => Err(JsonError::at(text, 0, Problem::ByteOrderMark, String::new())),
        None => parse_text(text),
    }
}

/// Reads a whole document from a text without byte order mark.
///
/// # Errors
/// [`JsonError`] as [`parse`].
pub fn parse_text(text: &str) -> Result<Node<'_>, JsonError> {
    json_parse::document(text)
}

impl JsonError {
    pub(super) fn at(text: &str, offset: usize, problem: Problem, pointer: String) -> JsonError {
        let before = text.get(..offset).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |position| position + 1);
        JsonError {
            problem,
            offset,
            line: before.bytes().filter(|byte| *byte == b'\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            pointer,
        }
    }
}

impl<'a> Node<'a> {
    /// A node that was made here and has no source text.
    #[must_use]
    pub fn made(value: Value<'a>) -> Node<'a> {
        Node { value, raw: "" }
    }

    /// A made text node.
    #[must_use]
    pub fn text(text: impl Into<Cow<'a, str>>) -> Node<'a> {
        Node::made(Value::String(text.into()))
    }

    /// A made number node; `spelling` has to be a JSON number.
    #[must_use]
    pub fn number(spelling: impl Into<Cow<'a, str>>) -> Node<'a> {
        Node::made(Value::Number(spelling.into()))
    }

    /// A made `null`.
    #[must_use]
    pub fn null() -> Node<'a> {
        Node::made(Value::Null)
    }

    pub(super) fn read(value: Value<'a>, raw: &'a str) -> Node<'a> {
        Node { value, raw }
    }

    /// The received characters of this value, byte for byte; empty for a made node and stale after a change
    /// of the value.
    #[must_use]
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// The member of that exact name; `None` if absent, `null` (OICP treats both alike, TYPES section 1) or
    /// not an object.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Node<'a>> {
        self.member(name).filter(|node| !node.is_null())
    }

    /// The member of that exact name, `null` included.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Node<'a>> {
        self.members().iter().find(|(key, _)| key == name).map(|(_, node)| node)
    }

    /// The member of that exact name, to be changed.
    pub fn member_mut(&mut self, name: &str) -> Option<&mut Node<'a>> {
        match &mut self.value {
            Value::Object(members) => members.iter_mut().find(|(key, _)| key == name).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The first non-null member with one of the names, ASCII case ignored (GAPS A11, A12).
    #[must_use]
    pub fn field_any_case(&self, names: &[&str]) -> Option<&Node<'a>> {
        names.iter().find_map(|name| {
            self.members()
                .iter()
                .find(|(key, node)| key.eq_ignore_ascii_case(name) && !node.is_null())
                .map(|(_, node)| node)
        })
    }

    /// The members of an object in received order; empty for anything else.
    #[must_use]
    pub fn members(&self) -> &[(Cow<'a, str>, Node<'a>)] {
        match &self.value {
            Value::Object(members) => members,
            _ => &[],
        }
    }

    /// The items of a list; empty for anything else.
    #[must_use]
    pub fn items(&self) -> &[Node<'a>] {
        match &self.value {
            Value::Array(items) => items,
            _ => &[],
        }
    }

    /// The items of a list; an object where a list is due is its only item in tolerant reading. `None` for
    /// anything else: a text or a number is no empty list.
    #[must_use]
    pub fn items_or_one(&self) -> Option<&[Node<'a>]> {
        match &self.value {
            Value::Array(items) => Some(items),
            Value::Object(_) => Some(std::slice::from_ref(self)),
            _ => None,
        }
    }

    /// The text of a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a boolean.
    #[must_use]
    pub fn as_bool(&self) -> Option<bool> {
        match self.value {
            Value::Bool(flag) => Some(flag),
            _ => None,
        }
    }

    /// The original spelling of a number.
    #[must_use]
    pub fn number_text(&self) -> Option<&str> {
        match &self.value {
            Value::Number(spelling) => Some(spelling),
            _ => None,
        }
    }

    /// True for `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// True for an object.
    #[must_use]
    pub fn is_object(&self) -> bool {
        matches!(self.value, Value::Object(_))
    }

    /// True for a list.
    #[must_use]
    pub fn is_array(&self) -> bool {
        matches!(self.value, Value::Array(_))
    }

    /// What it is, for messages: `null`, `boolean`, `number`, `text`, `list` or `object`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "text",
            Value::Array(_) => "list",
            Value::Object(_) => "object",
        }
    }

    /// Compact JSON of the value as it is now, numbers in their original spelling.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut writer = Writer::with_capacity(self.raw.len());
        writer.node(self);
        writer.finish()
    }
}

/// Appends one reference token to an RFC 6901 pointer (`~` and `/` escaped).
pub(super) fn push_token(pointer: &mut String, token: impl fmt::Display) {
    pointer.push('/');
    for letter in token.to_string().chars() {
        match letter {
            '~' => pointer.push_str("~0"),
            '/' => pointer.push_str("~1"),
            other => pointer.push(other),
        }
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
