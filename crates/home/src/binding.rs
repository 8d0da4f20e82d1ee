//! Where a device is reached: its flows, newest first (RFC 5626).

use std::sync::Arc;

use reveille_core::Timestamp;
use reveille_sip_net::{Flow, FlowId};

/// Flows of one device at once; a client needs two (RFC 5626 §4.2.1).
const FLOWS_MAX: usize = 4;

/// One way to reach a device.
pub(crate) struct Binding {
    pub(crate) flow: Arc<Flow>,
    /// The Contact URI without push parameters.
    pub(crate) uri: String,
    /// The Contact value as the client wrote it, to be given back.
    pub(crate) value: String,
    pub(crate) expires: Timestamp,
    /// Tells the flows of one device apart; absent where the client knows nothing of RFC 5626.
    pub(crate) reg_id: Option<u32>,
}

/// The ways to reach one device, newest first.
#[derive(Default)]
pub(crate) struct Bindings(Vec<Binding>);

impl Binding {
    pub(crate) fn is_live(&self, now: Timestamp) -> bool {
        now < self.expires && !self.flow.is_closed()
    }
}

impl Bindings {
    /// Adds a way. RFC 5626 §6: with a reg-id it replaces that one flow and no other of the same kind; without, it is
    /// the device's only one.
    pub(crate) fn put(&mut self, binding: Binding) {
        match binding.reg_id {
            Some(id) => self.0.retain(|other| other.reg_id.is_some_and(|other| other != id)),
            None => self.0.clear(),
        }
        self.0.insert(0, binding);
        self.0.truncate(FLOWS_MAX);
    }

    /// Takes one way out, or all of them where the client has no reg-id. Says whether none is left that was there.
    pub(crate) fn remove(&mut self, reg_id: Option<u32>) -> bool {
        let before = self.0.len();
        self.0.retain(|binding| reg_id.is_some() && binding.reg_id != reg_id);
        before > 0 && self.0.is_empty()
    }

    /// Takes out whatever leads over these flows. Says whether none is left that was there.
    pub(crate) fn remove_flows(&mut self, gone: impl Fn(FlowId) -> bool) -> bool {
        let before = self.0.len();
        self.0.retain(|binding| !gone(binding.flow.id()));
        before > 0 && self.0.is_empty()
    }

    /// The ways that can be used now, newest first.
    pub(crate) fn live(&self, now: Timestamp) -> impl Iterator<Item = &Binding> {
        self.0.iter().filter(move |binding| binding.is_live(now))
    }

    /// All of them, newest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Binding> {
        self.0.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use reveille_sip_net::{CloseReason, Side, Transport};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn binding(uri: &str, reg_id: Option<u32>) -> Binding {
        let address = ([127, 0, 0, 1], 5060).into();
        let flow = Flow::carried(Transport::Tls, Side::Accepted, address, address, None, 1000);
        let expires = NOW.plus(std::time::Duration::from_secs(60));
        Binding { flow, uri: uri.into(), value: uri.into(), expires, reg_id }
    }

    fn live(bindings: &Bindings) -> Vec<&str> {
        bindings.live(NOW).map(|binding| binding.uri.as_str()).collect()
    }

    #[test]
    fn a_flow_replaces_the_one_of_its_own_number_and_a_client_without_numbers_has_one_only() {
        let mut bindings = Bindings::default();
        for (uri, reg_id, expected) in [
            ("a", Some(1), vec!["a"]),
            ("b", Some(2), vec!["b", "a"]),
            ("c", Some(1), vec!["c", "b"]),
            ("d", None, vec!["d"]),
            ("e", Some(1), vec!["e"]),
            ("f", Some(2), vec!["f", "e"]),
            ("g", Some(3), vec!["g", "f", "e"]),
            ("h", Some(4), vec!["h", "g", "f", "e"]),
            ("i", Some(5), vec!["i", "h", "g", "f"]),
        ] {
            bindings.put(binding(uri, reg_id));
            assert_eq!(live(&bindings), expected, "{uri} with reg-id {reg_id:?}");
        }
    }

    #[test]
    fn what_is_closed_or_has_run_out_is_not_live() {
        let mut bindings = Bindings::default();
        bindings.put(binding("a", Some(1)));
        bindings.put(Binding { expires: NOW, ..binding("b", Some(2)) });
        bindings.put(binding("c", Some(3)));
        bindings.iter().next().expect("c").flow.close(CloseReason::Asked { why: "test" });
        assert_eq!(live(&bindings), ["a"]);
    }

    #[test]
    fn a_device_is_gone_with_its_last_flow() {
        let mut bindings = Bindings::default();
        bindings.put(binding("a", Some(1)));
        bindings.put(binding("b", Some(2)));
        let newest = bindings.iter().next().expect("b").flow.id();
        assert!(!bindings.remove_flows(|flow| flow == newest));
        assert!(!bindings.remove(Some(7)) && !bindings.is_empty());
        assert!(bindings.remove(Some(1)) && bindings.is_empty());
        assert!(!bindings.remove(None), "nothing was there");
    }
}
