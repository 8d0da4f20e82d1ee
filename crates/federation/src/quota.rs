//! `Push-Quota`: what a clearing house still takes of the organisation that it answers, as a header field of every answer
//! (DESIGN.md §5).
//!
//! ```text
//! Push-Quota: messages;limit=200000;remaining=199968;reset=1, calls;limit=20000;remaining=20000;reset=0,
//!             day;limit=200000000;remaining=199991200;reset=41213
//! ```
//! One value for each allowance, in any order: how many requests it holds when it is full, how many of them are left, and
//! in how many seconds it is full again. Names and parameters that a reader does not know it passes over.

use std::fmt::Write as _;

/// One allowance.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Allowance {
    /// How many requests it holds when it is full.
    pub limit: u32,
    /// How many are left.
    pub remaining: u32,
    /// In how many seconds it is full again.
    pub reset_secs: u32,
}

/// All allowances of one organisation.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Quota {
    /// Requests on the message channel.
    pub messages: Allowance,
    /// Requests on the voip channel.
    pub calls: Allowance,
    /// Requests of both in a day.
    pub day: Allowance,
}

/// The name of the header field.
pub const HEADER: &str = "Push-Quota";

impl Quota {
    /// Writes it as the value of the header field.
    pub fn write(&self, into: &mut String) {
        for (index, (name, Allowance { limit, remaining, reset_secs })) in self.allowances().into_iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            let _ = write!(into, "{comma}{name};limit={limit};remaining={remaining};reset={reset_secs}");
        }
    }

    /// Reads it out of the values of the header field: as far as it can be read, since nothing depends on it but what
    /// people are shown. `None` where no allowance can be.
    pub fn read<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut quota = None;
        for value in values.into_iter().flat_map(|value| value.split(',')) {
            let mut parts = value.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default();
            let mut allowance = Allowance::default();
            for part in parts {
                let Some((name, number)) = part.split_once('=') else { continue };
                let place = match name {
                    "limit" => &mut allowance.limit,
                    "remaining" => &mut allowance.remaining,
                    "reset" => &mut allowance.reset_secs,
                    _ => continue,
                };
                *place = number.parse().unwrap_or_default();
            }
            match name {
                "messages" => quota.get_or_insert_with(Self::default).messages = allowance,
                "calls" => quota.get_or_insert_with(Self::default).calls = allowance,
                "day" => quota.get_or_insert_with(Self::default).day = allowance,
                _ => {}
            }
        }
        quota
    }

    /// The allowances with their names.
    pub const fn allowances(&self) -> [(&'static str, Allowance); 3] {
        [("messages", self.messages), ("calls", self.calls), ("day", self.day)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_reads_back_and_what_is_not_known_of_it_is_passed_over() {
        let allowance = |limit, remaining, reset_secs| Allowance { limit, remaining, reset_secs };
        let quota =
            Quota { messages: allowance(200, 199, 1), calls: allowance(20, 0, 9), day: allowance(9, 8, 41_213) };
        let mut text = String::new();
        quota.write(&mut text);
        assert_eq!(
            text,
            "messages;limit=200;remaining=199;reset=1, calls;limit=20;remaining=0;reset=9, \
             day;limit=9;remaining=8;reset=41213"
        );
        assert_eq!(Quota::read([text.as_str()]), Some(quota));
        let newer = ["week;limit=7", "day; remaining=8;colour=red;limit=9;reset=never"];
        assert_eq!(Quota::read(newer), Some(Quota { day: allowance(9, 8, 0), ..Quota::default() }));
        assert_eq!((Quota::read([]), Quota::read(["", ";;=,"])), (None, None));
    }
}
