//! Time, and the end of the driver.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use s2s_sockets::{COMMANDS, EVENTS, bind};

use super::puppet::{Manner, Order, Stage, Told, until};
use crate::adapter::Adapter;

pub(super) fn the_timer_fires_once_and_no_earlier_than_asked(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
    for wait in [0, 1, 7, 30, 101] {
        let asked = Instant::now() + Duration::from_millis(wait);
        stage.order(Order::Alarm(asked));
        let Told::Alarm { due, now } = stage.told() else { panic!("no alarm") };
        assert_eq!(due, asked);
        assert!(now >= asked, "{:?} early", asked - now);
        assert!(Instant::now() >= asked);
    }
    assert_eq!(stage.leave().early, 0);
}

pub(super) fn a_deadline_that_moves_is_followed_both_ways(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
    let start = Instant::now();
    stage.order(Order::Alarm(start + Duration::from_secs(3600)));
    // Nearer: the timer has to be armed again.
    stage.order(Order::Alarm(start + Duration::from_millis(20)));
    // Farther: the timer that is armed fires for nothing.
    let last = start + Duration::from_millis(60);
    stage.order(Order::Alarm(last));
    let Told::Alarm { due, now } = stage.told() else { panic!("no alarm") };
    // A slow machine may have met the second before the third came.
    assert!(now >= due);
    if due != last {
        assert!(matches!(stage.told(), Told::Alarm { due, .. } if due == last));
    }
    assert_eq!(stage.leave().early, 0);
}

pub(super) fn a_machine_that_has_finished_ends_the_driver_after_its_last_event(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
    let (mut client, _) = stage.accepted();
    stage.order(Order::Boast(EVENTS * 3));
    stage.order(Order::Shutdown);
    for n in 0..EVENTS * 3 {
        assert_eq!(stage.told(), Told::Count(n));
    }
    assert_eq!(stage.handle.event(), None);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    let refused = stage.handle.send(Order::Boast(1)).unwrap_err();
    assert!(matches!(refused, Order::Boast(1)));
    let (refused, is_full) = stage.handle.try_send(Order::Boast(2)).unwrap_err();
    assert!(matches!(refused, Order::Boast(2)) && !is_full);
    stage.leave();
}

pub(super) fn an_application_that_leaves_ends_the_driver_and_all_connections(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
    let (mut client, _) = stage.accepted();
    let clone = stage.handle.clone();
    stage.order(Order::Boast(EVENTS * 3));
    drop(clone);
    assert_eq!(stage.told(), Told::Count(0));
    stage.leave();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

pub(super) fn a_step_of_the_wall_clock_is_told_to_the_machine(adapter: Adapter) {
    const BEFORE: Duration = Duration::from_secs(1_000_000_000);
    const STEP: Duration = Duration::from_secs(3600);
    let start = Instant::now();
    let step = Arc::new(AtomicU64::new(STEP.as_secs()));
    let looks = Arc::new(AtomicU64::new(0));
    let (wall, looked) = (Arc::clone(&step), Arc::clone(&looks));
    let listener = bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let stage = Stage::start(adapter, listener, Manner::Tell, move || {
        let unix = BEFORE + start.elapsed() + Duration::from_secs(wall.load(SeqCst));
        looked.fetch_add(1, SeqCst);
        unix
    });
    until("the first look", || looks.load(SeqCst) > 0);
    for seconds in [2 * STEP.as_secs(), 0] {
        step.store(seconds, SeqCst);
        let Told::Clock(unix) = stage.told() else { panic!("nothing about the clock") };
        let stepped = BEFORE + Duration::from_secs(seconds);
        assert!(unix >= stepped && unix <= stepped + start.elapsed(), "{unix:?}");
    }
    assert_eq!(stage.leave().early, 0);
}

pub(super) fn commands_wait_while_there_is_no_room_for_them(adapter: Adapter) {
    let stage = Stage::new(adapter, Manner::Tell);
    let (hold, held) = mpsc::channel();
    stage.order(Order::Hold(held));
    // One more than there is room for, if the first has been taken already.
    let mut sent = 0;
    let refused = loop {
        match stage.handle.try_send(Order::Boast(0)) {
            Ok(()) => sent += 1,
            Err(refused) => break refused,
        }
        assert!(sent <= COMMANDS + 1, "commands pile up");
    };
    assert!(matches!(refused, (Order::Boast(0), true)));
    assert!(sent >= COMMANDS - 1, "only {sent} found room");
    drop(hold);
    stage.order(Order::Boast(1));
    assert_eq!(stage.told(), Told::Count(0));
}
