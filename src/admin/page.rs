//! The operator's page: one HTML document with an inline style and an inline script. Its Content-Security-Policy
//! contains their hashes, so it can load and run nothing else. The script requests all data from this listener.

use std::sync::LazyLock;

use data_encoding::BASE64;
use sha2::{Digest, Sha256};

const FRAME: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");

/// The script: one module, in parts of which each uses those before it.
const SCRIPT: &str = concat!(
    include_str!("page/base.js"),
    include_str!("page/record.js"),
    include_str!("page/triggers.js"),
    include_str!("page/rules.js"),
    include_str!("page/cluster.js"),
    include_str!("page/discovery.js"),
    include_str!("page/report.js"),
);

/// The document.
pub(super) fn html() -> &'static str {
    static HTML: LazyLock<String> = LazyLock::new(|| {
        FRAME.replacen("<style></style>", &format!("<style>{STYLE}</style>"), 1).replacen(
            "<script type=\"module\"></script>",
            &format!("<script type=\"module\">{SCRIPT}</script>"),
            1,
        )
    });
    &HTML
}

/// The document's Content-Security-Policy.
pub(super) fn policy() -> &'static str {
    static POLICY: LazyLock<String> = LazyLock::new(|| {
        let hash = |text: &str| BASE64.encode(&Sha256::digest(text));
        format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; base-uri 'none'; \
             form-action 'none'; frame-ancestors 'none'",
            hash(STYLE),
            hash(SCRIPT)
        )
    });
    &POLICY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn style_and_script_stand_in_the_document_as_they_were_hashed() {
        for (text, tag) in [(STYLE, "style"), (SCRIPT, "script")] {
            assert!(html().contains(&format!(">{text}</{tag}>")), "{tag}");
            assert!(
                !text.to_ascii_lowercase().contains(&format!("</{tag}")) && !text.contains("<!--"),
                "{tag} would end early"
            );
            assert!(!text.contains('\r'), "a browser reads such line ends as others, and hashes what it read");
        }
    }

    #[test]
    fn nothing_is_loaded_and_no_text_becomes_markup() {
        let html = html();
        for word in ["http://", "https://", " src=", "url(", "@import", " style=\"", " onclick", "<form", "<iframe"] {
            assert!(!html.contains(word), "{word}");
        }
        for word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "localStorage",
            "setAttribute(\"on",
        ] {
            assert!(!SCRIPT.contains(word), "{word}");
        }
    }
}
