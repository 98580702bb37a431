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
    let script = lean_script(include_str!("warning.js")).replace("{style}", &style.versioned);
    let module =
        format!("self[Symbol.for('tenure')] = import.meta.url;\n{script}export default self.tenure;\n");
    let kind = "text/javascript; charset=utf-8";
    [Named::new("tenure.js", kind, script), Named::new("tenure.mjs", kind, module), style]
});

/// Removes indentation and comment lines.
fn lean(source: &str) -> String {
    let lines = source.lines().map(str::trim);
    let lines = lines.filter(|line| !(line.is_empty() || line.starts_with("//") || line.starts_with("/**")));
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// As [`lean`], for the script: also without comments at the end of a line, and without the spaces
/// and line breaks that mean nothing beside punctuation.
///
/// It knows strings and templates, which it copies, but no regular expressions and no block
/// comments: those of the script have no quotes and no spaces.
fn lean_script(source: &str) -> String {
    const PUNCTUATION: &str = "=(){}[],;:?<>&|*!/+-";
    let lines = lean(source);
    let mut served = String::with_capacity(lines.len());
    for line in lines.lines() {
        let mut quote = None;
        for (at, c) in line.char_indices() {
            let rest = &line[at..];
            match (quote, c) {
                (None, '\'' | '`') => quote = Some(c),
                (Some(open), _) if open == c => quote = None,
                (None, ' ') if rest.starts_with(" // ") => break,
                // Two of these would be another operator.
                (None, ' ') if served.ends_with(['+', '-']) && rest[1..].starts_with(['+', '-']) => {}
                (None, ' ') if served.ends_with(|before| PUNCTUATION.contains(before)) => continue,
                (None, ' ') if rest[1..].starts_with(|after| PUNCTUATION.contains(after)) => continue,
                (None, '}') if served.ends_with(';') => drop(served.pop()),
                _ => {}
            }
            served.push(c);
        }
        // Everywhere else, the line break may stand for a semicolon. A `}` alone ends a block.
        if line != "}" && !served.ends_with(['{', '(', '[', ',', ';']) {
            served.push('\n');
        }
    }
    served
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
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_keeps_its_strings_and_the_line_breaks_that_may_end_a_statement() {
        let source = "// a\n  let a = 'x, // y'; // z\n  const b = () => { f(`${a} = 1`); };\n  a = b + +c\n  if (a) b();\n}\nd = {}\n";
        assert_eq!(
            lean_script(source),
            "let a='x, // y';const b=()=>{f(`${a} = 1`)};a=b+ +c\nif(a)b()}d={}\n"
        );
    }

    #[test]
    fn t2_the_script_is_at_most_9_kb() {
        let served = |name| serve(name, &Method::GET, &HeaderMap::new()).unwrap().into_body();
        for name in ["tenure.js", "tenure.mjs"] {
            assert!(served(name).len() <= 9000, "{name}: {} bytes", served(name).len());
        }
        assert!(served("tenure.js").ends_with(b"})();"));
    }
}
