//! A coordinator whose clock falls into the past, as that of a machine without a battery: admins and nodes are told
//! which clock it is, and all is well once that is set.

use super::*;

/// Stands before the C library's clock and adds the seconds that a file holds.
const SHIFT: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t id, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, id, at);
    char text[32] = {0};
    int file = failed || id != CLOCK_REALTIME ? -1 : open(SECONDS, O_RDONLY | O_CLOEXEC);
    if (file < 0) return failed;
    if (read(file, text, sizeof text - 1) > 0) at->tv_sec += atoll(text);
    close(file);
    return failed;
}
"#;

/// The program under a clock that is off by the seconds that `seconds` holds.
fn shifted(folder: &Path, seconds: &Path) -> PathBuf {
    before_the_library(folder, SHIFT, &format!("-DSECONDS={seconds:?}"))
}

async fn trouble(node: &mut Node, is_there: bool) -> String {
    let admin = &mut node.stand.admin;
    until(&format!("the coordinator's clock is off: {is_there}"), async || {
        admin.refresh().await.ok()?;
        let said = &admin.coordinator().clock_trouble;
        (said.is_empty() != is_there).then(|| said.clone())
    })
    .await
}

#[tokio::test]
async fn a_coordinator_in_the_past_says_so_and_its_nodes_name_its_clock() {
    let folder = tempfile::tempdir().unwrap();
    let seconds = folder.path().join("seconds");
    let program = shifted(folder.path(), &seconds);
    let (mut node, join) = Node::set_up(folder.path(), &program).await;
    std::fs::write(folder.path().join("join"), join).unwrap();
    node.begin(Half::Executor);
    node.begin(Half::Agent);
    node.stand.enrolled(1).await.unwrap();
    assert_eq!(trouble(&mut node, false).await, "");
    node.kill(Half::Agent);
    std::fs::write(&seconds, "-34560000").unwrap();
    let said = trouble(&mut node, true).await;
    assert!(said.contains("nodes cannot connect until it is set"), "{said}");
    node.begin(Half::Agent);
    let log = folder.path().join(format!("agent-{}.log", node.starts));
    until("the agent names the coordinator's clock", async || {
        let said = std::fs::read_to_string(&log).unwrap();
        said.contains("look at the clock of the coordinator's machine").then_some(())
    })
    .await;
    std::fs::remove_file(&seconds).unwrap();
    assert_eq!(trouble(&mut node, false).await, "");
    let admin = &mut node.stand.admin;
    until("the node is connected", async || {
        let found = hostler_cli::node::get(admin, &"w1".parse().unwrap()).await.ok()?;
        found.summary.is_some_and(|summary| summary.connected).then_some(())
    })
    .await;
}

/// By how many seconds the clocks of a node and of its coordinator are off.
const OFF: [(i64, i64); 6] =
    [(-86_400, 0), (86_400, 0), (-365 * 86_400, 0), (365 * 86_400, 0), (86_400, -86_400), (-86_400, 86_400)];

#[tokio::test]
async fn a_machine_whose_clock_is_off_says_so_and_becomes_a_node_once_all_are_set() {
    for (off, coordinators) in OFF {
        let folder = tempfile::tempdir().unwrap();
        let [(node_seconds, node_program), (seconds, program)] = ["node", "hub"].map(|name| {
            let own = folder.path().join(name);
            std::fs::create_dir(&own).unwrap();
            let seconds = own.join("seconds");
            let program = shifted(&own, &seconds);
            (seconds, program)
        });
        let (mut node, join) = Node::set_up(folder.path(), &program).await;
        node.program = node_program;
        std::fs::write(folder.path().join("join"), join).unwrap();
        std::fs::write(&node_seconds, off.to_string()).unwrap();
        std::fs::write(&seconds, coordinators.to_string()).unwrap();
        node.begin(Half::Executor);
        node.begin(Half::Agent);
        let log = folder.path().join(format!("agent-{}.log", node.starts));
        until(&format!("off by {off} and {coordinators} s: it says what to compare"), async || {
            let said = std::fs::read_to_string(&log).ok()?;
            said.contains("compare `date` on both machines").then_some(())
        })
        .await;
        for file in [&node_seconds, &seconds] {
            std::fs::write(file, "0").unwrap();
        }
        let listed = node.stand.enrolled(1).await.unwrap();
        assert_eq!(listed.len(), 1, "off by {off} and {coordinators} s: nothing of it stands against the node");
    }
}
