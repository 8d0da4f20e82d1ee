//! The pages in docs/reference are those of the catalogue of cmdlets and of the shell's own commands.
//!
//! `cargo xtask reference` runs this with `REVEILLE_UPDATE=1`, and then it writes them and removes those of cmdlets that
//! are gone. Here and not in the xtask, which would otherwise have half the workspace built before it can say anything.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use reveille_admin::api;
use reveille_admin::reference::{self, Page};
use reveille_shell::reference as shell_reference;

#[test]
fn the_reference_pages_are_those_of_the_catalogue() {
    if std::env::var_os("REVEILLE_UPDATE").is_some() {
        write();
    }
    let old: Vec<_> = pages().into_iter().filter(is_old).map(|page| page.file).collect();
    assert!(old.is_empty(), "{old:?} in docs/reference are old: cargo xtask reference");
    assert_eq!(left_over(), Vec::<String>::new(), "pages of cmdlets that are gone: cargo xtask reference");
}

fn write() {
    std::fs::create_dir_all(folder()).unwrap();
    for page in pages().iter().filter(|page| is_old(page)) {
        std::fs::write(folder().join(&page.file), &page.text).unwrap();
    }
    for file in left_over() {
        std::fs::remove_file(folder().join(file)).unwrap();
    }
}

fn pages() -> Vec<Page> {
    let mut pages = reference::pages();
    pages.push(Page { file: shell_reference::FILE.into(), text: shell_reference::page() });
    pages.push(Page { file: "openapi.json".into(), text: format!("{:#}\n", api::document()) });
    pages
}

fn is_old(page: &Page) -> bool {
    std::fs::read_to_string(folder().join(&page.file)).ok().as_ref() != Some(&page.text)
}

/// Files that belong to no page. Pages that people write are not those of a noun.
fn left_over() -> Vec<String> {
    let known: BTreeSet<String> = pages().into_iter().map(|page| page.file).collect();
    let files =
        std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name().to_string_lossy().into_owned());
    files.filter(|name| name.starts_with("Cs") && !known.contains(name)).collect()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference")
}
