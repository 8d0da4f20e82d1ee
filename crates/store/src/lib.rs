//! What outlives a restart: traits, SQLite, and the battery every backend passes.
