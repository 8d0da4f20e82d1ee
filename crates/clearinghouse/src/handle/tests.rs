//! Handles are opened for whom they were sealed, under keys that come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reveille_core::{Environment, Provider};
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_P256_HKDF_SHA256_AES_128;
use rustls::crypto::hpke::{EncapsulatedSecret, Hpke as _, HpkePrivateKey};

use super::*;

const DAY: Duration = Duration::from_secs(86_400);
const BEGUN: u64 = 1_700_000_000_000;

struct Turned(AtomicU64);

impl Clock for Turned {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

impl Turned {
    fn pass(&self, span: Duration) {
        self.0.fetch_add(span.as_millis() as u64, Ordering::SeqCst);
    }
}

/// A folder that goes with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("reveille-handles-{:016x}", rand::random::<u64>()));
        Self(folder)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

struct World {
    folder: Scratch,
    clock: Arc<Turned>,
    handles: Handles,
}

fn world() -> World {
    let (folder, clock) = (Scratch::new(), Arc::new(Turned(AtomicU64::new(BEGUN))));
    let at = Folder { path: folder.0.clone(), keep: 90 * DAY };
    let handles = Handles::read(at, Arc::clone(&clock) as _).expect("a folder that is not there yet has no keys");
    World { folder, clock, handles }
}

impl World {
    fn open(&self, origin: &str, to: &To) -> Result<String, Unopened> {
        let token = self.handles.open(&domain(origin), to, Channel::Message, self.clock.now());
        token.map(|token| token.expose().to_owned())
    }

    /// Seals as a device does: with what is published, by a program that shares nothing with the one that opens.
    fn seal(&self, origin: &str, token: &str) -> To {
        let bound = reveille_sim::handle::Bound { origin, ..BOUND };
        let handle = reveille_sim::handle::seal(&self.handles.published(), bound, token).expect("a key is published");
        to(&handle)
    }
}

const BOUND: reveille_sim::handle::Bound<'static> = reveille_sim::handle::Bound {
    provider: "apns",
    app: "org.example.app",
    environment: "production",
    origin: "contoso.com",
};

fn to(handle: &str) -> To {
    To {
        provider: Provider::Apns,
        app: "org.example.app".into(),
        environment: Environment::Production,
        token: DeviceToken::new(handle),
    }
}

fn domain(text: &str) -> SipDomain {
    text.parse().expect("a domain")
}

fn bytes(hex: &str) -> Vec<u8> {
    let pair = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal digits");
    (0..hex.len()).step_by(2).map(pair).collect()
}

const TOKEN: &str = "00fc13adff785122b4ad28809a3420982341241421348097878e577c991de8f0";

/// RFC 9180 Appendix A.3.1, sequence number 0. Appendix A has no P-256 with AES-256-GCM; this suite differs from ours in
/// the length of the AEAD's key and in nothing else.
#[test]
fn the_suite_next_to_ours_opens_the_vector_of_the_rfc() {
    let secret = bytes("f3ce7fdae57e1a310d87f1ebbde6f328be0a99cdbcadf4d6589cf29de4b8ffd2");
    let enc = bytes(concat!(
        "04a92719c6195d5085104f469a8b9814d5838ff72b60501e2c4466e5e67b325ac9",
        "8536d7b61a1af4b78e5b7f951c0900be863c403ce65c9bfcb9382657222d18c4"
    ));
    let ciphertext = bytes(concat!(
        "5ad590bb8baa577f8619db35a36311226a896e7342a6d836d8b7bcd2f20b6c7f",
        "9076ac232e3ab2523f39513434"
    ));
    let opened = DH_KEM_P256_HKDF_SHA256_AES_128.open(
        &EncapsulatedSecret(enc),
        &bytes("4f6465206f6e2061204772656369616e2055726e"),
        b"Count-0",
        &ciphertext,
        &HpkePrivateKey::from(secret),
    );
    assert_eq!(opened.expect("the vector opens"), b"Beauty is truth, truth beauty");
}

/// Sealed by pyhpke 0.6.5, another program on another library, in our suite and our form.
#[test]
fn a_handle_that_another_program_sealed_is_opened() {
    let world = world();
    std::fs::create_dir_all(&world.folder.0).unwrap();
    let file = serde_json::json!({
        "made_ms": BEGUN,
        "public": "BBmxxH5OZdj4AiOe7oYQ9KJbHNeJJC-HgYRy11wOoIrV_HXt2DgkrKXl0pHnwZwK_Y66j1CYWHHPv566txxpQrs",
        "secret": "1jWwGG5mZogaufZ8M4PEyugDU0MvYZKMTeHZJnM4ZrI",
    });
    let path = world.folder.0.join("from-python.key");
    std::fs::write(&path, file.to_string()).unwrap();
    set_mode(&path, 0o600);
    let handle = concat!(
        "rvh1.b2947bab3726ffa5.BCWHwwMuK6CzWRbSjSJZWxa5w9-ou5ogAnbXBhCJdV5ezjNJvgi4uVBbT7UkDpcQZjFYXduhU4REy0ZOMzPiZyR3",
        "WDGJ3x6tX92402coFVt0PUrv0ZEjSH9hBeO2kpLyJmjyhc3GaFQXyB_WKMTJoZ7XkqGFyyh0DJb4pcWoq4DLPWqTooXURRYzIBsz9HvlHA"
    );
    world.handles.reread().expect("the file is a key");
    assert_eq!(world.open("contoso.com", &to(handle)), Ok(TOKEN.to_owned()));
}

#[test]
fn a_handle_opens_for_its_organisation_and_app_and_for_nobody_else() {
    let world = world();
    world.handles.make_key().unwrap();
    let sealed = world.seal("contoso.com", TOKEN);
    assert!(is_handle(&sealed.token) && !sealed.token.expose().contains(TOKEN));
    for _ in 0..2 {
        // The second time from memory, which must not be asked by others either.
        assert_eq!(world.open("contoso.com", &sealed), Ok(TOKEN.to_owned()));
        assert_eq!(world.open("fabrikam.com", &sealed), Err(Unopened::NotYours));
    }
    for other in [
        To { app: "org.example.other".into(), ..sealed.clone() },
        To { environment: Environment::Sandbox, ..sealed.clone() },
        To { provider: Provider::Fcm, ..sealed.clone() },
    ] {
        assert_eq!(world.open("contoso.com", &other), Err(Unopened::NotYours), "{other:?}");
    }
    let text = sealed.token.expose();
    let last = if text.ends_with('A') { 'Q' } else { 'A' };
    let damaged = format!("{}{last}{last}{last}", &text[..text.len() - 3]);
    assert!(world.open("contoso.com", &to(&damaged)).is_err());
    assert_eq!(world.open("contoso.com", &to("rvh1.what")), Err(Unopened::Malformed));
}

#[test]
fn what_is_in_a_handle_must_be_a_token() {
    let world = world();
    world.handles.make_key().unwrap();
    for inner in ["", "two words", "caf\u{e9}", "rvh1.b2947bab3726ffa5.AAAA", "line\nline"] {
        let outcome = world.open("contoso.com", &world.seal("contoso.com", inner));
        assert_eq!(outcome, Err(Unopened::Malformed), "{inner:?}");
    }
}

#[test]
fn an_old_key_opens_until_it_retires_and_its_end_is_told_while_handles_come() {
    let world = world();
    let first = world.handles.make_key().unwrap();
    let sealed = world.seal("contoso.com", TOKEN);
    world.clock.pass(DAY);
    let second = world.handles.make_key().unwrap();
    assert_eq!(world.handles.keys().iter().map(|key| key.id).collect::<Vec<_>>(), [second.id, first.id]);
    assert!(world.seal("contoso.com", TOKEN).token.expose().contains(&second.id.to_string()), "the newest seals");
    assert!(world.open("contoso.com", &sealed).is_ok());
    assert!(world.handles.ending(world.clock.now()).is_empty(), "there is time yet");

    world.clock.pass(85 * DAY);
    assert!(world.handles.ending(world.clock.now()).is_empty(), "nothing came lately");
    assert!(world.open("contoso.com", &sealed).is_ok());
    let ending = world.handles.ending(world.clock.now());
    assert_eq!(ending.iter().map(|key| (key.id, key.opened)).collect::<Vec<_>>(), [(first.id, 2)]);
    assert!(world.handles.published().contains(&first.id.to_string()));

    world.clock.pass(5 * DAY);
    assert_eq!(world.open("contoso.com", &sealed), Err(Unopened::KeyGone), "though it was opened before");
    assert_eq!(world.handles.keys()[1].phase, Phase::Retired);
    assert!(!world.handles.published().contains(&first.id.to_string()));
}

#[test]
fn a_removed_key_opens_nothing_and_the_one_that_seals_stays() {
    let world = world();
    let first = world.handles.make_key().unwrap().id;
    let sealed = world.seal("contoso.com", TOKEN);
    assert!(world.open("contoso.com", &sealed).is_ok());
    assert!(matches!(world.handles.remove_key(first), Err(KeyFault::InUse { .. })));
    world.clock.pass(DAY);
    world.handles.make_key().unwrap();
    world.handles.remove_key(first).unwrap();
    assert_eq!(world.open("contoso.com", &sealed), Err(Unopened::KeyGone));
    assert!(matches!(world.handles.remove_key(first), Err(KeyFault::Unknown { .. })));
}

#[test]
fn a_clearing_house_without_keys_takes_no_handle_for_a_token() {
    let world = world();
    world.handles.make_key().unwrap();
    let sealed = world.seal("contoso.com", TOKEN);
    let none = Handles::none(Arc::clone(&world.clock) as _);
    assert_eq!(none.open(&domain("contoso.com"), &sealed, Channel::Voip, world.clock.now()), Err(Unopened::KeyGone));
    assert!(matches!(none.make_key(), Err(KeyFault::NoFolder)));
}

#[test]
fn a_key_file_is_private_and_a_bad_one_changes_nothing() {
    let world = world();
    let made = world.handles.make_key().unwrap();
    let path = PathBuf::from(&made.file);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let sealed = world.seal("contoso.com", TOKEN);
    let good = std::fs::read_to_string(&path).unwrap();

    set_mode(&path, 0o640);
    assert!(matches!(world.handles.reread(), Err(KeyFault::Open { mode: 0o640, .. })));
    set_mode(&path, 0o600);
    let other = world.handles.make_key().unwrap();
    let half = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap()["secret"].clone();
    let theirs = std::fs::read_to_string(&other.file).unwrap();
    let mixed = good.replace(half(&good).as_str().unwrap(), half(&theirs).as_str().unwrap());
    for bad in ["", "{}", &mixed, &good.replace("\"made_ms\"", "\"made\"")] {
        std::fs::write(&path, bad).unwrap();
        let said = world.handles.reread().expect_err(bad).to_string();
        assert!(said.contains("is no handle key"), "{said}");
        assert!(!said.contains(half(&good).as_str().unwrap()), "{said}");
    }
    assert_eq!(world.open("contoso.com", &sealed), Ok(TOKEN.to_owned()), "the keys that were read are still in use");
}

fn set_mode(path: &std::path::Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("the file is ours");
}
