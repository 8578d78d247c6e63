//! Two drivers that meet: what each does with a socket of ours it does with one of the other.

use std::fs::File;
use std::io::{Read, Write};
use std::sync::atomic::Ordering::SeqCst;
use std::time::Instant;

use s2s_core::machine::{ConnId, POSTPONEMENT};
use s2s_sockets::EVENTS;

use super::backpressure::noise;
use super::descriptors::{FEW, open_descriptors};
use super::puppet::{Manner, Order, Stage, Told, WAITING_EVENTS, until};
use crate::adapter::Adapter;

/// Two puppets, and the connection that the first has opened to the second.
struct Meeting {
    ends: [Stage; 2],
    conns: [ConnId; 2],
}

impl Meeting {
    fn of(ends: [Stage; 2]) -> Self {
        let conns = connect(&ends);
        Self { ends, conns }
    }

    /// Both leave, and neither was told of anything that it had dropped.
    fn end(self) {
        for end in self.ends {
            assert_eq!(end.leave().ghosts, 0);
        }
    }
}

fn stages(adapters: [Adapter; 2]) -> [Stage; 2] {
    adapters.map(|adapter| Stage::new(adapter, Manner::Tell))
}

/// The first opens a connection to the second.
fn connect([one, other]: &[Stage; 2]) -> [ConnId; 2] {
    let near = dial(one, other);
    assert_eq!(one.told(), Told::Connected(near));
    let Told::Accepted(far, ..) = other.told() else { panic!("nobody was accepted") };
    [near, far]
}

fn dial(one: &Stage, other: &Stage) -> ConnId {
    one.order(Order::Dial(other.addr));
    let Told::Dialling(conn) = one.told() else { panic!("no dial") };
    conn
}

/// All that comes until the end of the other half.
fn hear(end: &Stage, conn: ConnId) -> Vec<u8> {
    let mut heard = Vec::new();
    loop {
        match end.told() {
            Told::Bytes(from, bytes) if from == conn => heard.extend(bytes),
            Told::Eof(ended) if ended == conn => return heard,
            other => panic!("{other:?}"),
        }
    }
}

pub(super) fn each_half_ends_by_itself(one: Adapter, other: Adapter) {
    let meeting = Meeting::of(stages([one, other]));
    let Meeting { ends, conns } = &meeting;
    ends[0].order(Order::Write(conns[0], b"last".to_vec()));
    ends[0].order(Order::CloseWrite(conns[0]));
    assert_eq!(hear(&ends[1], conns[1]), b"last");
    let answer = noise(1 << 20);
    ends[1].order(Order::Write(conns[1], answer.clone()));
    ends[1].order(Order::CloseWrite(conns[1]));
    assert!(hear(&ends[0], conns[0]) == answer, "what came differs");
    for (end, conn) in ends.iter().zip(conns) {
        end.order(Order::Drop(*conn));
    }
    meeting.end();
}

pub(super) fn what_goes_through_narrow_places_comes_back_as_it_was(one: Adapter, other: Adapter) {
    let meeting = Meeting::of([Stage::new(one, Manner::Tell), Stage::narrow(other, Manner::Echo)]);
    let Meeting { ends, conns } = &meeting;
    let sent = noise(1_000_000);
    // In pieces, some of which find the last still waiting.
    for piece in sent.chunks(70_001) {
        ends[0].order(Order::Write(conns[0], piece.to_vec()));
    }
    ends[0].order(Order::CloseWrite(conns[0]));
    assert!(hear(&ends[0], conns[0]) == sent, "the echo differs");
    meeting.end();
}

pub(super) fn a_driver_that_does_not_read_makes_the_other_wait_and_nobody_else(one: Adapter, other: Adapter) {
    let meeting = Meeting::of(stages([one, other]));
    let Meeting { ends, conns } = &meeting;
    let (mut client, client_conn) = ends[0].accepted();
    let boasts = EVENTS + WAITING_EVENTS + 1;
    ends[1].order(Order::Boast(boasts));
    until("the stall", || ends[1].gauge.is_stalled.load(SeqCst));
    let sent = noise(32 << 20);
    ends[0].order(Order::Write(conns[0], sent.clone()));
    ends[0].order(Order::CloseWrite(conns[0]));
    until("the first write", || ends[0].gauge.sent.load(SeqCst) > 0);
    for _ in 0..200 {
        client.write_all(b"?").unwrap();
        assert_eq!(ends[0].told(), Told::Bytes(client_conn, b"?".to_vec()));
        ends[0].order(Order::Write(client_conn, b"!".to_vec()));
        client.read_exact(&mut [0]).unwrap();
    }
    assert_eq!(ends[1].gauge.read.load(SeqCst), 0, "it reads although nobody takes its events");
    let written = ends[0].gauge.sent.load(SeqCst);
    assert!(written < sent.len() / 2, "{written} bytes went to somebody who does not read");
    for n in 0..boasts {
        assert_eq!(ends[1].told(), Told::Count(n));
    }
    assert!(hear(&ends[1], conns[1]) == sent, "what came differs");
    let peak = ends[1].gauge.peak.load(SeqCst);
    assert!(peak <= WAITING_EVENTS * s2s_sockets::READ_BYTES, "{peak} bytes were waiting");
    meeting.end();
}

pub(super) fn a_thousand_connections_are_opened_and_dropped(one: Adapter, other: Adapter) {
    let ends = stages([one, other]);
    for wave in 0..2 {
        let conns: Vec<_> = (0..500).map(|_| connect(&ends)).collect();
        for [near, _] in &conns {
            ends[0].order(Order::Drop(*near));
        }
        let mut ended: Vec<_> = (0..conns.len())
            .map(|_| match ends[1].told() {
                Told::Eof(conn) => conn,
                other => panic!("wave {wave}: {other:?}"),
            })
            .collect();
        ended.sort_unstable();
        assert!(ended.iter().eq(conns.iter().map(|[_, far]| far)), "wave {wave}: each ends once");
        for far in ended {
            ends[1].order(Order::Drop(far));
        }
        until("the descriptors", || open_descriptors() < 100);
    }
    for end in ends {
        assert_eq!(end.leave().ghosts, 0);
    }
}

pub(super) fn two_drivers_without_descriptors_meet_when_there_are_some_again(one: Adapter, other: Adapter) {
    let ends = stages([one, other]);
    let conns = connect(&ends);
    let ballast: Vec<_> = (0..FEW).map_while(|_| File::open("/dev/null").ok()).collect();
    assert!(ballast.len() < FEW as usize);
    let near = dial(&ends[0], &ends[1]);
    let start = Instant::now();
    while start.elapsed() < 3 * POSTPONEMENT {
        ends[0].order(Order::Write(conns[0], b"1".to_vec()));
        assert_eq!(ends[1].told(), Told::Bytes(conns[1], b"1".to_vec()));
    }
    drop(ballast);
    assert_eq!(ends[0].told(), Told::Connected(near));
    let Told::Accepted(far, ..) = ends[1].told() else { panic!("nobody was accepted") };
    ends[0].order(Order::Write(near, b"at last".to_vec()));
    assert_eq!(ends[1].told(), Told::Bytes(far, b"at last".to_vec()));
    for end in ends {
        assert_eq!(end.leave().ghosts, 0);
    }
}
