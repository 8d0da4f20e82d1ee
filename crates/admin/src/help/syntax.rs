//! The SYNTAX section: one line for each parameter set, in PowerShell's brackets.

use crate::cmdlet::{About, Parameter};
use crate::kind::Kind;

/// How the cmdlet is written, a line for each of its sets.
///
/// `[-Name] <Type>` is mandatory and may be given by its place alone; what stands in brackets as a whole may be left out.
pub fn syntax(about: &About) -> Vec<String> {
    let sets = if about.sets.is_empty() { &[""] } else { about.sets };
    sets.iter().map(|set| line(about, set)).collect()
}

fn line(about: &About, set: &str) -> String {
    let mut own: Vec<_> = about.parameters.iter().filter(|parameter| parameter.is_in(set)).collect();
    // PowerShell's order: by place, then what is mandatory, then the rest as it was written.
    own.sort_by_key(|it| (it.position.is_none(), it.position, !it.required));
    let mut words = vec![about.name.to_string()];
    words.extend(own.into_iter().map(argument));
    if about.changes {
        words.extend(["[-WhatIf]".into(), "[-Confirm]".into()]);
    }
    words.push("[<CommonParameters>]".into());
    words.join(" ")
}

fn argument(parameter: &Parameter) -> String {
    let name = match parameter.position {
        Some(_) => format!("[-{}]", parameter.name),
        None => format!("-{}", parameter.name),
    };
    let whole = match parameter.kind {
        Kind::Switch => name,
        Kind::Choice(words) => format!("{name} {{{}}}", words.join(" | ")),
        kind => format!("{name} <{}>", type_name(&kind)),
    };
    if parameter.required { whole } else { format!("[{whole}]") }
}

/// The type as a heading or a line of syntax has it; which words are possible, and how list modifiers are written, is
/// said apart.
pub(super) fn type_name(kind: &Kind) -> String {
    match kind {
        Kind::Choice(_) => Kind::Text.name(),
        Kind::List(of) | Kind::Modifier(of) => format!("{}[]", type_name(of)),
        kind => kind.name(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmdlets;

    #[test]
    fn each_set_has_its_line_with_places_and_mandatory_parameters_first() {
        for (name, expected) in [
            (
                "Get-CsHostingProvider",
                &[
                    "Get-CsHostingProvider [[-Identity] <String>] [-LocalStore] [<CommonParameters>]",
                    "Get-CsHostingProvider [-Filter <String>] [-LocalStore] [<CommonParameters>]",
                ][..],
            ),
            (
                "Enable-CsHostingProvider",
                &[
                    "Enable-CsHostingProvider [[-Identity] <String>] [-PassThru] [-Force] [-WhatIf] [-Confirm] [<CommonParameters>]",
                    "Enable-CsHostingProvider [-Instance <HostingProvider>] [-PassThru] [-Force] [-WhatIf] [-Confirm] \
                     [<CommonParameters>]",
                ],
            ),
        ] {
            assert_eq!(syntax(cmdlets::find(name).unwrap().about()), expected);
        }
        let new = &syntax(cmdlets::find("New-CsHostingProvider").unwrap().about())[0];
        assert!(
            new.starts_with("New-CsHostingProvider [-Identity] <String> -Enabled <Boolean> -ProxyFqdn <Fqdn> ["),
            "{new}"
        );
    }
}
