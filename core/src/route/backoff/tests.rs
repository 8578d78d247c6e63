//! Who waits for how long, and whom others wait with.

use super::*;
use crate::entropy::Seed;

fn pair(local: &str, remote: &str) -> Pair {
    let domain = |text| Domain::parse(text).expect("a domain");
    Pair::new(domain(local), domain(remote))
}

fn backoff() -> Backoff {
    Backoff::new(Entropy::new(Seed([3; 32])))
}

#[test]
//= RFC6120-3.3-2 test
fn waits_grow_to_the_cap_with_jitter() {
    let (mut backoff, mut now) = (backoff(), Instant::now());
    let pair = pair("a.example", "b.example");
    let mut attempts_in_a_minute = 0;
    let start = now;
    for times in 0..12_u32 {
        backoff.note_failure(now, &pair, Behalf::Ours, Reason::ConnectRefused);
        assert_eq!(backoff.reason(now, &pair, Behalf::Ours), Some(Reason::ConnectRefused));
        let full = (limits::BACKOFF_BASE * 2_u32.pow(times)).min(limits::BACKOFF_CAP);
        assert!(backoff.reason(now + full / 2 - Duration::from_millis(1), &pair, Behalf::Ours).is_some(), "{times}");
        assert_eq!(backoff.reason(now + full, &pair, Behalf::Ours), None, "{times}");
        attempts_in_a_minute += u32::from(now - start < Duration::from_secs(60));
        now += full;
    }
    assert!(attempts_in_a_minute < 10, "{attempts_in_a_minute}");
}

#[test]
fn another_configuration_is_another_chance() {
    let (mut backoff, now) = (backoff(), Instant::now());
    let pair = pair("a.example", "b.example");
    let addr = SocketAddr::from(([192, 0, 2, 1], 5269));
    backoff.note_failure(now, &pair, Behalf::Ours, Reason::ConnectRefused);
    backoff.note_address(now, addr, Reason::ConnectRefused);
    backoff.forget();
    assert_eq!(
        (backoff.reason(now, &pair, Behalf::Ours), backoff.address_wait(now, &pair, addr, Behalf::Ours)),
        (None, None)
    );
}

#[test]
fn attempts_that_fail_at_once_are_one_failure() {
    let (mut backoff, now) = (backoff(), Instant::now());
    let pair = pair("a.example", "b.example");
    let addr = SocketAddr::from(([192, 0, 2, 1], 5269));
    for _ in 0..100 {
        backoff.note_failure(now, &pair, Behalf::Ours, Reason::ConnectRefused);
        backoff.note_address(now, addr, Reason::ConnectRefused);
    }
    let later = now + limits::BACKOFF_BASE;
    assert_eq!(
        (backoff.reason(later, &pair, Behalf::Ours), backoff.address_wait(later, &pair, addr, Behalf::Ours)),
        (None, None)
    );
}

#[test]
fn while_a_failure_is_waited_for_the_newest_reason_counts_and_the_wait_stays_as_it_was() {
    let (mut backoff, now) = (backoff(), Instant::now());
    let pair = pair("a.example", "b.example");
    backoff.note_failure(now, &pair, Behalf::Ours, Reason::ConnectRefused);
    backoff.note_failure(now, &pair, Behalf::Ours, Reason::ConnectTimeout);
    assert_eq!(backoff.reason(now, &pair, Behalf::Ours), Some(Reason::ConnectTimeout));
    assert_eq!(backoff.reason(now + limits::BACKOFF_BASE, &pair, Behalf::Ours), None);
}

#[test]
fn a_question_awaits_another_one_only_behind_the_wait_of_its_own_failure() {
    let (mut backoff, start) = (backoff(), Instant::now());
    let pair = pair("a.example", "b.example");
    assert!(!backoff.awaits_another_question(start, &pair), "nothing has failed");
    backoff.note_failure(start, &pair, Behalf::Peers, Reason::ConnectRefused);
    assert!(!backoff.awaits_another_question(start, &pair), "that failure is waited for");
    let now = start + limits::BACKOFF_BASE;
    assert!(!backoff.awaits_another_question(now, &pair), "nobody is asking");
    backoff.begin(&pair, Behalf::Peers, now + limits::ATTEMPT);
    assert!(backoff.awaits_another_question(now, &pair));
    assert!(!backoff.awaits_another_question(now + limits::ATTEMPT, &pair), "it was given up");
}

#[test]
fn a_pair_whose_refusal_is_long_over_is_told_why_others_are_refused() {
    let (mut backoff, mut now) = (backoff(), Instant::now());
    let early = pair("early.example", "b.example");
    backoff.note_failure(now, &early, Behalf::Ours, Reason::CertExpired);
    let told = [Reason::CertExpired, Reason::CertPinMismatch];
    for told in told {
        for n in 0..limits::REFUSALS + 4 {
            now += Duration::from_secs(1);
            let other = pair(&format!("h{n}.example"), "b.example");
            backoff.note_failure(now, &other, Behalf::Ours, Reason::CertPinMismatch);
        }
        assert_eq!(backoff.reason(now, &early, Behalf::Ours), Some(told));
        now += limits::BACKOFF_BASE + limits::BACKOFF_CAP;
    }
}

#[test]
fn a_sign_of_life_counts_whether_or_not_anybody_waits_for_the_domain_just_then() {
    let (mut backoff, start) = (backoff(), Instant::now());
    let pair = pair("a.example", "b.example");
    let addr = SocketAddr::from(([192, 0, 2, 1], 5269));
    backoff.note_failure(start, &pair, Behalf::Ours, Reason::ConnectRefused);
    let now = start + limits::BACKOFF_BASE;
    backoff.note_address(now, addr, Reason::ConnectRefused);
    assert_eq!(backoff.reason(now, &pair, Behalf::Ours), None);
    assert!(backoff.address_wait(now, &pair, addr, Behalf::Ours).is_some());
    backoff.note_sign_of_life(now, &pair, IpAddr::from([192, 0, 2, 77]));
    assert_eq!(backoff.address_wait(now, &pair, addr, Behalf::Ours), None);
}

#[test]
fn a_sign_of_life_that_ends_no_wait_does_not_spend_the_one_that_does() {
    let (mut backoff, start) = (backoff(), Instant::now());
    let pair = pair("a.example", "b.example");
    let from = IpAddr::from([192, 0, 2, 77]);
    backoff.note_failure(start, &pair, Behalf::Ours, Reason::ConnectRefused);
    let now = start + limits::BACKOFF_BASE;
    backoff.note_sign_of_life(now, &pair, from);
    backoff.note_failure(now, &pair, Behalf::Ours, Reason::ConnectRefused);
    assert!(backoff.reason(now, &pair, Behalf::Ours).is_some());
    backoff.note_sign_of_life(now, &pair, from);
    assert_eq!(backoff.reason(now, &pair, Behalf::Ours), None);
}

#[test]
fn pairs_that_one_domain_has_refused_wait_together_and_others_are_tried() {
    let (mut backoff, start) = (backoff(), Instant::now());
    let pairs: Vec<_> = (0..40).map(|n| pair(&format!("h{n}.example"), "b.example")).collect();
    let mut attempts = Vec::new();
    for second in 0..600 {
        let now = start + Duration::from_secs(second);
        for pair in &pairs {
            if backoff.reason(now, pair, Behalf::Ours).is_none() {
                backoff.note_failure(now, pair, Behalf::Ours, Reason::CertExpired);
                attempts.push(second);
            }
            assert_eq!(backoff.reason(now, pair, Behalf::Ours), Some(Reason::CertExpired), "at {second}");
        }
    }
    let in_minute = |minute| attempts.iter().filter(|second| **second / 60 == minute).count();
    assert!(in_minute(0) < pairs.len() + 10, "each of them once, then hardly any: {attempts:?}");
    assert!((1..10).all(|minute| in_minute(minute) < 10), "{attempts:?}");
    let now = start + Duration::from_secs(600);
    assert_eq!(backoff.reason(now, &pair("new.example", "b.example"), Behalf::Ours), None, "it may be welcome");
    backoff.note_success(&pair("new.example", "b.example"));
    let later = now + limits::BACKOFF_CAP;
    assert!(pairs.iter().all(|pair| backoff.reason(later, pair, Behalf::Ours).is_none()), "each waits by itself again");
}

#[test]
fn streams_that_are_broken_at_once_are_waited_for_and_one_that_served_ends_that() {
    let (mut backoff, now) = (backoff(), Instant::now());
    let pair = pair("a.example", "b.example");
    let (short, long) = (Duration::from_secs(1), limits::STEADY_STREAM);
    for _ in 1..limits::BROKEN_STREAMS {
        backoff.note_end(now, &pair, short, false, Some(Reason::ConnectionReset));
        assert_eq!(backoff.reason(now, &pair, Behalf::Ours), None, "it happens");
    }
    backoff.note_end(now, &pair, short, false, Some(Reason::PeerStreamError));
    assert_eq!(backoff.reason(now, &pair, Behalf::Ours), Some(Reason::PeerStreamError));
    let now = now + limits::BACKOFF_BASE;
    backoff.begin(&pair, Behalf::Ours, now + limits::NEGOTIATION);
    backoff.note_failure(now, &pair, Behalf::Ours, Reason::ConnectRefused);
    backoff.end(&pair, Behalf::Ours);
    let now = now + limits::BACKOFF_BASE;
    assert_eq!(backoff.reason(now, &pair, Behalf::Ours), None, "nobody tries any more");
    backoff.note_end(now, &pair, short, true, Some(Reason::Idle));
    assert_eq!(backoff.reason(now, &pair, Behalf::Ours), None, "that is no failure");
    backoff.note_end(now, &pair, long, false, Some(Reason::ConnectionReset));
    backoff.note_end(now, &pair, short, false, Some(Reason::ConnectionReset));
    assert_eq!(backoff.reason(now, &pair, Behalf::Ours), None, "the first one again");
    for _ in 0..limits::BROKEN_STREAMS {
        backoff.note_end(now, &pair, short, false, None);
    }
    assert_eq!(backoff.reason(now, &pair, Behalf::Ours), None, "these we closed ourselves");
    backoff.note_end(now, &pair, short, false, Some(Reason::ConnectionReset));
    backoff.note_end(now, &pair, short, false, Some(Reason::Unresponsive));
    assert_eq!(backoff.reason(now, &pair, Behalf::Ours), Some(Reason::Unresponsive), "the third that was broken");
}

#[test]
fn a_failure_is_forgotten_when_the_longest_wait_has_passed_behind_its_own() {
    let (mut backoff, now) = (backoff(), Instant::now());
    let pair = pair("a.example", "b.example");
    let until = now + limits::BACKOFF_BASE;
    let second = |backoff: &mut Backoff, at: Instant| {
        backoff.failed.clear();
        backoff.note_waiting(now, &pair, until, Reason::ConnectRefused);
        for entry in backoff.failed.values_mut() {
            entry.times = 1;
        }
        backoff.note_failure(at, &pair, Behalf::Ours, Reason::ConnectRefused);
        backoff.reason(at + limits::BACKOFF_BASE, &pair, Behalf::Ours)
    };
    let forgotten = until + limits::BACKOFF_CAP;
    assert_eq!(second(&mut backoff, forgotten), None, "it is the first again");
    let more = (0..20).any(|_| second(&mut backoff, forgotten - Duration::from_nanos(1)).is_some());
    assert!(more, "the second in a row waits longer");
}

#[test]
fn when_a_wait_is_over_one_tries_and_the_others_wait_for_what_it_comes_to() {
    let (mut backoff, start) = (backoff(), Instant::now());
    let (one, other) = (pair("a.example", "b.example"), pair("c.example", "b.example"));
    let addr = SocketAddr::from(([192, 0, 2, 1], 5269));
    backoff.begin(&one, Behalf::Ours, start + limits::NEGOTIATION);
    assert_eq!(backoff.reason(start, &other, Behalf::Ours), None, "nothing has failed yet");
    backoff.note_failure(start, &one, Behalf::Ours, Reason::ConnectRefused);
    backoff.note_address(start, addr, Reason::ConnectRefused);
    let now = start + limits::BACKOFF_BASE;
    assert_eq!(
        (backoff.reason(now, &one, Behalf::Ours), backoff.address_wait(now, &one, addr, Behalf::Ours)),
        (None, None)
    );
    let deadline = now + limits::NEGOTIATION;
    backoff.begin(&one, Behalf::Ours, deadline);
    backoff.begin_address(addr, Behalf::Ours, now + limits::ATTEMPT);
    assert_eq!(backoff.reason(now, &other, Behalf::Ours), Some(Reason::ConnectRefused), "somebody tries");
    assert_eq!(backoff.reason(now, &other, Behalf::Peers), None, "a key is verified meanwhile");
    assert_eq!(backoff.address_wait(now, &other, addr, Behalf::Peers), None);
    assert_eq!(backoff.address_wait(now, &other, addr, Behalf::Ours), Some((now, Reason::ConnectRefused)));
    assert_eq!(backoff.reason(deadline, &other, Behalf::Ours), None, "it has not come to anything");
    backoff.end(&one, Behalf::Ours);
    assert_eq!(backoff.reason(now, &other, Behalf::Ours), None, "it was given up");
    backoff.begin(&one, Behalf::Ours, deadline);
    backoff.note_failure(now, &one, Behalf::Ours, Reason::ConnectTimeout);
    assert!(backoff.reason(now + limits::BACKOFF_BASE / 2, &other, Behalf::Ours).is_some(), "the second failure");
    backoff.begin(&one, Behalf::Ours, deadline);
    backoff.note_answer(&one);
    assert_eq!(backoff.reason(now, &other, Behalf::Ours), None, "it answers");
    backoff.note_connected(addr);
    assert_eq!(backoff.address_wait(now, &other, addr, Behalf::Ours), None, "it is open");
}

#[test]
fn a_wait_of_all_addresses_is_no_further_failure() {
    let (mut backoff, now) = (backoff(), Instant::now());
    let pair = pair("a.example", "b.example");
    let until = now + Duration::from_millis(100);
    for _ in 0..10 {
        backoff.note_waiting(now, &pair, until, Reason::ConnectRefused);
    }
    assert_eq!(backoff.reason(now, &pair, Behalf::Ours), Some(Reason::ConnectRefused));
    assert_eq!(backoff.reason(until, &pair, Behalf::Ours), None);
    backoff.note_failure(until, &pair, Behalf::Ours, Reason::ConnectRefused);
    assert_eq!(backoff.reason(until + limits::BACKOFF_BASE, &pair, Behalf::Ours), None, "the first failure");
}

#[test]
fn a_sign_of_life_lets_addresses_be_dialled_that_others_wait_for() {
    let (mut backoff, now) = (backoff(), Instant::now());
    let (alive, other) = (pair("a.example", "b.example"), pair("a.example", "c.example"));
    let addr = SocketAddr::from(([192, 0, 2, 1], 5269));
    for pair in [&alive, &other] {
        backoff.note_failure(now, pair, Behalf::Ours, Reason::ConnectRefused);
    }
    backoff.note_address(now, addr, Reason::ConnectRefused);
    backoff.note_sign_of_life(now, &alive, IpAddr::from([198, 51, 100, 7]));
    assert_eq!(backoff.address_wait(now, &alive, addr, Behalf::Ours), None);
    assert_eq!(
        backoff.address_wait(now, &other, addr, Behalf::Ours).map(|(_, reason)| reason),
        Some(Reason::ConnectRefused)
    );
    backoff.note_failure(now, &alive, Behalf::Ours, Reason::ConnectRefused);
    assert!(backoff.address_wait(now, &alive, addr, Behalf::Ours).is_some(), "it was tried");
}

#[test]
fn what_cannot_be_reached_counts_for_all_pairs_and_what_was_refused_for_one() {
    let (mut backoff, now) = (backoff(), Instant::now());
    let (one, other) = (pair("a.example", "b.example"), pair("c.example", "b.example"));
    backoff.note_failure(now, &one, Behalf::Ours, Reason::CertExpired);
    assert_eq!(
        (backoff.reason(now, &one, Behalf::Ours), backoff.reason(now, &other, Behalf::Ours)),
        (Some(Reason::CertExpired), None)
    );
    backoff.note_failure(now, &one, Behalf::Ours, Reason::DnsTimeout);
    assert_eq!(backoff.reason(now, &other, Behalf::Ours), Some(Reason::DnsTimeout));
    backoff.note_failure(now, &pair("a.example", "x.example"), Behalf::Ours, Reason::Reload);
    assert_eq!(backoff.reason(now, &pair("a.example", "x.example"), Behalf::Ours), None);
}

#[test]
fn who_refuses_us_is_asked_about_its_keys_all_the_same() {
    let (mut backoff, now) = (backoff(), Instant::now());
    let pair = pair("a.example", "b.example");
    for _ in 0..=limits::REFUSALS {
        backoff.note_failure(now, &pair, Behalf::Ours, Reason::DialbackError);
    }
    for _ in 0..limits::BROKEN_STREAMS {
        backoff.note_end(now, &pair, Duration::ZERO, false, Some(Reason::ConnectionReset));
    }
    assert_eq!(backoff.reason(now, &pair, Behalf::Ours), Some(Reason::DialbackError));
    assert_eq!(backoff.reason(now, &pair, Behalf::Peers), None);
    backoff.note_failure(now, &pair, Behalf::Peers, Reason::DialbackTimeout);
    assert_eq!(backoff.reason(now, &pair, Behalf::Peers), Some(Reason::DialbackTimeout), "it does not answer");
}

#[test]
fn a_sign_of_life_ends_the_wait_at_most_once_a_minute() {
    let (mut backoff, now) = (backoff(), Instant::now());
    let pair = pair("a.example", "b.example");
    backoff.note_failure(now, &pair, Behalf::Ours, Reason::ConnectTimeout);
    backoff.note_sign_of_life(now, &pair, IpAddr::from([198, 51, 100, 7]));
    assert_eq!(backoff.reason(now, &pair, Behalf::Ours), None);
    backoff.note_failure(now, &pair, Behalf::Ours, Reason::ConnectTimeout);
    backoff.note_sign_of_life(now, &pair, IpAddr::from([198, 51, 100, 7]));
    assert_eq!(backoff.reason(now, &pair, Behalf::Ours), Some(Reason::ConnectTimeout), "too soon");
}

#[test]
fn however_many_fail_the_memory_is_bounded() {
    let (mut backoff, now) = (backoff(), Instant::now());
    for n in 0..limits::BACKOFF_ENTRIES + 100 {
        backoff.note_failure(now, &pair("a.example", &format!("d{n}.example")), Behalf::Ours, Reason::DnsNxdomain);
    }
    assert_eq!(backoff.len(), limits::BACKOFF_ENTRIES);
}

#[test]
fn hosts_that_may_not_ask_a_domain_wait_together_and_others_may_ask_it() {
    let (mut backoff, start) = (backoff(), Instant::now());
    let pairs: Vec<_> = (0..40).map(|n| pair(&format!("h{n}.example"), "b.example")).collect();
    let (mut asked, mut now) = (0, start);
    for _ in 0..600 {
        now += Duration::from_secs(1);
        for pair in &pairs {
            if backoff.reason(now, pair, Behalf::Peers).is_none() {
                backoff.note_failure(now, pair, Behalf::Peers, Reason::StarttlsNotOffered);
                asked += 1;
            }
        }
    }
    assert!(asked < pairs.len() + 20, "{asked}");
    assert_eq!(backoff.reason(now, &pair("new.example", "b.example"), Behalf::Peers), None);
}
