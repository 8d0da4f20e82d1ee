//! Running a command: finding it, binding its arguments, asking first, telling what the server said.

use std::collections::BTreeMap;
use std::time::Duration;

use reveille_admin::bind::{self, BindError, Bound};
use reveille_admin::{About, Category, Failure, Kind, Object, Outcome, Trail, Value};
use reveille_core::spelling;

use super::expression::stray_block;
use super::preference::missing_guard;
use super::wrong::few_enough;
use super::{Action, Evaluator, Flow, More, Report, Sink, Stage, Step, convert, moment, preference};
use crate::ast::{Argument, Command, ExpressionKind};
use crate::builtin;
use crate::session::Session;
use crate::span::Span;

impl Evaluator<'_> {
    /// A command with its arguments bound, ready to run.
    pub(crate) fn stage<'s, 'a: 's>(&'s mut self, command: &'a Command) -> Step<'s, Box<dyn Stage + 'a>> {
        Box::pin(async move {
            if let Some(builtin) = builtin::find(&command.name) {
                return builtin::stage(self, builtin, command).await;
            }
            match self.cmdlet(command)? {
                Some(about) if asks_for_help(command) => {
                    let page = reveille_admin::help::page(about, reveille_admin::help::Part::Overview);
                    Ok(Box::new(builtin::Page(page)) as Box<dyn Stage>)
                }
                Some(about) => Ok(Box::new(self.bound(about, command).await?) as Box<dyn Stage>),
                None if missing_guard(&command.name).is_some() => Err(without_guard(command)),
                None => Err(unknown(command, self.host.cmdlets().iter().map(|it| it.about().name.to_string())).into()),
            }
        })
    }

    /// The cmdlet that a command names; misspelt names of the documents are accepted with a hint.
    fn cmdlet(&mut self, command: &Command) -> Result<Option<&'static About>, Flow> {
        // Scripts may name the module: Lync\Get-CsMcxConfiguration.
        let name = match command.name.rsplit_once('\\') {
            Some((module, name)) if builtin::is_our_module(module) => name,
            _ => &command.name,
        };
        let cmdlets = self.host.cmdlets();
        let known = |name: &str| cmdlets.iter().map(|cmdlet| cmdlet.about()).find(|about| about.name.is(name));
        if let Some(about) = known(name) {
            return Ok(Some(about));
        }
        let misspelt = reveille_admin::cmdlets::MISSPELT.iter().find(|(wrong, _)| wrong.eq_ignore_ascii_case(name));
        let Some(((wrong, right), about)) = misspelt.and_then(|pair| Some((pair, known(pair.1)?))) else {
            return Ok(None);
        };
        self.terminal.say(&format!("WARNING: {wrong} is named {right}; that is run.\n"));
        Ok(Some(about))
    }

    /// The cmdlet with its arguments.
    async fn bound<'a>(&mut self, about: &'static About, command: &'a Command) -> Result<Call<'a>, Flow> {
        let (mut elements, spans) = self.elements(command).await?;
        let only_asks = about.changes && convert::truth(&self.session.variable("WhatIfPreference"));
        let bind = |elements: &[bind::Element]| {
            bind::bind(about, elements).map_err(|error| Flow::from(refused(about, command, &spans, error)))
        };
        let mut bound = bind(&elements)?;
        if only_asks && bound.common("WhatIf").is_none() {
            elements.push(bind::Element::Parameter { name: "WhatIf".into(), attached: Some(Value::Bool(true)) });
            bound = bind(&elements)?;
        }
        let common = Common::of(&bound, self.session);
        let run = Run { about, at: command.name_span, all: false, common, values: Vec::new() };
        Ok(Call { command, spans, bound, run })
    }

    /// The arguments with their values, and where each stands.
    async fn elements(&mut self, command: &Command) -> Result<(Vec<bind::Element>, Vec<Span>), Flow> {
        let (mut elements, mut spans) = (Vec::new(), Vec::new());
        for argument in &command.arguments {
            let (element, span) = match argument {
                Argument::Parameter { name, span, value } => {
                    let attached = match value {
                        Some(value) => Some(self.expression(value).await?),
                        None => None,
                    };
                    (bind::Element::Parameter { name: name.clone(), attached }, *span)
                }
                Argument::Value(value) if matches!(value.kind, ExpressionKind::Block(_)) => {
                    return Err(stray_block(value.span));
                }
                Argument::Value(value) => (bind::Element::Value(self.expression(value).await?), value.span),
            };
            // A server is told a point in time as text, as records hold it.
            let element = match element {
                bind::Element::Value(value) => bind::Element::Value(moment::as_text(value)),
                bind::Element::Parameter { name, attached } => {
                    bind::Element::Parameter { name, attached: attached.map(moment::as_text) }
                }
            };
            elements.push(element);
            spans.push(span);
        }
        preference::name_numbers(&mut elements);
        Ok((elements, spans))
    }

    /// One call on the server.
    async fn one(&mut self, run: &mut Run, mut bound: Bound, out: &mut Sink) -> Result<(), Flow> {
        let refused = |about: &'static About, at, failure| Flow::from(Report::of_cmdlet(about.name, at, failure));
        self.supply(run, &mut bound)?;
        let parameters = bound.to_object();
        if !self.may_go_on(run, &parameters)? {
            return Ok(());
        }
        // Whether it is complete is known here, with the place in the line.
        bound.finish(Default::default()).map_err(|error| refused(run.about, run.at, error.into()))?;
        match self.answer(run.about, &parameters).await {
            Ok(outcome) => {
                self.tell(run, &outcome);
                self.keep_records(run, &parameters, &outcome)?;
                for object in outcome.objects {
                    if run.common.out_variable.is_some() {
                        run.values.push(object.clone());
                    }
                    self.emit(object, out).map_err(|wrong| wrong.at(run.at))?;
                }
                few_enough(run.values.len()).map_err(|wrong| wrong.at(run.at).into())
            }
            Err(failure) => {
                if let Some(trail) = failure.trail.as_deref() {
                    let Trail { warnings, verbose } = trail.clone();
                    let told = Outcome { warnings, verbose, ..Outcome::default() };
                    self.tell(run, &told);
                    self.keep_records(run, &parameters, &told)?;
                }
                run.common.errors.push(Report::of_cmdlet(run.about.name, run.at, failure.clone()).to_value());
                Err(refused(run.about, run.at, failure))
            }
        }
    }

    /// What the server answers. Whoever waits for long is told once that nothing is known yet.
    async fn answer(&mut self, about: &About, parameters: &Object) -> Result<Outcome, Failure> {
        let mut asked = self.host.invoke(about.name, parameters);
        if let Ok(answer) = tokio::time::timeout(SILENCE, &mut asked).await {
            return answer;
        }
        self.terminal.say(&format!("{}: no answer from the server yet. Ctrl-C gives up waiting.\n", about.name));
        asked.await
    }

    /// Asks for mandatory parameters that were not given, if somebody is there.
    fn supply(&mut self, run: &Run, bound: &mut Bound) -> Result<(), Flow> {
        let mut head = format!(
            "cmdlet {} at command pipeline position 1\nSupply values for the following parameters:\n",
            run.about.name
        );
        for parameter in bound.missing() {
            // Whether anybody answers is only known after asking.
            let prompt = format!("{}{}: ", std::mem::take(&mut head), parameter.name);
            let Some(answer) = self.ask_for(parameter.kind, &prompt) else {
                return if self.terminal.gave_up() { Err(self.give_up()) } else { Ok(()) };
            };
            // What nobody has seen is typed twice before it counts.
            if parameter.kind == Kind::Secret && parameter.name.starts_with("New") {
                let again = self.ask_for(parameter.kind, &format!("{} (again): ", parameter.name));
                if again.as_ref() != Some(&answer) {
                    let said = format!("What was typed for {} differs. Nothing was changed.", parameter.name);
                    let failure = Failure::new(Category::InvalidArgument, "TypedDifferently", said);
                    return Err(Report::of_cmdlet(run.about.name, run.at, failure).into());
                }
            }
            bound.put(parameter, answer).map_err(|error| Report::of_cmdlet(run.about.name, run.at, error.into()))?;
        }
        Ok(())
    }

    /// A value from the keyboard; what is secret is not shown while it is typed.
    fn ask_for(&mut self, kind: Kind, prompt: &str) -> Option<Value> {
        match kind {
            Kind::Secret => self.terminal.ask_secret(prompt).map(Value::Secret),
            Kind::Credential => {
                let user = self.terminal.ask(prompt)?;
                let password = self.terminal.ask_secret(&format!("Password for user {}: ", user.trim()))?;
                let credential = Object::new("PSCredential").with("UserName", user.trim());
                Some(credential.with("Password", Value::Secret(password)).into())
            }
            _ => {
                let answer = self.terminal.ask(prompt)?;
                let answer = answer.trim();
                Some(match answer.to_ascii_lowercase().as_str() {
                    "$true" => Value::Bool(true),
                    "$false" => Value::Bool(false),
                    _ => Value::from(answer),
                })
            }
        }
    }

    /// Whether the person agrees, where a cmdlet asks.
    fn may_go_on(&mut self, run: &mut Run, parameters: &Object) -> Result<bool, Flow> {
        let on = |name: &str| parameters.property(name).is_some_and(convert::truth);
        let asks = run.common.confirm.unwrap_or_else(|| run.about.asks && !on("Force"));
        if !asks || on("WhatIf") || run.all {
            return Ok(true);
        }
        let target = parameters.property("Identity").map(Value::to_string).unwrap_or_default();
        let prompt = format!(
            "\nConfirm\nAre you sure you want to perform this action?\nPerforming operation \"{}\" on Target \"{target}\"\
             .\n{CHOICES}",
            run.about.name
        );
        let mut asked = prompt;
        loop {
            let Some(answer) = self.terminal.ask(&asked) else {
                return Err(if self.terminal.gave_up() { self.give_up() } else { nobody_answers(run, &target).into() });
            };
            match answer.trim().to_ascii_lowercase().as_str() {
                "" | "y" | "yes" => return Ok(true),
                "a" | "yes to all" => {
                    run.all = true;
                    return Ok(true);
                }
                "n" | "no" => return Ok(false),
                "l" | "no to all" => return Err(Flow::Stop),
                // Whatever else it is, it is no answer.
                _ => asked = format!("{CHOICES_EXPLAINED}{CHOICES}"),
            }
        }
    }

    /// Prints what the server said besides the objects.
    fn tell(&mut self, run: &mut Run, outcome: &Outcome) {
        let common = &run.common;
        if common.warnings_shown {
            for warning in &outcome.warnings {
                self.terminal.say(&format!("WARNING: {warning}\n"));
            }
        }
        if common.verbose {
            for line in &outcome.verbose {
                self.terminal.say(&format!("VERBOSE: {line}\n"));
            }
        }
        for line in &outcome.what_if {
            self.terminal.out(&format!("What if: {}\n", line.strip_prefix("What if: ").unwrap_or(line)));
        }
        run.common.warnings.extend(outcome.warnings.iter().map(|warning| Value::from(warning.as_str())));
    }

    /// `-OutVerboseVariable` and `-OutLoggerVariable` of the tests.
    fn keep_records(&mut self, run: &Run, parameters: &Object, outcome: &Outcome) -> Result<(), Flow> {
        let verbose = || Value::Text(outcome.verbose.join("\n"));
        let logger = || match &outcome.logger {
            Some(logger) => Value::Object(logger.clone()),
            None => Object::new("Logger").with("Activities", outcome.verbose.clone()).into(),
        };
        for (parameter, value) in [
            ("OutVerboseVariable", &verbose as &dyn Fn() -> Value),
            ("OutLoggerVariable", &logger as &dyn Fn() -> Value),
        ] {
            if let Some(name) = parameters.property(parameter).and_then(Value::as_text) {
                self.keep_in(name, value(), run.at)?;
            }
        }
        Ok(())
    }

    /// `-OutVariable`, `-ErrorVariable`, `-WarningVariable`.
    fn keep(&mut self, run: &Run) -> Result<(), Flow> {
        for (name, values) in [
            (&run.common.out_variable, &run.values),
            (&run.common.error_variable, &run.common.errors),
            (&run.common.warning_variable, &run.common.warnings),
        ] {
            if let Some(name) = name {
                self.keep_in(name, Value::List(values.clone()), run.at)?;
            }
        }
        Ok(())
    }

    /// Sets a variable by its name; one that begins with a plus sign is added to.
    pub(crate) fn keep_in(&mut self, name: &str, value: Value, at: Span) -> Result<(), Flow> {
        let value = match name.strip_prefix('+') {
            Some(name) => super::operate::add(Value::List(self.session.variable(name).into_items()), value)
                .map_err(|wrong| wrong.at(at))?,
            None => value,
        };
        let name = name.trim_start_matches('+');
        self.session
            .set_variable(name, value)
            .map_err(|why| Report::of_language(at, Category::InvalidArgument, "VariableNotWritable", why).into())
    }
}

/// A cmdlet of the server as a stage of a pipeline.
struct Call<'a> {
    command: &'a Command,
    /// Where each argument stands.
    spans: Vec<Span>,
    bound: Bound,
    run: Run,
}

impl Stage for Call<'_> {
    fn alone<'a>(&'a mut self, evaluator: &'a mut Evaluator<'_>, out: &'a mut Sink) -> Step<'a, ()> {
        Box::pin(async move {
            let done = evaluator.one(&mut self.run, self.bound.clone(), out).await;
            let chosen = self.run.common.action;
            done.map_err(|flow| match flow {
                Flow::Fail(report, action) => Flow::Fail(report, chosen.or(action)),
                other => other,
            })
        })
    }

    fn take<'a>(&'a mut self, evaluator: &'a mut Evaluator<'_>, item: Value, out: &'a mut Sink) -> Step<'a, More> {
        Box::pin(async move {
            let bound = self.bound.with_input(&item);
            let bound = bound.map_err(|error| refused(self.run.about, self.command, &self.spans, error).into());
            let done = match bound {
                Ok(bound) => evaluator.one(&mut self.run, bound, out).await,
                Err(flow) => Err(flow),
            };
            match done {
                // What one object cannot have done to it does not keep the others from it.
                Err(Flow::Fail(report, action)) => evaluator.report(&report, self.run.common.action.or(action))?,
                other => other?,
            }
            Ok(More::Yes)
        })
    }

    fn close(&mut self, evaluator: &mut Evaluator<'_>) -> Result<(), Flow> {
        evaluator.keep(&self.run)
    }
}

/// What may be answered where a cmdlet asks.
const CHOICES: &str = "[Y] Yes  [A] Yes to All  [N] No  [L] No to All  [?] Help  (default is \"Y\"): ";
const CHOICES_EXPLAINED: &str = "Y - do this, and ask again for the next one.\nA - do this and all that follow.\nN - leave \
                                 this out.\nL - leave out this and all that follow, and end here.\n";

fn nobody_answers(run: &Run, target: &str) -> Report {
    let said = format!("{} asks before it changes anything, and nobody is there to answer.", run.about.name);
    let failure = Failure::new(Category::InvalidArgument, "ConfirmationNotPossible", said)
        .of(target)
        .advise(format!("{} … -Confirm:$false", run.about.name));
    Report::of_cmdlet(run.about.name, run.at, failure)
}

fn refused(about: &'static About, command: &Command, spans: &[Span], error: BindError) -> Report {
    let at = error.element.and_then(|element| spans.get(element).copied()).unwrap_or(command.name_span);
    Report::of_cmdlet(about.name, at, error.into())
}

/// One command on its way.
struct Run {
    about: &'static About,
    at: Span,
    /// Whether the person has agreed to all.
    all: bool,
    common: Common,
    values: Vec<Value>,
}

/// The parameters that every cmdlet has, and what they gather.
struct Common {
    action: Option<Action>,
    confirm: Option<bool>,
    verbose: bool,
    warnings_shown: bool,
    out_variable: Option<String>,
    error_variable: Option<String>,
    warning_variable: Option<String>,
    errors: Vec<Value>,
    warnings: Vec<Value>,
}

impl Common {
    fn of(bound: &Bound, session: &Session) -> Self {
        let text = |name: &str| bound.common(name).and_then(Value::as_text).map(str::to_owned);
        let action = |name: &str| text(name).as_deref().and_then(Action::named);
        let preferred = |name: &str| preference::action(&session.variable(name));
        let warnings = action("WarningAction").or_else(|| preferred("WarningPreference"));
        let verbose = || preferred("VerbosePreference") == Some(Action::Continue);
        Self {
            action: action("ErrorAction"),
            confirm: bound.common("Confirm").and_then(Value::as_bool),
            verbose: bound.common("Verbose").map_or_else(verbose, convert::truth),
            warnings_shown: !matches!(warnings, Some(Action::Ignore | Action::SilentlyContinue)),
            out_variable: text("OutVariable"),
            error_variable: text("ErrorVariable"),
            warning_variable: text("WarningVariable"),
            errors: Vec::new(),
            warnings: Vec::new(),
        }
    }
}

fn asks_for_help(command: &Command) -> bool {
    matches!(&command.arguments[..], [Argument::Parameter { name, value: None, .. }] if name == "?")
}

/// A command that would make the rest of the script safer is not there, and so the rest is not carried out.
fn without_guard(command: &Command) -> Flow {
    let instead = missing_guard(&command.name).unwrap_or_default();
    let said = format!("{} is not supported here, and the script ends. {instead}", command.name);
    let report = Report::of_language(command.name_span, Category::ObjectNotFound, "CommandNotFoundException", said);
    Flow::Fail(Box::new(report), Some(Action::Stop))
}

/// There is no such command; the nearest names are said.
fn unknown(command: &Command, cmdlets: impl Iterator<Item = String>) -> Report {
    let name = &command.name;
    let mut by_distance: BTreeMap<(usize, String), ()> = BTreeMap::new();
    for known in cmdlets.chain(builtin::TABLE.iter().map(|builtin| builtin.name.to_owned())) {
        by_distance.insert((spelling::distance(&known, name), known), ());
    }
    let near = by_distance.into_keys().next().filter(|(distance, _)| *distance <= 1 + name.len() / 4);
    let hint = match (builtin::instead_of(name), near) {
        (Some(instead), _) => format!(" {instead}"),
        (None, Some((_, known))) => format!(" Did you mean {known}?"),
        (None, None) => " Get-Command lists those that there are.".to_owned(),
    };
    let said = format!("The term '{name}' is not recognized as the name of a command.{hint}");
    let failure = Failure::new(Category::ObjectNotFound, "CommandNotFoundException", said).of(name.clone());
    let mut report = Report::of_language(command.name_span, Category::ObjectNotFound, "", "");
    report.failure = Failure { exception: "CommandNotFoundException".into(), ..failure };
    report
}

/// After so long somebody who waits is told that he does.
const SILENCE: Duration = Duration::from_secs(15);
