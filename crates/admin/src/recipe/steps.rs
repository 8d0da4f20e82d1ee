//! The steps, one function for each kind of record.

use reveille_core::settings::{
    AllowedDomain, HostingProvider, ImFilterConfiguration, McxConfiguration, MobilityPolicy,
    PushNotificationConfiguration, Scope, Setting, SettingRow, Snapshot, VerificationLevel,
};

use super::{Recipe, Route, SERVICES, State, Step};

/// All steps in the documents' order.
pub(super) fn of(recipe: &Recipe, settings: &Snapshot) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Route::Hosted { proxy, name } = &recipe.route {
        steps.push(provider(proxy, name, settings));
    }
    steps.push(domain(recipe, settings));
    steps.extend(
        scoped(settings, "McxConfiguration", Setting::McxConfiguration(McxConfiguration::default())).iter().filter_map(
            |setting| match setting {
                Setting::McxConfiguration(record) => Some(mcx(recipe, record)),
                _ => None,
            },
        ),
    );
    let off = Setting::PushNotificationConfiguration(PushNotificationConfiguration::default());
    steps.extend(scoped(settings, "PushNotificationConfiguration", off).iter().filter_map(|setting| match setting {
        Setting::PushNotificationConfiguration(record) => Some(switches(recipe, record, settings)),
        _ => None,
    }));
    steps.push(federation(settings));
    let policy = Setting::MobilityPolicy(MobilityPolicy::default());
    steps.extend(scoped(settings, "MobilityPolicy", policy).iter().filter_map(|setting| match setting {
        // Who was given a policy of their own may well be meant to be left alone.
        Setting::MobilityPolicy(record) if !matches!(record.identity, Scope::Tag(_)) => Some(permission(record)),
        _ => None,
    }));
    let filter = Setting::ImFilterConfiguration(ImFilterConfiguration::default());
    steps.extend(scoped(settings, "ImFilterConfiguration", filter).iter().filter_map(|setting| match setting {
        Setting::ImFilterConfiguration(record) => Some(links(record)),
        _ => None,
    }));
    steps
}

/// The records of a kind, the global one also where nobody has written it.
fn scoped(settings: &Snapshot, kind: &str, default: Setting) -> Vec<Setting> {
    let global = settings.row(&default.key()).is_none().then_some(default);
    global.into_iter().chain(settings.of_kind(kind).map(|row| row.setting.clone())).collect()
}

fn provider(proxy: &reveille_core::SipDomain, name: &str, settings: &Snapshot) -> Step {
    const NEED: &str = "the publisher's edge is an enabled provider whose word about its users counts";
    let kept = settings.hosting_providers().find(|record| record.proxy_fqdn == *proxy);
    let Some(record) = kept else {
        let level = VerificationLevel::UseSourceVerification;
        let new =
            HostingProvider { enabled: true, verification_level: level, ..HostingProvider::new(name, proxy.clone()) };
        let command = format!(
            "New-CsHostingProvider -Identity \"{name}\" -Enabled $True -ProxyFqdn \"{proxy}\" -VerificationLevel \
             UseSourceVerification"
        );
        let put = Some(Setting::HostingProvider(new));
        return Step::open(State::Missing, format!("HostingProvider {name}"), NEED, "no such provider", (command, put));
    };
    let (identity, title) = (&record.identity, format!("HostingProvider {}", record.identity));
    let doubted = record.verification_level == VerificationLevel::AlwaysUnverifiable;
    if record.enabled && !doubted {
        return Step::done(title, NEED, format!("enabled, {:?}", record.verification_level));
    }
    let mut mended = record.clone();
    mended.enabled = true;
    if doubted {
        mended.verification_level = VerificationLevel::UseSourceVerification;
    }
    let (found, command) = match (record.enabled, doubted) {
        (false, false) => ("disabled", format!("Enable-CsHostingProvider -Identity \"{identity}\"")),
        (enabled, _) => (
            if enabled { "AlwaysUnverifiable" } else { "disabled, AlwaysUnverifiable" },
            format!(
                "Set-CsHostingProvider -Identity \"{identity}\" -Enabled $True -VerificationLevel UseSourceVerification"
            ),
        ),
    };
    Step::open(State::Wrong, title, NEED, found, (command, Some(Setting::HostingProvider(mended))))
}

fn domain(recipe: &Recipe, settings: &Snapshot) -> Step {
    const NEED: &str = "federation with the push service's domain is allowed";
    let (name, title) = (&recipe.domain, format!("AllowedDomain {}", recipe.domain));
    if settings.is_blocked(name) {
        // Whoever blocked it had a reason: a person decides.
        let command = format!("Remove-CsBlockedDomain -Identity {name}");
        return Step::open(State::Wrong, title, NEED, "it is a blocked domain", (command, None));
    }
    let proxy = match &recipe.route {
        Route::Direct(proxy) => Some(proxy.clone()),
        Route::Hosted { .. } | Route::Srv => None,
    };
    let Some(record) = settings.allowed_domain(name) else {
        let edge = proxy.as_ref().map(|proxy| format!(" -ProxyFqdn {proxy}")).unwrap_or_default();
        let command = format!("New-CsAllowedDomain -Identity \"{name}\"{edge}");
        let put = Setting::AllowedDomain(AllowedDomain { proxy_fqdn: proxy, ..AllowedDomain::new(name.clone()) });
        return Step::open(State::Missing, title, NEED, "not on the allow list", (command, Some(put)));
    };
    let way = record.proxy_fqdn.as_ref().map_or_else(|| "found by SRV".to_owned(), |proxy| format!("by {proxy}"));
    let doubted = record.verification_level == Some(VerificationLevel::AlwaysUnverifiable);
    if record.proxy_fqdn == proxy && !doubted {
        return Step::done(title, NEED, format!("allowed, {way}"));
    }
    let mut mended = AllowedDomain { proxy_fqdn: proxy.clone(), ..record.clone() };
    let mut command = format!("Set-CsAllowedDomain -Identity {name}");
    if record.proxy_fqdn != proxy {
        let edge = proxy.map_or_else(|| "$null".to_owned(), |proxy| proxy.to_string());
        command += &format!(" -ProxyFqdn {edge}");
    }
    if doubted {
        mended.verification_level = Some(VerificationLevel::UseSourceVerification);
        command += " -VerificationLevel UseSourceVerification";
    }
    let found = if doubted { format!("allowed, {way}, AlwaysUnverifiable") } else { format!("allowed, {way}") };
    Step::open(State::Wrong, title, NEED, found, (command, Some(Setting::AllowedDomain(mended))))
}

fn mcx(recipe: &Recipe, record: &McxConfiguration) -> Step {
    const NEED: &str = "push requests go to the push service";
    let title = format!("McxConfiguration {}", record.identity);
    let uri = &record.push_notification_proxy_uri;
    if record.push_address().is_some_and(|address| *address.domain() == recipe.domain) {
        return Step::done(title, NEED, uri);
    }
    let wanted = format!("sip:push@{}", recipe.domain);
    let command = format!("Set-CsMcxConfiguration{} -PushNotificationProxyUri \"{wanted}\"", at(&record.identity));
    let put = McxConfiguration { push_notification_proxy_uri: wanted, ..record.clone() };
    Step::open(State::Wrong, title, NEED, uri, (command, Some(Setting::McxConfiguration(put))))
}

fn switches(recipe: &Recipe, record: &PushNotificationConfiguration, settings: &Snapshot) -> Step {
    const NEED: &str = "the push providers are switched on";
    let title = format!("PushNotificationConfiguration {}", record.identity);
    let setting = Setting::PushNotificationConfiguration(record.clone());
    let mut after = crate::family::record(&setting);
    let is_on = |property: &str, record: &crate::family::Record| record.get(property) == Some(&true.into());
    let word = |property: &&str| SERVICES.iter().find(|(_, known)| known == property).map_or("", |(word, _)| word);
    let off: Vec<&str> = recipe.services.iter().copied().filter(|it| !is_on(it, &after)).collect();
    if off.is_empty() {
        let on: Vec<&str> = recipe.services.iter().map(word).collect();
        return Step::done(title, NEED, format!("on: {}", on.join(", ")));
    }
    let words: Vec<&str> = off.iter().map(word).collect();
    let command =
        off.iter().fold(format!("Set-CsPushNotificationConfiguration{}", at(&record.identity)), |line, it| {
            format!("{line} -{it} $True")
        });
    for property in &off {
        after.insert((*property).into(), true.into());
    }
    after.insert("Kind".into(), setting.kind().into());
    let put = serde_json::from_value(after.into()).ok();
    let written: Option<&SettingRow> = settings.row(&setting.key());
    let state = if written.is_some() { State::Wrong } else { State::Missing };
    Step::open(state, title, NEED, format!("off: {}", words.join(", ")), (command, put))
}

fn federation(settings: &Snapshot) -> Step {
    const NEED: &str = "federation is on";
    let mut edge = settings.access_edge();
    if edge.allow_federated_users {
        return Step::done("AccessEdgeConfiguration global", NEED, "on");
    }
    edge.allow_federated_users = true;
    let command = "Set-CsAccessEdgeConfiguration -AllowFederatedUsers $True".to_owned();
    let put = Some(Setting::AccessEdgeConfiguration(edge));
    Step::open(State::Missing, "AccessEdgeConfiguration global", NEED, "off", (command, put))
}

fn permission(record: &MobilityPolicy) -> Step {
    const NEED: &str = "users may be woken";
    let title = format!("MobilityPolicy {}", record.identity);
    if record.permits_push() {
        return Step::done(title, NEED, "permitted");
    }
    let (mut put, mut command) = (record.clone(), format!("Set-CsMobilityPolicy{}", at(&record.identity)));
    let mut found = Vec::new();
    for (name, property) in
        [("EnableMobility", &mut put.enable_mobility), ("EnablePushNotifications", &mut put.enable_push_notifications)]
    {
        if !*property {
            *property = true;
            command += &format!(" -{name} $True");
            found.push(format!("{name} is off"));
        }
    }
    Step::open(State::Wrong, title, NEED, found.join(", "), (command, Some(Setting::MobilityPolicy(put))))
}

fn links(record: &ImFilterConfiguration) -> Step {
    const NEED: &str = "the filter of links does not block http: and https:, which the push test is rejected for";
    let title = format!("ImFilterConfiguration {}", record.identity);
    if !record.rejects_push_test() {
        return Step::done(title, NEED, if record.enabled { format!("{:?}", record.action) } else { "off".into() });
    }
    let offending: Vec<String> = record.offending_prefixes().map(str::to_owned).collect();
    let quoted: Vec<String> = offending.iter().map(|prefix| format!("\"{prefix}\"")).collect();
    let command =
        format!("Set-CsImFilterConfiguration{} -Prefixes @{{Remove={}}}", at(&record.identity), quoted.join(","));
    let mut put = record.clone();
    put.prefixes.retain(|prefix| !offending.contains(prefix));
    let found = format!("blocks {}", offending.join(", "));
    Step::open(State::Wrong, title, NEED, found, (command, Some(Setting::ImFilterConfiguration(put))))
}

/// `-Identity …`, where it is not the global record.
fn at(scope: &Scope) -> String {
    match scope {
        Scope::Global => String::new(),
        other => format!(" -Identity \"{other}\""),
    }
}
