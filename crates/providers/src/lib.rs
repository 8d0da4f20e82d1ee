//! The push providers: how each wants to be asked, what its answers mean, who we are to it, and the sender that carries
//! pushes to it.
//!
//! Nothing outside this crate knows what APNs or FCM call things. A [`Sender`] serves one lane: it takes
//! [`Notification`]s into a bounded queue, and gives back exactly one [`Outcome`] for each, with a
//! [`Verdict`](reveille_core::Verdict) as the only word for what the provider's answer means. It never repeats a push:
//! when to do that is the clearing house's decision.

pub mod apns;
pub mod fcm;
mod jwt;
mod notification;
#[cfg(test)]
mod replies;
mod sender;
pub mod tls;

pub use notification::{
    Alert, Call, Demand, EXPIRED_BEFORE_SENDING, Media, Notification, Outcome, Outcomes, Room, Supply,
};
pub use sender::{
    Access, Breakers, Broken, Circuits, Health, Patience, Proxy, Sender, SenderConfig, SenderFault, State, Target,
    Which,
};

/// Whether a provider takes a push of this size; else its refusal, which names the size and the limit. What only the
/// provider itself can say is not asked.
pub fn fits(provider: reveille_core::Provider, push: &Notification) -> Result<(), reveille_core::Verdict> {
    use reveille_core::Provider;
    match provider {
        Provider::Apns => apns::fits(push),
        Provider::Fcm => fcm::fits(push),
        Provider::Mpns | Provider::WebPush | Provider::Wns => Ok(()),
    }
}
