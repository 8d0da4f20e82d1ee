//! What the cmdlets about devices and pushes have in common: whom an administrator means, and the complete command that
//! mends what keeps a push from going.

use reveille_core::settings::{Scope, Snapshot};
use reveille_core::{Aor, AppKey, PushId, Reason};

use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::ports::devices::Devices;

/// Where a home stands: what remedies are written with.
pub(super) struct Place<'a> {
    /// The settings that hold.
    pub(super) settings: &'a Snapshot,
    /// The home's site.
    pub(super) site: &'a str,
    /// The home's own name.
    pub(super) server: &'a str,
    /// The edge that its push requests leave through.
    pub(super) edge: &'a str,
}

impl Place<'_> {
    /// What mends `reason` for this user, with every value in place that is known.
    pub(super) fn remedy(&self, reason: Reason, user: &Aor, app: Option<&AppKey>, push: Option<PushId>) -> String {
        let policy = self.settings.mobility_policy_of(user, self.site).from;
        if let (Reason::PolicyForbids, Some(Scope::Tag(_))) = (reason, &policy) {
            // Whoever else was granted it keeps it as it is.
            return format!("Grant-CsMobilityPolicy -Identity {user} -PolicyName $null");
        }
        let switches = self.settings.push_notification_at(self.site).from;
        let name = |scope: Option<reveille_core::settings::Scope>| {
            scope.map_or_else(|| "global".to_owned(), |scope| quoted(&scope.to_string()))
        };
        let (policy, switches) = (name(policy), name(switches));
        let publisher = self.settings.mcx_at(self.site, self.server).record.push_address();
        let publisher = publisher.map(|address| address.domain().to_string());
        let app_name = app.map(|app| quoted(&app.app));
        let push = push.map(|push| push.to_string());
        let known = [
            ("APP", app_name.as_deref()),
            ("DOMAIN", publisher.as_deref()),
            ("EDGE", Some(self.edge)),
            ("ORIGIN", Some(user.domain().as_str())),
            ("POLICY", Some(policy.as_str())),
            ("PUSH", push.as_deref()),
            ("SCOPE", Some(switches.as_str())),
            ("SWITCH", app.map(|app| app.provider.switch())),
        ];
        let known: Vec<_> = known.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        reason.remedy_with(&known)
    }
}

/// The user of that name.
pub(super) fn user(home: &dyn Devices, text: &str) -> Result<Aor, Failure> {
    home.named(text).ok_or_else(|| {
        let message = format!(
            "There is no user \"{text}\" at this home. A user is named as in its users file, or as sip:name@domain in a \
             domain of this home."
        );
        Failure::new(Category::ObjectNotFound, "UserNotFound", message).of(text)
    })
}

/// What is said while home stops.
pub(super) fn stopping() -> Failure {
    Failure::new(Category::ResourceUnavailable, "HomeStopping", "The home is about to stop. Ask again when it runs.")
}

/// What is said when a store cannot be read.
pub(super) fn unread(desk: &Desk, error: &reveille_store::StoreError) -> Failure {
    let message = format!("The store cannot be read at {}: {error}.", desk.clock.now());
    Failure::new(Category::ResourceUnavailable, "StoreFailed", message)
}

/// What another server has said, as it is kept with a push (`504 1014;reason="…";source="…";advice="…"`), as a sentence with
/// its advice. Anything else stays as it is.
pub(super) fn said(detail: &str) -> String {
    let Some((status, rest)) = detail.split_once(' ').filter(|(status, _)| status.parse::<u16>().is_ok()) else {
        return detail.to_owned();
    };
    let parameter = |name: &str| {
        let begin = rest.find(&format!(";{name}=\""))? + name.len() + 3;
        rest[begin..].split('"').next().filter(|value| !value.is_empty())
    };
    let Some(reason) = parameter("reason") else { return detail.to_owned() };
    let source = parameter("source").map(|source| format!(" from {source}")).unwrap_or_default();
    let advice = parameter("advice").map(|advice| format!("; {advice}")).unwrap_or_default();
    format!("{reason} ({status}{source}){advice}")
}

/// As an argument on a line of the shell.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    match text.chars().all(plain) && !text.is_empty() {
        true => text.to_owned(),
        // The shell's own escape is the back-tick; a name with one, or with a quotation mark, is doubled in single quotes.
        false => format!("'{}'", text.replace('\'', "''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_another_server_has_said_reads_as_a_sentence() {
        for (detail, expected) in [
            (
                r#"504 1014;reason="edge.nowhere.example has no address";source="edge.contoso.com";fault="peer";advice="publish it""#,
                "edge.nowhere.example has no address (504 from edge.contoso.com); publish it",
            ),
            (r#"403 90109;reason="not granted""#, "not granted (403)"),
            ("503 Service Unavailable", "503 Service Unavailable"),
            ("Unregistered", "Unregistered"),
            ("", ""),
        ] {
            assert_eq!(said(detail), expected);
        }
    }

    #[test]
    fn a_name_that_the_shell_would_take_apart_is_quoted() {
        for (name, expected) in
            [("org.example.chat", "org.example.chat"), ("a b", "'a b'"), ("it's", "'it''s'"), ("", "''")]
        {
            assert_eq!(quoted(name), expected);
        }
    }
}
