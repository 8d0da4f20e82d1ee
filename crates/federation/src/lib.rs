//! How a push request travels between organisations, and who may speak.
