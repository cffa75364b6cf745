import { createHmac } from 'node:crypto';

/** The HMAC secret that `config.mjs` names to flowgate; 32 bytes, as HS256 asks. */
export const SECRET = '0123456789abcdef0123456789abcdef';
export const ISSUER = 'https://tests.example';
export const AUDIENCE = 'flowgate';

const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/**
 * An HS256 token (RFC 7519), made here and not by flowgate, so that the two are checked against each other.
 * `ttl` is in seconds from now; a negative one has expired already. Further claims are added as they are.
 */
export function mint({ sub, teams, ttl = 3600, secret = SECRET, ...claims }) {
  const now = Math.floor(Date.now() / 1000);
  const issuedAt = Math.min(now, now + ttl - 1);
  const payload = { iss: ISSUER, aud: AUDIENCE, sub, teams, iat: issuedAt, exp: now + ttl, ...claims };
  const signed = `${encode({ alg: 'HS256', typ: 'JWT' })}.${encode(payload)}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}
