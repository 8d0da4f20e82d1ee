//! Which tokens are dead, for whom, since when. Pure and in memory; the journal has the same on disk.

use std::collections::{HashMap, VecDeque};

use aws_lc_rs::digest;
use reveille_core::verdict::kills;
use reveille_core::{AppKey, DeviceToken, SipDomain, Timestamp};
use reveille_store::{Dead, TokenMark, fingerprint};

/// Dead tokens, the oldest verdicts first to go.
#[derive(Debug, Default)]
pub(super) struct Graves {
    /// By the quick hash of the token alone, so that for nearly every push one look is enough.
    by_quick: HashMap<u64, Vec<Grave>>,
    /// In the order of the verdicts.
    order: VecDeque<(Timestamp, TokenMark)>,
    most: usize,
}

#[derive(Clone, Copy, Debug)]
struct Grave {
    digest: [u8; 16],
    since: Option<Timestamp>,
    sent: Timestamp,
    at: Timestamp,
}

/// What stands for this origin's token of this app.
pub(super) fn mark(origin: &SipDomain, app: &AppKey, token: &DeviceToken) -> TokenMark {
    TokenMark { quick: quick(token), digest: digest_of(origin, app, token) }
}

fn quick(token: &DeviceToken) -> u64 {
    fingerprint(token.expose().as_bytes())
}

fn digest_of(origin: &SipDomain, app: &AppKey, token: &DeviceToken) -> [u8; 16] {
    let mut context = digest::Context::new(&digest::SHA256);
    // No part holds the byte that parts them, so that no two triples read alike.
    for part in [origin.as_str(), app.provider.as_str(), &*app.app, app.environment.as_str(), token.expose()] {
        context.update(part.as_bytes());
        context.update(&[0]);
    }
    let mut short = [0; 16];
    short.copy_from_slice(&context.finish().as_ref()[..16]);
    short
}

impl Graves {
    pub(super) fn new(most: usize) -> Self {
        Self { most, ..Self::default() }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.by_quick.values().map(Vec::len).sum()
    }

    /// Since when the token of a push is dead, if it is: news that is older than the token's registration is about an
    /// earlier life of it.
    pub(super) fn dead(
        &self,
        origin: &SipDomain,
        app: &AppKey,
        token: &DeviceToken,
        registered: Timestamp,
    ) -> Option<Timestamp> {
        // Nearly always there is nothing to look for.
        if self.by_quick.is_empty() {
            return None;
        }
        let alike = self.by_quick.get(&quick(token))?;
        let digest = digest_of(origin, app, token);
        let grave = alike.iter().find(|grave| grave.digest == digest)?;
        kills(grave.since, registered, grave.sent).then(|| grave.since.unwrap_or(grave.sent))
    }

    /// Takes a dead token in; the newest verdict of a token counts.
    pub(super) fn bury(&mut self, dead: Dead) {
        let Dead { token, since, sent, at } = dead;
        let alike = self.by_quick.entry(token.quick).or_default();
        alike.retain(|grave| grave.digest != token.digest);
        alike.push(Grave { digest: token.digest, since, sent, at });
        self.order.push_back((at, token));
        while self.order.len() > self.most {
            self.drop_oldest();
        }
    }

    /// The verdict on that token counts no more.
    pub(super) fn lift(&mut self, token: &TokenMark) {
        // Its place in the order stays until it is old; it is bounded like the others.
        self.remove(token, |_| true);
    }

    /// Forgets verdicts from before `before`.
    pub(super) fn forget(&mut self, before: Timestamp) {
        while self.order.front().is_some_and(|(at, _)| *at < before) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some((when, token)) = self.order.pop_front() {
            // A newer verdict on the same token has a later place.
            self.remove(&token, |grave| grave.at <= when);
        }
    }

    fn remove(&mut self, token: &TokenMark, which: impl Fn(&Grave) -> bool) {
        if let Some(alike) = self.by_quick.get_mut(&token.quick) {
            alike.retain(|grave| grave.digest != token.digest || !which(grave));
            if alike.is_empty() {
                self.by_quick.remove(&token.quick);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use reveille_core::{Environment, Provider};

    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn domain(name: &str) -> SipDomain {
        name.parse().unwrap()
    }

    fn app(name: &str, environment: Environment) -> AppKey {
        AppKey { provider: Provider::Apns, app: name.into(), environment }
    }

    fn dead(token: TokenMark, since: Option<u64>, sent: u64) -> Dead {
        Dead { token, since: since.map(at), sent: at(sent), at: at(sent) }
    }

    #[test]
    fn a_token_is_dead_for_the_origin_and_app_whose_push_showed_it_and_for_no_other() {
        let (us, them, token) = (domain("a.example"), domain("b.example"), DeviceToken::new("token-1"));
        let ours = app("org.example", Environment::Production);
        let mut graves = Graves::new(10);
        graves.bury(dead(mark(&us, &ours, &token), None, 50));
        assert_eq!(graves.dead(&us, &ours, &token, at(10)), Some(at(50)));
        for (origin, app, token) in [
            (&them, &ours, &token),
            (&us, &app("org.example", Environment::Sandbox), &token),
            (&us, &app("org.other", Environment::Production), &token),
            (&us, &ours, &DeviceToken::new("token-2")),
        ] {
            assert_eq!(graves.dead(origin, app, token, at(10)), None, "{origin} {app} {token:?}");
        }
    }

    #[test]
    fn a_token_that_was_registered_after_the_news_lives() {
        let (us, app, token) =
            (domain("a.example"), app("org.example", Environment::Production), DeviceToken::new("token-1"));
        let mark = mark(&us, &app, &token);
        for (since, sent, registered, died) in [
            (Some(40), 50, 39, Some(40)),
            (Some(40), 50, 40, None),
            (Some(40), 50, 45, None),
            (None, 50, 50, Some(50)),
            (None, 50, 51, None),
        ] {
            let mut graves = Graves::new(10);
            graves.bury(dead(mark, since, sent));
            assert_eq!(graves.dead(&us, &app, &token, at(registered)), died.map(at), "{since:?} {registered}");
        }
    }

    #[test]
    fn what_is_lifted_old_or_too_much_is_forgotten_and_newer_news_of_a_token_stays() {
        let (us, app) = (domain("a.example"), app("org.example", Environment::Production));
        let token = |n: u64| DeviceToken::new(format!("token-{n}"));
        let mut graves = Graves::new(3);
        for n in 1..=4 {
            graves.bury(dead(mark(&us, &app, &token(n)), None, 10 * n));
        }
        let is_dead = |graves: &Graves, n| graves.dead(&us, &app, &token(n), at(1)).is_some();
        assert_eq!([1, 2, 3, 4].map(|n| is_dead(&graves, n)), [false, true, true, true]);
        graves.lift(&mark(&us, &app, &token(3)));
        // Said again later: the earlier news of it goes, this does not.
        graves.bury(dead(mark(&us, &app, &token(2)), None, 60));
        graves.forget(at(50));
        assert_eq!([2, 3, 4].map(|n| is_dead(&graves, n)), [true, false, false]);
        assert_eq!(graves.len(), 1);
        graves.forget(at(61));
        assert_eq!((graves.len(), graves.order.len()), (0, 0));
    }
}
