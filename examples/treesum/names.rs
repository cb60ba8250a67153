//! How `sha256sum` writes the name of a file: escaped on standard output, quoted for a shell on standard error.
//!
//! Knows: bytes. Does not know: files, channels, the ring.

/// Appends one line of output: the digest in hexadecimal, two spaces, the path.
///
/// A path with a backslash, a line feed or a carriage return has these escaped, which a backslash in front of the line
/// announces, so that a line is always one line.
pub(crate) fn push_line(out: &mut Vec<u8>, digest: &[u8], path: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let escaped = path.iter().any(|byte| matches!(byte, b'\\' | b'\n' | b'\r'));
    if escaped {
        out.push(b'\\');
    }
    for byte in digest {
        out.extend([HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    }
    out.extend(b"  ");
    if escaped {
        for &byte in path {
            match byte {
                b'\\' => out.extend(br"\\"),
                b'\n' => out.extend(br"\n"),
                b'\r' => out.extend(br"\r"),
                _ => out.push(byte),
            }
        }
    } else {
        out.extend(path);
    }
    out.push(b'\n');
}

/// A path as the GNU tools put it into a message: bare when a shell would read it back, otherwise in quotes.
pub(crate) fn quoted(path: &[u8]) -> String {
    let printable = path
        .utf8_chunks()
        .all(|chunk| chunk.invalid().is_empty() && !chunk.valid().contains(char::is_control));
    let text = String::from_utf8_lossy(path);
    match (printable, text.contains('\'')) {
        (true, false) if is_bare(&text) => text.into_owned(),
        (true, true) if !text.contains(|c| "!\"#$&()*;<=>?[\\^`{|}~".contains(c)) => format!("\"{text}\""),
        _ => single_quoted(path),
    }
}

/// Whether no shell gives a meaning to any part of the text.
fn is_bare(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(|c| " !\"$&'()*:;<=>?[\\^`|".contains(c))
        && !text.starts_with(['#', '~'])
        && !matches!(text, "{" | "}")
}

/// Single quotes around what can be printed, `$'…'` around what cannot.
fn single_quoted(path: &[u8]) -> String {
    let mut text = ShellText { out: String::from("'"), escaping: false };
    for chunk in path.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                c if c.is_control() => text.escape(c.encode_utf8(&mut [0; 4]).as_bytes()),
                c => text.print(c),
            }
        }
        text.escape(chunk.invalid());
    }
    text.out.push('\'');
    text.out
}

/// A string inside single quotes that changes to the escaping kind of quotes and back where it must.
struct ShellText {
    out: String,
    escaping: bool,
}

impl ShellText {
    fn print(&mut self, c: char) {
        let escaping = std::mem::replace(&mut self.escaping, false);
        match c {
            '\'' => self.out.push_str(r"'\''"), // ends either kind of quotes and begins the plain kind
            c if escaping => self.out.extend(['\'', '\'', c]),
            c => self.out.push(c),
        }
    }

    fn escape(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if !std::mem::replace(&mut self.escaping, true) {
                self.out.push_str("'$'");
            }
            match byte {
                0x07 => self.out.push_str(r"\a"),
                0x08 => self.out.push_str(r"\b"),
                0x09 => self.out.push_str(r"\t"),
                0x0a => self.out.push_str(r"\n"),
                0x0b => self.out.push_str(r"\v"),
                0x0c => self.out.push_str(r"\f"),
                0x0d => self.out.push_str(r"\r"),
                byte => self.out.push_str(&format!(r"\{byte:03o}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(path: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        push_line(&mut out, &[0x0f, 0xa0], path);
        out
    }

    #[test]
    fn a_plain_path_is_written_as_it_is() {
        assert_eq!(line(b"a b/\xff'\t"), b"0fa0  a b/\xff'\t\n");
    }

    #[test]
    fn a_path_that_would_break_the_line_is_escaped() {
        assert_eq!(line(b"a\nb\\c\rd"), b"\\0fa0  a\\nb\\\\c\\rd\n");
    }

    #[test]
    fn a_path_is_quoted_only_when_a_shell_would_misread_it() {
        for bare in ["a", "usr/lib/é", "a{b}~#", "-n", "x,y", "]"] {
            assert_eq!(quoted(bare.as_bytes()), bare);
        }
        for (path, expected) in [
            ("", "''"),
            ("a b", "'a b'"),
            ("#a", "'#a'"),
            ("~", "'~'"),
            ("{", "'{'"),
            ("a:b", "'a:b'"),
            ("a\\b", r"'a\b'"),
        ] {
            assert_eq!(quoted(path.as_bytes()), expected);
        }
    }

    #[test]
    fn an_apostrophe_prefers_double_quotes() {
        assert_eq!(quoted(b"it's"), "\"it's\"");
        assert_eq!(quoted(b"it's: b"), "\"it's: b\"");
        assert_eq!(quoted(b"it's $x"), r"'it'\''s $x'");
    }

    #[test]
    fn what_cannot_be_printed_is_escaped() {
        assert_eq!(quoted(b"a\nb"), r"'a'$'\n''b'");
        assert_eq!(quoted(b"\n"), r"''$'\n'");
        assert_eq!(quoted(b"\xff9"), r"''$'\377''9'");
        assert_eq!(quoted(b"a\n\t'b"), r"'a'$'\n\t'\''b'");
        assert_eq!(quoted("a\u{85}b".as_bytes()), r"'a'$'\302\205''b'");
    }
}
