//! What operations needs: metrics for Prometheus, logs in JSON, and a readiness check.
//! `cargo run --example observability [ADDRESS]`, then `curl localhost:3000/metrics`

use std::{io, time::Duration};

use axum::{Router, extract::Path, http::StatusCode, routing::get, routing::post};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tower_tenure::{Error, MemoryStore, RequireSession, Session, SessionLayer};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// In seconds: from a memory store to the timeout of a call.
const STORE_BUCKETS: [f64; 10] = [0.000_01, 0.000_1, 0.000_5, 0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 2.0];

/// One JSON object a line, on stdout. The session's events have the target `tower_tenure`; at
/// `tower_tenure=debug` each 401 says why.
fn log_as_json() {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).init();
}

/// Install this before the session layer is created, so that its metrics are described.
fn record_metrics() -> Result<PrometheusHandle, Box<dyn std::error::Error>> {
    let latencies = Matcher::Full("tower_tenure_store_seconds".to_owned());
    let recorder = PrometheusBuilder::new().set_buckets_for_metric(latencies, &STORE_BUCKETS)?;
    let handle = recorder.install_recorder()?;
    let upkeep = handle.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            upkeep.run_upkeep(); // otherwise the samples of a histogram accumulate until the next scrape
        }
    });
    Ok(handle)
}

/// A real handler checks the password first.
async fn login(session: Session, Path(user): Path<String>) -> Result<&'static str, Error> {
    session.login(user).await?.accepted()?;
    Ok("welcome\n")
}

async fn account(session: Session) -> String {
    format!("hello {}\n", session.subject().unwrap_or_default())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    log_as_json();
    let metrics = record_metrics()?;

    let layer = SessionLayer::new(MemoryStore::new());
    let sessions = layer.sessions();
    tokio::spawn(layer.sessions().sweep_every(Duration::from_secs(30)));

    let site = Router::new()
        .route("/account", get(account).route_layer(RequireSession::new()))
        .route("/login/{user}", post(login))
        .layer(layer);
    // Outside of the session layer. In production on a port that the internet does not reach.
    let operations = Router::new()
        .route("/metrics", get(async move || metrics.render()))
        .route("/live", get(async || StatusCode::NO_CONTENT))
        .route(
            "/ready",
            get(async move || match sessions.ready().await {
                Ok(()) => StatusCode::NO_CONTENT,
                Err(_) => StatusCode::SERVICE_UNAVAILABLE, // the cause is in the log
            }),
        );

    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    axum::serve(listener, site.merge(operations)).await.map_err(io::Error::into)
}
