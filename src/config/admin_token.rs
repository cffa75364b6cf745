//! The token that opens the internal port's API. Only its hash is kept.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};

/// Shorter ones could be found by trying.
const SHORTEST: usize = 16;

/// It has to fit into a request's head.
const LONGEST: usize = 1024;

/// What a request must bring as `Authorization: Bearer …` (RFC 6750 §2.1).
#[derive(Clone)]
pub struct AdminToken {
    hash: Digest,
}

/// Why a text is no admin token. The text itself is never repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdminTokenError {
    /// Shorter than it may be.
    #[error(
        "the token is {0} bytes long and {SHORTEST} are the least: write a longer one, such as the output of \
         `openssl rand -hex 32`"
    )]
    TooShort(usize),
    /// Longer than it may be.
    #[error("the token is {0} bytes long and {LONGEST} are the most: write a shorter one")]
    TooLong(usize),
    /// Characters that a header cannot carry as they are.
    #[error(
        "the token holds spaces, control characters or letters that are not ASCII: write one without them"
    )]
    Characters,
}

impl AdminToken {
    /// The token of this text, one newline at its end not counted.
    ///
    /// # Errors
    /// See [`AdminTokenError`].
    pub fn new(text: &str) -> Result<Self, AdminTokenError> {
        let text = text.strip_suffix('\n').unwrap_or(text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        match text.len() {
            short if short < SHORTEST => Err(AdminTokenError::TooShort(short)),
            long if long > LONGEST => Err(AdminTokenError::TooLong(long)),
            _ if !text.bytes().all(|byte| byte.is_ascii_graphic()) => Err(AdminTokenError::Characters),
            _ => Ok(AdminToken { hash: digest(&SHA256, text.as_bytes()) }),
        }
    }

    /// Whether both are the same token.
    pub fn is_same(&self, other: &AdminToken) -> bool {
        verify_slices_are_equal(self.hash.as_ref(), other.hash.as_ref()).is_ok()
    }

    /// Whether this is the token. How long that takes tells nothing about it: hashes are compared, all of their bytes.
    pub fn is(&self, presented: &[u8]) -> bool {
        let presented = digest(&SHA256, presented);
        verify_slices_are_equal(self.hash.as_ref(), presented.as_ref()).is_ok()
    }
}

impl fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_the_token() {
        let token = AdminToken::new("0123456789abcdef\n").unwrap();
        assert!(token.is(b"0123456789abcdef"));
        for other in [&b""[..], b"0123456789abcde", b"0123456789abcdef0", b"0123456789abcdeF"] {
            assert!(!token.is(other), "{other:?}");
        }
    }

    #[test]
    fn bounds_and_characters() {
        let refused = |text: &str| AdminToken::new(text).map(|_| ()).unwrap_err();
        assert_eq!(refused(""), AdminTokenError::TooShort(0));
        assert_eq!(refused("0123456789abcde\n"), AdminTokenError::TooShort(15));
        assert_eq!(refused(&"x".repeat(1025)), AdminTokenError::TooLong(1025));
        for odd in ["0123456789 abcdef", "0123456789abcdef\t", "0123456789abcdéf", "0123456789abcdef\n\n"] {
            assert_eq!(refused(odd), AdminTokenError::Characters, "{odd:?}");
        }
    }

    #[test]
    fn it_is_not_shown() {
        let token = AdminToken::new("0123456789abcdef").unwrap();
        assert_eq!(format!("{token:?}"), "AdminToken(…)");
    }
}
