//! The executable: parses, waits, drains.

fn main() {}
