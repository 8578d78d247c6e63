//! The benchmark of several nodes, see `s2s_tests::scaling`: `scaling [memory|sockets [STANZAS [ROUNDS [smol|threads]]]]`.
//!
//! Over sockets it runs `s2sd` as it lies beside this program, or the one that `S2SD` names.

use std::env;
use std::path::PathBuf;

use s2s_tests::adapter::Adapter;
use s2s_tests::scaling::{memory, sockets};

/// Stanzas for each node in memory, and for each direction over sockets.
const STANZAS: usize = 100_000;
/// How often everything is measured.
const ROUNDS: usize = 9;

fn main() {
    let argument = |at: usize| env::args().nth(at);
    let number = |at: usize, default: usize| argument(at).map_or(default, |text| text.parse().expect("a number"));
    let wanted = |part: &str| argument(1).is_none_or(|chosen| chosen == part);
    let (stanzas, rounds) = (number(2, STANZAS), number(3, ROUNDS));
    if argument(1).is_some_and(|chosen| chosen == memory::ALONE) {
        return memory::alone(stanzas);
    }
    if wanted("memory") {
        println!("in memory, {stanzas} stanzas each way for each node, the medians of {rounds} rounds:");
        println!("{}", memory::run(stanzas, rounds));
    }
    if wanted("sockets") {
        let beside = || env::current_exe().expect("a program").with_file_name("s2sd");
        let program = env::var_os("S2SD").map_or_else(beside, PathBuf::from);
        let known = |name: String| Adapter::ALL.into_iter().find(|adapter| adapter.as_str() == name);
        let only = argument(4).map(|name| known(name).expect("smol or threads"));
        println!("over sockets, {stanzas} stanzas each way, the medians of {rounds} rounds:");
        print!("{}", sockets::run(&program, stanzas as u64, rounds, only));
    }
}
