//! The reasons why a recorded step is not replayed, or intentionally has a different answer.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    NotOffered,
    CommandLine,
    Formatting,
    OtherCommands,
    DuplicateNames,
    TextDocuments,
    UntypedIndex,
    HalfApplied,
    SeveralKeys,
}

impl Reason {
    pub const ALL: &[Self] = &[
        Self::NotOffered,
        Self::CommandLine,
        Self::Formatting,
        Self::OtherCommands,
        Self::DuplicateNames,
        Self::TextDocuments,
        Self::UntypedIndex,
        Self::HalfApplied,
        Self::SeveralKeys,
    ];

    /// The title in docs/json.md.
    pub fn title(self) -> &'static str {
        match self {
            Self::NotOffered => "JSON.ARRINDEX and JSON.RESP",
            Self::CommandLine => "Words of the command line",
            Self::Formatting => "INDENT, NEWLINE, SPACE and FORMAT",
            Self::OtherCommands => "Other commands on the same key",
            Self::DuplicateNames => "A name twice in one object",
            Self::TextDocuments => "Any string that is JSON is a document",
            Self::UntypedIndex => "An index that is not a whole number",
            Self::HalfApplied => "Half-applied arithmetic",
            Self::SeveralKeys => "All or nothing over several keys",
        }
    }
}
