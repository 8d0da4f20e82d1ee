//! What the control API can do with any simulator.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::apns::{Answer, ApnsControls, ApnsPush};
use crate::fcm::{FcmAnswer, FcmControls, FcmPush};
use crate::line::Outage;
use crate::recorder::{Push, Recorder};
use crate::script::{Times, TooManyScripts};

/// The levers that all simulators share.
pub(super) trait Levers: Clone + Send + Sync + 'static {
    type Push: Push + Serialize;
    type Answer: DeserializeOwned + Send;

    fn recorder(&self) -> &Arc<Recorder<Self::Push>>;
    fn script(&self, token: Option<&str>, answers: Vec<Self::Answer>, times: Times) -> Result<(), TooManyScripts>;
    fn clear_scripts(&self);
    fn hold(&self);
    fn release(&self);
    fn down(&self, outage: Outage) -> impl Future<Output = ()> + Send;
    fn up(&self) -> impl Future<Output = ()> + Send;
}

macro_rules! levers {
    ($controls:ty, $push:ty, $answer:ty) => {
        impl Levers for $controls {
            type Push = $push;
            type Answer = $answer;

            fn recorder(&self) -> &Arc<Recorder<$push>> {
                self.recorder()
            }
            fn script(&self, token: Option<&str>, answers: Vec<$answer>, times: Times) -> Result<(), TooManyScripts> {
                self.script(token, answers, times)
            }
            fn clear_scripts(&self) {
                self.clear_scripts();
            }
            fn hold(&self) {
                self.hold();
            }
            fn release(&self) {
                self.release();
            }
            async fn down(&self, outage: Outage) {
                self.down(outage).await;
            }
            async fn up(&self) {
                self.up().await;
            }
        }
    };
}

levers!(ApnsControls, ApnsPush, Answer);
levers!(FcmControls, FcmPush, FcmAnswer);
