//! Who is closed for whom, in time that only passes here.

use super::*;

const LIMITS: DoorLimits =
    DoorLimits { stranger_for: Duration::from_secs(15), strangers: 4, handshakes: 4, known: 4, reserved: 2 };

fn origin(host: u8) -> PeerAddress {
    PeerAddress::Network((IpAddr::from([192, 168, 1, host]), 4711).into())
}

fn is_closed(ended: &mut oneshot::Receiver<()>) -> bool {
    !matches!(ended.try_recv(), Err(oneshot::error::TryRecvError::Empty))
}

#[test]
fn addresses_of_one_household_count_together() {
    let of = |text: &str| Origin::from(text.parse::<IpAddr>().unwrap());
    assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
    assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
    assert_ne!(of("::1"), of("127.0.0.1"));
}

#[tokio::test(start_paused = true)]
async fn a_stranger_is_closed_after_its_time_and_who_proved_something_is_not() {
    let door = Door::new(LIMITS);
    let (_stranger, mut stranger_ends) = door.enter(origin(1), Instant::now());
    let (known, mut known_ends) = door.enter(origin(1), Instant::now());
    let proof = known.connection().prove(Rank::Known, None).unwrap();
    let (timed, mut timed_ends) = door.enter(origin(2), Instant::now());
    timed.connection().prove_until(Rank::Trusted, Instant::now() + Duration::from_secs(100)).unwrap();
    let (_opened, mut opened_ends) = door.open(origin(3), Instant::now());
    let mut all = [&mut stranger_ends, &mut known_ends, &mut timed_ends, &mut opened_ends];
    let mut closed_after = async |seconds| {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        door.close_overdue(Instant::now());
        all.each_mut().map(|ended| is_closed(ended))
    };
    assert_eq!(closed_after(14).await, [false; 4]);
    assert_eq!(closed_after(1).await, [true, false, false, true]);
    assert_eq!(closed_after(99).await, [true, false, false, true], "a proof has its time");
    drop(proof);
    assert_eq!(closed_after(14).await, [true, false, true, true], "from the end of its proof on");
    assert_eq!(closed_after(1).await, [true; 4], "who lost its proof is a stranger from then on");
    assert!(!known.connection().is_open());
}

#[tokio::test(start_paused = true)]
async fn the_oldest_of_the_address_with_most_makes_room_and_nobody_who_is_known() {
    let door = Door::new(LIMITS);
    let (known, mut known_ends) = door.enter(origin(1), Instant::now());
    let _proof = known.connection().prove(Rank::Known, None).unwrap();
    let (_honest, mut honest_ends) = door.enter(origin(2), Instant::now());
    let mut flood: Vec<_> = (0..50).map(|_| door.enter(origin(1), Instant::now())).collect();
    let open: Vec<bool> = flood.iter_mut().map(|(_, ended)| !is_closed(ended)).collect();
    assert_eq!(open.iter().filter(|open| **open).count(), 3);
    assert!(open.ends_with(&[true]), "the newest is never the one that goes");
    assert!(!is_closed(&mut honest_ends) && !is_closed(&mut known_ends));
    let mut opened: Vec<_> = (0..50).map(|_| door.open(origin(1), Instant::now())).collect();
    let (_late, mut late_ends) = door.open(origin(2), Instant::now());
    assert_eq!(opened.iter_mut().filter_map(|(_, ended)| (!is_closed(ended)).then_some(())).count(), 3);
    assert!(!is_closed(&mut late_ends));
}

#[test]
fn those_who_only_look_leave_places_to_those_who_act() {
    let door = Door::new(LIMITS);
    let enter = || door.enter(origin(1), Instant::now()).0;
    let places: Vec<Place> = (0..4).map(|_| enter()).collect();
    let prove = |n: usize, rank| places[n].connection().prove(rank, None);
    let looking = [prove(0, Rank::Known).unwrap(), prove(1, Rank::Known).unwrap()];
    assert_eq!(prove(2, Rank::Known).unwrap_err(), Full);
    let acting = [prove(2, Rank::Trusted).unwrap(), prove(3, Rank::Trusted).unwrap()];
    let more = enter();
    assert_eq!(more.connection().prove(Rank::Trusted, None).unwrap_err(), Full);
    drop(looking);
    assert!(more.connection().prove(Rank::Trusted, None).is_ok());
    drop(acting);
}

#[tokio::test(start_paused = true)]
async fn who_connects_faster_than_a_login_takes_shuts_out_nobody_for_good_from_its_own_address() {
    let door = Door::new(DoorLimits { strangers: 64, ..LIMITS });
    let mut flood = Vec::new();
    // Every 150 ms the admin connects and 150 others come before it has logged in: a thousand a second.
    for tries in 1.. {
        assert!(tries < 20_000, "in most of an hour it was never let in");
        tokio::time::advance(Duration::from_millis(150)).await;
        door.close_overdue(Instant::now());
        flood.retain_mut(|(_, ended)| !is_closed(ended));
        let (admin, mut ends) = door.enter(origin(1), Instant::now());
        flood.extend((0..150).map(|_| door.enter(origin(1), Instant::now())));
        if !is_closed(&mut ends) {
            println!("let in after {tries} tries");
            // Its place is kept for as long as a touch of a key may take, whoever comes.
            flood.extend((0..1000).map(|_| door.enter(origin(1), Instant::now())));
            assert!(!is_closed(&mut ends));
            assert!(admin.connection().prove(Rank::Trusted, None).is_ok());
            return;
        }
    }
}

#[test]
fn a_neighbour_in_the_network_of_an_admin_closes_its_own_connections() {
    let door = Door::new(LIMITS);
    let of = |host: u16| PeerAddress::Network((Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 0, 0, 0, host), 4711).into());
    let (_admin, mut admin_ends) = door.enter(of(1), Instant::now());
    let _flood: Vec<_> = (0..1000).map(|_| door.enter(of(2), Instant::now())).collect();
    assert!(!is_closed(&mut admin_ends));
}

#[test]
fn sockets_that_are_only_opened_take_no_place_of_those_that_speak() {
    let door = Door::new(LIMITS);
    let (honest, mut honest_ends) = door.open(origin(1), Instant::now());
    honest.speaks();
    let _flood: Vec<_> = (0..50).map(|_| door.open(origin(1), Instant::now())).collect();
    assert!(!is_closed(&mut honest_ends));
    let (other, mut other_ends) = door.open(origin(2), Instant::now());
    other.speaks();
    let stalled = (0..50).map(|_| door.open(origin(1), Instant::now()));
    let _stalled: Vec<_> = stalled.inspect(|(socket, _)| socket.speaks()).collect();
    assert!(!is_closed(&mut other_ends));
}
