//! Those who come back from another node, where all nodes keep one history.
//!
//! What they have missed comes first from there, in the order of its stamps; then from this node's own memory, what it has told
//! its members since that was read: others' changes that were stamped later, and its own that Redis did not have yet. From then on
//! they have heard what every member here has heard. In between they are in no node's order, and what they hear says so.

use super::{From, History, Hole, Reached, Replay};
use crate::hears::Listening;
use crate::metrics::ResyncReason;
use crate::relay::elsewhere::Read;
use crate::relay::extent::{Extent, Passing, Stamp};
use crate::relay::frame::Frame;
use crate::relay::since::{Last, Since};

impl History {
    /// The place of what was relayed last.
    pub fn latest(&self) -> u64 {
        self.latest
    }

    /// What a client has missed that comes from another node to these rooms, by what was read there. See [`History::missed`].
    ///
    /// # Errors
    /// Nobody can tell, or it is too much.
    pub fn missed_elsewhere(
        &mut self,
        read: &Read,
        listening: &[Listening],
        most_bytes: usize,
    ) -> Result<Vec<Frame>, ResyncReason> {
        // All up to there was heard before this: what listens to Redis came by after the read.
        self.advance(read.upto);
        let is_whole = match self.hole {
            Hole::None => true,
            Hole::Open => false,
            Hole::Before(stamp) => stamp <= read.extent.upto,
        };
        if !is_whole {
            return Err(ResyncReason::Unknown);
        }
        let is_later = |reached: Reached| {
            let is_earlier = reached.upto.is_none_or(|upto| upto <= read.upto);
            !is_earlier || reached.own > read.own
        };
        for Listening { room, .. } in listening {
            if !read.rooms.contains(room) {
                return Err(ResyncReason::Unknown);
            }
            let Some(team) = self.teams.get(room) else {
                if self.forgotten.place > read.began { return Err(ResyncReason::TooOld) } else { continue }
            };
            if team.gap > read.began {
                return Err(ResyncReason::Missed);
            }
            if team.gone.is_some() && is_later(team.gone_at) {
                return Err(ResyncReason::TooOld);
            }
        }
        let mut replay = Replay::of_at_most(most_bytes);
        for one in &read.missed {
            let extent = Extent { upto: one.stamp, ..read.extent };
            let said = Since { last: Last::Replayed(one.change.id), extent: Some(extent) };
            replay.add(&one.change, listening, said, |_| None, one.at)?;
        }
        for (place, kept) in &self.kept {
            let is_of_epoch = |stamp: Stamp| stamp.epoch == read.upto.epoch;
            let is_new = match kept.from {
                From::Here(number) => number.is_some_and(|number| number > read.own),
                // What was stamped in an epoch before was told before, and the client has heard it or fetched since.
                From::Elsewhere(Some(Passing { stamp, .. })) if !is_of_epoch(stamp) => *place > read.began,
                From::Elsewhere(Some(Passing { stamp, .. })) => !stamp.is_upto(read.upto),
                // It lies in a hole, before what the client had heard.
                From::Elsewhere(None) => false,
            };
            if is_new {
                // In which epoch it was published, and so whether the client has heard it, nobody knows.
                let reached = kept.reached.upto.filter(|reached| is_of_epoch(*reached));
                let Some(reached) = reached else { return Err(ResyncReason::Unknown) };
                let upto = if reached < read.upto { read.upto } else { reached };
                let extent = Extent { upto, of: self.run(), own: kept.reached.own };
                let said = Since { last: Last::Replayed(kept.change.id), extent: Some(extent) };
                replay.add(&kept.change, listening, said, |at| Some(kept.seqs[at]), kept.at)?;
            }
        }
        Ok(replay.frames)
    }
}

#[cfg(test)]
mod model;
