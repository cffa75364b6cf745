//! The admin page: files only. Whatever it shows it asks of `/api/`, with a session of the operator's; here is no secret.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::answer::absent;
use super::page::{self, File, files};
use super::path_name::PathName;

/// The page itself.
const PAGE: &File = &File { name: "admin.html", text: include_str!("page/admin.html") };

/// What it loads.
const FILES: &[File] = files![
    "actions.js",
    "admin.css",
    "admin.js",
    "api.js",
    "charts.js",
    "codes.js",
    "confirm.js",
    "connections.js",
    "decisions.js",
    "design.css",
    "dom.js",
    "listing.js",
    "nodes.js",
    "observed.js",
    "overview.js",
    "policy.js",
    "refresh.js",
    "revocations.js",
    "teams.js",
    "words.js",
];

/// The page's routes. They hold no token and ask for none: without one there is nothing to see but the form that asks.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/admin", get(async || serve(Some(PAGE))))
        .route("/admin/{name}", get(async |PathName(name): PathName| serve(page::named(FILES, &name))))
}

fn serve(file: Option<&File>) -> Response {
    match file {
        Some(file) => page::answer(file, &page::content_security_policy("")),
        None => absent().into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_whole_and_nothing_in_it_is_inline() {
        page::assert_whole(PAGE, "admin", FILES, &[]);
    }
}
