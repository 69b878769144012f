//! `hostler why` against a real coordinator: what waits, what a person has to do, and what is no name of anything.

use std::collections::BTreeSet;

use hostler_cli::{
    delivery,
    why::{self, Question, Weight},
};
use hostler_plan::{form::PodName, sequencer::RolloutAction};

use super::{
    stop::{submit_for_later, with_two_nodes},
    *,
};

async fn asked(admin: &mut Admin, word: &str) -> Vec<why::Said> {
    let question = why::understand(admin, word).await.unwrap();
    why::ask(admin, &question).await.unwrap()
}

#[tokio::test]
async fn whatever_waits_says_why_and_what_is_no_name_says_what_would_be_one() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (coordinator, profile, mut admin, agents) = with_two_nodes(folder).await;
    let of_plans =
        |said: &[why::Said]| said.iter().filter(|s| s.about.starts_with("plan ")).cloned().collect::<Vec<_>>();
    assert!(of_plans(&why::ask(&mut admin, &Question::All).await.unwrap()).is_empty(), "there is no plan");

    let plan = submit_for_later(&mut admin, None).await;
    let seq = plan.document().seq.to_string();
    let all = of_plans(&why::ask(&mut admin, &Question::All).await.unwrap());
    assert_eq!(all.len(), 1, "both nodes wait for the same: {all:?}");
    assert!(all[0].sentence.contains("waits until") && all[0].weight == Weight::Waits, "{all:?}");
    assert_eq!(of_plans(&asked(&mut admin, &seq).await), all, "by its number");
    assert_eq!(of_plans(&asked(&mut admin, &plan.digest().hex()[..12]).await), all, "by its digest");
    assert!(of_plans(&asked(&mut admin, "w1").await)[0].sentence.contains("waits until"));

    rollout::control(&mut admin, &seq, &RolloutAction::Pause, "backup runs").await.unwrap();
    let paused = why::ask(&mut admin, &Question::All).await.unwrap().remove(0);
    assert_eq!(paused.weight, Weight::NeedsPerson, "{paused:?}");
    assert!(paused.sentence.contains("backup runs") && paused.about.starts_with("plan"), "{paused:?}");

    let pod = PodName::new("shop/db-0").unwrap();
    assert_eq!(why::understand(&mut admin, "shop/db-0").await.unwrap(), Question::Pod(pod.clone()));
    // Nobody there has a cluster to look into.
    let said = why::ask(&mut admin, &Question::Pod(pod)).await.unwrap();
    assert!(
        said.iter().all(|said| said.weight == Weight::Note && said.sentence.contains("is not shown: ")),
        "{said:?}"
    );
    assert_eq!(said.len(), 1);
    for (word, expected) in [("w9", "a node of the fleet"), ("Shop/db", "NAMESPACE/NAME"), ("999", "999")] {
        let question = why::understand(&mut admin, word).await;
        let answer = match question {
            Ok(question) => why::ask(&mut admin, &question).await.map(|_| question),
            Err(error) => Err(error),
        };
        let error = answer.expect_err(word).to_string();
        assert!(error.contains(expected), "{word}: {error}");
    }
    super::root::hostler(folder, &profile, &["why"]).await.unwrap();
    super::root::hostler(folder, &profile, &["why", "w1"]).await.unwrap();
    for agent in agents {
        agent.stop().await;
    }
    coordinator.end().await;
}

/// By the signature of that node, and by nobody's word.
#[tokio::test]
async fn the_command_knows_on_which_node_the_coordinator_runs() {
    let folder = tempfile::tempdir().unwrap();
    let (coordinator, _, mut admin, agents) = with_two_nodes(folder.path()).await;
    let s1 = BTreeSet::from([NodeName::new("s1").unwrap()]);
    let found = async {
        while delivery::coordinator_on(&mut admin).await.unwrap() != s1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, found).await.expect("s1 signs it, and w1 does not");
    for agent in agents {
        agent.stop().await;
    }
    coordinator.end().await;
}
