//! Commands of the shell as stages of a pipeline.

use reveille_admin::Value;

use super::{Builtin, Given, given, help};
use crate::ast::Command;
use crate::eval::wrong::few_enough;
use crate::eval::{Action, Evaluator, Flow, More, Sink, Stage, Step};
use crate::format;

/// How a command does its work.
#[derive(Clone, Copy)]
pub(super) enum Work {
    /// It needs all objects before it gives any. `$null` is none, as for those commands in PowerShell.
    All(Whole),
    /// The same, where `$null` counts.
    AllAndNull(Whole),
    /// It gives something for each object; for none where nothing can come along.
    Each(Single),
    /// It remembers something from one object to the next.
    Stage(for<'a> fn(Given<'a>) -> Result<Box<dyn Stage + 'a>, Flow>),
}

/// What a command gives for all objects.
type Whole = for<'a> fn(&'a mut Evaluator<'_>, &'a Given<'a>, Vec<Value>) -> Step<'a, Vec<Value>>;
/// What a command gives for one object.
type Single = for<'a> fn(&'a mut Evaluator<'_>, &'a Given<'a>, Option<Value>) -> Step<'a, Vec<Value>>;

/// A command of the shell, its arguments bound.
pub(crate) async fn stage<'a>(
    evaluator: &mut Evaluator<'_>,
    builtin: &'static Builtin,
    command: &'a Command,
) -> Result<Box<dyn Stage + 'a>, Flow> {
    if given::asks_for_help(command) {
        return Ok(Box::new(Page(help::page(builtin))));
    }
    let given = given::bind(evaluator, builtin, command).await?;
    let (action, variable, at) = (given.action(), given.text("OutVariable"), given.at());
    let takes_it = builtin.parameters.iter().any(|it| it.name == given::INPUT);
    let input = (given.has(given::INPUT) && !takes_it).then(|| given.values(given::INPUT));
    let inner: Box<dyn Stage + 'a> = match builtin.work {
        Work::All(run) => Box::new(All { run, given, nulls: false, items: Vec::new() }),
        Work::AllAndNull(run) => Box::new(All { run, given, nulls: true, items: Vec::new() }),
        Work::Each(run) => Box::new(Each { run, given }),
        Work::Stage(make) => make(given)?,
    };
    if action.is_none() && variable.is_none() && input.is_none() {
        return Ok(inner);
    }
    Ok(Box::new(Common { inner, input, action, variable, at, kept: Vec::new() }))
}

/// Text that is shown in a command's place.
pub(crate) struct Page(pub(crate) String);

impl Stage for Page {
    fn alone<'a>(&'a mut self, evaluator: &'a mut Evaluator<'_>, out: &'a mut Sink) -> Step<'a, ()> {
        Box::pin(async move {
            let page = format::formatted(std::mem::take(&mut self.0));
            evaluator.emit(page, out).map_err(|wrong| wrong.at(Default::default()).into())
        })
    }

    fn take<'a>(&'a mut self, _: &'a mut Evaluator<'_>, _: Value, _: &'a mut Sink) -> Step<'a, More> {
        Box::pin(async { Ok(More::Yes) })
    }

    fn end<'a>(&'a mut self, evaluator: &'a mut Evaluator<'_>, out: &'a mut Sink) -> Step<'a, ()> {
        self.alone(evaluator, out)
    }
}

struct All<'c> {
    run: Whole,
    given: Given<'c>,
    nulls: bool,
    items: Vec<Value>,
}

impl Stage for All<'_> {
    fn alone<'a>(&'a mut self, evaluator: &'a mut Evaluator<'_>, out: &'a mut Sink) -> Step<'a, ()> {
        self.end(evaluator, out)
    }

    fn take<'a>(&'a mut self, _: &'a mut Evaluator<'_>, item: Value, _: &'a mut Sink) -> Step<'a, More> {
        Box::pin(async move {
            if self.nulls || item != Value::Null {
                self.items.push(item);
            }
            few_enough(self.items.len()).map_err(|wrong| wrong.at(self.given.at()))?;
            Ok(More::Yes)
        })
    }

    fn end<'a>(&'a mut self, evaluator: &'a mut Evaluator<'_>, out: &'a mut Sink) -> Step<'a, ()> {
        Box::pin(async move {
            let items = std::mem::take(&mut self.items);
            let values = (self.run)(evaluator, &self.given, items).await?;
            self.given.emit(evaluator, values, out)
        })
    }
}

struct Each<'c> {
    run: Single,
    given: Given<'c>,
}

impl Each<'_> {
    fn run<'a>(&'a self, evaluator: &'a mut Evaluator<'_>, item: Option<Value>, out: &'a mut Sink) -> Step<'a, ()> {
        Box::pin(async move {
            let values = (self.run)(evaluator, &self.given, item).await?;
            self.given.emit(evaluator, values, out)
        })
    }
}

impl Stage for Each<'_> {
    fn alone<'a>(&'a mut self, evaluator: &'a mut Evaluator<'_>, out: &'a mut Sink) -> Step<'a, ()> {
        self.run(evaluator, None, out)
    }

    fn take<'a>(&'a mut self, evaluator: &'a mut Evaluator<'_>, item: Value, out: &'a mut Sink) -> Step<'a, More> {
        Box::pin(async move { self.run(evaluator, Some(item), out).await.map(|()| More::Yes) })
    }
}

/// What the parameters do that all commands have.
struct Common<'c> {
    inner: Box<dyn Stage + 'c>,
    /// What stands in the place of what comes along the pipeline.
    input: Option<Vec<Value>>,
    action: Option<Action>,
    /// The variable that keeps the output, and the output.
    variable: Option<String>,
    kept: Vec<Value>,
    at: crate::span::Span,
}

impl Common<'_> {
    /// Keeps what was given before it goes on, and says what is to be done about a failure.
    fn pass<T>(
        &mut self,
        evaluator: &mut Evaluator<'_>,
        done: Result<T, Flow>,
        given: Sink,
        out: &mut Sink,
    ) -> Result<T, Flow> {
        for value in given.into_values() {
            if self.variable.is_some() {
                self.kept.push(value.clone());
                few_enough(self.kept.len()).map_err(|wrong| wrong.at(self.at))?;
            }
            evaluator.emit(value, out).map_err(|wrong| wrong.at(self.at))?;
        }
        done.map_err(|flow| match flow {
            Flow::Fail(report, action) => Flow::Fail(report, self.action.or(action)),
            other => other,
        })
    }
}

impl Stage for Common<'_> {
    fn alone<'a>(&'a mut self, evaluator: &'a mut Evaluator<'_>, out: &'a mut Sink) -> Step<'a, ()> {
        Box::pin(async move {
            let Some(items) = self.input.take() else {
                let mut given = Sink::keep();
                let done = self.inner.alone(evaluator, &mut given).await;
                return self.pass(evaluator, done, given, out);
            };
            self.begin(evaluator, out).await?;
            for item in items {
                if self.take(evaluator, item, out).await? == More::Enough {
                    break;
                }
            }
            self.end(evaluator, out).await
        })
    }

    fn begin<'a>(&'a mut self, evaluator: &'a mut Evaluator<'_>, out: &'a mut Sink) -> Step<'a, ()> {
        Box::pin(async move {
            let mut given = Sink::keep();
            let done = self.inner.begin(evaluator, &mut given).await;
            self.pass(evaluator, done, given, out)
        })
    }

    fn take<'a>(&'a mut self, evaluator: &'a mut Evaluator<'_>, item: Value, out: &'a mut Sink) -> Step<'a, More> {
        Box::pin(async move {
            let mut given = Sink::keep();
            let done = self.inner.take(evaluator, item, &mut given).await;
            self.pass(evaluator, done, given, out)
        })
    }

    fn end<'a>(&'a mut self, evaluator: &'a mut Evaluator<'_>, out: &'a mut Sink) -> Step<'a, ()> {
        Box::pin(async move {
            let mut given = Sink::keep();
            let done = self.inner.end(evaluator, &mut given).await;
            self.pass(evaluator, done, given, out)
        })
    }

    fn close(&mut self, evaluator: &mut Evaluator<'_>) -> Result<(), Flow> {
        self.inner.close(evaluator)?;
        match &self.variable {
            Some(name) => evaluator.keep_in(name, Value::List(std::mem::take(&mut self.kept)), self.at),
            None => Ok(()),
        }
    }
}
