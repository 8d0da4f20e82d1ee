//! One user's devices and what is owed to them, in memory, with the store behind.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use reveille_core::session::{Presence, Reach};
use reveille_core::{MessageId, PushId, Timestamp};
use reveille_sip_net::{Flow, FlowId};
use reveille_store::{DeviceRecord, OwedPush, StoredMessage};

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
    pub(crate) binding: Option<Binding>,
}

/// Where a device is reached now.
pub(crate) struct Binding {
    pub(crate) flow: Arc<Flow>,
    /// The Contact URI without push parameters.
    pub(crate) uri: String,
    /// The Contact value as the client wrote it, to be given back.
    pub(crate) value: String,
    pub(crate) expires: Timestamp,
}

impl Device {
    /// Whether the device is on screen, as far as its flow tells.
    pub(crate) fn reach(&self, now: Timestamp) -> Reach {
        match &self.binding {
            Some(binding) if binding.is_live(now) => Reach::Foreground,
            Some(binding) => Reach::Suspended { since: binding.expires.min(now) },
            None => Reach::Suspended { since: self.record.suspended_since.unwrap_or(self.record.last_registered) },
        }
    }

    /// Ends the binding: from now on the device counts as suspended.
    pub(crate) fn suspend(&mut self, now: Timestamp) {
        if self.binding.take().is_some() {
            self.record.suspended_since = Some(now);
        }
    }
}

impl Binding {
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires && !self.flow.is_closed()
    }
}

impl Account {
    /// What others see of the user.
    pub(crate) fn presence(&self, now: Timestamp) -> Presence {
        // A device without push identity and without binding is not there at all.
        let signed_in = |device: &&Device| device.binding.is_some() || device.record.identity.is_some();
        Presence::of(self.devices.values().filter(signed_in).map(|device| device.reach(now)))
    }

    /// Live bindings: where a message can be delivered directly.
    pub(crate) fn live(&self, now: Timestamp) -> Vec<(Arc<Flow>, String)> {
        let live = |device: &Device| {
            let binding = device.binding.as_ref().filter(|binding| binding.is_live(now))?;
            Some((Arc::clone(&binding.flow), binding.uri.clone()))
        };
        self.devices.values().filter_map(live).collect()
    }

    /// Ends every binding over a flow that is gone.
    pub(crate) fn flow_gone(&mut self, flow: FlowId, now: Timestamp) {
        for device in self.devices.values_mut() {
            if device.binding.as_ref().is_some_and(|binding| binding.flow.id() == flow) {
                device.suspend(now);
            }
        }
    }
}
