//! What is said of a pod that is being deleted.

use std::time::Duration;

use hostler_fixtures::cluster::pod;
use hostler_plan::{
    cluster::{Deletion, Phase, Pod},
    drain::stopping,
    timestamp::Timestamp,
};

#[test]
fn a_grace_that_is_over_is_said_to_be_with_who_holds_the_pod_and_what_to_do() {
    let ends = Timestamp::from_unix_seconds(1_800_000_000);
    let after = |seconds| ends.plus(Duration::from_secs(seconds));
    let mut db = pod("db-0", "db", "w1");
    db.deletion = Some(Deletion { ends, grace: Duration::from_secs(30) });
    let before = Timestamp::from_unix_seconds(1_799_999_990);
    assert_eq!(stopping(&db, before), format!("is stopping; its grace ends at {ends}"));
    assert_eq!(stopping(&db, after(9)), format!("is stopping; its grace ended at {ends}"));
    let over = format!("is still there; its grace is over since {ends}: ");
    let why = |pod: &Pod| stopping(pod, after(10)).strip_prefix(&over).map(str::to_owned).unwrap();
    assert!(why(&db).starts_with("the kubelet of w1 has not stopped it"), "{}", why(&db));
    db.phase = Phase::Succeeded;
    assert!(why(&db).starts_with("nothing of it runs any more, and somebody denies"), "{}", why(&db));
    db.finalizers = vec!["example.com/held".into(), "example.com/too".into()];
    assert!(why(&db).starts_with("finalizer example.com/held and 1 more keeps it"), "{}", why(&db));
}
