//! Who asks by HTTP: `/metrics` on one port, `/health` and `/health/detailed` on another.
//!
//! Everybody who reaches the ports is answered, with figures and no data; so a
//! connection may not cost much: there are few at once, and each has to ask soon.

use super::exposition;
use crate::control::{Control, Refusal};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use lightning_ops::admin::HealthStatus;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

/// Connections that are served at once by one listener; more wait.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may take to send a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection may last at all.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// How long an answer may be worked at.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long accepting pauses when the system has no more descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

const JSON: &str = "application/json";
const PLAIN: &str = "text/plain; charset=utf-8";

/// What a port serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pages {
    /// `/metrics`.
    Metrics,
    /// `/health` and `/health/detailed`.
    Health,
}

/// Answers whoever connects, until it is dropped.
pub async fn serve(listener: TcpListener, pages: Pages, control: Arc<Control>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, client)) => {
                let control = Arc::clone(&control);
                tokio::spawn(async move {
                    let _place = place;
                    let served = connection(stream, client, pages, control);
                    // Who is not done by then has to come again.
                    let _outcome = tokio::time::timeout(CONNECTION_TIMEOUT, served).await;
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection for figures could not be taken in");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: TcpStream, client: SocketAddr, pages: Pages, control: Arc<Control>) {
    let answers = service_fn(move |request: Request<Incoming>| {
        let control = Arc::clone(&control);
        async move { Ok::<_, Infallible>(answer(&request, pages, control).await) }
    });
    let served = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), answers);
    if let Err(error) = served.await {
        tracing::debug!(%client, %error, "a connection for figures broke");
    }
}

async fn answer(
    request: &Request<Incoming>,
    pages: Pages,
    control: Arc<Control>,
) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = page(
            StatusCode::METHOD_NOT_ALLOWED,
            PLAIN,
            "only GET\n".to_owned(),
        );
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let path = request.uri().path().to_owned();
    // Looking at files takes a thread that may wait.
    let work = tokio::task::spawn_blocking(move || answer_path(&path, pages, &control));
    match tokio::time::timeout(ANSWER_TIMEOUT, work).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => page(
            StatusCode::INTERNAL_SERVER_ERROR,
            PLAIN,
            "the answer failed; see the log\n".to_owned(),
        ),
        Err(_) => page(
            StatusCode::SERVICE_UNAVAILABLE,
            PLAIN,
            format!("no answer within {} s\n", ANSWER_TIMEOUT.as_secs()),
        ),
    }
}

fn answer_path(path: &str, pages: Pages, control: &Control) -> Response<Full<Bytes>> {
    match (pages, path) {
        (Pages::Metrics, "/metrics") => match control.metrics() {
            Ok(text) => page(StatusCode::OK, exposition::CONTENT_TYPE, text),
            Err(refusal) => unavailable(&refusal),
        },
        (Pages::Health, "/health") => health(control, false),
        (Pages::Health, "/health/detailed") => health(control, true),
        (Pages::Metrics, "/") => page(StatusCode::OK, PLAIN, "see /metrics\n".to_owned()),
        (Pages::Health, "/") => page(
            StatusCode::OK,
            PLAIN,
            "see /health and /health/detailed\n".to_owned(),
        ),
        _ => page(
            StatusCode::NOT_FOUND,
            PLAIN,
            "there is no such page\n".to_owned(),
        ),
    }
}

fn health(control: &Control, detailed: bool) -> Response<Full<Bytes>> {
    match control.health(&[], false, detailed) {
        Ok(view) => {
            let status = if view.status == HealthStatus::Critical {
                StatusCode::SERVICE_UNAVAILABLE
            } else {
                StatusCode::OK
            };
            // Values of these types always have a text.
            let text = serde_json::to_string(&view).unwrap_or_default();
            page(status, JSON, text + "\n")
        }
        Err(refusal) => unavailable(&refusal),
    }
}

/// What a balancer reads as critical: the service ends.
fn unavailable(refusal: &Refusal) -> Response<Full<Bytes>> {
    let text = serde_json::json!({
        "status": "critical",
        "details": {"service": {"status": "critical", "message": refusal.to_string()}},
    });
    page(StatusCode::SERVICE_UNAVAILABLE, JSON, format!("{text}\n"))
}

fn page(status: StatusCode, media_type: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        "x-content-type-options",
        HeaderValue::from_static("nosniff"),
    );
    response
}
