//! A Rust file as the rules see it: its code without comments, strings and test modules.

/// One source file.
pub(crate) struct Source {
    /// Path below the root, with `/`.
    pub(crate) name: String,
    /// As written.
    pub(crate) text: String,
    /// Comments, string and character contents and inline test modules blanked; same line numbers.
    pub(crate) code: String,
}

impl Source {
    /// Takes a file.
    pub(crate) fn new(name: &str, text: &str) -> Source {
        let blanked = blank(text);
        Source { name: name.replace('\\', "/"), text: text.to_owned(), code: without_tests(&blanked) }
    }

    /// The module of the crate that the file belongs to: `src/mesh/actor.rs` and `src/mesh.rs` are `mesh`.
    pub(crate) fn module(&self) -> &str {
        let below = self.name.strip_prefix("src/").unwrap_or("");
        below.split('/').next().unwrap_or("").trim_end_matches(".rs")
    }

    /// Whether the whole file is test code.
    pub(crate) fn is_test(&self) -> bool {
        self.name.starts_with("tests/")
            || self.name.contains("/tests/")
            || self.name.rsplit('/').next().is_some_and(|file| file.ends_with("tests.rs"))
    }

    /// Line number of a byte of `code`.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.code.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
    }
}

/// Replaces what is not code by blanks; line ends stay.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = skip(bytes, at);
        if end == at {
            out.push(bytes[at]);
            at += 1;
        } else {
            out.extend(bytes[at..end].iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
            at = end;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The end of a comment, string or character that begins at `at`; `at` itself if none does.
fn skip(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let find = |from: usize, what: &[u8]| {
        rest.get(from..)
            .and_then(|tail| tail.windows(what.len()).position(|window| window == what))
            .map_or(bytes.len(), |found| at + from + found)
    };
    let after_word = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    if rest.starts_with(b"//") {
        find(2, b"\n")
    } else if rest.starts_with(b"/*") {
        (find(2, b"*/") + 2).min(bytes.len())
    } else if !after_word && (rest.starts_with(b"r\"") || rest.starts_with(b"r#")) {
        let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
        if rest.get(1 + hashes) != Some(&b'"') {
            return at;
        }
        let close: Vec<u8> = std::iter::once(b'"').chain(std::iter::repeat_n(b'#', hashes)).collect();
        (find(2 + hashes, &close) + close.len()).min(bytes.len())
    } else if rest[0] == b'"' {
        quoted(bytes, at, b'"')
    } else if rest.starts_with(b"'\\") || rest.get(2) == Some(&b'\'') && rest[0] == b'\'' {
        quoted(bytes, at, b'\'')
    } else {
        at
    }
}

fn quoted(bytes: &[u8], start: usize, quote: u8) -> usize {
    let mut at = start + 1;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// Blanks each `#[cfg(test)] mod … { … }`.
fn without_tests(code: &str) -> String {
    let mut code = code.to_owned();
    let mut from = 0;
    while let Some(found) = code[from..].find("#[cfg(test)]") {
        let start = from + found;
        let item = code[start + 12..].trim_start();
        let is_module = item.starts_with("mod ") || item.starts_with("pub(crate) mod ");
        let open = code[start..].find('{').map(|offset| start + offset);
        let semicolon = code[start..].find(';').map(|offset| start + offset);
        from = start + 12;
        if let Some(open) = open
            && is_module
            && semicolon.is_none_or(|semicolon| open < semicolon)
        {
            let end = block_end(&code, open);
            let blanked: String =
                code[start..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
            code.replace_range(start..end, &blanked);
            from = start;
        }
    }
    code
}

/// The byte behind the brace that closes the one at `open`.
pub(crate) fn block_end(code: &str, open: usize) -> usize {
    let mut depth = 0_usize;
    for (offset, byte) in code.as_bytes()[open..].iter().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return open + offset + 1;
        }
    }
    code.len()
}
