//! The parser behind [`super::json`]: recursive descent over checked UTF-8, borrowed wherever no escape
//! forces a copy.

use std::borrow::Cow;

use super::json::{DEPTH_MAX, JsonError, NODES_MAX, Node, Problem, Value, push_token};

/// From this many members on, duplicate keys are looked for by sorting instead of by comparing all pairs.
const PAIRWISE_MEMBERS_MAX: usize = 64;

/// Reads one document that has to fill the whole text.
pub(super) fn document(text: &str) -> Result<Node<'_>, JsonError> {
    let mut parser = Parser { text, bytes: text.as_bytes(), at: 0, nodes: 0 };
    parser.whole().map_err(|broken| broken.into_error(text))
}

struct Parser<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    nodes: usize,
}

/// A failure on its way up: every level adds its token, so that the good path pays nothing for pointers.
struct Broken {
    problem: Problem,
    offset: usize,
    tokens_inner_first: Vec<String>,
}

impl Broken {
    fn inside(mut self, token: impl ToString) -> Broken {
        self.tokens_inner_first.push(token.to_string());
        self
    }

    fn into_error(self, text: &str) -> JsonError {
        let mut pointer = String::new();
        for token in self.tokens_inner_first.iter().rev() {
            push_token(&mut pointer, token);
        }
        JsonError::at(text, self.offset, self.problem, pointer)
    }
}

type Parsed<T> = Result<T, Broken>;

impl<'a> Parser<'a> {
    fn whole(&mut self) -> Parsed<Node<'a>> {
        self.skip_space();
        let node = self.value(0)?;
        self.skip_space();
        if self.at < self.bytes.len() { Err(self.broken(Problem::TrailingText)) } else { Ok(node) }
    }

    fn broken(&self, problem: Problem) -> Broken {
        Broken { problem, offset: self.at, tokens_inner_first: Vec::new() }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn slice(&self, from: usize, to: usize) -> &'a str {
        self.text.get(from..to).unwrap_or_default()
    }

    fn value(&mut self, depth: usize) -> Parsed<Node<'a>> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(self.broken(Problem::TooManyValues));
        }
        let start = self.at;
        let value = match self.peek() {
            Some(b'{') => self.object(depth + 1)?,
            Some(b'[') => self.array(depth + 1)?,
            Some(b'"') => Value::String(self.string()?),
            Some(b'-' | b'0'..=b'9') => Value::Number(Cow::Borrowed(self.number()?)),
            Some(b't') => self.word("true", Value::Bool(true))?,
            Some(b'f') => self.word("false", Value::Bool(false))?,
            Some(b'n') => self.word("null", Value::Null)?,
            Some(_) => return Err(self.broken(Problem::Expected("a JSON value"))),
            None => return Err(self.broken(Problem::UnexpectedEnd)),
        };
        Ok(Node::read(value, self.slice(start, self.at)))
    }

    fn word(&mut self, word: &'static str, value: Value<'a>) -> Parsed<Value<'a>> {
        if self.bytes.get(self.at..self.at + word.len()) == Some(word.as_bytes()) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.broken(Problem::Expected("a JSON value")))
        }
    }

    fn enter(&self, depth: usize) -> Parsed<()> {
        if depth > DEPTH_MAX { Err(self.broken(Problem::TooDeep)) } else { Ok(()) }
    }

    fn array(&mut self, depth: usize) -> Parsed<Value<'a>> {
        self.enter(depth)?;
        self.at += 1;
        let mut items = Vec::new();
        self.skip_space();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::Array(items));
        }
        loop {
            self.skip_space();
            let item = self.value(depth).map_err(|broken| broken.inside(items.len()))?;
            items.push(item);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(Value::Array(items));
                }
                Some(_) => return Err(self.broken(Problem::Expected("a comma or ]"))),
                None => return Err(self.broken(Problem::UnexpectedEnd)),
            }
        }
    }

    fn object(&mut self, depth: usize) -> Parsed<Value<'a>> {
        self.enter(depth)?;
        self.at += 1;
        let mut members: Vec<(Cow<'a, str>, Node<'a>)> = Vec::new();
        self.skip_space();
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(members));
        }
        loop {
            self.skip_space();
            let member = self.member(&members, depth)?;
            members.push(member);
            self.skip_space();
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b'}') => {
                    self.at += 1;
                    return self.distinct(members);
                }
                Some(_) => return Err(self.broken(Problem::Expected("a comma or }"))),
                None => return Err(self.broken(Problem::UnexpectedEnd)),
            }
        }
    }

    fn member(
        &mut self,
        earlier: &[(Cow<'a, str>, Node<'a>)],
        depth: usize,
    ) -> Parsed<(Cow<'a, str>, Node<'a>)> {
        if self.peek() != Some(b'"') {
            let problem = if self.peek().is_none() {
                Problem::UnexpectedEnd
            } else {
                Problem::Expected("a member name")
            };
            return Err(self.broken(problem));
        }
        let key_at = self.at;
        let key = self.string()?;
        if earlier.len() <= PAIRWISE_MEMBERS_MAX && earlier.iter().any(|(other, _)| *other == key) {
            let broken =
                Broken { problem: Problem::DuplicateKey, offset: key_at, tokens_inner_first: Vec::new() };
            return Err(broken.inside(key));
        }
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.broken(Problem::Expected("a colon")).inside(key));
        }
        self.at += 1;
        self.skip_space();
        match self.value(depth) {
            Ok(node) => Ok((key, node)),
            Err(broken) => Err(broken.inside(key)),
        }
    }

    fn distinct(&self, members: Vec<(Cow<'a, str>, Node<'a>)>) -> Parsed<Value<'a>> {
        if members.len() > PAIRWISE_MEMBERS_MAX {
            let mut keys: Vec<&str> = members.iter().map(|(key, _)| key.as_ref()).collect();
            keys.sort_unstable();
            if let Some(key) = keys.windows(2).find_map(|pair| match pair {
                [first, second] if first == second => Some(*first),
                _ => None,
            }) {
                return Err(self.broken(Problem::DuplicateKey).inside(key));
            }
        }
        Ok(Value::Object(members))
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Parsed<&'a str> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let leading_zero = self.peek() == Some(b'0');
        let whole = self.digits();
        if whole == 0 || (leading_zero && whole > 1) {
            return Err(self.broken(Problem::BadNumber));
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            if self.digits() == 0 {
                return Err(self.broken(Problem::BadNumber));
            }
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(self.broken(Problem::BadNumber));
            }
        }
        Ok(self.slice(start, self.at))
    }

    fn string(&mut self) -> Parsed<Cow<'a, str>> {
        self.at += 1;
        let start = self.at;
        loop {
            match self.peek() {
                Some(b'"') => {
                    let text = self.slice(start, self.at);
                    self.at += 1;
                    return Ok(Cow::Borrowed(text));
                }
                Some(b'\\') => return self.escaped_string(start),
                Some(0..=0x1f) => return Err(self.broken(Problem::ControlCharacter)),
                Some(_) => self.at += 1,
                None => return Err(self.broken(Problem::UnexpectedEnd)),
            }
        }
    }

    fn escaped_string(&mut self, start: usize) -> Parsed<Cow<'a, str>> {
        let mut text = self.slice(start, self.at).to_owned();
        loop {
            let run = self.at;
            while self.peek().is_some_and(|byte| byte != b'"' && byte != b'\\' && byte > 0x1f) {
                self.at += 1;
            }
            text.push_str(self.slice(run, self.at));
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(text));
                }
                Some(b'\\') => text.push(self.escape()?),
                Some(_) => return Err(self.broken(Problem::ControlCharacter)),
                None => return Err(self.broken(Problem::UnexpectedEnd)),
            }
        }
    }

    fn escape(&mut self) -> Parsed<char> {
        let letter = self.bytes.get(self.at + 1).copied();
        let plain = match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(),
            Some(_) => return Err(self.broken(Problem::BadEscape)),
            None => return Err(self.broken(Problem::UnexpectedEnd)),
        };
        self.at += 2;
        Ok(plain)
    }

    fn unicode_escape(&mut self) -> Parsed<char> {
        let first = self.code_unit()?;
        if !(0xd800..0xe000).contains(&first) {
            return char::from_u32(first).ok_or_else(|| self.broken(Problem::BadEscape));
        }
        if first >= 0xdc00 {
            return Err(self.broken(Problem::BadEscape));
        }
        let second = self.code_unit()?;
        if !(0xdc00..0xe000).contains(&second) {
            return Err(self.broken(Problem::BadEscape));
        }
        let code = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        char::from_u32(code).ok_or_else(|| self.broken(Problem::BadEscape))
    }

    fn code_unit(&mut self) -> Parsed<u32> {
        if self.bytes.get(self.at..self.at + 2) != Some(b"\\u") {
            return Err(self.broken(Problem::BadEscape));
        }
        let mut unit = 0;
        for place in self.at + 2..self.at + 6 {
            let digit = self.bytes.get(place).and_then(|byte| char::from(*byte).to_digit(16));
            match digit {
                Some(digit) => unit = unit * 16 + digit,
                None => return Err(self.broken(Problem::BadEscape)),
            }
        }
        self.at += 6;
        Ok(unit)
    }
}
