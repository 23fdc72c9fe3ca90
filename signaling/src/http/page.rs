//! The page, embedded as it was built.

use axum::{
    http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header},
    response::{IntoResponse, Response},
};
use rust_embed::Embed;

use super::problem::{Code, Problem};

#[derive(Embed)]
#[folder = "web/dist"]
#[allow_missing = true]
struct Assets;

const INDEX: &str = "index.html";
/// Vite puts a hash of the content into the names of what is below.
const HASHED: &str = "assets/";

const SECURITY: [(HeaderName, HeaderValue); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; connect-src 'self' ws: wss:; img-src 'self' data:; media-src 'self' blob: mediastream:; \
             object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ),
    (
        HeaderName::from_static("permissions-policy"),
        HeaderValue::from_static("camera=(self), microphone=(self)"),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
];

const MISSING: &str = "<!doctype html><meta charset=utf-8><title>Turnpike</title>\
    <h1>The page was not built</h1><p>This binary was compiled without the web page. Run <code>make web</code>, then \
    build the binary again. Signaling and the REST endpoints work all the same.</p>";

pub(super) async fn serve(method: Method, uri: Uri) -> Response {
    if method != Method::GET && method != Method::HEAD {
        return Problem::new(Code::MethodNotAllowed, "the page is read with GET").into_response();
    }
    let path = match uri.path().trim_start_matches('/') {
        "" => INDEX,
        path => path,
    };
    let Some(file) = Assets::get(path) else {
        return match path {
            INDEX => {
                (StatusCode::SERVICE_UNAVAILABLE, SECURITY, axum::response::Html(MISSING)).into_response()
            }
            _ => Problem::new(Code::NotFound, format!("there is nothing at {}", uri.path())).into_response(),
        };
    };
    let kind = mime_guess::from_path(path).first_or_octet_stream();
    let caching = match path.starts_with(HASHED) {
        true => "public, max-age=31536000, immutable",
        false => "no-cache",
    };
    let headers = [(header::CONTENT_TYPE, kind.as_ref()), (header::CACHE_CONTROL, caching)];
    (SECURITY, headers, file.data).into_response()
}
