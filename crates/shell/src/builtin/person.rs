//! What concerns the person at the keyboard: credentials, questions, variables, the end.

use std::path::Path;

use reveille_admin::{Category, Failure, Object, Secret, Value};

use super::stage::Work::{All, Each};
use super::{Builtin, Given, Parameter, Takes};
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
                _ => return Err(given.fail("MissingArgument", "Whose password? Write Get-Credential USER.")),
            },
        };
        let prompt = format!("Password for user {user}: ");
        let password = match evaluator.terminal.ask_secret(&prompt) {
            Some(password) => password,
            None => kept_password(evaluator, given, &user)?,
        };
        Ok(vec![credential(&user, password)])
    })
}

fn credential(user: &str, password: Secret) -> Value {
    Object::new("PSCredential").with("UserName", user).with("Password", Value::Secret(password)).into()
}

/// The variable that names the file of passwords.
const FILE: &str = "REVEILLE_CREDENTIAL_FILE";
/// What the variables with a password begin with.
const VARIABLE: &str = "REVEILLE_CREDENTIAL_";
/// How large the file of passwords may be.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// The password that the environment, or the file which it names, has for a user.
fn kept_password(evaluator: &mut Evaluator<'_>, given: &Given<'_>, user: &str) -> Result<Secret, Flow> {
    let names: Vec<String> = variables_of(user).collect();
    if let Some(password) = names.iter().find_map(|name| evaluator.terminal.environment(name)) {
        return Ok(Secret::new(password));
    }
    let missing = |why: String| {
        let said = format!(
            "Nobody is there to type the password of {user}, and {why}. Set {} to it, or {FILE} to the name of a file \
             with lines of the form: {user} PASSWORD",
            names.join(" or "),
        );
        given.failure(Failure::new(Category::ResourceUnavailable, "CredentialNotFound", said).of(user))
    };
    let Some(path) = evaluator.terminal.environment(FILE) else {
        return Err(missing(format!("the environment has neither {} nor {FILE}", names.join(" nor "))));
    };
    let text = read(Path::new(&path)).map_err(|why| missing(format!("the file {path} cannot be read: {why}")))?;
    if let Some(warning) = open_to_others(Path::new(&path)) {
        evaluator.terminal.say(&format!("WARNING: {warning}\n"));
    }
    let line = text.lines().filter_map(|line| line.trim().split_once([' ', '\t']));
    let mut found = line.filter(|(name, _)| name.eq_ignore_ascii_case(user)).map(|(_, password)| password.trim());
    found.next().map(Secret::new).ok_or_else(|| missing(format!("the file {path} has no line for {user}")))
}

/// `litwareinc\kenmyer` may be in `REVEILLE_CREDENTIAL_LITWAREINC_KENMYER`, or in `REVEILLE_CREDENTIAL_KENMYER`.
fn variables_of(user: &str) -> impl Iterator<Item = String> {
    let variable = |name: &str| {
        let upper = name.to_uppercase();
        format!("{VARIABLE}{}", upper.replace(|found: char| !found.is_ascii_alphanumeric(), "_"))
    };
    let bare = user.rsplit('\\').next().unwrap_or(user);
    let bare = bare.strip_prefix("sip:").unwrap_or(bare).split('@').next().unwrap_or(bare);
    let (whole, bare) = (variable(user), variable(bare));
    let other = (whole != bare).then_some(bare);
    std::iter::once(whole).chain(other)
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_string(&mut text)?;
    Ok(text)
}

fn open_to_others(path: &Path) -> Option<String> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(path).ok()?.permissions().mode();
    (mode & 0o077 != 0).then(|| format!("{} can be read by others: chmod 600 {0}", path.display()))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_has_a_variable_with_and_without_the_domain() {
        for (user, expected) in [
            ("litwareinc\\kenmyer", vec!["REVEILLE_CREDENTIAL_LITWAREINC_KENMYER", "REVEILLE_CREDENTIAL_KENMYER"]),
            ("kenmyer", vec!["REVEILLE_CREDENTIAL_KENMYER"]),
            ("sip:ken.m@x.com", vec!["REVEILLE_CREDENTIAL_SIP_KEN_M_X_COM", "REVEILLE_CREDENTIAL_KEN_M"]),
        ] {
            assert_eq!(variables_of(user).collect::<Vec<_>>(), expected);
        }
    }
}
