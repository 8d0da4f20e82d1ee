//! The reference page of the shell's own commands, made from their table. `cargo xtask reference` writes it beside the
//! pages of the cmdlets.

use std::fmt::Write as _;

use crate::builtin::{TABLE, Takes};

/// The name of the page's file.
pub const FILE: &str = "shell-commands.md";

/// The page, in Markdown.
pub fn page() -> String {
    let mut text = String::from(
        "<!-- Made by `cargo xtask reference` from crates/shell/src/builtin. Change it there. -->\n\n# The shell's own \
         commands\n\nWhat works on objects, whatever cmdlet they come from. They run in the shell; no server is asked. \
         [The cmdlets](README.md) · [the language](language.md)\n\n| command | also | does |\n|---|---|---|\n",
    );
    for command in TABLE {
        let also = command.aliases.iter().map(|alias| format!("`{alias}`")).collect::<Vec<_>>().join(", ");
        let _ = writeln!(
            text,
            "| [{0}](#{1}) | {also} | {2} |",
            command.name,
            command.name.to_lowercase(),
            command.summary
        );
    }
    for command in TABLE {
        let _ = writeln!(text, "\n## {}\n\n{}.", command.name, command.summary);
        if command.parameters.is_empty() {
            continue;
        }
        text.push_str("\n| parameter | takes | is for |\n|---|---|---|\n");
        for parameter in command.parameters {
            let place =
                if parameter.position.is_some() || parameter.rest { " (may stand without its name)" } else { "" };
            let help = parameter.help.replace('|', "\\|");
            let _ = writeln!(text, "| -{} | {} | {help}{place} |", parameter.name, takes(parameter.takes));
        }
    }
    text
}

const fn takes(takes: Takes) -> &'static str {
    match takes {
        Takes::Block => "`{ … }`, or a property's name",
        Takes::Switch => "nothing",
        Takes::Value => "a value",
        Takes::Values => "values, with commas between",
        Takes::Ways => "properties, also `*` or `@{Name='…';Expression={…}}`",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_its_row_and_its_section() {
        let page = page();
        for command in TABLE {
            assert!(page.contains(&format!("\n| [{}](#", command.name)), "{} has no row", command.name);
            assert!(page.contains(&format!("\n## {}\n", command.name)), "{} has no section", command.name);
        }
    }
}
