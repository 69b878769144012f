//! A join file as an editor of another system leaves it, with the programs as they are: what is wrong stands on the
//! node's screen until it is right, and then the node enrols.

use super::*;

#[tokio::test]
async fn a_wrong_join_file_is_named_on_the_screen_and_one_of_notepad_enrols() {
    let folder = tempfile::tempdir().unwrap();
    let (mut node, join) = Node::set_up(folder.path(), Path::new(PROGRAM)).await;
    let (file, screen) = (folder.path().join("join.txt"), folder.path().join("screen"));
    std::fs::write(&file, "\u{feff}hostler1.half of it\r\n").unwrap();
    node.begin(Half::Executor);
    node.begin(Half::Agent);
    let said = until("the screen says what is wrong", async || std::fs::read_to_string(&screen).ok()).await;
    assert!(said.starts_with("Hostler: w1 cannot enrol: ") && said.contains("join.txt"), "{said}");
    let utf16: Vec<u8> = format!("\u{feff}{join}\r\n").encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(&file, utf16).unwrap();
    assert_eq!(node.stand.enrolled(1).await.unwrap(), ["w1".parse().unwrap()]);
    until("the screen is empty and the join string gone", async || (!screen.exists() && !file.exists()).then_some(()))
        .await;
}
