//! The words of a command.

use super::call::Inexpressible;

/// Words that begin an option.
const KEYWORDS: &[&str] = &[
    "AGGREGATION",
    "ALIGN",
    "BUCKETTIMESTAMP",
    "CHUNK_SIZE",
    "COUNT",
    "DUPLICATE_POLICY",
    "EMPTY",
    "ENCODING",
    "FILTER",
    "FILTER_BY_TS",
    "FILTER_BY_VALUE",
    "GROUPBY",
    "IGNORE",
    "LABELS",
    "LATEST",
    "ON_DUPLICATE",
    "REDUCE",
    "RETENTION",
    "SELECTED_LABELS",
    "TIMESTAMP",
    "WITHLABELS",
];

/// An option with its arguments.
#[derive(Clone, Debug)]
pub struct Phrase<'a> {
    pub keyword: &'static str,
    pub arguments: Vec<&'a str>,
}

/// Cuts the words behind a command's fixed part into options; those of `FILTER` and `LABELS` reach to the end.
pub fn phrases<'a>(words: &'a [String]) -> Result<Vec<Phrase<'a>>, Inexpressible> {
    let mut phrases: Vec<Phrase<'a>> = Vec::new();
    for word in words {
        let keyword = KEYWORDS.iter().find(|keyword| keyword.eq_ignore_ascii_case(word));
        match (keyword, phrases.last_mut()) {
            (Some(_), Some(last)) if takes_any(last, keyword.copied()) => last.arguments.push(word),
            (Some(keyword), _) => phrases.push(Phrase { keyword, arguments: Vec::new() }),
            (None, Some(last)) => last.arguments.push(word),
            (None, None) => return Err(Inexpressible::UNKNOWN_WORDS),
        }
    }
    Ok(phrases)
}

/// Whether a keyword is an argument here: the count of samples is also an aggregation, and labels have any name.
fn takes_any(phrase: &Phrase<'_>, keyword: Option<&str>) -> bool {
    match phrase.keyword {
        "AGGREGATION" | "REDUCE" => phrase.arguments.is_empty(),
        "LABELS" => true,
        "FILTER" => keyword != Some("GROUPBY"),
        _ => false,
    }
}

impl<'a> Phrase<'a> {
    /// The arguments of an option that has exactly `N`; further words would be ignored by the module.
    pub fn exactly<const N: usize>(&self) -> Result<[&'a str; N], Inexpressible> {
        match self.arguments.len() {
            given if given < N => Err(Inexpressible::SYNTAX),
            given if given > N => Err(Inexpressible::UNKNOWN_WORDS),
            _ => self.arguments.clone().try_into().map_err(|_| Inexpressible::SYNTAX),
        }
    }
}
