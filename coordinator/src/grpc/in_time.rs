//! A time limit for every call of a service whose calls have none of their own.

use std::{
    convert::Infallible,
    task::{Context, Poll},
    time::Duration,
};

use tonic::{
    Status,
    body::Body,
    codegen::{BoxFuture, Service, http},
    server::NamedService,
};

/// The call that is its own request: it has limits of its own.
const UPLOAD: &str = "/hostler.v1.Admin/UploadArtifact";

/// A service each of whose calls is answered in time, or begins to be where the answer is a stream. The time begins
/// with the call's headers: one whose request never comes ends too.
#[derive(Debug, Clone)]
pub(crate) struct InTime<S> {
    service: S,
    limit: Duration,
}

impl<S> InTime<S> {
    /// That service with that limit.
    pub(crate) fn new(service: S, limit: Duration) -> Self {
        Self { service, limit }
    }
}

impl<S: NamedService> NamedService for InTime<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for InTime<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let (limit, is_upload) = (self.limit, request.uri().path() == UPLOAD);
        let answer = self.service.call(request);
        Box::pin(async move {
            if is_upload {
                return answer.await;
            }
            match tokio::time::timeout(limit, answer).await {
                Ok(answer) => answer,
                Err(_) => Ok(Status::deadline_exceeded(format!(
                    "expected this call to be over within {} s, found it open; it may have been done: look, and try \
                        again",
                    limit.as_secs()
                ))
                .into_http()),
            }
        })
    }
}
