//! Why a bundle is not loaded. A bundle that is not loaded permits nothing.

/// Why a bundle was refused: which file, which line where there is one, why, and what to do.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum BundleRefused {
    /// A file or folder could not be read or written.
    #[error("cannot read or write `{path}`: {reason}")]
    Io {
        /// The path as given.
        path: String,
        /// The system's words.
        reason: String,
    },
    /// A file that no bundle has.
    #[error("`{file}` does not belong to a bundle: {advice}")]
    UnexpectedFile {
        /// Path inside the bundle.
        file: String,
        /// What a bundle may contain there.
        advice: &'static str,
    },
    /// A file that every bundle has.
    #[error("`{file}` is missing: every bundle has it")]
    MissingFile {
        /// Path inside the bundle.
        file: String,
    },
    /// The files are not those that were locked.
    #[error("bundle.lock: {reason}; if the change is meant, review it and write the lock again")]
    Lock {
        /// What differs.
        reason: String,
    },
    /// A file cannot be understood.
    #[error("{file}:{line}: {reason}")]
    Malformed {
        /// Path inside the bundle.
        file: String,
        /// Line, from 1.
        line: usize,
        /// Why.
        reason: String,
    },
    /// A rule is outside the reviewable profile.
    #[error("{file}:{line}: {reason}; {advice}")]
    Rule {
        /// Path inside the bundle.
        file: String,
        /// Line on which the rule starts, from 1.
        line: usize,
        /// Why.
        reason: String,
        /// The nearest allowed form.
        advice: String,
    },
    /// Facts contradict each other, the schema or the rules.
    #[error("{file}: {reason}")]
    Facts {
        /// Path inside the bundle.
        file: String,
        /// Why, and what would fit.
        reason: String,
    },
}

impl BundleRefused {
    /// Stable code for logs and clients.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "bundle-io",
            Self::UnexpectedFile { .. } => "bundle-unexpected-file",
            Self::MissingFile { .. } => "bundle-missing-file",
            Self::Lock { .. } => "bundle-lock",
            Self::Malformed { .. } => "bundle-malformed",
            Self::Rule { .. } => "bundle-rule",
            Self::Facts { .. } => "bundle-facts",
        }
    }

    pub(crate) fn facts(file: &str, reason: impl Into<String>) -> Self {
        Self::Facts { file: file.to_owned(), reason: reason.into() }
    }

    pub(crate) fn malformed(file: &str, line: usize, reason: impl std::fmt::Display) -> Self {
        Self::Malformed { file: file.to_owned(), line, reason: one_line(&reason.to_string()) }
    }
}

/// A message of another library on one line.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The line, from 1, that holds byte `offset` of `text`.
pub(crate) fn line_at(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|&b| b == b'\n').count() + 1
}
