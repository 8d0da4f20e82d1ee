//! The rules of Reveille, pure: no sockets, no clock, no store.
