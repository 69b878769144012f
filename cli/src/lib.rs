//! hostler: the admin's command.
