//! A node with far too much on it.

use hostler_plan::{cluster::BudgetLimit, drain::blockers};

use crate::made::*;

/// 5,000 pods of 1,000 applications on one node and 2,000 budgets: each pod is asked about its own few, and nothing is
/// done for each pair of them.
#[test]
fn five_thousand_pods_under_two_thousand_budgets_are_judged_one_by_one() {
    let mut look = cluster(&["s1", "w1", "w2"]);
    for app in 0..1000 {
        look.deploy(&format!("a{app}"), &["s1", "s1", "s1", "s1", "s1"]);
    }
    look.deploy("a", &["w1"]);
    let one = look.protect("a", BudgetLimit::MinAvailable(5)).clone();
    look.budgets.clear();
    for number in 0..2000 {
        let mut budget = one.clone();
        budget.name = format!("b{number}");
        let values: Vec<String> = vec![format!("a{number}"), format!("x{number}")];
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        budget.selector = hostler_plan::cluster::Selector::All(vec![is_in("app", &values)]);
        look.budgets.push(budget.into());
    }
    let view = look.view();
    assert_eq!(view.pods.len(), 5000);
    let found = blockers(&view, &STRICT);
    assert_eq!(found.len(), 5000, "each needs 5 of its 5 pods");
    // Every budget of the namespace counts every pod: what is said stays short.
    for budget in &mut look.budgets {
        budget.selector = hostler_plan::cluster::Selector::All(Vec::new());
    }
    let found = blockers(&look.view(), &STRICT);
    assert_eq!(found.len(), 5000);
    assert!(found[0].reason.contains("(shop/b0, shop/b1)"), "{}", found[0].reason);
}
