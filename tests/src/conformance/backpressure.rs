//! Bytes through narrow places: nothing is lost, nothing piles up.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Instant;

use super::puppet::{DEADLINE, ECHO_BYTES, Manner, Order, Stage, TINY_BYTES, Told, WAITING_EVENTS, until};
use crate::adapter::Adapter;
use s2s_core::machine::ConnId;
use s2s_sockets::{EVENTS, READ_BYTES};
use socket2::{Domain, Socket, Type};

/// Bytes that look random but are the same each time.
pub(super) fn noise(len: usize) -> Vec<u8> {
    let mut x = 0x9e37_79b9_u32;
    (0..len)
        .map(|_| {
            x ^= x << 13;
            x ^= x >> 17;
            x ^= x << 5;
            x.to_le_bytes()[1]
        })
        .collect()
}

pub(super) fn ten_megabytes_in_tiny_pieces_come_back_as_they_were(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Echo);
    let sent = noise(10_000_000);
    let mut client = stage.client();
    let heard = thread::scope(|scope| {
        let mut writer = client.try_clone().unwrap();
        let sent = &sent;
        scope.spawn(move || {
            let mut rest = sent.as_slice();
            while let Some(&first) = rest.first() {
                let (piece, later) = rest.split_at(rest.len().min(1 + usize::from(first)));
                writer.write_all(piece).unwrap();
                rest = later;
            }
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut heard = Vec::new();
        client.read_to_end(&mut heard).unwrap();
        heard
    });
    assert!(heard == sent, "the echo differs");
    let peak = stage.gauge.peak.load(SeqCst);
    assert!(peak <= ECHO_BYTES + READ_BYTES, "{peak} bytes were waiting");
    assert_eq!(stage.leave().ghosts, 0);
}

pub(super) fn an_echo_that_nobody_reads_stops_reading(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Echo);
    let mut client = stage.client();
    let written = write_until_stuck(&mut client, || stage.gauge.read.load(SeqCst) > 0);
    client.shutdown(Shutdown::Write).unwrap();
    let mut heard = Vec::new();
    client.set_nonblocking(false).unwrap();
    client.read_to_end(&mut heard).unwrap();
    assert_eq!(heard.len(), written);
    let peak = stage.gauge.peak.load(SeqCst);
    assert!(peak <= ECHO_BYTES + READ_BYTES, "{peak} bytes were waiting");
}

pub(super) fn an_application_that_takes_no_events_stops_the_reading_and_memory_stays_flat(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
    let mut client = stage.client();
    let written = write_until_stuck(&mut client, || stage.gauge.is_stalled.load(SeqCst));
    // The channel, the one in hand, and those in the machine.
    let bound = (EVENTS + 1 + WAITING_EVENTS) * READ_BYTES;
    let read = stage.gauge.read.load(SeqCst);
    assert!(read <= bound, "{read} bytes were read");
    let peak = stage.gauge.peak.load(SeqCst);
    assert!(peak <= WAITING_EVENTS * READ_BYTES, "{peak} bytes were waiting");
    // Commands are taken all the same.
    let fresh = stage.client();
    drop(fresh);

    client.shutdown(Shutdown::Write).unwrap();
    let mut heard = 0;
    let mut conn = None;
    loop {
        match stage.told() {
            Told::Accepted(name, ..) => conn = conn.or(Some(name)),
            Told::Bytes(_, bytes) => heard += bytes.len(),
            Told::Eof(ended) if Some(ended) == conn => break,
            Told::Eof(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(heard, written);
    assert!(stage.gauge.peak.load(SeqCst) <= WAITING_EVENTS * READ_BYTES);
}

pub(super) fn commands_are_obeyed_while_events_wait(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
    let (mut client, conn) = stage.accepted();
    stage.order(Order::Boast(EVENTS + WAITING_EVENTS + 1));
    until("the stall", || stage.gauge.is_stalled.load(SeqCst));
    stage.order(Order::Write(conn, b"still here".to_vec()));
    let mut heard = [0; 10];
    client.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"still here");
    for n in 0..=EVENTS + WAITING_EVENTS {
        assert_eq!(stage.told(), Told::Count(n));
    }
}

pub(super) fn a_byte_at_a_time_is_as_good_as_all_at_once(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Echo);
    let mut client = stage.client();
    client.set_nodelay(true).unwrap();
    for byte in noise(500) {
        client.write_all(&[byte]).unwrap();
        let mut heard = [0];
        client.read_exact(&mut heard).unwrap();
        assert_eq!(heard, [byte]);
    }
    assert_eq!(stage.gauge.read.load(SeqCst), 500);
    assert_eq!(stage.leave().ghosts, 0);
}

/// A connection that can hold little of what it is sent, and its name.
fn narrow_client(stage: &Stage) -> (std::net::TcpStream, ConnId) {
    let client = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    client.set_recv_buffer_size(TINY_BYTES).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.connect(&stage.addr.into()).unwrap();
    let Told::Accepted(conn, ..) = stage.told() else { panic!("nobody was accepted") };
    (client.into(), conn)
}

pub(super) fn writes_that_find_little_room_lose_nothing(adapter: Adapter) {
    let stage = Stage::narrow(adapter, Manner::Tell);
    let (mut client, conn) = narrow_client(&stage);
    let sent = noise(1_000_000);
    // In pieces, some of which find the last still waiting.
    for piece in sent.chunks(70_001) {
        stage.order(Order::Write(conn, piece.to_vec()));
    }
    stage.order(Order::CloseWrite(conn));
    let mut heard = Vec::new();
    client.read_to_end(&mut heard).unwrap();
    assert!(heard == sent, "what came differs");
    assert_eq!(stage.leave().ghosts, 0);
}

pub(super) fn what_the_system_had_taken_of_a_connection_that_is_dropped_was_told(adapter: Adapter) {
    let stage = Stage::narrow(adapter, Manner::Tell);
    let (mut client, conn) = narrow_client(&stage);
    stage.order(Order::Write(conn, noise(1_000_000)));
    let mut heard = vec![0; 20_000];
    client.read_exact(&mut heard).unwrap();
    stage.order(Order::Drop(conn));
    // Its end may be a reset: what was heard before counts.
    let _ = client.read_to_end(&mut heard);
    let sent = stage.gauge.sent.load(SeqCst);
    // The byte that a thread may be waiting with is not known of.
    assert!(heard.len() <= sent + 1, "{} bytes arrived, of which {sent} were known", heard.len());
    assert_eq!(stage.leave().ghosts, 0);
}

pub(super) fn a_peer_that_never_reads_is_no_burden_to_others(adapter: Adapter) {
    let stage = Stage::narrow(adapter, Manner::Tell);
    let (_deaf, deaf_conn) = stage.accepted();
    let (mut other, other_conn) = stage.accepted();
    let much = 32 << 20;
    stage.order(Order::Write(deaf_conn, vec![b'x'; much]));
    until("the first write", || stage.gauge.sent.load(SeqCst) > 0);
    for _ in 0..200 {
        other.write_all(b"?").unwrap();
        assert_eq!(stage.told(), Told::Bytes(other_conn, b"?".to_vec()));
        stage.order(Order::Write(other_conn, b"!".to_vec()));
        other.read_exact(&mut [0]).unwrap();
    }
    let sent = stage.gauge.sent.load(SeqCst);
    assert!(sent < much / 2, "{sent} bytes went to somebody who does not read");
    stage.order(Order::Drop(deaf_conn));
    other.write_all(b"?").unwrap();
    assert_eq!(stage.told(), Told::Bytes(other_conn, b"?".to_vec()));
    assert_eq!(stage.leave().ghosts, 0);
}

/// Writes until the socket takes no more and the condition holds. Returns how much it took.
fn write_until_stuck(client: &mut std::net::TcpStream, condition: impl Fn() -> bool) -> usize {
    let deadline = Instant::now() + DEADLINE;
    let chunk = noise(READ_BYTES);
    client.set_nonblocking(true).unwrap();
    let mut written = 0;
    // A socket whose peer only was late takes more soon after.
    let mut refusals = 0;
    while refusals < 1000 || !condition() {
        assert!(Instant::now() < deadline, "the writer never got stuck");
        match client.write(&chunk) {
            Ok(n) => {
                written += n;
                refusals = 0;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                refusals += 1;
                thread::yield_now();
            }
            Err(error) => panic!("{error}"),
        }
    }
    client.set_nonblocking(false).unwrap();
    written
}
