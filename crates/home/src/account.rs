//! One user's devices and what is owed to them, in memory, with the store behind.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use reveille_core::session::{Presence, Reach};
use reveille_core::{MessageId, PushId, Timestamp};
use reveille_sip::NameAddr;
use reveille_sip_net::{Flow, FlowId};
use reveille_store::{DeviceRecord, OwedPush, StoredMessage};

use crate::binding::Bindings;
use crate::reply::Reply;

/// Devices of one user, at the most.
pub(crate) const DEVICES_MAX: usize = 32;
/// Pushes owed to one user at once; beyond it the oldest devices' are not owed any more.
pub(crate) const OWED_MAX: usize = 1000;

/// One user.
#[derive(Default)]
pub(crate) struct Account {
    pub(crate) devices: BTreeMap<String, Device>,
    /// Pushes that have not been answered yet.
    pub(crate) owed: HashMap<PushId, OwedPush>,
    /// Senders who wait up to five seconds to hear that their message was delivered.
    pub(crate) askers: HashMap<MessageId, Reply>,
    /// Messages behind the one that is being delivered now.
    pub(crate) delivering: Vec<StoredMessage>,
    /// Whether messages are being delivered now, and whether to look again afterwards.
    pub(crate) resuming: Resuming,
}

/// A device that can be called now.
pub(crate) struct Phone {
    pub(crate) device: String,
    /// Its Contact URI.
    pub(crate) uri: String,
    /// The ways to it, newest first; one of them is enough (RFC 5626 §5.3).
    pub(crate) flows: Vec<Arc<Flow>>,
    /// Its preference in thousandths (RFC 3261 §20.10).
    pub(crate) q: u16,
}

/// Where the delivery of kept messages stands.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) enum Resuming {
    /// Nothing is being delivered.
    #[default]
    Idle,
    /// Messages are being delivered.
    Busy,
    /// They are, and more have come since.
    Again,
}

/// One app instance.
pub(crate) struct Device {
    pub(crate) record: DeviceRecord,
    /// Where it is reached now.
    pub(crate) bindings: Bindings,
}

impl Device {
    /// Whether the device is on screen, as far as its flows tell.
    pub(crate) fn reach(&self, now: Timestamp) -> Reach {
        if self.is_live(now) {
            return Reach::Foreground;
        }
        match self.bindings.iter().map(|binding| binding.expires).max() {
            Some(expires) => Reach::Suspended { since: expires.min(now) },
            None => Reach::Suspended { since: self.record.suspended_since.unwrap_or(self.record.last_registered) },
        }
    }

    /// Whether it can be reached directly.
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        self.bindings.live(now).next().is_some()
    }

    /// Ends its bindings: from now on the device counts as suspended.
    pub(crate) fn suspend(&mut self, now: Timestamp) {
        if self.bindings.remove(None) {
            self.record.suspended_since = Some(now);
        }
    }

    /// Ends the bindings over flows that are gone; without another one it counts as suspended.
    pub(crate) fn lose_flows(&mut self, now: Timestamp, gone: impl Fn(FlowId) -> bool) {
        if self.bindings.remove_flows(gone) {
            self.record.suspended_since = Some(now);
        }
    }
}

impl Account {
    /// What others see of the user.
    pub(crate) fn presence(&self, now: Timestamp) -> Presence {
        // A device without push identity and without binding is not there at all.
        let signed_in = |device: &&Device| !device.bindings.is_empty() || device.record.identity.is_some();
        Presence::of(self.devices.values().filter(signed_in).map(|device| device.reach(now)))
    }

    /// One live binding of each device: where a message can be delivered directly.
    pub(crate) fn live(&self, now: Timestamp) -> Vec<(Arc<Flow>, String)> {
        let live = |device: &Device| {
            let binding = device.bindings.live(now).next()?;
            Some((Arc::clone(&binding.flow), binding.uri.clone()))
        };
        self.devices.values().filter_map(live).collect()
    }

    /// The devices that can be called now. Those that are suspended are not among them.
    pub(crate) fn phones(&self, now: Timestamp) -> Vec<Phone> {
        let phone = |device: &Device| {
            let newest = device.bindings.live(now).next()?;
            Some(Phone {
                device: device.record.device.clone(),
                uri: newest.uri.clone(),
                flows: device.bindings.live(now).map(|binding| Arc::clone(&binding.flow)).collect(),
                q: NameAddr::parse(&newest.value).ok().and_then(|value| value.q_thousandths()).unwrap_or(1000),
            })
        };
        self.devices.values().filter_map(phone).collect()
    }

    /// Ends every binding over a flow that is gone.
    pub(crate) fn flow_gone(&mut self, flow: FlowId, now: Timestamp) {
        for device in self.devices.values_mut() {
            device.lose_flows(now, |gone| gone == flow);
        }
    }
}
