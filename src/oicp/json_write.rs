//! Writes compact JSON: whole [`Node`]s, or answers piece by piece. Commas are the writer's business, numbers
//! keep the spelling they are given.

use super::json::{Node, Value};

/// Builds one JSON text. Values follow each other; inside an object every value follows its [`Writer::key`].
///
/// ```
/// let mut writer = chargemesh::oicp::json_write::Writer::new();
/// writer.begin_object().key("Result").bool(true).end_object();
/// assert_eq!(writer.finish(), r#"{"Result":true}"#);
/// ```
#[derive(Debug, Default, Clone)]
pub struct Writer {
    text: String,
    needs_comma: bool,
}

impl Writer {
    /// An empty text.
    #[must_use]
    pub fn new() -> Writer {
        Writer::default()
    }

    /// An empty text with room for about `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Writer {
        Writer { text: String::with_capacity(capacity), needs_comma: false }
    }

    /// The finished text.
    #[must_use]
    pub fn finish(self) -> String {
        self.text
    }

    /// Bytes written so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// True before the first value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Opens an object.
    pub fn begin_object(&mut self) -> &mut Writer {
        self.open('{')
    }

    /// Closes the object opened last.
    pub fn end_object(&mut self) -> &mut Writer {
        self.close('}')
    }

    /// Opens a list.
    pub fn begin_array(&mut self) -> &mut Writer {
        self.open('[')
    }

    /// Closes the list opened last.
    pub fn end_array(&mut self) -> &mut Writer {
        self.close(']')
    }

    /// Names the next value of an object.
    pub fn key(&mut self, name: &str) -> &mut Writer {
        self.separate();
        quote(&mut self.text, name);
        self.text.push(':');
        self.needs_comma = false;
        self
    }

    /// A text value.
    pub fn string(&mut self, text: &str) -> &mut Writer {
        self.separate();
        quote(&mut self.text, text);
        self.needs_comma = true;
        self
    }

    /// A text value, or `null` for `None` (the hub writes absent values as nulls, GAPS A21).
    pub fn string_or_null(&mut self, text: Option<&str>) -> &mut Writer {
        match text {
            Some(text) => self.string(text),
            None => self.null(),
        }
    }

    /// A boolean.
    pub fn bool(&mut self, flag: bool) -> &mut Writer {
        self.raw(if flag { "true" } else { "false" })
    }

    /// `null`.
    pub fn null(&mut self) -> &mut Writer {
        self.raw("null")
    }

    /// A whole number.
    pub fn integer(&mut self, number: u64) -> &mut Writer {
        self.raw(&number.to_string())
    }

    /// A text that is JSON already (a number's spelling, a kept record): copied as it is.
    pub fn raw(&mut self, json: &str) -> &mut Writer {
        self.separate();
        self.text.push_str(json);
        self.needs_comma = true;
        self
    }

    /// A whole tree, from its values (not from its source slice).
    pub fn node(&mut self, node: &Node<'_>) -> &mut Writer {
        match &node.value {
            Value::Null => self.null(),
            Value::Bool(flag) => self.bool(*flag),
            Value::Number(spelling) => self.raw(spelling),
            Value::String(text) => self.string(text),
            Value::Array(items) => {
                self.begin_array();
                for item in items {
                    self.node(item);
                }
                self.end_array()
            }
            Value::Object(members) => {
                self.begin_object();
                for (key, member) in members {
                    self.key(key).node(member);
                }
                self.end_object()
            }
        }
    }

    fn separate(&mut self) {
        if self.needs_comma {
            self.text.push(',');
        }
    }

    fn open(&mut self, bracket: char) -> &mut Writer {
        self.separate();
        self.text.push(bracket);
        self.needs_comma = false;
        self
    }

    fn close(&mut self, bracket: char) -> &mut Writer {
        self.text.push(bracket);
        self.needs_comma = true;
        self
    }
}

fn quote(out: &mut String, text: &str) {
    out.push('"');
    let mut plain_from = 0;
    for (at, byte) in text.bytes().enumerate() {
        if byte > 0x1f && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.push_str(text.get(plain_from..at).unwrap_or_default());
        plain_from = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            other => out.push_str(&format!("\\u{:04x}", other)),
        }
    }
    out.push_str(text.get(plain_from..).unwrap_or_default());
    out.push('"');
}
