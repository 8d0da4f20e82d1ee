//! What goes wrong, as HTTP says it: a problem of RFC 9457 with the members of a [`Failure`].

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Serialize;

use crate::failure::{Category, Failure};

/// An answer that is none.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) status: u16,
    failure: Box<Failure>,
    retry_after: Option<Duration>,
}

/// RFC 9457 §3.1 and our own members beside it.
#[derive(Serialize)]
struct Body<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(flatten)]
    failure: &'a Failure,
}

impl Problem {
    pub(super) fn new(status: u16, id: &str, message: impl Into<String>) -> Self {
        let category = match status {
            401 | 403 => Category::PermissionDenied,
            404 => Category::ObjectNotFound,
            429 | 503 => Category::ResourceBusy,
            400..=499 => Category::InvalidArgument,
            _ => Category::NotSpecified,
        };
        Self { status, failure: Box::new(Failure::new(category, id, message)), retry_after: None }
    }

    pub(super) fn forbidden(id: &str, message: &str) -> Self {
        Self::new(403, id, message)
    }

    pub(super) fn unauthorised(message: &str) -> Self {
        Self::new(401, "NotSignedIn", message)
    }

    /// What somebody is told whose name, secret or certificate does not let in, whatever the reason is.
    pub(super) fn not_known() -> Self {
        Self::unauthorised("The name, password, token or certificate is not known, or good no more.")
    }

    pub(super) fn too_many(wait: Duration) -> Self {
        let secs = wait.as_secs().max(1);
        let message = format!("Too many tries or requests: the next is taken in {secs} s.");
        Self { retry_after: Some(wait), ..Self::new(429, "TooMany", message) }
    }

    pub(super) fn busy(what: &str) -> Self {
        Self { retry_after: Some(Duration::from_secs(2)), ..Self::new(503, "Busy", what) }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Self {
        let status = match failure.category {
            Category::InvalidArgument => 400,
            Category::InvalidData => 422,
            Category::ObjectNotFound => 404,
            Category::ResourceExists | Category::ResourceBusy => 409,
            Category::ResourceUnavailable => 503,
            // The test ran, and what it asked did not answer as it should.
            Category::OperationStopped => 502,
            Category::PermissionDenied => 403,
            Category::NotSpecified => 500,
        };
        Self { status, failure: Box::new(failure), retry_after: None }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = Body {
            r#type: format!("urn:reveille:{}", self.failure.id),
            title: status.canonical_reason().unwrap_or("Problem"),
            status: status.as_u16(),
            detail: &self.failure.message,
            failure: &self.failure,
        };
        let text = serde_json::to_vec(&body).unwrap_or_default();
        let mut response = (status, text).into_response();
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            fields.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.retry_after {
            fields.insert(RETRY_AFTER, wait.as_secs().max(1).into());
        }
        response
    }
}
