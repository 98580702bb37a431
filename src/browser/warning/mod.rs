//! The script and the stylesheet that warn before a session ends (SPEC T2), as they are served.

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use sha2::{Digest, Sha256};

/// A file, under a name that stays and under one that tells its content.
#[derive(Debug)]
struct Asset {
    name: &'static str,
    versioned: String,
    kind: &'static str,
    content: Bytes,
    tag: HeaderValue,
}

/// For `<script src>`, for `import`, and what both load.
static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    let style = Asset::new("tenure.css", "text/css; charset=utf-8", lean(include_str!("warning.css")));
    let script = lean(include_str!("warning.js")).replace("{style}", &style.versioned);
    let module =
        format!("globalThis.tenureSource = import.meta.url;\n{script}export default globalThis.tenure;\n");
    let kind = "text/javascript; charset=utf-8";
    [Asset::new("tenure.js", kind, script), Asset::new("tenure.mjs", kind, module), style]
});

/// Without indentation and lines of comment.
fn lean(source: &str) -> String {
    let lines = source.lines().map(str::trim);
    let lines = lines.filter(|line| !(line.is_empty() || line.starts_with("//") || line.starts_with("/**")));
    lines.flat_map(|line| [line, "\n"]).collect()
}

impl Asset {
    fn new(name: &'static str, kind: &'static str, content: String) -> Self {
        let digest = Sha256::digest(content.as_bytes());
        let digits: String =
            digest[..6].iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
        let tag = HeaderValue::try_from(format!("\"{digits}\"")).unwrap_or(HeaderValue::from_static("\"\""));
        Self {
            name,
            versioned: name.replacen('.', &format!(".{digits}."), 1),
            kind,
            content: content.into(),
            tag,
        }
    }
}

/// The name of the script that tells its content.
pub(super) fn script() -> &'static str {
    &ASSETS[0].versioned
}

/// The file of a name; `None` when there is none.
pub(super) fn serve(name: &str, method: &Method, headers: &HeaderMap) -> Option<Response<Bytes>> {
    let asset = ASSETS.iter().find(|asset| asset.name == name || asset.versioned == name)?;
    let mut response = Response::new(Bytes::new());
    if !matches!(*method, Method::GET | Method::HEAD) {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Some(response);
    }
    if headers.get(header::IF_NONE_MATCH) == Some(&asset.tag) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else if *method == Method::GET {
        *response.body_mut() = asset.content.clone();
    }
    let keep = if asset.versioned == name { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, asset.tag.clone());
    for (name, value) in [
        (header::CONTENT_TYPE, asset.kind),
        (header::CACHE_CONTROL, keep),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Some(response)
}
