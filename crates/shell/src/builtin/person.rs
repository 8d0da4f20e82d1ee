//! What concerns the person at the keyboard: credentials, questions, variables, the end.

use reveille_admin::{Category, Failure, Object, Secret, Value};

use super::stage::Work::{All, Each};
use super::{Builtin, Given, Parameter, Takes};
use crate::credential;
use crate::eval::compare::is_like;
use crate::eval::{Action, Evaluator, Flow, Step, convert};

pub(super) const GET_CREDENTIAL: Builtin = Builtin {
    name: "Get-Credential",
    aliases: &[],
    summary: "Asks for a password, which is not shown; without a terminal it is taken from the environment or a file",
    parameters: &[
        Parameter::new("Credential", Takes::Value, "Whose password: user, DOMAIN\\user or user@domain").at(0),
        Parameter::new("Message", Takes::Value, "What is said before asking"),
        Parameter::new("UserName", Takes::Value, "The same as -Credential"),
    ],
    work: All(get_credential),
};

fn get_credential<'a>(evaluator: &'a mut Evaluator<'_>, given: &'a Given<'a>, _: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let named = given.value("Credential").or_else(|| given.value("UserName")).cloned();
        // A credential given is the credential got, as in PowerShell.
        if let Some(Value::Object(known)) = &named
            && known.type_name() == "PSCredential"
        {
            return Ok(vec![Value::Object(known.clone())]);
        }
        if let Some(message) = given.text("Message") {
            evaluator.terminal.say(&format!("{message}\n"));
        }
        let user = match named {
            Some(user) => user.to_string(),
            None => match evaluator.terminal.ask("User: ") {
                Some(user) if !user.trim().is_empty() => user.trim().to_owned(),
                None if evaluator.terminal.gave_up() => return Err(evaluator.give_up()),
                _ => return Err(given.fail("MissingArgument", "Whose password? Write Get-Credential USER.")),
            },
        };
        let prompt = format!("Password for user {user}: ");
        let password = match evaluator.terminal.ask_secret(&prompt) {
            Some(password) => password,
            None if evaluator.terminal.gave_up() => return Err(evaluator.give_up()),
            None => kept_password(evaluator, given, &user)?,
        };
        Ok(vec![made(&user, password)])
    })
}

fn made(user: &str, password: Secret) -> Value {
    Object::new("PSCredential").with("UserName", user).with("Password", Value::Secret(password)).into()
}

/// The password that the environment, or the file which it names, has for a user.
fn kept_password(evaluator: &mut Evaluator<'_>, given: &Given<'_>, user: &str) -> Result<Secret, Flow> {
    let found = credential::kept(user, &|name: &str| evaluator.terminal.environment(name));
    let found = found.map_err(|said| {
        given.failure(Failure::new(Category::ResourceUnavailable, "CredentialNotFound", said).of(user))
    })?;
    if let Some(warning) = found.warning {
        evaluator.terminal.say(&format!("WARNING: {warning}\n"));
    }
    Ok(found.password)
}

pub(super) const CONVERT_TO_SECURE_STRING: Builtin = Builtin {
    name: "ConvertTo-SecureString",
    aliases: &[],
    summary: "Makes a secret of text, so that it is not shown any more",
    parameters: &[
        Parameter::new("String", Takes::Value, "The text").at(0),
        Parameter::new("AsPlainText", Takes::Switch, "That the text is the secret itself; there is no other form"),
        Parameter::new("Force", Takes::Switch, "Accepted, and without effect"),
    ],
    work: All(convert_to_secure_string),
};

fn convert_to_secure_string<'a>(
    _: &'a mut Evaluator<'_>,
    given: &'a Given<'a>,
    input: Vec<Value>,
) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        match given.value("String").cloned().or_else(|| input.into_iter().next()) {
            Some(Value::Secret(secret)) => Ok(vec![Value::Secret(secret)]),
            Some(text) => Ok(vec![Value::Secret(Secret::new(text.to_string()))]),
            None => Err(given.fail("MissingArgument", "The text is missing: ConvertTo-SecureString -String TEXT.")),
        }
    })
}

pub(super) const READ_HOST: Builtin = Builtin {
    name: "Read-Host",
    aliases: &[],
    summary: "Asks the person at the keyboard for a line",
    parameters: &[
        Parameter::new("Prompt", Takes::Value, "What is asked").at(0),
        Parameter::new("AsSecureString", Takes::Switch, "The line is not shown, and stays a secret"),
    ],
    work: All(read_host),
};

fn read_host<'a>(evaluator: &'a mut Evaluator<'_>, given: &'a Given<'a>, _: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let prompt = given.text("Prompt").map(|prompt| format!("{prompt}: ")).unwrap_or_default();
        let answer = match given.is_on("AsSecureString") {
            true => evaluator.terminal.ask_secret(&prompt).map(Value::Secret),
            false => evaluator.terminal.ask(&prompt).map(Value::Text),
        };
        match answer {
            Some(answer) => Ok(vec![answer]),
            None if evaluator.terminal.gave_up() => Err(evaluator.give_up()),
            None => Err(given.fail("NoTerminal", "Nobody is there to answer. Read $env:NAME instead.")),
        }
    })
}

pub(super) const GET_VARIABLE: Builtin = Builtin {
    name: "Get-Variable",
    aliases: &["gv"],
    summary: "Lists the variables that were set",
    parameters: &[
        Parameter::new("Name", Takes::Values, "Names without $, also with *").at(0),
        Parameter::new("ValueOnly", Takes::Switch, "The values without the names"),
    ],
    work: All(get_variable),
};

fn get_variable<'a>(evaluator: &'a mut Evaluator<'_>, given: &'a Given<'a>, _: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let wanted: Vec<String> = given.values("Name").iter().map(Value::to_string).collect();
        let fits = |name: &str| wanted.is_empty() || wanted.iter().any(|pattern| is_like(name, pattern));
        let found = evaluator.session.variables().filter(|(name, _)| fits(name));
        Ok(match given.is_on("ValueOnly") {
            true => found.map(|(_, value)| value.clone()).collect(),
            false => found
                .map(|(name, value)| Object::new("PSVariable").with("Name", name).with("Value", value.clone()).into())
                .collect(),
        })
    })
}

pub(super) const REMOVE_VARIABLE: Builtin = Builtin {
    name: "Remove-Variable",
    aliases: &["rv"],
    summary: "Forgets variables",
    parameters: &[Parameter::new("Name", Takes::Values, "Names without $").at(0)],
    work: All(remove_variable),
};

fn remove_variable<'a>(evaluator: &'a mut Evaluator<'_>, given: &'a Given<'a>, _: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        for name in given.values("Name") {
            evaluator.session.forget_variable(&name.to_string());
        }
        Ok(Vec::new())
    })
}

pub(super) const SET_STRICT_MODE: Builtin = Builtin {
    name: "Set-StrictMode",
    aliases: &[],
    summary: "Makes it a mistake to name a variable or property that does not exist",
    parameters: &[
        Parameter::new("Version", Takes::Value, "1.0: variables; 2.0, 3.0 or Latest: properties too"),
        Parameter::new("Off", Takes::Switch, "What does not exist is $null again"),
    ],
    work: Each(set_strict_mode),
};

fn set_strict_mode<'a>(
    evaluator: &'a mut Evaluator<'_>,
    given: &'a Given<'a>,
    _: Option<Value>,
) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let version = given.text("Version").unwrap_or_default();
        let whole = version.split('.').next().and_then(|whole| whole.parse::<u8>().ok());
        evaluator.session.strict = match (given.is_on("Off"), whole) {
            (true, None) => 0,
            (false, Some(1)) => 1,
            (false, Some(2..)) => 2,
            (false, None) if version.eq_ignore_ascii_case("Latest") => 2,
            _ => {
                let said = "Which mode? Write Set-StrictMode -Version Latest, or Set-StrictMode -Off.";
                // What comes next counts on it.
                return Err(given.fail("InvalidVersion", said).or(Action::Stop));
            }
        };
        Ok(Vec::new())
    })
}

pub(super) const IMPORT_MODULE: Builtin = Builtin {
    name: "Import-Module",
    aliases: &["ipmo"],
    summary: "Accepts the names of Lync's modules, whose commands are here without being loaded",
    parameters: &[
        Parameter::new("Name", Takes::Values, "The modules").at(0),
        Parameter::new("Force", Takes::Switch, "Accepted, and without effect"),
    ],
    work: All(import_module),
};

fn import_module<'a>(_: &'a mut Evaluator<'_>, given: &'a Given<'a>, _: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        for name in given.values("Name").iter().map(Value::to_string) {
            // Scripts name the module's file: "C:\…\Modules\Lync\Lync.psd1".
            let file = name.rsplit(['\\', '/']).next().unwrap_or(&name);
            if !super::is_our_module(file.split('.').next().unwrap_or(file)) {
                let said =
                    format!("There is no module {name}; this shell has no modules. All its commands: Get-Command");
                return Err(given.fail("ModuleNotFound", said));
            }
        }
        Ok(Vec::new())
    })
}

pub(super) const GET_MODULE: Builtin = Builtin {
    name: "Get-Module",
    aliases: &["gmo"],
    summary: "Names the modules that scripts ask for, whose commands are here without being loaded",
    parameters: &[
        Parameter::new("Name", Takes::Values, "Names, also with *").at(0),
        Parameter::new("ListAvailable", Takes::Switch, "Accepted, and without effect"),
    ],
    work: All(get_module),
};

fn get_module<'a>(_: &'a mut Evaluator<'_>, given: &'a Given<'a>, _: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let wanted: Vec<String> = given.values("Name").iter().map(Value::to_string).collect();
        let fits = |name: &&&str| wanted.is_empty() || wanted.iter().any(|pattern| is_like(name, pattern));
        let module = |name: &&str| {
            let module = Object::new("PSModuleInfo").with("ModuleType", "Binary");
            module.with("Name", *name).with("Version", env!("CARGO_PKG_VERSION")).into()
        };
        Ok(super::MODULES.iter().filter(fits).map(module).collect())
    })
}

pub(super) const CLEAR_HOST: Builtin = Builtin {
    name: "Clear-Host",
    aliases: &["clear", "cls"],
    summary: "Clears the screen",
    parameters: &[],
    work: All(clear_host),
};

fn clear_host<'a>(evaluator: &'a mut Evaluator<'_>, _: &'a Given<'a>, _: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        evaluator.terminal.clear();
        Ok(Vec::new())
    })
}

pub(super) const QUIT: Builtin = Builtin {
    name: "quit",
    aliases: &[],
    summary: "Ends the shell, as exit does",
    parameters: &[Parameter::new("Status", Takes::Value, "The exit status").at(0)],
    work: All(quit),
};

fn quit<'a>(_: &'a mut Evaluator<'_>, given: &'a Given<'a>, _: Vec<Value>) -> Step<'a, Vec<Value>> {
    Box::pin(async move {
        let status = given.value("Status").and_then(convert::as_int).unwrap_or(0);
        Err(Flow::Exit(u8::try_from(status).unwrap_or(1)))
    })
}
