//! Statements: assignments, `if`, `foreach`, pipelines, and what ends them.

use super::{Open, Parser, unsupported};
use crate::ast::{
    Assign, Block, Element, Expression, ExpressionKind, Number, Pipeline, Statement, StatementKind, Step, Target, Type,
    Variable,
};
use crate::error::Fault;
use crate::lexer::is_line_end;
use crate::span::Span;

impl Parser<'_> {
    /// Statements up to the closing bracket, which is taken, or to the end of the script.
    pub(super) fn statements(&mut self, open: Option<Open>) -> Result<Vec<Statement>, Fault> {
        let mut statements = Vec::new();
        loop {
            self.lexer.blank_lines()?;
            match (self.lexer.peek(), open) {
                (Some(';'), _) => {
                    self.lexer.bump();
                }
                (None, None) => return Ok(statements),
                (None, Some(open)) => return Err(self.unclosed(open)),
                (Some(found), Some(open)) if found == open.closed_by => {
                    self.lexer.bump();
                    return Ok(statements);
                }
                (Some(')' | '}' | ']'), _) => return Err(self.unexpected(" Nothing is open that it would close.")),
                (Some(_), _) => {
                    statements.push(self.statement()?);
                    self.statement_end(open)?;
                }
            }
        }
    }

    /// After a statement comes the end of the line, a semicolon, or what closes the block.
    fn statement_end(&mut self, open: Option<Open>) -> Result<(), Fault> {
        self.lexer.blanks()?;
        match self.lexer.peek() {
            None | Some(';') => Ok(()),
            Some(found) if is_line_end(found) || open.is_some_and(|open| open.closed_by == found) => Ok(()),
            // `if ($x) {…} Get-Y` is two statements, as in PowerShell.
            Some(_) if self.after_body => Ok(()),
            Some(_) => Err(self.unexpected(" A statement ends at the end of its line, or with a semicolon (;).")),
        }
    }

    /// One statement.
    pub(super) fn statement(&mut self) -> Result<Statement, Fault> {
        self.after_body = false;
        let start = self.lexer.at();
        let word = self.lexer.peek_word().to_ascii_lowercase();
        let kind = match word.as_str() {
            "if" => self.condition()?,
            "foreach" => self.foreach()?,
            "break" | "continue" => self.jump(&word)?,
            "exit" => {
                self.lexer.take_keyword(&word);
                self.lexer.blanks()?;
                let ends = self.lexer.peek().is_none_or(|next| is_line_end(next) || matches!(next, ';' | '}' | ')'));
                let status = if ends { None } else { Some(self.pipeline()?) };
                self.after_body = false;
                StatementKind::Exit(status)
            }
            _ => match unsupported::keyword(&self.lexer, &word) {
                Some(fault) => return Err(fault),
                None => return self.pipeline_or_assignment(),
            },
        };
        Ok(Statement { kind, span: self.lexer.span_since(start) })
    }

    /// `break` or `continue`, which need a loop.
    fn jump(&mut self, word: &str) -> Result<StatementKind, Fault> {
        let start = self.lexer.at();
        self.lexer.take_keyword(word);
        if self.loops == 0 {
            let said = format!("{word} stands outside of a foreach ($x in …) {{…}} that it could end.");
            return Err(Fault::new(self.lexer.span_since(start), "OutsideOfLoop", said));
        }
        Ok(if word == "break" { StatementKind::Break } else { StatementKind::Continue })
    }

    /// `if (…) {…} elseif (…) {…} else {…}`.
    fn condition(&mut self) -> Result<StatementKind, Fault> {
        let mut arms = Vec::new();
        let mut word = "if";
        loop {
            self.lexer.take_keyword(word);
            self.lexer.blank_lines()?;
            let condition = self.in_parentheses(word, Self::pipeline)?;
            arms.push((condition, self.body(word)?));
            let back = self.lexer.at();
            self.lexer.blank_lines()?;
            match self.lexer.peek_word().to_ascii_lowercase().as_str() {
                "elseif" => word = "elseif",
                "else" => {
                    self.lexer.take_keyword("else");
                    let otherwise = Some(self.body("else")?);
                    return Ok(StatementKind::If { arms, otherwise });
                }
                _ => {
                    self.lexer.go(back);
                    return Ok(StatementKind::If { arms, otherwise: None });
                }
            }
        }
    }

    /// `foreach ($x in …) {…}`.
    fn foreach(&mut self) -> Result<StatementKind, Fault> {
        self.lexer.take_keyword("foreach");
        self.lexer.blank_lines()?;
        let (variable, over) = self.in_parentheses("foreach", |parser| {
            parser.lexer.blank_lines()?;
            if parser.lexer.peek() != Some('$') {
                return Err(parser.unexpected(" foreach begins with a variable: foreach ($x in …) {…}"));
            }
            let variable = parser.variable()?;
            parser.lexer.blank_lines()?;
            if !parser.lexer.take_keyword("in") {
                return Err(parser.unexpected(" The word in follows the variable: foreach ($x in …) {…}"));
            }
            parser.lexer.blank_lines()?;
            Ok((variable, parser.pipeline()?))
        })?;
        self.loops += 1;
        let body = self.body("foreach");
        self.loops -= 1;
        Ok(StatementKind::Foreach { variable, over, body: body? })
    }

    fn in_parentheses<T>(
        &mut self,
        word: &str,
        within: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        if self.lexer.peek() != Some('(') {
            return Err(self.unexpected(&format!(" After {word} come parentheses.")));
        }
        let open = self.open("(", ')');
        self.nested(open.span, |parser| {
            parser.lexer.blank_lines()?;
            let done = within(parser)?;
            parser.close(open)?;
            Ok(done)
        })
    }

    /// The braces of a statement; loops around go on within.
    fn body(&mut self, word: &str) -> Result<Block, Fault> {
        self.lexer.blank_lines()?;
        if self.lexer.peek() != Some('{') {
            return Err(self.unexpected(&format!(" What {word} does stands in braces: {{ … }}")));
        }
        let open = self.open("{", '}');
        let statements = self.nested(open.span, |parser| parser.statements(Some(open)))?;
        self.after_body = true;
        Ok(Block { statements, span: self.lexer.span_since(open.span.start) })
    }

    /// A pipeline, or what it begins with is set.
    fn pipeline_or_assignment(&mut self) -> Result<Statement, Fault> {
        let start = self.lexer.at();
        let pipeline = self.pipeline()?;
        self.after_body = false;
        let back = self.lexer.at();
        self.lexer.blanks()?;
        let operator = self.lexer.at();
        let how = match self.assign() {
            Some(how) if pipeline.elements.len() == 1 => how,
            None if pipeline.elements.len() == 1 && unsupported::count(&self.lexer).is_some() => {
                return self.counted(pipeline, start);
            }
            _ => {
                self.lexer.go(back);
                let span = pipeline.span;
                return Ok(Statement { kind: StatementKind::Pipeline(pipeline), span });
            }
        };
        let operator = self.lexer.span_since(operator);
        let target = target(pipeline, operator)?;
        self.lexer.blank_lines()?;
        if self.lexer.peek().is_none() {
            let said = "No value follows the assignment.";
            return Err(Fault::incomplete(operator, "ExpectedValueExpression", said));
        }
        // `$a = $b = $c = …` is as deep as it is long.
        let value = Box::new(self.nested(operator, Self::statement)?);
        // The braces of an `if` end that, and not what it is given to.
        self.after_body = false;
        Ok(Statement { kind: StatementKind::Assign { target, how, value }, span: self.lexer.span_since(start) })
    }

    /// `$x++` or `$x--`: one is added or taken away.
    fn counted(&mut self, pipeline: Pipeline, start: usize) -> Result<Statement, Fault> {
        let sign = self.lexer.at();
        let how = if self.lexer.take("++") { Assign::Add } else { Assign::Subtract };
        self.lexer.go(sign + 2);
        let span = self.lexer.span_since(sign);
        let target = target(pipeline, span)?;
        let one = Element::Expression(Expression { kind: ExpressionKind::Number(Number::Int(1)), span });
        let one = Statement { kind: StatementKind::Pipeline(Pipeline { elements: vec![one], span }), span };
        let kind = StatementKind::Assign { target, how, value: Box::new(one) };
        Ok(Statement { kind, span: self.lexer.span_since(start) })
    }

    fn assign(&mut self) -> Option<Assign> {
        let rest = self.lexer.rest();
        let (length, how) = match rest.as_bytes() {
            [b'=', b'=', ..] => return None,
            [b'=', ..] => (1, Assign::Set),
            [b'+', b'=', ..] => (2, Assign::Add),
            [b'-', b'=', ..] => (2, Assign::Subtract),
            [b'*', b'=', ..] => (2, Assign::Multiply),
            [b'/', b'=', ..] => (2, Assign::Divide),
            _ => return None,
        };
        self.lexer.go(self.lexer.at() + length);
        Some(how)
    }

    /// Commands and expressions with `|` between.
    pub(super) fn pipeline(&mut self) -> Result<Pipeline, Fault> {
        let start = self.lexer.at();
        let mut elements = vec![self.element(true)?];
        let mut end = self.lexer.at();
        loop {
            self.lexer.blanks()?;
            if let Some(fault) = unsupported::operator(&self.lexer) {
                return Err(fault);
            }
            if self.lexer.peek() != Some('|') {
                self.lexer.go(end);
                return Ok(Pipeline { elements, span: Span::new(start, end) });
            }
            let pipe = self.lexer.at();
            self.lexer.bump();
            let pipe = self.lexer.span_since(pipe);
            self.lexer.blank_lines()?;
            if self.lexer.peek().is_none() {
                return Err(Fault::incomplete(pipe, "EmptyPipeElement", "No command follows the |."));
            }
            elements.push(self.element(false)?);
            end = self.lexer.at();
        }
    }

    fn element(&mut self, first: bool) -> Result<Element, Fault> {
        if self.lexer.peek() == Some('|') {
            let said = " A command is missing before the |; a line that begins with | belongs behind the | of the line before.";
            return Err(self.unexpected(said));
        }
        if !self.at_expression() {
            return self.command().map(Element::Command);
        }
        let expression = self.expression()?;
        if !first {
            let said = "After a | comes a command. To use a value of each object, write ForEach-Object { $_.Name }.";
            return Err(Fault::new(expression.span, "ExpressionsMustBeFirstInPipeline", said));
        }
        Ok(Element::Expression(expression))
    }
}

/// What stands before `=`, as something that can be set.
fn target(mut pipeline: Pipeline, operator: Span) -> Result<Target, Fault> {
    let wrong = |span| {
        let said = "Only a variable, or a property or item of one, can be set: $x = …, $x.Name = …, $x[0] = …";
        Fault::new(span, "InvalidLeftHandSide", said)
    };
    match pipeline.elements.pop() {
        Some(Element::Expression(expression)) => reach(expression).ok_or_else(|| wrong(pipeline.span)),
        Some(Element::Command(command)) => {
            let said = format!("A variable begins with $: ${} = …", command.name);
            Err(Fault::new(command.name_span, "InvalidLeftHandSide", said))
        }
        None => Err(wrong(operator)),
    }
}

fn reach(expression: Expression) -> Option<Target> {
    let variable = |expression: Expression| match expression.kind {
        ExpressionKind::Variable(variable) => Some(variable),
        _ => None,
    };
    let made = |variable: Variable, cast: Option<Type>, steps: Vec<Step>| Target { variable, cast, steps };
    match expression.kind {
        ExpressionKind::Variable(name) => Some(made(name, None, Vec::new())),
        ExpressionKind::Cast { to, of } => Some(made(variable(*of)?, Some(to), Vec::new())),
        ExpressionKind::Access { of, steps } if !steps.iter().any(|step| matches!(step, Step::Method { .. })) => {
            Some(made(variable(*of)?, None, steps))
        }
        _ => None,
    }
}
