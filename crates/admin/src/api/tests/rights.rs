//! What each role may run, what people try who want more, and who was first.

use reveille_store::{Account, PassKind};
use serde_json::json;

use super::office::Office;
use crate::cmdlets::CMDLETS;
use crate::roles::{PREDEFINED, Rights};

#[tokio::test]
async fn each_role_runs_over_the_api_what_it_has_and_nothing_else() {
    let mut office = Office::new();
    office.role("OnlyProviders", &["Get-CsHostingProvider", "New-CsHostingProvider"], &["global"], &[]).await;
    office.role("OnlyContoso", &["Get-CsPushDevice", "Grant-CsMobilityPolicy"], &[], &["domain:contoso.com"]).await;
    let names = PREDEFINED.iter().map(|role| role.name).chain(["OnlyProviders", "OnlyContoso"]);
    for (index, role) in names.enumerate() {
        let name = format!("holder{index}");
        office.account(&name, &[role], false).await;
        let rights = Rights::of_roles([role], &office.desk.settings.snapshot());
        for about in CMDLETS.iter().map(|cmdlet| cmdlet.about()) {
            // What would change something only says so: this is about who may, and not about what then is.
            let parameters = if about.changes { json!({ "WhatIf": true }) } else { json!({}) };
            let answer = office.run(&name, &about.name.to_string(), parameters).await;
            let denied = answer.status == 403 && matches!(answer.id(), "CmdletNotInRole" | "NoRole");
            assert_eq!(denied, !rights.has(about.name), "{role} {}: {} {}", about.name, answer.status, answer.body);
        }
    }
}

#[tokio::test]
async fn who_wants_more_than_he_has_does_not_get_it() {
    let mut office = Office::new();
    let administration = [
        "Get-CsAdminAccount",
        "Get-CsAdminRole",
        "New-CsAdminAccount",
        "New-CsAdminRole",
        "New-CsAdminToken",
        "Remove-CsAdminAccount",
        "Remove-CsAdminRole",
        "Remove-CsAdminToken",
        "Set-CsAdminAccount",
        "Set-CsAdminRole",
    ];
    let all: Vec<String> = CMDLETS.iter().map(|cmdlet| cmdlet.about().name.to_string()).collect();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    office.role("RoleEditor", &administration, &["global"], &["global"]).await;
    office.role("Redmond", &all, &["site:Redmond"], &[]).await;
    office.role("Contoso", &all, &[], &["domain:contoso.com"]).await;
    for (name, roles) in [
        ("adm", &["CsAdministrator"][..]),
        ("editor", &["RoleEditor"]),
        ("red", &["Redmond"]),
        ("con", &["Contoso"]),
        ("view", &["CsViewOnlyAdministrator"]),
        ("help", &["CsHelpDesk"]),
        ("gone", &["NoSuchRole"]),
    ] {
        office.account(name, roles, false).await;
    }
    office.account("off", &["CsAdministrator"], true).await;
    let token_of_adm = office.tokens["adm"].split('_').nth(1).unwrap().to_owned();
    let before = state(&office);
    let secret = json!({ "@secret": "a new password 1" });
    let mcx = |identity: &str| json!({ "PSTypeName": "McxConfiguration", "Identity": identity, "@version": 0 });
    let uri = "sip:push@evil.example";
    for (why, who, cmdlet, parameters, status, id) in [
        (
            "gives himself a role",
            "editor",
            "Set-CsAdminAccount",
            json!({"Identity": "editor", "Roles": ["CsAdministrator"]}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "adds himself one",
            "editor",
            "Set-CsAdminAccount",
            json!({"Identity": "editor", "Roles": {"Add": ["csADMINISTRATOR"]}}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "makes a mighty friend",
            "editor",
            "New-CsAdminAccount",
            json!({"Identity": "friend", "Roles": ["CsAdministrator"]}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "gives a role with a reach he lacks",
            "red",
            "New-CsAdminAccount",
            json!({"Identity": "friend", "Roles": ["Redmond"]}),
            403,
            "OutOfScope",
        ),
        (
            "widens his own role",
            "editor",
            "Set-CsAdminRole",
            json!({"Identity": "RoleEditor", "Cmdlets": {"Add": ["Set-CsAccessEdgeConfiguration"]}}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "widens his own reach",
            "red",
            "Set-CsAdminRole",
            json!({"Identity": "Redmond", "ConfigScopes": ["global"]}),
            403,
            "OutOfScope",
        ),
        (
            "cripples a mightier role",
            "editor",
            "Set-CsAdminRole",
            json!({"Identity": "Redmond", "Cmdlets": []}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "removes a mightier role",
            "editor",
            "Remove-CsAdminRole",
            json!({"Identity": "Redmond"}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "removes all by a pattern",
            "editor",
            "Remove-CsAdminRole",
            json!({"Filter": "Redm*"}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "makes a mightier role",
            "editor",
            "New-CsAdminRole",
            json!({"Identity": "Mine", "Template": "CsAdministrator", "ConfigScopes": ["global"]}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "makes one that is called as one that is",
            "editor",
            "New-CsAdminRole",
            json!({"Identity": "csadministrator", "Template": "CsVoiceAdministrator", "ConfigScopes": ["global"]}),
            409,
            "AlreadyExists",
        ),
        (
            "makes one that looks like one that is",
            "editor",
            "New-CsAdminRole",
            json!({"Identity": "CsAdministrator ", "Template": "CsVoiceAdministrator", "ConfigScopes": ["global"]}),
            400,
            "InvalidRole",
        ),
        (
            "makes one with letters of another script",
            "editor",
            "New-CsAdminRole",
            json!({"Identity": "\u{421}sAdministrator", "Template": "CsVoiceAdministrator", "ConfigScopes": ["global"]}),
            400,
            "InvalidRole",
        ),
        (
            "makes one named as a local group",
            "editor",
            "New-CsAdminRole",
            json!({"Identity": "RTCUniversalServerAdmins", "Template": "CsVoiceAdministrator", "ConfigScopes": ["global"]}),
            409,
            "AlreadyExists",
        ),
        (
            "changes a predefined role",
            "adm",
            "Set-CsAdminRole",
            json!({"Identity": "CsHelpDesk", "Cmdlets": all}),
            422,
            "StandardRole",
        ),
        (
            "gives a local group as a role",
            "editor",
            "Set-CsAdminAccount",
            json!({"Identity": "editor", "Roles": ["RTCUniversalServerAdmins"]}),
            404,
            "RoleNotFound",
        ),
        (
            "sets a mightier one's password",
            "editor",
            "Set-CsAdminAccount",
            json!({"Identity": "adm", "Password": secret}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "the same by another spelling",
            "editor",
            "Set-CsAdminAccount",
            json!({"Identity": "ADM", "Password": secret}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "the same by an object",
            "editor",
            "Set-CsAdminAccount",
            json!({"Instance": {"PSTypeName": "AdminAccount", "Identity": "adm", "@version": 1}, "Password": secret}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "shuts a mightier one out",
            "editor",
            "Set-CsAdminAccount",
            json!({"Identity": "adm", "Enabled": false}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "removes a mightier one",
            "editor",
            "Remove-CsAdminAccount",
            json!({"Identity": "adm"}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "makes a token in his name",
            "editor",
            "New-CsAdminToken",
            json!({"Account": "adm"}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "revokes his token",
            "editor",
            "Remove-CsAdminToken",
            json!({"Identity": token_of_adm}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "enables a disabled mightier one",
            "editor",
            "Set-CsAdminAccount",
            json!({"Identity": "off", "Enabled": true}),
            403,
            "MoreThanOwnRights",
        ),
        (
            "takes the name of a machine's user",
            "adm",
            "New-CsAdminAccount",
            json!({"Identity": "root@atl-cs-001"}),
            400,
            "InvalidAccount",
        ),
        (
            "changes the global record",
            "red",
            "Set-CsMcxConfiguration",
            json!({"Identity": "global", "PushNotificationProxyUri": uri}),
            403,
            "OutOfScope",
        ),
        (
            "the same without saying so",
            "red",
            "Set-CsMcxConfiguration",
            json!({"PushNotificationProxyUri": uri}),
            403,
            "OutOfScope",
        ),
        (
            "changes another site's",
            "red",
            "Set-CsMcxConfiguration",
            json!({"Identity": "site:Dublin", "PushNotificationProxyUri": uri}),
            403,
            "OutOfScope",
        ),
        (
            "his own with a blank behind it",
            "red",
            "Set-CsMcxConfiguration",
            json!({"Identity": "site:Redmond ", "PushNotificationProxyUri": uri}),
            403,
            "OutOfScope",
        ),
        (
            "a service of any site",
            "red",
            "Set-CsMcxConfiguration",
            json!({"Identity": "service:WebServer:atl-cs-001.litwareinc.com", "PushNotificationProxyUri": uri}),
            403,
            "OutOfScope",
        ),
        (
            "pipes another site's object",
            "red",
            "Set-CsMcxConfiguration",
            json!({"Instance": mcx("site:Dublin"), "PushNotificationProxyUri": uri}),
            403,
            "OutOfScope",
        ),
        (
            "pipes the global object",
            "red",
            "Set-CsMcxConfiguration",
            json!({"Instance": mcx("Global"), "PushNotificationProxyUri": uri}),
            403,
            "OutOfScope",
        ),
        (
            "pipes an object without a name",
            "red",
            "Set-CsMcxConfiguration",
            json!({"Instance": {"PSTypeName": "McxConfiguration"}, "PushNotificationProxyUri": uri}),
            403,
            "OutOfScope",
        ),
        (
            "names his site and pipes another",
            "red",
            "Set-CsMcxConfiguration",
            json!({"Identity": "site:Redmond", "Instance": mcx("global"), "PushNotificationProxyUri": uri}),
            400,
            "AmbiguousParameterSet",
        ),
        (
            "names two, in two spellings",
            "red",
            "Set-CsMcxConfiguration",
            json!({"Identity": "site:Redmond", "identity": "global", "PushNotificationProxyUri": uri}),
            403,
            "OutOfScope",
        ),
        (
            "removes the global record",
            "red",
            "Remove-CsPushNotificationConfiguration",
            json!({"Identity": "global"}),
            403,
            "OutOfScope",
        ),
        (
            "changes what holds for all",
            "red",
            "New-CsAllowedDomain",
            json!({"Identity": "evil.example"}),
            403,
            "OutOfScope",
        ),
        (
            "the same and only asks what if",
            "red",
            "New-CsAllowedDomain",
            json!({"Identity": "evil.example", "WhatIf": true}),
            403,
            "OutOfScope",
        ),
        ("users that his role does not name", "red", "Get-CsPushDevice", json!({}), 403, "OutOfScope"),
        (
            "another domain's user",
            "con",
            "Get-CsPushDevice",
            json!({"User": "sip:ken@litwareinc.com"}),
            403,
            "OutOfScope",
        ),
        ("everybody", "con", "Get-CsPushDevice", json!({}), 403, "OutOfScope"),
        ("everybody's pushes", "con", "Get-CsPushTrace", json!({}), 403, "OutOfScope"),
        (
            "a policy for another domain's user",
            "con",
            "Grant-CsMobilityPolicy",
            json!({"Identity": "sip:ken@litwareinc.com", "PolicyName": "X"}),
            403,
            "OutOfScope",
        ),
        (
            "writes though he may only look",
            "view",
            "New-CsHostingProvider",
            json!({"Identity": "X", "Enabled": true, "ProxyFqdn": "evil.example"}),
            403,
            "CmdletNotInRole",
        ),
        (
            "the same in other letters",
            "view",
            "NEW-CSHOSTINGPROVIDER",
            json!({"Identity": "X", "Enabled": true, "ProxyFqdn": "evil.example"}),
            403,
            "CmdletNotInRole",
        ),
        (
            "by the documents' misspelling",
            "view",
            "Set-McxConfiguration",
            json!({"PushNotificationProxyUri": uri}),
            403,
            "CmdletNotInRole",
        ),
        ("looks at accounts", "help", "Get-CsAdminAccount", json!({}), 403, "CmdletNotInRole"),
        ("looks at the audit log", "help", "Get-CsAdminAudit", json!({}), 403, "CmdletNotInRole"),
        ("uses a role that is no more", "gone", "Get-CsHostingProvider", json!({}), 403, "NoRole"),
        ("uses a disabled account's token", "off", "Get-CsHostingProvider", json!({}), 401, "NotSignedIn"),
        (
            "a name with a path in it",
            "view",
            "Get-CsAdminRole%2F..%2FNew-CsHostingProvider",
            json!({}),
            404,
            "CommandNotFoundException",
        ),
        ("a name with an end in it", "view", "New-CsHostingProvider%00", json!({}), 404, "CommandNotFoundException"),
        ("a name with a blank", "view", "New-CsHostingProvider%20", json!({}), 404, "CommandNotFoundException"),
        ("a path that climbs", "view", "../cmdlets/New-CsHostingProvider", json!({}), 404, "NotFound"),
    ] {
        let answer = office.run(who, cmdlet, parameters).await;
        assert_eq!((answer.status, answer.id()), (status, id), "{who} {why}: {cmdlet}: {}", answer.body);
    }
    assert_eq!(state(&office), before, "nothing was changed by all this");
    // And what they may, they may.
    for (who, cmdlet, parameters) in [
        (
            "red",
            "Set-CsMcxConfiguration",
            json!({"Identity": "SITE:redmond", "PushNotificationProxyUri": "sip:push@push.lync.com"}),
        ),
        (
            "editor",
            "New-CsAdminRole",
            json!({"Identity": "Small", "Template": "CsVoiceAdministrator", "Cmdlets": ["Get-CsAdminRole"], "ConfigScopes": ["site:Redmond"]}),
        ),
        ("editor", "New-CsAdminAccount", json!({"Identity": "small", "Roles": ["Small"]})),
        ("editor", "New-CsAdminToken", json!({"Account": "small"})),
    ] {
        let answer = office.run(who, cmdlet, parameters).await;
        assert_eq!(answer.status, 200, "{who} {cmdlet}: {}", answer.body);
    }
    // Who was refused is in the record, and the secret that came with it is not.
    let audit = office.run("adm", "Get-CsAdminAudit", json!({"Outcome": "Refused", "Last": 1000})).await;
    let entries = audit.body["objects"].as_array().unwrap();
    assert!(entries.len() > 40, "{}", entries.len());
    assert!(!audit.body.to_string().contains("a new password 1"));
}

/// Everything that the attempts could have changed.
fn state(office: &Office) -> (u64, Vec<Account>, usize) {
    let accounts = office.desk.accounts.accounts().unwrap();
    let tokens = office.desk.accounts.passes(PassKind::Token).unwrap().len();
    (office.desk.settings.snapshot().version(), accounts, tokens)
}

#[tokio::test]
async fn two_administrators_at_once_lose_nothing_and_the_second_is_told() {
    let mut office = Office::new();
    office.account("ann", &["CsAdministrator"], false).await;
    office.account("ben", &["CsAdministrator"], false).await;
    let get = json!({"Identity": "global"});
    let read = office.run("ann", "Get-CsMcxConfiguration", get.clone()).await.body["objects"][0].clone();
    let ann = json!({"Instance": read, "PushNotificationProxyUri": "sip:push@a.example"});
    assert_eq!(office.run("ann", "Set-CsMcxConfiguration", ann).await.status, 200);
    let ben = json!({"Instance": read, "PushNotificationProxyUri": "sip:push@b.example"});
    let answer = office.run("ben", "Set-CsMcxConfiguration", ben).await;
    assert_eq!(answer.status, 409, "{}", answer.body);
    assert!(answer.body["message"].as_str().unwrap().contains("by ann"), "{}", answer.body);
    let now = office.run("ben", "Get-CsMcxConfiguration", get).await;
    assert_eq!(now.body["objects"][0]["PushNotificationProxyUri"], "sip:push@a.example");
    // The same for accounts.
    let read = office.run("ann", "Get-CsAdminAccount", json!({"Identity": "ben"})).await.body["objects"][0].clone();
    let first = json!({"Instance": read, "Roles": {"Add": ["CsHelpDesk"]}});
    assert_eq!(office.run("ann", "Set-CsAdminAccount", first.clone()).await.status, 200);
    let second = office.run("ann", "Set-CsAdminAccount", first).await;
    assert_eq!((second.status, second.id()), (409, "ChangedMeanwhile"), "{}", second.body);
}
