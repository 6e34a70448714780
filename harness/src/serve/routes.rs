//! What is answered to which request. Only GET is; nothing is ever changed.

use std::convert::Infallible;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path as Asked, Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use futures_util::stream::{self, Stream};
use maud::Markup;
use serde::Deserialize;
use tokio::sync::watch;

use super::catalogue::{Catalogue, Filter, run_line};
use super::comparison::side;
use super::live::Follower;
use super::pages;
use super::root::Root;
use crate::matrix::results::MatrixResults;
use crate::record::folder::load;
use crate::run::conductor::chain;

/// How often a run that goes on is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Bytes of a file that are sent at a time.
const PART: u64 = 1 << 20;

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// A browser that names this machine by a name of its own: a page from elsewhere cannot ask through a name that it has
    /// pointed here.
    Local,
    /// Anybody who can reach it.
    Anybody,
}

/// What every request may look at.
#[derive(Clone, Debug)]
pub struct Served {
    /// The folder.
    pub root: Root,
    /// Who may ask.
    pub audience: Audience,
    /// True once no more is to be answered.
    pub ending: watch::Receiver<bool>,
}

type Shared = State<Arc<Served>>;

/// The router for `served`.
pub fn router(served: Served) -> Router {
    let served = Arc::new(served);
    Router::new()
        .route("/", get(index))
        .route("/run/{*path}", get(run))
        .route("/matrix/{*path}", get(matrix))
        .route("/compare", get(compare))
        .route("/live/{*path}", get(live))
        .route("/file/{*path}", get(file))
        .layer(from_fn_with_state(Arc::clone(&served), guard))
        .with_state(served)
}

/// Refuses those who may not ask, and forbids pages to load anything from elsewhere.
async fn guard(State(served): Shared, request: Request, next: Next) -> Response {
    if served.audience == Audience::Local && !is_local(request.headers()) {
        return (StatusCode::FORBIDDEN, "only by the name localhost or a loopback address\n").into_response();
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; \
                  connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(policy));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn is_local(headers: &HeaderMap) -> bool {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Runs `work`, which reads files, where it may wait.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Response> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| (StatusCode::INTERNAL_SERVER_ERROR, "this request failed\n").into_response())
}

fn page(markup: Markup) -> Response {
    Html(markup.into_string()).into_response()
}

fn missing(what: &str) -> Response {
    (StatusCode::NOT_FOUND, Html(pages::missing(what).into_string())).into_response()
}

async fn index(State(served): Shared, Query(filter): Query<Filter>) -> Result<Response, Response> {
    blocking(move || page(pages::index(&Catalogue::read(&served.root), &filter))).await
}

async fn run(State(served): Shared, Asked(path): Asked<String>) -> Result<Response, Response> {
    blocking(move || {
        let found = served.root.resolve(&path);
        let line = found.and_then(|folder| Some((run_line(&served.root, &folder)?, folder)));
        match line {
            Some((Ok(line), folder)) => page(pages::run(&line, &folder)),
            Some((Err(error), _)) => missing(&chain(&error)),
            None => missing("There is no such run."),
        }
    })
    .await
}

async fn matrix(State(served): Shared, Asked(path): Asked<String>) -> Result<Response, Response> {
    blocking(move || {
        let results = || {
            let file = served.root.resolve(&path)?;
            load::<MatrixResults>(file.parent()?, file.file_name()?.to_str()?)
        };
        let Some(results) = results() else { return missing("There is no such matrix.") };
        let run_of = |folder: &Path| {
            let found = folder.canonicalize().ok()?;
            found.starts_with(served.root.path()).then(|| served.root.name(&found))
        };
        page(pages::matrix(&results, run_of))
    })
    .await
}

/// The two runs of a comparison.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Pair {
    a: String,
    b: String,
}

async fn compare(State(served): Shared, Query(pair): Query<Pair>) -> Result<Response, Response> {
    blocking(move || {
        let of = |name: &str| {
            let folder = served.root.resolve(name)?;
            folder.join("plan.json").is_file().then(|| side(name.to_owned(), &folder))
        };
        match (of(&pair.a), of(&pair.b)) {
            (Some(Ok(a)), Some(Ok(b))) => page(pages::compare(&a, &b)),
            (Some(Err(error)), _) | (_, Some(Err(error))) => missing(&chain(&error)),
            _ => missing("Choose two runs to compare: one as a, one as b."),
        }
    })
    .await
}

async fn live(State(served): Shared, Asked(path): Asked<String>) -> Result<Response, Response> {
    let folder = served.root.resolve(&path).filter(|folder| folder.join("plan.json").is_file());
    let Some(folder) = folder else { return Err(missing("There is no such run.")) };
    Ok(Sse::new(events(folder, served.ending.clone())).keep_alive(KeepAlive::default()).into_response())
}

/// How the run in `folder` stands, twice a second, until it is judged or nothing is to be answered any more.
fn events(folder: PathBuf, ending: watch::Receiver<bool>) -> impl Stream<Item = Result<Event, Infallible>> {
    let mut looks = tokio::time::interval(LOOK);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let following = Some((Follower::new(&folder), looks, ending));
    stream::unfold(following, |following| async move {
        let (mut follower, mut looks, mut ending) = following?;
        tokio::select! {
            _ = looks.tick() => {}
            _ = ending.wait_for(|ending| *ending) => return None,
        }
        let looked = tokio::task::spawn_blocking(move || {
            let progress = follower.look();
            (follower, progress)
        });
        let (follower, progress) = looked.await.ok()?;
        let event = Event::default().data(serde_json::to_string(&progress).ok()?);
        let next = progress.verdict.is_none().then_some((follower, looks, ending));
        Some((Ok(event), next))
    })
}

async fn file(State(served): Shared, Asked(path): Asked<String>) -> Result<Response, Response> {
    let gone = || missing("There is no such file.");
    let found = served.root.resolve(&path).filter(|path| path.is_file()).ok_or_else(gone)?;
    let kind = match found.extension().and_then(|extension| extension.to_str()) {
        // Only what we made ourselves is shown as a page.
        Some("html") if found.file_name().is_some_and(|name| name == "report.html") => {
            "text/html; charset=utf-8"
        }
        Some("json") => "application/json",
        Some("pcapng") => "application/octet-stream",
        _ => "text/plain; charset=utf-8",
    };
    let opened = std::fs::File::open(&found).map_err(|_| gone())?;
    let parts = stream::unfold(Some(opened), |opened| async move {
        let mut opened = opened?;
        let read = tokio::task::spawn_blocking(move || {
            let mut part = Vec::new();
            let read = opened.by_ref().take(PART).read_to_end(&mut part);
            (opened, read.map(|_| part))
        });
        match read.await {
            Ok((_, Ok(part))) if part.is_empty() => None,
            Ok((opened, Ok(part))) => Some((Ok(part), Some(opened))),
            Ok((_, Err(error))) => Some((Err(error), None)),
            // The reading thread is gone: so is the program.
            Err(_) => None,
        }
    });
    Ok(([(header::CONTENT_TYPE, kind)], Body::from_stream(parts)).into_response())
}
