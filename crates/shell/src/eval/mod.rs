//! Carrying a script out: its statements.

pub(crate) mod command;
pub(crate) mod compare;
pub(crate) mod convert;
mod expression;
pub(crate) mod method;
pub(crate) mod moment;
pub(crate) mod operate;
pub(crate) mod pipeline;
pub(crate) mod preference;
mod report;
mod target;
pub(crate) mod wrong;

use std::future::Future;
use std::pin::Pin;

use reveille_admin::Value;

pub(crate) use self::expression::stray_block;
use self::pipeline::Printer;
pub(crate) use self::pipeline::{More, Sink, Stage, items_of};
pub(crate) use self::report::Report;
use self::wrong::Wrong;
use crate::ast::{Block, Element, Pipeline, Statement, StatementKind};
use crate::host::{Host, Terminal};
use crate::session::Session;

/// Something under way that may hold more of its own kind.
pub(crate) type Step<'a, T> = Pin<Box<dyn Future<Output = Result<T, Flow>> + Send + 'a>>;

/// Why what comes next is not carried out.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Flow {
    Break,
    Continue,
    Exit(u8),
    /// The statement has failed; what that means is said with it, or by `$ErrorActionPreference`.
    Fail(Box<Report>, Option<Action>),
    /// The script has failed, and that has been reported.
    Stop,
}

impl Flow {
    /// A failure that is dealt with in that way unless somebody has said otherwise.
    pub(crate) fn or(self, chosen: Action) -> Self {
        match self {
            Self::Fail(report, action) => Self::Fail(report, action.or(Some(chosen))),
            other => other,
        }
    }
}

impl From<Report> for Flow {
    fn from(report: Report) -> Self {
        Self::Fail(Box::new(report), None)
    }
}

/// What is done about an error: `-ErrorAction`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Action {
    /// Report it and go on.
    Continue,
    /// Go on as if it had not been.
    Ignore,
    /// Remember it and go on.
    SilentlyContinue,
    /// Report it and end the script.
    Stop,
}

impl Action {
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "continue" | "inquire" => Self::Continue,
            "ignore" => Self::Ignore,
            "silentlycontinue" => Self::SilentlyContinue,
            "stop" => Self::Stop,
            _ => return None,
        })
    }
}

/// A script being carried out.
pub(crate) struct Evaluator<'r> {
    pub(crate) session: &'r mut Session,
    pub(crate) script: &'r str,
    pub(crate) host: &'r dyn Host,
    pub(crate) terminal: &'r mut dyn Terminal,
    /// Whether an error has been reported.
    pub(crate) failed: bool,
    /// How many errors there were.
    errors: usize,
}

impl<'r> Evaluator<'r> {
    pub(crate) fn new(
        session: &'r mut Session,
        script: &'r str,
        host: &'r dyn Host,
        terminal: &'r mut dyn Terminal,
    ) -> Self {
        Self { session, script, host, terminal, failed: false, errors: 0 }
    }

    /// Carries out a script, printing what its statements give.
    pub(crate) async fn print_block(&mut self, block: &Block) -> Result<(), Flow> {
        self.statements(block, &mut Sink::Print(Printer::default())).await
    }

    /// What the statements of a block give.
    pub(crate) async fn block(&mut self, block: &Block) -> Result<Vec<Value>, Flow> {
        let mut sink = Sink::keep();
        self.statements(block, &mut sink).await?;
        Ok(sink.into_values())
    }

    /// What a block gives for one object, which is `$_` meanwhile.
    pub(crate) async fn block_for(&mut self, block: &Block, item: &Value) -> Result<Vec<Value>, Flow> {
        let mut sink = Sink::keep();
        self.block_into(block, item.clone(), &mut sink).await?;
        Ok(sink.into_values())
    }

    /// Does what a block says with one object; what it gives goes on at once.
    pub(crate) async fn block_into(&mut self, block: &Block, item: Value, out: &mut Sink) -> Result<(), Flow> {
        let before = self.session.exchange_item(item).map_err(|why| Wrong::new("ValueTooDeep", why).at(block.span))?;
        let done = self.statements(block, out).await;
        self.session.put_item_back(before);
        done
    }

    pub(crate) fn statements<'a>(&'a mut self, block: &'a Block, sink: &'a mut Sink) -> Step<'a, ()> {
        Box::pin(async move {
            for statement in &block.statements {
                // A long loop must not keep whoever presses Ctrl-C from being heard.
                tokio::task::consume_budget().await;
                match self.statement(statement, sink).await {
                    Err(Flow::Fail(report, action)) => self.report(&report, action)?,
                    done => done?,
                }
            }
            Ok(())
        })
    }

    /// The end of the script, since the person wants no more of it.
    pub(crate) const fn give_up(&mut self) -> Flow {
        self.failed = true;
        Flow::Stop
    }

    /// Keeps and prints an error, as was asked for.
    pub(crate) fn report(&mut self, report: &Report, action: Option<Action>) -> Result<(), Flow> {
        let preference = || preference::action(&self.session.variable("ErrorActionPreference"));
        let action = action.or_else(preference).unwrap_or(Action::Continue);
        self.errors += 1;
        self.session.succeeded = false;
        if action != Action::Ignore {
            self.session.keep_error(report.to_value());
        }
        if matches!(action, Action::Continue | Action::Stop) {
            self.failed = true;
            let printed = report.render(self.script);
            self.terminal.say(&printed);
        }
        if action == Action::Stop { Err(Flow::Stop) } else { Ok(()) }
    }

    async fn statement(&mut self, statement: &Statement, sink: &mut Sink) -> Result<(), Flow> {
        match &statement.kind {
            StatementKind::Break => Err(Flow::Break),
            StatementKind::Continue => Err(Flow::Continue),
            StatementKind::Exit(status) => {
                let status = match status {
                    Some(status) => convert::as_int(&self.pipeline_value(status).await?),
                    None => Some(i64::from(self.failed)),
                };
                // A status that does not fit is a failure all the same.
                Err(Flow::Exit(status.and_then(|status| u8::try_from(status).ok()).unwrap_or(1)))
            }
            StatementKind::If { arms, otherwise } => {
                for (condition, body) in arms {
                    if convert::truth(&self.asked(condition).await?) {
                        return self.statements(body, sink).await;
                    }
                }
                match otherwise {
                    Some(body) => self.statements(body, sink).await,
                    None => Ok(()),
                }
            }
            StatementKind::Foreach { variable, over, body } => {
                for item in unrolled(self.asked(over).await?) {
                    self.set_variable(variable, item, statement.span)?;
                    match self.statements(body, sink).await {
                        Err(Flow::Break) => break,
                        Ok(()) | Err(Flow::Continue) => {}
                        Err(flow) => return Err(flow),
                    }
                }
                Ok(())
            }
            StatementKind::Assign { target, how, value } => {
                let before = self.errors;
                let value = self.assigned(value).await?;
                self.assign(target, *how, value, statement.span).await?;
                self.session.succeeded = self.errors == before;
                Ok(())
            }
            StatementKind::Pipeline(pipeline) => {
                let before = self.errors;
                self.pipeline(pipeline, sink).await?;
                // An expression that has a value has succeeded, whatever it had to ask.
                let has_value = matches!(&pipeline.elements[..], [Element::Expression(_)]);
                self.session.succeeded = has_value || self.errors == before;
                Ok(())
            }
        }
    }

    /// What a statement asks before it does anything.
    async fn asked(&mut self, pipeline: &Pipeline) -> Result<Value, Flow> {
        let value = self.pipeline_value(pipeline).await?;
        // Whoever asks whether there is something has not failed where there is nothing.
        self.session.succeeded = true;
        Ok(value)
    }

    /// The value on the right of an assignment or in a hashtable, which may be any statement.
    pub(crate) fn assigned<'a>(&'a mut self, statement: &'a Statement) -> Step<'a, Option<Value>> {
        Box::pin(async move {
            if let StatementKind::Pipeline(pipeline) = &statement.kind {
                return self.pipeline_yield(pipeline).await;
            }
            let mut sink = Sink::keep();
            self.statement(statement, &mut sink).await?;
            if let StatementKind::Assign { target, .. } = &statement.kind {
                return Ok(self.kept(&target.variable));
            }
            Ok(pipeline::one_of(sink.into_values()))
        })
    }
}

/// The items of a list; anything else by itself, of nothing none.
pub(crate) fn unrolled(value: Value) -> Vec<Value> {
    match value {
        Value::List(items) => items,
        Value::Null => Vec::new(),
        one => vec![one],
    }
}

/// Several values as one: a list, unless there is only one.
pub(crate) fn rolled(mut values: Vec<Value>) -> Value {
    match values.len() {
        0 => Value::Null,
        1 => values.remove(0),
        _ => Value::List(values),
    }
}
