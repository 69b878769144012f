//! Join files as other systems leave them, in folders of this machine.

use hostler_fixtures as made;
use hostler_plan::id::Digest;

use super::*;
use crate::testing::Machine;

/// A machine's places, and the screen.
struct Places {
    root: tempfile::TempDir,
    files: JoinFiles,
    machine: Machine,
}

impl Places {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let place = |place: &str| root.path().join(place);
        let places = ["etc/hostler/join", "boot/firmware/hostler/join", "boot/hostler/join"].map(place);
        let files = JoinFiles::new(places.to_vec(), Some(place("etc/issue.d/hostler.issue")));
        Self { root, files, machine: Machine::new("2026-11-21T12:00:00Z".parse().unwrap()) }
    }

    fn put(&self, place: &str, content: impl AsRef<[u8]>) {
        let path = self.root.path().join(place);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    fn remove(&self, place: &str) {
        fs::remove_file(self.root.path().join(place)).unwrap();
    }

    fn address(&self) -> Option<String> {
        self.files.read().unwrap().map(|found| found.join.address)
    }

    fn wrong(&self) -> String {
        self.files.read().err().expect("something is wrong").to_string()
    }

    fn screen(&self) -> Option<String> {
        fs::read_to_string(self.root.path().join("etc/issue.d/hostler.issue")).ok()
    }
}

fn join(address: &str) -> String {
    let join = JoinString {
        fleet_id: made::fleet_id(),
        address: address.into(),
        ca_pin: Digest::of(b"ca"),
        root: Digest::of(b"root"),
        token: made::token_id(&made::public(&made::key(20))),
        token_key: "secret".into(),
    };
    join.encode()
}

#[test]
fn a_join_string_is_found_under_every_name_that_another_system_gives_it() {
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    for place in [
        "etc/hostler/join",
        "boot/firmware/hostler/join",
        "boot/hostler/join",
        "boot/firmware/hostler/join.txt",
        "boot/firmware/hostler/Join.txt.txt",
        "boot/firmware/HOSTLER/JOIN.TXT",
        "boot/Hostler/JOIN",
    ] {
        for content in [
            format!("\u{feff}{}\r\n", join("c:1")).into_bytes(),
            [b"\xff\xfe".as_slice(), &utf16(&format!("{}\r\n", join("c:1")))].concat(),
        ] {
            let places = Places::new();
            assert_eq!(places.address(), None);
            places.put(place, content);
            assert_eq!(places.address().as_deref(), Some("c:1"), "{place}");
            places.files.read().unwrap().unwrap().forget();
            assert_eq!(places.address(), None, "{place}: it has served");
        }
    }
}

#[test]
fn files_that_disagree_are_named_and_the_same_twice_is_one() {
    let places = Places::new();
    places.put("etc/hostler/join", join("c:1"));
    places.put("boot/firmware/hostler/join.txt", join("c:1"));
    assert_eq!(places.address().as_deref(), Some("c:1"));
    places.put("boot/firmware/hostler/join.txt", join("c:2"));
    let wrong = places.wrong();
    assert!(wrong.contains("etc/hostler/join and") && wrong.contains("firmware/hostler/join.txt"), "{wrong}");
    places.put("boot/firmware/hostler/join.txt", "hostler1.broken");
    assert_eq!(places.address().as_deref(), Some("c:1"), "a broken one does no harm beside a good one");
    places.put("etc/hostler/join", "");
    assert!(places.wrong().contains("copy the whole line again"));
}

#[test]
fn one_file_under_two_names_is_one_and_all_that_served_go() {
    let places = Places::new();
    places.put("boot/hostler/join", join("c:1"));
    let firmware = places.root.path().join("boot/firmware");
    std::os::unix::fs::symlink(places.root.path().join("boot"), firmware).unwrap();
    places.put("etc/hostler/join", join("c:1"));
    places.files.read().unwrap().unwrap().forget();
    assert_eq!(places.address(), None);
}

#[test]
fn a_file_that_a_full_disk_left_empty_is_named() {
    let places = Places::new();
    places.put("etc/hostler/join", "# the join string goes here\n");
    assert_eq!(places.address(), None, "nobody meant anything yet");
    places.put("boot/firmware/hostler/join.txt", "");
    let wrong = places.wrong();
    assert!(wrong.contains("firmware/hostler/join.txt, found an empty file: the disk was full"), "{wrong}");
    places.put("etc/hostler/join", join("c:1"));
    assert_eq!(places.address().as_deref(), Some("c:1"));
}

#[test]
fn a_name_that_was_meant_is_named() {
    let places = Places::new();
    places.put("boot/firmware/hostler/join.rtf", join("c:1"));
    assert!(places.wrong().contains("join or join.txt, found") && places.wrong().ends_with("join.rtf; rename it"));
    places.put("boot/firmware/hostler/join", join("c:1"));
    assert_eq!(places.address().as_deref(), Some("c:1"));
}

#[test]
fn what_is_wrong_stands_on_the_screen_until_it_is_right() {
    let mut places = Places::new();
    let node: NodeName = "w1".parse().unwrap();
    let show = |places: &mut Places| match places.files.read() {
        Err(wrong) => places.files.say(&places.machine, &node, &wrong.to_string()),
        Ok(_) => places.files.all_is_well(&places.machine),
    };
    show(&mut places);
    assert_eq!(places.screen(), None);
    places.put("boot/hostler/join.txt", "hello \\n \u{1b}[31m");
    show(&mut places);
    let said = places.screen().unwrap();
    assert!(said.starts_with("Hostler: w1 cannot enrol: ") && said.contains("boot/hostler/join.txt"), "{said}");
    assert!(!said.contains('\\') && !said.contains('\u{1b}') && said.lines().count() == 1, "{said}");
    places.put("boot/hostler/join.txt", join("c:1"));
    show(&mut places);
    assert_eq!(places.screen(), None);
    places.put("boot/hostler/join.txt", "hello");
    show(&mut places);
    places.remove("boot/hostler/join.txt");
    show(&mut places);
    assert_eq!(places.screen(), None, "a file that is gone is not wrong");
}
