//! Strict simulators of the providers, phones, and certificates for demos and tests.
