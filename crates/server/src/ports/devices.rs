//! Home's devices and pushes, for cmdlets.

use reveille_admin::ports::Asked;
use reveille_admin::ports::devices::{Devices, Explained, Foreseen, QuotaSeen};
use reveille_core::{Aor, Event, PushId};
use reveille_federation::Quota;
use reveille_home::{Desk, inbox};
use reveille_store::{KnownPush, StoreError};

use super::reading;

/// A running home.
pub(super) struct Home(pub(super) Desk);

impl Devices for Home {
    fn named(&self, text: &str) -> Option<Aor> {
        self.0.named(text)
    }

    fn name(&self) -> String {
        self.0.name().to_owned()
    }

    fn edge(&self) -> String {
        self.0.edge().to_owned()
    }

    fn site(&self) -> String {
        self.0.site().to_owned()
    }

    fn pushed(&self) -> &'static [Event] {
        inbox::PUSHED
    }

    fn quotas(&self) -> Vec<QuotaSeen> {
        let allowances =
            |quota: Quota| quota.allowances().map(|(name, it)| (name, it.limit, it.remaining, it.reset_secs)).to_vec();
        let seen = self.0.quotas().into_iter();
        seen.map(|(clearing_house, at, quota)| QuotaSeen { clearing_house, at, allowances: allowances(quota) })
            .collect()
    }

    fn devices(&self, user: Option<Aor>, most: usize) -> Asked<'_, Vec<Foreseen>> {
        Box::pin(async move { self.0.devices(user.as_ref(), most).await.into_iter().map(foreseen).collect() })
    }

    fn explain(&self, user: Aor, event: Event) -> Asked<'_, Option<Explained>> {
        Box::pin(async move {
            let reveille_home::Explained { site, settings, publisher, devices } = self.0.explain(&user, event).await?;
            Some(Explained { site, settings, publisher, devices: devices.into_iter().map(foreseen).collect() })
        })
    }

    fn forget(&self, user: Aor, device: String) -> Asked<'_, Option<Result<bool, StoreError>>> {
        Box::pin(async move { self.0.forget(&user, &device).await })
    }

    fn push(&self, push: PushId) -> Asked<'_, Result<Option<KnownPush>, StoreError>> {
        let desk = self.0.clone();
        reading(move || desk.push(push))
    }

    fn pushes(
        &self,
        user: Option<Aor>,
        before: Option<PushId>,
        most: usize,
    ) -> Asked<'_, Result<Vec<KnownPush>, StoreError>> {
        let desk = self.0.clone();
        reading(move || desk.pushes(user.as_ref(), before, most))
    }
}

fn foreseen(seen: reveille_home::Foreseen) -> Foreseen {
    let reveille_home::Foreseen { record, reach, gates, next, is_twin } = seen;
    Foreseen { record, reach, gates, next, is_twin }
}
