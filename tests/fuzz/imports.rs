//! What a fleet file is imported from: the answer of a server, and inventories of Ansible.

use hostler_plan::{
    fleet::Fleet,
    import::{
        fleet_file,
        inventory::{self, Is, Source},
    },
    json,
};

/// An answer that was opened, or an inventory in either form: what is read becomes a file that can be read again, or
/// one whose every problem is told.
pub(crate) fn imports(input: &[u8]) -> bool {
    let mut drafts = Vec::new();
    if let Ok(answer) = json::parse(input) {
        drafts.push(fleet_file(&answer, &[], "imported"));
    }
    if let Ok(text) = std::str::from_utf8(input) {
        for name in ["hosts.ini", "hosts.yml", "hosts"] {
            let source = Source { name, text, is: Is::Inventory };
            if let Ok(read) = inventory::read(&[source]) {
                drafts.extend(inventory::fleet_file(&read, "imported"));
            }
        }
    }
    for draft in &drafts {
        let text = hostler_cli::import::write(draft, "a fuzzer");
        // Parsed as TOML whatever stands in it; whether it can work is the fleet's own rule.
        text.parse::<toml::Table>().unwrap_or_else(|e| panic!("{e}\n{text}"));
        drop(Fleet::from_toml(&[("fleet.toml", &text)]));
    }
    !drafts.is_empty()
}
