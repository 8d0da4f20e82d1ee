//! SIP on real connections: TLS, resolving, pools, listeners.
