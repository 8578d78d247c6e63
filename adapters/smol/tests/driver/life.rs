//! Time, and the end of the driver.

use std::io::Read;
use std::time::{Duration, Instant};

use s2s_smol::EVENTS;

use crate::puppet::{Manner, Order, Stage, Told, within};

#[test]
fn the_timer_fires_once_and_no_earlier_than_asked() {
    let stage = Stage::new(Manner::Tell);
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

#[test]
fn a_deadline_that_moves_is_followed_both_ways() {
    let stage = Stage::new(Manner::Tell);
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

#[test]
fn a_machine_that_has_finished_ends_the_driver_after_its_last_event() {
    let stage = Stage::new(Manner::Tell);
    let (mut client, _) = stage.accepted();
    stage.order(Order::Boast(EVENTS * 3));
    stage.order(Order::Shutdown);
    for n in 0..EVENTS * 3 {
        assert_eq!(stage.told(), Told::Count(n));
    }
    assert_eq!(within("the end", stage.handle.event()), None);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    let refused = within("the refusal", stage.handle.send(Order::Boast(1))).unwrap_err();
    assert!(matches!(refused.into_inner(), Order::Boast(1)));
    stage.leave();
}

#[test]
fn an_application_that_leaves_ends_the_driver_and_all_connections() {
    let stage = Stage::new(Manner::Tell);
    let (mut client, _) = stage.accepted();
    let clone = stage.handle.clone();
    stage.order(Order::Boast(EVENTS * 3));
    drop(clone);
    assert_eq!(stage.told(), Told::Count(0));
    stage.leave();
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}
