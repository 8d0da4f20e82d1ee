//! What is allowed, and will not work: sentences for status pages and checks, each with the record it is about.

use super::{Scope, Setting, Snapshot, VerificationLevel};
use crate::names::SipDomain;

impl Snapshot {
    /// What an administrator should look at: settings that contradict nothing and yet break the push road.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        let mut named: Vec<SipDomain> = Vec::new();
        let mut any_on = false;
        for row in self.rows() {
            match &row.setting {
                Setting::McxConfiguration(record) => {
                    named.extend(record.push_address().map(|address| address.domain().clone()));
                }
                Setting::PushNotificationConfiguration(record) => any_on |= record.any_on(),
                _ => {}
            }
        }
        named.sort();
        named.dedup();
        for domain in &named {
            self.push_domain(domain, any_on, &mut warnings);
        }
        self.gates(any_on, &mut warnings);
        if any_on && !self.access_edge().allow_federated_users {
            warnings.push(
                "a push provider is switched on and federation is off, so that no push leaves: \
                 Set-CsAccessEdgeConfiguration -AllowFederatedUsers $True"
                    .into(),
            );
        }
        warnings
    }

    /// What keeps all users of a scope from being woken, and the test from passing, while push is on.
    fn gates(&self, any_on: bool, warnings: &mut Vec<String>) {
        for row in self.rows().filter(|_| any_on) {
            match &row.setting {
                // A policy that is granted is meant for those who have it.
                Setting::MobilityPolicy(record)
                    if !record.permits_push() && !matches!(record.identity, Scope::Tag(_)) =>
                {
                    warnings.push(format!(
                        "a push provider is switched on, and MobilityPolicy \"{0}\" lets nobody be woken: \
                         Set-CsMobilityPolicy -Identity {0} -EnableMobility $True -EnablePushNotifications $True",
                        record.identity
                    ));
                }
                Setting::ImFilterConfiguration(record) if record.rejects_push_test() => {
                    let prefixes: Vec<_> = record.offending_prefixes().map(|it| format!("\"{it}\"")).collect();
                    warnings.push(format!(
                        "ImFilterConfiguration \"{0}\" blocks links, and the push test is rejected for it: \
                         Set-CsImFilterConfiguration -Identity {0} -Prefixes @{{Remove={1}}}",
                        record.identity,
                        prefixes.join(",")
                    ));
                }
                _ => {}
            }
        }
    }

    /// What stands in the way of push requests to one domain.
    fn push_domain(&self, domain: &SipDomain, any_on: bool, warnings: &mut Vec<String>) {
        let edge = self.access_edge();
        if self.is_blocked(domain) {
            warnings.push(format!(
                "push requests go to {domain}, which is blocked: Remove-CsBlockedDomain -Identity {domain}"
            ));
        }
        let record = self.allowed_domain(domain);
        let found_otherwise = edge.enable_partner_discovery || edge.default_route().is_some();
        if any_on && record.is_none() && !found_otherwise {
            warnings.push(format!(
                "push requests go to {domain}, which is not an allowed domain: New-CsAllowedDomain -Identity {domain}"
            ));
        }
        // lync.md §3.3: only what a contact sends passes then, and a push service is nobody's contact.
        let level = record.and_then(|record| record.verification_level);
        if level == Some(VerificationLevel::AlwaysUnverifiable) {
            warnings.push(format!(
                "AllowedDomain \"{domain}\" is AlwaysUnverifiable and carries push feedback, which is nobody's contact: \
                 Set-CsAllowedDomain -Identity {domain} -VerificationLevel UseSourceVerification"
            ));
        }
        for carrier in self.carriers().filter(|carrier| carrier.level == VerificationLevel::AlwaysUnverifiable) {
            if record.is_some_and(|record| record.proxy_fqdn.is_none()) {
                warnings.push(format!(
                    "the provider \"{}\" is AlwaysUnverifiable and may carry {domain}, whose push feedback is nobody's \
                     contact: choose UseSourceVerification for it",
                    carrier.identity
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::*;

    fn snapshot(rows: &[&str]) -> Snapshot {
        Snapshot::of(rows.iter().map(|row| serde_json::from_str(row).unwrap())).unwrap()
    }

    #[test]
    fn what_breaks_the_push_road_is_said_with_its_remedy() {
        let mcx = r#"{"Kind":"McxConfiguration","PushNotificationProxyUri":"sip:push@push.example.net"}"#;
        let push = r#"{"Kind":"PushNotificationConfiguration","EnableApplePushNotificationService":true}"#;
        let on = r#"{"Kind":"AccessEdgeConfiguration","AllowFederatedUsers":true}"#;
        let allowed = r#"{"Kind":"AllowedDomain","Identity":"push.example.net"}"#;
        let doubted =
            r#"{"Kind":"AllowedDomain","Identity":"push.example.net","VerificationLevel":"AlwaysUnverifiable"}"#;
        let provider = r#"{"Kind":"HostingProvider","Identity":"Net","ProxyFqdn":"p.example","Enabled":true,"VerificationLevel":"AlwaysUnverifiable"}"#;
        for (rows, parts) in [
            (&[mcx, push, on, allowed][..], &[][..]),
            (&[mcx, push, allowed], &["-AllowFederatedUsers $True"]),
            (&[mcx, push, on], &["New-CsAllowedDomain -Identity push.example.net"]),
            (&[mcx, push, on, doubted], &["AllowedDomain \"push.example.net\" is AlwaysUnverifiable"]),
            (&[mcx, push, on, allowed, provider], &["the provider \"Net\" is AlwaysUnverifiable"]),
            (
                &[mcx, push, on, allowed, r#"{"Kind":"MobilityPolicy","EnablePushNotifications":false}"#],
                &["lets nobody"],
            ),
            (&[mcx, push, on, allowed, r#"{"Kind":"MobilityPolicy","Identity":"tag:x","EnableMobility":false}"#], &[]),
            (
                &[mcx, push, on, allowed, r#"{"Kind":"ImFilterConfiguration","Identity":"site:R","Action":"Block"}"#],
                &["-Identity site:R -Prefixes @{Remove=\"http:\",\"https:\"}"],
            ),
            (&[mcx, on, r#"{"Kind":"BlockedDomain","Identity":"push.example.net"}"#], &["Remove-CsBlockedDomain"]),
        ] {
            let warnings = snapshot(rows).warnings();
            assert_eq!(warnings.len(), parts.len(), "{warnings:?}");
            for (warning, part) in warnings.iter().zip(parts) {
                assert!(warning.contains(part), "{warning}");
            }
        }
    }
}
