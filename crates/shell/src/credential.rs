//! Passwords where nobody is at a keyboard: in a variable of the environment, or in a file that one names.

use std::path::Path;

use reveille_admin::Secret;

/// The variable that names the file of passwords.
const FILE: &str = "REVEILLE_CREDENTIAL_FILE";
/// What the variables with a password begin with.
const VARIABLE: &str = "REVEILLE_CREDENTIAL_";
/// How large the file of passwords may be.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// A password that was found.
#[derive(Debug)]
pub struct Kept {
    /// The password.
    pub password: Secret,
    /// What somebody should see to.
    pub warning: Option<String>,
}

/// The password that the environment, or the file which it names, has for a user. The sentence says what was looked for and
/// where it could be put.
pub fn kept(user: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Kept, String> {
    let names: Vec<String> = variables_of(user).collect();
    if let Some(password) = names.iter().find_map(|name| environment(name)) {
        return Ok(Kept { password: Secret::new(password), warning: None });
    }
    let missing = |why: String| {
        format!(
            "Nobody is there to type the password of {user}, and {why}. Set {} to it, or {FILE} to the name of a file \
             with lines of the form: {user} PASSWORD",
            names.join(" or "),
        )
    };
    let Some(path) = environment(FILE) else {
        return Err(missing(format!("the environment has neither {} nor {FILE}", names.join(" nor "))));
    };
    let text = read(Path::new(&path)).map_err(|why| missing(format!("the file {path} cannot be read: {why}")))?;
    let line = text.lines().filter_map(|line| line.trim().split_once([' ', '\t']));
    let mut found = line.filter(|(name, _)| name.eq_ignore_ascii_case(user)).map(|(_, password)| password.trim());
    match found.next() {
        Some(password) => Ok(Kept { password: Secret::new(password), warning: open_to_others(Path::new(&path)) }),
        None => Err(missing(format!("the file {path} has no line for {user}"))),
    }
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

    #[test]
    fn a_password_is_found_in_the_environment_or_in_the_file_that_it_names() {
        let file = std::env::temp_dir().join(format!("reveille-credentials-{}", std::process::id()));
        std::fs::write(&file, "ann  ann-9-stars\nken\tken-9-stars\n").unwrap();
        let path = file.display().to_string();
        let has = |variable: &'static str, value: String| move |name: &str| (name == variable).then(|| value.clone());
        let found = kept("ken", &has("REVEILLE_CREDENTIAL_KEN", "in-9-clear".into())).unwrap();
        assert_eq!((found.password.expose(), found.warning), ("in-9-clear", None));
        let found = kept("Ken", &has(FILE, path.clone())).unwrap();
        assert_eq!(found.password.expose(), "ken-9-stars");
        let said = kept("bob", &has(FILE, path)).unwrap_err();
        assert!(said.contains("has no line for bob") && said.contains("REVEILLE_CREDENTIAL_BOB"), "{said}");
        assert!(kept("bob", &|_| None).unwrap_err().contains("has neither REVEILLE_CREDENTIAL_BOB nor"));
        std::fs::remove_file(&file).unwrap();
    }
}
