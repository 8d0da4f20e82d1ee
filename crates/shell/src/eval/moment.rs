//! Points in time and the spans between them: what `Get-Date` and `[datetime]` give. All of it is in UTC, as the times in
//! records are, so that both can be compared.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, Timestamp};
use reveille_admin::value::AS_TEXT;
use reveille_admin::{Object, Value};

use super::wrong::Wrong;

/// The type of a point in time.
pub(crate) const MOMENT: &str = "DateTime";
/// The type of a span.
pub(crate) const SPAN: &str = "TimeSpan";

/// A point in time as an object; as text it is what records hold: `2026-11-22T19:30:21Z`.
pub(crate) fn moment(at: Timestamp) -> Value {
    let civil = civil(at);
    let day = civil.date().at(0, 0, 0, 0);
    Object::new(MOMENT)
        .with("Date", civil.date().to_string())
        .with("Year", i64::from(civil.year()))
        .with("Month", i64::from(civil.month()))
        .with("Day", i64::from(civil.day()))
        .with("Hour", i64::from(civil.hour()))
        .with("Minute", i64::from(civil.minute()))
        .with("Second", i64::from(civil.second()))
        .with("Millisecond", i64::from(civil.millisecond()))
        .with("DayOfWeek", DAYS[usize::from(day.weekday().to_sunday_zero_offset().unsigned_abs())])
        .with("DayOfYear", i64::from(day.day_of_year()))
        .with(AS_TEXT, at.to_string())
        .into()
}

/// A span as an object; as text it is `1.02:03:04`, the days only where there are some.
pub(crate) fn span(of: SignedDuration) -> Value {
    let seconds = of.as_secs().unsigned_abs();
    let (days, hours, minutes, rest) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let signed = |part: u64| i64::try_from(part).unwrap_or(i64::MAX) * if of.is_negative() { -1 } else { 1 };
    let sign = if of.is_negative() { "-" } else { "" };
    let shown_days = if days > 0 { format!("{days}.") } else { String::new() };
    let millis = of.subsec_millis().unsigned_abs();
    let fraction = if millis > 0 { format!(".{millis:03}") } else { String::new() };
    let total = of.as_secs_f64();
    Object::new(SPAN)
        .with("Days", signed(days))
        .with("Hours", signed(hours))
        .with("Minutes", signed(minutes))
        .with("Seconds", signed(rest))
        .with("Milliseconds", i64::from(of.subsec_millis()))
        .with("TotalDays", Value::Double(total / 86_400.0))
        .with("TotalHours", Value::Double(total / 3600.0))
        .with("TotalMinutes", Value::Double(total / 60.0))
        .with("TotalSeconds", Value::Double(total))
        .with("TotalMilliseconds", Value::Double(total * 1000.0))
        .with(AS_TEXT, format!("{sign}{shown_days}{hours:02}:{minutes:02}:{rest:02}{fraction}"))
        .into()
}

/// The point in time that an object is.
pub(crate) fn of(value: &Value) -> Option<Timestamp> {
    match value {
        Value::Object(object) if object.type_name() == MOMENT => object.property(AS_TEXT)?.as_text()?.parse().ok(),
        _ => None,
    }
}

/// The span that an object is.
pub(crate) fn span_of(value: &Value) -> Option<SignedDuration> {
    match value {
        Value::Object(object) if object.type_name() == SPAN => match object.property("TotalMilliseconds")? {
            Value::Double(millis) if millis.abs() < 1e15 => Some(SignedDuration::from_secs_f64(millis / 1000.0)),
            _ => None,
        },
        _ => None,
    }
}

/// A point in time or span as text; anything else as it is.
pub(crate) fn as_text(value: Value) -> Value {
    match value {
        Value::Object(object) if is_either(&object) => Value::Text(object.to_string()),
        other => other,
    }
}

/// Whether a value is written as text although it has properties.
pub(crate) fn is_either(object: &Object) -> bool {
    matches!(object.type_name(), MOMENT | SPAN)
}

/// A point in time from an object or from text: as records write it, or as people do without saying the zone.
pub(crate) fn read(value: &Value) -> Option<Timestamp> {
    let text = match value {
        Value::Text(text) => text.trim(),
        other => return of(other),
    };
    let with_zone = text.parse::<Timestamp>().ok();
    let alone = || in_utc(text.parse::<DateTime>().ok()?);
    let american = |form: &str| in_utc(DateTime::strptime(form, text).ok()?);
    let day = || in_utc(jiff::civil::Date::strptime("%m/%d/%Y", text).ok()?.at(0, 0, 0, 0));
    with_zone
        .or_else(alone)
        .or_else(day)
        .or_else(|| ["%m/%d/%Y %H:%M:%S", "%m/%d/%Y %H:%M"].into_iter().find_map(american))
}

fn in_utc(civil: DateTime) -> Option<Timestamp> {
    civil.to_zoned(TimeZone::UTC).ok().map(|zoned| zoned.timestamp())
}

fn civil(at: Timestamp) -> DateTime {
    at.to_zoned(TimeZone::UTC).datetime()
}

/// `.AddDays(1)` and its kin; nothing if there is no such method.
pub(crate) fn add(at: Timestamp, method: &str, count: &Value) -> Option<Result<Value, Wrong>> {
    let unit = match method {
        "AddDays" => 86_400.0,
        "AddHours" => 3600.0,
        "AddMinutes" => 60.0,
        "AddSeconds" => 1.0,
        "AddMonths" | "AddYears" => 0.0,
        _ => return None,
    };
    let outside = || Wrong::new("ArgumentOutOfRangeException", format!("There is no such day: {at} {method} {count}."));
    let later = || match (unit, super::convert::as_double(count)) {
        (0.0, Some(count)) if count.abs() < 1e5 => {
            let whole = count.round_ties_even() as i64;
            let span = Span::new();
            let later = if method == "AddYears" { span.try_years(whole) } else { span.try_months(whole) };
            in_utc(civil(at).checked_add(later.ok()?).ok()?)
        }
        (unit, Some(count)) if unit > 0.0 && (unit * count).abs() < 1e12 => {
            at.checked_add(SignedDuration::from_secs_f64(unit * count)).ok()
        }
        _ => None,
    };
    // .NET counts from the year 1.
    let later = later().filter(|later| (1..=9999).contains(&civil(*later).year()));
    Some(later.map(moment).ok_or_else(outside))
}

/// A point in time in one of .NET's forms: a letter for one that is agreed on, else what it is put together from.
pub(crate) fn formatted(at: Timestamp, form: &str) -> String {
    let form = match form {
        "d" => "MM/dd/yyyy",
        "D" => "dddd, MMMM d, yyyy",
        "f" => "dddd, MMMM d, yyyy HH:mm",
        "F" => "dddd, MMMM d, yyyy HH:mm:ss",
        "g" => "MM/dd/yyyy HH:mm",
        "" | "G" => "MM/dd/yyyy HH:mm:ss",
        "m" | "M" => "MMMM d",
        "o" | "O" => "yyyy-MM-dd'T'HH:mm:ss.fffffff'Z'",
        "r" | "R" => "ddd, dd MMM yyyy HH:mm:ss 'GMT'",
        "s" => "yyyy-MM-dd'T'HH:mm:ss",
        "t" => "HH:mm",
        "T" => "HH:mm:ss",
        "u" => "yyyy-MM-dd HH:mm:ss'Z'",
        "y" | "Y" => "MMMM yyyy",
        other => other,
    };
    let at = civil(at);
    let mut out = String::new();
    let mut rest = form;
    while let Some(first) = rest.chars().next() {
        let run = rest.len() - rest.trim_start_matches(first).len();
        let count = run / first.len_utf8();
        let taken = match first {
            '\'' | '"' => {
                let inner = &rest[1..];
                let end = inner.find(first).unwrap_or(inner.len());
                out.push_str(&inner[..end]);
                (end + 2).min(rest.len())
            }
            '\\' => {
                out.extend(rest[1..].chars().next());
                1 + rest[1..].chars().next().map_or(0, char::len_utf8)
            }
            _ => {
                match part(at, first, count) {
                    Some(part) => out.push_str(&part),
                    None => out.push_str(&rest[..run]),
                }
                run
            }
        };
        rest = &rest[taken..];
    }
    out
}

/// What a letter stands for that is written so many times.
fn part(at: DateTime, letter: char, count: usize) -> Option<String> {
    let number = |value: i64| format!("{value:0width$}", width = count.min(2));
    let twelve = |hour: i8| if hour % 12 == 0 { 12 } else { i64::from(hour % 12) };
    let day = DAYS[usize::from(at.weekday().to_sunday_zero_offset().unsigned_abs())];
    let month = MONTHS[usize::from(at.month().unsigned_abs()).saturating_sub(1).min(11)];
    Some(match (letter, count) {
        ('d', 3) => day[..3].to_owned(),
        ('d', 4..) => day.to_owned(),
        ('d', _) => number(at.day().into()),
        ('M', 3) => month[..3].to_owned(),
        ('M', 4..) => month.to_owned(),
        ('M', _) => number(at.month().into()),
        ('y', 1 | 2) => number(i64::from(at.year()) % 100),
        ('y', _) => format!("{:04}", at.year()),
        ('H', _) => number(at.hour().into()),
        ('h', _) => number(twelve(at.hour())),
        ('m', _) => number(at.minute().into()),
        ('s', _) => number(at.second().into()),
        ('f', _) => format!("{:09}", at.subsec_nanosecond())[..count.min(9)].to_owned(),
        ('t', 1) => if at.hour() < 12 { "A" } else { "P" }.to_owned(),
        ('t', _) => if at.hour() < 12 { "AM" } else { "PM" }.to_owned(),
        ('z', 1) => "+0".to_owned(),
        ('z', 2) => "+00".to_owned(),
        ('z', _) => "+00:00".to_owned(),
        ('K', _) => "Z".to_owned(),
        _ => return None,
    })
}

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        read(&text.into()).unwrap()
    }

    #[test]
    fn times_are_read_as_records_and_people_write_them() {
        for (text, expected) in [
            ("2010-11-13T23:29:00Z", "2010-11-13T23:29:00Z"),
            ("2010-11-13T23:29:00+02:00", "2010-11-13T21:29:00Z"),
            ("2010-11-13 23:29", "2010-11-13T23:29:00Z"),
            (" 2010-11-13 ", "2010-11-13T00:00:00Z"),
            ("11/13/2010", "2010-11-13T00:00:00Z"),
            ("11/13/2010 23:29", "2010-11-13T23:29:00Z"),
        ] {
            assert_eq!(at(text).to_string(), expected, "{text}");
        }
        assert_eq!(read(&"yesterday".into()), None);
        assert_eq!(read(&Value::Int(5)), None);
        assert_eq!(read(&moment(at("2010-11-13"))), Some(at("2010-11-13")));
    }

    #[test]
    fn forms_are_those_of_dot_net() {
        let at = at("2010-01-03T15:04:05.678Z");
        for (form, expected) in [
            ("yyyy-MM-dd", "2010-01-03"),
            ("yyyyMMdd_HHmmss", "20100103_150405"),
            ("d.M.yy h:mm tt", "3.1.10 3:04 PM"),
            ("ddd dd MMM yyyy", "Sun 03 Jan 2010"),
            ("dddd, MMMM", "Sunday, January"),
            ("HH'h'mm \\m fff", "15h04 m 678"),
            ("s", "2010-01-03T15:04:05"),
            ("r", "Sun, 03 Jan 2010 15:04:05 GMT"),
            ("G", "01/03/2010 15:04:05"),
            ("o", "2010-01-03T15:04:05.6780000Z"),
            ("'open", "open"),
            ("\\", ""),
            ("äQ", "äQ"),
        ] {
            assert_eq!(formatted(at, form), expected, "{form}");
        }
    }

    #[test]
    fn days_and_months_are_added_and_the_end_of_time_is_refused() {
        let later = |method, count: f64| add(at("2010-01-31"), method, &Value::Double(count)).unwrap();
        assert_eq!(later("AddDays", -31.0).unwrap().to_string(), "2009-12-31T00:00:00Z");
        assert_eq!(later("AddHours", 1.5).unwrap().to_string(), "2010-01-31T01:30:00Z");
        assert_eq!(later("AddMonths", 1.0).unwrap().to_string(), "2010-02-28T00:00:00Z");
        assert_eq!(later("AddYears", 2.0).unwrap().to_string(), "2012-01-31T00:00:00Z");
        for (method, count) in [
            ("AddDays", 1e9),
            ("AddYears", 1e4),
            ("AddYears", 99_999.0),
            ("AddMonths", -99_999.0),
            ("AddYears", 1e300),
            ("AddDays", f64::NAN),
        ] {
            assert_eq!(later(method, count).unwrap_err().id, "ArgumentOutOfRangeException", "{method} {count}");
        }
        assert!(add(at("2010-01-31"), "Trim", &Value::Null).is_none());
    }

    #[test]
    fn spans_are_shown_with_days_where_there_are_some() {
        for (millis, text) in
            [(61_500, "00:01:01.500"), (93_784_000, "1.02:03:04"), (-2_000, "-00:00:02"), (0, "00:00:00")]
        {
            let made = span(SignedDuration::from_millis(millis));
            assert_eq!(made.to_string(), text);
            assert_eq!(span_of(&made), Some(SignedDuration::from_millis(millis)));
        }
    }
}
