//! The wire of Hostler: generated messages and the TLS that carries them.
