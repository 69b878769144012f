//! What the flags of a command let a drain lose: of the owners that stood in the view, and of nobody who came later.

use hostler_plan::{
    cluster::{Controller, Pod},
    document::NodeView,
    drain::{Allowed, ConsentError, Fate, Look, Options, Past, blockers, evaluate, view_of},
    step::{Consent, Drain, EmptyDirs, Loss, MAX_CONSENTS, NewOwners, TopOwner},
};

use crate::made::*;

/// The fleet file's word.
fn drain(delete_empty_dir_data: EmptyDirs) -> Drain {
    Drain { delete_empty_dir_data, ..hostler_fixtures::cluster::drain(600) }
}

/// A cache on disk, one in memory and a bare pod with data.
fn caches() -> Look {
    let mut look = cluster(&["s1", "w1"]);
    look.deploy("disk", &["s1"]);
    look.deploy("memory", &["s1"]);
    look.deploy("web", &["s1"]);
    look.pod("disk-0").empty_dirs.disk = true;
    look.pod("memory-0").empty_dirs.memory = true;
    let mut bare = pod("bare", "bare", "s1");
    (bare.owner, bare.empty_dirs.disk) = (None, true);
    look.pods.push(bare.into());
    look
}

fn written(allowed: &Allowed, file: EmptyDirs, view: &NodeView, new: NewOwners) -> Result<Drain, ConsentError> {
    let mut drain = drain(file);
    allowed.write(&mut drain, Some(&[view]), new).map(|()| drain)
}

fn consents(drain: &Drain) -> Vec<String> {
    drain.consents.iter().map(|Consent { of, loss }| format!("{of}: {loss:?}")).collect()
}

fn flag(which: EmptyDirs) -> Allowed {
    Allowed { delete_empty_dir_data: Some(which), ..Allowed::default() }
}

fn anyway(pods: &[&str]) -> Allowed {
    Allowed { evict_anyway: pods.iter().map(|pod| pod.parse().unwrap()).collect(), ..Allowed::default() }
}

#[test]
fn a_flag_becomes_a_consent_to_each_owner_that_loses_that_and_to_bare_pods_by_uid() {
    let view = caches().view();
    for (allowed, expected) in [
        (Allowed::default(), &[][..]),
        (flag(EmptyDirs::Memory), &["shop/Deployment/memory: EmptyDirMemory"]),
        (flag(EmptyDirs::Disk), &["shop/Deployment/disk: EmptyDirDisk", "shop/bare (uid-bare): EmptyDirDisk"]),
        (Allowed { force_unmanaged: true, ..Allowed::default() }, &["shop/bare (uid-bare): Unmanaged"]),
        (anyway(&["shop/disk-0"]), &["shop/Deployment/disk: EmptyDirDisk"]),
        (anyway(&["shop/bare"]), &["shop/bare (uid-bare): EmptyDirDisk", "shop/bare (uid-bare): Unmanaged"]),
        (anyway(&["shop/web-0"]), &[]),
    ] {
        let drain = written(&allowed, EmptyDirs::None, &view, NewOwners::Ask).unwrap();
        assert_eq!(consents(&drain), expected, "{allowed:?}");
        assert_eq!((drain.delete_empty_dir_data, drain.force_unmanaged), (EmptyDirs::None, false));
        assert_eq!(drain.evict_anyway, []);
    }
}

#[test]
fn the_fleet_files_word_stays_general_and_a_flag_may_allow_less() {
    let view = caches().view();
    let general = |allowed: &Allowed, file| {
        let drain = written(allowed, file, &view, NewOwners::Ask).unwrap();
        (drain.delete_empty_dir_data, consents(&drain).len())
    };
    assert_eq!(general(&Allowed::default(), EmptyDirs::All), (EmptyDirs::All, 0));
    assert_eq!(general(&flag(EmptyDirs::Memory), EmptyDirs::All), (EmptyDirs::Memory, 0));
    assert_eq!(general(&flag(EmptyDirs::All), EmptyDirs::Memory), (EmptyDirs::Memory, 2));
    assert_eq!(general(&flag(EmptyDirs::Disk), EmptyDirs::Memory), (EmptyDirs::None, 2));
}

#[test]
fn where_not_all_was_seen_or_new_owners_are_welcome_the_flags_count_for_every_pod() {
    let view = caches().view();
    let allowed = Allowed { force_unmanaged: true, ..flag(EmptyDirs::All) };
    let mut blind = drain(EmptyDirs::None);
    allowed.write(&mut blind, None, NewOwners::Ask).unwrap();
    let welcome = written(&allowed, EmptyDirs::None, &view, NewOwners::Allow).unwrap();
    assert_eq!(blind, welcome);
    assert_eq!((blind.delete_empty_dir_data, blind.force_unmanaged, blind.consents), (EmptyDirs::All, true, vec![]));
}

#[test]
fn a_pod_that_is_not_there_is_no_consent() {
    let view = caches().view();
    for pod in ["shop/other", "kube-system/disk-0"] {
        let wrong = written(&anyway(&[pod]), EmptyDirs::None, &view, NewOwners::Ask).unwrap_err();
        assert!(wrong.to_string().starts_with(&format!("--evict-anyway {pod}: expected a pod")), "{wrong}");
    }
}

#[test]
fn nobody_consents_to_more_than_a_person_reads() {
    let mut look = cluster(&["s1", "w1"]);
    for n in 0..=MAX_CONSENTS {
        look.deploy(&format!("app{n}"), &["s1"]);
        look.pod(&format!("app{n}-0")).empty_dirs.disk = true;
    }
    let many = written(&flag(EmptyDirs::Disk), EmptyDirs::None, &look.view(), NewOwners::Ask);
    assert_eq!(many, Err(ConsentError::TooMany(MAX_CONSENTS + 1)));
}

#[test]
fn a_plan_that_continues_another_allows_what_that_one_did_and_what_is_new() {
    let (view, all) = (caches().view(), consents);
    let before = written(&flag(EmptyDirs::Disk), EmptyDirs::None, &view, NewOwners::Ask).unwrap();
    let goes_on = |allowed: &Allowed, before: &Drain| {
        let mut drain = written(allowed, EmptyDirs::None, &view, NewOwners::Ask).unwrap();
        let carried = allowed.carry_over(&mut drain, before).unwrap();
        (drain, carried.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    let (more, carried) = goes_on(&flag(EmptyDirs::Memory), &before);
    let both = [
        "shop/Deployment/disk: EmptyDirDisk",
        "shop/Deployment/memory: EmptyDirMemory",
        "shop/bare (uid-bare): EmptyDirDisk",
    ];
    assert_eq!(all(&more), both, "in the order that a plan is signed in");
    let of_before = [
        "of shop/Deployment/disk it LOSES emptyDir data on disk",
        "of shop/bare (uid-bare) it LOSES emptyDir data on disk",
    ];
    assert_eq!(carried, of_before);
    // One that continues this one has all of it, and says of nothing twice that it is new.
    assert_eq!(goes_on(&Allowed::default(), &more).0, more);
    assert_eq!(goes_on(&flag(EmptyDirs::All), &more).1, Vec::<String>::new());
    let (none, carried) = goes_on(&flag(EmptyDirs::None), &before);
    assert_eq!((all(&none), carried), (vec![], vec![]), "who says none takes it back");

    // What was allowed without a look at the pods stays allowed of every pod.
    let mut blind = drain(EmptyDirs::Disk);
    anyway(&["shop/db-0"]).write(&mut blind, None, NewOwners::Ask).unwrap();
    blind.force_unmanaged = true;
    let (seen, carried) = goes_on(&flag(EmptyDirs::Memory), &blind);
    assert_eq!((seen.delete_empty_dir_data, seen.force_unmanaged), (EmptyDirs::Disk, true));
    assert_eq!((all(&seen), &seen.evict_anyway), (vec![both[1].to_owned()], &blind.evict_anyway));
    assert_eq!(carried.len(), 3, "{carried:?}");
    assert!(carried[0].starts_with("of every pod it LOSES") && carried[2].contains("ENDS shop/db-0"), "{carried:?}");
}

/// What a drain under that plan does with a pod, asked with what stands above its controller.
fn fate(look: &Look, pod: &Pod, drain: &Drain) -> Fate {
    let above = look.controllers.get(&pod.owner_id().unwrap());
    evaluate(pod, above, &drain.into())
}

#[test]
fn a_consent_follows_the_owner_wherever_its_pods_are_and_whoever_is_new_asks_again() {
    let mut look = caches();
    let drain = written(&flag(EmptyDirs::All), EmptyDirs::None, &look.view(), NewOwners::Ask).unwrap();

    // The pod has moved, under another name and UID; another owner has come, and a bare pod of the old one's name.
    let moved = look.pod("disk-0");
    (moved.key.name, moved.key.uid) = ("disk-9".into(), "uid-9".into());
    look.deploy("new", &["s1"]);
    look.pod("new-0").empty_dirs.disk = true;
    look.pod("bare").key.uid = "another".into();
    let blocked = blockers(&view_of(&"s1".parse().unwrap(), &look, now(), &Past::default()), &Options::from(&drain));
    let names: Vec<&str> = blocked.iter().map(|blocker| blocker.pod.as_str()).collect();
    assert_eq!(names, ["shop/bare", "shop/new-0"]);
    assert!(blocked[1].reason.contains("allows of others and not of it. Make the plan anew"), "{}", blocked[1].reason);

    // The loop judges the same pods alike.
    for (name, asks) in [("disk-9", false), ("memory-0", false), ("new-0", true)] {
        let pod = look.pod(name).clone();
        assert_eq!(matches!(fate(&look, &pod, &drain), Fate::NeedsConsent(Loss::EmptyDirDisk)), asks, "{name}");
        // As long as nobody knows what stands above a ReplicaSet, no consent is about it.
        assert!(matches!(evaluate(&pod, None, &(&drain).into()), Fate::NeedsConsent(_)), "{name}");
    }
}

#[test]
fn a_consent_is_about_a_kind_a_namespace_and_a_loss() {
    let look = caches();
    let pod = look.pods.iter().find(|pod| pod.key.name == "disk-0").unwrap();
    let drain = written(&flag(EmptyDirs::Disk), EmptyDirs::None, &look.view(), NewOwners::Ask).unwrap();
    let asks = |change: &dyn Fn(&mut Pod, &mut TopOwner)| {
        let (mut pod, mut top) =
            (pod.clone(), TopOwner { kind: "Deployment".parse().unwrap(), name: "disk".parse().unwrap() });
        change(&mut pod, &mut top);
        let above = Controller { kind: top.kind.to_string(), name: top.name.to_string(), scale: None };
        matches!(evaluate(&pod, Some(&above), &(&drain).into()), Fate::NeedsConsent(_))
    };
    assert!(!asks(&|_, _| ()));
    assert!(asks(&|pod, _| pod.key.namespace = "other".into()));
    assert!(asks(&|_, top| top.kind = "StatefulSet".parse().unwrap()));
    assert!(asks(&|_, top| top.name = "disk2".parse().unwrap()));
    assert!(asks(&|pod, _| pod.empty_dirs.memory = true));
}
