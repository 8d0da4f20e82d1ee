//! Pipelines: an object goes as far as it can before the next one follows, as in PowerShell. What a stage has done to the
//! first object is done, and seen, before the last one is looked at.

use reveille_admin::Value;

use super::wrong::{Wrong, few_enough};
use super::{Evaluator, Flow, Step, rolled};
use crate::ast::{Element, Expression, ExpressionKind, Pipeline, Variable};
use crate::format;

/// One command of a pipeline, its arguments bound.
pub(crate) trait Stage: Send {
    /// Does its work where nothing comes along a pipeline.
    fn alone<'a>(&'a mut self, evaluator: &'a mut Evaluator<'_>, out: &'a mut Sink) -> Step<'a, ()>;

    /// Before the first object.
    fn begin<'a>(&'a mut self, _: &'a mut Evaluator<'_>, _: &'a mut Sink) -> Step<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Takes an object that has come along.
    fn take<'a>(&'a mut self, evaluator: &'a mut Evaluator<'_>, item: Value, out: &'a mut Sink) -> Step<'a, More>;

    /// After the last object, unless a stage further on has had enough.
    fn end<'a>(&'a mut self, _: &'a mut Evaluator<'_>, _: &'a mut Sink) -> Step<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Whatever has happened: keeps in variables what was asked to be kept there.
    fn close(&mut self, _: &mut Evaluator<'_>) -> Result<(), Flow> {
        Ok(())
    }
}

/// Whether a stage takes another object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum More {
    /// It has had enough: whoever comes before it may stop.
    Enough,
    Yes,
}

/// Where values go that nobody has taken.
pub(crate) enum Sink {
    /// To whoever asked for them.
    Keep(Vec<Value>),
    /// To the terminal.
    Print(Printer),
}

/// Values on their way to the terminal: text as it comes, objects when it is known how wide their columns are.
#[derive(Default)]
pub(crate) struct Printer {
    waiting: Vec<Value>,
    /// How many pipelines are under way, one within the other; the outermost one's end is that of a table.
    within: usize,
}

impl Sink {
    pub(crate) const fn keep() -> Self {
        Self::Keep(Vec::new())
    }

    pub(crate) fn into_values(self) -> Vec<Value> {
        match self {
            Self::Keep(values) => values,
            Self::Print(printer) => printer.waiting,
        }
    }
}

impl Evaluator<'_> {
    /// Carries a pipeline out.
    pub(crate) fn pipeline<'a>(&'a mut self, pipeline: &'a Pipeline, out: &'a mut Sink) -> Step<'a, ()> {
        Box::pin(async move {
            if let Sink::Print(printer) = out {
                printer.within += 1;
            }
            let done = self.through(pipeline, out).await;
            if let Sink::Print(printer) = out {
                printer.within -= 1;
                if printer.within == 0 {
                    let waiting = std::mem::take(&mut printer.waiting);
                    self.show(&waiting);
                }
            }
            done
        })
    }

    async fn through(&mut self, pipeline: &Pipeline, out: &mut Sink) -> Result<(), Flow> {
        let mut stages = Vec::with_capacity(pipeline.elements.len());
        for element in &pipeline.elements {
            if let Element::Command(command) = element {
                stages.push(self.stage(command).await?);
            }
        }
        let done = self.run(pipeline, &mut stages, out).await;
        // All of them, and what the pipeline has come to goes before what could not be kept of it: a script that ends, ends.
        let mut closed = Ok(());
        for stage in &mut stages {
            let this = stage.close(self);
            closed = closed.and(this);
        }
        done.and(closed)
    }

    async fn run(
        &mut self,
        pipeline: &Pipeline,
        stages: &mut [Box<dyn Stage + '_>],
        out: &mut Sink,
    ) -> Result<(), Flow> {
        let mut road = Road { pipeline, stages, ended: 0 };
        match &pipeline.elements[..] {
            [Element::Expression(expression), ..] => {
                let items = items_of(self.yielded(expression).await?);
                road.begin(self, 0, out).await?;
                road.send(self, 0, items, out).await?;
            }
            [Element::Command(_)] => {
                let done = road.stages[0].alone(self, out).await;
                return self.past(done).map(|_| ());
            }
            _ => {
                road.begin(self, 1, out).await?;
                let mut given = Sink::keep();
                let done = road.stages[0].alone(self, &mut given).await;
                self.past(done)?;
                road.ended = road.ended.max(1);
                road.send(self, 1, given.into_values(), out).await?;
            }
        }
        while road.ended < road.stages.len() {
            let at = road.ended;
            road.ended += 1;
            if at + 1 == road.stages.len() {
                road.stages[at].end(self, out).await?;
            } else {
                let mut given = Sink::keep();
                road.stages[at].end(self, &mut given).await?;
                road.send(self, at + 1, given.into_values(), out).await?;
            }
        }
        Ok(())
    }

    /// Reports what a command could not do, and goes on without what it would have given: a condition that asks for what is
    /// not there does not hold. A command that was written wrong or had no answer ends its statement, and so does a mistake in
    /// an expression.
    fn past<T>(&mut self, done: Result<T, Flow>) -> Result<Option<T>, Flow> {
        match done {
            Err(Flow::Fail(report, action)) if report.is_of_work() => self.report(&report, action).map(|()| None),
            other => other.map(Some),
        }
    }

    /// Gives a value to whoever takes it.
    pub(crate) fn emit(&mut self, value: Value, out: &mut Sink) -> Result<(), Wrong> {
        match out {
            Sink::Keep(kept) => {
                kept.push(value);
                few_enough(kept.len())
            }
            Sink::Print(printer) if format::waits(&value) => {
                printer.waiting.push(value);
                few_enough(printer.waiting.len())
            }
            Sink::Print(printer) => {
                let mut values = std::mem::take(&mut printer.waiting);
                values.push(value);
                self.show(&values);
                Ok(())
            }
        }
    }

    fn show(&mut self, values: &[Value]) {
        let text = format::shown(values, self.terminal.width());
        if !text.is_empty() {
            self.terminal.out(&text);
        }
    }

    /// What a pipeline gives as one value; a pipeline that gives no object at all is another thing than one that gives
    /// `$null`.
    pub(crate) async fn pipeline_yield(&mut self, pipeline: &Pipeline) -> Result<Option<Value>, Flow> {
        if let [Element::Expression(expression)] = &pipeline.elements[..] {
            return self.yielded(expression).await;
        }
        let mut out = Sink::keep();
        self.pipeline(pipeline, &mut out).await?;
        Ok(one_of(out.into_values()))
    }

    /// What a pipeline gives as one value.
    pub(crate) async fn pipeline_value(&mut self, pipeline: &Pipeline) -> Result<Value, Flow> {
        Ok(self.pipeline_yield(pipeline).await?.unwrap_or_default())
    }

    /// The value of an expression, unless it is what a pipeline gave that gave nothing.
    fn yielded<'a>(&'a mut self, expression: &'a Expression) -> Step<'a, Option<Value>> {
        Box::pin(async move {
            match &expression.kind {
                ExpressionKind::Paren(pipeline) => self.pipeline_yield(pipeline).await,
                ExpressionKind::Sub(block) => Ok(one_of(self.block(block).await?)),
                ExpressionKind::Variable(variable) => {
                    self.is_known(variable, expression.span)?;
                    Ok(self.kept(variable))
                }
                _ => self.expression(expression).await.map(Some),
            }
        })
    }

    /// What a variable was set to; what a pipeline gave that gave nothing is no object.
    pub(super) fn kept(&self, variable: &Variable) -> Option<Value> {
        match variable {
            Variable::Name(name) if self.session.holds_nothing(name) => None,
            _ => Some(self.variable(variable)),
        }
    }
}

/// A pipeline under way.
struct Road<'r, 's> {
    pipeline: &'r Pipeline,
    stages: &'r mut [Box<dyn Stage + 's>],
    /// The stages before this one have ended, or nobody wants anything of them any more.
    ended: usize,
}

impl Road<'_, '_> {
    async fn begin(&mut self, evaluator: &mut Evaluator<'_>, from: usize, out: &mut Sink) -> Result<(), Flow> {
        let mut given_first = Vec::new();
        for at in from..self.stages.len() {
            if at + 1 == self.stages.len() {
                self.stages[at].begin(evaluator, out).await?;
            } else {
                let mut given = Sink::keep();
                self.stages[at].begin(evaluator, &mut given).await?;
                given_first.push((at + 1, given.into_values()));
            }
        }
        // No stage is given anything before it has begun itself.
        for (to, given) in given_first {
            self.send(evaluator, to, given, out).await?;
        }
        Ok(())
    }

    /// Sends objects to a stage, and what it makes of each to the next, before the next object. A list of what waits where
    /// and no recursion: a pipeline may be long.
    async fn send(
        &mut self,
        evaluator: &mut Evaluator<'_>,
        from: usize,
        items: Vec<Value>,
        out: &mut Sink,
    ) -> Result<(), Flow> {
        if from < self.ended {
            return Ok(());
        }
        let mut waiting = vec![(from, items.into_iter())];
        while let Some((at, items)) = waiting.last_mut() {
            let at = *at;
            let Some(item) = items.next() else {
                waiting.pop();
                continue;
            };
            // A long pipeline must not keep whoever presses Ctrl-C from being heard.
            tokio::task::consume_budget().await;
            let is_last = at + 1 == self.stages.len();
            let Some(stage) = self.stages.get_mut(at) else {
                evaluator.emit(item, out).map_err(|wrong| wrong.at(self.pipeline.span))?;
                continue;
            };
            let more = if is_last {
                let done = stage.take(evaluator, item, out).await;
                evaluator.past(done)?
            } else {
                let mut given = Sink::keep();
                let done = stage.take(evaluator, item, &mut given).await;
                let more = evaluator.past(done)?;
                waiting.push((at + 1, given.into_values().into_iter()));
                more
            };
            if more == Some(More::Enough) {
                self.ended = self.ended.max(at);
                waiting.retain(|(to, _)| *to > at);
            }
        }
        Ok(())
    }
}

/// The objects that a value sends along a pipeline: those of a list; `$null` is one as well.
pub(crate) fn items_of(value: Option<Value>) -> Vec<Value> {
    match value {
        None => Vec::new(),
        Some(Value::List(items)) => items,
        Some(one) => vec![one],
    }
}

/// Several values as one, unless there is none.
pub(super) fn one_of(values: Vec<Value>) -> Option<Value> {
    if values.is_empty() { None } else { Some(rolled(values)) }
}
