use super::*;
use std::path::Path;

use s2s_core::reason::Reason;
use s2s_core::stanza::Stanza;
use tracing::Level;

const START: &str = "s2s_interfaces = [\"127.0.0.1\"]\ns2s_ports = [0]\ncomponent_ports = [0]\n\
                     dns_servers = [\"127.0.0.1\"]\n[host.\"m.example\"]";

fn settings(text: &str) -> Settings {
    config::parse(text, Path::new("s2sd.toml")).expect(text)
}

fn serving() -> Server {
    Server::bind(&settings(START), Vec::new(), &Authorities::default()).expect("ports are free")
}

fn prepared(server: &Server, text: &str) -> Prepared {
    server.running().prepare(&settings(text), Vec::new(), &Authorities::default()).expect(text)
}

#[test]
fn a_random_secret_of_dialback_survives_a_reload_and_gives_way_to_a_configured_one() {
    let server = serving();
    let domain = |text| Domain::parse(text).expect(text);
    let key =
        |prepared: &Prepared| prepared.node.dialback_secret.key(&domain("p.example"), &domain("m.example"), "an id");
    let random = key(&prepared(&server, START));
    assert_eq!(key(&prepared(&server, START)), random);
    let configured = prepared(&server, &format!("dialback_secret = \"sixteen bytes...\"\n{START}"));
    let secret = Secret::new(b"sixteen bytes...").expect("long enough");
    assert_eq!(key(&configured), secret.key(&domain("p.example"), &domain("m.example"), "an id"));
    // It stays when the configuration forgets it again: peers may be asking about its keys.
    let configured_key = key(&configured);
    smol::block_on(async { server.running().apply(configured).await });
    assert_eq!(key(&prepared(&server, START)), configured_key);
    assert_ne!(random, configured_key);
}

#[test]
fn what_needs_a_restart_is_named_and_everything_else_is_taken() {
    let server = serving();
    assert_eq!(prepared(&server, START).kept, [""; 0]);
    let changed = START.replace("s2s_ports = [0]", "s2s_ports = [1]\ns2s_direct_tls_ports = [2]");
    let changed = changed.replace("component_ports = [0]", "component_ports = [3]\nlog_format = \"json\"");
    let changed = changed.replace("[host.", "log_level = \"warn\"\nruntime = \"threads\"\nnodes = 3\n[host.");
    let other = prepared(&server, &format!("s2s_timeout = 7\n{changed}\n[host.\"n.example\"]"));
    let keys: Vec<_> = other.kept.iter().filter_map(|line| line.split('\'').nth(1)).collect();
    assert_eq!(
        keys,
        ["s2s_ports", "s2s_direct_tls_ports", "component_ports", "log_format", "log_level", "runtime", "nodes"]
    );
    assert_eq!((other.node.negotiation_timeout.as_secs(), other.node.hosts.len()), (7, 2));
    assert_eq!(other.node.limits, prepared(&server, START).node.limits, "there is one node still");
    assert_eq!(other.node.resolver.queries, prepared(&server, START).node.resolver.queries);
    let limited = prepared(
        &server,
        &format!("{START}\n[limits]\nconnections = 7\ndns_queries = 9\nqueue_bytes_per_component = 10000"),
    );
    assert_eq!((limited.node.limits.connections, limited.node.resolver.queries), (7, 9));
    assert_eq!((limited.hub.output_bytes, limited.kept.len()), (10_000, 0));
    // The addresses that must not be dialled are those that we still listen on.
    assert_eq!(other.node.own_listeners, [server.bound().s2s[0], server.bound().component[0]]);
    let interfaces = START.replace("127.0.0.1\"]\ns2s_ports", "::1\"]\ns2s_ports");
    assert!(prepared(&server, &interfaces).kept[0].contains("'s2s_interfaces'"));
}

#[test]
fn each_of_many_nodes_has_room_for_one_stanza_and_for_what_waits_for_one_pair() {
    let limits = node::Limits { queue_bytes: 20_000_000, ..node::Limits::default() };
    let each = |nodes, stanza_bytes| share(&limits, nodes, stanza_bytes).queue_bytes;
    assert_eq!(each(4, 1_000_000), 5_000_000);
    assert_eq!(each(256, 1_000_000), limits.queue_bytes_per_pair.max(config::Limits::one_stanza(1_000_000)));
    assert_eq!(each(4, 10_485_760), config::Limits::one_stanza(10_485_760));
}

fn message(from: &str, to: &str, id: &str) -> Stanza {
    Stanza::parse(&format!("<message from='x@{from}' to='y@{to}' id='{id}'/>")).expect("a stanza")
}

/// What the log says of a stanza: the event, its level and its reason.
type Line = (&'static str, Level, Option<Reason>);

const UNDELIVERABLE: Line = ("undeliverable", Level::INFO, Some(Reason::Shutdown));

/// Keeps what is written to the log about stanzas.
#[derive(Default)]
struct Journal(Arc<Mutex<Vec<Line>>>);

impl Journal {
    fn writer(&self) -> impl Fn(Record) {
        let lines = Arc::clone(&self.0);
        move |record: Record| {
            if ["returned", "undeliverable", "dropped"].contains(&record.event) {
                lines.lock().expect("nobody panics").push((record.event, record.level, record.reason));
            }
        }
    }

    fn lines(&self) -> Vec<Line> {
        self.0.lock().expect("nobody panics").clone()
    }
}

/// A server whose peer takes connections and says nothing, so that stanzas for it wait.
fn serving_beside_silence(runtime: &str) -> (Server, TcpListener) {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("bound");
    let text = format!(
        "runtime = \"{runtime}\"\ns2s_close_timeout = 1\n{START}\n[route.\"p.example\"]\naddress = \"{address}\""
    );
    let server = Server::bind(&settings(&text), Vec::new(), &Authorities::default()).expect("ports are free");
    (server, silent)
}

#[test]
fn a_stanza_that_comes_after_the_order_to_go_down_is_given_back_at_once_and_those_before_as_events() {
    for runtime in ["smol", "threads"] {
        let (server, _silent) = serving_beside_silence(runtime);
        let Server { mut nodes, running, .. } = server;
        smol::block_on(async {
            running.nodes.send(message("m.example", "p.example", "before")).await.expect("there is room");
            running.nodes.close().await;
            let back = running.nodes.send(message("m.example", "p.example", "after")).await;
            assert_eq!(back, Err(message("m.example", "p.example", "after")), "{runtime}");
            nodes.remove(0).run().await;
            let mut told = Vec::new();
            while let Some(event) = running.nodes.0[0].event().await {
                if let node::Event::Undeliverable { stanza, reason, .. } = event {
                    told.push((stanza.head().id.clone(), reason));
                }
            }
            assert_eq!(told, [(Some("before".to_owned()), Reason::Shutdown)], "{runtime}");
        });
    }
}

#[test]
fn what_no_node_takes_any_more_is_with_the_hub_again_before_the_hub_is_told_to_go_down() {
    let Server { hub, running, .. } = serving();
    let (journal, metrics) = (Journal::default(), Arc::new(Metrics::new(1)));
    let (handling, handled) = smol::channel::bounded(1);
    smol::block_on(async {
        running.nodes.close().await;
        // The host has no component, so that it answers for itself: that answer is for a node.
        let question = component::Command::Deliver(message("p.example", "m.example", "1"));
        running.hub.send(question).await.expect("there is room");
        let outward = bridge::outward(running.hub.clone(), running.nodes.clone(), journal.writer(), metrics, handling);
        let closing = async {
            running.wait_for_outward(&handled).await;
            let before = journal.lines();
            running.hub.close(component::Command::Shutdown).await;
            before
        };
        let (_, before) = zip(zip(hub.run(), outward), closing).await;
        let returned = ("returned", Level::DEBUG, Some(Reason::ComponentAbsent));
        assert!(before.starts_with(&[returned, UNDELIVERABLE]), "{before:?}");
        // The hub had it back in time: it says itself that an answer is not answered.
        let dropped = ("dropped", Level::DEBUG, Some(Reason::Shutdown));
        assert_eq!(journal.lines(), [returned, UNDELIVERABLE, dropped]);
    });
}

#[test]
fn what_no_node_takes_any_more_is_told_with_the_node_that_it_was_for() {
    let text = format!("nodes = 3\n{START}");
    let server = Server::bind(&settings(&text), Vec::new(), &Authorities::default()).expect("ports are free");
    let Server { hub, running, .. } = server;
    let told = Arc::new(Mutex::new(Vec::new()));
    let lines = Arc::clone(&told);
    let journal = move |record: Record| {
        if record.event == "undeliverable" {
            lines.lock().expect("nobody panics").push((record.remote, record.node));
        }
    };
    let (handling, handled) = smol::channel::bounded(1);
    smol::block_on(async {
        running.nodes.close().await;
        for number in 0..8 {
            let question = component::Command::Deliver(message(&format!("p{number}.example"), "m.example", "1"));
            running.hub.send(question).await.expect("there is room");
        }
        let metrics = Arc::new(Metrics::new(3));
        let outward = bridge::outward(running.hub.clone(), running.nodes.clone(), journal, metrics, handling);
        let closing = async {
            running.wait_for_outward(&handled).await;
            running.hub.close(component::Command::Shutdown).await;
        };
        zip(zip(hub.run(), outward), closing).await;
    });
    let told = told.lock().expect("nobody panics").clone();
    assert_eq!(told.len(), 8, "{told:?}");
    for (remote, node) in &told {
        let remote = remote.as_ref().expect("told");
        let answer = message("m.example", remote.as_str(), "1");
        assert_eq!(*node, Some(running.nodes.number_for(&answer) + 1), "{remote}");
    }
    assert!(told.iter().any(|(_, node)| *node != told[0].1), "not all are for the same node: {told:?}");
}

#[test]
fn what_comes_back_when_the_hub_goes_down_already_is_told_in_the_log() {
    let (server, _silent) = serving_beside_silence("smol");
    let Server { mut nodes, hub: _hub, running, .. } = server;
    let (journal, metrics) = (Journal::default(), Arc::new(Metrics::new(1)));
    smol::block_on(async {
        running.nodes.send(message("m.example", "p.example", "1")).await.expect("there is room");
        running.nodes.close().await;
        running.hub.close(component::Command::Shutdown).await;
        let Running { nodes: ways, hub, .. } = running.clone();
        let inward = bridge::inward(0, ways.0[0].clone(), ways, hub, journal.writer(), metrics);
        zip(nodes.remove(0).run(), inward).await;
        let dropped = ("dropped", Level::WARN, Some(Reason::Shutdown));
        assert_eq!(journal.lines(), [UNDELIVERABLE, dropped]);
    });
}
