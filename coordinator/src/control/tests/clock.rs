//! A clock that was a day ahead, or behind, and is set right: what was noted by it is as old as it was.

use hostler_plan::sequencer::Standing;

use super::*;

const DAY: u64 = 86_400;

/// By how much each clock is off before it is set, in seconds.
const OFF: [i64; 4] = [DAY as i64, -(DAY as i64), 365 * DAY as i64, -365 * DAY as i64];

/// What the clock shows that is off by so much.
fn shown(off: i64, seconds: u64) -> Timestamp {
    at(seconds).stepped(off * 1000)
}

#[test]
fn machines_of_one_key_are_let_in_again_after_ten_minutes_however_the_clock_was_set() {
    for off in OFF {
        let mut fleet = Fleet::new();
        fleet.attach_boot(shown(off, 0), "a", "b1").unwrap();
        fleet.attach_boot(shown(off, 1), "a", "b2").unwrap();
        fleet.attach_boot(shown(off, 2), "a", "b1").expect_err("two machines");
        // The copy is switched off, and somebody sets the clock.
        fleet.control.clock_stepped(-off * 1000);
        fleet.attach_boot(at(590), "a", "b1").expect_err("the other came less than ten minutes ago");
        fleet.attach_boot(at(602), "a", "b1").unwrap_or_else(|e| panic!("off by {off} s: {e}"));
    }
}

#[test]
fn what_a_server_read_before_the_clock_was_set_ages_as_before() {
    for off in OFF {
        let mut fleet = Fleet::new();
        fleet.roster.nodes[0].role = ClusterRole::Server;
        fleet.roster.version += 1;
        fleet.roster.prev = fleet.control.state().roster.as_ref().map(|roster| roster.digest());
        let roster = signed(DocumentKind::Roster, &fleet.roster, &[&key(ADMIN)]);
        fleet.control.submit_roster(at(0), &roster).unwrap();
        fleet.attach(shown(off, 1), "a").unwrap();
        let (cordoned_by, version, machine_id) = (None, "v1.34.3".to_owned(), String::new());
        let reading = NodeReading { is_ready: true, cordoned_by, version, machine_id };
        fleet.control.cluster_read(shown(off, 1), &node("a"), [(node("b"), reading)].into(), Duration::ZERO).unwrap();
        fleet.control.clock_stepped(-off * 1000);
        let mut ready = |seconds| {
            fleet.control.look(at(seconds));
            fleet.control.state().sequencer.nodes()[&node("b")].1.standing == Standing::Ready
        };
        assert!(ready(30), "off by {off} s: nobody fell silent by that");
        assert!(!ready(70), "off by {off} s: missing is never Ready");
    }
}

#[test]
fn a_clock_that_shows_less_than_what_is_past_is_known_until_it_is_set() {
    let mut fleet = Fleet::new();
    fleet.attach(at(1), "a").unwrap();
    let behind = |fleet: &Fleet, now| fleet.control.clock_behind(now).map(|behind| behind.to_string());
    assert_eq!(behind(&fleet, at(1)), None);
    let past = Timestamp::from_unix_milliseconds(at(0).unix_milliseconds() - 400 * 86_400_000);
    let said = behind(&fleet, past).unwrap();
    assert!(said.contains("of the last record of its ledger") && said.contains("nodes cannot connect"), "{said}");
    // What is written meanwhile makes it no better.
    fleet.control.refusal(past, &node("a"), Refusal::Expired, "by its clock", None).unwrap();
    assert!(behind(&fleet, past).is_some_and(|said| said.contains("last record")));
    assert_eq!(fleet.control.clock_behind(past).unwrap().by(), at(0).since(past));
    assert_eq!(behind(&fleet, at(2)), None, "it was set");
    // Nor does a restart: a signed document proves what is past as well, and so does the program.
    let mut state = State::new();
    fleet.ledger.lock().written.iter().for_each(|written| state.replay(written).unwrap());
    let again = Control::new(Box::new(fleet.ledger.clone()), state, config(), BTreeMap::new());
    assert!(again.clock_behind(past).is_some_and(|b| b.to_string().contains("newest signed document")));
    let empty = Control::new(Box::new(MemoryLedger::default()), State::new(), config(), BTreeMap::new());
    let said = empty.clock_behind(Timestamp::from_unix_seconds(86_400)).unwrap().to_string();
    assert!(said.contains("when it was built"), "{said}");
    assert_eq!(empty.clock_behind(at(0)), None);
}
