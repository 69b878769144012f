//! SSHSIG armour: whatever is accepted is the one canonical form.

#![no_main]

use hostler_plan::{
    document::{DocumentKind, Root, Signed},
    id::Digest,
    json,
    signature::{PublicKey, verify},
    trust::{Draft, TrustedRoot},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _ = text.parse::<Digest>();
    let _ = PublicKey::from_openssh(text);
    let bytes = b"{\"any\": \"bytes\"}\n";
    if verify(DocumentKind::Plan, bytes, text).is_ok() {
        let lines: Vec<&str> = text.lines().collect();
        let canonical = lines.first() == Some(&"-----BEGIN SSH SIGNATURE-----")
            && lines.last() == Some(&"-----END SSH SIGNATURE-----")
            && lines[1..lines.len() - 1].iter().all(|line| !line.is_empty() && line.len() <= 70)
            && !text.contains('\r')
            && text.ends_with('\n');
        assert!(canonical, "accepted in another form than ssh-keygen writes it:\n{text}");
    }
    // A document from a file, with this as its signature.
    let signed = Signed { bytes: input.to_vec(), signatures: vec![text.to_owned()] };
    let _ = Draft::plan(signed.clone());
    let _ = Draft::root(signed.clone());
    let _ = TrustedRoot::first(&signed, &signed.digest());
    let _ = json::parse::<Root>(input);
});
