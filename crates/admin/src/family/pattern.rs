//! Patterns with `*` and `?`, as `-Filter` takes them.

/// Whether `text` fits a pattern with `*` and `?`, in any case.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let lower = |text: &str| text.to_lowercase().chars().collect::<Vec<_>>();
    rest(&lower(pattern), &lower(text))
}

fn rest(pattern: &[char], text: &[char]) -> bool {
    // The last star and where its match began: enough to go back to, since later stars can take what earlier ones did.
    let (mut p, mut t, mut back) = (0, 0, None);
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                back = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match back {
                Some((star, from)) => {
                    back = Some((star, from + 1));
                    p = star + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_fit_whole_names() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("site:*", "site:Redmond", true),
            ("*ONLINE*", "LyncOnline", true),
            ("Lync?nline", "LyncOnline", true),
            ("Lync", "LyncOnline", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
    }
}
