//! Every file of the agent's folder, damaged at many places and lost: it goes on with what it has, asks for another
//! certificate, or says why it cannot.

use std::path::Path;

use hostler_fixtures::damage::{self, Verdict};

use super::*;

/// Everything that may lie there.
const FILES: &[&str] = &["lock", "credentials.json", "credentials.offered", "tls.key", "downloads/*"];

fn identity() -> NodeIdentity {
    NodeIdentity { fleet: FleetId::new("a".repeat(32)).unwrap(), node: NodeName::new("w1").unwrap() }
}

/// A certificate of that key, as a coordinator gives one.
fn certificate(key: &rcgen::KeyPair) -> Vec<u8> {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = vec![rcgen::SanType::URI(identity().to_string().try_into().unwrap())];
    params.self_signed(key).unwrap().der().to_vec()
}

fn credentials(agent_address: &str) -> Credentials {
    let key = new_tls_key().unwrap();
    let addresses = ("c:7443".to_owned(), agent_address.to_owned());
    let renew_after = Timestamp::from_unix_seconds(1_800_000_000);
    Credentials::new(&identity(), &key, vec![certificate(&key)], addresses, renew_after).unwrap()
}

/// What the agent connects with from this folder on, which it may have to ask for; why it cannot.
fn judge(folder: &Path, own: &[Credentials]) -> Result<Verdict, String> {
    let opened = match Folder::open(folder) {
        Ok(opened) => opened,
        Err(error) => return Ok(Verdict::Refused(error.to_string())),
    };
    opened.forget_downloads(None);
    first_tls_key(&opened).map_err(|e| e.to_string()).ok();
    match Credentials::load(&opened, &identity()) {
        Some(held) if own.contains(&held) => return Ok(Verdict::Harmless),
        Some(other) => return Err(format!("it goes on with {other:?}")),
        None => {}
    }
    // The node's own key, which is not here, gets others.
    let renewed = credentials("c:7444");
    match renewed.store(&opened) {
        Ok(()) if Credentials::load(&opened, &identity()).as_ref() == Some(&renewed) => Ok(Verdict::Harmless),
        Ok(()) => Err("what was stored does not read back".to_owned()),
        Err(error) => Ok(Verdict::Refused(error.to_string())),
    }
}

#[test]
fn damage_at_any_place_of_an_agents_folder_is_found_with_the_way_out_or_does_no_harm() {
    let (image, older) = (damage::scratch(), damage::scratch());
    let own = [credentials("c:7444"), credentials("c:7444")];
    for (place, held) in [(image.path(), &own[0]), (older.path(), &own[1])] {
        let folder = Folder::open(place).unwrap();
        drop(first_tls_key(&folder).unwrap());
        held.store(&folder).unwrap();
        // Of a renewal before, and of a fetch that was cut off.
        own[1].store_offered(&folder).unwrap();
        std::fs::write(folder.download(&Digest::of(b"k3s")), "k").unwrap();
    }
    let folder = damage::Folder { name: "agent", image: image.path(), older: older.path(), known: FILES };
    damage::play(&folder, |work| judge(work, &own));
}
