//! The clauses in `spec-notes`, and who cites them: what `tests/spec_trace.rs` checks and counts.
//!
//! A document of `spec-notes` is prose until the line `## Clauses`. From there on it has only tables with the columns
//! `id | level | requirement | status` and `###` headings for them. [README.md](../../spec-notes/README.md) has the rules.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::fs;
use std::path::{Path, PathBuf};

/// How binding a clause is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "they are the key words")]
pub enum Level {
    Must,
    MustNot,
    Should,
    ShouldNot,
    May,
    Note,
}

impl Level {
    /// All of them, the most binding first.
    pub const ALL: [Self; 6] = [Self::Must, Self::MustNot, Self::Should, Self::ShouldNot, Self::May, Self::Note];

    /// The key word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::MustNot => "MUST NOT",
            Self::Should => "SHOULD",
            Self::ShouldNot => "SHOULD NOT",
            Self::May => "MAY",
            Self::Note => "NOTE",
        }
    }
}

/// What became of a clause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// It is met: code and a test cite it.
    Done,
    /// It is none of ours, or we decided otherwise, for the reason that is given.
    Exempt,
    /// It is not met yet, for the reason that is given.
    Todo,
}

impl Status {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Done, Self::Exempt, Self::Todo];

    /// The word in the tables.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Exempt => "exempt",
            Self::Todo => "todo",
        }
    }
}

/// A requirement of a specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clause {
    /// Its name.
    pub id: String,
    /// How binding it is.
    pub level: Level,
    /// What became of it.
    pub status: Status,
    /// The line of its document.
    pub line: usize,
}

/// The notes on one specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The name of its file.
    pub file: String,
    /// Its heading.
    pub title: String,
    /// Its clauses, in order.
    pub clauses: Vec<Clause>,
}

/// Whether a place meets a clause or would notice that it is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Here it is met.
    Code,
    /// This would fail if it were not.
    Test,
}

/// A line that names a clause.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Citation {
    /// The clause.
    pub id: String,
    /// What the line says of it.
    pub place: Place,
    /// The file, below the workspace.
    pub file: String,
    /// The line.
    pub line: usize,
}

/// A broken rule of the notes or of the citations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A document has no heading or no line `## Clauses`.
    NoClauses(String),
    /// A line behind `## Clauses` is neither a heading nor part of a table.
    NotARow(String, usize),
    /// The level is none.
    NoLevel(String, usize),
    /// The status is none.
    NoStatus(String, usize),
    /// `exempt` or `todo` without a reason, or `done` with one.
    Reason(String, usize),
    /// An id that does not belong to the specification of its file.
    WrongFile(String, usize),
    /// An id that is not behind the one before it, or stands twice.
    Order(String, usize),
    /// A citation that cannot be read.
    NotACitation(String, usize),
    /// A citation without the word `test` in a file of tests.
    CodeInTest(String, usize),
    /// The citation of a test that does not stand at a function.
    NoFunction(String, usize),
    /// A clause that no document has.
    Unknown(Citation),
    /// A clause that is done, and nothing of this kind cites it.
    Uncited(String, Place),
    /// A clause that is exempt, and code claims to meet it.
    ExemptCited(Citation),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoClauses(file) => write!(f, "{file}: no heading or no line '## Clauses'"),
            Self::NotARow(file, line) => {
                write!(f, "{file}:{line}: neither a heading nor | id | level | text | status |")
            }
            Self::NoLevel(file, line) => write!(f, "{file}:{line}: the level is none, see README.md"),
            Self::NoStatus(file, line) => write!(f, "{file}:{line}: write done, exempt: WHY or todo: WHY"),
            Self::Reason(file, line) => write!(f, "{file}:{line}: exempt and todo have a reason, done has none"),
            Self::WrongFile(file, line) => write!(f, "{file}:{line}: a clause of another specification"),
            Self::Order(file, line) => write!(f, "{file}:{line}: not in the order of sections and numbers, or twice"),
            Self::NotACitation(file, line) => write!(f, "{file}:{line}: write //= ID, or //= ID test"),
            Self::CodeInTest(file, line) => write!(f, "{file}:{line}: write //= ID test in a file of tests"),
            Self::NoFunction(file, line) => write!(f, "{file}:{line}: the citation of a test stands at its function"),
            Self::Unknown(citation) => {
                write!(f, "{}:{}: no document has the clause {}", citation.file, citation.line, citation.id)
            }
            Self::Uncited(id, Place::Code) => write!(f, "{id} is done, and no code cites it"),
            Self::Uncited(id, Place::Test) => write!(f, "{id} is done, and no test cites it"),
            Self::ExemptCited(citation) => {
                write!(f, "{}:{}: {} is exempt, so code cannot meet it", citation.file, citation.line, citation.id)
            }
        }
    }
}

/// The folder of the workspace.
#[must_use]
pub fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Everything that is written about clauses.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// The documents, by file name.
    pub documents: Vec<Document>,
    /// The citations.
    pub citations: Vec<Citation>,
    /// The broken rules.
    pub faults: Vec<Fault>,
}

impl Trace {
    /// Reads the notes and the citations of a workspace.
    #[must_use]
    pub fn read(workspace: &Path) -> Self {
        let mut trace = Self::default();
        for path in files(&workspace.join("spec-notes"), &["md"]) {
            let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if specification(file).is_some() {
                trace.add_document(file, &read(&path));
            }
        }
        for root in ["core", "adapters", "tests"] {
            for path in files(&workspace.join(root), &["rs", "case"]) {
                let below = path.strip_prefix(workspace).unwrap_or(&path).to_string_lossy().into_owned();
                trace.add_citations(&below, &read(&path));
            }
        }
        trace.judge();
        trace
    }

    /// Takes a document in.
    pub fn add_document(&mut self, file: &str, text: &str) {
        let title = text.lines().next().and_then(|line| line.strip_prefix("# "));
        let start = text.lines().position(|line| line == "## Clauses");
        let (Some(title), Some(start)) = (title, start) else {
            return self.faults.push(Fault::NoClauses(file.to_owned()));
        };
        let mut clauses: Vec<Clause> = Vec::new();
        for (index, line) in text.lines().enumerate().skip(start + 1) {
            let is_frame = line.is_empty() || line.starts_with("### ") || line == COLUMNS || line == RULE;
            if is_frame {
                continue;
            }
            match read_row(file, index + 1, line) {
                Ok(clause) => {
                    if clauses.last().is_some_and(|last| sort_key(&last.id) >= sort_key(&clause.id)) {
                        self.faults.push(Fault::Order(file.to_owned(), clause.line));
                    }
                    clauses.push(clause);
                }
                Err(fault) => self.faults.push(fault),
            }
        }
        self.documents.push(Document { file: file.to_owned(), title: title.to_owned(), clauses });
    }

    /// Takes the citations of a file in: `//= ID`, or in a case `clause ID`.
    pub fn add_citations(&mut self, file: &str, text: &str) {
        let is_case = file.ends_with(".case");
        let in_tests = file.starts_with("tests/") || file.contains("/tests/") || file.ends_with("/tests.rs");
        let lines: Vec<&str> = text.lines().map(str::trim_start).collect();
        for (index, line) in lines.iter().enumerate() {
            let place = || (file.to_owned(), index + 1);
            let mut add = |id: &str, place| {
                let (id, file) = (id.to_owned(), file.to_owned());
                self.citations.push(Citation { id, place, file, line: index + 1 });
            };
            if is_case {
                if let Some(id) = line.strip_prefix("clause ") {
                    add(id, Place::Test);
                }
                continue;
            }
            let Some(citation) = line.strip_prefix("//=") else { continue };
            let words: Vec<&str> = citation.split(' ').collect();
            let fault = match words.as_slice() {
                ["", id] if !in_tests => {
                    add(id, Place::Code);
                    None
                }
                ["", _] => Some(Fault::CodeInTest(place().0, place().1)),
                ["", id, "test"] => {
                    add(id, Place::Test);
                    (!stands_at_function(&lines[index..])).then(|| Fault::NoFunction(place().0, place().1))
                }
                _ => Some(Fault::NotACitation(place().0, place().1)),
            };
            self.faults.extend(fault);
        }
    }

    /// Compares what is done with who cites it.
    pub fn judge(&mut self) {
        let clauses: BTreeMap<&str, &Clause> =
            self.documents.iter().flat_map(|document| &document.clauses).map(|clause| (&*clause.id, clause)).collect();
        let mut cited = BTreeSet::new();
        let mut faults = Vec::new();
        for citation in &self.citations {
            cited.insert((&*citation.id, citation.place));
            match clauses.get(&*citation.id) {
                None => faults.push(Fault::Unknown(citation.clone())),
                Some(clause) if clause.status == Status::Exempt && citation.place == Place::Code => {
                    faults.push(Fault::ExemptCited(citation.clone()));
                }
                Some(_) => {}
            }
        }
        for clause in clauses.values().filter(|clause| clause.status == Status::Done) {
            for place in [Place::Code, Place::Test] {
                if !cited.contains(&(&*clause.id, place)) {
                    faults.push(Fault::Uncited(clause.id.clone(), place));
                }
            }
        }
        self.faults.extend(faults);
    }

    /// `COVERAGE.md`: counts by level, and by specification.
    #[must_use]
    pub fn coverage(&self) -> String {
        let clauses = || self.documents.iter().flat_map(|document| &document.clauses);
        let mut text = String::from(COVERAGE);
        text.push_str("\n| level | clauses | done | exempt | todo |\n|---|---:|---:|---:|---:|\n");
        for level in Level::ALL {
            let of_level: Vec<_> = clauses().filter(|clause| clause.level == level).collect();
            write_row(&mut text, level.as_str(), &of_level);
        }
        write_row(&mut text, "all", &clauses().collect::<Vec<_>>());
        text.push_str("\n## By specification\n\n");
        text.push_str("The three numbers of a level are done, exempt and todo.\n\n");
        text.push_str("| specification | clauses | MUST and MUST NOT | SHOULD and SHOULD NOT | MAY and NOTE |\n");
        text.push_str("|---|---:|---|---|---|\n");
        for document in &self.documents {
            let cell = |levels: [Level; 2]| {
                let of = |status| {
                    let of_status = document.clauses.iter().filter(|clause| clause.status == status);
                    of_status.filter(|clause| levels.contains(&clause.level)).count()
                };
                let [done, exempt, todo] = Status::ALL.map(of);
                if done + exempt + todo == 0 { String::new() } else { format!("{done}, {exempt}, {todo}") }
            };
            let cells = [[Level::Must, Level::MustNot], [Level::Should, Level::ShouldNot], [Level::May, Level::Note]];
            let [must, should, may] = cells.map(cell);
            let (file, title, count) = (&document.file, &document.title, document.clauses.len());
            let _ = writeln!(text, "| [{title}]({file}) | {count} | {must} | {should} | {may} |");
        }
        text
    }

    /// Every clause with the places that cite it.
    #[must_use]
    pub fn places(&self) -> String {
        let mut text = String::new();
        for clause in self.documents.iter().flat_map(|document| &document.clauses) {
            let _ = writeln!(text, "{} {} {}", clause.id, clause.level.as_str(), clause.status.as_str());
            let mut places: Vec<_> = self.citations.iter().filter(|citation| citation.id == clause.id).collect();
            places.sort();
            for citation in places {
                let kind = if citation.place == Place::Code { "code" } else { "test" };
                let _ = writeln!(text, "    {kind} {}:{}", citation.file, citation.line);
            }
        }
        text
    }
}

const COLUMNS: &str = "| id | level | requirement | status |";
const RULE: &str = "|---|---|---|---|";

const COVERAGE: &str = "# Coverage

How many clauses are met. Generated from the documents beside this file by
`SPEC_NOTES=write cargo test -p s2s-tests --test spec_trace`, and compared with them by every test run;
`SPEC_NOTES=places cargo test -p s2s-tests --test spec_trace -- --nocapture` prints where each clause is cited.
";

/// The prefix of the ids in a document: `RFC6120` for `rfc6120.md`, `XEP0220` for `xep-0220.md`.
fn specification(file: &str) -> Option<String> {
    let name = file.strip_suffix(".md")?;
    let number = name.strip_prefix("rfc").or_else(|| name.strip_prefix("xep-"))?;
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| name.replace('-', "").to_uppercase())
}

fn read_row(file: &str, line: usize, text: &str) -> Result<Clause, Fault> {
    let at = || (file.to_owned(), line);
    let cells: Vec<&str> = text.split('|').map(str::trim).collect();
    let ["", id, level, requirement, status, ""] = cells.as_slice() else {
        return Err(Fault::NotARow(at().0, at().1));
    };
    if requirement.is_empty() {
        return Err(Fault::NotARow(at().0, at().1));
    }
    // A star: the section has no key word, and the level is our reading of it.
    let word = level.trim_end_matches('*');
    let level = Level::ALL.into_iter().find(|level| level.as_str() == word);
    let level = level.ok_or_else(|| Fault::NoLevel(at().0, at().1))?;
    let (word, reason) = status.split_once(": ").unwrap_or((status, ""));
    let status = Status::ALL.into_iter().find(|status| status.as_str() == word);
    let status = status.ok_or_else(|| Fault::NoStatus(at().0, at().1))?;
    if reason.is_empty() != (status == Status::Done) {
        return Err(Fault::Reason(at().0, at().1));
    }
    let belongs = id.split_once('-').is_some_and(|(prefix, _)| specification(file).as_deref() == Some(prefix));
    if !belongs || id.split('-').count() != 3 {
        return Err(Fault::WrongFile(at().0, at().1));
    }
    Ok(Clause { id: (*id).to_owned(), level, status, line })
}

/// Sections by their numbers, then clauses by theirs. A section that is a letter, such as `A`, comes last.
fn sort_key(id: &str) -> (Vec<(bool, u32, String)>, u32) {
    let mut parts = id.split('-').skip(1);
    let section = parts.next().unwrap_or_default();
    let number = parts.next().and_then(|number| number.parse().ok()).unwrap_or(0);
    let piece = |piece: &str| {
        let digits = piece.trim_start_matches('p');
        digits.parse().map_or_else(|_| (true, 0, piece.to_owned()), |number| (false, number, String::new()))
    };
    (section.split('.').map(piece).collect(), number)
}

/// Whether the citation at the front of `lines` belongs to a function.
fn stands_at_function(lines: &[&str]) -> bool {
    let next = lines.iter().find(|line| !line.starts_with("//=") && !line.starts_with('#'));
    next.is_some_and(|line| line.starts_with("fn ") || line.starts_with("pub fn "))
}

fn write_row(text: &mut String, name: &str, clauses: &[&Clause]) {
    let [done, exempt, todo] =
        Status::ALL.map(|status| clauses.iter().filter(|clause| clause.status == status).count());
    let _ = writeln!(text, "| {name} | {} | {done} | {exempt} | {todo} |", clauses.len());
}

/// The files below `root` with one of these extensions, in order, without build products.
fn files(root: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the workspace") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                if !path.ends_with("target") {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extensions.iter().any(|wanted| extension == *wanted)) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
