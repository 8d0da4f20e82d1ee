//! Comparisons: by the kind of the left side, without regard to case unless asked; a list on the left is filtered.

use std::cmp::Ordering;

use regex::{Regex, RegexBuilder};
use reveille_admin::{Object, Value};

use super::convert::{as_double, numeric, truth};
use super::moment;
use super::wrong::Wrong;
use crate::ast::Comparison;

/// What a comparison gives, and the groups that a match has found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Compared {
    pub(crate) value: Value,
    pub(crate) matches: Option<Object>,
}

/// Compares.
pub(crate) fn compare(how: Comparison, exact: bool, left: &Value, right: &Value) -> Result<Compared, Wrong> {
    let plain = |value| Ok(Compared { value: Value::Bool(value), matches: None });
    match how {
        Comparison::Contains => return plain(holds(left, right, exact)),
        Comparison::NotContains => return plain(!holds(left, right, exact)),
        Comparison::In => return plain(holds(right, left, exact)),
        Comparison::NotIn => return plain(!holds(right, left, exact)),
        _ => {}
    }
    let test = Test::new(how, exact, right)?;
    match left {
        Value::List(items) => {
            let mut kept = Vec::new();
            for item in items {
                if test.of(item)? {
                    kept.push(item.clone());
                }
            }
            Ok(Compared { value: Value::List(kept), matches: None })
        }
        one => Ok(Compared { value: Value::Bool(test.of(one)?), matches: test.groups(one) }),
    }
}

fn holds(list: &Value, item: &Value, exact: bool) -> bool {
    match list {
        Value::List(items) => items.iter().any(|known| equal(known, item, exact)),
        one => equal(one, item, exact),
    }
}

/// A comparison with its right side made ready.
enum Test<'a> {
    Order(Comparison, bool, &'a Value),
    Like(Vec<char>, bool, bool),
    Match(Regex, bool),
}

impl<'a> Test<'a> {
    fn new(how: Comparison, exact: bool, right: &'a Value) -> Result<Self, Wrong> {
        Ok(match how {
            Comparison::Like => Self::Like(right.to_string().chars().collect(), exact, true),
            Comparison::NotLike => Self::Like(right.to_string().chars().collect(), exact, false),
            Comparison::Match => Self::Match(expression(&right.to_string(), exact)?, true),
            Comparison::NotMatch => Self::Match(expression(&right.to_string(), exact)?, false),
            _ => Self::Order(how, exact, right),
        })
    }

    fn of(&self, left: &Value) -> Result<bool, Wrong> {
        match self {
            Self::Like(pattern, exact, wanted) => {
                let text: Vec<char> = left.to_string().chars().collect();
                Ok(like(&text, pattern, *exact) == *wanted)
            }
            Self::Match(expression, wanted) => Ok(expression.is_match(&left.to_string()) == *wanted),
            Self::Order(Comparison::Eq, exact, right) => Ok(equal(left, right, *exact)),
            Self::Order(Comparison::Ne, exact, right) => Ok(!equal(left, right, *exact)),
            Self::Order(how, exact, right) => {
                let order = order(left, right, *exact)?;
                Ok(match how {
                    Comparison::Lt => order.is_lt(),
                    Comparison::Le => order.is_le(),
                    Comparison::Gt => order.is_gt(),
                    _ => order.is_ge(),
                })
            }
        }
    }

    /// The groups of a match, as `$Matches` holds them.
    fn groups(&self, left: &Value) -> Option<Object> {
        let Self::Match(expression, true) = self else { return None };
        let text = left.to_string();
        let captures = expression.captures(&text)?;
        let mut groups = Object::new("");
        for (index, name) in expression.capture_names().enumerate() {
            if let Some(found) = captures.get(index) {
                groups.set(name.map_or_else(|| index.to_string(), str::to_owned), found.as_str());
            }
        }
        Some(groups)
    }
}

/// A regular expression; those that need going back (`(?=…)`, `\1`) are refused, since they can take for ever.
pub(crate) fn expression(pattern: &str, exact: bool) -> Result<Regex, Wrong> {
    RegexBuilder::new(pattern).case_insensitive(!exact).size_limit(1 << 20).build().map_err(|why| {
        let why = why.to_string();
        let why = why.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
        Wrong::new("InvalidRegularExpression", format!("\"{pattern}\" is not a regular expression here: {why}."))
    })
}

/// Whether two values are the same: the right one is read as the kind of the left one.
pub(crate) fn equal(left: &Value, right: &Value, exact: bool) -> bool {
    if let Some(order) = as_moments(left, right) {
        return order == Ordering::Equal;
    }
    match (left, right) {
        (Value::Null, other) | (other, Value::Null) => *other == Value::Null,
        (Value::Text(left), Value::List(_) | Value::Object(_)) => same(left, &right.to_string(), exact),
        (Value::Text(left), right) => same(left, &right.to_string(), exact),
        (Value::Bool(left), right) => *left == truth(right),
        (Value::Int(left), Value::Int(right)) => left == right,
        (Value::Int(_) | Value::Double(_), right) => match (as_double(left), as_double(right)) {
            (Some(left), Some(right)) => left == right,
            _ => false,
        },
        (Value::List(left), Value::List(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right, exact))
        }
        (left, right) => left == right,
    }
}

/// Which of two points in time comes first, or of two spans; text is one where it stands beside one.
fn as_moments(left: &Value, right: &Value) -> Option<Ordering> {
    if moment::of(left).is_some() || moment::of(right).is_some() {
        return Some(moment::read(left)?.cmp(&moment::read(right)?));
    }
    Some(moment::span_of(left)?.cmp(&moment::span_of(right)?))
}

fn same(left: &str, right: &str, exact: bool) -> bool {
    if exact { left == right } else { left == right || left.to_lowercase() == right.to_lowercase() }
}

/// Which of two values comes first.
pub(crate) fn order(left: &Value, right: &Value, exact: bool) -> Result<Ordering, Wrong> {
    let cannot = || {
        let said = format!("A {} cannot be compared with a {} by size.", left.type_name(), right.type_name());
        Wrong::new("ComparisonFailure", said)
    };
    if let Some(order) = as_moments(left, right) {
        return Ok(order);
    }
    match (left, right) {
        (Value::Null, Value::Null) => Ok(Ordering::Equal),
        (Value::Null, _) => Ok(Ordering::Less),
        (_, Value::Null) => Ok(Ordering::Greater),
        (Value::Text(left), right) => {
            let right = right.to_string();
            Ok(if exact { left.cmp(&right) } else { left.to_lowercase().cmp(&right.to_lowercase()) })
        }
        (Value::Int(left), Value::Int(right)) => Ok(left.cmp(right)),
        (Value::Int(_) | Value::Double(_) | Value::Bool(_), right) => {
            let right = numeric(right).ok_or_else(|| {
                Wrong::new("ComparisonFailure", format!("\"{right}\" cannot be compared with a number: it is none."))
            })?;
            let (left, right) = (as_double(left).ok_or_else(cannot)?, as_double(&right).ok_or_else(cannot)?);
            left.partial_cmp(&right).ok_or_else(cannot)
        }
        _ => Err(cannot()),
    }
}

/// Whether text fits a pattern with `*`, `?` and `[a-z]`; a grave accent makes the next character plain.
pub(crate) fn like(text: &[char], pattern: &[char], exact: bool) -> bool {
    let (mut at, mut read) = (0, 0);
    // Where to go on if what follows the last * does not fit: one character further.
    let mut retry: Option<(usize, usize)> = None;
    while at < text.len() {
        if pattern.get(read) == Some(&'*') {
            retry = Some((read + 1, at));
            read += 1;
            continue;
        }
        match one(text[at], &pattern[read.min(pattern.len())..], exact) {
            Some(length) => {
                at += 1;
                read += length;
            }
            None => match retry {
                Some((after, from)) => {
                    retry = Some((after, from + 1));
                    (read, at) = (after, from + 1);
                }
                None => return false,
            },
        }
    }
    pattern[read.min(pattern.len())..].iter().all(|found| *found == '*')
}

/// How much of the pattern one character takes, if it fits.
fn one(found: char, pattern: &[char], exact: bool) -> Option<usize> {
    let fits = |one: char, other: char| one == other || (!exact && one.to_lowercase().eq(other.to_lowercase()));
    match pattern {
        ['?', ..] => Some(1),
        ['`', plain, ..] => fits(found, *plain).then_some(2),
        ['[', rest @ ..] => match rest.iter().position(|end| *end == ']') {
            Some(end) if end > 0 => within(found, &rest[..end], exact).then_some(end + 2),
            _ => fits(found, '[').then_some(1),
        },
        [plain, ..] => fits(found, *plain).then_some(1),
        [] => None,
    }
}

fn within(found: char, mut set: &[char], exact: bool) -> bool {
    let forms = [found, found.to_lowercase().next().unwrap_or(found), found.to_uppercase().next().unwrap_or(found)];
    let forms = if exact { &forms[..1] } else { &forms[..] };
    while let [first, rest @ ..] = set {
        if let ['-', last, after @ ..] = rest {
            if forms.iter().any(|form| (*first..=*last).contains(form)) {
                return true;
            }
            set = after;
        } else {
            if forms.contains(first) {
                return true;
            }
            set = rest;
        }
    }
    false
}

/// Whether text fits a pattern, without regard to case.
pub(crate) fn is_like(text: &str, pattern: &str) -> bool {
    like(&text.chars().collect::<Vec<_>>(), &pattern.chars().collect::<Vec<_>>(), false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_in_powershell() {
        for (text, pattern, fits) in [
            ("push.lync.com", "*.LYNC.com", true),
            ("push.lync.com", "push.*.net", false),
            ("aab", "*ab", true),
            ("", "*", true),
            ("", "?", false),
            ("b", "[a-c]", true),
            ("d", "[a-c]", false),
            ("C", "[a-c]x", false),
            ("a*b", "a`*b", true),
            ("axb", "a`*b", false),
            ("[x", "[x", true),
            ("abc", "", false),
        ] {
            assert_eq!(is_like(text, pattern), fits, "{text} -like {pattern}");
        }
    }

    #[test]
    fn the_left_side_says_how_values_are_compared() {
        let truth = |how, left: Value, right: Value| compare(how, false, &left, &right).unwrap().value;
        for (how, left, right, expected) in [
            (Comparison::Eq, Value::from("ABC"), Value::from("abc"), true),
            (Comparison::Eq, "5".into(), Value::Int(5), true),
            (Comparison::Eq, Value::Int(5), "5".into(), true),
            (Comparison::Eq, Value::Int(5), "five".into(), false),
            (Comparison::Eq, true.into(), "x".into(), true),
            (Comparison::Eq, Value::Null, Value::Int(0), false),
            (Comparison::Gt, "10".into(), Value::Int(9), false),
            (Comparison::Gt, Value::Int(10), "9".into(), true),
            (Comparison::Lt, Value::Null, Value::Int(1), true),
            (Comparison::Contains, vec!["http:", "ftp:"].into(), "HTTP:".into(), true),
            (Comparison::In, "x".into(), vec!["y"].into(), false),
            (Comparison::Match, "Test-CsMcxPushNotification".into(), "mcx.*push".into(), true),
            (Comparison::NotMatch, "x".into(), "^y".into(), true),
        ] {
            assert_eq!(truth(how, left.clone(), right.clone()), expected.into(), "{left:?} {how:?} {right:?}");
        }
        let list = Value::from(vec!["http:", "sip:", "https:"]);
        assert_eq!(truth(Comparison::Like, list, "http*".into()), Value::from(vec!["http:", "https:"]));
        assert!(!compare(Comparison::Eq, true, &"A".into(), &"a".into()).unwrap().value.as_bool().unwrap());
    }

    #[test]
    fn what_cannot_be_compared_says_so() {
        let said = |how, left: Value, right: Value| compare(how, false, &left, &right).unwrap_err().message;
        assert!(said(Comparison::Gt, Value::Int(1), "x".into()).contains("\"x\" cannot be compared with a number"));
        assert!(said(Comparison::Match, "x".into(), "(?=y)".into()).contains("is not a regular expression here"));
        assert!(
            said(Comparison::Lt, Object::new("McxConfiguration").into(), Value::Int(1)).contains("McxConfiguration")
        );
    }
}
