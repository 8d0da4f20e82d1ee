//! Sealed handles at intake: opened once, kept opened, and of use to nobody else.

use reveille_core::Reason;
use reveille_federation::{PushResult, Taken};
use reveille_sim::handle::{Bound, seal};

use super::*;
use crate::handle::{Folder as Keys, Handles};

const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";

/// A house that opens handles, with its keys.
async fn sealing() -> (House, Arc<Handles>) {
    let mut house = House::new().await;
    let keys = Keys { path: house.folder.path().join("keys"), keep: Duration::from_secs(90 * 86_400) };
    let handles = Arc::new(Handles::read(keys, Arc::new(house.clock.clone())).unwrap());
    handles.make_key().unwrap();
    house.intake.open_with(Arc::clone(&handles));
    (house, handles)
}

/// A push to a handle that a device of `origin` has made of its token.
fn sealed(handles: &Handles, origin: &str, number: u128, token: &str) -> PushRequest {
    let bound = Bound { provider: "apns", app: APP, environment: "production", origin };
    let handle = seal(&handles.published(), bound, token).unwrap();
    let to = message(number).to.map(|to| To { token: DeviceToken::new(handle), ..to });
    PushRequest { to, ..message(number) }
}

fn refused(reason: Reason) -> PushResult {
    PushResult::new(Taken::Refused(reason))
}

fn tokens(house: &House) -> Vec<String> {
    house.messages.offered.lock().iter().map(|push| push.token.expose().to_owned()).collect()
}

#[tokio::test]
async fn a_push_to_a_handle_reaches_the_token_in_it() {
    let (house, handles) = sealing().await;
    let push = sealed(&handles, "contoso.com", 1, TOKEN);
    assert_eq!(house.submit("contoso.com", &[push]).await, Ok(vec![PushResult::new(Taken::Journaled)]));
    assert_eq!(tokens(&house), [TOKEN]);
}

#[tokio::test]
async fn a_stolen_handle_is_refused_and_the_rest_of_its_batch_is_not() {
    let (house, handles) = sealing().await;
    let stolen = sealed(&handles, "contoso.com", 1, TOKEN);
    let own = sealed(&handles, "fabrikam.com", 2, "11aa22bb");
    let results = house.submit("fabrikam.com", &[stolen, own, message(3)]).await.unwrap();
    let journaled = PushResult::new(Taken::Journaled);
    assert_eq!(results, [refused(Reason::HandleNotYours), journaled, journaled]);
    assert_eq!(tokens(&house), ["11aa22bb", "token-3"]);
    assert!(house.journal.trace(&domain("fabrikam.com"), id(1)).unwrap().is_none(), "nothing of it is kept");
}

#[tokio::test]
async fn what_was_accepted_is_sent_after_a_restart_though_its_key_is_gone() {
    let (house, handles) = sealing().await;
    let push = sealed(&handles, "contoso.com", 1, TOKEN);
    assert_eq!(house.submit("contoso.com", &[push]).await, Ok(vec![PushResult::new(Taken::Journaled)]));
    drop(handles);
    // The house that begins anew has no keys at all.
    let house = house.restarted().await;
    assert_eq!(tokens(&house), [TOKEN]);
    let unknown = PushRequest { to: sealed_elsewhere().to, ..message(2) };
    assert_eq!(house.submit("contoso.com", &[unknown]).await, Ok(vec![refused(Reason::HandleKeyGone)]));
    assert_eq!(tokens(&house), [TOKEN], "a handle never goes to a provider in place of a token");
}

/// A handle under a key that no house here has.
fn sealed_elsewhere() -> PushRequest {
    let folder = Folder::new();
    let keys = Keys { path: folder.path().join("keys"), keep: Duration::from_secs(1) };
    let handles = Handles::read(keys, Arc::new(Turned(Arc::new(AtomicU64::new(NOON))))).unwrap();
    handles.make_key().unwrap();
    sealed(&handles, "contoso.com", 9, TOKEN)
}

#[tokio::test]
async fn a_device_that_seals_anew_is_still_the_same_device() {
    let (house, handles) = sealing().await;
    let [first, again] = [1, 1].map(|number| sealed(&handles, "contoso.com", number, TOKEN));
    assert_ne!(first.to, again.to, "each sealing makes another handle");
    assert_eq!(house.submit("contoso.com", &[first]).await, Ok(vec![PushResult::new(Taken::Journaled)]));
    assert_eq!(house.submit("contoso.com", &[again]).await, Ok(vec![PushResult::new(Taken::Duplicate)]));
    // Its verdict counts for every handle of it.
    let key = house.messages.keys()[0];
    house.answer(key, Verdict::Forget { reason: "Unregistered".into(), since: None }).await;
    let feedback = house.owed();
    assert_eq!(feedback.len(), 1);
    assert!(!format!("{:?}", feedback[0]).contains(&TOKEN[..16]), "home must not learn the token: {feedback:?}");
    let third = sealed(&handles, "contoso.com", 3, TOKEN);
    assert_eq!(house.submit("contoso.com", &[third]).await, Ok(vec![PushResult::new(Taken::Journaled)]));
    assert_eq!(house.state("contoso.com", id(3)), PushState::NotPushed(Reason::IdentityDead));
}
