//! Pages of `Get-Help` as an administrator sees them: a file each in `tests/help`, named after what was asked.
//!
//! After a change that is meant, `REVEILLE_UPDATE=1 cargo nextest run -p reveille-admin --test help` writes them anew.

use std::path::Path;

use reveille_admin::cmdlets;
use reveille_admin::help::{Part, page};

#[test]
fn pages_are_as_they_were_agreed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/help");
    let update = std::env::var_os("REVEILLE_UPDATE").is_some();
    for (cmdlet, part, file) in [
        ("New-CsHostingProvider", Part::Full, "New-CsHostingProvider.full.txt"),
        ("Enable-CsHostingProvider", Part::Overview, "Enable-CsHostingProvider.txt"),
        ("New-CsHostingProvider", Part::Examples, "New-CsHostingProvider.examples.txt"),
        ("Test-CsMcxPushNotification", Part::Overview, "Test-CsMcxPushNotification.txt"),
        ("Test-CsFederatedPartner", Part::Full, "Test-CsFederatedPartner.full.txt"),
        ("Set-CsImFilterConfiguration", Part::Parameters("Prefixes"), "Set-CsImFilterConfiguration.prefixes.txt"),
        ("Set-CsHostingProvider", Part::Parameters("*i*"), "Set-CsHostingProvider.parameters.txt"),
    ] {
        let text = page(cmdlets::find(cmdlet).unwrap().about(), part);
        let path = folder.join(file);
        if update {
            std::fs::write(&path, &text).unwrap();
        }
        let agreed = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, agreed, "{file}");
    }
}
