//! `CsAdminAccount`: administrators who come from other machines.

use std::fmt::Write as _;

use reveille_store::{Account, AccountConflict, Given, PasswordHash, StoreError, wait};

use crate::accounts::{check_password, hash, is_name, may_touch, roles_to_hand_out};
use crate::call::Call;
use crate::cmdlet::{About, Area, Cmdlet, Name, Outcome, Parameter, Pipeline, Running, Verb};
use crate::desk::Desk;
use crate::failure::{Category, Failure};
use crate::family::fits;
use crate::kind::Kind;
use crate::value::{Object, Value};

const NOUN: &str = "CsAdminAccount";
const KIND: &str = "AdminAccount";
const OUTPUTS: &[&str] = &[
    "Identity",
    "Roles",
    "Enabled",
    "HasPassword",
    "CertificateThumbprint",
    "Created",
    "CreatedBy",
    "Changed",
    "ChangedBy",
];
const PASSWORD: Parameter = Parameter::new(
    "Password",
    Kind::Secret,
    "At least 12 characters, and not with the account's name in it; without one only a certificate or a token lets in",
);
const THUMBPRINT: Parameter = Parameter::new(
    "CertificateThumbprint",
    Kind::Text,
    "The SHA-256 fingerprint of a client certificate that stands for the account; empty takes it away",
);
const ENABLED: Parameter = Parameter::new("Enabled", Kind::Bool, "Whether anybody may come in as it").or("True");
const FORCE: Parameter = Parameter::new("Force", Kind::Switch, "Does not ask");

/// `Get-CsAdminAccount`
pub(super) struct Get;

impl Cmdlet for Get {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Get, NOUN),
                summary: "Shows the accounts of administrators who come from other machines",
                parameters: &[
                    Parameter::new("Identity", Kind::Text, "The account's name").at(1).from(Pipeline::ByName),
                    Parameter::new("Filter", Kind::Text, "A pattern with * that the name must fit"),
                ],
                outputs: OUTPUTS,
                area: Area::Administration,
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            if let Some(name) = call.text("Identity") {
                return Ok(Outcome::of([object(&known(name, desk)?)]));
            }
            let mut accounts = desk.accounts.accounts().map_err(unavailable)?;
            accounts.retain(|account| call.text("Filter").is_none_or(|pattern| fits(pattern, &account.name)));
            Ok(Outcome::of(accounts.iter().map(object)))
        })
    }
}

/// `New-CsAdminAccount`
pub(super) struct New;

impl Cmdlet for New {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::New, NOUN),
                summary: "Makes an account for an administrator who comes from another machine",
                description: "The first one is made on the server's own machine. Nobody can give a role that has more \
                              than his own.",
                parameters: &[
                    Parameter::new("Identity", Kind::Text, "Its name: letters, digits, '.', '-', '_'")
                        .required()
                        .at(1)
                        .of(&["Identity"]),
                    Parameter::new("Credential", Kind::Credential, "Its name and password, from Get-Credential")
                        .required()
                        .of(&["Credential"]),
                    PASSWORD.of(&["Identity"]),
                    Parameter::new("Roles", Kind::List(&Kind::Text), "Its roles, as Get-CsAdminRole names them"),
                    THUMBPRINT,
                    ENABLED,
                ],
                sets: &["Identity", "Credential"],
                outputs: OUTPUTS,
                area: Area::Administration,
                changes: true,
                examples: &[(
                    "New-CsAdminAccount -Credential (Get-Credential ann) -Roles CsHelpDesk",
                    "Asks for ann's password and makes her account.",
                )],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let credential = call.object("Credential").and_then(|object| object.property("UserName"));
            let name = call.text("Identity").or_else(|| credential.and_then(Value::as_text)).unwrap_or_default();
            if !is_name(name) {
                return Err(invalid(
                    name,
                    "is no name for an account: letters, digits, '.', '-' and '_', at most 64, the first a letter or digit",
                ));
            }
            let name = name.to_ascii_lowercase();
            let given = roles_to_hand_out(&texts(call.value("Roles")), &call.caller, desk)?;
            let now = desk.clock.now();
            let account = Account {
                password: password(call, &name)?,
                certificate: thumbprint(call)?.flatten(),
                roles: given.roles.clone(),
                disabled: call.value("Enabled").is_some_and(|_| !call.is_on("Enabled")),
                created: now,
                created_by: call.caller.name.clone(),
                changed: now,
                changed_by: call.caller.name.clone(),
                version: 0,
                name,
            };
            keep(account, 0, given, call, desk).await
        })
    }
}

/// `Set-CsAdminAccount`
pub(super) struct Set;

impl Cmdlet for Set {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Set, NOUN),
                summary: "Changes an account: its password, roles, certificate, or whether it is enabled",
                description: "Whoever is signed in as it must sign in again; tokens stay, and have what it has then. \
                              Set-CsAdminPassword changes one's own password.",
                parameters: &[
                    Parameter::new("Identity", Kind::Text, "The account's name").required().at(1).of(&["Identity"]),
                    Parameter::new("Instance", Kind::Instance(KIND), "The account, as Get-CsAdminAccount gives it")
                        .required()
                        .of(&["Instance"])
                        .from(Pipeline::ByValue),
                    PASSWORD,
                    Parameter::new("Credential", Kind::Credential, "Its name and new password, from Get-Credential"),
                    Parameter::new("Roles", Kind::Modifier(&Kind::Text), "Its roles, as Get-CsAdminRole names them"),
                    THUMBPRINT,
                    ENABLED,
                    FORCE,
                ],
                sets: &["Identity", "Instance"],
                area: Area::Administration,
                changes: true,
                examples: &[
                    (
                        "Set-CsAdminAccount -Identity ann -Credential (Get-Credential ann)",
                        "Asks for a new password of ann, who has forgotten hers.",
                    ),
                    (
                        "Set-CsAdminAccount -Identity ann -Roles @{Add=\"CsUserAdministrator\"}",
                        "Gives her one role more.",
                    ),
                    ("Set-CsAdminAccount -Identity ann -Enabled $False", "Lets nobody in as ann any more."),
                ],
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let instance = call.object("Instance");
            let name = instance.and_then(|object| object.property("Identity")).or_else(|| call.value("Identity"));
            let mut account = known(name.and_then(Value::as_text).unwrap_or_default(), desk)?;
            may_touch(&account, &call.caller, desk)?;
            let read = instance.and_then(|object| object.property("@version")).and_then(Value::as_int);
            let seen = read.and_then(|version| u64::try_from(version).ok()).unwrap_or(account.version);
            let mut given = Given::default();
            if let Some(roles) = call.value("Roles") {
                given = roles_to_hand_out(&modified(&account.roles, roles), &call.caller, desk)?;
                account.roles.clone_from(&given.roles);
            }
            if let Some(hash) = password(call, &account.name)? {
                account.password = Some(hash);
            }
            if let Some(certificate) = thumbprint(call)? {
                account.certificate = certificate;
            }
            if call.value("Enabled").is_some() {
                account.disabled = !call.is_on("Enabled");
            }
            account.changed = desk.clock.now();
            account.changed_by.clone_from(&call.caller.name);
            let outcome = keep(account, seen, given, call, desk).await?;
            Ok(Outcome { objects: Vec::new(), ..outcome })
        })
    }
}

/// `Remove-CsAdminAccount`
pub(super) struct Remove;

impl Cmdlet for Remove {
    fn about(&self) -> &'static About {
        const {
            &About {
                name: Name::new(Verb::Remove, NOUN),
                summary: "Removes an account with its tokens and sessions",
                parameters: &[
                    Parameter::new("Identity", Kind::Text, "The account's name")
                        .required()
                        .at(1)
                        .from(Pipeline::ByName),
                    FORCE,
                ],
                area: Area::Administration,
                changes: true,
                asks: true,
                ..About::DEFAULT
            }
        }
    }

    fn run<'a>(&'a self, call: &'a Call, desk: &'a Desk) -> Running<'a> {
        Box::pin(async {
            let account = known(call.text("Identity").unwrap_or_default(), desk)?;
            may_touch(&account, &call.caller, desk)?;
            if call.what_if {
                return Ok(what_if(call, &account.name));
            }
            let removed = wait(|done| desk.accounts.remove_account(&account.name, account.version, done)).await;
            removed.map_err(unavailable)?.map_err(|error| conflict(&error))?;
            Ok(Outcome { verbose: vec![format!("The account {} is removed.", account.name)], ..Outcome::default() })
        })
    }
}

async fn keep(account: Account, seen: u64, given: Given, call: &Call, desk: &Desk) -> Result<Outcome, Failure> {
    if call.what_if {
        return Ok(what_if(call, &account.name));
    }
    let kept = wait(|done| desk.accounts.put_account(account.clone(), seen, given, done)).await.map_err(unavailable)?;
    let version = kept.map_err(|error| conflict(&error))?;
    let mut outcome = Outcome::of([object(&Account { version, ..account.clone() })]);
    if account.roles.is_empty() {
        outcome
            .warnings
            .push(format!("{} has no role and may do nothing. Set-CsAdminAccount -Roles gives one.", account.name));
    }
    if account.password.is_none() && account.certificate.is_none() {
        outcome.warnings.push(format!(
            "{} has neither password nor certificate: only a token of New-CsAdminToken lets in as it.",
            account.name
        ));
    }
    Ok(outcome)
}

/// The hash of the password that the call gives, if it gives one.
fn password(call: &Call, name: &str) -> Result<Option<PasswordHash>, Failure> {
    let credential = call.object("Credential");
    let given = call.value("Password").or_else(|| credential?.property("Password"));
    if let Some(other) = credential.and_then(|object| object.property("UserName")).and_then(Value::as_text)
        && !other.eq_ignore_ascii_case(name)
    {
        return Err(invalid(other, &format!("is the name in the credential, and the account is {name}")));
    }
    let text = match given {
        None => return Ok(None),
        Some(Value::Secret(secret)) => secret.expose(),
        Some(Value::Text(text)) => text,
        Some(_) => return Err(invalid(name, "has a password that is no text")),
    };
    hashed(name, text).map(Some)
}

/// The hash of a password that the account of that name may have. It takes some tens of milliseconds of a thread that is
/// there for cmdlets.
pub(super) fn hashed(name: &str, text: &str) -> Result<PasswordHash, Failure> {
    check_password(name, text).map_err(|why| Failure::new(Category::InvalidArgument, "WeakPassword", why).of(name))?;
    hash(text).map_err(|why| {
        Failure::new(Category::NotSpecified, "PasswordNotHashed", format!("The password could not be hashed: {why}."))
    })
}

/// The fingerprint that the call gives: the inner nothing takes it away.
fn thumbprint(call: &Call) -> Result<Option<Option<[u8; 32]>>, Failure> {
    let Some(text) = call.text("CertificateThumbprint") else { return Ok(None) };
    let digits: Vec<u8> = text.bytes().filter(|byte| !matches!(byte, b':' | b' ')).collect();
    if digits.is_empty() {
        return Ok(Some(None));
    }
    let wrong = || invalid(text, "is no SHA-256 fingerprint: 64 hexadecimal digits, with or without colons");
    if digits.len() != 64 {
        return Err(wrong());
    }
    let mut fingerprint = [0; 32];
    for (byte, pair) in fingerprint.iter_mut().zip(digits.chunks(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        let (Some(high), Some(low)) = (digit(pair[0]), digit(pair[1])) else { return Err(wrong()) };
        *byte = u8::try_from(high * 16 + low).map_err(|_| wrong())?;
    }
    Ok(Some(Some(fingerprint)))
}

/// The account of that name.
pub(super) fn known(name: &str, desk: &Desk) -> Result<Account, Failure> {
    desk.accounts.account(name).map_err(unavailable)?.ok_or_else(|| {
        Failure::new(
            Category::ObjectNotFound,
            "ObjectNotFound",
            format!("There is no account \"{name}\". Get-CsAdminAccount shows which there are."),
        )
        .of(name)
    })
}

fn object(account: &Account) -> Object {
    let thumbprint = account.certificate.map(|bytes| {
        bytes.iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02X}");
            text
        })
    });
    Object::new(KIND)
        .with("Identity", account.name.as_str())
        .with("Roles", account.roles.clone())
        .with("Enabled", !account.disabled)
        .with("HasPassword", account.password.is_some())
        .with("CertificateThumbprint", thumbprint)
        .with("Created", account.created.to_string())
        .with("CreatedBy", account.created_by.as_str())
        .with("Changed", account.changed.to_string())
        .with("ChangedBy", account.changed_by.as_str())
        .with("@version", i64::try_from(account.version).unwrap_or(i64::MAX))
}

fn texts(value: Option<&Value>) -> Vec<String> {
    value.cloned().unwrap_or_default().into_items().iter().map(ToString::to_string).collect()
}

fn modified(before: &[String], value: &Value) -> Vec<String> {
    let Some(modifier) = value.as_object() else { return texts(Some(value)) };
    if let Some(replaced) = modifier.property("Replace") {
        return texts(Some(replaced));
    }
    let removed = texts(modifier.property("Remove"));
    let is_removed = |name: &String| removed.iter().any(|other| other.eq_ignore_ascii_case(name));
    before.iter().filter(|name| !is_removed(name)).cloned().chain(texts(modifier.property("Add"))).collect()
}

pub(super) fn what_if(call: &Call, target: &str) -> Outcome {
    let sentence = format!("What if: Performing the operation \"{}\" on target \"{target}\".", call.name);
    Outcome { what_if: vec![sentence], ..Outcome::default() }
}

pub(super) fn conflict(error: &AccountConflict) -> Failure {
    let (category, id, more) = match error {
        AccountConflict::Changed { .. } => (
            Category::ResourceBusy,
            "ChangedMeanwhile",
            " Read it again with Get-CsAdminAccount, and repeat the change.",
        ),
        AccountConflict::Exists { .. } => {
            (Category::ResourceExists, "AlreadyExists", " Set-CsAdminAccount changes it.")
        }
        AccountConflict::CertificateTaken { .. } => {
            (Category::InvalidData, "CertificateTaken", " Take it away there first, or use another.")
        }
        AccountConflict::Gone { .. } => (Category::ObjectNotFound, "ObjectNotFound", ""),
        AccountConflict::RoleGone { .. } => {
            (Category::ResourceBusy, "RoleGone", " Where it still stands, Remove-CsAdminRole ends what was begun.")
        }
        AccountConflict::TooMany { .. } => (Category::InvalidData, "TooMany", " Remove what is not used."),
    };
    let sentence = error.to_string();
    let mut letters = sentence.chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase()).unwrap_or_default();
    Failure::new(category, id, format!("{first}{}.{more}", letters.as_str()))
}

pub(crate) fn unavailable(error: StoreError) -> Failure {
    let category = if error.retry_helps() { Category::ResourceBusy } else { Category::ResourceUnavailable };
    Failure::new(category, "StoreUnavailable", format!("The accounts could not be read or changed: {error}."))
}

fn invalid(name: &str, why: &str) -> Failure {
    Failure::new(Category::InvalidArgument, "InvalidAccount", format!("\"{name}\" {why}.")).of(name)
}
