//! What home keeps: devices with their push identities, messages until they are fetched, and the pushes owed for them.
//!
//! Everything that belongs together is one [`HomeStore::commit`]: a message and the push owed for it are both there
//! after a crash, or neither is.

mod sqlite;

use std::fmt;

use reveille_core::delivery::PushState;
use reveille_core::{
    Aor, Channel, DeviceToken, Event, IdentityId, MessageId, PushId, PushIdentity, SipDomain, Timestamp,
};

use crate::completion::Completion;
use crate::error::StoreError;

pub use sqlite::SqliteHome;

/// What home keeps.
pub trait HomeStore: Send + Sync + 'static {
    /// Makes all of these changes or none, in this order.
    fn commit(&self, changes: Vec<HomeChange>, done: Completion<()>);

    /// Every device, ordered by user and device; for the start.
    fn devices(&self) -> Result<Vec<DeviceRecord>, StoreError>;

    /// The pushes that home has still to bring to a clearing house (owed, or requested and not answered), ordered by
    /// when they are due and then by id; only those after `after`, the due time and id of the last one that was read.
    fn open_pushes(&self, limit: usize, after: Option<(Timestamp, PushId)>) -> Result<Vec<OwedPush>, StoreError>;

    /// One push and what became of it.
    fn push(&self, push: PushId) -> Result<Option<KnownPush>, StoreError>;

    /// The pushes of one user, newest first.
    fn pushes_of(&self, user: &Aor, limit: usize) -> Result<Vec<KnownPush>, StoreError> {
        self.latest_pushes(Some(user), None, limit)
    }

    /// The pushes of one user or of all, newest first; with `before` only those that are older than it.
    fn latest_pushes(
        &self,
        user: Option<&Aor>,
        before: Option<PushId>,
        limit: usize,
    ) -> Result<Vec<KnownPush>, StoreError>;

    /// The messages of one user that have been neither delivered nor lost to time at `now`, oldest first.
    fn undelivered(&self, user: &Aor, now: Timestamp, limit: usize) -> Result<Vec<StoredMessage>, StoreError>;

    /// How many messages [`Self::undelivered`] would answer without a limit: the badge.
    fn unread_count(&self, user: &Aor, now: Timestamp) -> Result<u64, StoreError>;

    /// Removes messages that were delivered or expired before `before`, and pushes that ended or expired before it: up
    /// to `limit` of each, among a few times as many that it looks at; the next call goes on behind those. Answers how
    /// many rows are gone; call again while that is `limit` or more.
    fn purge(&self, before: Timestamp, limit: usize, done: Completion<usize>);
}

/// One change of what home keeps.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HomeChange {
    /// The message has reached its user, and no longer counts as unread.
    Delivered {
        /// Which message.
        id: MessageId,
        /// Whose it is.
        to: Aor,
        /// When.
        at: Timestamp,
    },
    /// Forgets a user whole: devices, pushes, and the messages that are kept for him or that pushes name.
    ForgetUser {
        /// Who.
        user: Aor,
    },
    /// Keeps a message; one with an id that is known is passed over.
    KeepMessage(StoredMessage),
    /// Moves a push to another state; one that is not known is passed over.
    MovePush {
        /// Which push.
        push: PushId,
        /// Its state from now on.
        state: PushState,
        /// When it came into that state.
        at: Timestamp,
        /// When it is next to be tried, as long as it is open.
        due: Timestamp,
        /// How often it has been tried.
        attempt: u32,
        /// The diagnosis, cut to 512 characters.
        detail: String,
    },
    /// Keeps a push; one with an id that is known is passed over.
    OwePush(OwedPush),
    /// Keeps a device, in the place of what was known of it.
    PutDevice(DeviceRecord),
    /// Forgets a device with its identity and its dead tokens.
    RemoveDevice {
        /// Whose it is.
        user: Aor,
        /// Its instance key.
        device: String,
    },
}

/// One app instance of one user.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeviceRecord {
    /// Whose it is.
    pub user: Aor,
    /// Its instance key, one of a kind for each of the user's devices.
    pub device: String,
    /// How it is pushed.
    pub identity: Option<PushIdentity>,
    /// Tokens that the provider has declared dead, oldest first; the newest [`Self::DEAD_TOKENS_MAX`] are kept.
    pub dead_tokens: Vec<DeviceToken>,
    /// What the client calls itself.
    pub user_agent: String,
    /// When it last registered or signed in.
    pub last_registered: Timestamp,
    /// When its session ends without another word from it.
    pub session_expires: Timestamp,
    /// Since when it is suspended, if it is.
    pub suspended_since: Option<Timestamp>,
    /// Its last push, where that is in its life, and since when.
    pub last_push: Option<(PushId, PushState, Timestamp)>,
}

impl DeviceRecord {
    /// How many dead tokens are kept for each device: apps fetch a new one within a start or two.
    pub const DEAD_TOKENS_MAX: usize = 8;
}

/// A message that waits for its user.
#[derive(Clone, Eq, PartialEq)]
pub struct StoredMessage {
    /// Its id, which sorts by when it was taken.
    pub id: MessageId,
    /// To whom.
    pub to: Aor,
    /// From whom.
    pub from: Aor,
    /// What the body is.
    pub content_type: String,
    /// What was written.
    pub body: Vec<u8>,
    /// The conversation it belongs to.
    pub conversation: String,
    /// When it was taken.
    pub taken: Timestamp,
    /// How long it is kept.
    pub expires: Timestamp,
}

/// Shows the size of the body and not what is in it.
impl fmt::Debug for StoredMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredMessage")
            .field("id", &self.id)
            .field("to", &self.to)
            .field("from", &self.from)
            .field("content_type", &self.content_type)
            .field("body_bytes", &self.body.len())
            .field("taken", &self.taken)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

/// A push that home owes a device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OwedPush {
    /// Its id, which goes with it through every role.
    pub push: PushId,
    /// Whose device.
    pub user: Aor,
    /// Which device.
    pub device: String,
    /// Which push identity of it.
    pub identity: IdentityId,
    /// Which of the identity's tokens.
    pub generation: u32,
    /// Which way to the device.
    pub channel: Channel,
    /// What happened.
    pub event: Event,
    /// The message it is for, if it is for one.
    pub message: Option<MessageId>,
    /// Who is to bring it to the provider; only feedback from there counts.
    pub clearing_house: SipDomain,
    /// When it came to be owed.
    pub created: Timestamp,
    /// From when on it is not worth sending.
    pub expires: Timestamp,
    /// When it is next to be tried.
    pub due: Timestamp,
    /// How often it has been tried.
    pub attempt: u32,
    /// Where it is in its life.
    pub state: PushState,
}

/// A push and what was last said about it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct KnownPush {
    /// The push in its present state.
    pub owed: OwedPush,
    /// The diagnosis of the last move.
    pub detail: String,
    /// When it came into its state.
    pub moved: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;
    use reveille_core::identity::RegisteredToken;
    use reveille_core::{AppKey, Environment, Provider};

    #[test]
    fn neither_words_nor_tokens_are_in_what_a_log_may_show() {
        let at = Timestamp::from_millis(1);
        let user: Aor = "bob@contoso.com".parse().unwrap();
        let message = StoredMessage {
            id: MessageId::from_u128(1),
            to: user.clone(),
            from: user.clone(),
            content_type: "text/plain".into(),
            body: b"the secret words".to_vec(),
            conversation: "c".into(),
            taken: at,
            expires: at,
        };
        let token = |text: &str| DeviceToken::new(text);
        let app = AppKey { provider: Provider::Apns, app: "org.example".into(), environment: Environment::Sandbox };
        let device = DeviceRecord {
            user,
            device: "phone".into(),
            identity: Some(PushIdentity {
                id: IdentityId::from_u128(1),
                app,
                message: Some(RegisteredToken { token: token("the-secret-token"), registered: at }),
                voip: None,
                generation: 1,
                dead: Vec::new(),
                buried: Vec::new(),
            }),
            dead_tokens: vec![token("the-secret-dead-token")],
            user_agent: String::new(),
            last_registered: at,
            session_expires: at,
            suspended_since: None,
            last_push: None,
        };
        let shown = format!("{:?} {:?}", HomeChange::KeepMessage(message), HomeChange::PutDevice(device));
        assert!(!shown.contains("secret") && !shown.contains("115, 101, 99"), "{shown}");
        assert!(shown.contains("body_bytes: 16"), "{shown}");
    }
}
