//! The server side of XEP-0114 and the table of our hosts.
