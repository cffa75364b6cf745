//! The pages' files: embedded in the binary, and answered with headers that keep a page to itself.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};

/// One file of a page.
pub(super) struct File {
    /// How it is asked for.
    pub name: &'static str,
    /// What is in it.
    pub text: &'static str,
}

/// Files beside this one, each by its name in the folder.
macro_rules! files {
    ($($name:literal),+ $(,)?) => {
        &[$($crate::internal::page::File { name: $name, text: include_str!(concat!("page/", $name)) }),+]
    };
}
pub(super) use files;

/// The file of that name.
pub(super) fn named<'a>(files: &'a [File], name: &str) -> Option<&'a File> {
    files.iter().find(|file| file.name == name)
}

/// What a page may load: scripts may connect to `connect` beside the port that they come from.
pub(super) fn content_security_policy(connect: &str) -> String {
    let connect = if connect.is_empty() { String::new() } else { format!(" {connect}") };
    // Nothing inline, nothing from elsewhere, no frame round it. Style sheets and scripts are files of ours.
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'{connect}; \
         base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    )
}

/// Answers with a file, under that policy.
pub(super) fn answer(file: &File, content_security_policy: &str) -> Response {
    let kind = match file.name.rsplit('.').next() {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        _ => "text/plain; charset=utf-8",
    };
    let mut answer = ([(header::CONTENT_TYPE, kind)], file.text).into_response();
    let headers = answer.headers_mut();
    for &(name, value) in KEPT_TO_ITSELF {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    if let Ok(policy) = HeaderValue::from_str(content_security_policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    answer
}

/// A page of another binary on the same port must not be shown from a browser's store, and no other page gets hold of
/// this one.
const KEPT_TO_ITSELF: &[(&str, &str)] = &[
    ("cache-control", "no-store"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
];

/// Fails unless a page and what it loads name nothing but files that are there, and nothing is inline. `at` is the page's address.
#[cfg(test)]
pub(super) fn assert_whole(page: &File, at: &str, files: &[File], docs: &[File]) {
    let links = |text: &str, before: &str| -> Vec<String> {
        text.split(before)
            .skip(1)
            .filter_map(|rest| rest.split(['"', '\'']).next())
            .map(str::to_owned)
            .collect()
    };
    let mut unused: Vec<_> = files.iter().map(|file| file.name).collect();
    for name in
        [format!("src=\"{at}/"), format!("href=\"{at}/")].iter().flat_map(|before| links(page.text, before))
    {
        let (folder, name) = match name.strip_prefix("docs/") {
            Some(doc) => (docs, doc),
            None => (files, &*name),
        };
        assert!(named(folder, name).is_some(), "{name}");
        unused.retain(|file| *file != name);
    }
    for file in files.iter().filter(|file| file.name.ends_with(".js") && !file.name.contains(".min.")) {
        for name in links(file.text, "from './") {
            assert!(named(files, &name).is_some(), "{} imports {name}", file.name);
            unused.retain(|file| *file != name);
        }
    }
    assert!(unused.is_empty(), "nothing loads {unused:?}");
    for inline in [" style=", "<style", "<script>", " onclick=", "javascript:"] {
        assert!(!page.text.contains(inline), "{inline}");
    }
}
