//! Operators that make one value of two: arithmetic, ranges, `-join`, `-split`, `-replace`, `-f`.

use reveille_admin::Value;

use super::compare::expression;
use super::convert::{as_double, as_int, numeric};
use super::moment;
use super::wrong::{Wrong, bounded, few_enough};

/// `+`: numbers are added, text and lists joined, hashtables merged; the left side decides.
pub(crate) fn add(left: Value, right: Value) -> Result<Value, Wrong> {
    if let Some(later) = moved(&left, &right, 1) {
        return later;
    }
    match (left, right) {
        (Value::Null, right) => Ok(right),
        (Value::Text(left), right) => {
            let right = right.to_string();
            bounded(left.len() + right.len())?;
            Ok(Value::Text(left + &right))
        }
        (Value::List(mut left), right) => {
            match right {
                Value::List(right) => left.extend(right),
                one => left.push(one),
            }
            few_enough(left.len())?;
            Ok(Value::List(left))
        }
        (Value::Object(left), Value::Object(right)) => {
            let mut merged = left;
            for (name, value) in right.all() {
                if merged.property(name).is_some() {
                    return Err(Wrong::new("DuplicateKey", format!("Both hashtables have the key {name}.")));
                }
                merged.set(name, value.clone());
            }
            Ok(Value::Object(merged))
        }
        (left, right) => number("+", &left, &right, i64::checked_add, |left, right| left + right),
    }
}

/// `-`.
pub(crate) fn subtract(left: &Value, right: &Value) -> Result<Value, Wrong> {
    if let Some(earlier) = moved(left, right, -1) {
        return earlier;
    }
    if let (Some(left), Some(right)) = (moment::of(left), moment::read(right)) {
        return Ok(moment::span(left.duration_since(right)));
    }
    number("-", left, right, i64::checked_sub, |left, right| left - right)
}

/// A point in time moved by a span, or the sum of two spans.
fn moved(left: &Value, right: &Value, sign: i32) -> Option<Result<Value, Wrong>> {
    let by = moment::span_of(right)? * sign;
    let outside = || Wrong::new("ArgumentOutOfRangeException", format!("There is no such time: {left} moved by {by}."));
    Some(match (moment::of(left), moment::span_of(left)) {
        (Some(at), _) => at.checked_add(by).map(moment::moment).map_err(|_| outside()),
        (None, Some(other)) => other.checked_add(by).map(moment::span).ok_or_else(outside),
        (None, None) => return None,
    })
}

/// `*`: text and lists are repeated.
pub(crate) fn multiply(left: &Value, right: &Value) -> Result<Value, Wrong> {
    let times = || {
        let times = as_int(right).and_then(|times| usize::try_from(times).ok());
        times.ok_or_else(|| Wrong::new("InvalidOperation", format!("\"{right}\" is not a number of times.")))
    };
    match left {
        Value::Text(text) => {
            let times = times()?;
            bounded(text.len().saturating_mul(times))?;
            Ok(Value::Text(text.repeat(times)))
        }
        Value::List(items) => {
            let times = times()?;
            few_enough(items.len().saturating_mul(times))?;
            Ok(Value::List(items.iter().cycle().take(items.len() * times).cloned().collect()))
        }
        _ => number("*", left, right, i64::checked_mul, |left, right| left * right),
    }
}

/// `/`: whole if it comes out even.
pub(crate) fn divide(left: &Value, right: &Value) -> Result<Value, Wrong> {
    not_nought(right)?;
    let even = |left: i64, right: i64| (left.checked_rem(right) == Some(0)).then(|| left / right);
    number("/", left, right, even, |left, right| left / right)
}

/// `%`.
pub(crate) fn remainder(left: &Value, right: &Value) -> Result<Value, Wrong> {
    not_nought(right)?;
    number("%", left, right, i64::checked_rem, |left, right| left % right)
}

fn not_nought(right: &Value) -> Result<(), Wrong> {
    match as_double(right) {
        Some(0.0) => Err(Wrong::new("RuntimeException", "Attempted to divide by zero.")),
        _ => Ok(()),
    }
}

fn number(
    sign: &str,
    left: &Value,
    right: &Value,
    whole: impl Fn(i64, i64) -> Option<i64>,
    any: impl Fn(f64, f64) -> f64,
) -> Result<Value, Wrong> {
    let read = |value: &Value| {
        numeric(value).ok_or_else(|| match value {
            Value::Text(text) => {
                Wrong::new("InvalidOperation", format!("\"{text}\" is not a number, which {sign} needs."))
            }
            other => {
                Wrong::new("InvalidOperation", format!("A {} is not a number, which {sign} needs.", other.type_name()))
            }
        })
    };
    let (left, right) = (read(left)?, read(right)?);
    if let (Value::Int(left), Value::Int(right)) = (&left, &right)
        && let Some(number) = whole(*left, *right)
    {
        return Ok(Value::Int(number));
    }
    let nothing = || Wrong::new("InvalidOperation", "This is not a number.");
    Ok(Value::Double(any(as_double(&left).ok_or_else(nothing)?, as_double(&right).ok_or_else(nothing)?)))
}

/// `1..5`, also downwards.
pub(crate) fn range(left: &Value, right: &Value) -> Result<Value, Wrong> {
    let bound = |value: &Value| {
        as_int(value).ok_or_else(|| Wrong::new("InvalidOperation", format!("\"{value}\" is not a whole number.")))
    };
    let (from, to) = (bound(left)?, bound(right)?);
    few_enough(usize::try_from(from.abs_diff(to)).unwrap_or(usize::MAX).saturating_add(1))?;
    Ok(Value::List(if from <= to {
        (from..=to).map(Value::Int).collect()
    } else {
        (to..=from).rev().map(Value::Int).collect()
    }))
}

/// `-join`.
pub(crate) fn join(list: &Value, between: &str) -> Result<Value, Wrong> {
    let items: Vec<String> = match list {
        Value::List(items) => items.iter().map(Value::to_string).collect(),
        one => vec![one.to_string()],
    };
    bounded(items.iter().map(|item| item.len() + between.len()).sum())?;
    Ok(Value::Text(items.join(between)))
}

/// `-split`: by a regular expression, into at most so many parts if that is said.
pub(crate) fn split(left: &Value, right: &Value, exact: bool) -> Result<Value, Wrong> {
    let (pattern, most) = match right {
        Value::List(items) => (items.first().map(Value::to_string).unwrap_or_default(), items.get(1).and_then(as_int)),
        one => (one.to_string(), None),
    };
    let expression = expression(&pattern, exact)?;
    let texts = match left {
        Value::List(items) => items.iter().map(Value::to_string).collect(),
        one => vec![one.to_string()],
    };
    let most = most.and_then(|most| usize::try_from(most).ok()).filter(|most| *most > 0);
    let parts = texts.iter().flat_map(|text| -> Vec<Value> {
        match most {
            Some(most) => expression.splitn(text, most).map(Value::from).collect(),
            None => expression.split(text).map(Value::from).collect(),
        }
    });
    let parts: Vec<Value> = parts.collect();
    few_enough(parts.len())?;
    Ok(Value::List(parts))
}

/// `-split` before a value: at blanks.
pub(crate) fn words(value: &Value) -> Value {
    Value::List(value.to_string().split_whitespace().map(Value::from).collect())
}

/// `-replace`: a regular expression, and what stands for what it finds.
pub(crate) fn replace(left: &Value, right: &Value, exact: bool) -> Result<Value, Wrong> {
    let (pattern, by) = match right {
        Value::List(items) if items.len() > 2 => {
            return Err(Wrong::new(
                "BadReplaceArgument",
                "-replace takes a pattern and what to write instead: 'a', 'b'.",
            ));
        }
        Value::List(items) => (
            items.first().map(Value::to_string).unwrap_or_default(),
            items.get(1).map(Value::to_string).unwrap_or_default(),
        ),
        one => (one.to_string(), String::new()),
    };
    let expression = expression(&pattern, exact)?;
    let by = groups_in_braces(&by);
    let replaced = |text: &Value| -> Result<Value, Wrong> {
        let text = text.to_string();
        let replaced = expression.replace_all(&text, by.as_str());
        bounded(replaced.len())?;
        Ok(Value::Text(replaced.into_owned()))
    };
    match left {
        Value::List(items) => Ok(Value::List(items.iter().map(replaced).collect::<Result<_, _>>()?)),
        one => replaced(one),
    }
}

/// `$1x` means group 1 and an x in PowerShell, and group "1x" elsewhere.
fn groups_in_braces(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        let digits = after.len() - after.trim_start_matches(|found: char| found.is_ascii_digit()).len();
        match (digits, after.starts_with('{'), after.starts_with('$')) {
            (1.., ..) => out.push_str(&format!("${{{}}}", &after[..digits])),
            (_, true, _) => out.push('$'),
            // Both `$$` and a lone dollar sign are one.
            _ => out.push_str("$$"),
        }
        rest = after.strip_prefix('$').unwrap_or_else(|| &after[digits..]);
    }
    out.push_str(rest);
    out
}

/// `-f`: `{0}`, `{1,-10}`, `{0:N2}`.
pub(crate) fn format(pattern: &str, values: &[Value]) -> Result<String, Wrong> {
    let wrong = |why: String| Wrong::new("FormatError", format!("Error formatting a string: {why}"));
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find(['{', '}']) {
        out.push_str(&rest[..at]);
        let (brace, after) = rest[at..].split_at(1);
        if after.starts_with(brace) {
            out.push_str(brace);
            rest = &after[1..];
            continue;
        }
        let end = after.find('}').filter(|_| brace == "{");
        let Some(end) = end else { return Err(wrong("a brace stands alone; write {{ or }} for the character".into())) };
        let item = &after[..end];
        let (place, form) = item.split_once(':').map_or((item, None), |(place, form)| (place, Some(form)));
        let (index, width) = place.split_once(',').map_or((place, None), |(index, width)| (index, Some(width)));
        let index: usize =
            index.trim().parse().map_err(|_| wrong(format!("{{{item}}} does not begin with a number.")))?;
        let value = values.get(index).ok_or_else(|| wrong(format!("there is no value for {{{index}}}.")))?;
        let shown = match form {
            Some(form) => formatted(value, form).ok_or_else(|| wrong(format!("\"{value}\" has no form {form}.")))?,
            None => value.to_string(),
        };
        let width: i64 = match width {
            Some(width) => width.trim().parse().map_err(|_| wrong(format!("\"{width}\" is not a width.")))?,
            None => 0,
        };
        let cells = usize::try_from(width.unsigned_abs()).unwrap_or(usize::MAX);
        bounded(out.len().saturating_add(cells).saturating_add(shown.len()))?;
        match width {
            ..0 => out.push_str(&format!("{shown:<cells$}")),
            _ => out.push_str(&format!("{shown:>cells$}")),
        }
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// A number in one of .NET's forms: N, F, D, X, P, and zeros, or a point in time in one of its own.
pub(crate) fn formatted(value: &Value, form: &str) -> Option<String> {
    if let Some(at) = moment::of(value) {
        return Some(moment::formatted(at, form));
    }
    if !form.is_empty() && form.bytes().all(|byte| byte == b'0') {
        return Some(format!("{:01$}", as_int(value)?, form.len().min(64)));
    }
    let mut letters = form.chars();
    let letter = letters.next()?;
    let digits = match letters.as_str() {
        "" => None,
        digits => Some(digits.parse::<usize>().ok().filter(|digits| *digits <= 64)?),
    };
    Some(match letter.to_ascii_uppercase() {
        'D' => format!("{:01$}", as_int(value)?, digits.unwrap_or(0)),
        'F' => format!("{:.1$}", as_double(value)?, digits.unwrap_or(2)),
        'N' => thousands(&format!("{:.1$}", as_double(value)?, digits.unwrap_or(2))),
        'P' => format!("{} %", thousands(&format!("{:.1$}", as_double(value)? * 100.0, digits.unwrap_or(2)))),
        'X' if letter == 'x' => format!("{:01$x}", as_int(value)?, digits.unwrap_or(0)),
        'X' => format!("{:01$X}", as_int(value)?, digits.unwrap_or(0)),
        _ => return None,
    })
}

/// A value in a form of .NET's, or in a whole pattern of `-f`.
pub(crate) fn shown(value: &Value, form: &str) -> Option<String> {
    if form.contains('{') { format(form, std::slice::from_ref(value)).ok() } else { formatted(value, form) }
}

fn thousands(number: &str) -> String {
    let (whole, fraction) = number.split_once('.').map_or((number, None), |(whole, rest)| (whole, Some(rest)));
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole), |digits| ("-", digits));
    let mut out = sign.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if let Some(fraction) = fraction {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_left_side_says_what_adding_means() {
        for (left, right, expected) in [
            (Value::Int(1), "2".into(), Value::Int(3)),
            ("1".into(), Value::Int(2), "12".into()),
            (Value::Int(1), Value::Double(0.5), Value::Double(1.5)),
            (vec!["a"].into(), "b".into(), vec!["a", "b"].into()),
            (Value::Null, "b".into(), "b".into()),
        ] {
            assert_eq!(add(left.clone(), right.clone()).unwrap(), expected, "{left:?} + {right:?}");
        }
        assert_eq!(add(Value::Int(1), "x".into()).unwrap_err().message, "\"x\" is not a number, which + needs.");
        assert_eq!(add(Value::Int(i64::MAX), Value::Int(1)).unwrap(), Value::Double(9_223_372_036_854_775_808.0));
    }

    #[test]
    fn numbers_are_divided_multiplied_and_counted_within_bounds() {
        assert_eq!(divide(&Value::Int(6), &Value::Int(3)).unwrap(), Value::Int(2));
        assert_eq!(divide(&Value::Int(1), &Value::Int(2)).unwrap(), Value::Double(0.5));
        assert_eq!(divide(&Value::Int(1), &Value::Int(0)).unwrap_err().message, "Attempted to divide by zero.");
        assert_eq!(multiply(&"ab".into(), &Value::Int(2)).unwrap(), "abab".into());
        assert_eq!(multiply(&"ab".into(), &Value::Int(1 << 40)).unwrap_err().id, "TextTooLong");
        assert_eq!(range(&Value::Int(3), &Value::Int(1)).unwrap(), Value::List([3, 2, 1].map(Value::Int).to_vec()));
        assert_eq!(range(&Value::Int(0), &Value::Int(i64::MAX)).unwrap_err().id, "TooManyObjects");
    }

    #[test]
    fn texts_are_split_replaced_and_formatted() {
        assert_eq!(split(&"a,b,c".into(), &",".into(), false).unwrap(), Value::from(vec!["a", "b", "c"]));
        let two = Value::List(vec![",".into(), Value::Int(2)]);
        assert_eq!(split(&"a,b,c".into(), &two, false).unwrap(), Value::from(vec!["a", "b,c"]));
        let swap = Value::from(vec!["(\\w+)@(\\w+)", "$2x$1 $$"]);
        assert_eq!(replace(&"ken@contoso".into(), &swap, false).unwrap(), "contosoxken $".into());
        for (pattern, values, expected) in [
            ("{0} is {1}", vec!["a".into(), Value::Int(5)], "a is 5"),
            ("[{0,4}|{0,-4}]", vec!["a".into()], "[   a|a   ]"),
            ("{0:N2} {0:F0} {1:D3} {1:X}", vec![Value::Double(1234.5), Value::Int(31)], "1,234.50 1234 031 1F"),
            ("{{0}} {0:000}", vec![Value::Int(7)], "{0} 007"),
            ("{0:P0}", vec![Value::Double(0.25)], "25 %"),
        ] {
            assert_eq!(format(pattern, &values).unwrap(), expected);
        }
        for (pattern, part) in [("{1}", "no value for {1}"), ("{x}", "begin with a number"), ("}", "stands alone")] {
            assert!(format(pattern, &["a".into()]).unwrap_err().message.contains(part), "{pattern}");
        }
        assert_eq!(format("{0,999999999}", &["a".into()]).unwrap_err().id, "TextTooLong");
    }
}
