//! The pages in docs/reference, made from the catalogue; a test here says when they are old.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use reveille_admin::api;
use reveille_admin::reference::{self, Page};
use reveille_shell::reference as shell_reference;

use crate::shell;

/// Writes all pages, and removes those of cmdlets that are gone.
pub(crate) fn write() -> Result<()> {
    let folder = folder();
    std::fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for page in pages() {
        let path = folder.join(&page.file);
        if std::fs::read_to_string(&path).is_ok_and(|text| text == page.text) {
            continue;
        }
        std::fs::write(&path, page.text).with_context(|| path.display().to_string())?;
        shell::say(&format!("docs/reference/{}", page.file));
    }
    for file in left_over()? {
        std::fs::remove_file(folder.join(&file)).with_context(|| file.clone())?;
        shell::say(&format!("docs/reference/{file} is gone"));
    }
    Ok(())
}

fn pages() -> Vec<Page> {
    let mut pages = reference::pages();
    pages.push(Page { file: shell_reference::FILE.into(), text: shell_reference::page() });
    pages.push(Page { file: "openapi.json".into(), text: format!("{:#}\n", api::document()) });
    pages
}

fn folder() -> PathBuf {
    crate::root().join("docs/reference")
}

/// Files that belong to no page. Pages that people write are not those of a noun.
fn left_over() -> Result<Vec<String>> {
    let known: BTreeSet<String> = pages().into_iter().map(|page| page.file).collect();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("Cs") && !known.contains(&name) {
            files.push(name);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_pages_are_those_of_the_catalogue() {
        let old: Vec<_> = pages()
            .into_iter()
            .filter(|page| std::fs::read_to_string(folder().join(&page.file)).ok().as_ref() != Some(&page.text))
            .map(|page| page.file)
            .collect();
        assert!(old.is_empty(), "{old:?} in docs/reference are old: cargo xtask reference");
        assert_eq!(left_over().unwrap(), Vec::<String>::new(), "pages of cmdlets that are gone: cargo xtask reference");
    }
}
