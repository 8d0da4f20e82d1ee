//! SIP as text and state: parser, printer, headers, transactions; no sockets.
