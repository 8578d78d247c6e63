//! Where stanzas go, what comes back, and what holds them up.

use super::*;

fn outbound(events: &[Event]) -> Vec<String> {
    let told = events.iter().filter(|event| !matches!(event, Event::Returned { .. }));
    let texts = told.map(|event| match event {
        Event::Outbound(stanza) => String::from_utf8(stanza.bytes().to_vec()).expect("UTF-8"),
        other => panic!("{other:?}"),
    });
    texts.collect()
}

fn dropped(events: &[Event]) -> (String, Reason) {
    let [Event::Dropped { stanza, reason }] = events else { panic!("{events:?}") };
    (String::from_utf8(stanza.bytes().to_vec()).expect("UTF-8"), *reason)
}

#[test]
//= XEP0114-3-11 test
//= RFC6120-10.4-1 test
//= RFC6120-10.1-1 test
fn stanzas_for_remote_domains_go_out_in_order_and_unchanged() {
    let mut driver = Driver::new();
    let conn = driver.attach("a.example");
    let texts = [
        "<message from='a.example' to='u@m.example'><body>1</body></message>",
        "<presence from='room@A.example/nick' to='u@m.example/r'/>",
        "<iq type='get' id='7' from='any@a.example' to='m.example'><ping xmlns='urn:xmpp:ping'/></iq>",
    ];
    driver.write(conn, &texts.join(" \n"));
    // But for the spelling of a domain, which others compare as text.
    assert_eq!(outbound(&driver.events()), texts.map(|text| text.replace("@A.example", "@a.example")));
    assert_eq!(driver.read(conn), "");
}

#[test]
//= RFC6120-10.5-1 test
fn stanzas_between_our_hosts_stay_here() {
    let mut driver = Driver::new();
    let (a, b) = (driver.attach("a.example"), driver.attach("b.example"));
    let message = "<message from='x@a.example' to='y@b.example'><body>hi</body></message>";
    driver.write(a, message);
    assert_eq!(driver.read(b), message);
    driver.write(a, "<iq type='get' id='1' from='a.example' to='bare.example'><ping xmlns='urn:xmpp:ping'/></iq>");
    assert_eq!(driver.read(a), "<iq type='result' to='a.example' from='bare.example' id='1'/>");
    let own = "<message from='a.example' to='a.example'/>";
    driver.write(a, own);
    assert_eq!(driver.read(a), own);
    assert_eq!(driver.events(), []);
}

#[test]
//= RFC6120-8.1.2.2-3 test
//= RFC6120-4.9.3.9-1 test
//= XEP0114-3-10 test
fn a_component_speaks_for_its_host_alone() {
    for from in ["b.example", "x@chat.a.example", "example", "xa.example", "m.example", "a.example@b.example"] {
        let mut driver = Driver::new();
        let other = driver.attach("b.example");
        let conn = driver.attach("a.example");
        driver.write(conn, &format!("<message from='{from}' to='b.example'/>"));
        assert_error(&driver.read(conn), "invalid-from");
        driver.assert_thrown_out(conn, "a.example", Reason::FromMismatch);
        driver.assert_closing(conn);
        assert_eq!(driver.read(other), "");
    }
}

#[test]
//= XEP0114-3-9 test
//= RFC6120-8.1.1.2-2 test
//= RFC6120-8.1.2.2-2 test
//= RFC6120-4.9.3.7-1 test
//= RFC7622-4-4 test
fn a_stanza_without_a_recipient_or_with_a_malformed_sender_ends_the_stream() {
    for addresses in [
        "to='m.example'",
        "from='a.example'",
        "from='b.example'",
        "from='' to='m.example'",
        "from='@a.example' to='m.example'",
        "from='a@b@a.example' to='m.example'",
        "from='a.example/' to='m.example'",
        "to='u@'",
        "from='@a.example' to='bob@127.0.0.1'",
    ] {
        let mut driver = Driver::new();
        let conn = driver.attach("a.example");
        driver.write(conn, &format!("<message {addresses}/>"));
        assert_error(&driver.read(conn), "improper-addressing");
        driver.assert_thrown_out(conn, "a.example", Reason::Malformed);
    }
}

/// The error that a component gets for a stanza of `room@a.example/n` with the id `i&1` whose recipient is no address.
fn jid_malformed(kind: &str, from: &str) -> String {
    let stanzas = ns::STANZA_ERRORS;
    format!(
        "<{kind} type='error' to='room@a.example/n' from='{from}' id='i&amp;1'><error type='modify'>\
         <jid-malformed xmlns='{stanzas}'/><text xmlns='{stanzas}' xml:lang='en'>The recipient is not an address of a \
         domain that takes part in federation</text></error></{kind}>"
    )
}

#[test]
//= RFC6120-8.3.3.8-1 test
//= RFC6120-8.3.1-1 test
//= RFC6120-8.3.1-3 test
//= RFC7622-4-1 test
//= RFC7622-4-4 test
fn a_recipient_that_is_no_address_goes_back_to_the_component_which_stays_attached() {
    let mut driver = Driver::new();
    let conn = driver.attach("a.example");
    let returned =
        Event::Returned { host: domain("a.example"), sender: domain("a.example"), reason: Reason::Malformed };
    let long = format!("{}@m.example", "u".repeat(limits::ADDRESS_PART_BYTES + 1));
    let too_long = format!("m.example/{}", "r".repeat(limits::ADDRESS_PART_BYTES * 3));
    for (to, from) in [
        ("bob@127.0.0.1", "bob@127.0.0.1"),
        ("bob@[::1]", "bob@[::1]"),
        ("x@faß.example", "x@faß.example"),
        ("u@", "u@"),
        ("/r", "/r"),
        ("@a.example", "@a.example"),
        ("a\"&apos;&lt;&amp;@m.example", "a&quot;&apos;&lt;&amp;@m.example"),
        ("u&#10;@m.example", "u&#10;@m.example"),
        (long.as_str(), long.as_str()),
        (too_long.as_str(), "a.example"),
        ("", "a.example"),
    ] {
        for (kind, stanza_type) in
            [("message", ""), ("message", " type='groupchat'"), ("iq", " type='get'"), ("presence", "")]
        {
            let (room, secret) = ("id='i&amp;1' from='room@a.example/n'", "<x xmlns='urn:x'>secret</x>");
            driver.write(conn, &format!("<{kind}{stanza_type} {room} to='{to}'>{secret}</{kind}>"));
            assert_eq!(driver.read(conn), jid_malformed(kind, from));
            assert_eq!(driver.events(), std::slice::from_ref(&returned));
        }
    }
    assert_eq!(driver.effects(), [], "the link stays as it is");
    let message = "<message from='m.example' to='a.example'/>";
    driver.deliver(message);
    assert_eq!(driver.read(conn), message);
}

#[test]
//= RFC6120-8.3.1-7 test
//= RFC6120-8.2.3-3 test
fn an_error_or_a_result_for_what_is_no_address_is_dropped_and_the_component_stays_attached() {
    let mut driver = Driver::new();
    let conn = driver.attach("a.example");
    for start in ["message type='error'", "presence type='error'", "iq type='error'", "iq type='result'"] {
        let text = format!("<{start} id='1' from='x@a.example' to='bob@127.0.0.1'/>");
        driver.write(conn, &text);
        let events = driver.events();
        assert!(matches!(&events[..], [Event::Dropped { stanza, .. }] if stanza.head().to.as_str() == "a.example"));
        assert_eq!(dropped(&events), (text, Reason::Malformed));
    }
    assert_eq!(driver.read(conn), "");
    assert_eq!(driver.effects(), []);
}

#[test]
//= RFC6120-8.1.2.2-3 test
//= XEP0114-3-10 test
fn who_speaks_for_another_host_is_thrown_out_though_the_recipient_is_no_address_either() {
    let mut driver = Driver::new();
    let conn = driver.attach("a.example");
    driver.write(conn, "<message from='x@b.example' to='bob@127.0.0.1'/>");
    assert_error(&driver.read(conn), "invalid-from");
    driver.assert_thrown_out(conn, "a.example", Reason::FromMismatch);
    driver.assert_closing(conn);
}

#[test]
//= RFC6120-8.4-6 test
fn a_component_gets_everything_for_its_host_pings_included() {
    let mut driver = Driver::new();
    let conn = driver.attach("a.example");
    let texts = [
        "<iq type='get' id='1' from='m.example' to='a.example'><ping xmlns='urn:xmpp:ping'/></iq>",
        "<iq type='get' id='2' from='m.example' to='a.example'><query xmlns='http://jabber.org/protocol/disco#info'/></iq>",
        "<presence from='u@m.example' to='u@a.example' type='probe'/>",
        "<message from='u@m.example' to='u@a.example/r' type='error'><x xmlns='urn:x'><y/></x></message>",
    ];
    for text in texts {
        driver.deliver(text);
    }
    assert_eq!(driver.read(conn), texts.concat());
    assert_eq!(driver.events(), []);
}

#[test]
//= RFC6120-10.4-2 test
fn a_stanza_for_a_domain_that_is_not_ours_is_dropped() {
    let mut driver = Driver::new();
    let text = "<message from='u@m.example' to='u@other.example'/>";
    driver.deliver(text);
    assert_eq!(dropped(&driver.events()), (text.to_owned(), Reason::HostUnknown));
}

#[test]
//= RFC6120-10.4.3-1 test
//= RFC6120-8.3.1-2 test
//= RFC6120-8.3.1-3 test
fn the_local_sender_learns_what_was_not_delivered() {
    let mut driver = Driver::new();
    let conn = driver.attach("a.example");
    let text = "<message id='9' from='x@a.example/r' to='u@m.example'><body>secret</body></message>";
    driver.command(Command::Undeliverable(stanza(text), Reason::DnsNxdomain));
    assert_eq!(
        driver.read(conn),
        "<message type='error' to='x@a.example/r' from='u@m.example' id='9'><error type='cancel'>\
         <remote-server-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>The remote domain does not exist</text>\
         </error></message>"
    );
    assert_eq!(driver.events(), []);
}

#[test]
//= RFC6120-8.3.1-7 test
//= RFC6120-8.2.3-3 test
fn an_error_or_a_result_that_was_not_delivered_is_dropped() {
    let mut driver = Driver::new();
    let conn = driver.attach("a.example");
    for text in [
        "<message type='error' from='a.example' to='u@m.example'/>",
        "<iq type='result' id='1' from='a.example' to='u@m.example'/>",
        "<iq type='error' id='1' from='a.example' to='u@m.example'/>",
        "<presence type='error' from='a.example' to='u@m.example'/>",
    ] {
        driver.command(Command::Undeliverable(stanza(text), Reason::Backoff));
        assert_eq!(dropped(&driver.events()), (text.to_owned(), Reason::Backoff));
    }
    assert_eq!(driver.read(conn), "");
}

#[test]
//= RFC6120-10.4.3-1 test
fn a_message_or_presence_of_type_result_that_was_not_delivered_goes_back_since_results_are_of_iq_alone() {
    let mut driver = Driver::new();
    let conn = driver.attach("a.example");
    for kind in ["message", "presence"] {
        let text = format!("<{kind} type='result' from='a.example' to='u@m.example'/>");
        driver.command(Command::Undeliverable(stanza(&text), Reason::DnsNxdomain));
        let told = driver.read(conn);
        assert!(told.starts_with(&format!("<{kind} type='error' to='a.example' from='u@m.example'>")), "{told}");
        assert!(told.contains("<remote-server-not-found "), "{told}");
        assert_eq!(driver.events(), []);
    }
}

#[test]
fn a_stanza_whose_sender_has_gone_is_dropped_and_never_sent_to_a_remote_domain() {
    let mut driver = Driver::new();
    for from in ["a.example", "bare.example", "u@m.example"] {
        let text = format!("<message from='{from}' to='u@m.example'/>");
        driver.command(Command::Undeliverable(stanza(&text), Reason::ConnectTimeout));
        assert_eq!(dropped(&driver.events()), (text, Reason::ConnectTimeout));
    }
}

#[test]
//= RFC6120-8.3.3.18-1 test
fn a_component_that_does_not_read_gets_no_more_and_senders_are_told() {
    let mut driver = Driver::new();
    let (a, b) = (driver.attach("a.example"), driver.attach("b.example"));
    let message = format!("<message from='m.example' to='b.example'>{}</message>", "x".repeat(OUTPUT_BYTES / 2));
    driver.deliver(&message);
    assert_eq!(driver.events(), []);
    driver.deliver(&message);
    let events = driver.events();
    let returned = |sender: &str| {
        let (host, sender) = (domain("b.example"), domain(sender));
        Event::Returned { host, sender, reason: Reason::QueueFull }
    };
    assert_eq!(events[0], returned("m.example"));
    let told = outbound(&events);
    assert!(told[0].starts_with("<message type='error' to='m.example' from='b.example'>"), "{told:?}");
    assert!(told[0].contains("<error type='wait'><resource-constraint "), "{told:?}");

    let local = message.replace("m.example", "a.example");
    driver.write(a, &local);
    let told = driver.read(a);
    assert!(told.contains("<resource-constraint "), "{told}");
    assert_eq!(driver.events(), [returned("a.example")]);
    let presence =
        format!("<presence type='error' from='m.example' to='b.example'>{}</presence>", "x".repeat(OUTPUT_BYTES));
    driver.deliver(&presence);
    assert_eq!(dropped(&driver.events()), (presence, Reason::QueueFull));

    assert_eq!(driver.read(b), message);
    driver.deliver(&message);
    assert_eq!(driver.read(b), message);
}

#[test]
fn the_queue_of_a_component_may_be_full_to_the_last_byte() {
    for (length, fits) in [(OUTPUT_BYTES, true), (OUTPUT_BYTES + 1, false)] {
        let mut driver = Driver::new();
        let conn = driver.attach("a.example");
        let first = "<message from='m.example' to='a.example'/>";
        let second = |text: &str| format!("<message from='m.example' to='a.example'>{text}</message>");
        driver.deliver(first);
        driver.deliver(&second(&"x".repeat(length - first.len() - second("").len())));
        assert_eq!((driver.events().is_empty(), driver.hub.pending(conn).len() == length), (fits, fits));
        assert!(driver.interest(conn).read);
        driver.effects.clear();
        driver.send(conn, 1);
        assert!(driver.effects.is_empty(), "there is nothing new to look at");
    }
}

#[test]
fn a_stanza_that_is_bigger_than_the_queue_is_delivered_when_nothing_waits() {
    let mut driver = Driver::new();
    let conn = driver.attach("a.example");
    let message = format!("<message from='m.example' to='a.example'>{}</message>", "x".repeat(OUTPUT_BYTES * 2));
    driver.deliver(&message);
    assert!(!driver.interest(conn).read, "over the mark");
    driver.effects.clear();
    driver.send(conn, message.len() - OUTPUT_BYTES - 1);
    assert!(!driver.interest(conn).read && driver.effects.is_empty());
    driver.send(conn, 1);
    assert!(driver.interest(conn).read);
    assert_eq!(driver.effects, [Effect::Wake(conn)]);
    driver.read(conn);
    assert_eq!(
        driver.wires[&conn].len() - message.len(),
        driver.wires[&conn].windows(message.len()).position(|w| w == message.as_bytes()).expect("all of it")
    );
}

#[test]
fn answers_to_a_component_that_does_not_read_are_dropped_and_not_kept() {
    let mut driver = Driver::new();
    let conn = driver.attach("a.example");
    let ping = "<iq type='get' id='1' from='a.example' to='bare.example'><ping xmlns='urn:xmpp:ping'/></iq>";
    driver.write(conn, &ping.repeat(100));
    let pending = driver.hub.pending(conn).len();
    assert!(pending <= OUTPUT_BYTES, "{pending}");
    let events = driver.events();
    let answered = driver.read(conn).matches("<iq type='result'").count();
    assert_eq!(events.len() + answered, 100);
    assert!(events.iter().all(|event| matches!(event, Event::Dropped { reason: Reason::QueueFull, .. })));
}

#[test]
fn while_events_wait_nothing_is_read() {
    let mut driver = Driver::new();
    let (a, b) = (driver.attach("a.example"), driver.attach("b.example"));
    let message = "<message from='a.example' to='m.example'/>";
    let almost = message.repeat(limits::EVENTS_HIGH_WATER - 1);
    driver.hub.handle_bytes(driver.now, a, almost.as_bytes());
    driver.drain_effects();
    assert!(driver.interest(a).read && driver.effects.is_empty());
    driver.hub.handle_bytes(driver.now, a, message.as_bytes());
    driver.drain_effects();
    assert!(!driver.interest(a).read && !driver.interest(b).read);
    assert_eq!(driver.effects, [Effect::Wake(a), Effect::Wake(b)]);
    driver.effects.clear();
    for _ in 0..limits::EVENTS_HIGH_WATER / 2 {
        assert!(!driver.interest(a).read && driver.hub.poll_event().is_some());
    }
    driver.drain_effects();
    assert!(driver.interest(a).read && driver.interest(b).read);
    assert_eq!(driver.effects, [Effect::Wake(a), Effect::Wake(b)]);
}

#[test]
fn a_connection_is_named_once_until_the_adapter_has_looked() {
    let mut driver = Driver::new();
    let conn = driver.attach("a.example");
    let message = stanza("<message from='m.example' to='a.example'/>");
    for _ in 0..3 {
        driver.hub.handle_command(driver.now, Command::Deliver(message.clone()));
    }
    driver.drain_effects();
    assert_eq!(driver.effects, [Effect::Wake(conn)]);
    driver.command(Command::Deliver(message));
    assert_eq!(driver.effects, [Effect::Wake(conn), Effect::Wake(conn)]);
}
