//! Objects that a script puts together: `New-Object`, `Add-Member`.

use reveille_admin::{Object, Value};

use super::stage::Work::{All, Each};
use super::{Builtin, Given, Parameter, Takes};
use crate::ast::Type;
use crate::eval::{Evaluator, Flow, Step, convert};

pub(super) const NEW_OBJECT: Builtin = Builtin {
    name: "New-Object",
    aliases: &[],
    summary: "Makes an object of a hashtable",
    parameters: &[
        Parameter::new("TypeName", Takes::Value, "PSObject, PSCustomObject or Hashtable").at(0),
        Parameter::new("Property", Takes::Value, "Its properties: @{ Name = value }"),
    ],
    work: All(new_object),
};

fn new_object<'a>(_: &'a mut Evaluator<'_>, given: &'a Given<'a>, _: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let name = given.text("TypeName").unwrap_or_default();
        let named = Type::named(name.trim_start_matches("System.Management.Automation."));
        let Some(kind @ (Type::Custom | Type::Hashtable)) = named else {
            let said = format!(
                "There is no type \"{name}\" here. Write New-Object PSObject -Property @{{ Name = value }}; a list is \
                 @(), text is put together with + or -join."
            );
            return Err(given.fail("TypeNotFound", said));
        };
        let properties = match given.value("Property") {
            None => Object::new(""),
            Some(Value::Object(object)) => object.clone(),
            Some(other) => {
                let said = format!("-Property takes a hashtable, @{{ Name = value }}, not a {}.", other.type_name());
                return Err(given.fail("ParameterArgumentTransformationError", said));
            }
        };
        let made = convert::cast(kind, Value::Object(properties)).map_err(|wrong| wrong.at(given.at()))?;
        Ok(vec![made])
    })
}

pub(super) const ADD_MEMBER: Builtin = Builtin {
    name: "Add-Member",
    aliases: &[],
    summary: "Gives objects on with one property more",
    parameters: &[
        Parameter::new("MemberType", Takes::Value, "NoteProperty; or several properties at once: @{ Name = value }")
            .at(0),
        Parameter::new("Name", Takes::Value, "The property").at(1),
        Parameter::new("Value", Takes::Value, "Its value").at(2),
        Parameter::new("Force", Takes::Switch, "Also where the object has that property"),
        Parameter::new("NotePropertyMembers", Takes::Value, "Several: @{ Name = value }"),
        Parameter::new("NotePropertyName", Takes::Value, "The property"),
        Parameter::new("NotePropertyValue", Takes::Value, "Its value"),
        Parameter::new("PassThru", Takes::Switch, "Gives the object on, without which nothing would come of it"),
    ],
    work: Each(add_member),
};

fn add_member<'a>(_: &'a mut Evaluator<'_>, given: &'a Given<'a>, item: Option<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        if !given.is_on("PassThru") {
            // Values are not shared here: the variable that the object came from would not change.
            let said = "Add-Member gives on a copy. Write $x = $x | Add-Member … -PassThru, or \
                        Select-Object *, @{Name='…';Expression={…}}.";
            return Err(given.fail("PassThruMissing", said));
        }
        let added = added(given)?;
        let Some(Value::Object(mut object)) = item else {
            return Err(given.fail("InvalidOperation", "Only an object can have one property more; give it one."));
        };
        for (name, value) in added.properties() {
            if object.property(name).is_some() && !given.is_on("Force") {
                let said = format!("The object has a property {name}. Write -Force to give it another value.");
                return Err(given.fail("MemberAlreadyExists", said));
            }
            object.set(name, value.clone());
        }
        Ok(vec![object.into()])
    })
}

/// The properties that are added, in each of the three ways to write them.
fn added(given: &Given<'_>) -> Result<Object, Flow> {
    let several = given.value("NotePropertyMembers").or_else(|| given.value("MemberType"));
    if let Some(Value::Object(several)) = several {
        return Ok(several.clone());
    }
    if let Some(name) = given.text("NotePropertyName") {
        return Ok(Object::new("").with(name, given.value("NotePropertyValue").cloned().unwrap_or_default()));
    }
    match (given.text("MemberType"), given.text("Name")) {
        (Some(kind), Some(name)) if kind.eq_ignore_ascii_case("NoteProperty") => {
            Ok(Object::new("").with(name, given.value("Value").cloned().unwrap_or_default()))
        }
        (Some(kind), Some(_)) => {
            Err(given.fail("InvalidMemberType", format!("Only a NoteProperty can be added, not a {kind}.")))
        }
        _ => Err(given.fail("MissingArgument", "Which property? Write Add-Member NoteProperty NAME VALUE -PassThru.")),
    }
}
