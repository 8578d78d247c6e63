//! What was heard and learned, against what was expected.

use super::reader::{Item, STREAMS, Tree, read_streams};
use super::target::Note;
use super::{Ending, Hearing, Learned};

/// The first bytes of alert and handshake records, which are in no XML.
const RECORDS: [u8; 2] = [21, 22];

/// Why pairs go down whose stream the attacker closes in good order, decision D-25.
const CLOSED_BY_PEER: &str = "idle";

/// Judges what was heard on one stream. `in_stream`: our header was heard before.
pub(super) fn judge_hearing(expected: &Hearing, heard: &[u8], in_stream: bool) -> Result<Vec<Item>, String> {
    let (text, rest) = match std::str::from_utf8(heard) {
        Ok(text) => (text, &[][..]),
        Err(error) => {
            let (text, rest) = heard.split_at(error.valid_up_to());
            (std::str::from_utf8(text).unwrap_or_default(), rest)
        }
    };
    let (items, result, left) = read_streams(text, in_stream);
    let first_left = left.as_bytes().iter().chain(rest).next();
    match (first_left, &expected.ending) {
        (None, _) => {}
        (Some(first), Ending::Cut) if RECORDS.contains(first) => {}
        _ => return Err(format!("what was heard is no XML: {result:?}")),
    }
    let closings = items.iter().filter(|item| **item == Item::Closing).count();
    let is_last = items.last() == Some(&Item::Closing);
    let expects_closing = expected.ending != Ending::Cut;
    if closings != usize::from(expects_closing) || is_last != expects_closing {
        return Err(format!("closing tags: {closings}, one at the end: {is_last}"));
    }
    let elements: Vec<&Tree> = items.iter().filter_map(element).collect();
    let (errors, answers): (Vec<&Tree>, Vec<&Tree>) = elements.into_iter().partition(|tree| is_error(tree));
    judge_error(expected, &items, &errors)?;
    judge_answers(expected, &answers)?;
    judge_header(expected, &items)?;
    Ok(items)
}

/// How many first-level elements there are in what was heard so far.
pub(super) fn count_elements(heard: &[u8], in_stream: bool) -> usize {
    let (items, ..) = read_streams(std::str::from_utf8(heard).unwrap_or_default(), in_stream);
    items.iter().filter_map(element).count()
}

const fn element(item: &Item) -> Option<&Tree> {
    match item {
        Item::Element(tree) => Some(tree),
        Item::Header(_) | Item::Closing => None,
    }
}

fn is_error(tree: &Tree) -> bool {
    tree.namespace == STREAMS && tree.name == "error"
}

fn judge_error(expected: &Hearing, items: &[Item], errors: &[&Tree]) -> Result<(), String> {
    let conditions: Vec<&str> =
        errors.iter().filter_map(|error| error.children.first()).map(|condition| condition.name.as_str()).collect();
    let wanted: Vec<&str> = match &expected.ending {
        Ending::Error(condition) => vec![condition.as_str()],
        _ => Vec::new(),
    };
    if conditions != wanted {
        return Err(format!("stream errors {conditions:?}, not {wanted:?}"));
    }
    let before_last = items.len().checked_sub(2).and_then(|at| items.get(at)).and_then(element);
    match wanted.is_empty() || before_last.is_some_and(is_error) {
        true => Ok(()),
        false => Err("something stands between the error and the closing tag".to_owned()),
    }
}

fn judge_answers(expected: &Hearing, answers: &[&Tree]) -> Result<(), String> {
    for (number, pattern) in expected.answers.iter().enumerate() {
        let wanted = Tree::read(pattern)?;
        match answers.get(number) {
            Some(answer) if answer.matches(&wanted) => {}
            other => return Err(format!("answer {number} is {other:?}, not {pattern}")),
        }
    }
    let each = expected.each.as_deref().map(Tree::read).transpose()?;
    let mut more = answers.iter().skip(expected.answers.len());
    match more.find(|answer| !each.as_ref().is_some_and(|pattern| answer.matches(pattern))) {
        Some(answer) => Err(format!("one answer too many: {answer:?}")),
        None => Ok(()),
    }
}

fn judge_header(expected: &Hearing, items: &[Item]) -> Result<(), String> {
    if expected.header.is_empty() {
        return Ok(());
    }
    let header = items.iter().rev().find_map(|item| match item {
        Item::Header(tree) => Some(tree),
        _ => None,
    });
    let header = header.ok_or("no header")?;
    for (name, value) in &expected.header {
        if header.attributes.get(name) != value.as_ref() {
            return Err(format!("the header has {name} {:?}, not {value:?}", header.attributes.get(name)));
        }
    }
    Ok(())
}

/// Judges what the application learned, in all: `before` while the state was being reached.
pub(super) fn judge_notes(learned: &Learned, ending: &Ending, before: &[Note], notes: &[Note]) -> Result<(), String> {
    let select = |of: fn(&Note) -> Option<&str>| notes.iter().filter_map(of).collect::<Vec<_>>();
    let refused = select(|note| if let Note::Refused(reason) = note { Some(reason) } else { None });
    same("refused", &refused, &learned.refused)?;
    let returned = select(|note| if let Note::Returned(reason) = note { Some(reason) } else { None });
    same("returned", &returned, &learned.returned)?;
    let proved = select(|note| if let Note::Up(pair) = note { Some(pair) } else { None });
    same("proved", &proved, &learned.proved)?;
    let delivered = select(|note| if let Note::Delivered(stanza) = note { Some(stanza) } else { None });
    if delivered.len() != learned.delivered.len() {
        return Err(format!("delivered {delivered:?}, not {:?}", learned.delivered));
    }
    for (stanza, pattern) in delivered.iter().zip(&learned.delivered) {
        if !Tree::read(stanza)?.matches(&Tree::read(pattern)?) {
            return Err(format!("delivered {stanza}, not {pattern}"));
        }
    }
    let all = || before.iter().chain(notes);
    let mut up: Vec<&String> =
        all().filter_map(|note| if let Note::Up(pair) = note { Some(pair) } else { None }).collect();
    let mut down: Vec<&String> =
        all().filter_map(|note| if let Note::Down(pair, _) = note { Some(pair) } else { None }).collect();
    up.sort_unstable();
    down.sort_unstable();
    if up != down {
        return Err(format!("up {up:?}, but down {down:?}"));
    }
    let reasons = select(|note| if let Note::Down(_, reason) = note { Some(reason) } else { None });
    let by_ending = match ending {
        Ending::Error(_) | Ending::Cut | Ending::Closed => learned.refused.last().map(String::as_str),
        Ending::Alive => None,
    };
    let wanted = learned.down.as_deref().or(by_ending).unwrap_or(CLOSED_BY_PEER);
    let is_missing = learned.down.is_some() && reasons.is_empty();
    match is_missing || reasons.iter().any(|reason| *reason != wanted) {
        true => Err(format!("down because of {reasons:?}, not {wanted}")),
        false => Ok(()),
    }
}

/// Whether two lists are the same.
pub(super) fn same(what: &str, found: &[impl AsRef<str>], wanted: &[String]) -> Result<(), String> {
    let found: Vec<&str> = found.iter().map(AsRef::as_ref).collect();
    if found == *wanted { Ok(()) } else { Err(format!("{what}: {found:?}, not {wanted:?}")) }
}
