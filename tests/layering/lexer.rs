//! Rust source as tokens, without comments, literals and lifetimes.

#[derive(Debug, Clone, PartialEq)]
pub enum Token {
    Word(String),
    /// `::`
    Path,
    Mark(char),
}

#[derive(Debug)]
pub struct Placed {
    pub token: Token,
    pub line: usize,
}

pub fn tokens(source: &str) -> Vec<Placed> {
    let text: Vec<char> = source.chars().collect();
    let mut lexer = Lexer { text: &text, at: 0, line: 1, out: Vec::new() };
    lexer.run();
    lexer.out
}

struct Lexer<'a> {
    text: &'a [char],
    at: usize,
    line: usize,
    out: Vec<Placed>,
}

impl Lexer<'_> {
    fn peek(&self, ahead: usize) -> char {
        self.text.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn bump(&mut self) -> char {
        let char = self.peek(0);
        self.line += usize::from(char == '\n');
        self.at += 1;
        char
    }

    fn run(&mut self) {
        while self.at < self.text.len() {
            let line = self.line;
            let token = match (self.peek(0), self.peek(1)) {
                ('/', '/') => {
                    while self.at < self.text.len() && self.peek(0) != '\n' {
                        self.bump();
                    }
                    continue;
                }
                ('/', '*') => {
                    self.block_comment();
                    continue;
                }
                ('"', _) => {
                    self.string();
                    continue;
                }
                ('\'', _) => {
                    self.char_or_lifetime();
                    continue;
                }
                (':', ':') => {
                    self.at += 2;
                    Token::Path
                }
                (first, _) if is_word(first) => {
                    let word = self.word();
                    match word.as_str() {
                        "r" | "br" | "cr" if self.starts_raw_string() => {
                            self.raw_string();
                            continue;
                        }
                        // `r#type` is the word `type`.
                        "r" if self.peek(0) == '#' => {
                            self.bump();
                            continue;
                        }
                        // The quote of b"", c"" and b'' follows and is handled as such.
                        "b" | "c" if matches!(self.peek(0), '"' | '\'') => continue,
                        _ => Token::Word(word),
                    }
                }
                (space, _) if space.is_whitespace() => {
                    self.bump();
                    continue;
                }
                _ => Token::Mark(self.bump()),
            };
            self.out.push(Placed { token, line });
        }
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while is_word(self.peek(0)) {
            word.push(self.bump());
        }
        word
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.text.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => {
                    depth += 1;
                    self.at += 2;
                }
                ('*', '/') => {
                    depth -= 1;
                    self.at += 2;
                    if depth == 0 {
                        return;
                    }
                }
                _ => {
                    self.bump();
                }
            }
        }
    }

    fn string(&mut self) {
        self.bump();
        while self.at < self.text.len() {
            match self.bump() {
                '\\' => {
                    self.bump();
                }
                '"' => return,
                _ => {}
            }
        }
    }

    fn starts_raw_string(&self) -> bool {
        let hashes = (0..).take_while(|&ahead| self.peek(ahead) == '#').count();
        self.peek(hashes) == '"'
    }

    fn raw_string(&mut self) {
        let mut hashes = 0;
        while self.bump() == '#' {
            hashes += 1;
        }
        while self.at < self.text.len() {
            if self.bump() == '"' && (0..hashes).all(|ahead| self.peek(ahead) == '#') {
                self.at += hashes;
                return;
            }
        }
    }

    fn char_or_lifetime(&mut self) {
        self.bump();
        if self.peek(0) == '\\' || self.peek(1) == '\'' {
            if self.bump() == '\\' {
                self.bump();
            }
            while self.at < self.text.len() && self.bump() != '\'' {}
        } else {
            self.word();
        }
    }
}

fn is_word(char: char) -> bool {
    char.is_alphanumeric() || char == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(source: &str) -> Vec<String> {
        let word = |placed: Placed| if let Token::Word(word) = placed.token { Some(word) } else { None };
        tokens(source).into_iter().filter_map(word).collect()
    }

    #[test]
    fn comments_and_literals_are_not_code() {
        assert_eq!(words("a // unsafe\nb /* unsafe /* unsafe */ unsafe */ c"), ["a", "b", "c"]);
        assert_eq!(
            words(r##"a "unsafe \" unsafe" b r#"unsafe " unsafe"# c b"unsafe" d c"unsafe" e"##),
            ["a", "b", "c", "d", "e"]
        );
        assert_eq!(words(r"a 'u' b '\'' c '\u{41}' d b'x' e"), ["a", "b", "c", "d", "e"]);
    }

    #[test]
    fn a_lifetime_hides_nothing_after_it() {
        assert_eq!(words("fn f<'a>(x: &'a str) { unsafe {} }"), ["fn", "f", "x", "str", "unsafe"]);
        assert_eq!(words("'outer: loop { break 'outer }"), ["loop", "break"]);
    }

    #[test]
    fn lines_are_counted_through_literals() {
        let found = tokens("/* \n */ \"\n\" r\"\n\" unsafe");
        assert_eq!((found[0].line, &found[0].token), (4, &Token::Word("unsafe".into())));
    }
}
