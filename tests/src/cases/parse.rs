//! Case files to cases. Strict: a word that is not known is an error.

use super::{Case, Ending, Hearing, Input, Learned, State, Step};

/// What is wrong with a case file, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseError(pub usize, pub String);

/// What may stand before the first input, and again in each.
#[derive(Clone, Debug)]
struct Draft {
    name: String,
    states: Vec<State>,
    options: Vec<(String, String)>,
    peer: String,
    certificate: Vec<String>,
    steps: Vec<Step>,
    /// In one state only, or in all: what follows `expect`.
    expectations: Vec<(Option<State>, String)>,
    learned: Learned,
    has_verdict: bool,
}

/// What is expected in one state.
#[derive(Default)]
struct Expected {
    ending: Option<Ending>,
    hearing: Hearing,
    asker: Hearing,
    again: bool,
}

impl Draft {
    fn new() -> Self {
        Self {
            name: String::new(),
            states: Vec::new(),
            options: Vec::new(),
            peer: "m.example".to_owned(),
            certificate: vec!["valid".to_owned(), "m.example".to_owned()],
            steps: Vec::new(),
            expectations: Vec::new(),
            learned: Learned::default(),
            has_verdict: false,
        }
    }

    /// An input that begins as the case says.
    fn input(common: &Self, name: &str) -> Self {
        let mut draft = Self { name: name.to_owned(), has_verdict: false, steps: Vec::new(), ..common.clone() };
        (draft.expectations, draft.learned) = Default::default();
        draft
    }

    fn finish(mut self, common: &Self) -> Result<Vec<Input>, String> {
        if !self.has_verdict {
            self.expectations.clone_from(&common.expectations);
            self.learned = common.learned.clone();
        }
        if self.states.is_empty() || self.steps.is_empty() {
            return Err(format!("{}: no state or no step", self.name));
        }
        self.states.iter().map(|state| self.input_in(*state)).collect()
    }

    fn input_in(&self, state: State) -> Result<Input, String> {
        let mut expected = Expected::default();
        let mut concern = self.expectations.iter().filter(|(only, _)| only.is_none_or(|only| only == state));
        concern.try_for_each(|(_, rest)| expected.add(rest))?;
        let Some(ending) = expected.ending else {
            return Err(format!("{}: how does the stream end?", self.name));
        };
        if matches!(ending, Ending::Error(_) | Ending::Cut)
            && self.learned.refused.is_empty()
            && self.learned.down.is_none()
        {
            return Err(format!("{}: which reason is given?", self.name));
        }
        Ok(Input {
            name: format!("{} in {state:?}", self.name),
            state,
            options: self.options.clone(),
            peer: self.peer.clone(),
            certificate: self.certificate.clone(),
            steps: self.steps.clone(),
            again: expected.again,
            expected: Hearing { ending, ..expected.hearing },
            asker: expected.asker,
            learned: self.learned.clone(),
        })
    }
}

impl Expected {
    fn add(&mut self, rest: &str) -> Result<(), String> {
        if rest == "again" {
            self.again = true;
        } else if let Some(rest) = rest.strip_prefix("asker ") {
            if let Some(ending) = expect(&mut self.asker, rest)? {
                self.asker.ending = ending;
            }
        } else if let Some(ending) = expect(&mut self.hearing, rest)? {
            self.ending = Some(ending);
        }
        Ok(())
    }
}

/// Reads a case file.
pub fn parse(text: &str) -> Result<Case, CaseError> {
    let mut case = Case { id: String::new(), severity: String::new(), title: String::new(), inputs: Vec::new() };
    let mut common = Draft::new();
    let mut current: Option<Draft> = None;
    for (index, line) in text.lines().enumerate() {
        let error = |message: String| CaseError(index + 1, message);
        if line.ends_with([' ', '\t']) {
            return Err(error("white space at the end: write \\s".to_owned()));
        }
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match (word, &mut current) {
            ("id", None) => case.id = rest.to_owned(),
            ("severity", None) if matches!(rest, "C" | "H" | "M" | "L") => case.severity = rest.to_owned(),
            ("role", None) if matches!(rest, "I" | "R" | "A" | "B") => {}
            ("clause", None) => {}
            ("title", None) => case.title = rest.to_owned(),
            ("input", _) => {
                if let Some(draft) = current.take() {
                    case.inputs.extend(draft.finish(&common).map_err(error)?);
                }
                current = Some(Draft::input(&common, rest));
            }
            (_, None) => draft_line(&mut common, word, rest).map_err(error)?,
            (_, Some(draft)) => draft_line(draft, word, rest).map_err(error)?,
        }
    }
    if let Some(draft) = current {
        case.inputs.extend(draft.finish(&common).map_err(|message| CaseError(0, message))?);
    }
    if case.id.is_empty() || case.severity.is_empty() || case.title.is_empty() || case.inputs.is_empty() {
        return Err(CaseError(0, "id, severity, title and inputs are needed".to_owned()));
    }
    Ok(case)
}

fn draft_line(draft: &mut Draft, word: &str, rest: &str) -> Result<(), String> {
    match word {
        "option" => {
            let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
            draft.options.push((name.to_owned(), value.to_owned()));
        }
        "peer" => draft.peer = rest.to_owned(),
        "certificate" => draft.certificate = rest.split(' ').map(str::to_owned).collect(),
        "state" => draft.states = rest.split(' ').map(state).collect::<Result<_, _>>()?,
        "expect" => {
            draft.has_verdict = true;
            let only = rest.split_once(' ').and_then(|(word, rest)| Some((state(word).ok()?, rest)));
            let (only, rest) = only.map_or((None, rest), |(only, rest)| (Some(only), rest));
            Expected::default().add(rest)?;
            draft.expectations.push((only, rest.to_owned()));
        }
        "must" => {
            draft.has_verdict = true;
            must(&mut draft.learned, rest)?;
        }
        "may" => {
            draft.has_verdict = true;
            draft.learned.possible.push(rest.to_owned());
        }
        _ => step(&mut draft.steps, word, rest)?,
    }
    Ok(())
}

fn state(name: &str) -> Result<State, String> {
    let found = State::ALL.iter().find(|(known, _)| *known == name);
    found.map(|(_, state)| *state).ok_or_else(|| format!("no state {name}"))
}

fn step(steps: &mut Vec<Step>, word: &str, rest: &str) -> Result<(), String> {
    match word {
        "send" => steps.push(Step::Send(vec![(rest.to_owned(), 1)])),
        "more" | "repeat" => {
            let (times, text) =
                if word == "more" { ("1", rest) } else { rest.split_once(' ').ok_or("repeat what?")? };
            let times = times.parse().map_err(|_| "repeat how often?".to_owned())?;
            match steps.last_mut() {
                Some(Step::Send(pieces)) => pieces.push((text.to_owned(), times)),
                _ => return Err("nothing is being sent".to_owned()),
            }
        }
        "raw" => steps.push(Step::Raw(rest.to_owned())),
        "tls" if rest.is_empty() => steps.push(Step::Tls),
        "eof" if rest.is_empty() => steps.push(Step::Eof),
        "wait" => steps.push(Step::Wait(rest.parse().map_err(|_| "wait how long?".to_owned())?)),
        _ => return Err(format!("unknown word {word}")),
    }
    Ok(())
}

fn expect(hearing: &mut Hearing, rest: &str) -> Result<Option<Ending>, String> {
    let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    Ok(Some(match word {
        "error" => Ending::Error(rest.to_owned()),
        "closed" => Ending::Closed,
        "cut" => Ending::Cut,
        "alive" => Ending::Alive,
        "answer" => {
            hearing.answers.push(rest.to_owned());
            return Ok(None);
        }
        "each" => {
            hearing.each = Some(rest.to_owned());
            return Ok(None);
        }
        "header" => {
            hearing.header = attributes(rest)?;
            return Ok(None);
        }
        _ => return Err(format!("nobody can expect {word}")),
    }))
}

fn must(learned: &mut Learned, rest: &str) -> Result<(), String> {
    let (word, rest) = rest.split_once(' ').ok_or("must what?")?;
    let value = rest.to_owned();
    match word {
        "refused" => learned.refused.extend(rest.split(' ').map(str::to_owned)),
        "delivered" => learned.delivered.push(value),
        "proved" => learned.proved.push(value),
        "down" => learned.down = Some(value),
        "returned" => learned.returned.push(value),
        "dialled" => learned.dialled.push(value),
        "asked" => learned.asked.push(value),
        _ => return Err(format!("nothing must be {word}")),
    }
    Ok(())
}

/// `name='value'` and `-name`, separated by spaces. Values hold no `'`.
pub(super) fn attributes(mut text: &str) -> Result<Vec<(String, Option<String>)>, String> {
    let mut list = Vec::new();
    loop {
        text = text.trim_start();
        if text.is_empty() {
            return Ok(list);
        }
        if let Some(rest) = text.strip_prefix('-') {
            let (name, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            list.push((name.to_owned(), None));
            text = rest;
        } else {
            let (name, rest) = text.split_once("='").ok_or_else(|| format!("no attribute: {text}"))?;
            let (value, rest) = rest.split_once('\'').ok_or("no end of a value")?;
            list.push((name.to_owned(), Some(value.to_owned())));
            text = rest;
        }
    }
}
