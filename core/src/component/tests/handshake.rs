//! From the accept to the handshake.

use super::*;

#[test]
//= XEP0114-3-1 test
//= XEP0114-3-2 test
//= XEP0114-3-6 test
//= XEP0114-3-8 test
fn a_component_that_knows_the_secret_is_attached() {
    let mut driver = Driver::new();
    let conn = driver.accept();
    driver.write(conn, &format!("<?xml version='1.0'?>{}", header("A.example.")));
    let reply = driver.read(conn);
    let id = between(&reply, " id='", "'").to_owned();
    assert_eq!(
        reply,
        format!(
            "<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' \
             xmlns:stream='http://etherx.jabber.org/streams' from='a.example' id='{id}'>"
        )
    );
    assert!(id.len() == 32 && driver.events().is_empty());
    driver.handshake(conn, &id, "secret-a");
    assert_eq!(driver.read(conn), "<handshake/>");
    assert_eq!(driver.events(), [Event::ComponentUp { host: domain("a.example"), conn, addr: Driver::addr() }]);
    assert_eq!(driver.hub.poll_timeout(), None);
    assert_eq!(driver.effects(), []);
}

#[test]
//= RFC6120-4.7.3-2 test
fn every_stream_has_an_id_of_its_own() {
    let mut driver = Driver::new();
    let (one, two) = (driver.accept(), driver.accept());
    assert_ne!(driver.open(one, "a.example"), driver.open(two, "a.example"));
}

#[test]
//= XEP0114-3-7 test
fn a_wrong_handshake_is_not_authorized() {
    let secret = ComponentSecret::new("secret-a".to_owned());
    for case in 0..6 {
        let mut driver = Driver::new();
        let old = driver.accept();
        let old_id = driver.open(old, "a.example");
        let conn = driver.accept();
        let id = driver.open(conn, "a.example");
        driver.effects.clear();
        let wrong = match case {
            0 => secret.handshake(&old_id),
            1 => secret.handshake(&id).to_uppercase(),
            2 => format!(" {}", secret.handshake(&id)),
            3 => ComponentSecret::new("secret-b".to_owned()).handshake(&id),
            4 => String::new(),
            _ => "secret-a".to_owned(),
        };
        driver.write(conn, &format!("<handshake>{wrong}</handshake>"));
        assert_error(&driver.read(conn), "not-authorized");
        driver.assert_refused(conn, Some("a.example"), Reason::NotAuthenticated);
        driver.assert_closing(conn);
    }
}

#[test]
fn a_second_handshake_after_a_wrong_one_is_not_read() {
    let mut driver = Driver::new();
    let conn = driver.accept();
    let id = driver.open(conn, "a.example");
    let right = ComponentSecret::new("secret-a".to_owned()).handshake(&id);
    driver.write(conn, &format!("<handshake>0</handshake><handshake>{right}</handshake>"));
    assert_error(&driver.read(conn), "not-authorized");
    driver.assert_refused(conn, Some("a.example"), Reason::NotAuthenticated);
}

#[test]
//= XEP0114-3-3 test
//= XEP0114-3-5 test
//= RFC6120-4.9.1.2-1 test
//= RFC6120-4.9.1.3-1 test
fn a_host_that_has_no_component_is_unknown() {
    for (name, host) in [("c.example", None), ("x.a.example", None), ("bare.example", Some("bare.example"))] {
        let mut driver = Driver::new();
        let conn = driver.accept();
        driver.write(conn, &header(name));
        let reply = driver.read(conn);
        assert!(reply.starts_with("<?xml version='1.0'?><stream:stream "), "{reply}");
        assert!(reply.contains(" from='' id='"), "{reply}");
        assert_error(&reply, "host-unknown");
        driver.assert_refused(conn, host, Reason::HostUnknown);
        driver.assert_closing(conn);
    }
}

#[test]
//= XEP0114-3-4 test
//= RFC6120-4.8.1-2 test
fn another_namespace_is_refused_with_our_header() {
    let streams = ns::STREAMS;
    for head in [
        format!("<stream:stream xmlns='jabber:server' xmlns:stream='{streams}' to='a.example'>"),
        format!("<stream:stream xmlns='jabber:client' xmlns:stream='{streams}' to='a.example'>"),
        format!("<stream:stream xmlns='jabber:component:connect' xmlns:stream='{streams}' to='a.example'>"),
        format!("<stream:stream xmlns:stream='{streams}' to='a.example'>"),
        "<stream:stream xmlns='jabber:component:accept' xmlns:stream='urn:x' to='a.example'>".to_owned(),
        "<handshake xmlns='jabber:component:accept'>".to_owned(),
    ] {
        let mut driver = Driver::new();
        let conn = driver.accept();
        driver.write(conn, &head);
        let reply = driver.read(conn);
        assert!(reply.contains("<stream:stream xmlns='jabber:component:accept'"), "{reply}");
        assert_error(&reply, "invalid-namespace");
        driver.assert_refused(conn, None, Reason::Malformed);
        driver.assert_closing(conn);
    }
}

#[test]
fn a_header_that_addresses_nobody_is_refused() {
    for to in ["", " to=''", " to='127.0.0.1'", " to='a b'"] {
        let mut driver = Driver::new();
        let conn = driver.accept();
        driver.write(conn, &header("X").replace(" to='X'", to));
        assert_error(&driver.read(conn), "improper-addressing");
        driver.assert_refused(conn, None, Reason::Malformed);
    }
    let mut driver = Driver::new();
    let conn = driver.accept();
    driver.write(conn, &header("a.example").replace("<stream:stream", "<stream:features"));
    assert_error(&driver.read(conn), "bad-format");
    driver.assert_refused(conn, None, Reason::Malformed);
}

#[test]
//= XEP0114-3-3 test
//= RFC6120-4.9.3.3-1 test
fn a_newcomer_for_a_host_that_is_taken_is_in_conflict() {
    let mut driver = Driver::new();
    let first = driver.attach("a.example");
    let second = driver.accept();
    driver.write(second, &header("a.example"));
    let reply = driver.read(second);
    assert!(reply.contains(" from='a.example' id='"), "{reply}");
    assert_error(&reply, "conflict");
    driver.assert_refused(second, Some("a.example"), Reason::Limit);
    driver.assert_closing(second);
    driver.deliver("<message from='m.example' to='a.example'/>");
    assert_eq!(driver.read(first), "<message from='m.example' to='a.example'/>");
}

#[test]
fn of_two_that_negotiate_at_once_the_first_handshake_wins() {
    let mut driver = Driver::new();
    let (one, two) = (driver.accept(), driver.accept());
    let ids = (driver.open(one, "a.example"), driver.open(two, "a.example"));
    driver.handshake(two, &ids.1, "secret-a");
    assert_eq!(driver.read(two), "<handshake/>");
    driver.events();
    driver.handshake(one, &ids.0, "secret-a");
    assert_error(&driver.read(one), "conflict");
    driver.assert_refused(one, Some("a.example"), Reason::Limit);
}

#[test]
fn who_does_not_know_the_secret_does_not_learn_of_a_conflict_at_the_handshake() {
    let mut driver = Driver::new();
    let (one, two) = (driver.accept(), driver.accept());
    let ids = (driver.open(one, "a.example"), driver.open(two, "a.example"));
    driver.handshake(two, &ids.1, "secret-a");
    driver.events();
    driver.handshake(one, &ids.0, "guess");
    assert_error(&driver.read(one), "not-authorized");
    driver.assert_refused(one, Some("a.example"), Reason::NotAuthenticated);
}

#[test]
//= RFC6120-4.3.1-1 test
//= RFC6120-4.3.5-4 test
//= RFC6120-4.9.3.12-1 test
fn a_stanza_before_the_handshake_is_not_authorized_and_goes_nowhere() {
    for target in ["u@m.example", "b.example"] {
        let mut driver = Driver::new();
        let other = driver.attach("b.example");
        let conn = driver.accept();
        driver.write(conn, &format!("{}<message from='a.example' to='{target}'/>", header("a.example")));
        assert_error(&driver.read(conn), "not-authorized");
        driver.assert_refused(conn, Some("a.example"), Reason::NotAuthenticated);
        driver.assert_closing(conn);
        assert_eq!(driver.read(other), "");
    }
}

#[test]
//= RFC6120-4.8.4-2 test
//= RFC6120-4.8.3-2 test
fn what_components_do_not_send_ends_the_stream() {
    for (element, condition) in [
        ("<foo xmlns='urn:x'/>", "unsupported-stanza-type"),
        ("<route/>", "unsupported-stanza-type"),
        ("<compress xmlns='http://jabber.org/protocol/compress'/>", "unsupported-stanza-type"),
        ("<stream:features/>", "unsupported-stanza-type"),
        ("<c:message xmlns:c='jabber:component:accept' from='a.example' to='b.example'/>", "bad-namespace-prefix"),
        ("<message xmlns='jabber:client' from='a.example' to='u@m.example'/>", "invalid-namespace"),
        ("<iq xmlns='jabber:server' from='a.example' to='u@m.example'/>", "invalid-namespace"),
    ] {
        let mut driver = Driver::new();
        let conn = driver.accept();
        driver.write(conn, &format!("{}{element}", header("a.example")));
        assert_error(&driver.read(conn), condition);
        driver.assert_refused(conn, Some("a.example"), Reason::Malformed);

        let mut driver = Driver::new();
        let conn = driver.attach("a.example");
        driver.write(conn, element);
        assert_error(&driver.read(conn), condition);
        driver.assert_thrown_out(conn, "a.example", Reason::Malformed);
        driver.assert_closing(conn);
    }
    let mut driver = Driver::new();
    let conn = driver.attach("a.example");
    driver.write(conn, "<handshake/>");
    assert_error(&driver.read(conn), "unsupported-stanza-type");
    driver.assert_thrown_out(conn, "a.example", Reason::Malformed);
}

#[test]
fn what_is_not_the_xml_of_a_stream_is_refused_with_our_header() {
    for (text, condition) in [
        ("GET / HTTP/1.1\r\n\r\n<", "not-well-formed"),
        ("<a></b>", "not-well-formed"),
        ("<!DOCTYPE x><x/>", "restricted-xml"),
        ("<?xml version='1.0' encoding='utf-16'?><x/>", "unsupported-encoding"),
    ] {
        let mut driver = Driver::new();
        let conn = driver.accept();
        driver.write(conn, text);
        let reply = driver.read(conn);
        assert!(reply.starts_with("<?xml version='1.0'?><stream:stream "), "{reply}");
        if text.starts_with("<a>") {
            assert_error(&reply, "invalid-namespace"); // the root is judged before its end is seen
        } else {
            assert_error(&reply, condition);
        }
        driver.assert_refused(conn, None, Reason::Malformed);
    }
}

#[test]
fn before_the_handshake_elements_are_small_and_after_it_as_big_as_configured() {
    let big = "x".repeat(limits::UNAUTHENTICATED_ELEMENT_BYTES);
    let mut driver = Driver::new();
    let conn = driver.accept();
    driver.write(conn, &format!("{}<handshake>{big}", header("a.example")));
    assert_error(&driver.read(conn), "policy-violation");
    driver.assert_refused(conn, Some("a.example"), Reason::StanzaTooBig);

    let conn = driver.attach("a.example");
    let message = format!("<message from='a.example' to='m.example'><body>{big}</body></message>");
    driver.write(conn, &message);
    assert!(matches!(driver.events().as_slice(), [Event::Outbound(sent)] if sent.bytes() == message.as_bytes()));
    driver.write(conn, &message.replace("</body>", &big));
    assert_error(&driver.read(conn), "policy-violation");
    driver.assert_thrown_out(conn, "a.example", Reason::StanzaTooBig);
}

#[test]
fn the_xml_of_a_component_is_bounded_in_depth_too() {
    let mut driver = Driver::new();
    let conn = driver.attach("a.example");
    driver.write(conn, &format!("<message from='a.example' to='m.example'>{}", "<x>".repeat(limits::ELEMENT_DEPTH)));
    assert_error(&driver.read(conn), "policy-violation");
    driver.assert_thrown_out(conn, "a.example", Reason::Limit);
}

#[test]
fn only_component_connections_are_accepted_and_only_so_many_at_once() {
    let mut driver = Driver::new();
    for listener in [Listener::StartTls, Listener::DirectTls] {
        assert_eq!(driver.hub.handle_accept(driver.now, Driver::addr(), listener), None);
    }
    driver.attach("a.example");
    let conns: Vec<_> = (0..limits::UNATTACHED_COMPONENTS).map(|_| driver.accept()).collect();
    assert_eq!(driver.hub.handle_accept(driver.now, Driver::addr(), Listener::Component), None);
    driver.eof(conns[0]);
    driver.accept();
}

#[test]
fn a_flood_of_connections_that_are_turned_away_is_told_at_once_and_then_together_and_stops_no_component() {
    let mut driver = Driver::new();
    let attached = driver.attach("a.example");
    for _ in 0..limits::UNATTACHED_COMPONENTS {
        driver.accept();
    }
    let addr = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let turn_away = |driver: &mut Driver, port: u16| {
        assert_eq!(driver.hub.handle_accept(driver.now, addr(port), Listener::Component), None);
    };
    let told = |port: u16, times: u64| [Event::TurnedAway { addr: addr(port), times }];
    let next = |driver: &Driver| driver.hub.poll_timeout();

    turn_away(&mut driver, 1);
    driver.drain();
    assert_eq!(driver.events(), told(1, 1), "the first one at once");
    assert_eq!(next(&driver).map(|(_, why)| why), Some("component handshake"), "nothing more to tell");

    for port in 2..=1000 {
        turn_away(&mut driver, port);
    }
    assert!(driver.interest(attached).read, "so many events would stop all reading");
    driver.drain();
    assert_eq!(driver.events(), []);
    let due = driver.now + limits::TURNED_AWAY_INTERVAL;
    assert_eq!(next(&driver), Some((due, "turned away")));
    driver.wait(limits::TURNED_AWAY_INTERVAL - Duration::from_millis(1));
    assert_eq!(driver.events(), []);
    driver.wait(Duration::from_millis(1));
    assert_eq!(driver.events(), told(1000, 999), "those of a second together");
    assert_eq!(next(&driver).map(|(_, why)| why), Some("component handshake"));

    // One that comes when the others are due, before the timer was told so, is told with them, and nothing is left.
    turn_away(&mut driver, 1);
    driver.drain();
    assert_eq!(driver.events(), []);
    driver.now += limits::TURNED_AWAY_INTERVAL;
    turn_away(&mut driver, 2);
    driver.drain();
    assert_eq!(driver.events(), told(2, 2));
    assert_eq!(next(&driver).map(|(_, why)| why), Some("component handshake"));

    driver.wait(limits::TURNED_AWAY_INTERVAL);
    assert_eq!(driver.events(), []);
    turn_away(&mut driver, 3);
    driver.drain();
    assert_eq!(driver.events(), told(3, 1), "at once again after a quiet second");

    turn_away(&mut driver, 4);
    turn_away(&mut driver, 5);
    driver.hub.handle_command(driver.now, Command::Shutdown);
    driver.drain();
    let sums = driver.events().into_iter().filter(|event| matches!(event, Event::TurnedAway { .. }));
    assert_eq!(sums.collect::<Vec<_>>(), told(5, 2), "nobody is left to be told later");
}
