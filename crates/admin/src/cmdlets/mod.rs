//! The catalogue: every cmdlet, one file per noun. To add one, write its file and list it here.

mod access_edge_configuration;
mod admin_account;
mod admin_audit;
mod admin_password;
mod admin_role;
mod admin_token;
mod allowed_domain;
mod autodiscover_configuration;
mod blocked_domain;
mod certificate;
#[cfg(test)]
mod fakes;
mod federation_partner;
mod health_monitoring_configuration;
mod hosting_provider;
mod im_filter_configuration;
mod mcx_configuration;
mod mobility_policy;
mod policy_grant;
mod probe_result;
mod probe_schedule;
mod public_provider;
mod push_account;
mod push_account_secret;
mod push_app;
mod push_brake;
mod push_credential;
mod push_device;
mod push_eligibility;
mod push_handle_key;
mod push_lane;
mod push_notification_configuration;
mod push_quota;
mod push_reason;
mod push_recipe;
mod push_trace;
mod push_trouble;
mod remedy;
mod service_status;
mod setting_history;
mod test_av_edge;
mod test_federated_partner;
mod test_mcx_conference;
mod test_mcx_im;
mod test_mcx_push_notification;

use crate::cmdlet::Cmdlet;

pub(crate) use admin_account::unavailable;
pub(crate) use remedy::quoted;

/// Every cmdlet, by noun.
pub const CMDLETS: &[&dyn Cmdlet] = &[
    &access_edge_configuration::Get,
    &access_edge_configuration::Set,
    &admin_account::Get,
    &admin_account::New,
    &admin_account::Remove,
    &admin_account::Set,
    &admin_audit::Get,
    &admin_password::Set,
    &admin_role::Get,
    &admin_role::New,
    &admin_role::Remove,
    &admin_role::Set,
    &admin_role::Update,
    &admin_token::Get,
    &admin_token::GetSession,
    &admin_token::New,
    &admin_token::Remove,
    &admin_token::RemoveSession,
    &allowed_domain::Get,
    &allowed_domain::New,
    &allowed_domain::Remove,
    &allowed_domain::Set,
    &autodiscover_configuration::Get,
    &autodiscover_configuration::New,
    &autodiscover_configuration::Remove,
    &autodiscover_configuration::Set,
    &blocked_domain::Get,
    &blocked_domain::New,
    &blocked_domain::Remove,
    &blocked_domain::Set,
    &certificate::Get,
    &federation_partner::Get,
    &health_monitoring_configuration::Get,
    &health_monitoring_configuration::New,
    &health_monitoring_configuration::Remove,
    &health_monitoring_configuration::Set,
    &hosting_provider::Disable,
    &hosting_provider::Enable,
    &hosting_provider::Get,
    &hosting_provider::New,
    &hosting_provider::Remove,
    &hosting_provider::Set,
    &im_filter_configuration::Get,
    &im_filter_configuration::New,
    &im_filter_configuration::Remove,
    &im_filter_configuration::Set,
    &mcx_configuration::Get,
    &mcx_configuration::New,
    &mcx_configuration::Remove,
    &mcx_configuration::Set,
    &mobility_policy::Get,
    &mobility_policy::Grant,
    &mobility_policy::New,
    &mobility_policy::Remove,
    &mobility_policy::Set,
    &policy_grant::Get,
    &probe_result::Get,
    &probe_schedule::Get,
    &probe_schedule::Remove,
    &probe_schedule::Set,
    &public_provider::Disable,
    &public_provider::Enable,
    &public_provider::Get,
    &public_provider::New,
    &public_provider::Remove,
    &public_provider::Set,
    &push_account::Get,
    &push_account::New,
    &push_account::Remove,
    &push_account::Set,
    &push_account_secret::New,
    &push_account_secret::Remove,
    &push_app::Get,
    &push_app::New,
    &push_app::Remove,
    &push_app::Set,
    &push_brake::Clear,
    &push_brake::Get,
    &push_brake::Set,
    &push_credential::Get,
    &push_credential::Test,
    &push_device::Get,
    &push_device::Remove,
    &push_eligibility::Test,
    &push_handle_key::Get,
    &push_handle_key::New,
    &push_handle_key::Remove,
    &push_lane::Get,
    &push_notification_configuration::Get,
    &push_notification_configuration::New,
    &push_notification_configuration::Remove,
    &push_notification_configuration::Set,
    &push_quota::Get,
    &push_quota::New,
    &push_quota::Remove,
    &push_quota::Set,
    &push_reason::Get,
    &push_recipe::Enable,
    &push_recipe::Get,
    &push_trace::Get,
    &service_status::Get,
    &setting_history::Get,
    &test_av_edge::Test,
    &test_federated_partner::Test,
    &test_mcx_conference::Test,
    &test_mcx_im::Test,
    &test_mcx_push_notification::Test,
];

/// Names that the documents misspell, and what they mean (seed 002).
pub const MISSPELT: &[(&str, &str)] =
    &[("Set-McxConfiguration", "Set-CsMcxConfiguration"), ("Test-CsMcxConfiguration", "Test-CsMcxPushNotification")];

/// The cmdlet of that name, in any case.
pub fn find(name: &str) -> Option<&'static dyn Cmdlet> {
    CMDLETS.iter().copied().find(|cmdlet| cmdlet.about().name.is(name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_cmdlet_has_a_name_of_its_own_and_says_what_it_is_for() {
        let mut names = BTreeSet::new();
        for cmdlet in CMDLETS {
            let about = cmdlet.about();
            assert!(names.insert(about.name), "{} twice", about.name);
            assert!(!about.summary.is_empty() && !about.summary.ends_with('.'), "{}", about.name);
            for parameter in about.parameters {
                assert!(!parameter.help.is_empty(), "{} -{}", about.name, parameter.name);
                assert!(
                    parameter.sets.iter().all(|set| about.sets.contains(set)),
                    "{} -{}",
                    about.name,
                    parameter.name
                );
            }
        }
        for (_, meant) in MISSPELT {
            assert!(find(meant).is_some() || names.len() < 57, "{meant}");
        }
    }
}
