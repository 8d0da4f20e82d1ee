//! The fixtures of `tests/replies`: one provider reply each, and what it must mean.

use std::collections::BTreeMap;

use reveille_core::{Timestamp, Verdict};
use reveille_http2::Fields;
use serde::Deserialize;

use crate::notification::samples::NOW;
use crate::sender::dialect::{Answer, Reply, Then};

/// One file.
#[derive(Deserialize)]
struct Fixture {
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    body: Option<serde_json::Value>,
    means: Means,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Means {
    verdict: String,
    #[serde(default)]
    reason: Box<str>,
    #[serde(default)]
    unprocessed: bool,
    after_secs: Option<u64>,
    since: Option<u64>,
    provider_id: Option<Box<str>>,
    #[serde(default)]
    then: String,
}

impl Means {
    fn reply(self, status: u16) -> Reply {
        let reason = self.reason;
        let verdict = match &*self.verdict {
            "accepted" => Verdict::Accepted,
            "configuration" => Verdict::Configuration { reason },
            "forget" => Verdict::Forget { reason, since: self.since.map(Timestamp::from_millis) },
            "reject" => Verdict::Reject { reason },
            "retry" => Verdict::Retry {
                reason,
                after: self.after_secs.map(std::time::Duration::from_secs),
                unprocessed: self.unprocessed,
            },
            "unknown" => Verdict::Unknown { status, reason },
            other => panic!("{other} is no verdict"),
        };
        let then = match &*self.then {
            "" | "continue" => Then::Continue,
            "retire" => Then::Retire,
            "suspect" => Then::Suspect,
            other => panic!("{other} is nothing that a connection does"),
        };
        Reply { verdict, provider_id: self.provider_id, then }
    }
}

/// Reads every fixture of a provider, compares, and answers the names of the files. The connection is unproven and the
/// credential was minted now.
pub(crate) fn check(provider: &str, decode: impl Fn(&Answer<'_>) -> Reply) -> Vec<String> {
    let folder = format!("{}/tests/replies/{provider}", env!("CARGO_MANIFEST_DIR"));
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let fixture: Fixture = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        let fields: Fields = fixture.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let body = fixture.body.map_or_else(Vec::new, |body| serde_json::to_vec(&body).unwrap());
        let answer = Answer { status: fixture.status, fields: &fields, body: &body, minted: NOW, proven: false };
        assert_eq!(decode(&answer), fixture.means.reply(fixture.status), "{name}");
        names.push(name);
    }
    names
}
