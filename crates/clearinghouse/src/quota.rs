//! How much one organisation may have (`PushQuota`): by its proven domain, never by its address.
//!
//! Rates are kept in memory: after a restart their buckets are full, which gives away one burst. The day's count is made
//! anew from the journal ([`Quotas::recount`]), so that no crash gives a day back; refused requests do not count.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use reveille_core::settings::{DeviceBudget, PushQuota, Snapshot};
use reveille_core::{Channel, SipDomain, Timestamp};
use reveille_federation::Quota;
use reveille_federation::quota::Allowance;
use reveille_store::{Journal, StoreError};

use crate::bucket::{Bucket, Nanos, Rate};
use crate::throttle::Turn;

/// The accounts of all organisations that an app serves.
#[derive(Default)]
pub(crate) struct Quotas {
    accounts: RwLock<HashMap<SipDomain, Arc<Account>>>,
}

/// What one organisation has had.
#[derive(Default)]
pub(crate) struct Account {
    books: Mutex<Books>,
}

#[derive(Default)]
struct Books {
    /// The version of the settings that the limits were read from, and one; 0 is none yet.
    read_at: u64,
    limits: PushQuota,
    /// For messages and for calls.
    rates: [Rate; 2],
    buckets: [Bucket; 2],
    /// Which day since 1970 is counted, and what was taken on it.
    day: u64,
    taken: u64,
    /// How many pushes were open when somebody looked, and more since.
    open: usize,
    looked: Timestamp,
}

/// Why a request is one too many.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Limit {
    /// Of the organisation's calls at once.
    Calls,
    /// Of the organisation in a day.
    Day,
    /// Of one device.
    Device,
    /// Of the organisation's messages at once.
    Messages,
    /// Of the organisation's pushes that are not over.
    Open,
    /// Of what the machine can take.
    Room,
    /// Of how long anything may wait for the journal.
    Wait,
}

/// What is refused, and when it may come again.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Over {
    pub(crate) limit: Limit,
    pub(crate) after: Duration,
}

/// What an organisation is told with each answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Standing {
    /// Its limits, and what is left.
    pub quota: Quota,
    /// The same as the value of `Push-Quota`.
    pub header: Box<str>,
}

impl Limit {
    /// Its name in metrics and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Day => "day",
            Self::Device => "device",
            Self::Messages => "messages",
            Self::Open => "open",
            Self::Room => "room",
            Self::Wait => "wait",
        }
    }
}

impl Quotas {
    /// The account of an organisation that an app serves; nobody else gets one.
    pub(crate) fn of(&self, origin: &SipDomain) -> Arc<Account> {
        if let Some(account) = self.accounts.read().get(origin) {
            return Arc::clone(account);
        }
        let mut accounts = self.accounts.write();
        if accounts.len() >= ACCOUNTS_MAX {
            // Whoever it is was granted an app later than so many others; he begins with full buckets again.
            let idle = accounts.iter().min_by_key(|(_, account)| account.books.lock().looked);
            let idle = idle.map(|(origin, _)| origin.clone());
            idle.and_then(|origin| accounts.remove(&origin));
        }
        Arc::clone(accounts.entry(origin.clone()).or_default())
    }

    /// Adds what the journal has taken today in former lives, those with numbers below `before`. Reads for as long as
    /// that takes, a part at a time, and ends early once `stopped`.
    pub(crate) fn recount(
        &self,
        journal: &dyn Journal,
        now: Timestamp,
        stopped: impl Fn() -> bool,
    ) -> Result<(), StoreError> {
        let day = day_of(now);
        let (midnight, mut before) = (Timestamp::from_millis(day * DAY_MILLIS), Some(journal.first_new()));
        while let Some(number) = before.filter(|_| !stopped()) {
            let (counts, next) = journal.received_since(midnight, number, BLOCKS)?;
            for (origin, count) in counts {
                self.of(&origin).books.lock().add(day, count);
            }
            before = next;
        }
        Ok(())
    }
}

impl Account {
    /// Whether one more request may be taken, and when the push may go: `device` says what the device's turn is, and
    /// `open` how many pushes of the organisation are not over.
    pub(crate) fn admit(
        &self,
        (settings, origin): (&Snapshot, &SipDomain),
        channel: Channel,
        now: Timestamp,
        open: impl FnOnce() -> usize,
        device: impl FnOnce(DeviceBudget) -> Turn,
    ) -> Result<Option<Timestamp>, Over> {
        let mut books = self.books.lock();
        books.read(settings, origin);
        books.turn_page(day_of(now));
        if books.taken >= u64::from(books.limits.per_day) {
            let midnight = (books.day + 1) * DAY_MILLIS;
            let after = Duration::from_millis(midnight.saturating_sub(now.millis()));
            return Err(Over { limit: Limit::Day, after });
        }
        if now.since(books.looked) >= LOOK_EVERY || now < books.looked {
            (books.open, books.looked) = (open(), now);
        }
        if books.open >= books.limits.open_pushes as usize {
            return Err(Over { limit: Limit::Open, after: OPEN_AGAIN });
        }
        let (index, limit) = match channel {
            Channel::Message => (0, Limit::Messages),
            Channel::Voip => (1, Limit::Calls),
        };
        let rate = books.rates[index];
        books.buckets[index].take(rate, now.into()).map_err(|after| Over { limit, after })?;
        let due = match device(books.limits.device(channel)) {
            Turn::At(due) => Some(due),
            Turn::In(after) => return Err(Over { limit: Limit::Device, after }),
            Turn::Now => None,
        };
        books.taken += 1;
        books.open += 1;
        Ok(due)
    }

    /// What the organisation is told.
    pub(crate) fn standing(&self, now: Timestamp) -> Standing {
        let quota = self.books.lock().quota(now);
        let mut header = String::with_capacity(160);
        quota.write(&mut header);
        Standing { quota, header: header.into() }
    }
}

impl Books {
    /// Reads the limits again when the settings have changed.
    fn read(&mut self, settings: &Snapshot, origin: &SipDomain) {
        let version = settings.version() + 1;
        if self.read_at == version {
            return;
        }
        let limits = settings.push_quota(origin);
        self.rates = [
            Rate::per_second(limits.messages_per_second, limits.messages_burst),
            Rate::per_second(limits.calls_per_second, limits.calls_burst),
        ];
        (self.read_at, self.limits) = (version, limits);
    }

    /// Begins a new day; also where the clock was set back over midnight.
    const fn turn_page(&mut self, day: u64) {
        if self.day != day {
            (self.day, self.taken) = (day, 0);
        }
    }

    /// Counts what was taken on that day before this process began.
    const fn add(&mut self, day: u64, count: u64) {
        if self.day == 0 {
            self.day = day;
        }
        // What was counted for a day that is over counts no more.
        if self.day == day {
            self.taken += count;
        }
    }

    fn quota(&self, now: Timestamp) -> Quota {
        let allowance = |limit: u64, remaining: u64, reset: Duration| Allowance {
            limit: small(limit),
            remaining: small(remaining),
            reset_secs: small(reset.as_millis().div_ceil(1000) as u64),
        };
        let bucket = |index: usize| {
            let (limit, left, reset) = self.buckets[index].shown(self.rates[index], Nanos::from(now));
            allowance(limit, left, reset)
        };
        let per_day = u64::from(self.limits.per_day);
        let midnight = Duration::from_millis(((self.day + 1) * DAY_MILLIS).saturating_sub(now.millis()));
        let day = allowance(per_day, per_day.saturating_sub(self.taken), midnight);
        Quota { messages: bucket(0), calls: bucket(1), day }
    }
}

fn small(number: u64) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

const fn day_of(now: Timestamp) -> u64 {
    now.millis() / DAY_MILLIS
}

const DAY_MILLIS: u64 = 24 * 3600 * 1000;

/// Organisations at once.
const ACCOUNTS_MAX: usize = 16_384;
/// How often somebody looks how many pushes of an organisation are open; in between those that come are added.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// When whoever has too many open may come again.
const OPEN_AGAIN: Duration = Duration::from_secs(10);
/// Blocks of the journal that are read at once: 64 pushes each.
const BLOCKS: usize = 4096;

#[cfg(test)]
mod tests {
    use reveille_core::settings::Setting;

    use super::*;

    const NOON: u64 = 1_700_000_000_000 / DAY_MILLIS * DAY_MILLIS + DAY_MILLIS / 2;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(NOON + millis)
    }

    fn contoso() -> SipDomain {
        "contoso.com".parse().unwrap()
    }

    fn settings(change: impl FnOnce(&mut PushQuota)) -> Snapshot {
        let mut record = PushQuota::default();
        change(&mut record);
        Snapshot::of([Setting::PushQuota(record)]).unwrap()
    }

    fn ask(account: &Account, settings: &Snapshot, channel: Channel, now: Timestamp, open: usize) -> Result<(), Over> {
        account.admit((settings, &contoso()), channel, now, || open, |_| Turn::Now).map(drop)
    }

    #[test]
    fn calls_and_messages_have_a_rate_each_and_are_told_what_is_left() {
        let settings = settings(|quota| {
            (quota.messages_per_second, quota.messages_burst) = (1, 2);
            (quota.calls_per_second, quota.calls_burst) = (1, 1);
        });
        let account = Account::default();
        let messages = [0, 0, 0, 1000].map(|millis| ask(&account, &settings, Channel::Message, at(millis), 0));
        let over = |limit, millis| Err(Over { limit, after: Duration::from_millis(millis) });
        assert_eq!(messages, [Ok(()), Ok(()), over(Limit::Messages, 1000), Ok(())]);
        let calls = [1000, 1500].map(|millis| ask(&account, &settings, Channel::Voip, at(millis), 0));
        assert_eq!(calls, [Ok(()), over(Limit::Calls, 500)]);
        let Standing { quota, header } = account.standing(at(1500));
        let usual = PushQuota::default().per_day;
        let allowance = |limit, remaining, reset_secs| Allowance { limit, remaining, reset_secs };
        let expected = Quota {
            messages: allowance(2, 0, 2),
            calls: allowance(1, 0, 1),
            day: allowance(usual, usual - 4, 12 * 3600 - 1),
        };
        assert_eq!((quota, Quota::read([&*header])), (expected, Some(expected)));
    }

    #[test]
    fn a_day_s_count_holds_until_midnight_and_what_is_refused_does_not_count() {
        let settings = settings(|quota| quota.per_day = 3);
        let account = Account::default();
        account.books.lock().add(day_of(at(0)), 1);
        let taken = [0, 1, 2, 3].map(|millis| ask(&account, &settings, Channel::Message, at(millis), 0).is_ok());
        assert_eq!(taken, [true, true, false, false]);
        let refused = ask(&account, &settings, Channel::Voip, at(1000), 0);
        let after = Duration::from_secs(12 * 3600 - 1);
        assert_eq!(refused, Err(Over { limit: Limit::Day, after }));
        assert_eq!(ask(&account, &settings, Channel::Message, at(DAY_MILLIS / 2), 0), Ok(()));
        // A count that comes late is of a day that is over.
        account.books.lock().add(day_of(at(0)), 5);
        assert_eq!(account.standing(at(DAY_MILLIS / 2)).quota.day.remaining, 2);
    }

    #[test]
    fn who_has_too_many_open_waits_until_some_are_over() {
        let settings = settings(|quota| quota.open_pushes = 10);
        let account = Account::default();
        let open = [(0, 8), (1, 0), (2, 0), (249, 0), (250, 9), (251, 0)];
        let taken = open.map(|(millis, open)| ask(&account, &settings, Channel::Message, at(millis), open).is_ok());
        assert_eq!(taken, [true, true, false, false, true, false]);
    }

    #[test]
    fn what_the_device_may_not_have_takes_nothing_of_the_day() {
        let (account, settings) = (Account::default(), settings(|_| {}));
        let wait = Duration::from_secs(7);
        let turn = |turn| account.admit((&settings, &contoso()), Channel::Message, at(0), || 0, |_| turn);
        assert_eq!(turn(Turn::In(wait)), Err(Over { limit: Limit::Device, after: wait }));
        assert_eq!((turn(Turn::At(at(5))), turn(Turn::Now)), (Ok(Some(at(5))), Ok(None)));
        let day = account.standing(at(0)).quota.day;
        assert_eq!(day.limit - day.remaining, 2);
    }

    #[test]
    fn limits_are_those_of_the_settings_at_this_moment() {
        let account = Account::default();
        let mut settings = settings(|quota| quota.per_day = 1);
        assert_eq!(ask(&account, &settings, Channel::Message, at(0), 0), Ok(()));
        assert!(ask(&account, &settings, Channel::Message, at(0), 0).is_err());
        let more = PushQuota { identity: "contoso.com".into(), ..PushQuota::default() };
        let change = reveille_core::settings::SettingChange::Put(Setting::PushQuota(more));
        settings.apply(&change, "ann", at(0)).unwrap();
        assert_eq!(ask(&account, &settings, Channel::Message, at(0), 0), Ok(()));
    }
}
