//! The table.

use std::time::Duration;

use crate::failure::Failure;

/// What a green cell measured.
pub(crate) struct Measured {
    /// From sending the first stanza to its arrival, or to its bounce.
    pub(crate) first: Duration,
    /// How the pair was proved, or the reason of the refusal.
    pub(crate) method: String,
    /// The version of TLS.
    pub(crate) tls: String,
}

/// One cell of the table.
pub(crate) struct Row {
    /// The server at the other end, and its version.
    pub(crate) peer: String,
    /// What was tried.
    pub(crate) scenario: String,
    /// Who spoke first.
    pub(crate) first: String,
    /// How it went.
    pub(crate) result: Result<Measured, Failure>,
}

/// Prints the table and its summary; true if there are cells and all are green.
pub(crate) fn print(rows: &[Row]) -> bool {
    let mut lines =
        vec![["peer", "scenario", "first contact", "result", "first stanza", "method", "tls"].map(str::to_owned)];
    for row in rows {
        let (result, first, method, tls) = match &row.result {
            Ok(measured) => {
                let first = format!("{:.1} ms", measured.first.as_secs_f64() * 1000.0);
                ("green", first, measured.method.clone(), measured.tls.clone())
            }
            Err(_) => ("FAILED", String::new(), String::new(), String::new()),
        };
        lines.push([row.peer.clone(), row.scenario.clone(), row.first.clone(), result.to_owned(), first, method, tls]);
    }
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    println!();
    for line in &lines {
        let cells: Vec<String> = line.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}")).collect();
        println!("{}", cells.join("  ").trim_end());
    }
    println!();
    for row in rows {
        if let Err(failure) = &row.result {
            println!("FAILED {} / {} / {}: {failure}", row.peer, row.scenario, row.first);
        }
    }
    let green = rows.iter().filter(|row| row.result.is_ok()).count();
    println!("interop: {} cells, {green} green", rows.len());
    green == rows.len() && green > 0
}
