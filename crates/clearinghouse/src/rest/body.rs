//! Bodies within their size and time.

use std::time::Duration;

use axum::body::{Body, Bytes};
use http_body_util::{BodyExt as _, Limited};

/// How long a body may take to come.
const WITHIN: Duration = Duration::from_secs(10);

/// Why there is no body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unread {
    /// Its sender has gone, or says what is not HTTP.
    Broken,
    /// It did not come in time.
    Late,
    /// It is longer than this.
    Long(usize),
}

impl Unread {
    /// What its sender is told.
    pub(super) fn detail(self) -> String {
        match self {
            Self::Broken => "The body did not come as a whole.".into(),
            Self::Late => format!("The body did not come within {} s.", WITHIN.as_secs()),
            Self::Long(most) => format!("The body has more than {most} bytes, which are the most."),
        }
    }
}

/// The whole body, of at most so many bytes.
pub(super) async fn read(body: Body, bytes_max: usize) -> Result<Bytes, Unread> {
    match tokio::time::timeout(WITHIN, Limited::new(body, bytes_max).collect()).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(fault)) if fault.is::<http_body_util::LengthLimitError>() => Err(Unread::Long(bytes_max)),
        Ok(Err(_)) => Err(Unread::Broken),
        Err(_) => Err(Unread::Late),
    }
}
