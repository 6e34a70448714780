//! Forms that are skipped: only brackets, strings and comments are looked at, so that anything may be in them.

use super::{Forms, Result, SyntaxError};

impl Forms<'_> {
    /// Skips the next form, whatever its content: only brackets, strings and comments are parsed.
    ///
    /// # Errors
    /// [`SyntaxError`] if there is no form, or it does not end.
    pub(crate) fn skip(&mut self, what: &'static str) -> Result<()> {
        let began = self.line;
        let end = SyntaxError::Unterminated { what, began };
        // A closing bracket belongs to an opening one that was skipped; prefixes ask for one more form.
        let (mut open, mut wanted) = (0_u64, 1_u64);
        loop {
            let whole = match self.byte(0).ok_or(end.clone())? {
                b'\n' => {
                    self.line += 1;
                    self.at += 1;
                    false
                }
                b' ' | b',' | b'\t' | b'\r' | 0 | 0x0b | 0x0c => {
                    self.at += 1;
                    false
                }
                b':' if self.separates() => {
                    self.at += 1;
                    false
                }
                b';' => {
                    self.at += self.until_line_end();
                    false
                }
                b'"' => {
                    self.skip_string().ok_or(end.clone())?;
                    true
                }
                b'\\' => {
                    self.at += 1;
                    let first = self.rest().chars().next().ok_or(end.clone())?;
                    self.at += first.len_utf8();
                    if first.is_alphanumeric() {
                        self.token();
                    }
                    true
                }
                b'[' | b'(' | b'{' => {
                    self.at += 1;
                    open += 1;
                    false
                }
                found @ (b']' | b')' | b'}') => {
                    open = open
                        .checked_sub(1)
                        .ok_or(SyntaxError::Unexpected { found: char::from(found), expected: "a value" })?;
                    self.at += 1;
                    true
                }
                b'^' => {
                    self.at += 1;
                    wanted += u64::from(open == 0);
                    false
                }
                b'\'' | b'`' | b'~' | b'@' => {
                    self.at += 1;
                    false
                }
                b'#' => {
                    self.at += 1;
                    match self.byte(0).ok_or(end.clone())? {
                        b'"' | b'{' | b'(' => {}
                        b'\'' => self.at += 1,
                        b'_' => {
                            self.at += 1;
                            wanted += u64::from(open == 0);
                        }
                        b'<' => {
                            self.unreadable().ok_or(end.clone())?;
                            if open == 0 {
                                wanted -= 1;
                            }
                        }
                        b'#' => {
                            self.at += 1;
                        }
                        _ => {
                            self.token();
                        }
                    }
                    if wanted == 0 {
                        return Ok(());
                    }
                    false
                }
                _ => {
                    let token = !self.token().is_empty();
                    if !token {
                        // White space beyond ASCII, or a control character.
                        self.at += self.rest().chars().next().map_or(1, char::len_utf8);
                    }
                    token
                }
            };
            if whole && open == 0 {
                wanted -= 1;
                if wanted == 0 {
                    return Ok(());
                }
            }
        }
    }

    /// Steps over the string that comes next; `None` if it does not end.
    pub(super) fn skip_string(&mut self) -> Option<()> {
        self.at += 1;
        loop {
            match self.byte(0)? {
                b'"' => {
                    self.at += 1;
                    return Some(());
                }
                b'\\' => {
                    self.line += u64::from(self.byte(1)? == b'\n');
                    self.at += 2;
                    while !self.text.is_char_boundary(self.at) {
                        self.at += 1;
                    }
                }
                next => {
                    self.line += u64::from(next == b'\n');
                    self.at += 1;
                }
            }
        }
    }

    /// Steps over `<java.io.IOException …>`, which Clojure prints and cannot read; `None` if it does not end.
    pub(super) fn unreadable(&mut self) -> Option<()> {
        let mut open = 0;
        loop {
            match self.byte(0)? {
                b'<' => open += 1,
                b'>' => open -= 1,
                b'\n' => self.line += 1,
                _ => {}
            }
            self.at += 1;
            if open == 0 {
                return Some(());
            }
        }
    }
}
