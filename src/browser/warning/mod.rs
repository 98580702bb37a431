//! Serves the script and the stylesheet that warn before a session ends (T2).

use std::sync::LazyLock;

use bytes::Bytes;
use http::{HeaderMap, Method, Response};

use crate::web::Asset;

/// A file under a fixed name, and under a name that changes with its content.
#[derive(Debug)]
struct Named {
    name: &'static str,
    versioned: String,
    asset: Asset,
}

/// The script for `<script src>`, the module for `import`, and the stylesheet that both load.
static FILES: LazyLock<[Named; 3]> = LazyLock::new(|| {
    let style = Named::new("tenure.css", "text/css; charset=utf-8", lean(include_str!("warning.css")));
    let script = lean(include_str!("warning.js")).replace("{style}", &style.versioned);
    let module =
        format!("globalThis.tenureSource = import.meta.url;\n{script}export default globalThis.tenure;\n");
    let kind = "text/javascript; charset=utf-8";
    [Named::new("tenure.js", kind, script), Named::new("tenure.mjs", kind, module), style]
});

/// Removes indentation and comment lines.
fn lean(source: &str) -> String {
    let lines = source.lines().map(str::trim);
    let lines = lines.filter(|line| !(line.is_empty() || line.starts_with("//") || line.starts_with("/**")));
    lines.flat_map(|line| [line, "\n"]).collect()
}

impl Named {
    fn new(name: &'static str, kind: &'static str, content: String) -> Self {
        let asset = Asset::new(kind, content);
        Self { name, versioned: name.replacen('.', &format!(".{}.", asset.version()), 1), asset }
    }
}

/// The versioned name of the script.
pub(super) fn script() -> &'static str {
    &FILES[0].versioned
}

/// The file with this name, if any.
pub(super) fn serve(name: &str, method: &Method, headers: &HeaderMap) -> Option<Response<Bytes>> {
    let file = FILES.iter().find(|file| file.name == name || file.versioned == name)?;
    let keep = if file.versioned == name { "public, max-age=31536000, immutable" } else { "no-cache" };
    Some(file.asset.respond(method, headers, keep))
}
