//! The commands of the shell itself: what works on objects wherever they come from. Same-shaped items in one table, as the
//! cmdlets of the catalogue are.

mod clock;
mod difference;
mod documents;
mod files;
mod given;
mod help;
mod made;
mod objects;
mod output;
mod person;
mod select;
mod stage;
mod summary;

pub(crate) use given::{Given, Item};
use stage::Work;
pub(crate) use stage::{Page, stage};

/// A command of the shell.
#[derive(Clone, Copy)]
pub struct Builtin {
    /// Its name.
    pub name: &'static str,
    /// Its other names.
    pub aliases: &'static [&'static str],
    /// One sentence without a full stop.
    pub summary: &'static str,
    /// Its parameters.
    pub parameters: &'static [Parameter],
    work: Work,
}

/// A parameter of a command of the shell.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name, without the hyphen.
    pub name: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// One sentence without a full stop.
    pub help: &'static str,
    /// Its place among arguments without a name, from 0.
    pub position: Option<u8>,
    /// Whether it takes all further arguments without a name.
    pub rest: bool,
}

/// What a parameter takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Takes {
    /// A script block, or the name of a property.
    Block,
    /// Nothing; it is on when named.
    Switch,
    /// One value.
    Value,
    /// Values, with commas between.
    Values,
    /// Names of properties with `*`, script blocks, or `@{Name='…';Expression={…}}`.
    Ways,
}

impl Parameter {
    const fn new(name: &'static str, takes: Takes, help: &'static str) -> Self {
        Self { name, takes, help, position: None, rest: false }
    }

    const fn at(mut self, position: u8) -> Self {
        self.position = Some(position);
        self
    }

    const fn rest(mut self) -> Self {
        self.rest = true;
        self
    }
}

/// All commands of the shell, by name.
pub const TABLE: &[Builtin] = &[
    files::ADD_CONTENT,
    made::ADD_MEMBER,
    person::CLEAR_HOST,
    difference::COMPARE_OBJECT,
    documents::CONVERT_FROM_JSON,
    documents::CONVERT_TO_CSV,
    documents::CONVERT_TO_HTML,
    documents::CONVERT_TO_JSON,
    person::CONVERT_TO_SECURE_STRING,
    documents::EXPORT_CSV,
    objects::FOR_EACH_OBJECT,
    output::FORMAT_LIST,
    output::FORMAT_TABLE,
    help::GET_ALIAS,
    help::GET_COMMAND,
    documents::GET_CONTENT,
    person::GET_CREDENTIAL,
    clock::GET_DATE,
    help::GET_HELP,
    summary::GET_MEMBER,
    person::GET_MODULE,
    difference::GET_UNIQUE,
    person::GET_VARIABLE,
    summary::GROUP_OBJECT,
    documents::IMPORT_CSV,
    person::IMPORT_MODULE,
    clock::MEASURE_COMMAND,
    summary::MEASURE_OBJECT,
    made::NEW_OBJECT,
    clock::NEW_TIME_SPAN,
    output::OUT_FILE,
    output::OUT_HOST,
    output::OUT_NULL,
    output::OUT_STRING,
    person::QUIT,
    person::READ_HOST,
    person::REMOVE_VARIABLE,
    select::SELECT_OBJECT,
    files::SELECT_STRING,
    files::SET_CONTENT,
    person::SET_STRICT_MODE,
    objects::SORT_OBJECT,
    clock::START_SLEEP,
    files::TEE_OBJECT,
    files::TEST_PATH,
    objects::WHERE_OBJECT,
    output::WRITE_ERROR,
    output::WRITE_HOST,
    output::WRITE_OUTPUT,
    output::WRITE_PROGRESS,
    output::WRITE_VERBOSE,
    output::WRITE_WARNING,
];

/// The command of that name or alias, in any case.
pub fn find(name: &str) -> Option<&'static Builtin> {
    TABLE.iter().find(|builtin| {
        builtin.name.eq_ignore_ascii_case(name) || builtin.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    })
}

/// The modules that scripts name.
const MODULES: &[&str] = &["Lync", "Reveille", "SkypeForBusiness"];

/// Whether scripts may name the module that commands come from: there is nothing to load.
pub(crate) fn is_our_module(name: &str) -> bool {
    MODULES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// What to do instead of a command of PowerShell that there is none of here.
pub(crate) fn instead_of(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "cd" | "chdir" | "set-location" | "sl" | "dir" | "get-childitem" | "gci" | "ls" | "copy-item"
        | "remove-item" => {
            "This shell manages the organisation's settings; files are for the shell that it was started from."
        }
        "enter-pssession" | "new-pssession" | "import-pssession" | "invoke-command" | "icm" => {
            "A remote server is managed with: reveille shell --url https://SERVER"
        }
        "get-wmiobject" | "get-ciminstance" | "get-process" | "get-service" | "start-service" | "restart-service" => {
            "Settings work without a restart; the process itself belongs to the system that started it."
        }
        "iex" | "invoke-expression" => "Text is not run as commands. Write the command out.",
        "invoke-webrequest" | "invoke-restmethod" | "curl" | "wget" => "The admin API is described in docs/reference.",
        "add-pssnapin" | "asnp" | "get-pssnapin" | "remove-module" => {
            "All commands are here without being loaded: Get-Command lists them."
        }
        "fw" | "format-wide" => "Write Format-Table NAME -HideTableHeaders.",
        "fc" | "format-custom" | "format-hex" => "Write Format-List *, or ConvertTo-Json.",
        "get-eventlog" | "get-winevent" => {
            "What was pushed is in Get-CsPushTrace, what was changed in Get-CsAdminAudit; the rest is in the server's log."
        }
        "get-history" | "h" | "history" | "ghy" | "invoke-history" => {
            "The arrows and Ctrl-R go through what was entered."
        }
        "get-host" | "get-culture" => "Times are in UTC, and numbers have a point.",
        "get-random" => "There is nothing here that is decided by chance.",
        "join-path" => "Write \"$folder/name\".",
        "split-path" => "Write $path -replace '.*/'.",
        "new-item" | "ni" | "mkdir" | "md" => "Write … | Out-File NAME; folders are made by the shell outside.",
        "ogv" | "out-gridview" => "Write Format-Table, or Export-Csv NAME for a program with windows.",
        "lp" | "out-printer" => "Write Out-File NAME, and print that.",
        "send-mailmessage" => "Write Out-File NAME, and send that with the mail program of this machine.",
        "get-location" | "pwd" | "gl" | "whoami" | "hostname" | "ping" | "test-connection" | "test-netconnection"
        | "nslookup" | "resolve-dnsname" => {
            "Programs are for the shell that this one was started from; Test-CsFederatedPartner tries a road by itself."
        }
        "convertto-xml" => "Write $x.ToXML().",
        "export-clixml" | "import-clixml" => {
            "Write ConvertTo-Json and Out-File, and Get-Content -Raw and ConvertFrom-Json."
        }
        "get-csservice" | "get-cswindowsservice" | "start-cswindowsservice" | "stop-cswindowsservice" => {
            "Get-CsServiceStatus says how the servers are; the system that started them starts and stops them."
        }
        "export-csconfiguration" | "import-csconfiguration" => {
            "Outside of this shell: reveille settings export, reveille settings import."
        }
        "get-csuser" | "set-csuser" | "enable-csuser" | "get-csaduser" | "move-csuser" => {
            "Users stand in the file of the home's configuration; Get-CsPushDevice shows who has a device."
        }
        "get-cstopology" | "enable-cstopology" | "publish-cstopology" | "get-cspool" | "get-cscomputer" => {
            "Servers stand in their configuration files: reveille check. Get-CsServiceStatus says how they are."
        }
        "invoke-csmanagementstorereplication" | "get-csmanagementstorereplicationstatus" => {
            "Settings are in force within a second on every server that reads the same file."
        }
        "start-job" | "get-job" | "receive-job" => {
            "Commands run one after another; start another shell beside this one."
        }
        "start-transcript" | "stop-transcript" => "Start the shell in one: reveille shell FILE | tee NAME.",
        "update-help" | "save-help" => "The help is part of the program, and current.",
        "write-information" => "Write Write-Host.",
        "set-executionpolicy" | "get-executionpolicy" => "Scripts need no permission of their own here.",
        "true" => "Write $true.",
        "false" => "Write $false.",
        "null" => "Write $null.",
        "exit-pssession" => "Write exit.",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn commands_stand_in_order_and_no_name_means_two() {
        let names: Vec<_> = TABLE.iter().map(|builtin| builtin.name.to_lowercase()).collect();
        let mut sorted = names.clone();
        sorted.sort();
        assert_eq!(names, sorted);
        let all = TABLE.iter().flat_map(|builtin| builtin.aliases.iter().copied().chain([builtin.name]));
        let mut seen = BTreeSet::new();
        for name in all {
            assert!(seen.insert(name.to_lowercase()), "{name} means two commands");
        }
    }

    #[test]
    fn every_command_says_what_it_and_its_parameters_do() {
        for builtin in TABLE {
            assert!(!builtin.summary.is_empty() && !builtin.summary.ends_with('.'), "{}", builtin.name);
            for parameter in builtin.parameters {
                let name = format!("{} -{}", builtin.name, parameter.name);
                assert!(!parameter.help.is_empty() && !parameter.help.ends_with('.'), "{name}");
            }
        }
    }
}
