//! The vocabulary and the decisions of Hostler: no I/O, no clock, no async.
