//! hostler-coordinator: mailbox and scheduler of a fleet.
