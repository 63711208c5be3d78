//! The project's documents, as the tests read them.

use std::path::Path;

use super::Usher;

/// The text of a file of the project.
pub fn text(path: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The block of code under the comment `<!-- test: name -->` of a document.
pub fn block(document: &str, name: &str) -> String {
    let text = text(document);
    let (_, behind) = text
        .split_once(&format!("<!-- test: {name} -->\n```"))
        .unwrap_or_else(|| panic!("{document} has no block {name}"));
    let (code, _) = behind.split_once("\n```").unwrap();
    let (_language, code) = code.split_once('\n').unwrap();
    code.to_owned()
}

/// The same, with the ports of this usher.
pub fn block_for(document: &str, name: &str, usher: &Usher) -> String {
    let (gateway, admin) = (usher.gateway().port().to_string(), usher.admin().0.port().to_string());
    block(document, name).replace("6001", &gateway).replace("9601", &admin)
}

/// Every block of these languages has a test's name, so that none is forgotten.
pub fn assert_blocks_are_tested(document: &str, languages: &[&str]) {
    let text = text(document);
    for language in languages {
        let blocks = text.matches(&format!("```{language}\n")).count();
        let tested = text.matches(&format!("-->\n```{language}\n")).count();
        assert_eq!(blocks, tested, "{document}: a block of {language} without its comment `<!-- test: … -->`");
    }
}
