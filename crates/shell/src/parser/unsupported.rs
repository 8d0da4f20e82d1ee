//! What PowerShell knows and this shell does not: each with the nearest form that it does know.

use crate::ast::Binary;
use crate::error::Fault;
use crate::lexer::{Lexer, is_double, is_line_end, is_single};
use crate::parser::expression::binary_word;
use crate::span::Span;

/// A statement that begins with a word of PowerShell's grammar.
pub(super) fn keyword(lexer: &Lexer<'_>, word: &str) -> Option<Fault> {
    let instead = match word {
        "begin" | "clean" | "dynamicparam" | "end" | "process" => {
            "Write ForEach-Object { … } for what is done with each object."
        }
        "catch" | "finally" | "try" => "Write -ErrorAction SilentlyContinue at the command, then if (-not $?) { … }.",
        "class" | "enum" => "Write a hashtable: @{ Name = value }.",
        "configuration" | "data" | "hidden" | "inlinescript" | "parallel" | "sequence" | "workflow" => {
            "Write the statements one after another."
        }
        "do" | "for" | "until" | "while" => "Write foreach ($x in 1..10) { … }.",
        "else" | "elseif" => "It belongs behind the } of an if.",
        "filter" | "function" => "Keep the commands in a file and run it with: reveille shell FILE",
        "from" | "using" | "var" | "define" => "All that there is can be used without it.",
        "param" => "Set the variables at the beginning of the script: $x = …, or read them from $env:NAME.",
        "return" => {
            "Write if (…) { … } around what is to be done, or Where-Object before ForEach-Object; exit ends the whole \
             script. A value is given by writing it."
        }
        "switch" => "Write if … elseif … else.",
        "throw" => "Write Write-Error \"…\", then exit 1.",
        "trap" => "Write -ErrorAction Stop at the command that must not fail.",
        _ => return None,
    };
    let start = lexer.at();
    let said = format!("{word} is not supported here. {instead}");
    Some(Fault::new(Span::new(start, start + word.len()), "StatementNotSupported", said))
}

/// A form that cannot begin a command or an argument.
pub(super) fn ahead(lexer: &Lexer<'_>) -> Option<Fault> {
    let start = lexer.at();
    let fault = |length: usize, id, said: &str| Some(Fault::new(Span::new(start, start + length), id, said));
    match (lexer.peek()?, lexer.second()) {
        ('<', _) => Some(placeholder(lexer)),
        ('@', Some(next)) if next.is_alphanumeric() || next == '_' => fault(
            1,
            "SplattingNotSupported",
            "Splatting (@name) is not supported. Write the parameters out: -Name value.",
        ),
        ('@', next) if !next.is_some_and(|next| "({".contains(next) || is_single(next) || is_double(next)) => fault(
            1,
            "UnrecognizedToken",
            "@ begins @( … ), @{ … } or a here-string. As text it stands in quotation marks.",
        ),
        ('$', Some('$' | '^')) => {
            fault(2, "VariableNotSupported", "This variable does not exist here. Keep what you need in one: $x = …")
        }
        _ => operator(lexer),
    }
}

/// `++` or `--` that is no statement of its own.
pub(super) fn count(lexer: &Lexer<'_>) -> Option<Fault> {
    let start = lexer.at();
    let sign = ["++", "--"].into_iter().find(|sign| lexer.rest().starts_with(sign))?;
    let said = format!("{sign} stands only behind a variable, as a statement of its own: $x{sign}");
    Some(Fault::new(Span::new(start, start + 2), "OperatorNotSupported", said))
}

/// A script block where an operator needs a value.
pub(super) fn block_operand(operator: Binary, span: Span) -> Fault {
    let instead = match operator {
        Binary::Remainder => " A | is missing before the % that carries it out for each value: … | % { … }",
        _ => " Write the value in parentheses.",
    };
    let said = format!("A script block is no value that an operator could take.{instead}");
    Fault::new(span, "ScriptBlockAsOperand", said)
}

/// A dot that would read another script.
pub(super) fn dot_sourcing(lexer: &Lexer<'_>) -> Option<Fault> {
    let at = lexer.at();
    let said = "Scripts cannot be read into each other. Run one with: reveille shell FILE";
    (lexer.peek() == Some('.') && lexer.second() == Some(' '))
        .then(|| Fault::new(Span::new(at, at + 1), "DotSourcingNotSupported", said))
}

/// An operator of PowerShell between commands.
pub(super) fn operator(lexer: &Lexer<'_>) -> Option<Fault> {
    let start = lexer.at();
    let rest = lexer.rest();
    let of = |length: usize, id, said: String| Some(Fault::new(Span::new(start, start + length), id, said));
    let instead = "Write the commands on lines of their own, and if ($?) { … } for what depends on the one before.";
    if rest.starts_with("&&") || rest.starts_with("||") {
        return of(2, "InvalidEndOfLine", format!("{} is not supported. {instead}", &rest[..2]));
    }
    if rest.starts_with('&') && rest[1..].trim_start_matches([' ', '\t']).chars().next().is_none_or(is_line_end) {
        let said = "Commands cannot be run in the background (&). Start another shell for that.";
        return of(1, "BackgroundNotSupported", said.into());
    }
    if rest.starts_with('&') {
        let said = "The call operator (&) is not supported. Write the command's name; text in braces is a script block, \
                    which only ForEach-Object, Where-Object and their like take.";
        return of(1, "CallOperatorNotSupported", said.into());
    }
    let stream = rest.len() - rest.trim_start_matches(|found: char| found.is_ascii_digit() || found == '*').len();
    if stream <= 1 && rest[stream..].starts_with('>') {
        return Some(redirection(lexer, &rest[..stream]));
    }
    None
}

fn redirection(lexer: &Lexer<'_>, stream: &str) -> Fault {
    let start = lexer.at();
    let rest = &lexer.rest()[stream.len()..];
    let length = rest.len() - rest.trim_start_matches('>').len();
    let after = rest[length..].trim_start_matches([' ', '\t']);
    let to: String = after.chars().take_while(|found| !found.is_whitespace() && !matches!(found, ';' | '|')).collect();
    let instead = match (stream, to.as_str()) {
        ("2" | "*", _) => "Write -ErrorAction SilentlyContinue at the command.".to_owned(),
        (_, "$null") => "Write: … | Out-Null".to_owned(),
        (_, "" | "&1") => "Write: … | Out-File NAME".to_owned(),
        (_, file) if length > 1 => format!("Write: … | Out-File {file} -Append"),
        (_, file) => format!("Write: … | Out-File {file}"),
    };
    let end = start + stream.len() + length;
    let said = format!("Redirection ({stream}{}) is not supported. {instead}", &rest[..length]);
    Fault::new(Span::new(start, end), "RedirectionNotSupported", said)
}

/// `<unique identifier …>`: a place in a document's example where the reader's own value belongs.
fn placeholder(lexer: &Lexer<'_>) -> Fault {
    let start = lexer.at();
    let rest = lexer.rest();
    let line = rest.find(is_line_end).unwrap_or(rest.len());
    match rest[..line].find('>') {
        Some(end) if end > 1 => {
            let shown = &rest[..=end];
            let said = format!(
                "{shown} is a placeholder: replace it, angle brackets included, by a value of your own. A value with \
                 blanks stands in quotation marks."
            );
            Fault::new(Span::new(start, start + end + 1), "PlaceholderNotReplaced", said)
        }
        _ => {
            let said = "The < operator is not supported. Text with a < in it stands in quotation marks.";
            Fault::new(Span::new(start, start + 1), "RedirectionNotSupported", said)
        }
    }
}

/// A word that looks like something else than text.
pub(super) fn word(text: &str, span: Span) -> Option<Fault> {
    let end = text.find("]::")?;
    text.starts_with('[').then(|| static_member(&text[..=end], span))
}

/// `[Type]::Member`.
pub(super) fn static_member(of: &str, span: Span) -> Fault {
    let instead = match of.to_ascii_lowercase().as_str() {
        "[string]" => " Write -not $x to ask whether text is empty, and -join to put texts together.",
        "[convert]" | "[int]" | "[int32]" => " Write [int]$x.",
        "[regex]" => " Write -match or -replace.",
        "[environment]" => " Write $env:NAME.",
        _ => "",
    };
    let said = format!("Members of types ({of}::…) are not supported.{instead}");
    Fault::new(span, "StaticMemberNotSupported", said)
}

/// A type that has no meaning here.
pub(super) fn type_name(name: &str, span: Span) -> Fault {
    let known =
        "[array], [bool], [datetime], [double], [hashtable], [int], [int[]], [pscustomobject], [string], [string[]]";
    Fault::new(span, "TypeNotFound", format!("The type [{name}] does not exist here. These do: {known}."))
}

/// An operator that is none.
pub(super) fn operator_word(word: &str, span: Span) -> Fault {
    let instead = match word {
        "as" => " Write a cast: [int]$x.",
        "band" | "bnot" | "bor" | "bxor" | "shl" | "shr" => " There are no operators on bits.",
        "equals" => " Write -eq.",
        "greaterthan" => " Write -gt.",
        "lessthan" => " Write -lt.",
        "startswith" => " Write -like 'text*'.",
        "regex" => " Write -match.",
        _ if binary_word(word.trim_end_matches('s')).is_some() => {
            return Fault::new(
                span,
                "UnexpectedToken",
                format!("-{word} is not an operator. Write -{}.", word.trim_end_matches('s')),
            );
        }
        _ => " A parameter belongs to a command, not to a value.",
    };
    Fault::new(span, "UnexpectedToken", format!("-{word} is not an operator.{instead}"))
}
