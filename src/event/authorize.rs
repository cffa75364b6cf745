//! Authorization: may this peer send at all?

use crate::message::Event;
use crate::peer::Standing;
use crate::reject::{Code, Reject};

use super::pipeline::{Context, Stage};

/// Refuses peers that only listen.
pub struct Authorize;

impl Authorize {
    /// What refusals of this stage are counted under.
    pub(super) const NAME: &'static str = "authorize";
}

impl Stage for Authorize {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn judges_sender(&self) -> bool {
        true
    }

    fn check<'e>(&self, _: &mut Event<'e>, cx: &Context<'e>) -> Result<(), Reject> {
        if !cx.policy.publish.clients {
            let why = "clients only listen here; changes are announced by the application's server";
            return Err(Reject::new(Code::NotAllowed, why).rule("publish.clients"));
        }
        match cx.peer.standing() {
            // Held to its key instead, before it comes here.
            Standing::Publisher => Ok(()),
            Standing::Verified => {
                cx.note("auth.mode", || "who brings a token may send");
                Ok(())
            }
            Standing::Open => {
                cx.note("auth.mode", || "nobody is asked who they are");
                Ok(())
            }
            Standing::Anonymous => {
                Err(Reject::new(Code::NotAllowed, "without a token you may listen, not send")
                    .rule("auth.mode"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;
    use crate::event::fixtures::{World, peer};

    #[test]
    fn clients_only_listen_where_publishers_speak() {
        let world = World::new(|policy| policy.publish.clients = false);
        let sender = world.sender(peer(&["red"]));
        let outcome = world.pipeline.decide(&sender, r#"["any"]"#, EventId::next(), world.now);
        let reject = outcome.unwrap_err().reject;
        assert_eq!((reject.code, reject.rule.as_deref()), (Code::NotAllowed, Some("publish.clients")));
    }

    #[test]
    fn anonymous_peers_only_listen() {
        let world = World::new(|_| {});
        for (standing, refused) in [
            (Standing::Verified, None),
            (Standing::Open, None),
            (Standing::Anonymous, Some(("authorize", Code::NotAllowed))),
        ] {
            let mut peer = peer(&["red"]);
            peer.standing = standing;
            let sender = world.sender(peer);
            let outcome = world.pipeline.decide(&sender, r#"["any"]"#, EventId::next(), world.now);
            assert_eq!(outcome.err().map(|refused| (refused.stage, refused.reject.code)), refused);
        }
    }
}
