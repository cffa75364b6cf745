// What each code means, for whoever meets it the first time. A test holds this list to the codes that there are.

export const CODES = {
  token_missing: ['CONNECT', 'No token came with the handshake, and this server lets nobody in without one.'],
  token_invalid: ['CONNECT', 'The token does not verify. Why not stands in the log; a client never learns it.'],
  token_expired: ['CONNECT', 'The token was good and its time is over.'],
  token_revoked: ['CONNECT', 'The token was good and has been revoked.'],
  no_team: ['CONNECT', 'The token names no team, or the client asked for one that it does not hold.'],
  malformed: ['HTTP 400', 'Not a request of Engine.IO 4, or one of a session that is gone.'],
  origin: ['HTTP 403', 'The page comes from an origin that may not connect (server.allowed_origins).'],
  not_found: ['HTTP 404', 'Nothing is at this path; clients connect at server.path.'],
  body_too_large: ['HTTP 413', 'A POST over limits.payload.hard_max_bytes. The connection is closed.'],
  too_many_requests: ['HTTP 429', 'This address has too many connections, or opens them too fast. The client tries again by itself.'],
  too_many_connections: ['closed', 'More TCP connections than there may be sessions for.'],
  tls_handshake: ['closed', 'No TLS handshake where the process speaks TLS, or none in time.'],
  draining: ['HTTP 503', 'The process is going down; the client finds its way to the next one by itself.'],
  full: ['HTTP 503', 'As many connections as there may be (limits.connections.total).'],
  unknown_event: ['event', 'The policy names no such event, so nobody may send it.'],
  invalid_payload: ['event', 'Not one argument of the shape that the policy declares.'],
  missing_field: ['event', 'A field that the policy requires is not there.'],
  unknown_field: ['event', 'A field that the policy does not declare. What it does not know it does not relay.'],
  unknown_type: ['event', 'No such type of change in the policy.'],
  stale_timestamp: ['event', 'Too old: it may be a replay of what somebody recorded.'],
  future_timestamp: ['event', 'Too far ahead: a clock is wrong.'],
  duplicate: ['event', 'The same change has been relayed already, so it is not relayed again.'],
  too_large: ['event', 'More bytes than limits.payload.max_bytes. It was not even parsed.'],
  too_deep: ['event', 'Nested deeper than limits.payload.max_depth.'],
  rate_limited: ['event', 'Too many in too short a time. The answer says when to try again; nobody else was slowed down.'],
  not_allowed: ['event', 'Well formed, but this peer may not send it: a rule says no, or it has no token.'],
  no_room: ['event', 'A team that the sender does not hold, or none was named among several.'],
};

/** Why flowgate closed a connection, where no code says it. */
const REASONS = {
  policy_changed: 'By the policy that is in force now it would not have been let in.',
  slow_reader: 'It did not read what was waiting for it.',
  send_failed: 'A packet could not be handed to it.',
  refusals: 'Too many of its events were refused in too short a time.',
  user_cap: 'Its user has as many sockets as one may have.',
  keys_unavailable: 'There is no key now to verify its token with.',
  not_admitted: 'It was not admitted in time.',
  connect_flood: 'It sent CONNECT too often.',
  inbound_budget: 'It sent too many packets that are no events.',
  bad_packet: 'It sent what the protocol does not allow.',
  heartbeat: 'It did not answer pings.',
  client: 'It left by itself.',
  admin: 'An operator disconnected it.',
};

/** One sentence about a code or a reason; `undefined` for one of a later version. */
export const sentence = (code) => CODES[code]?.[1] ?? REASONS[code];
