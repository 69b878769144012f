//! `hostler why`

use serde_json::json;

use super::Context;
use crate::{
    error::Error,
    output::{clean, print},
    why::{self, Proof, Question, Said},
};

pub(super) async fn run(context: &Context, word: Option<&str>) -> Result<(), Error> {
    let mut admin = context.admin().await?;
    let question = match word {
        Some(word) => why::understand(&mut admin, word).await?,
        None => Question::All,
    };
    let said = why::ask(&mut admin, &question).await?;
    print(context.output, || json!({ "waits": said }), || text(&question, &said))
}

fn text(question: &Question, said: &[Said]) -> String {
    if said.is_empty() {
        return nothing(question);
    }
    said.iter().map(|said| line(said) + "\n").collect()
}

fn line(said: &Said) -> String {
    let Said { about, sentence, proof, .. } = said;
    let sentence = format!("{about}: {sentence}");
    let line = match proof {
        Proof::Coordinator => format!("the coordinator says: {sentence}"),
        Proof::Receipt { node } => format!("{node} signed: {sentence}"),
        Proof::View { node, at } => format!("{node} read and signed at {at}: {sentence}"),
        Proof::Signed => sentence,
    };
    clean(&line).into_owned()
}

fn nothing(question: &Question) -> String {
    match question {
        Question::All => "nothing waits".to_owned(),
        Question::Node(name) => format!("nothing waits: {name} is in service and well, as the coordinator says"),
        Question::Rollout(which) => format!("nothing waits in rollout {which}, as the coordinator says"),
        Question::Pod(name) => format!(
            "nothing waits: no plan is at work on {name}, and no receipt of the newest drains, reboots and upgrades \
             speaks of it"
        ),
    }
}
