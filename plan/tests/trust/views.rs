//! What a server signs about the cluster: by its own key, for the question that was asked, and never too long.

use hostler_fixtures as made;
use hostler_plan::{
    document::{
        DocumentKind, Leaving, LeftOut, MAX_VIEW_NODES, Never, PodView, Prospect, RosterStatus, Stays, Urgency, View,
    },
    form::Reason,
    id::Nonce,
    json,
    refusal::Refusal,
    step::Loss,
    trust,
};

use crate::fleet::*;

fn asked() -> Nonce {
    Nonce::from_bytes([7; 32])
}

fn of(server: &str) -> View {
    made::view(&roster(), server, &asked())
}

fn refusal(view: &View, kind: DocumentKind, seeds: &[u8]) -> Refusal {
    let signed = signed_bytes(kind, view.written(), seeds);
    trust::view(&verified_roster(&roster()), &asked(), &signed).expect_err("refused").refusal
}

#[test]
fn a_view_counts_under_the_key_of_the_server_that_it_names() {
    let signed = signed_bytes(DocumentKind::View, of("s1").written(), &[S1]);
    let view = trust::view(&verified_roster(&roster()), &asked(), &signed).unwrap();
    assert_eq!(*view.document(), of("s1"));
}

#[test]
fn nobody_else_says_what_is_in_the_cluster() {
    use DocumentKind::{Holding, View as Own};
    for (seeds, why) in [(&[W1][..], "another node"), (&[ADA], "an admin"), (&[S1, W1], "two"), (&[], "nobody")] {
        assert_eq!(refusal(&of("s1"), Own, seeds), Refusal::BadSignature, "{why}");
    }
    assert_eq!(refusal(&of("s1"), Holding, &[S1]), Refusal::BadSignature, "another namespace");
    assert_eq!(refusal(&of("w1"), Own, &[W1]), Refusal::NotAllowed, "a worker sees only a part");
    assert_eq!(refusal(&View { fleet_id: other_fleet(), ..of("s1") }, Own, &[S1]), Refusal::WrongFleet);
    let nodes = vec![of("s1").nodes[0].clone(); MAX_VIEW_NODES + 1];
    assert_eq!(refusal(&View { nodes, ..of("s1") }, Own, &[S1]), Refusal::Malformed);

    let mut signed = signed_bytes(DocumentKind::View, of("s1").written(), &[S1]);
    let end = signed.bytes.len() - 1;
    signed.bytes[end - 1] ^= 1;
    assert_refused(trust::view(&verified_roster(&roster()), &asked(), &signed), Refusal::BadSignature, &["view"]);
    let mut retired = roster();
    retired.nodes[0].status = RosterStatus::Retired;
    let signed = signed_bytes(DocumentKind::View, of("s1").written(), &[S1]);
    assert_refused(trust::view(&verified_roster(&retired), &asked(), &signed), Refusal::Revoked, &["s1", "retired"]);
}

#[test]
fn a_view_of_before_the_question_is_a_replay() {
    let old = made::view(&roster(), "s1", &Nonce::from_bytes([6; 32]));
    let signed = signed_bytes(DocumentKind::View, old.written(), &[S1]);
    let refused = trust::view(&verified_roster(&roster()), &asked(), &signed);
    assert_refused(refused, Refusal::Replay, &["s1's view for the question that was asked", "ask again"]);
}

#[test]
fn what_does_not_fit_is_counted_and_what_decides_is_kept_first() {
    let mut view = of("s1");
    let pod = |n: usize, change: fn(&mut PodView)| {
        let mut pod = of("s1").nodes[0].pods[0].clone();
        pod.pod = format!("shop/web-{n:04}").parse().unwrap();
        change(&mut pod);
        pod
    };
    let never = |pod: &mut PodView| {
        if let Prospect::Leaves(Leaving { never, .. }) = &mut pod.prospect {
            *never = Some(Never { budget: None, reason: Reason::of("budget shop/web needs 1 of 1 pods") });
        }
    };
    let stays = |pod: &mut PodView| pod.prospect = Prospect::Stays(Stays::DaemonSet);
    let ordinary = (0..4000).map(|n| pod(n, |_| ()));
    view.nodes[0].pods =
        ordinary.chain((4000..5000).map(|n| pod(n, stays))).chain((5000..6000).map(|n| pod(n, never))).collect();
    assert!(json::write_dense(&view).len() > DocumentKind::View.max_bytes(), "too much for one view");

    let signed = signed_bytes(DocumentKind::View, view.written(), &[S1]);
    let verified = trust::view(&verified_roster(&roster()), &asked(), &signed).unwrap();
    let node = &verified.document().nodes[0];
    let left = u32::try_from(6000 - node.pods.len()).unwrap();
    assert_eq!(node.left_out, LeftOut { pods: left, ..LeftOut::default() });
    assert!(node.pods.len() > 3000, "{left} were left out");
    assert!(node.pods[..1000].iter().all(|pod| pod.urgency() == Urgency::Never));
    assert!(node.pods.is_sorted_by_key(|pod| (pod.urgency(), pod.pod.clone())));

    view.nodes[0].pods = (0..6000).map(|n| pod(n, never)).collect();
    let left_out = |view: &View| {
        let bytes = view.written();
        assert!(bytes.len() <= DocumentKind::View.max_bytes());
        json::parse::<View>(&bytes).unwrap().nodes.remove(0).left_out
    };
    let nevers = left_out(&view);
    assert!(nevers.deciding > 0 && nevers.deciding == nevers.pods && nevers.never == nevers.pods, "{nevers:?}");
    assert!(nevers.loses.is_empty());

    let loses = |pod: &mut PodView| {
        if let Prospect::Leaves(Leaving { loses, .. }) = &mut pod.prospect {
            *loses = vec![Loss::EmptyDirDisk];
        }
    };
    view.nodes[0].pods = (0..6000).map(|n| pod(n, loses)).collect();
    let losing = left_out(&view);
    assert!(losing.deciding == losing.pods && losing.never == 0, "{losing:?}");
    assert_eq!(losing.loses, [Loss::EmptyDirDisk].into());
}
