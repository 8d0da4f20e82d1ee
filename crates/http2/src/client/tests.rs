//! Tables and properties of the whole client.
