//! Another parser of PowerShell, written by others: tree-sitter's grammar. Whatever ours accepts it accepts too, but for
//! some words without quotation marks that PowerShell itself takes.

use reveille_shell::ast::{
    Argument, Block, Command, Element, Expression, ExpressionKind, Part, Pipeline, Statement, StatementKind, Step,
};

/// Where ours accepts what that grammar does not and PowerShell does: a name, and why.
pub(crate) const DIFFERENCES: &[(&str, &str)] = &[
    ("an operator of membership with a case", "`-cin`, `-inotin`: only -in and -notin are known there"),
    ("a unit or exponent in another case", "`1Kb`, `1E3`: units are kb or KB there, exponents e"),
    ("a blank before a comma", "`'a' ,'b '` is lexed there as one word by the text behind"),
    ("a bare word behind another value in a list", "`'a', b`: a list is lexed there as an expression"),
    ("a bare word that begins with a bracket", "`[a` is lexed there as a type"),
    ("a bare word with a grave accent", "an escape begins no word there, and within one only some may be escaped"),
    ("a tab", "a tab behind the name of a command is an error there"),
    ("a number sign within text or a word", "`\"$x#\"`: behind a value it begins a comment there"),
    ("a script or script block without statements", "an empty list of statements is an error node there"),
    ("a value within a bare word", "`$user@contoso.com`, `a$(b)`: only quoted text holds values there"),
    ("characters beyond ASCII", "names are ASCII there, and a typographic quotation mark or dash is only half known"),
];

/// Whether the other parser finds nothing wrong with a script.
pub(crate) fn accepts(script: &str) -> bool {
    let mut parser = tree_sitter::Parser::new();
    parser.set_language(&tree_sitter_powershell::LANGUAGE.into()).unwrap();
    !parser.parse(script, None).unwrap().root_node().has_error()
}

/// The known differences that a script which ours accepts makes use of.
pub(crate) fn differences(script: &str, block: &Block) -> Vec<&'static str> {
    let mut search = Search { script, found: Vec::new() };
    let begins_comment = |before: &str| before.is_empty() || before.ends_with([' ', '\n', '\r', '<']);
    let within = |(at, _): (usize, &str)| !begins_comment(&script[..at]) || script[..at].contains('"');
    if script.match_indices('#').any(within) {
        search.found.push("a number sign within text or a word");
    }
    let mixed = |(at, _): (usize, &str)| script[..at].ends_with(|before: char| before.is_ascii_digit());
    let units = ["Kb", "kB", "Mb", "mB", "Gb", "gB", "Tb", "tB", "Pb", "pB", "E"];
    if units.iter().any(|unit| script.match_indices(unit).any(mixed)) {
        search.found.push("a unit or exponent in another case");
    }
    let lower = script.to_ascii_lowercase();
    if ["-cin", "-iin", "-cnotin", "-inotin"].iter().any(|operator| lower.contains(operator)) {
        search.found.push("an operator of membership with a case");
    }
    if script.contains(" ,") || script.contains("\n,") {
        search.found.push("a blank before a comma");
    }
    if !script.is_ascii() {
        search.found.push("characters beyond ASCII");
    }
    if script.contains('\t') {
        search.found.push("a tab");
    }
    search.script_block(block);
    search.found
}

/// A walk over a script.
struct Search<'a> {
    script: &'a str,
    found: Vec<&'static str>,
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
            StatementKind::Exit(Some(pipeline)) | StatementKind::Pipeline(pipeline) => self.pipeline(pipeline),
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
                if items.windows(2).any(|two| bare(&two[1]) && !bare(&two[0])) {
                    self.found.push("a bare word behind another value in a list");
                }
                items.iter().for_each(|item| self.argument(item));
            }
            ExpressionKind::Text(_) if bare(argument) => self.word(&raw(argument)),
            ExpressionKind::Expand(_) if bare(argument) => {
                self.found.push("a value within a bare word");
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
            Step::Property { name } => self.expression(name),
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
                self.expression(first);
                rest.iter().for_each(|(_, right)| self.expression(right));
            }
            ExpressionKind::Expand(parts) => {
                for part in parts {
                    if let Part::Sub(block) = part {
                        self.block(block);
                    }
                }
            }
            ExpressionKind::Hashtable(entries) => {
                for (key, value) in entries {
                    self.expression(key);
                    self.pipeline(value);
                }
            }
            ExpressionKind::List(items) => items.iter().for_each(|item| self.expression(item)),
            ExpressionKind::Paren(pipeline) => self.pipeline(pipeline),
            ExpressionKind::Number(_)
            | ExpressionKind::Text(_)
            | ExpressionKind::Type(_)
            | ExpressionKind::Variable(_) => {}
        }
    }
}

/// What must hold of every text: it is refused, or the other parser accepts it but for what is listed.
pub(crate) fn check(script: &str) -> Result<(), String> {
    let Ok(block) = reveille_shell::parse(script) else { return Ok(()) };
    match differences(script, &block).is_empty() && !accepts(script) {
        true => Err(format!("only ours accepts {script:?}")),
        false => Ok(()),
    }
}
