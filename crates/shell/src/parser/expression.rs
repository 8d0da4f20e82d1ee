//! Expressions: operators by precedence, values, and the steps from a value to what it holds.

use super::{Open, Parser, unsupported};
use crate::ast::{
    Binary, Block, Comparison, Expression, ExpressionKind, Number, Pipeline, Statement, Step, Type, Unary,
};
use crate::error::Fault;
use crate::lexer::{is_dash, is_double, is_line_end, is_name, is_single};
use crate::span::Span;

/// The methods that may be called; everything else is done by commands.
pub const METHODS: &[&str] = &[
    "AddDays",
    "AddHours",
    "AddMinutes",
    "AddMonths",
    "AddSeconds",
    "AddYears",
    "CompareTo",
    "Contains",
    "ContainsKey",
    "EndsWith",
    "Equals",
    "GetEnumerator",
    "GetType",
    "IndexOf",
    "Insert",
    "LastIndexOf",
    "PadLeft",
    "PadRight",
    "Remove",
    "Replace",
    "Split",
    "StartsWith",
    "Substring",
    "ToCharArray",
    "ToHTML",
    "ToLower",
    "ToLowerInvariant",
    "ToString",
    "ToUpper",
    "ToUpperInvariant",
    "ToXML",
    "Trim",
    "TrimEnd",
    "TrimStart",
];

/// The precedence of `-and`; the operators that bind closest, `..`, have that of [`RANGE`].
const LOGICAL: u8 = 1;
const COMPARISON: u8 = 2;
const ADDITIVE: u8 = 3;
const MULTIPLICATIVE: u8 = 4;
const FORMAT: u8 = 5;
const RANGE: u8 = 6;

impl Parser<'_> {
    /// Whether an expression comes next, and not a command.
    pub(super) fn at_expression(&self) -> bool {
        match (self.lexer.peek(), self.lexer.second()) {
            (Some('@'), next) => next.is_some_and(|next| "({".contains(next) || is_single(next) || is_double(next)),
            (Some('$' | '(' | '{' | '[' | '!' | ','), _) => true,
            (Some('.'), Some(next)) => next.is_ascii_digit(),
            (Some(found), _) if is_single(found) || is_double(found) => true,
            (Some(found), _) if found.is_ascii_digit() => self.lexer.clone().number(ends_number).is_some(),
            (Some('+'), Some(next)) => next.is_ascii_digit() || matches!(next, '$' | '('),
            (Some(found), Some(next)) if is_dash(found) => {
                next.is_ascii_digit() || matches!(next, '$' | '(' | '.') || self.unary_word().is_some()
            }
            _ => false,
        }
    }

    /// An expression with all its operators.
    pub(super) fn expression(&mut self) -> Result<Expression, Fault> {
        self.operators(LOGICAL)
    }

    /// Operators of at least that precedence. Those of one precedence that follow each other are one list, so that only
    /// what is nested is deep.
    fn operators(&mut self, least: u8) -> Result<Expression, Fault> {
        let mut left = self.list()?;
        // The precedence of the list that `left` is.
        let mut of_left = None;
        loop {
            let back = self.lexer.at();
            self.lexer.blanks()?;
            let Some((operator, level)) = self.operator()?.filter(|(_, level)| *level >= least) else {
                self.lexer.go(back);
                return Ok(left);
            };
            self.lexer.blank_lines()?;
            let right = match operator {
                Binary::Is | Binary::IsNot => self.type_operand()?,
                _ => self.operators(level + 1)?,
            };
            if matches!(right.kind, ExpressionKind::Block(_)) {
                return Err(unsupported::block_operand(operator, right.span));
            }
            let span = self.lexer.span_since(left.span.start);
            left = match left.kind {
                ExpressionKind::Chain { first, mut rest } if of_left == Some(level) => {
                    rest.push((operator, right));
                    Expression { kind: ExpressionKind::Chain { first, rest }, span }
                }
                kind => {
                    let first = Box::new(Expression { kind, span: left.span });
                    Expression { kind: ExpressionKind::Chain { first, rest: vec![(operator, right)] }, span }
                }
            };
            of_left = Some(level);
        }
    }

    /// An operator with two sides and its precedence, if one comes next. It is taken.
    fn operator(&mut self) -> Result<Option<(Binary, u8)>, Fault> {
        let start = self.lexer.at();
        let Some(found) = self.lexer.peek() else { return Ok(None) };
        let next = self.lexer.second();
        if is_dash(found) && next.is_some_and(char::is_alphabetic) {
            self.lexer.bump();
            let word = self.lexer.take_while(is_name).to_ascii_lowercase();
            return match binary_word(&word) {
                Some(found) => Ok(Some(found)),
                None => Err(unsupported::operator_word(&word, self.lexer.span_since(start))),
            };
        }
        let (length, operator) = match found {
            '.' if next == Some('.') => (2, (Binary::Range, RANGE)),
            _ if next == Some('=') => return Ok(None),
            '+' if next != Some('+') => (1, (Binary::Add, ADDITIVE)),
            '*' => (1, (Binary::Multiply, MULTIPLICATIVE)),
            '/' => (1, (Binary::Divide, MULTIPLICATIVE)),
            '%' => (1, (Binary::Remainder, MULTIPLICATIVE)),
            _ if is_dash(found) && !next.is_some_and(is_dash) => (found.len_utf8(), (Binary::Subtract, ADDITIVE)),
            _ => return Ok(None),
        };
        self.lexer.go(start + length);
        Ok(Some(operator))
    }

    /// Values with commas between.
    fn list(&mut self) -> Result<Expression, Fault> {
        let start = self.lexer.at();
        let first = self.unary()?;
        if self.comma_separates {
            return Ok(first);
        }
        let mut items = vec![first];
        loop {
            let back = self.lexer.at();
            self.lexer.blanks()?;
            if self.lexer.peek() != Some(',') {
                self.lexer.go(back);
                break;
            }
            self.lexer.bump();
            self.lexer.blank_lines()?;
            items.push(self.unary()?);
        }
        match (items.pop(), items.is_empty()) {
            (Some(only), true) => Ok(only),
            (last, _) => {
                items.extend(last);
                Ok(Expression { kind: ExpressionKind::List(items), span: self.lexer.span_since(start) })
            }
        }
    }

    /// A value with the operators before it.
    fn unary(&mut self) -> Result<Expression, Fault> {
        let start = self.lexer.at();
        let sign = |parser: &Self| parser.lexer.second().is_none_or(|next| !is_dash(next) && next != '+');
        match self.lexer.peek() {
            Some(',') => {
                self.lexer.bump();
                let item = self.operand(start)?;
                Ok(Expression { kind: ExpressionKind::List(vec![item]), span: self.lexer.span_since(start) })
            }
            Some('!') => {
                self.lexer.bump();
                self.applied(Unary::Not, start)
            }
            Some('+') if sign(self) => {
                self.lexer.bump();
                self.applied(Unary::Plus, start)
            }
            Some(found) if is_dash(found) => match self.unary_word() {
                Some((length, operator)) => {
                    self.lexer.go(start + length);
                    self.applied(operator, start)
                }
                None if sign(self) && !self.lexer.second().is_some_and(char::is_alphabetic) => {
                    self.lexer.bump();
                    self.applied(Unary::Minus, start)
                }
                None => Err(self.unexpected(" A value is expected.")),
            },
            Some('[') => self.cast(),
            _ => self.primary_with_steps(),
        }
    }

    /// What an operator stands before.
    fn operand(&mut self, start: usize) -> Result<Expression, Fault> {
        let span = self.lexer.span_since(start);
        let separates = self.comma_separates;
        self.nested(span, |parser| {
            parser.comma_separates = separates;
            parser.lexer.blank_lines()?;
            parser.unary()
        })
    }

    fn applied(&mut self, operator: Unary, start: usize) -> Result<Expression, Fault> {
        let of = self.operand(start)?;
        let span = self.lexer.span_since(start);
        let kind = match (operator, of.kind) {
            (Unary::Minus, ExpressionKind::Number(Number::Int(number))) => ExpressionKind::Number(Number::Int(-number)),
            (Unary::Minus, ExpressionKind::Number(Number::Double(number))) => {
                ExpressionKind::Number(Number::Double(-number))
            }
            (_, kind) => ExpressionKind::Unary { operator, of: Box::new(Expression { kind, span: of.span }) },
        };
        Ok(Expression { kind, span })
    }

    /// `-not`, `-join` or `-split` with its length, if it comes next.
    fn unary_word(&self) -> Option<(usize, Unary)> {
        let mut ahead = self.lexer.clone();
        let dash = ahead.bump().filter(|found| is_dash(*found))?;
        let word = ahead.take_while(is_name);
        let operator = match word.to_ascii_lowercase().as_str() {
            "not" => Unary::Not,
            "join" => Unary::Join,
            "split" | "isplit" => Unary::Split,
            _ => return None,
        };
        Some((dash.len_utf8() + word.len(), operator))
    }

    /// `[int]$x`.
    fn cast(&mut self) -> Result<Expression, Fault> {
        let start = self.lexer.at();
        let to = self.type_name()?;
        if self.lexer.rest().starts_with("::") {
            return Err(unsupported::static_member(self.lexer.since(start), self.lexer.span_since(start)));
        }
        self.lexer.blanks()?;
        if self.lexer.peek().is_none_or(|next| is_line_end(next) || matches!(next, ';' | ')' | '}' | '|')) {
            return Err(self.unexpected(" A type is followed by the value that becomes one."));
        }
        let of = Box::new(self.operand(start)?);
        Ok(Expression { kind: ExpressionKind::Cast { to, of }, span: self.lexer.span_since(start) })
    }

    /// `[int]`.
    fn type_name(&mut self) -> Result<Type, Fault> {
        let start = self.lexer.at();
        self.lexer.bump();
        let name = self.lexer.take_while(|found| is_name(found) || found == '.').to_owned();
        let name = if self.lexer.take("[]") { format!("{name}[]") } else { name };
        let ends = self.lexer.take("]");
        let span = self.lexer.span_since(start);
        if ends && self.lexer.rest().starts_with("::") {
            return Err(unsupported::static_member(&format!("[{name}]"), span));
        }
        match Type::named(&name).filter(|_| ends) {
            Some(named) => Ok(named),
            None => Err(unsupported::type_name(&name, span)),
        }
    }

    fn type_operand(&mut self) -> Result<Expression, Fault> {
        let start = self.lexer.at();
        if self.lexer.peek() != Some('[') {
            return Err(self.unexpected(" After -is comes a type, for instance [string]."));
        }
        let named = self.type_name()?;
        Ok(Expression { kind: ExpressionKind::Type(named), span: self.lexer.span_since(start) })
    }

    /// A value with the steps behind it.
    pub(super) fn primary_with_steps(&mut self) -> Result<Expression, Fault> {
        let of = self.primary()?;
        let mut steps = Vec::new();
        while let Some(step) = self.step()? {
            steps.push(step);
        }
        if steps.is_empty() {
            return Ok(of);
        }
        let span = self.lexer.span_since(of.span.start);
        Ok(Expression { kind: ExpressionKind::Access { of: Box::new(of), steps }, span })
    }

    pub(super) fn primary(&mut self) -> Result<Expression, Fault> {
        let start = self.lexer.at();
        let kind = match (self.lexer.peek(), self.lexer.second()) {
            (Some('$'), Some('(')) => ExpressionKind::Sub(self.block("$(", ')')?),
            (Some('$'), _) => ExpressionKind::Variable(self.variable()?),
            (Some('@'), Some('(')) => ExpressionKind::Array(self.block("@(", ')')?),
            (Some('@'), Some('{')) => self.hashtable()?,
            (Some('@'), Some(next)) if is_single(next) || is_double(next) => self.here_text()?,
            (Some('('), _) => {
                let open = self.open("(", ')');
                ExpressionKind::Paren(Box::new(self.parenthesised(open)?))
            }
            (Some('{'), _) => ExpressionKind::Block(self.block("{", '}')?),
            (Some(found), _) if is_single(found) => ExpressionKind::Text(self.plain_text()?),
            (Some(found), _) if is_double(found) => self.text()?,
            _ => match self.lexer.number(ends_number) {
                Some(number) => ExpressionKind::Number(number),
                None => return Err(self.no_value()),
            },
        };
        Ok(Expression { kind, span: self.lexer.span_since(start) })
    }

    fn no_value(&self) -> Fault {
        let word = self.lexer.clone().take_while(is_name).to_owned();
        match word.as_str() {
            "" => self.unexpected(" A value is expected."),
            "true" | "false" | "null" => self.unexpected(&format!(" Write ${word}.")),
            _ => self.unexpected(&format!(" Text within an expression stands in quotation marks: '{word}'.")),
        }
    }

    fn parenthesised(&mut self, open: Open) -> Result<Pipeline, Fault> {
        self.nested(open.span, |parser| {
            parser.lexer.blank_lines()?;
            let pipeline = parser.pipeline()?;
            parser.lexer.blank_lines()?;
            if parser.lexer.peek() == Some('=') {
                let said = " An assignment is a statement of its own: $x = …; then use $x.";
                return Err(parser.unexpected(said));
            }
            parser.close(open)?;
            Ok(pipeline)
        })
    }

    /// Statements between brackets.
    pub(super) fn block(&mut self, text: &str, closed_by: char) -> Result<Block, Fault> {
        let open = self.open(text, closed_by);
        let loops = std::mem::replace(&mut self.loops, 0);
        let statements = self.nested(open.span, |parser| parser.statements(Some(open)));
        self.loops = loops;
        Ok(Block { statements: statements?, span: self.lexer.span_since(open.span.start) })
    }

    /// `@{ Name = value; … }`, also with a line for each.
    fn hashtable(&mut self) -> Result<ExpressionKind, Fault> {
        let open = self.open("@{", '}');
        self.nested(open.span, |parser| {
            let mut entries: Vec<(Expression, Statement)> = Vec::new();
            loop {
                parser.lexer.blank_lines()?;
                match parser.lexer.peek() {
                    Some(';') if !entries.is_empty() => {
                        parser.lexer.bump();
                    }
                    Some('}') => {
                        parser.lexer.bump();
                        return Ok(ExpressionKind::Hashtable(entries));
                    }
                    None => return Err(parser.unclosed(open)),
                    Some(_) => {
                        let entry = parser.entry()?;
                        if let Some(twice) = entries.iter().find(|known| same_key(&known.0, &entry.0)) {
                            let span = entry.0.span.to(twice.0.span.to(entry.0.span));
                            let said = "This key stands in the hashtable twice.";
                            return Err(Fault::new(span, "DuplicateKeyInHashLiteral", said));
                        }
                        entries.push(entry);
                        parser.entry_end()?;
                    }
                }
            }
        })
    }

    fn entry(&mut self) -> Result<(Expression, Statement), Fault> {
        let start = self.lexer.at();
        let key = match self.lexer.peek() {
            Some('$') => self.primary_with_steps()?,
            Some(found) if is_single(found) || is_double(found) || found.is_ascii_digit() => self.primary()?,
            _ => {
                let name = self.lexer.take_while(is_name).to_owned();
                let span = self.lexer.span_since(start);
                if name.is_empty() {
                    return Err(self.unexpected(" A name is expected: @{ Name = value; … }"));
                }
                Expression { kind: ExpressionKind::Text(name), span }
            }
        };
        self.lexer.blanks()?;
        if self.lexer.peek() != Some('=') {
            let said = " After the name in a hashtable comes an equals sign: @{ Name = value; … }";
            return Err(self.unexpected(said));
        }
        self.lexer.bump();
        self.lexer.blank_lines()?;
        Ok((key, self.statement()?))
    }

    fn entry_end(&mut self) -> Result<(), Fault> {
        self.lexer.blanks()?;
        match self.lexer.peek() {
            None | Some(';' | '}') => Ok(()),
            Some(found) if is_line_end(found) => Ok(()),
            Some(_) => Err(self.unexpected(" Entries of a hashtable are separated by semicolons (;) or lines.")),
        }
    }

    /// `.Name`, `.Name(…)` or `[…]`, if it comes next without a blank.
    fn step(&mut self) -> Result<Option<Step>, Fault> {
        match (self.lexer.peek(), self.lexer.second()) {
            (Some('['), _) => {
                let open = self.open("[", ']');
                self.nested(open.span, |parser| {
                    parser.lexer.blank_lines()?;
                    let index = parser.expression()?;
                    parser.close(open)?;
                    Ok(Some(Step::Index(index)))
                })
            }
            (Some('.'), Some(next)) if next != '.' => self.member().map(Some),
            (Some(':'), Some(':')) => {
                let start = self.lexer.at();
                Err(unsupported::static_member("", Span::new(start, start + 2)))
            }
            _ => Ok(None),
        }
    }

    fn member(&mut self) -> Result<Step, Fault> {
        self.lexer.bump();
        let start = self.lexer.at();
        let kind = match self.lexer.peek() {
            Some('$') => ExpressionKind::Variable(self.variable()?),
            Some(found) if is_single(found) => ExpressionKind::Text(self.plain_text()?),
            _ => match self.lexer.name() {
                Some(name) => ExpressionKind::Text(name.to_owned()),
                None => return Err(self.unexpected(" The name of a property is expected after the dot.")),
            },
        };
        let span = self.lexer.span_since(start);
        match kind {
            ExpressionKind::Text(name) if self.lexer.peek() == Some('(') => self.method(name, span),
            kind => Ok(Step::Property { name: Box::new(Expression { kind, span }) }),
        }
    }

    fn method(&mut self, name: String, span: Span) -> Result<Step, Fault> {
        let Some(known) = METHODS.iter().find(|known| known.eq_ignore_ascii_case(&name)) else {
            let said = format!(
                "The method {name} cannot be called here. These can: {}. Everything else is done by commands.",
                METHODS.join(", ")
            );
            return Err(Fault::new(span, "MethodNotSupported", said));
        };
        let open = self.open("(", ')');
        let arguments = self.nested(open.span, |parser| {
            let mut arguments = Vec::new();
            parser.lexer.blank_lines()?;
            if parser.lexer.peek() != Some(')') {
                parser.comma_separates = true;
                loop {
                    arguments.push(parser.expression()?);
                    parser.lexer.blank_lines()?;
                    if !parser.lexer.take(",") {
                        break;
                    }
                    parser.lexer.blank_lines()?;
                }
            }
            parser.close(open)?;
            Ok(arguments)
        })?;
        Ok(Step::Method { name: (*known).to_owned(), span, arguments })
    }
}

fn ends_number(next: char) -> bool {
    !is_name(next) && !matches!(next, '.' | ':' | '\\' | '@' | '#')
}

fn same_key(one: &Expression, other: &Expression) -> bool {
    match (&one.kind, &other.kind) {
        (ExpressionKind::Text(one), ExpressionKind::Text(other)) => one.to_lowercase() == other.to_lowercase(),
        (ExpressionKind::Number(one), ExpressionKind::Number(other)) => one == other,
        _ => false,
    }
}

/// The operator of that name, in lower case, with its precedence.
pub(crate) fn binary_word(word: &str) -> Option<(Binary, u8)> {
    let logical = match word {
        "and" => Some(Binary::And),
        "or" => Some(Binary::Or),
        "xor" => Some(Binary::Xor),
        _ => None,
    };
    if let Some(operator) = logical {
        return Some((operator, LOGICAL));
    }
    match word {
        "f" => return Some((Binary::Format, FORMAT)),
        "is" => return Some((Binary::Is, COMPARISON)),
        "isnot" => return Some((Binary::IsNot, COMPARISON)),
        "join" => return Some((Binary::Join, COMPARISON)),
        _ => {}
    }
    let named = |word: &str, exact: bool| {
        let comparison = match word {
            "contains" => Comparison::Contains,
            "eq" => Comparison::Eq,
            "ge" => Comparison::Ge,
            "gt" => Comparison::Gt,
            "in" => Comparison::In,
            "le" => Comparison::Le,
            "like" => Comparison::Like,
            "lt" => Comparison::Lt,
            "match" => Comparison::Match,
            "ne" => Comparison::Ne,
            "notcontains" => Comparison::NotContains,
            "notin" => Comparison::NotIn,
            "notlike" => Comparison::NotLike,
            "notmatch" => Comparison::NotMatch,
            "replace" => return Some(Binary::Replace(exact)),
            "split" => return Some(Binary::Split(exact)),
            _ => return None,
        };
        Some(Binary::Compare(comparison, exact))
    };
    // The name itself first: -in is not the exact-case form of an operator "n".
    let operator = named(word, false)
        .or_else(|| word.strip_prefix('c').and_then(|rest| named(rest, true)))
        .or_else(|| word.strip_prefix('i').and_then(|rest| named(rest, false)))?;
    Some((operator, COMPARISON))
}
