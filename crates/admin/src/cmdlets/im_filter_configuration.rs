//! `CsImFilterConfiguration`: what becomes of links in users' messages (lync.md §1.6).

use reveille_core::settings::{ImFilterConfiguration, Setting};

use crate::cmdlet::{About, Area, Name, Parameter, Verb};
use crate::family::Family;
use crate::family::parameters::{
    CHANGE, FILTER, FIND, FORCE, IN_MEMORY, LOCAL_STORE, changed, cmdlet, instance, named, removed, wanted,
};
use crate::kind::Kind;

const NOUN: &str = "CsImFilterConfiguration";
const OUTPUTS: &[&str] =
    &["Identity", "Prefixes", "AllowMessage", "WarnMessage", "Enabled", "IgnoreLocal", "BlockFileExtension", "Action"];
const FAMILY: Family = Family {
    default: Some(|| Setting::ImFilterConfiguration(ImFilterConfiguration::default())),
    ..Family::new("ImFilterConfiguration", OUTPUTS)
};
const INSTANCE: Parameter = instance("ImFilterConfiguration", "The object, as Get-CsImFilterConfiguration gives it");
const ACTION: Parameter =
    Parameter::new("Action", Kind::Choice(&["Allow", "Block", "Warn"]), "What becomes of a message with a link")
        .or("Allow");
const ALLOW_MESSAGE: Parameter = Parameter::new("AllowMessage", Kind::Text, "The notice beside a link that is allowed");
const BLOCK_FILE_EXTENSION: Parameter =
    Parameter::new("BlockFileExtension", Kind::Bool, "Whether links to files of dangerous kinds are always blocked")
        .or("True");
const ENABLED: Parameter = Parameter::new("Enabled", Kind::Bool, "Whether there is a filter at all").or("True");
const IGNORE_LOCAL: Parameter =
    Parameter::new("IgnoreLocal", Kind::Bool, "Whether links to machines of the intranet pass").or("True");
const PREFIXES: Parameter = Parameter::new("Prefixes", Kind::Modifier(&Kind::Text), "What a link begins with")
    .or("callto: file: ftp. ftp: gopher: href http: https: ldap: mailto: news: nntp: sip: sips: tel: telnet: www*");
const WARN_MESSAGE: Parameter = Parameter::new("WarnMessage", Kind::Text, "The notice beside a link that is warned of");

cmdlet!(
    /// `Get-CsImFilterConfiguration`
    Get,
    FAMILY,
    get,
    About {
        name: Name::new(Verb::Get, NOUN),
        summary: "Shows the filters of links in users' messages",
        parameters: &[
            wanted(Kind::Scope, "Where it applies: global, site:Name").at(1),
            FILTER,
            LOCAL_STORE,
        ],
        sets: FIND,
        outputs: OUTPUTS,
        area: Area::Scoped,
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `New-CsImFilterConfiguration`
    New,
    FAMILY,
    create,
    About {
        name: Name::new(Verb::New, NOUN),
        summary: "Makes a filter for a site",
        parameters: &[
            named(Kind::Scope, "Where it applies: global, site:Name"),
            ACTION,
            ALLOW_MESSAGE,
            BLOCK_FILE_EXTENSION,
            ENABLED,
            IGNORE_LOCAL,
            PREFIXES,
            WARN_MESSAGE,
            IN_MEMORY,
            FORCE,
        ],
        outputs: OUTPUTS,
        area: Area::Scoped,
        changes: true,
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `Set-CsImFilterConfiguration`
    Set,
    FAMILY,
    change,
    About {
        name: Name::new(Verb::Set, NOUN),
        summary: "Changes the filter of links in users' messages",
        description: "A push never passes the filter. The push test is rejected, as documented, while the filter that holds at home's site is enabled, its action is Block and its prefixes hold http: or https:.",
        parameters: &[
            changed(Kind::Scope, "Where it applies: global, site:Name"),
            INSTANCE,
            ACTION,
            ALLOW_MESSAGE,
            BLOCK_FILE_EXTENSION,
            ENABLED,
            IGNORE_LOCAL,
            PREFIXES,
            WARN_MESSAGE,
            FORCE,
        ],
        sets: CHANGE,
        area: Area::Scoped,
        changes: true,
        examples: &[("Set-CsImFilterConfiguration -Identity site:Redmond -Prefixes @{remove=\"http:\"}", "Takes one prefix out; a site without a filter of its own gets one.")],
        ..About::DEFAULT
    }
);

cmdlet!(
    /// `Remove-CsImFilterConfiguration`
    Remove,
    FAMILY,
    remove,
    About {
        name: Name::new(Verb::Remove, NOUN),
        summary: "Removes a site's filter; the global one has its defaults again",
        parameters: &[
            removed(Kind::Scope, "Where it applies: global, site:Name"),
            FORCE,
        ],
        area: Area::Scoped,
        changes: true,
        ..About::DEFAULT
    }
);
