//! The scanner behind the ids: walks a text once and remembers where a rule of the grammar broke.

use super::id::{IdError, IdForm, IdKind, IdRule};

/// Most characters of the ISO outlet part behind its `E`.
const ISO_OUTLET_CHARACTERS_MAX: usize = 30;
/// Most characters of the DIN outlet part.
const DIN_OUTLET_CHARACTERS_MAX: usize = 32;

pub(super) struct Scan<'a> {
    kind: IdKind,
    text: &'a str,
    at: usize,
}

impl<'a> Scan<'a> {
    pub(super) fn new(kind: IdKind, text: &'a str) -> Scan<'a> {
        Scan { kind, text, at: 0 }
    }

    /// Byte offset of the next character. Only ASCII is ever consumed, so it is the character index too.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    pub(super) fn error(&self, rule: IdRule) -> IdError {
        IdError { kind: self.kind, rule, at: self.at }
    }

    fn skip(&mut self, separators: &[u8]) {
        if self.peek().is_some_and(|byte| separators.contains(&byte)) {
            self.at += 1;
        }
    }

    fn take(&mut self, count: usize, rule: IdRule, allowed: fn(&u8) -> bool) -> Result<(), IdError> {
        for _ in 0..count {
            if !self.peek().is_some_and(|byte| allowed(&byte)) {
                return Err(self.error(rule));
            }
            self.at += 1;
        }
        Ok(())
    }

    pub(super) fn end(&self) -> Result<(), IdError> {
        if self.at == self.text.len() { Ok(()) } else { Err(self.error(IdRule::TrailingText)) }
    }

    pub(super) fn operator(&mut self) -> Result<IdForm, IdError> {
        if self.peek().is_some_and(|byte| byte == b'+' || byte.is_ascii_digit()) {
            self.skip(b"+");
            self.din_country()?;
            self.take(3, IdRule::OperatorDigits, u8::is_ascii_digit)?;
            return Ok(IdForm::Din);
        }
        self.party(b"*")?;
        Ok(IdForm::Iso)
    }

    fn din_country(&mut self) -> Result<(), IdError> {
        let start = self.at;
        while self.at - start < 3 && self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start || self.peek() != Some(b'*') {
            return Err(self.error(IdRule::CountryDigits));
        }
        self.at += 1;
        Ok(())
    }

    fn party(&mut self, separators: &[u8]) -> Result<(), IdError> {
        self.take(2, IdRule::CountryLetters, u8::is_ascii_alphabetic)?;
        self.skip(separators);
        self.take(3, IdRule::Party, u8::is_ascii_alphanumeric)
    }

    pub(super) fn provider(&mut self) -> Result<(), IdError> {
        self.party(b"*-")
    }

    /// Reads the part behind the operator; returns where the outlet part begins (at its `E` for ISO).
    pub(super) fn outlet(&mut self, form: IdForm) -> Result<usize, IdError> {
        match form {
            IdForm::Iso => {
                self.skip(b"*");
                if !self.peek().is_some_and(|byte| byte.eq_ignore_ascii_case(&b'E')) {
                    return Err(self.error(IdRule::OutletLetter));
                }
                let start = self.at;
                self.at += 1;
                self.outlet_rest(ISO_OUTLET_CHARACTERS_MAX, u8::is_ascii_alphanumeric)?;
                Ok(start)
            }
            IdForm::Din => {
                if self.peek() != Some(b'*') {
                    return Err(self.error(IdRule::Outlet));
                }
                self.at += 1;
                let start = self.at;
                self.outlet_rest(DIN_OUTLET_CHARACTERS_MAX, u8::is_ascii_digit)?;
                Ok(start)
            }
        }
    }

    fn outlet_rest(&mut self, characters_max: usize, allowed: fn(&u8) -> bool) -> Result<(), IdError> {
        let start = self.at;
        while let Some(byte) = self.peek() {
            if self.at - start == characters_max || !(byte == b'*' || allowed(&byte)) {
                return Err(self.error(IdRule::Outlet));
            }
            self.at += 1;
        }
        if self.at == start { Err(self.error(IdRule::Outlet)) } else { Ok(()) }
    }

    /// Reads contract part and optional check character; returns where the check character is, if any.
    pub(super) fn contract(&mut self) -> Result<Option<usize>, IdError> {
        self.skip(b"*-");
        let start = self.at;
        let rest = self.text.get(start..).unwrap_or_default();
        let characters = rest.bytes().filter(|byte| byte.is_ascii_alphanumeric()).count();
        let is_iso =
            characters >= 9 && rest.as_bytes().first().is_some_and(|byte| matches!(byte, b'C' | b'c'));
        self.take(if is_iso { 9 } else { 6 }, IdRule::Contract, u8::is_ascii_alphanumeric)?;
        if self.peek().is_none() {
            return Ok(None);
        }
        self.skip(b"*-");
        let check_at = self.at;
        let allowed: fn(&u8) -> bool = if is_iso {
            u8::is_ascii_alphanumeric
        } else {
            |byte| byte.is_ascii_digit() || matches!(byte, b'X' | b'x')
        };
        self.take(1, IdRule::TrailingText, allowed)?;
        Ok(Some(check_at))
    }
}
