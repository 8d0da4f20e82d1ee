//! What two lists have in common and what not.

use std::collections::{HashMap, VecDeque};

use reveille_admin::{Object, Value};

use super::objects::{heading, keys, same_text};
use super::stage::Work::{All, Stage};
use super::{Builtin, Given, Parameter, Takes};
use crate::eval::compare::equal;
use crate::eval::{self, Evaluator, Flow, More, Sink, Step};

pub(super) const COMPARE_OBJECT: Builtin = Builtin {
    name: "Compare-Object",
    aliases: &["compare", "diff"],
    summary: "Gives what is in one of two lists only: <= in the reference, => in the other",
    parameters: &[
        Parameter::new("ReferenceObject", Takes::Values, "The one list").at(0),
        Parameter::new("DifferenceObject", Takes::Values, "The other list").at(1),
        Parameter::new("CaseSensitive", Takes::Switch, "Upper and lower case differ"),
        Parameter::new("ExcludeDifferent", Takes::Switch, "With -IncludeEqual: only what is in both"),
        Parameter::new("IncludeEqual", Takes::Switch, "Also what is in both, =="),
        Parameter::new("PassThru", Takes::Switch, "The objects themselves"),
        Parameter::new("Property", Takes::Ways, "The properties that are compared; the whole object"),
    ],
    work: All(compare_object),
};

fn compare_object<'a>(
    evaluator: &'a mut Evaluator<'_>,
    given: &'a Given<'a>,
    input: Vec<Value>,
) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let other = if given.has("DifferenceObject") { given.values("DifferenceObject") } else { input };
        let reference = keyed(evaluator, given, given.values("ReferenceObject")).await?;
        let exact = given.is_on("CaseSensitive");
        let mut places: HashMap<String, VecDeque<usize>> = HashMap::new();
        let mut only_there: Vec<Option<Keyed>> = Vec::new();
        for one in keyed(evaluator, given, other).await? {
            places.entry(same_text(&one.0, exact)).or_default().push_back(only_there.len());
            only_there.push(Some(one));
        }
        let (mut both, mut only_here) = (Vec::new(), Vec::new());
        for one in reference {
            // Each of the other list answers for one of this list.
            match places.get_mut(&same_text(&one.0, exact)).and_then(VecDeque::pop_front) {
                Some(at) => {
                    only_there[at] = None;
                    both.push(one);
                }
                None => only_here.push(one),
            }
        }
        let mut told = Vec::new();
        if given.is_on("IncludeEqual") || given.is_on("ExcludeDifferent") {
            told.extend(both.into_iter().map(|one| side(evaluator, given, one, "==")));
        }
        if !given.is_on("ExcludeDifferent") {
            told.extend(only_there.into_iter().flatten().map(|one| side(evaluator, given, one, "=>")));
            told.extend(only_here.into_iter().map(|one| side(evaluator, given, one, "<=")));
        }
        Ok(told)
    })
}

/// What is compared of an object, and the object.
type Keyed = (Vec<Value>, Value);

async fn keyed(evaluator: &mut Evaluator<'_>, given: &Given<'_>, items: Vec<Value>) -> Result<Vec<Keyed>, Flow> {
    let mut all = Vec::with_capacity(items.len());
    for item in items {
        all.push((keys(evaluator, given.items("Property"), &item).await?, item));
    }
    Ok(all)
}

fn side(evaluator: &Evaluator<'_>, given: &Given<'_>, (keys, item): Keyed, side: &str) -> Value {
    if given.is_on("PassThru") {
        return item;
    }
    let told = Object::new("ObjectDifference");
    let told = match given.items("Property") {
        [] => told.with("InputObject", item),
        ways => {
            let named = ways.iter().map(|way| heading(evaluator.script, way)).zip(keys);
            named.fold(told, |told, (name, value)| told.with(name, value))
        }
    };
    told.with("SideIndicator", side).into()
}

pub(super) const GET_UNIQUE: Builtin = Builtin {
    name: "Get-Unique",
    aliases: &["gu"],
    summary: "Leaves out what is the same as the object before it; sort before",
    parameters: &[Parameter::new("AsString", Takes::Switch, "Compares what is shown; upper and lower case are one")],
    work: Stage(get_unique),
};

fn get_unique(given: Given<'_>) -> Result<Box<dyn eval::Stage + '_>, Flow> {
    let exact = !given.is_on("AsString");
    Ok(Box::new(Unique { given, exact, last: None }))
}

struct Unique<'c> {
    given: Given<'c>,
    exact: bool,
    last: Option<Value>,
}

impl eval::Stage for Unique<'_> {
    fn alone<'a>(&'a mut self, _: &'a mut Evaluator<'_>, _: &'a mut Sink) -> Step<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn take<'a>(&'a mut self, evaluator: &'a mut Evaluator<'_>, item: Value, out: &'a mut Sink) -> Step<'a, More> {
        Box::pin(async move {
            let same = self.last.as_ref().is_some_and(|last| match self.exact {
                true => *last == item,
                false => equal(&last.to_string().into(), &item.to_string().into(), false),
            });
            if !same {
                self.last = Some(item.clone());
                self.given.emit(evaluator, vec![item], out)?;
            }
            Ok(More::Yes)
        })
    }
}
