//! `Push-Result`: what became of each request of one MESSAGE, as a header field, since a 202 may have no body
//! (RFC 3428 §7).

use std::fmt::Write as _;
use std::time::Duration;

use reveille_core::Reason;

/// What became of one request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Taken {
    /// In the journal, and synced.
    Journaled,
    /// It was there before.
    Duplicate,
    /// Not taken.
    Refused(Reason),
}

/// One value of the header field.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PushResult {
    /// What became of it.
    pub taken: Taken,
    /// When repeating may help.
    pub retry_after: Option<Duration>,
}

impl PushResult {
    /// A result that stands without advice.
    pub const fn new(taken: Taken) -> Self {
        Self { taken, retry_after: None }
    }
}

/// The name of the header field.
pub const HEADER: &str = "Push-Result";

/// Writes all results as one header value, in the order of the requests.
pub fn write(results: &[PushResult], into: &mut String) {
    if let [PushResult { taken: Taken::Journaled, retry_after: None }] = results {
        // Nearly every answer says this.
        return into.push_str("0;result=journaled");
    }
    for (index, result) in results.iter().enumerate() {
        if index > 0 {
            into.push_str(", ");
        }
        let (word, reason) = match result.taken {
            Taken::Journaled => ("journaled", None),
            Taken::Duplicate => ("duplicate", None),
            Taken::Refused(reason) => ("refused", Some(reason)),
        };
        let _ = write!(into, "{index};result={word}");
        if let Some(reason) = reason {
            let _ = write!(into, ";reason={reason}");
        }
        if let Some(after) = result.retry_after {
            let _ = write!(into, ";retry-after={}", after.as_secs());
        }
    }
}

/// Reads all results out of the header field's values. A value that cannot be read is an error for the whole: the
/// sender must not guess which of its requests were taken.
pub fn read<'a>(values: impl IntoIterator<Item = &'a str>) -> Result<Vec<PushResult>, String> {
    let mut results = Vec::new();
    for value in values.into_iter().flat_map(|value| value.split(',')) {
        let mut parts = value.split(';').map(str::trim);
        let index = parts.next().unwrap_or_default();
        if index.parse() != Ok(results.len()) {
            return Err(format!("value number {} is for request \"{index}\"", results.len()));
        }
        let (mut taken, mut reason, mut retry_after) = (None, None, None);
        for part in parts {
            match part.split_once('=') {
                Some(("result", word)) => taken = Some(word),
                // A reason that a newer partner knows and we do not still is a refusal.
                Some(("reason", word)) => reason = Some(Reason::parse(word).unwrap_or(Reason::InvalidRequest)),
                Some(("retry-after", secs)) => retry_after = secs.parse().ok().map(Duration::from_secs),
                _ => {}
            }
        }
        let taken = match taken {
            Some("journaled") => Taken::Journaled,
            Some("duplicate") => Taken::Duplicate,
            Some("refused") => Taken::Refused(reason.unwrap_or(Reason::InvalidRequest)),
            other => return Err(format!("\"{}\" is not a result", other.unwrap_or_default())),
        };
        results.push(PushResult { taken, retry_after });
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_read_back_in_order() {
        let results = [
            PushResult::new(Taken::Journaled),
            PushResult { taken: Taken::Refused(Reason::Throttled), retry_after: Some(Duration::from_secs(7)) },
            PushResult::new(Taken::Duplicate),
        ];
        let mut text = String::new();
        write(&results, &mut text);
        assert_eq!(text, "0;result=journaled, 1;result=refused;reason=throttled;retry-after=7, 2;result=duplicate");
        assert_eq!(read([text.as_str()]).unwrap(), results);
        let mut text = String::new();
        write(&results[..1], &mut text);
        assert_eq!((read([text.as_str()]).unwrap(), &*text), (results[..1].to_vec(), "0;result=journaled"));
        assert_eq!(read(["0;result=journaled", "1;result=duplicate"]).unwrap().len(), 2);
    }

    #[test]
    fn results_that_cannot_be_read_are_not_guessed() {
        for text in ["", "1;result=journaled", "0;result=perhaps", "0", "0;result=journaled, 2;result=journaled"] {
            assert!(read([text]).is_err(), "{text}");
        }
        let newer = read(["0;result=refused;reason=from-the-future"]).unwrap();
        assert_eq!(newer[0].taken, Taken::Refused(Reason::InvalidRequest));
    }
}
