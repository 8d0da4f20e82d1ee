//! The push providers: encoding, decoding, credentials and the sender core.
