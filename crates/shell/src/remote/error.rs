//! Why a server could not be asked, or what it refused, in whole sentences.

use reveille_admin::{Category, Failure};

/// Why there is no answer, or no good one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RemoteError {
    /// The connection broke under way.
    #[error(
        "the connection to {address} broke ({why}): whether the command was carried out is not known, so look before you repeat it"
    )]
    Broken {
        /// Where.
        address: String,
        /// What happened.
        why: String,
    },
    /// The server has answered, and refused.
    #[error("{0}")]
    Failed(Box<Failure>),
    /// No answer in time.
    #[error(
        "{address} gave no answer within {seconds} s: whether the command was carried out is not known, so look before you repeat it"
    )]
    NoAnswer {
        /// Where.
        address: String,
        /// How long it was waited for.
        seconds: u64,
    },
    /// No connection in time.
    #[error(
        "{address} cannot be reached within {seconds} s: is it the right address, and does a firewall let you through?"
    )]
    NoConnection {
        /// Where.
        address: String,
        /// How long it was tried.
        seconds: u64,
    },
    /// No socket file.
    #[error(
        "there is no socket {path}: is the server running? --socket PATH names another, and --config FILE finds the one of a configuration"
    )]
    NoSocket {
        /// Where it should be.
        path: String,
    },
    /// A name that cannot stand in a request.
    #[error("{path} cannot be asked for: there is no cmdlet of that name")]
    NoSuchName {
        /// What was asked for.
        path: String,
    },
    /// Our certificate cannot be shown.
    #[error("the certificate of --cert cannot be used: {why}. Is --key the key of that certificate?")]
    NoIdentity {
        /// Why not.
        why: String,
    },
    /// This machine cannot speak TLS.
    #[error("TLS cannot be used on this machine: {why}. --ca FILE names the certificates to trust")]
    NoTls {
        /// Why not.
        why: String,
    },
    /// The handshake failed.
    #[error("{address} is not trusted: {said}")]
    NoTrust {
        /// Where.
        address: String,
        /// Why not, and what helps.
        said: String,
    },
    /// A socket file that nobody listens on.
    #[error("nobody listens on {path}: the server that made it has ended. Start it again with reveille serve -c FILE")]
    NobodyListens {
        /// The file.
        path: String,
    },
    /// 401.
    #[error("{address} does not know who you are: {said} {}", shown.advice())]
    NotKnown {
        /// Where.
        address: String,
        /// What it said.
        said: String,
        /// What it was shown.
        shown: Shown,
    },
    /// Something else answers there.
    #[error("{address} answered {status}, and not in the way of the admin API: is it the right address?")]
    NotOurs {
        /// Where.
        address: String,
        /// The status.
        status: u16,
    },
    /// No way there.
    #[error("{address} cannot be reached: {why}")]
    NotReached {
        /// Where.
        address: String,
        /// Why not.
        why: String,
    },
    /// The socket's folder or file is closed to this user.
    #[error(
        "{path} may not be opened by this user: run the shell as the user of the server (sudo -u USER reveille shell), as a member of the group that [admin] socket_group names, or remotely with --url and an account"
    )]
    SocketClosedToUs {
        /// The socket.
        path: String,
    },
    /// A token with letters that no token has.
    #[error("the token holds letters that cannot be in one: is it the whole line, and nothing else?")]
    TokenNotText,
}

/// By what a server is to know who asks.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Shown {
    /// Our certificate.
    Certificate,
    /// Nothing yet.
    #[default]
    Nothing,
    /// An account's password.
    Password,
    /// The session that a password has opened.
    Session,
    /// An API token.
    Token,
}

impl Shown {
    /// What to do where it was not taken.
    const fn advice(self) -> &'static str {
        match self {
            Self::Certificate => {
                "No account has the certificate of --cert: Set-CsAdminAccount -Identity NAME -CertificateThumbprint, with \
                 the fingerprint that openssl x509 -in FILE -noout -fingerprint -sha256 shows."
            }
            Self::Nothing => {
                "Give --account NAME for its password, a token in REVEILLE_TOKEN or with --token-file FILE, or a \
                 certificate with --cert FILE."
            }
            Self::Password => "Is it the right account and password?",
            Self::Session => {
                "The session has ended: by a change of the account, such as its password, or after 8 hours. Start the \
                 shell again to sign in."
            }
            Self::Token => "The token is wrong, has expired or was revoked; New-CsAdminToken makes another.",
        }
    }
}

/// As an error of the cmdlet that could not be run.
impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        let (category, id) = match error {
            RemoteError::Failed(failure) => return *failure,
            RemoteError::NotKnown { .. } | RemoteError::SocketClosedToUs { .. } | RemoteError::TokenNotText => {
                (Category::PermissionDenied, "NotSignedIn")
            }
            RemoteError::NoSuchName { .. } => (Category::ObjectNotFound, "CommandNotFoundException"),
            RemoteError::Broken { .. } | RemoteError::NoAnswer { .. } => (Category::ResourceUnavailable, "NoAnswer"),
            RemoteError::NoConnection { .. }
            | RemoteError::NoSocket { .. }
            | RemoteError::NoIdentity { .. }
            | RemoteError::NoTls { .. }
            | RemoteError::NoTrust { .. }
            | RemoteError::NobodyListens { .. }
            | RemoteError::NotOurs { .. }
            | RemoteError::NotReached { .. } => (Category::ResourceUnavailable, "ServerNotReached"),
        };
        Self::new(category, id, sentence(error.to_string()))
    }
}

/// With a capital letter, unless an address or path begins it, and with a full stop.
fn sentence(mut text: String) -> String {
    let is_word = text.split(' ').next().is_some_and(|word| word.chars().all(|letter| letter.is_ascii_lowercase()));
    if is_word && !text.is_empty() {
        text[..1].make_ascii_uppercase();
    }
    if !text.ends_with(['.', '?', '!']) {
        text.push('.');
    }
    text
}
