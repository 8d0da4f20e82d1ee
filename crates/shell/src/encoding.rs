//! The text of scripts and files, however an editor has saved it: UTF-8, or UTF-16 with a byte order mark, as Windows'
//! editors and its PowerShell write it.

use std::io::Read;

use crate::parser::SCRIPT_BYTES_MAX;

/// Reads a script to its end; `name` is what is said of it. The sentence says why it cannot be read, and where.
pub fn script(name: &str, from: impl Read) -> Result<String, String> {
    // Each of its bytes may be two in UTF-16, and there is the mark; what is too long all the same the parser says.
    read(name, from, 2 * SCRIPT_BYTES_MAX as u64 + 4)
}

/// Reads text of at most so many bytes.
pub(crate) fn read(name: &str, from: impl Read, bytes_max: u64) -> Result<String, String> {
    let mut bytes = Vec::new();
    from.take(bytes_max + 1).read_to_end(&mut bytes).map_err(|why| format!("{name} cannot be read: {why}"))?;
    if bytes.len() as u64 > bytes_max {
        return Err(format!("{name} has more than {bytes_max} bytes"));
    }
    text(name, &bytes)
}

/// Text of bytes.
fn text(name: &str, bytes: &[u8]) -> Result<String, String> {
    // Unicode 17.0, chapter 23.8: the mark tells the order of the bytes.
    match bytes {
        [0xef, 0xbb, 0xbf, rest @ ..] => utf8(name, rest),
        [0xff, 0xfe, rest @ ..] => utf16(name, rest, u16::from_le_bytes),
        [0xfe, 0xff, rest @ ..] => utf16(name, rest, u16::from_be_bytes),
        bytes => utf8(name, bytes),
    }
}

fn utf8(name: &str, bytes: &[u8]) -> Result<String, String> {
    let read = std::str::from_utf8(bytes);
    // Every other byte of text in UTF-16 that is mostly ASCII; a script has no NUL.
    let nul = bytes.iter().position(|byte| *byte == 0);
    let why = match (read, nul) {
        (Ok(text), None) => return Ok(text.to_owned()),
        (Ok(_), Some(nul)) => nul,
        (Err(why), nul) => why.valid_up_to().min(nul.unwrap_or(usize::MAX)),
    };
    let place = place(&String::from_utf8_lossy(&bytes[..why]));
    let byte = bytes.get(why).copied().unwrap_or_default();
    if nul.is_some() {
        return Err(format!(
            "{name}, {place}: this is no UTF-8. It looks like UTF-16 without the byte order mark that says so: save it as \
             UTF-8, or with the mark"
        ));
    }
    Err(format!(
        "{name}, {place}: the byte 0x{byte:02X} is no UTF-8. The file was saved in another encoding, such as ANSI: save it \
         as UTF-8"
    ))
}

fn utf16(name: &str, bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Result<String, String> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(bytes.len());
    for found in char::decode_utf16(pairs.iter().map(|pair| unit(*pair))) {
        match found {
            Ok(found) => text.push(found),
            Err(half) => {
                return Err(format!(
                    "{name}, {}: 0x{:04X} is half a character in UTF-16. The file is damaged",
                    place(&text),
                    half.unpaired_surrogate()
                ));
            }
        }
    }
    if !rest.is_empty() {
        return Err(format!("{name}, {}: the file ends within a character of UTF-16. It is not whole", place(&text)));
    }
    Ok(text)
}

/// Where the next character after this text stands.
fn place(before: &str) -> String {
    let line = before.matches('\n').count() + 1;
    let within = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    format!("line:{line} char:{within}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "# Grüße 🎉\r\nGet-CsAllowedDomain\r\n";

    fn encoded(mark: &[u8], bytes: impl IntoIterator<Item = [u8; 2]>) -> Vec<u8> {
        mark.iter().copied().chain(bytes.into_iter().flatten()).collect()
    }

    #[test]
    fn a_script_is_read_in_each_form_that_editors_save() {
        let le = encoded(&[0xff, 0xfe], SCRIPT.encode_utf16().map(u16::to_le_bytes));
        let be = encoded(&[0xfe, 0xff], SCRIPT.encode_utf16().map(u16::to_be_bytes));
        let marked = [&[0xef, 0xbb, 0xbf], SCRIPT.as_bytes()].concat();
        for bytes in [SCRIPT.as_bytes(), &marked, &le, &be] {
            assert_eq!(script("x.ps1", bytes).unwrap(), SCRIPT, "{bytes:02x?}");
        }
        for bytes in [&[][..], &[0xff, 0xfe], &[0xef, 0xbb, 0xbf]] {
            assert_eq!(script("x.ps1", bytes).unwrap(), "", "{bytes:02x?}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place() {
        let bare = encoded(&[], "'x'\n'ü'".encode_utf16().map(u16::to_le_bytes));
        let odd = [encoded(&[0xff, 0xfe], "a".encode_utf16().map(u16::to_le_bytes)), vec![0x62]].concat();
        let half = encoded(&[0xfe, 0xff], [[0x00, 0x61], [0xd8, 0x00], [0x00, 0x62]]);
        let long = vec![b' '; 2 * SCRIPT_BYTES_MAX + 5];
        for (bytes, expected) in [
            (&b"Get-A\n# Gr\xfc\xdfe"[..], "x.ps1, line:2 char:5: the byte 0xFC is no UTF-8"),
            (&bare, "x.ps1, line:1 char:2: this is no UTF-8. It looks like UTF-16 without"),
            (&odd, "x.ps1, line:1 char:2: the file ends within a character"),
            (&half, "x.ps1, line:1 char:2: 0xD800 is half a character"),
            (&long, "x.ps1 has more than"),
        ] {
            let said = script("x.ps1", bytes).unwrap_err();
            assert!(said.starts_with(expected), "{said}");
        }
    }
}
