//! Adversarial cases: what a peer sends, when, and what must happen.
//!
//! A case is a text file; the same file drives the core in a network without sockets, and the program `s2sd serve` over
//! real ones (see [`target::Target`]). The world of a case: we serve `v.example` and `chat.v.example`; the attacker owns `m.example`
//! and a genuine certificate; `t.example` is an honest third domain, which has a stream of its own to us and sends a
//! message over it after every run.
//!
//! ```text
//! id HDR-000                      the number in the list of attacks
//! severity M                      C, H, M or L
//! role R                          I, R, A or B
//! title A line
//! clause RFC6120-4.8.1-2          any number
//! option secure_domains t.example a deviation from the default configuration, see `setup::set_option`
//! peer m.example                  who the attacker says to be while the state is being reached (default m.example)
//! certificate valid m.example     what it shows: `valid`, `self-signed`, `unknown`, `expired`, `server-only`, `client-only` or
//!                                 `authority`, and names (`t.example`, `srv:`, `xmpp:`, `uri:`, `cn:`, `subject:`);
//!                                 or `none` (default valid m.example)
//! state P1 P2                     where every input begins; with several, each input is run in each
//! expect ...                      verdicts for the inputs that have none of their own
//! must ...
//!
//! input some words                each is run on its own; the lines above but id to clause may be repeated here
//!   send TEXT                     bytes, in TLS once TLS is up
//!   more TEXT                     the same piece of bytes goes on
//!   repeat 1000 TEXT              the same, repeated
//!   tls                           the attacker begins TLS, and everything from here on is inside
//!   raw TEXT                      bytes beside TLS
//!   eof                           the attacker ends its half of the connection
//!   wait 10                       seconds pass (for the program fewer, see [`program`])
//!   expect ...
//!   must ...
//! ```
//!
//! States: `P0` accepted, `P1` stream in clear, `T` inside TLS without a header, `P2` stream inside TLS, `P3`
//! authenticated by EXTERNAL for `v.example`; `D0` accepted on the port for direct TLS; `O1` and `O2` the same as `P1` and
//! `T` on a connection of ours to the peer, our header heard and nothing answered, one message waiting; `O3` authenticated
//! and the message received; `V1` and `V2` as `O1` and `O2` on the connection over which we ask the authoritative server of
//! the peer about a key that it sent us (`asker` is the stream with the key).
//!
//! TEXT has the escapes `\xNN \n \r \t \s \\ \{` and the macros `{H}` (the header of the peer to v.example; `{H to='x'
//! -from}` sets and removes attributes), `{features ...}` (features around the text), `{id}` (the id of the stream that
//! the key was sent on), `{key A B}` (the key that our host B sends to A on the stream id `1`), `{base64 TEXT}`.
//!
//! `expect` tells what the attacker hears after the state was reached: exactly one of `error CONDITION`, `closed`
//! (a closing tag without an error), `cut` (an end without XML) and `alive` (our closing tag answers the attacker's);
//! `answer PATTERN` for every first-level element in order; `each PATTERN` for any number more; `header ATTRIBUTES` for the last header (`-name`: not there);
//! and with `asker` before it, the same for the stream with the key. What goes with our header counts as an answer. `expect again`: what
//! went with it may be to blame, so v.example dials once more without it (decision D-52), and the attacker does all of it
//! again; what is heard is then that of the second stream. `expect O2 ...`: in that state only. A pattern is an element; attributes and children that
//! it does not name may be there too. Prefixes are `db`, `stream`, `tls`, `sasl`, `se` (stanza errors).
//!
//! `must` tells what the application learns, none by default: `refused REASON..`, `delivered PATTERN` in order, `proved REMOTE LOCAL`,
//! `down REASON` (of what was proved before), `returned REASON` (a message of ours), `dialled DOMAIN`, `asked DOMAIN` (a lookup).
//! `may DOMAIN`: it may be dialled and asked about, where that depends on how far a lookup came. Always: the rules that hold in every case, see [`run`].

mod cut;
mod parse;
mod party;
mod reach;
mod reader;
mod setup;
mod verdict;

pub mod core_target;
pub mod list;
pub mod program;
pub mod run;
pub mod target;

pub use parse::{CaseError, parse};

/// A case.
#[derive(Clone, Debug)]
pub struct Case {
    /// The number in the list of attacks.
    pub id: String,
    /// C, H, M or L.
    pub severity: String,
    /// What it is about.
    pub title: String,
    /// What is sent, one by one.
    pub inputs: Vec<Input>,
}

/// One input of a case, in one state.
#[derive(Clone, Debug)]
pub struct Input {
    /// Which.
    pub name: String,
    /// Where it begins.
    pub state: State,
    /// Deviations from the default configuration.
    pub options: Vec<(String, String)>,
    /// Who the attacker says to be while the state is being reached.
    pub peer: String,
    /// What it shows: the kind, then the names.
    pub certificate: Vec<String>,
    /// What it does.
    pub steps: Vec<Step>,
    /// Whether it is dialled once more then, and does all of it again.
    pub again: bool,
    /// What it hears, in the end.
    pub expected: Hearing,
    /// What is heard on the stream with the key.
    pub asker: Hearing,
    /// What the application learns.
    pub learned: Learned,
}

/// Where an input begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the module says what they are")]
pub enum State {
    P0,
    P1,
    T,
    P2,
    P3,
    D0,
    O1,
    O2,
    O3,
    V1,
    V2,
}

impl State {
    /// All of them, by name.
    pub const ALL: [(&'static str, Self); 11] = [
        ("P0", Self::P0),
        ("P1", Self::P1),
        ("T", Self::T),
        ("P2", Self::P2),
        ("P3", Self::P3),
        ("D0", Self::D0),
        ("O1", Self::O1),
        ("O2", Self::O2),
        ("O3", Self::O3),
        ("V1", Self::V1),
        ("V2", Self::V2),
    ];
}

/// One thing that the attacker does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Sends this, in the order of the pieces: a text, how often.
    Send(Vec<(String, usize)>),
    /// Sends this beside TLS.
    Raw(String),
    /// Begins TLS.
    Tls,
    /// Ends its half.
    Eof,
    /// Waits, in seconds.
    Wait(u64),
}

/// How a stream ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// With this stream error.
    Error(String),
    /// With a closing tag.
    Closed,
    /// Without XML.
    Cut,
    /// When the attacker closes it.
    #[default]
    Alive,
}

/// What is heard on one stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hearing {
    /// How it ends.
    pub ending: Ending,
    /// First-level elements, in order.
    pub answers: Vec<String>,
    /// Any number of these behind them.
    pub each: Option<String>,
    /// Attributes of the last header; `None`: not there.
    pub header: Vec<(String, Option<String>)>,
}

/// What the application learns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learned {
    /// Reasons of refusals, in order.
    pub refused: Vec<String>,
    /// Stanzas.
    pub delivered: Vec<String>,
    /// Pairs, as `remote local`.
    pub proved: Vec<String>,
    /// Why the pairs that were proved before are no longer.
    pub down: Option<String>,
    /// Why messages of ours came back.
    pub returned: Vec<String>,
    /// Whom we dialled.
    pub dialled: Vec<String>,
    /// Whom we asked DNS about without dialling.
    pub asked: Vec<String>,
    /// Whom we may have dialled, or asked about.
    pub possible: Vec<String>,
}
