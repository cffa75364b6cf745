//! The task that hands over what waits: one batch is on its way while the next gathers, so that the more there is to say the
//! less each message costs. While nothing waits it sleeps without a timer.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use redis::cmd;
use tokio::time::{sleep, sleep_until};

use super::channel::Channel;
use super::envelope::Body;
use super::nodes::Nodes;
use super::outbox::{Fate, Outgoing, What};
use super::redis::{CallError, Driver};
use super::sharing::Sharing;
use super::streams::OUT_OF_ORDER;
use crate::metrics::Sent;

/// How long it waits after a failure before it tries again, and twice that after each further one.
const PAUSE: Duration = Duration::from_millis(50);

/// The longest such pause. It also ends when the connections have come back.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Errors of a server that pass: it starts, its cluster changes its shape, or another is to be asked.
const PASSING: [&str; 9] =
    ["LOADING", "MASTERDOWN", "CLUSTERDOWN", "TRYAGAIN", "MOVED", "ASK", "BUSY", "READONLY", OUT_OF_ORDER];

/// How often a log line says that Redis refuses something.
const SAY_EVERY: Duration = Duration::from_secs(1);

/// Hands over for as long as it is polled.
pub async fn send(nodes: Arc<Nodes>) {
    let mut pause = PAUSE;
    let mut said: Option<Instant> = None;
    loop {
        let (batch, held_until) = {
            let mut outbox = nodes.outbox.lock();
            (outbox.take(Instant::now()), outbox.held_until())
        };
        if batch.is_empty() {
            match held_until {
                None => nodes.has_mail.notified().await,
                Some(until) => tokio::select! {
                    () = nodes.has_mail.notified() => {}
                    () = nodes.is_back.notified() => nodes.outbox.lock().let_go(),
                    () = sleep_until(until.into()) => {}
                },
            }
            continue;
        }
        let (fates, why) = hand_over(&nodes, &batch).await;
        let now = Instant::now();
        // The servers of a cluster are away one by one.
        let others_may = nodes.driver.load().is_cluster();
        let through = nodes.outbox.lock().settle(&fates, others_may, now);
        for outgoing in &through {
            nodes.counts.confirm_latency.observe(now.saturating_duration_since(outgoing.since));
        }
        let changes = through.iter().filter(|outgoing| outgoing.is_change()).count();
        nodes.counts.sent(Sent::Confirmed, changes);
        let is_refused =
            |(outgoing, fate): &(&Arc<Outgoing>, &Fate)| **fate == Fate::Refused && outgoing.is_change();
        let refused = batch.iter().zip(&fates).filter(is_refused).count();
        nodes.counts.sent(Sent::Refused, refused);
        if refused > 0 && said.is_none_or(|said| now.saturating_duration_since(said) >= SAY_EVERY) {
            said = Some(now);
            let why = why.map(|error| error.to_string());
            tracing::error!(refused, why, "Redis refuses what this node tells others");
        }
        if !through.is_empty() || refused > 0 {
            nodes.has_passed.send_replace(());
        }
        if through.is_empty() && !others_may && fates.contains(&Fate::Again) {
            tokio::select! {
                () = nodes.is_back.notified() => nodes.outbox.lock().let_go(),
                () = sleep(pause) => {}
            }
            pause = (2 * pause).min(LONGEST_PAUSE);
        } else {
            pause = PAUSE;
        }
    }
}

/// Hands a batch over. Returns what became of each, and the first error.
async fn hand_over(nodes: &Nodes, batch: &[Arc<Outgoing>]) -> (Vec<Fate>, Option<CallError>) {
    let now = SystemTime::now();
    let driver = nodes.driver.load_full();
    if let Some(sharing) = &nodes.sharing {
        return hand_over_to_keep(nodes, sharing, &driver, batch, now).await;
    }
    let messages: Vec<(Arc<str>, Vec<u8>)> =
        batch.iter().flat_map(|outgoing| messages(nodes, outgoing, now)).collect();
    let mut answers =
        driver.publish(messages.iter().map(|(channel, message)| (&**channel, &**message))).await.into_iter();
    let mut first = None;
    let mut fate = |outgoing: &Arc<Outgoing>| {
        let own = answers.by_ref().take(outgoing.teams.len().max(1));
        // All of its answers are taken, whatever the first of them says.
        own.fold(Fate::Through, |fate, answer| match (fate, answer) {
            (fate, Ok(_)) => fate,
            (fate, Err(error)) => {
                let passes = passes(&error);
                first.get_or_insert(error);
                if fate == Fate::Refused || !passes { Fate::Refused } else { Fate::Again }
            }
        })
    };
    let fates = batch.iter().map(&mut fate).collect();
    (fates, first)
}

/// Whether it is worth another try.
fn passes(error: &CallError) -> bool {
    match error {
        CallError::Refused(refusal) => PASSING.contains(&&*refusal.code),
        CallError::Away | CallError::Busy | CallError::Lost => true,
    }
}

/// Hands a batch over to those who listen and to the history that all nodes keep. One that fails keeps those behind it back.
async fn hand_over_to_keep(
    nodes: &Nodes,
    sharing: &Sharing,
    driver: &Driver,
    batch: &[Arc<Outgoing>],
    now: SystemTime,
) -> (Vec<Fate>, Option<CallError>) {
    let (mut after, mut commands) = (0, Vec::new());
    for outgoing in batch {
        let messages = messages(nodes, outgoing, now);
        if outgoing.teams.is_empty() {
            // What was dropped is in no stream, of whatever team. This is said before anybody hears of it.
            commands.push(sharing.end_epoch());
            for (channel, message) in messages {
                let mut command = cmd("PUBLISH");
                command.arg(&*channel).arg(message);
                commands.push(command);
            }
            continue;
        }
        let copies: Vec<_> = outgoing
            .teams
            .iter()
            .zip(messages)
            .map(|((team, _), (channel, message))| (team.clone(), channel, message))
            .collect();
        commands.push(sharing.append(outgoing, after, &copies));
        after = outgoing.number();
    }
    let key = sharing.key();
    let answers = driver.pipeline(commands.iter().map(|command| (key.as_bytes(), command))).await;
    let (mut fates, mut first, mut answers) = (Vec::new(), None, answers.into_iter());
    for outgoing in batch {
        let own = answers.by_ref().take(if outgoing.teams.is_empty() { 2 } else { 1 });
        // All of its answers are taken, whatever the first of them says.
        let error = own.fold(None, |error, answer| error.or(answer.err()));
        let fate = match &error {
            None => Fate::Through,
            Some(error) if passes(error) || sharing.load(driver, error).await => Fate::Again,
            Some(_) => Fate::Refused,
        };
        first = first.or(error);
        fates.push(fate);
    }
    if fates.contains(&Fate::Refused) {
        // Perhaps nothing can be said of it in the streams either.
        sharing.doubt_everything();
    }
    (fates, first)
}

/// A message for each of its channels.
fn messages(nodes: &Nodes, outgoing: &Outgoing, now: SystemTime) -> Vec<(Arc<str>, Vec<u8>)> {
    let origin = nodes.origin;
    let sealed = |channel: Channel<'_>, body: &Body| {
        let name = nodes.channels.name(channel);
        let message = body.sealed(&name, &nodes.seal);
        (name, message)
    };
    match &outgoing.what {
        What::Change(change, at) => {
            let body = Body::change(origin, change, &outgoing.teams, *at, now);
            outgoing.teams.iter().map(|(team, _)| sealed(Channel::Team(team), &body)).collect()
        }
        What::Missed => {
            let missed = |(team, number): &(Arc<str>, u64)| {
                sealed(Channel::Team(team), &Body::missed(origin, team, *number, now))
            };
            outgoing.teams.iter().map(missed).collect()
        }
        What::MissedAnywhere => vec![sealed(Channel::Control, &Body::missed_anywhere(origin, now))],
    }
}
