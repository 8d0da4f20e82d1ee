//! The language as administrators write it: `corpus/*.txt` with what each script prints, and another parser of PowerShell
//! (tree-sitter's) that must accept whatever ours accepts.

mod catalogue;
mod corpus;
mod limits;
mod oracle;
mod scripts;
mod small;
mod world;
