//! How links end: by the component, by a deadline, by a reload, by a shutdown.

use super::*;

fn down(host: &str, conn: ConnId, reason: Reason) -> Event {
    Event::ComponentDown { host: domain(host), conn, reason }
}

#[test]
fn a_closing_tag_is_answered_and_the_connection_ends_when_both_sides_are_done() {
    let mut driver = Driver::new();
    let conn = driver.attach("a.example");
    driver.write(conn, "</stream:stream>");
    assert_eq!(driver.events(), [down("a.example", conn, Reason::Shutdown)]);
    assert_eq!(driver.effects(), [Effect::CloseWrite(conn)]);
    driver.eof(conn);
    assert_eq!(driver.effects(), []);
    assert_eq!(driver.send(conn, 3), 3);
    assert_eq!(driver.effects(), []);
    assert_eq!(driver.read(conn), "</stream:stream>"[3..]);
    assert_eq!(driver.effects(), [Effect::Drop(conn)]);
    assert_eq!(driver.hub.poll_timeout(), None);
}

#[test]
fn a_component_that_does_not_close_is_dropped_at_the_deadline() {
    let mut driver = Driver::new();
    let conn = driver.attach("a.example");
    driver.write(conn, "</stream:stream>");
    driver.read(conn);
    driver.effects();
    assert_eq!(driver.hub.poll_timeout(), Some((driver.now + CLOSE, "component close")));
    assert!(driver.interest(conn).read);
    driver.wait(CLOSE - Duration::from_millis(1));
    assert_eq!(driver.effects(), []);
    driver.wait(Duration::from_millis(1));
    assert_eq!(driver.effects(), [Effect::Drop(conn)]);
    assert_eq!(driver.hub.poll_timeout(), None);
}

#[test]
fn who_makes_no_handshake_in_time_is_refused() {
    for opened in [false, true] {
        let mut driver = Driver::new();
        let conn = driver.accept();
        if opened {
            driver.open(conn, "a.example");
        }
        assert_eq!(driver.hub.poll_timeout(), Some((driver.now + HANDSHAKE, "component handshake")));
        driver.wait(HANDSHAKE - Duration::from_millis(1));
        assert_eq!((driver.effects(), driver.events()), (vec![], vec![]));
        driver.wait(Duration::from_millis(1));
        let wire = driver.read(conn);
        assert_eq!(wire.contains("<stream:stream "), !opened);
        assert_error(&wire, "connection-timeout");
        driver.assert_refused(conn, opened.then_some("a.example"), Reason::NegotiationTimeout);
        driver.assert_closing(conn);
    }
}

#[test]
fn who_leaves_without_a_word_is_not_worth_a_word() {
    let mut driver = Driver::new();
    let (one, two) = (driver.accept(), driver.accept());
    driver.eof(one);
    driver.broken(two);
    assert_eq!(driver.effects(), [Effect::Drop(one), Effect::Drop(two)]);
    assert_eq!(driver.events(), []);
}

#[test]
fn who_leaves_before_the_handshake_is_told_of() {
    let mut driver = Driver::new();
    let conn = driver.accept();
    driver.open(conn, "a.example");
    driver.eof(conn);
    assert_eq!(driver.read(conn), "</stream:stream>");
    assert_eq!(driver.effects(), [Effect::CloseWrite(conn), Effect::Drop(conn)]);
    driver.assert_refused(conn, Some("a.example"), Reason::ConnectionReset);
}

#[test]
fn an_input_that_ends_inside_the_stream_is_a_broken_connection_but_the_output_is_still_written() {
    let mut driver = Driver::new();
    let conn = driver.attach("a.example");
    driver.deliver("<message from='m.example' to='a.example'/>");
    driver.write(conn, "<message from='a.example' to='m.exa");
    driver.eof(conn);
    assert_eq!(driver.events(), [down("a.example", conn, Reason::ConnectionReset)]);
    assert_eq!(driver.effects(), [Effect::CloseWrite(conn)]);
    assert!(!driver.interest(conn).read);
    assert_eq!(driver.read(conn), "<message from='m.example' to='a.example'/></stream:stream>");
    assert_eq!(driver.effects(), [Effect::Drop(conn)]);
}

#[test]
fn a_broken_connection_takes_its_component_down() {
    let mut driver = Driver::new();
    let conn = driver.attach("a.example");
    driver.broken(conn);
    assert_eq!(driver.events(), [down("a.example", conn, Reason::ConnectionReset)]);
    assert_eq!(driver.effects(), [Effect::Drop(conn)]);
    let again = driver.attach("a.example");
    assert_ne!(conn, again);
}

#[test]
//= RFC6120-4.9.1.1-2 test
//= RFC6120-4.9.2-2 test
fn a_stream_error_is_answered_with_the_closing_tag_alone() {
    for (name, told) in [("conflict", "conflict"), ("no-such-thing", "undefined-condition")] {
        let mut driver = Driver::new();
        let conn = driver.attach("a.example");
        let streams = ns::STREAM_ERRORS;
        driver.write(
            conn,
            &format!(
                "<stream:error><text xmlns='{streams}'>host-gone</text><{name} xmlns='{streams}'/></stream:error>"
            ),
        );
        assert_eq!(driver.read(conn), "</stream:stream>");
        let Some(Event::Refused { detail, .. }) = driver.events.first() else { panic!("{:?}", driver.events) };
        assert!(detail.ends_with(told), "{detail}");
        driver.assert_thrown_out(conn, "a.example", Reason::PeerStreamError);
        driver.assert_closing(conn);
    }
}

#[test]
//= RFC6120-4.9.1.1-1 test
//= RFC6120-4.9.2-1 test
//= RFC6120-4.9.2-3 test
fn our_stream_errors_have_one_condition_and_one_text_and_end_the_stream() {
    let mut driver = Driver::new();
    let conn = driver.attach("a.example");
    driver.write(conn, "<message from='a.example' to='m.example'/><message from='m.example' to='a.example'/>");
    assert_eq!(
        driver.read(conn),
        "<stream:error><invalid-from xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>a stanza from m.example, \
         which is not the component's host</text></stream:error></stream:stream>"
    );
    assert!(matches!(driver.events.remove(0), Event::Outbound(_)));
    driver.assert_thrown_out(conn, "a.example", Reason::FromMismatch);
}

#[test]
fn nothing_is_read_after_the_end() {
    let mut driver = Driver::new();
    let conn = driver.attach("a.example");
    driver.write(conn, "</stream:stream><message from='a.example' to='m.example'/>");
    driver.write(conn, "<message from='a.example' to='m.example'/>\u{0}");
    assert_eq!(driver.events(), [down("a.example", conn, Reason::Shutdown)]);
    assert_eq!(driver.read(conn), "</stream:stream>");
}

#[test]
fn a_component_may_come_back_while_its_old_connection_is_closing() {
    let mut driver = Driver::new();
    let old = driver.attach("a.example");
    driver.write(old, "</stream:stream>");
    driver.events();
    let new = driver.attach("a.example");
    driver.eof(old);
    driver.read(old);
    driver.deliver("<message from='m.example' to='a.example'/>");
    assert_eq!(driver.read(new), "<message from='m.example' to='a.example'/>");
}

#[test]
fn reports_about_unknown_connections_are_ignored() {
    let mut driver = Driver::new();
    let dead = driver.attach("a.example");
    driver.broken(dead);
    driver.events();
    driver.effects();
    for conn in [dead, ConnId(99)] {
        driver.write(conn, "<");
        driver.eof(conn);
        driver.broken(conn);
        driver.hub.handle_connected(driver.now, conn);
        driver.hub.handle_sent(driver.now, conn, 5);
        driver.drain();
        assert_eq!(driver.interest(conn), Interest { read: false, write: false });
        assert!(driver.hub.pending(conn).is_empty());
    }
    driver.wait(HANDSHAKE * 2);
    assert_eq!((driver.effects(), driver.events()), (vec![], vec![]));
}

#[test]
fn a_shutdown_tells_everybody_and_finishes_when_all_are_gone() {
    let mut driver = Driver::new();
    let (open, new) = (driver.attach("a.example"), driver.accept());
    assert!(!driver.hub.is_finished());
    driver.command(Command::Shutdown);
    let refused = driver.events.remove(1);
    assert!(matches!(refused, Event::Refused { conn, reason: Reason::Shutdown, .. } if conn == new), "{refused:?}");
    assert_eq!(driver.events(), [down("a.example", open, Reason::Shutdown)]);
    for conn in [open, new] {
        assert_error(&driver.read(conn), "system-shutdown");
    }
    assert_eq!(driver.effects(), [Effect::CloseWrite(open), Effect::CloseWrite(new)]);
    assert_eq!(driver.hub.handle_accept(driver.now, Driver::addr(), Listener::Component), None);
    driver.eof(open);
    assert!(!driver.hub.is_finished());
    driver.wait(CLOSE);
    assert_eq!(driver.effects(), [Effect::Drop(open), Effect::Drop(new)]);
    assert!(driver.hub.is_finished());
}

#[test]
fn a_hub_without_links_is_finished_as_soon_as_it_is_told() {
    let mut driver = Driver::new();
    driver.command(Command::Shutdown);
    assert!(driver.hub.is_finished());
}

#[test]
//= RFC6120-4.9.3.5-1 test
fn a_reload_closes_the_components_that_it_forbids_and_no_others() {
    let mut driver = Driver::new();
    let (a, b) = (driver.attach("a.example"), driver.attach("b.example"));
    let mut changed = config();
    changed.hosts.remove(&domain("a.example"));
    driver.command(Command::Reconfigure(changed.clone()));
    assert_error(&driver.read(a), "host-gone");
    assert_eq!(driver.events(), [down("a.example", a, Reason::Reload)]);
    driver.assert_closing(a);

    for secret in [Some("another secret"), None] {
        let mut driver = Driver::new();
        let (a, b) = (driver.attach("a.example"), driver.attach("b.example"));
        let mut changed = config();
        changed.hosts.insert(domain("b.example"), host(secret));
        driver.command(Command::Reconfigure(changed));
        assert_error(&driver.read(b), "reset");
        assert_eq!(driver.events(), [down("b.example", b, Reason::Reload)]);
        assert_eq!(driver.read(a), "");
        driver.assert_closing(b);
    }

    changed.stanza_bytes = 100;
    driver.command(Command::Reconfigure(changed));
    assert_eq!((driver.effects(), driver.events()), (vec![], vec![]));
    driver.write(b, &format!("<message from='b.example' to='m.example'>{}</message>", "x".repeat(100)));
    assert_error(&driver.read(b), "policy-violation");
}

#[test]
fn a_host_that_went_between_header_and_handshake_is_gone() {
    let mut driver = Driver::new();
    let conn = driver.accept();
    let id = driver.open(conn, "a.example");
    let mut changed = config();
    changed.hosts.remove(&domain("a.example"));
    driver.command(Command::Reconfigure(changed));
    driver.handshake(conn, &id, "secret-a");
    assert_error(&driver.read(conn), "host-gone");
    driver.assert_refused(conn, None, Reason::Reload);
}
