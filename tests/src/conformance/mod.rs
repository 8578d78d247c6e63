//! What every adapter does, written once: each case runs with each adapter, and across them where two take part.
//!
//! `tests/tests/conformance.rs` runs it and prints the table.

mod backpressure;
mod connections;
mod descriptors;
mod federation;
mod life;
mod meetings;
mod options;
mod puppet;
mod queries;

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use std::{env, panic, thread};

use crate::adapter::Adapter;

/// After this a case has failed, whatever it waits for.
const DEADLINE: Duration = Duration::from_secs(180);

/// Cases that run at once: most of them wait most of the time.
const AT_ONCE: usize = 4;

/// The argument that has one case run in this process, which may have few descriptors.
const ALONE: &str = "--alone";

/// Something that adapters do.
#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    run: Run,
}

#[derive(Clone, Copy)]
enum Run {
    /// One driver and whoever the case plays.
    One(fn(Adapter)),
    /// The same in a process of its own that may have so many descriptors.
    Confined(u32, fn(Adapter)),
    /// Two drivers that meet.
    Two(fn(Adapter, Adapter)),
    /// The same in a process of its own that may have so many descriptors.
    ConfinedTwo(u32, fn(Adapter, Adapter)),
}

/// A column of the table: the adapter, and that of the other driver where two meet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Column {
    adapter: Adapter,
    other: Adapter,
}

const COLUMNS: [Column; 4] = [
    Column { adapter: Adapter::Smol, other: Adapter::Smol },
    Column { adapter: Adapter::Threads, other: Adapter::Threads },
    Column { adapter: Adapter::Smol, other: Adapter::Threads },
    Column { adapter: Adapter::Threads, other: Adapter::Smol },
];

impl Column {
    fn name(self) -> String {
        let Self { adapter, other } = self;
        if adapter == other {
            adapter.as_str().to_owned()
        } else {
            format!("{} > {}", adapter.as_str(), other.as_str())
        }
    }
}

/// How a case ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    Hangs,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "ok",
            Self::Failed => "FAILED",
            Self::Hangs => "HANGS",
        }
    }
}

macro_rules! cases {
    ($($module:ident: $($kind:ident$(($descriptors:ident))? $name:ident),+;)+) => {
        const CASES: &[Case] = &[$($(
            Case { name: stringify!($name), run: Run::$kind($(descriptors::$descriptors,)? $module::$name) },
        )+)+];
    };
}

cases! {
    connections: One a_refused_dial_says_so, One a_dialled_connection_carries_bytes_both_ways,
        One a_dial_begins_at_the_address_that_is_asked_for,
        One a_dial_that_is_dropped_is_never_heard_of_again, One a_refused_peer_is_closed_at_once,
        One a_peer_that_ends_its_half_still_hears_ours, One our_half_ends_after_what_is_pending_and_theirs_goes_on,
        One a_drop_abandons_what_is_pending, One a_peer_on_ipv6_is_accepted,
        One a_connection_that_breaks_while_we_write_is_closed_after_its_last_words,
        One a_reset_at_any_point_is_told_once_and_others_go_on;
    backpressure: One ten_megabytes_in_tiny_pieces_come_back_as_they_were, One a_byte_at_a_time_is_as_good_as_all_at_once,
        One writes_that_find_little_room_lose_nothing, One an_echo_that_nobody_reads_stops_reading,
        One a_peer_that_never_reads_is_no_burden_to_others,
        One what_the_system_had_taken_of_a_connection_that_is_dropped_was_told,
        One an_application_that_takes_no_events_stops_the_reading_and_memory_stays_flat,
        One commands_are_obeyed_while_events_wait;
    life: One the_timer_fires_once_and_no_earlier_than_asked, One a_deadline_that_moves_is_followed_both_ways,
        One commands_wait_while_there_is_no_room_for_them, One a_step_of_the_wall_clock_is_told_to_the_machine,
        One a_machine_that_has_finished_ends_the_driver_after_its_last_event,
        One an_application_that_leaves_ends_the_driver_and_all_connections;
    queries: One every_datagram_is_handed_over_until_the_query_is_forgotten, One each_query_has_a_port_of_its_own,
        One a_query_to_a_closed_port_fails, One tcp_replies_are_framed_by_their_length_however_they_are_cut,
        One a_forgotten_tcp_query_closes_its_connection, One a_query_too_long_for_its_frame_fails,
        One a_dns_server_that_is_silent_keeps_nobody_else_waiting;
    descriptors: Confined(FOR_A_THOUSAND) a_thousand_connections_give_their_descriptors_back,
        Confined(FEW) who_comes_while_descriptors_have_run_out_is_accepted_when_there_are_some_again,
        Confined(FEW) a_dial_and_queries_without_a_descriptor_are_made_when_there_is_one;
    options: Confined(FOR_A_THOUSAND) every_socket_has_the_options_that_all_have,
        Confined(FOR_A_THOUSAND) what_comes_is_acknowledged_at_once_while_the_machine_negotiates,
        Confined(FOR_A_THOUSAND) as_many_as_the_backlog_says_may_wait_for_a_busy_driver;
    meetings: Two each_half_ends_by_itself, Two what_goes_through_narrow_places_comes_back_as_it_was,
        Two a_driver_that_does_not_read_makes_the_other_wait_and_nobody_else,
        ConfinedTwo(FOR_A_THOUSAND) a_thousand_connections_are_opened_and_dropped,
        ConfinedTwo(FEW) two_drivers_without_descriptors_meet_when_there_are_some_again;
    federation: Two certificates_prove_both_directions, Two dialback_proves_both_directions_inside_direct_tls,
        Two a_negotiation_cut_into_single_bytes_succeeds, Two a_reset_after_any_number_of_bytes_harms_nobody,
        Two an_application_that_takes_no_stanzas_stops_the_reading_and_gets_all_of_them_later,
        Two a_dns_server_that_is_silent_costs_its_stanza_and_no_other,
        Two a_certificate_is_judged_by_the_wall_clock_as_it_was_stepped,
        Two a_shutdown_closes_all_streams_inside_its_deadline;
}

/// Runs what the arguments name, everything by default, and prints the table. Returns whether all went well.
///
/// Words choose the cases that have one of them in their name; `--repeat N` runs everything N times.
#[must_use]
pub fn run(arguments: &[String]) -> bool {
    if let [flag, name, adapter, other] = arguments
        && flag == ALONE
    {
        return run_alone(name, [adapter, other]);
    }
    let repeat = arguments.iter().position(|argument| argument == "--repeat");
    let times = repeat.and_then(|at| arguments.get(at + 1)).map_or(1, |times| times.parse().expect("a number"));
    let words: Vec<_> = arguments
        .iter()
        .enumerate()
        .filter(|(at, argument)| !argument.starts_with('-') && repeat.is_none_or(|repeat| *at != repeat + 1))
        .map(|(_, word)| word.as_str())
        .collect();
    let chosen = CASES.iter().filter(|case| words.is_empty() || words.iter().any(|word| case.name.contains(word)));
    let chosen: Vec<_> = chosen.copied().collect();
    (0..times).all(|_| run_once(&chosen))
}

fn run_once(cases: &[Case]) -> bool {
    let start = Instant::now();
    let mut cells: Vec<_> = cases.iter().flat_map(|case| COLUMNS.map(|column| (*case, column))).collect();
    let meet = |case: &Case| matches!(case.run, Run::Two(_) | Run::ConfinedTwo(..));
    cells.retain(|(case, column)| meet(case) || column.adapter == column.other);
    let waiting = Mutex::new(cells.into_iter());
    let next = || waiting.lock().expect("nobody panics with it").next();
    let results: BTreeMap<_, _> = thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|_| {
                scope.spawn(|| {
                    let mut results = Vec::new();
                    while let Some((case, column)) = next() {
                        results.push(((case.name, column), run_cell(case, column)));
                    }
                    results
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a worker only waits")).collect()
    });
    print(cases, &results, start.elapsed());
    results.values().all(|outcome| *outcome == Outcome::Passed)
}

/// Runs one case, in a thread of its own. What it says when it fails is on stderr.
fn run_cell(case: Case, column: Column) -> Outcome {
    let Column { adapter, other } = column;
    let (done, ended) = channel();
    let name = format!("{} {}", case.name, column.name());
    let spawned = thread::Builder::new().name(name).spawn(move || {
        match case.run {
            Run::One(run) => run(adapter),
            Run::Two(run) => run(adapter, other),
            Run::Confined(descriptors, _) | Run::ConfinedTwo(descriptors, _) => confine(case.name, column, descriptors),
        }
        done.send(()).expect("somebody waits");
    });
    spawned.expect("a thread can be started");
    match ended.recv_timeout(DEADLINE) {
        Ok(()) => Outcome::Passed,
        Err(RecvTimeoutError::Disconnected) => Outcome::Failed,
        Err(RecvTimeoutError::Timeout) => Outcome::Hangs,
    }
}

/// Runs a case in a process of its own that may have so many descriptors.
fn confine(case: &str, column: Column, descriptors: u32) {
    let output = Command::new("sh")
        .args(["-c", &format!("ulimit -n {descriptors} && exec \"$0\" \"$@\"")])
        .arg(env::current_exe().expect("a program"))
        .args([ALONE, case, column.adapter.as_str(), column.other.as_str()])
        .output()
        .expect("a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn run_alone(name: &str, adapters: [&String; 2]) -> bool {
    let case = CASES.iter().find(|case| case.name == name).expect("a case");
    let known = |name: &String| Adapter::ALL.into_iter().find(|known| known.as_str() == name).expect("an adapter");
    let [adapter, other] = adapters.map(known);
    let run = || match case.run {
        Run::Confined(_, run) => run(adapter),
        Run::ConfinedTwo(_, run) => run(adapter, other),
        Run::One(_) | Run::Two(_) => panic!("{name} needs no process of its own"),
    };
    panic::catch_unwind(run).is_ok()
}

fn print(cases: &[Case], results: &BTreeMap<(&str, Column), Outcome>, elapsed: Duration) {
    let heads = COLUMNS.map(Column::name);
    let width = cases.iter().map(|case| case.name.len()).max().unwrap_or_default();
    println!("{:width$}  {}", "", heads.join("  "));
    for case in cases {
        let cells = COLUMNS.iter().zip(&heads).map(|(column, head)| {
            let cell = results.get(&(case.name, *column)).map_or("", |outcome| outcome.as_str());
            format!("{cell:0$}", head.len())
        });
        println!("{:width$}  {}", case.name.replace('_', " "), cells.collect::<Vec<_>>().join("  ").trim_end());
    }
    let failed = results.values().filter(|outcome| **outcome != Outcome::Passed).count();
    println!("{} cells, {failed} failed, {:.1} s", results.len(), elapsed.as_secs_f64());
}
