//! Which authorities count.

use std::fs;

use crate::pair::Federation;
use crate::world::Authority;

/// Left, and what it is told to trust; right has its certificate of an authority that left's system trusts, and left's
/// own authority has nothing to do with that.
fn peer_of_the_system(trust: &str) -> Federation {
    Federation::start(|home, private, text| {
        let public = Authority::new();
        let file = |name: &str| home.join(name);
        public.issue("right.example", &file("right/certs/right.crt"), &file("right/certs/right.key"));
        fs::write(file("left/system.pem"), public.0.pem()).expect("writable");
        fs::create_dir(file("left/authorities")).expect("a directory");
        fs::write(file("left/authorities/private.pem"), private.0.pem()).expect("writable");
        let named = "cafile = \"ca.pem\"\n";
        assert!(text.contains(named));
        *text = text.replace(named, trust);
    })
}

#[test]
fn crt_025_authorities_that_are_named_exclude_those_of_the_system() {
    for trust in ["cafile = \"ca.pem\"\n", "cadirectory = \"authorities\"\n"] {
        let mut world = peer_of_the_system(trust);
        world.fail("remote-server-timeout");
        world.left.wait(&[("event", "refused"), ("direction", "out"), ("reason", "cert-unknown-issuer")]);
        world.juliet.send("<message from='juliet@right.example' to='romeo@left.example' id='1'/>");
        world.left.wait(&[("event", "refused"), ("direction", "in"), ("reason", "cert-unknown-issuer")]);
        world.juliet.wait("type='error'");
    }
    for trust in ["", "system_roots = true\ncafile = \"ca.pem\"\n", "system_roots = true\n"] {
        let mut world = peer_of_the_system(trust);
        world.talk();
        world.answer();
    }
}
