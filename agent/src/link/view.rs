//! A server's answer to the question what is on nodes: the executor reads and signs it, and the stream does not wait.

use hostler_plan::{document::Signed, id::InvalidId};
use hostler_proto::v1::{ViewAnswer, ViewQuestion};
use tokio::sync::mpsc;

use crate::executor::Executor;

/// Answers that wait to be sent; the executor answers few at a time.
const QUEUE: usize = 4;

/// Where the answers come out, and where they go in.
pub(super) fn answers() -> (mpsc::Sender<ViewAnswer>, mpsc::Receiver<ViewAnswer>) {
    mpsc::channel(QUEUE)
}

/// Asks the executor; the answer goes to `answers`.
pub(super) fn ask(executor: Executor, question: ViewQuestion, answers: mpsc::Sender<ViewAnswer>) {
    tokio::spawn(async move {
        let number = question.number;
        let answer = match view(&executor, question).await {
            Ok(signed) => ViewAnswer { number, view: Some(signed.into()), not_shown: String::new() },
            Err(not_shown) => ViewAnswer { number, view: None, not_shown },
        };
        // The stream may have ended since.
        let _ = answers.send(answer).await;
    });
}

async fn view(executor: &Executor, question: ViewQuestion) -> Result<Signed, String> {
    let nodes = question.nodes.iter().map(|node| node.parse().map_err(|e: InvalidId| e.to_string()));
    let nonce = question.nonce.parse().map_err(|e: InvalidId| e.to_string())?;
    executor.view(nodes.collect::<Result<_, _>>()?, nonce).await.map_err(|e| e.to_string())
}
