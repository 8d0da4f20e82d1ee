//! `CsPushHandleKey`: the keys that devices seal their tokens with, so that organisations never learn them.

use crate::call::Call;
use crate::cmdlet::{About, Area, Cmdlet, Name, Outcome, Parameter, Pipeline, Running, Verb};
use crate::cmdlets::admin_account::what_if;
use crate::desk::Desk;
use crate::family::fits;
use crate::kind::Kind;
use crate::ports::handle_keys::HandleKey;
use crate::value::Object;

const NOUN: &str = "CsPushHandleKey";
const OUTPUTS: &[&str] =
    &["Identity", "State", "Made", "Retires", "DaysLeft", "Opened", "LastOpened", "PublicKey", "File"];

/// `Get-CsPushHandleKey`
pub(super) struct Get;

impl Cmdlet for Get {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Get, NOUN),
                summary: "Shows the keys that devices seal their tokens with",
                description: "The newest key is sealing: devices are told to use it. The ones before it are opening, \
                              until they retire keep_days ([clearinghouse.handles] in reveille.toml) after their \
                              successor was made; a push to a handle under a retired key is refused as \
                              handle-key-gone. Opened counts the pushes whose handle the key has opened since the \
                              clearing house has started. The secret halves are never shown.",
                parameters: &[
                    Parameter::new("Identity", Kind::Text, "One key, or those that fit a pattern with *")
                        .at(1)
                        .from(Pipeline::ByName),
                    Parameter::new("Document", Kind::Switch, "Shows what is published for devices instead, as JSON"),
                ],
                outputs: OUTPUTS,
                area: Area::Topology,
                examples: &[(
                    "Get-CsPushHandleKey -Document | Select-Object -ExpandProperty Document",
                    "What apps seal by; the clearing house publishes the same.",
                )],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let keys = desk.ports.handle_keys()?;
            if call.is_on("Document") {
                return Ok(Outcome::of([Object::new("PushHandleKeyDocument").with("Document", keys.published())]));
            }
            let wanted = call.text("Identity").unwrap_or("*");
            let now = desk.clock.now();
            let found = keys.keys();
            Ok(Outcome::of(found.iter().filter(|key| fits(wanted, &key.id)).map(|key| object(key, now))))
        })
    }
}

/// `New-CsPushHandleKey`
pub(super) struct New;

impl Cmdlet for New {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::New, NOUN),
                summary: "Makes a key for devices to seal their tokens with; the one before it retires in time",
                description: "The key is written into a file of its own in the folder that [clearinghouse.handles] in \
                              reveille.toml names, and is published at once. What was sealed with older keys is opened \
                              for keep_days more. Back the folder up: without its keys no handle can be opened.",
                outputs: OUTPUTS,
                area: Area::Topology,
                changes: true,
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let keys = desk.ports.handle_keys()?;
            if call.what_if {
                return Ok(what_if(call, "a new key"));
            }
            let made = keys.make()?;
            Ok(Outcome::of([object(&made, desk.clock.now())]))
        })
    }
}

/// `Remove-CsPushHandleKey`
pub(super) struct Remove;

impl Cmdlet for Remove {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Remove, NOUN),
                summary: "Removes a key for handles and its file: what was sealed with it is refused at once",
                description: "For a key that others have learnt, and for retired ones. The key that seals cannot be \
                              removed: New-CsPushHandleKey makes its successor first.",
                parameters: &[
                    Parameter::new("Identity", Kind::Text, "The key, as Get-CsPushHandleKey shows it")
                        .required()
                        .at(1)
                        .from(Pipeline::ByName),
                    Parameter::new("Force", Kind::Switch, "Does not ask"),
                ],
                area: Area::Topology,
                changes: true,
                asks: true,
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let (keys, id) = (desk.ports.handle_keys()?, call.text("Identity").unwrap_or_default());
            if call.what_if {
                return Ok(what_if(call, id));
            }
            let removed = keys.remove(id)?;
            let verbose = vec![format!("{} is gone; it had opened {} handles.", removed.id, removed.opened)];
            Ok(Outcome { verbose, ..Outcome::default() })
        })
    }
}

fn object(key: &HandleKey, now: reveille_core::Timestamp) -> Object {
    let left = key.retires.map(|at| i64::try_from(at.since(now).as_secs() / 86_400).unwrap_or(i64::MAX));
    Object::new("PushHandleKey")
        .with("Identity", key.id.as_str())
        .with("State", key.state)
        .with("Made", key.made.to_string())
        .with("Retires", key.retires.map(|at| at.to_string()))
        .with("DaysLeft", left)
        .with("Opened", i64::try_from(key.opened).unwrap_or(i64::MAX))
        .with("LastOpened", key.last_opened.map(|at| at.to_string()))
        .with("PublicKey", key.public.as_str())
        .with("File", key.file.as_str())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use parking_lot::Mutex;

    use super::*;
    use crate::cmdlets::fakes::{NOW, column, desk, desk_of, run};
    use crate::failure::{Category, Failure};
    use crate::ports::Ports;
    use crate::ports::handle_keys::HandleKeys;

    /// Keys that are numbered as they are made.
    #[derive(Default)]
    struct Numbered(Mutex<Vec<HandleKey>>);

    impl HandleKeys for Numbered {
        fn keys(&self) -> Vec<HandleKey> {
            self.0.lock().iter().rev().cloned().collect()
        }

        fn make(&self) -> Result<HandleKey, Failure> {
            let mut keys = self.0.lock();
            for older in keys.iter_mut().filter(|key| key.retires.is_none()) {
                older.state = "opening";
                older.retires = Some(NOW.plus(Duration::from_secs(90 * 86_400)));
            }
            let id = format!("{:016x}", keys.len());
            keys.push(HandleKey {
                id,
                state: "sealing",
                made: NOW,
                retires: None,
                opened: 3,
                last_opened: Some(NOW),
                public: "BA".into(),
                file: "keys/x.key".into(),
            });
            Ok(keys[keys.len() - 1].clone())
        }

        fn remove(&self, id: &str) -> Result<HandleKey, Failure> {
            let mut keys = self.0.lock();
            match keys.iter().position(|key| key.id == id) {
                Some(at) => Ok(keys.remove(at)),
                None => Err(Failure::new(Category::ObjectNotFound, "ObjectNotFound", "no such key").of(id)),
            }
        }

        fn published(&self) -> String {
            r#"{"keys":[]}"#.into()
        }
    }

    #[tokio::test]
    async fn keys_are_made_shown_and_removed() {
        let desk = desk_of(Ports { handle_keys: Some(Arc::new(Numbered::default())), ..Ports::default() });
        for _ in 0..2 {
            run(&desk, "New-CsPushHandleKey", &[]).await.unwrap();
        }
        let shown = run(&desk, "Get-CsPushHandleKey", &[]).await.unwrap();
        assert_eq!(column(&shown, "State"), ["sealing", "opening"]);
        assert_eq!(column(&shown, "DaysLeft"), ["", "90"]);
        let document = run(&desk, "Get-CsPushHandleKey", &[("Document", "$true")]).await.unwrap();
        assert_eq!(column(&document, "Document"), [r#"{"keys":[]}"#]);
        let one = [("Identity", "0000000000000000"), ("Force", "$true")];
        run(&desk, "Remove-CsPushHandleKey", &one).await.unwrap();
        let failure = run(&desk, "Remove-CsPushHandleKey", &one).await.unwrap_err();
        assert_eq!(failure.category, Category::ObjectNotFound);
    }

    #[tokio::test]
    async fn whoever_has_no_clearing_house_says_who_has() {
        let failure = run(&desk(None, None), "New-CsPushHandleKey", &[]).await.unwrap_err();
        assert_eq!(&*failure.id, "NotAClearingHouse");
    }
}
