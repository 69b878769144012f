//! A server's answer to the question what is on nodes: the executor reads and signs it, and the stream does not wait.

use std::sync::Arc;

use hostler_plan::{
    document::{MAX_VIEW_NODES, Signed},
    id::InvalidId,
};
use hostler_proto::v1::{ViewAnswer, ViewQuestion};
use tokio::sync::{Semaphore, mpsc};

use crate::executor::Executor;

/// Questions that are being answered, and answers that wait to be sent; the executor answers few at a time. Beyond that
/// a question costs nothing but its answer, or not even that: a coordinator may ask as often as it likes.
const QUEUE: usize = 4;

/// What is asked on one stream.
pub(super) struct Questions {
    answers: mpsc::Sender<ViewAnswer>,
    places: Arc<Semaphore>,
}

impl Questions {
    /// Those of a new stream, and where the answers come out.
    pub(super) fn new() -> (Self, mpsc::Receiver<ViewAnswer>) {
        let (answers, answered) = mpsc::channel(QUEUE);
        (Self { answers, places: Arc::new(Semaphore::new(QUEUE)) }, answered)
    }

    /// Asks the executor, where not too much is asked already.
    pub(super) fn ask(&self, executor: &Executor, question: ViewQuestion) {
        let number = question.number;
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let not_shown = "others are being answered; ask again".to_owned();
            // Nobody waits for room to say no.
            let _ = self.answers.try_send(ViewAnswer { number, view: None, not_shown });
            return;
        };
        let (executor, answers) = (executor.clone(), self.answers.clone());
        tokio::spawn(async move {
            let answer = match view(&executor, question).await {
                Ok(signed) => ViewAnswer { number, view: Some(signed.into()), not_shown: String::new() },
                Err(not_shown) => ViewAnswer { number, view: None, not_shown },
            };
            // The stream may have ended since.
            let _ = answers.send(answer).await;
            drop(place);
        });
    }
}

async fn view(executor: &Executor, question: ViewQuestion) -> Result<Signed, String> {
    let found = question.nodes.len();
    if found > MAX_VIEW_NODES {
        return Err(format!("expected at most {MAX_VIEW_NODES} nodes to look at, found {found}"));
    }
    let nodes = question.nodes.iter().map(|node| node.parse().map_err(|e: InvalidId| e.to_string()));
    let nonce = question.nonce.parse().map_err(|e: InvalidId| e.to_string())?;
    executor.view(nodes.collect::<Result<_, _>>()?, nonce).await.map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flood_of_questions_takes_a_few_places_and_no_more() {
        // An executor that never answers.
        let (executor, _socket) = crate::executor::open("/nowhere".into());
        let (questions, mut answered) = Questions::new();
        for number in 0..10_000 {
            let question = ViewQuestion { number, nodes: vec!["w1".to_owned()], nonce: "0".repeat(64) };
            questions.ask(&executor, question);
        }
        tokio::task::yield_now().await;
        assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), QUEUE);
        let told: Vec<u64> = std::iter::from_fn(|| answered.try_recv().ok()).map(|answer| answer.number).collect();
        assert_eq!(told, [4, 5, 6, 7], "as many as there is room for are told");
    }

    #[tokio::test]
    async fn a_question_about_too_many_nodes_is_answered_without_the_executor() {
        let (executor, _socket) = crate::executor::open("/nowhere".into());
        let nodes = vec!["w1".to_owned(); MAX_VIEW_NODES + 1];
        let refused = view(&executor, ViewQuestion { number: 1, nodes, nonce: "0".repeat(64) }).await;
        assert!(refused.unwrap_err().contains("expected at most"));
    }
}
