//! A response that ends with the session.

use std::{convert::Infallible, future::ready, time::Duration};

use axum::{
    extract::State,
    response::sse::{Event, Sse},
};
use futures_util::{Stream, StreamExt, stream};
use tokio::time::interval;
use tower_tenure::{Clock, Session, SystemClock};

use crate::app::App;

/// Sends the session's id, then the time every second.
pub(crate) async fn events(
    session: Session,
    State(mut app): State<App>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let sid = session.sid().map(|sid| sid.to_string()).unwrap_or_default();
    let start = stream::once(ready(Event::default().event("session").data(sid)));
    let ticks = stream::unfold(interval(Duration::from_secs(1)), |mut every| async move {
        every.tick().await;
        Some((Event::default().event("tick").data(SystemClock.now().to_string()), every))
    });
    let stop = async move {
        let _ = app.stopped.wait_for(|stopped| *stopped).await;
    };
    let events = start.chain(ticks).map(Ok).take_until(Box::pin(stop));
    Sse::new(session.until_ended(events))
}
