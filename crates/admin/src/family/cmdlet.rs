//! What the cmdlets of a family have in common, verb by verb: their definitions and what they do.

use super::Family;
use super::parameters::FORCE;
use crate::cmdlet::{About, Name, Parameter, Verb};

impl Family {
    /// What the definition of that verb has in every family; to be completed.
    pub(crate) const fn about(&self, verb: Verb) -> About {
        let changes = About { name: Name::new(verb, self.noun), area: self.area, changes: true, ..About::DEFAULT };
        match verb {
            Verb::Get => About { outputs: self.outputs, sets: FIND, changes: false, ..changes },
            Verb::New => About { outputs: self.outputs, ..changes },
            Verb::Disable | Verb::Enable | Verb::Set => About { sets: CHANGE, ..changes },
            Verb::Remove => changes,
            Verb::Clear | Verb::Grant | Verb::Revoke | Verb::Test | Verb::Update => {
                panic!("no family has a cmdlet of this verb")
            }
        }
    }
}

/// The sets of a Get.
const FIND: &[&str] = &["Identity", "Filter"];
/// The sets of a Set.
const CHANGE: &[&str] = &["Identity", "Instance"];

/// A cmdlet of a family, which does what the family does for that verb. Given is what it does not share with those of
/// other families.
macro_rules! cmdlet {
    ($(#[$doc:meta])* $verb:ident of $family:ident { $($field:ident: $value:expr),* $(,)? }) => {
        $(#[$doc])*
        pub(super) struct $verb;

        impl $crate::cmdlet::Cmdlet for $verb {
            fn about(&self) -> &'static $crate::cmdlet::About {
                const { &$crate::cmdlet::About { $($field: $value,)* ..$family.about($crate::cmdlet::Verb::$verb) } }
            }

            fn run<'a>(
                &'a self,
                call: &'a $crate::call::Call,
                desk: &'a $crate::desk::Desk,
            ) -> $crate::cmdlet::Running<'a> {
                Box::pin($crate::family::cmdlet::cmdlet!(@$verb $family call desk))
            }
        }
    };
    (@Disable $family:ident $call:ident $desk:ident) => { $family.switch(false, $call, $desk) };
    (@Enable $family:ident $call:ident $desk:ident) => { $family.switch(true, $call, $desk) };
    (@Get $family:ident $call:ident $desk:ident) => { $family.get($call, $desk) };
    (@New $family:ident $call:ident $desk:ident) => { $family.create($call, $desk) };
    (@Remove $family:ident $call:ident $desk:ident) => { $family.remove($call, $desk) };
    (@Set $family:ident $call:ident $desk:ident) => { $family.change($call, $desk) };
}
pub(crate) use cmdlet;

/// One list of parameters made of several, where cmdlets share some of them.
macro_rules! joined {
    ($($part:expr),+ $(,)?) => {
        &$crate::family::cmdlet::join::<{ 0 $(+ $part.len())+ }>(&[$(&$part),+])
    };
}
pub(crate) use joined;

/// What [`joined!`] makes, which knows how many they are.
pub(crate) const fn join<const N: usize>(parts: &[&[Parameter]]) -> [Parameter; N] {
    let mut all = [FORCE; N];
    let (mut part, mut count) = (0, 0);
    while part < parts.len() {
        let mut at = 0;
        while at < parts[part].len() {
            all[count] = parts[part][at];
            (at, count) = (at + 1, count + 1);
        }
        part += 1;
    }
    assert!(count == N, "every place has its parameter");
    all
}
