//! `s2sd serve`: one server with what the configuration says, until a signal ends it.

use std::io::{self, Write};
use std::path::Path;

use smol::future::or;

use crate::failure::{self, Failure};
use crate::loaded::Loaded;
use crate::log::{self, Record};
use crate::reload::{Policies, Reloader};
use crate::server::Server;
use crate::signals::Signals;

/// Serves until SIGTERM or SIGINT.
pub(crate) fn serve(file: &Path) -> Result<(), Failure> {
    let loaded = Loaded::read(file)?;
    log::install(loaded.settings.log_format, loaded.settings.log_level);
    // Before anything takes time: a signal that nobody waits for would end the process.
    let signals = Signals::register().map_err(Failure::runtime("signals cannot be received"))?;
    for warning in loaded.warnings() {
        tracing::warn!(event = "configuration", "{warning}");
    }
    let Loaded { settings, identities, authorities, watched, seen } = loaded;
    let server = Server::bind(&settings, identities.identities, &authorities)?;
    let policies = Policies::new(settings);
    let reloader = Reloader {
        file: file.to_owned(),
        running: server.running().clone(),
        policies: policies.clone(),
        watched,
        seen,
        certified: identities.hosts,
    };
    // Whoever cannot be told does not wait for it.
    let _ = writeln!(io::stderr(), "s2sd ready {}", server.bound());
    failure::end_with_panics();

    let journal = move |record: Record| policies.explain(record).write();
    let closed = smol::block_on(server.run(journal, async {
        or(signals.end(), reloader.run(&signals)).await;
        tracing::info!(event = "shutdown", "closing all streams");
    }));
    if let Err(streams) = closed {
        tracing::warn!(event = "shutdown", streams, "at least so many streams did not close in time, and were cut off");
    }
    Ok(())
}
