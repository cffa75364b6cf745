//! Sessions of the page: a random number in a cookie stands for the admin token, so that no page has to keep that.
//!
//! The number itself is never kept, only its hash, as with the token.

use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};
use axum::http::{HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;

use crate::config::admin_token::AdminToken;

/// The cookie's name.
pub(super) const COOKIE: &str = "flowgate_admin";

/// A session that nobody uses ends after so long; a page that is open asks every few seconds.
pub(super) const IDLE: Duration = Duration::from_secs(30 * 60);

/// A session ends after so long in any case: a working day and what comes before and after.
const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// Sessions at once, many more than operators. The one that has been idle longest makes room.
const MOST: usize = 64;

/// Bytes of a number that nobody guesses.
const RANDOM: usize = 32;

/// A session, by the hash of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct LoginId([u8; 32]);

struct Login {
    /// What it stands for: it ends when that is the admin token no more.
    token: AdminToken,
    csrf: String,
    opened: Instant,
    expires: SystemTime,
    seen: Instant,
}

/// Every session of the process.
#[derive(Default)]
pub(super) struct Logins(Mutex<HashMap<LoginId, Login>>);

/// A session that is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Open {
    pub id: LoginId,
    /// What requests that change something have to say: a page elsewhere may have a browser send the cookie, and does not
    /// know this.
    pub csrf: String,
    pub expires: SystemTime,
}

impl Open {
    /// Whether this is its `csrf`. How long that takes tells nothing about it.
    pub fn is_csrf(&self, presented: &[u8]) -> bool {
        verify_slices_are_equal(self.csrf.as_bytes(), presented).is_ok()
    }
}

impl Logins {
    /// Opens one for this token; the text is the cookie's. `None` where the system has no random numbers.
    pub fn open(&self, token: &AdminToken, now: Instant) -> Option<(String, Open)> {
        let (cookie, csrf) = (random()?, random()?);
        let (id, expires) = (id_of(&cookie), SystemTime::now() + LONGEST);
        let mut all = self.0.lock();
        all.retain(|_, login| login.holds(now));
        if all.len() >= MOST {
            let longest = all.iter().min_by_key(|(_, login)| login.seen).map(|(id, _)| *id);
            longest.map(|id| all.remove(&id));
        }
        let login = Login { token: token.clone(), csrf: csrf.clone(), opened: now, expires, seen: now };
        all.insert(id, login);
        Some((cookie, Open { id, csrf, expires }))
    }

    /// The session of one of these cookies, which has been used now. There may be several of one name, set by whoever else
    /// is on this machine.
    pub fn find(&self, headers: &HeaderMap, token: &AdminToken, now: Instant) -> Option<Open> {
        cookies(headers).find_map(|cookie| {
            let id = id_of(cookie);
            self.is_open(id, token, now).then_some(())?;
            let all = self.0.lock();
            let login = all.get(&id)?;
            Some(Open { id, csrf: login.csrf.clone(), expires: login.expires })
        })
    }

    /// Whether this session is open still; if so, it has been used now.
    pub fn is_open(&self, id: LoginId, token: &AdminToken, now: Instant) -> bool {
        let mut all = self.0.lock();
        let Some(login) = all.get_mut(&id) else { return false };
        if !login.holds(now) || !login.token.is_same(token) {
            all.remove(&id);
            return false;
        }
        login.seen = now;
        true
    }

    /// Ends one.
    pub fn close(&self, id: LoginId) {
        self.0.lock().remove(&id);
    }
}

impl Login {
    fn holds(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.seen) < IDLE
            && now.saturating_duration_since(self.opened) < LONGEST
    }
}

/// Whether the request has a cookie of ours, good or not.
pub(super) fn has_cookie(headers: &HeaderMap) -> bool {
    cookies(headers).next().is_some()
}

/// The values of our cookie (RFC 6265 §4.2).
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}

fn id_of(cookie: &str) -> LoginId {
    let mut id = [0; 32];
    id.copy_from_slice(digest(&SHA256, cookie.as_bytes()).as_ref());
    LoginId(id)
}

fn random() -> Option<String> {
    let mut bytes = [0; RANDOM];
    getrandom::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &str) -> AdminToken {
        AdminToken::new(text).unwrap()
    }

    fn with(cookie: &str) -> HeaderMap {
        HeaderMap::from_iter([(header::COOKIE, cookie.parse().unwrap())])
    }

    #[test]
    fn it_is_found_by_its_cookie_and_by_no_other() {
        let (logins, token, now) = (Logins::default(), token("0123456789abcdef"), Instant::now());
        let (cookie, open) = logins.open(&token, now).unwrap();
        let (other, _) = logins.open(&token, now).unwrap();
        assert!(cookie.len() >= 43 && cookie != other && cookie != open.csrf);
        let found = |header: &str| logins.find(&with(header), &token, now);
        assert_eq!(found(&format!("{COOKIE}={cookie}")).as_ref(), Some(&open));
        assert_eq!(found(&format!("a=b; {COOKIE}=forged; {COOKIE}={cookie}")).as_ref(), Some(&open));
        for header in
            [format!("{COOKIE}="), format!("x{COOKIE}={cookie}"), format!("{COOKIE}={}", &cookie[1..])]
        {
            assert_eq!(found(&header), None, "{header}");
        }
        assert!(open.is_csrf(open.csrf.as_bytes()) && !open.is_csrf(b"") && !open.is_csrf(cookie.as_bytes()));
        logins.close(open.id);
        assert_eq!(found(&format!("{COOKIE}={cookie}")), None);
    }

    #[test]
    fn it_ends_when_it_is_idle_when_it_is_old_and_with_its_token() {
        let (logins, token, other) =
            (Logins::default(), token("0123456789abcdef"), token("another-admin-token"));
        let begin = Instant::now();
        let (_, idle) = logins.open(&token, begin).unwrap();
        assert!(logins.is_open(idle.id, &token, begin + IDLE / 2));
        assert!(logins.is_open(idle.id, &token, begin + IDLE), "it was used");
        assert!(!logins.is_open(idle.id, &token, begin + IDLE * 2));
        let (_, old) = logins.open(&token, begin).unwrap();
        let mut at = begin;
        while at + IDLE / 2 < begin + LONGEST {
            at += IDLE / 2;
            assert!(logins.is_open(old.id, &token, at));
        }
        assert!(!logins.is_open(old.id, &token, begin + LONGEST));
        let (_, changed) = logins.open(&token, begin).unwrap();
        assert!(!logins.is_open(changed.id, &other, begin));
        assert!(!logins.is_open(changed.id, &token, begin), "it has ended");
        assert!(logins.0.lock().is_empty());
    }

    #[test]
    fn the_one_that_was_idle_longest_makes_room() {
        let (logins, token, begin) = (Logins::default(), token("0123456789abcdef"), Instant::now());
        let at = |second| begin + Duration::from_secs(second);
        let all: Vec<_> = (0..MOST as u64).map(|second| logins.open(&token, at(second)).unwrap().1).collect();
        assert!(logins.is_open(all[0].id, &token, at(100)));
        logins.open(&token, at(101)).unwrap();
        assert_eq!(logins.0.lock().len(), MOST);
        let open: Vec<bool> = all.iter().map(|one| logins.is_open(one.id, &token, at(102))).collect();
        assert_eq!((open[0], open[1], open[2]), (true, false, true));
    }
}
