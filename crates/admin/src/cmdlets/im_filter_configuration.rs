//! `CsImFilterConfiguration`: what becomes of links in users' messages (lync.md §1.6).

use reveille_core::settings::{ImFilterConfiguration, Setting};

use crate::cmdlet::{Area, Parameter};
use crate::family::Family;
use crate::family::cmdlet::{cmdlet, joined};
use crate::family::parameters::{FILTER, FORCE, IN_MEMORY, LOCAL_STORE, changed, instance, named, removed, wanted};
use crate::kind::Kind;

const OUTPUTS: &[&str] =
    &["Identity", "Prefixes", "AllowMessage", "WarnMessage", "Enabled", "IgnoreLocal", "BlockFileExtension", "Action"];
const FAMILY: Family = Family {
    default: Some(|| Setting::ImFilterConfiguration(ImFilterConfiguration::default())),
    ..Family::new("CsImFilterConfiguration", Area::Scoped, OUTPUTS)
};
const WHERE: &str = "Where it applies: global, site:Name";
const INSTANCE: Parameter = instance("ImFilterConfiguration", "The object, as Get-CsImFilterConfiguration gives it");
/// The properties that New and Set take.
const PROPERTIES: &[Parameter] = &[
    Parameter::new("Action", Kind::Choice(&["Allow", "Block", "Warn"]), "What becomes of a message with a link")
        .or("Allow"),
    Parameter::new("AllowMessage", Kind::Text, "The notice beside a link that is allowed"),
    Parameter::new("BlockFileExtension", Kind::Bool, "Whether links to files of dangerous kinds are always blocked")
        .or("True"),
    Parameter::new("Enabled", Kind::Bool, "Whether there is a filter at all").or("True"),
    Parameter::new("IgnoreLocal", Kind::Bool, "Whether links to machines of the intranet pass").or("True"),
    Parameter::new("Prefixes", Kind::Modifier(&Kind::Text), "What a link begins with")
        .or("callto: file: ftp. ftp: gopher: href http: https: ldap: mailto: news: nntp: sip: sips: tel: telnet: www*"),
    Parameter::new("WarnMessage", Kind::Text, "The notice beside a link that is warned of"),
];

cmdlet!(
    /// `Get-CsImFilterConfiguration`
    Get of FAMILY {
        summary: "Shows the filters of links in users' messages",
        parameters: &[wanted(Kind::Scope, WHERE).at(1), FILTER, LOCAL_STORE],
    }
);

cmdlet!(
    /// `New-CsImFilterConfiguration`
    New of FAMILY {
        summary: "Makes a filter for a site",
        parameters: joined![[named(Kind::Scope, WHERE)], PROPERTIES, [IN_MEMORY, FORCE]],
    }
);

cmdlet!(
    /// `Set-CsImFilterConfiguration`
    Set of FAMILY {
        summary: "Changes the filter of links in users' messages",
        description: "A push never passes the filter. The push test is rejected, as documented, while the filter \
                      that holds at home's site is enabled, its action is Block and its prefixes hold http: or \
                      https:.",
        parameters: joined![[changed(Kind::Scope, WHERE), INSTANCE], PROPERTIES, [FORCE]],
        examples: &[(
            "Set-CsImFilterConfiguration -Identity site:Redmond -Prefixes @{remove=\"http:\"}",
            "Takes one prefix out; a site without a filter of its own gets one.",
        )],
    }
);

cmdlet!(
    /// `Remove-CsImFilterConfiguration`
    Remove of FAMILY {
        summary: "Removes a site's filter; the global one has its defaults again",
        parameters: &[removed(Kind::Scope, WHERE), FORCE],
    }
);
