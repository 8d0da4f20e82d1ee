//! The API as its callers meet it: over a connection, with real stores.

mod entrance;
mod office;
mod rights;
mod room;
