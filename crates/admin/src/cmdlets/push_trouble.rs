//! Pushes that go wrong for everybody, as a home's records tell: what a publisher refuses, and what nobody takes.
//!
//! Made of the newest pushes on disk, so that a restart hides nothing and nothing is counted twice.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use reveille_core::delivery::PushState;
use reveille_core::reason::Decider;
use reveille_core::{IdentityId, Reason, SipDomain, Timestamp};
use reveille_store::{KnownPush, StoreError};

use super::push_device::{reason_of, whole_seconds};
use super::remedy::{Place, said};
use crate::desk::Desk;
use crate::ports::devices::Devices;

/// The newest pushes that are looked at.
const LOOKED_AT: usize = 1000;
/// What is older is history.
const RECENT: Duration = Duration::from_secs(24 * 3600);

/// One thing that is wrong with the pushes to one publisher.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct PushTrouble {
    /// The publisher's domain.
    pub(super) publisher: String,
    /// What is wrong, since when, and how many it concerns.
    pub(super) detail: String,
    /// What mends it.
    pub(super) remedy: String,
}

/// What is wrong now: a refusal counts until a push of its kind is taken.
pub(super) async fn troubles(home: &dyn Devices, desk: &Desk) -> Result<Vec<PushTrouble>, StoreError> {
    let pushes = home.pushes(None, None, LOOKED_AT).await?;
    let oldest = Timestamp::from_millis(desk.clock.now().millis().saturating_sub(RECENT.as_millis() as u64));
    let (settings, site, server, edge) = (desk.settings.snapshot(), home.site(), home.name(), home.edge());
    let place = Place { settings: &settings, site: &site, server: &server, edge: &edge };
    let found = grouped(pushes.iter().filter(|known| known.moved >= oldest));
    let mut troubles = Vec::with_capacity(found.len());
    for ((publisher, reason), group) in found {
        let owed = &group.latest.owed;
        let devices = home.devices(Some(owed.user.clone()), usize::MAX).await;
        let identity = devices.into_iter().find_map(|it| it.record.identity.filter(|it| it.id == owed.identity));
        let app = identity.map(|identity| identity.app);
        let detail = match reason {
            Some(reason) => format!("refused: {}, {}", reason.as_str(), reason.sentence()),
            None => format!("owed and not taken: {}", said(&group.latest.detail)),
        };
        let (count, latest, first) = (group.count, whole_seconds(group.latest.moved), whole_seconds(group.first));
        let pushes = if count == 1 { "1 push" } else { &format!("{count} pushes") };
        troubles.push(PushTrouble {
            publisher: publisher.to_string(),
            detail: format!("{pushes} {detail} (since {first}, the last {latest})"),
            remedy: place.remedy(reason.unwrap_or(Reason::NoRoute), &owed.user, app.as_ref(), Some(owed.push)),
        });
    }
    Ok(troubles)
}

/// What went wrong in one way.
struct Group<'a> {
    count: usize,
    first: Timestamp,
    latest: &'a KnownPush,
}

/// Pushes that went wrong by publisher and reason, without those after which one of the same kind was taken. None as a
/// reason: they are still owed.
fn grouped<'a>(pushes: impl Iterator<Item = &'a KnownPush>) -> BTreeMap<(&'a SipDomain, Option<Reason>), Group<'a>> {
    let mut newest: Vec<_> = pushes.collect();
    newest.sort_by_key(|known| std::cmp::Reverse(known.moved));
    let mut groups: BTreeMap<_, Group<'_>> = BTreeMap::new();
    // Publishers and push identities for which something newer was taken.
    let (mut reached, mut woken): (HashSet<&SipDomain>, HashSet<IdentityId>) = Default::default();
    for known in newest {
        let owed = &known.owed;
        if matches!(owed.state, PushState::Journaled | PushState::Accepted) {
            reached.insert(&owed.clearing_house);
            woken.insert(owed.identity);
            continue;
        }
        let reason = reason_of(owed.state);
        let is_wrong = match reason.map(|reason| (reason, reason.decided_by())) {
            None => owed.attempt > 0 && !known.detail.is_empty() && !reached.contains(&owed.clearing_house),
            Some((_, Decider::Edge | Decider::Partner)) => !reached.contains(&owed.clearing_house),
            // One device's token is its user's affair.
            Some((Reason::IdentityDead | Reason::OutcomeUnknown, _)) => false,
            Some((Reason::Expired, _)) => !reached.contains(&owed.clearing_house),
            Some((_, Decider::ClearingHouse | Decider::Provider)) => !woken.contains(&owed.identity),
            Some((_, Decider::Home)) => false,
        };
        if is_wrong {
            let group = groups.entry((&owed.clearing_house, reason)).or_insert(Group {
                count: 0,
                first: known.moved,
                latest: known,
            });
            group.count += 1;
            group.first = group.first.min(known.moved);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmdlets::fakes::{self, Home, NOW};

    fn at(number: u128, state: PushState, secs: u64) -> KnownPush {
        let detail = if state == PushState::Owed { "504 1046;reason=\"it does not answer\"" } else { "" };
        KnownPush { moved: Timestamp::from_millis(secs * 1000), ..fakes::known_push(number, state, detail) }
    }

    #[test]
    fn a_refusal_counts_until_a_push_of_its_kind_is_taken() {
        let refused = |reason| PushState::NotPushed(reason);
        let shut_out = refused(Reason::PartnerDoesNotAllowUs);
        for (pushes, expected) in [
            (vec![at(1, shut_out, 1), at(2, shut_out, 2)], vec![(Some(Reason::PartnerDoesNotAllowUs), 2)]),
            (vec![at(1, shut_out, 1), at(2, PushState::Journaled, 2)], vec![]),
            (vec![at(1, PushState::Journaled, 1), at(2, shut_out, 2)], vec![(Some(Reason::PartnerDoesNotAllowUs), 1)]),
            (vec![at(1, PushState::Owed, 1), at(2, PushState::Owed, 3)], vec![(None, 2)]),
            (vec![at(1, refused(Reason::IdentityDead), 1), at(2, refused(Reason::PolicyForbids), 2)], vec![]),
            (
                vec![at(1, refused(Reason::AppNotGranted), 1), at(2, shut_out, 2)],
                vec![(Some(Reason::AppNotGranted), 1), (Some(Reason::PartnerDoesNotAllowUs), 1)],
            ),
        ] {
            let found: Vec<_> =
                grouped(pushes.iter()).iter().map(|((_, reason), group)| (*reason, group.count)).collect();
            assert_eq!(found, expected, "{pushes:?}");
        }
        // Another device's app is another's to grant; the road is the same for all.
        let mut other = at(3, PushState::Journaled, 3);
        other.owed.identity = IdentityId::from_u128(8);
        let pushes = [at(1, refused(Reason::AppNotGranted), 1), at(2, shut_out, 2), other];
        let found: Vec<_> = grouped(pushes.iter()).keys().map(|(_, reason)| *reason).collect();
        assert_eq!(found, [Some(Reason::AppNotGranted)]);
    }

    #[tokio::test]
    async fn trouble_names_publisher_count_reason_and_what_mends_it_and_forgets_after_a_day() {
        let state = PushState::NotPushed(Reason::PartnerDoesNotAllowUs);
        let mut old = fakes::known_push(9, PushState::NotPushed(Reason::PartnerBlocksUs), "");
        old.moved = Timestamp::from_millis(NOW.millis() - 25 * 3_600_000);
        let pushes = vec![fakes::known_push(1, state, ""), fakes::known_push(2, state, ""), old];
        let home = Home { pushes, ..Home::with([fakes::device("phone")]) };
        let desk = fakes::desk(None, None);
        let found = troubles(&home, &desk).await.expect("the fake can be read");
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(
            found[0].detail,
            "2 pushes refused: partner-does-not-allow-us, the publisher does not allow our domain (since \
             2023-11-14T22:13:20Z, the last 2023-11-14T22:13:20Z)"
        );
        assert_eq!(found[0].remedy, "ask push.lync.com to run: New-CsAllowedDomain -Identity contoso.com");
    }
}
