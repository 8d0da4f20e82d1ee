//! What `Get-Help` shows of a cmdlet, made from its definition: the sections and their order are those of PowerShell,
//! and tests have beside them what the documents' table says: schedule, tool and permissions.

mod page;
mod syntax;

pub use page::page;
pub use syntax::syntax;

use crate::cmdlet::About;
use crate::roles::names_with;

/// How much of a cmdlet's page is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part<'a> {
    /// What it is for and how it is written.
    Overview,
    /// All of it: `-Full`.
    Full,
    /// What it is for, and its examples: `-Examples`.
    Examples,
    /// The parameters that fit this pattern with `*`: `-Parameter`.
    Parameters(&'a str),
}

/// Who may run a cmdlet, as its page says it.
pub(crate) fn permissions(about: &About) -> Vec<String> {
    let name = about.name;
    vec![
        format!(
            "When run locally, in the management shell of the machine that the server runs on, users must be members of \
             the {} security group.",
            either(&names_with(about).1)
        ),
        format!(
            "When run remotely, over the admin API or with reveille shell --url, users must be assigned an RBAC role \
             that has permission to run the {name} cmdlet. To see a list of all RBAC roles that can use this cmdlet, run \
             the following command:"
        ),
    ]
}

/// The command that lists the roles which may run it, as the documents write it.
pub(crate) fn who_may(about: &About) -> String {
    format!("Get-CsAdminRole | Where-Object {{$_.Cmdlets -match \"{}\"}}", about.name)
}

/// `A`, `A or B`, `A, B or C`.
fn either(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}
