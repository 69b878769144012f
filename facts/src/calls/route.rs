//! The way out, asked of the kernel by rtnetlink: it goes through rules and tables as a packet of this machine would,
//! and sends nothing. Messages: linux/netlink.h and linux/rtnetlink.h, in the machine's own byte order.

use crate::failure::Failure;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use std::io;
use std::os::fd::AsRawFd;

/// A root server of the domain name system: an address that is nobody's own and that no site routes elsewhere.
const OUTSIDE: [u8; 4] = [198, 41, 0, 4];
const NLMSG_ERROR: u16 = 2;
const RTM_NEWROUTE: u16 = 24;
const RTM_GETROUTE: u16 = 26;
const NLM_F_REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
/// `rtm_type` of a route that a packet can take; others are blackholes and refusals.
const RTN_UNICAST: u8 = 1;
/// `struct nlmsghdr` and `struct rtmsg`.
const HEADER: usize = 16;
const ROUTE: usize = 12;

/// The number of the interface that the kernel would take. Never blocks: the kernel answers within the request.
pub(super) fn way_out() -> Result<Option<u32>, Failure> {
    let fail = |errno: nix::Error| Failure::from_io("rtnetlink", &io::Error::from_raw_os_error(errno as i32));
    let flags = SockFlag::SOCK_CLOEXEC;
    let kernel = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute).map_err(fail)?;
    send(kernel.as_raw_fd(), &request(), MsgFlags::empty()).map_err(fail)?;
    let mut answer = [0; 4096];
    let length = recv(kernel.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT).map_err(fail)?;
    interface(&answer[..length])
}

/// Which route leads to [`OUTSIDE`].
fn request() -> Vec<u8> {
    let attribute_bytes = 4 + OUTSIDE.len();
    let total = (HEADER + ROUTE + attribute_bytes) as u32;
    let mut bytes = total.to_ne_bytes().to_vec();
    bytes.extend([RTM_GETROUTE, NLM_F_REQUEST].into_iter().flat_map(u16::to_ne_bytes));
    bytes.extend([0; 8]); // number and port of the request
    bytes.extend([AF_INET, 32]); // the address has all its bits
    bytes.extend([0; ROUTE - 2]);
    bytes.extend([attribute_bytes as u16, RTA_DST].into_iter().flat_map(u16::to_ne_bytes));
    bytes.extend(OUTSIDE);
    bytes
}

/// The outgoing interface of an answer; none where it says that no route leads there.
fn interface(answer: &[u8]) -> Result<Option<u32>, Failure> {
    let wrong = || Failure::malformed("rtnetlink", "one route or an error", answer);
    let u16_at = |at: usize| Some(u16::from_ne_bytes(answer.get(at..at + 2)?.try_into().ok()?));
    let u32_at = |at: usize| Some(u32::from_ne_bytes(answer.get(at..at + 4)?.try_into().ok()?));
    match u16_at(4).ok_or_else(wrong)? {
        NLMSG_ERROR => {
            let errno = u32_at(HEADER).map(u32::cast_signed).ok_or_else(wrong)?;
            match -errno {
                libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EACCES | libc::EINVAL | libc::ENOENT => Ok(None),
                errno => Err(Failure::from_io("rtnetlink", &io::Error::from_raw_os_error(errno))),
            }
        }
        RTM_NEWROUTE => {
            if answer.get(HEADER + 7) != Some(&RTN_UNICAST) {
                return Ok(None);
            }
            let mut at = HEADER + ROUTE;
            while let (Some(length), Some(kind)) = (u16_at(at), u16_at(at + 2)) {
                if kind == RTA_OIF {
                    return Ok(Some(u32_at(at + 4).ok_or_else(wrong)?));
                }
                // Attributes begin at multiples of four; one of no length would never end.
                at += usize::from(length).next_multiple_of(4).max(4);
            }
            Err(wrong())
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Set in a machine of its own network, to the interface that must be found there.
    const INSIDE: &str = "HOSTLER_WAY_OUT";

    fn answer(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((HEADER + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 10]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn an_answer_names_its_interface_or_says_that_there_is_none() {
        let route = |kind: u8, attributes: &[u8]| {
            let mut body = vec![0; ROUTE];
            body[7] = kind;
            body.extend(attributes);
            answer(RTM_NEWROUTE, &body)
        };
        let mut attributes = [8_u16, RTA_DST].map(u16::to_ne_bytes).concat();
        attributes.extend(OUTSIDE);
        attributes.extend([5_u16, 30].map(u16::to_ne_bytes).concat());
        attributes.extend([7, 0, 0, 0]); // one byte and what fills it up
        attributes.extend([8_u16, RTA_OIF].map(u16::to_ne_bytes).concat());
        attributes.extend(3_u32.to_ne_bytes());
        assert_eq!(interface(&route(RTN_UNICAST, &attributes)), Ok(Some(3)));
        assert_eq!(interface(&route(7, &attributes)), Ok(None), "unreachable");
        let error = |errno: i32| answer(NLMSG_ERROR, &(-errno).to_ne_bytes());
        assert_eq!(interface(&error(libc::ENETUNREACH)), Ok(None));
        assert!(interface(&error(libc::EPERM)).is_err());
        let whole = route(RTN_UNICAST, &attributes);
        for length in 0..whole.len() {
            assert!(
                interface(&whole[..length]).is_ok_and(|found| found.is_none()) || interface(&whole[..length]).is_err()
            );
        }
        assert!(interface(&route(RTN_UNICAST, &[0; 64])).is_err(), "attributes without a length end");
    }

    #[test]
    fn the_kernel_finds_a_default_route_of_another_table() {
        if let Ok(number) = std::env::var(INSIDE) {
            assert_eq!(way_out(), Ok(number.parse().ok()));
            return;
        }
        let here = std::env::current_exe().unwrap();
        let run = |set_up: &str, expected: &str| {
            let test = "calls::route::tests::the_kernel_finds_a_default_route_of_another_table";
            let script = format!(
                "ip link set lo up && ip link add a0 index 7 type veth peer name b0 && ip link set a0 up && \
                 ip link set b0 up && ip addr add 10.9.0.2/24 dev a0 && {set_up} || exit 99; exec \"$0\" --exact {test}"
            );
            let mut command = Command::new("unshare");
            command.args(["-rn", "sh", "-c", &script]).arg(&here).env(INSIDE, expected);
            command.output()
        };
        let table = "ip route add default via 10.9.0.1 dev a0 table 100 && ip rule add from all lookup 100";
        for (set_up, expected) in [(table, "7"), ("ip route add unreachable default", "none"), ("true", "none")] {
            match run(set_up, expected) {
                Ok(output) if output.status.success() => {}
                Ok(output) if [Some(0), Some(101)].contains(&output.status.code()) => {
                    panic!("{set_up}: {}", String::from_utf8_lossy(&output.stdout))
                }
                made => return println!("skipped: expected a network of its own (unshare, ip), found {made:?}"),
            }
        }
    }
}
