//! The keys of sealed handles, for cmdlets.

use std::sync::Arc;

use reveille_admin::ports::handle_keys::{HandleKey, HandleKeys};
use reveille_admin::{Category, Failure};
use reveille_clearinghouse::handle::{Handles, KeyFault, KeyStatus};

/// A process with a clearing house.
pub(super) struct Keys(pub(super) Arc<Handles>);

impl HandleKeys for Keys {
    fn keys(&self) -> Vec<HandleKey> {
        self.0.keys().into_iter().map(shown).collect()
    }

    fn make(&self) -> Result<HandleKey, Failure> {
        self.0.make_key().map(shown).map_err(|fault| failed(&fault))
    }

    fn remove(&self, id: &str) -> Result<HandleKey, Failure> {
        let removed = match id.parse() {
            Ok(id) => self.0.remove_key(id),
            Err(error) => return Err(Failure::new(Category::InvalidArgument, "NotAKeyId", format!("{error}.")).of(id)),
        };
        removed.map(shown).map_err(|fault| failed(&fault).of(id))
    }

    fn published(&self) -> String {
        self.0.published()
    }
}

fn shown(key: KeyStatus) -> HandleKey {
    HandleKey {
        id: key.id.to_string(),
        state: key.phase.as_str(),
        made: key.made,
        retires: key.retires,
        opened: key.opened,
        last_opened: key.last_opened,
        public: key.public,
        file: key.file,
    }
}

fn failed(fault: &KeyFault) -> Failure {
    let (category, id) = match fault {
        KeyFault::NoFolder => (Category::ResourceUnavailable, "HandlesOff"),
        KeyFault::InUse { .. } => (Category::InvalidData, "KeySeals"),
        KeyFault::Unknown { .. } => (Category::ObjectNotFound, "ObjectNotFound"),
        KeyFault::TooMany { .. } => (Category::InvalidData, "TooManyKeys"),
        KeyFault::Io { .. } | KeyFault::Malformed { .. } | KeyFault::Open { .. } | KeyFault::Unmade(_) => {
            (Category::NotSpecified, "KeyFile")
        }
    };
    Failure::new(category, id, format!("{fault}."))
}
