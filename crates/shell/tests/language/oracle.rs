//! Another parser of PowerShell, written by others: tree-sitter's grammar. Whatever ours accepts it accepts too, but for
//! some words without quotation marks that PowerShell itself takes.

use std::ops::Range;

use reveille_shell::ast::{
    Argument, Block, Command, Element, Expression, ExpressionKind, Part, Pipeline, Statement, StatementKind, Step,
};

/// Where ours accepts what that grammar does not and PowerShell does.
pub(crate) struct Difference {
    /// What it is called; corpus files say so beside a script.
    pub name: &'static str,
    /// A script that only ours accepts, for this reason alone.
    pub example: &'static str,
    /// How it comes about.
    #[expect(dead_code, reason = "for who reads it")]
    pub why: &'static str,
}

const fn known(name: &'static str, example: &'static str, why: &'static str) -> Difference {
    Difference { name, example, why }
}

/// All that are known.
pub(crate) const DIFFERENCES: &[Difference] = &[
    known("an operator of membership with a case", "$x -inotin 1", "only -in and -notin are known there"),
    known("a unit or exponent in another case", "$x + 1Kb", "units are kb or KB there, exponents e"),
    known("a blank before a comma", "Get-X 'a' ,'b '", "it is lexed there as one word by the text behind"),
    known("a bare word behind another value in a list", "Get-X 'a', b", "a list is lexed there as an expression"),
    known("a bare word that begins with a bracket", "Get-X [a", "it is lexed there as a type"),
    known(
        "a bare word with a grave accent",
        "Get-X `a",
        "an escape begins no word there, and is not known everywhere in one",
    ),
    known(
        "a command whose name begins with a keyword",
        "ForEach-Object 1",
        "some keywords end there before a hyphen, `class` and `enum` anywhere",
    ),
    known("a here-string with nothing but blank lines", "$x = @'\n'@", "the first is part of the opening there"),
    known(
        "a line of a here-string that begins with a mark",
        "$x = @\"\na\n\"\n\"@",
        "the mark is taken with the line end there",
    ),
    known(
        "a line that goes on at the end of a statement",
        "% { 1 `\n }",
        "a grave accent and a line end are no end there",
    ),
    known("a list behind braces that touch a name", "ft{$_.a},{$_.b}", "the braces are all of an argument there"),
    known("a step behind a call in an argument", "Get-X $x.Trim().Length", "an argument ends with a call there"),
    known("an operator directly behind a number", "1%,2", "`1%` begins the name of a command there"),
    known("a property whose name begins with foreach", "$x.foreach", "it is a word of its own there"),
    known("a line that ends with a carriage return alone", "1\r2", "it ends no statement there"),
    known(
        "an else that touches a brace",
        "$x = \nif ($x) { 1 }\nelseif ($x) { 2 }else { 3 }",
        "a value that begins on the next line ends before it there",
    ),
    known("a tab", "Get-X\ta", "behind the name of a command it is an error there"),
    known("the marks of a comment within text", "@\"\n<#\n\"@#>", "what stands between them is a comment there"),
    known("a grave accent within a comment", "<# `#> 1", "it keeps the comment from ending there"),
    known("a number sign behind a value in text", "\"$x#a\"", "behind a value or an escape it begins a comment there"),
    known("a script or script block without statements", "", "an empty list of statements is an error node there"),
    known("a value within a bare word", "Get-X a$(b)", "only quoted text holds values there"),
    known("characters beyond ASCII", "$x \u{2013}eq 1", "names are ASCII there, and a typographic mark is half known"),
];

/// What begins the name of a command that cannot begin a statement there.
const KEYWORDS: &[&str] = &[
    "foreach-",
    "do-",
    "data-",
    "sequence-",
    "param-",
    "begin-",
    "process-",
    "end-",
    "dynamicparam-",
    "inlinescript-",
    "else-",
    "elseif-",
    "class",
    "enum",
];

/// Whether the other parser finds nothing wrong with a script.
pub(crate) fn accepts(script: &str) -> bool {
    let mut parser = tree_sitter::Parser::new();
    parser.set_language(&tree_sitter_powershell::LANGUAGE.into()).unwrap();
    !parser.parse(script, None).unwrap().root_node().has_error()
}

/// The known differences that a script which ours accepts makes use of.
pub(crate) fn differences(script: &str, block: &Block) -> Vec<&'static str> {
    let mut search = Search { script, found: Vec::new(), quoted: Vec::new() };
    if script.match_indices('\r').any(|(at, _)| !script[at..].starts_with("\r\n")) {
        search.found.push("a line that ends with a carriage return alone");
    }
    if script.contains("<#") && script.contains("`#") {
        search.found.push("a grave accent within a comment");
    }
    let mixed = |(at, _): (usize, &str)| script[..at].ends_with(|before: char| before.is_ascii_digit());
    let units = ["KB", "MB", "GB", "TB", "PB", "Kb", "kB", "Mb", "mB", "Gb", "gB", "Tb", "tB", "Pb", "pB", "E"];
    if units.iter().any(|unit| script.match_indices(unit).any(mixed)) {
        search.found.push("a unit or exponent in another case");
    }
    let lower = script.to_ascii_lowercase();
    if ["-cin", "-iin", "-cnotin", "-inotin"].iter().any(|operator| lower.contains(operator)) {
        search.found.push("an operator of membership with a case");
    }
    if lower.contains("}else") {
        search.found.push("an else that touches a brace");
    }
    if script.contains(" ,") || script.contains("\n,") {
        search.found.push("a blank before a comma");
    }
    if script.contains('\t') {
        search.found.push("a tab");
    }
    let goes_on = |(at, mark): (usize, &str)| {
        let after = script[at + mark.len()..].trim_start_matches(' ');
        after.is_empty() || after.starts_with(['\n', '\r', ';', ')', '}'])
    };
    if script.match_indices("`\n").any(goes_on) {
        search.found.push("a line that goes on at the end of a statement");
    }
    search.script_block(block);
    let quoted = |at: usize| search.quoted.iter().any(|text| text.contains(&at));
    if script.char_indices().any(|(at, found)| !found.is_ascii() && !quoted(at)) {
        search.found.push("characters beyond ASCII");
    }
    search.found
}

/// A walk over a script.
struct Search<'a> {
    script: &'a str,
    found: Vec<&'static str>,
    /// Where text stands in plain quotation marks, without values.
    quoted: Vec<Range<usize>>,
}

impl Search<'_> {
    fn script_block(&mut self, block: &Block) {
        if block.statements.is_empty() {
            self.found.push("a script or script block without statements");
        }
        self.block(block);
    }

    fn block(&mut self, block: &Block) {
        block.statements.iter().for_each(|statement| self.statement(statement));
    }

    fn statement(&mut self, statement: &Statement) {
        match &statement.kind {
            StatementKind::Assign { target, value, .. } => {
                target.steps.iter().for_each(|step| self.step(step));
                self.statement(value);
            }
            StatementKind::Break | StatementKind::Continue | StatementKind::Exit(None) => {}
            StatementKind::Pipeline(pipeline) => {
                let named = |word: &str| self.script[pipeline.span.range()].to_ascii_lowercase().starts_with(word);
                if KEYWORDS.iter().any(|word| named(word)) {
                    self.found.push("a command whose name begins with a keyword");
                }
                self.pipeline(pipeline);
            }
            StatementKind::Exit(Some(pipeline)) => self.pipeline(pipeline),
            StatementKind::Foreach { over, body, .. } => {
                self.pipeline(over);
                self.block(body);
            }
            StatementKind::If { arms, otherwise } => {
                for (condition, body) in arms {
                    self.pipeline(condition);
                    self.block(body);
                }
                otherwise.iter().for_each(|body| self.block(body));
            }
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline) {
        for element in &pipeline.elements {
            match element {
                Element::Command(command) => self.command(command),
                Element::Expression(expression) => self.expression(expression),
            }
        }
    }

    fn command(&mut self, command: &Command) {
        self.word(&command.name);
        for argument in &command.arguments {
            match argument {
                Argument::Parameter { value, .. } => value.iter().for_each(|value| self.argument(value)),
                Argument::Value(value) => self.argument(value),
            }
        }
    }

    /// Here text may stand without quotation marks.
    fn argument(&mut self, argument: &Expression) {
        let raw = |item: &Expression| self.script[item.span.range()].to_owned();
        let bare = |item: &Expression| {
            let quoted = |raw: &str| raw.starts_with(['"', '\'', '@']);
            match item.kind {
                ExpressionKind::Text(_) | ExpressionKind::Expand(_) => !quoted(&raw(item)),
                _ => false,
            }
        };
        match &argument.kind {
            ExpressionKind::List(items) => {
                // `.5` is text here, and a number there.
                let number =
                    |item: &Expression| raw(item).starts_with(|first: char| first == '.' || first.is_ascii_digit());
                let touches = !self.script[..argument.span.start].ends_with([' ', '\n', ':']);
                if touches && matches!(items.first(), Some(Expression { kind: ExpressionKind::Block(_), .. })) {
                    self.found.push("a list behind braces that touch a name");
                }
                if items.windows(2).any(|two| bare(&two[1]) && (!bare(&two[0]) || number(&two[0]))) {
                    self.found.push("a bare word behind another value in a list");
                }
                items.iter().for_each(|item| self.argument(item));
            }
            ExpressionKind::Text(_) if bare(argument) => self.word(&raw(argument)),
            ExpressionKind::Expand(_) if bare(argument) => {
                self.found.push("a value within a bare word");
                self.expression(argument);
            }
            ExpressionKind::Access { steps, .. } => {
                if steps.iter().rev().skip(1).any(|step| matches!(step, Step::Method { .. })) {
                    self.found.push("a step behind a call in an argument");
                }
                self.expression(argument);
            }
            _ => self.expression(argument),
        }
    }

    fn word(&mut self, raw: &str) {
        if raw.starts_with('[') {
            self.found.push("a bare word that begins with a bracket");
        } else if raw.contains('`') {
            self.found.push("a bare word with a grave accent");
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Index(index) => self.expression(index),
            Step::Method { arguments, .. } => arguments.iter().for_each(|argument| self.expression(argument)),
            Step::Property { name } => {
                if self.script[name.span.range()].to_ascii_lowercase().starts_with("foreach") {
                    self.found.push("a property whose name begins with foreach");
                }
                self.expression(name);
            }
        }
    }

    /// What begins a comment outside of text.
    fn comment_marks(&mut self, text: &Expression) {
        let raw = &self.script[text.span.range()];
        if raw.contains("<#") && self.script[text.span.start..].contains("#>") {
            self.found.push("the marks of a comment within text");
        }
        let within = raw.strip_prefix('"').unwrap_or_default();
        let behind = |mark: &str| within.find(mark).is_some_and(|at| within[at..].contains('#'));
        if ["$", "`", "\"\""].into_iter().any(behind) {
            self.found.push("a number sign behind a value in text");
        }
    }

    fn here_text(&mut self, text: &Expression) {
        let mut lines = self.script[text.span.range()].lines();
        let marks: &[char] = match lines.next().and_then(|first| first.get(..2)) {
            Some("@\"") => &['`', '$', '"'],
            Some("@'") => &['\''],
            _ => return,
        };
        let lines: Vec<&str> = lines.collect();
        match &lines[..] {
            [within @ .., _] if within.iter().all(|line| line.trim().is_empty()) => {
                self.found.push("a here-string with nothing but blank lines")
            }
            [within @ .., _] if within.iter().any(|line| line.starts_with(marks)) => {
                self.found.push("a line of a here-string that begins with a mark");
            }
            _ => {}
        }
    }

    fn expression(&mut self, expression: &Expression) {
        match &expression.kind {
            ExpressionKind::Access { of, steps } => {
                self.expression(of);
                steps.iter().for_each(|step| self.step(step));
            }
            ExpressionKind::Array(block) | ExpressionKind::Sub(block) => self.block(block),
            ExpressionKind::Block(block) => self.script_block(block),
            ExpressionKind::Cast { of, .. } | ExpressionKind::Unary { of, .. } => self.expression(of),
            ExpressionKind::Chain { first, rest } => {
                let lefts = std::iter::once(&**first).chain(rest.iter().map(|(_, right)| right));
                let runs_on = |left: &Expression| {
                    matches!(left.kind, ExpressionKind::Number(_))
                        && begins_name(&self.script[left.span.end..], expression.span.end - left.span.end)
                };
                if lefts.take(rest.len()).any(runs_on) {
                    self.found.push("an operator directly behind a number");
                }
                self.expression(first);
                rest.iter().for_each(|(_, right)| self.expression(right));
            }
            ExpressionKind::Text(_) => {
                let raw = &self.script[expression.span.range()];
                let marks = |found: char| ('\u{2018}'..='\u{201e}').contains(&found) || found == '\u{a0}';
                if raw.starts_with(['"', '\'']) && !raw.contains(marks) {
                    self.quoted.push(expression.span.range());
                }
                self.comment_marks(expression);
                self.here_text(expression);
            }
            ExpressionKind::Expand(parts) => {
                self.comment_marks(expression);
                self.here_text(expression);
                for part in parts {
                    if let Part::Sub(block) = part {
                        self.block(block);
                    }
                }
            }
            ExpressionKind::Hashtable(entries) => {
                for (key, value) in entries {
                    self.expression(key);
                    self.statement(value);
                }
            }
            ExpressionKind::List(items) => items.iter().for_each(|item| self.expression(item)),
            ExpressionKind::Paren(pipeline) => self.pipeline(pipeline),
            ExpressionKind::Number(_) | ExpressionKind::Type(_) | ExpressionKind::Variable(_) => {}
        }
    }
}

/// Whether an operator directly behind a number begins what is neither a command with its arguments there, as `1..5` is,
/// nor an expression; this one has so many bytes more.
fn begins_name(behind_number: &str, more: usize) -> bool {
    let operator = ["..", "%"].into_iter().find_map(|operator| behind_number.strip_prefix(operator));
    operator.is_some_and(|after| {
        let name = after.trim_start_matches(|found: char| !found.is_whitespace() && !"{}();,|&\"'#".contains(found));
        let goes_on = behind_number.len() - name.len() < more;
        name == after
            || name.starts_with(['{', '(', ',', '&', '"', '\'', '#'])
            || (goes_on && name.starts_with(['\n', '\r']))
    })
}

/// What must hold of every text: it is refused, or the other parser accepts it but for what is listed.
pub(crate) fn check(script: &str) -> Result<(), String> {
    let Ok(block) = reveille_shell::parse(script) else { return Ok(()) };
    match differences(script, &block).is_empty() && !accepts(script) {
        true => Err(format!("only ours accepts {script:?}")),
        false => Ok(()),
    }
}
