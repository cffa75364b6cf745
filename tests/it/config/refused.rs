//! Every way in which a configuration can be wrong, and the words in which that is said.

use super::Given;

/// What a file says, and a part of each line that answers it: key, what was found, what to write instead.
#[rustfmt::skip] // One case a line.
const IMPOSSIBLE: &[(&str, &[&str])] = &[
    // Keys and types.
    ("[limits.events]\nper_sockt = \"1/s\"", &["limits.events.per_sockt: unknown key; did you mean `per_socket`?"]),
    ("[limit.events]\nper_socket = \"1/s\"", &["limit: unknown key; did you mean `limits`?"]),
    ("colour = 1", &["colour: unknown key; known here: `server`, `internal`, "]),
    ("server = 1", &["server: found the number 1; write a table"]),
    ("[server]\nlisten = 3000", &["server.listen: found the number 3000; write a string"]),
    ("[server]\ntransports = [\"polling\", 1]", &["server.transports[1]: found the number 1; write a string"]),
    ("[server]\nallow_missing_origin = \"no\"", &["server.allow_missing_origin: found a string; write true or false"]),
    ("[limits.connections]\ntotal = \"20\"", &["limits.connections.total: found a string; write a whole number"]),
    ("[limits.connections]\ntotal = 2.5", &["limits.connections.total: found the number 2.5; write a whole number"]),
    ("[limits.events]\nper_user = 5", &["limits.events.per_user: found the number 5; write a rate such as \"20/s\""]),
    ("[limits.events.per_user]\nbrust = 5", &["limits.events.per_user.brust: unknown key; did you mean `burst`?"]),
    ("[events.database-change.fields.a]\nkind = \"string\"\nmax_len = 1", &["events.database-change.fields.a.max_len: unknown key"]),
    ("[[events.database-change.types]]\nmatch = \"a\"\ntaskid = \"required\"", &["events.database-change.types[match=\"a\"].taskid: unknown key; did you mean `task_id`?"]),
    ("[[events.database-change.types]]\ntask_id = \"required\"", &["events.database-change.types[0]: an entry without `match`; add match = \"…\""]),
    ("[auth]\nissuers = { name = \"x\" }", &["auth.issuers: found a table; write an array of tables"]),
    ("[auth]\nrefresh = \"yes\"", &["auth.refresh: found a string; write true or false"]),
    ("[auth]\nrefresh = true\n[events.refresh-token]\nemit = \"x\"", &["events.refresh-token: auth.refresh = true takes this name; give the event another"]),
    // Keys of the contract that are not built are unknown, as a promise would not be kept.
    ("[auth]\naudience = []", &["auth.audience: unknown key"]),
    ("[relay]\nurl = \"x\"", &["relay.url: unknown key; known here: `coalesce`"]),
    ("[publisher]\nurl = \"x\"", &["publisher: unknown key"]),
    ("[server.tls]\ncert = \"x\"", &["server.tls.cert: unknown key; known here: `certificate_file` or `key_file`"]),
    ("[events.database-change]\nschema = \"x\"", &["events.database-change.schema: unknown key"]),
    // What keeps the process alive is always enforced, and so has no mode.
    ("[limits.connections]\nhandshakes_per_ip = { rate = \"1/s\", mode = \"observe\" }", &["limits.connections.handshakes_per_ip.mode: unknown key; known here: `rate` or `burst`"]),
    ("[limits.connections]\nhandshakes_total = { rate = \"1/s\", mode = \"off\" }", &["limits.connections.handshakes_total.mode: unknown key"]),
    ("[limits.connections]\nmode = \"observe\"", &["limits.connections.mode: unknown key"]),
    ("[limits.payload]\nmode = \"observe\"", &["limits.payload.mode: unknown key"]),
    ("[limits.slow_reader]\nmode = \"observe\"", &["limits.slow_reader.mode: unknown key"]),
    ("[limits]\nmode = \"observe\"", &["limits.mode: unknown key"]),
    ("[rooms]\nmode = \"observe\"", &["rooms.mode: unknown key"]),
    ("[auth]\nmode = \"observe\"", &["auth.mode: found \"observe\"; write `required`, `optional` or `off`"]),
    // Modes.
    ("[limits.events]\nper_socket = { rate = \"1/s\", mode = \"observed\" }", &["limits.events.per_socket.mode: found \"observed\"; did you mean `observe`?"]),
    ("[limits.events.per_team]\nmode = \"x\"", &["limits.events.per_team.mode: found \"x\"; write `enforce`, `observe` or `off`"]),
    ("[limits.events.disconnect_after]\nmode = \"x\"", &["limits.events.disconnect_after.mode: found \"x\"; write `enforce`, `observe` or `off`"]),
    ("[events.database-change]\nvalidation = \"warn\"", &["events.database-change.validation: found \"warn\"; write `enforce`, `observe` or `off`"]),
    ("[events.database-change]\nmode = \"observe\"", &["events.database-change.mode: unknown key"]),
    // The decision log.
    ("[decision_log]\nsample = 1.5", &["decision_log.sample: found 1.5; write a share from 0 to 1, such as 0.01"]),
    ("[decision_log]\nsample = \"1%\"", &["decision_log.sample: found a string; write a number, without quotes"]),
    ("[decision_log]\nmax_bytes = 100", &["decision_log.max_bytes: 100 bytes hold few lines; write at least \"64KiB\""]),
    ("[decision_log]\nkeep = 0", &["decision_log.keep: found 0; write a whole number from 1 to 1000"]),
    ("[decision_log]\npath = \"/no/such/folder/log\"", &["decision_log.path: there is no folder /no/such/folder; make it"]),
    // The server.
    ("[server]\nlisten = \"localhost:3000\"", &["server.listen: \"localhost:3000\" is not an address to listen on; write \"127.0.0.1:3000\""]),
    ("[server]\nlisten = \":3000\"", &["server.listen: \":3000\" is not an address to listen on; write \"127.0.0.1:3000\" for this machine only"]),
    ("[server]\nlisten = \"127.0.0.1:70000\"", &["server.listen: \"127.0.0.1:70000\" is not an address"]),
    ("[server]\nlisten = \"0.0.0.0:3001\"", &["internal.listen: \"127.0.0.1:3001\" is taken by server.listen, \"0.0.0.0:3001\"; give it a port"]),
    ("[server]\npath = \"socket.io\"", &["server.path: \"socket.io\" does not begin with a slash; write one such as \"/socket.io/\""]),
    ("[server]\npath = \"/a b/\"", &["server.path: \"/a b/\" holds ' '"]),
    ("[server]\npath = \"/\"", &["server.path: \"/\" has a segment that is empty"]),
    ("[server]\npath = \"/a/../b\"", &["server.path: \"/a/../b\" has a segment"]),
    ("[server]\ntransports = []", &["server.transports: no transport"]),
    ("[server]\ntransports = [\"websockets\"]", &["server.transports[0]: found \"websockets\"; did you mean `websocket`? (write `polling` or `websocket`)"]),
    ("[server]\nallowed_origins = [\"https://App.example/\"]", &["server.allowed_origins[0]: \"https://App.example/\" is not an origin as browsers send it; write \"https://app.example\""]),
    ("[server]\nallowed_origins = [\"*\", \"https://a.example\"]", &["server.allowed_origins: `*` beside others"]),
    ("[server]\nallowed_origins = [\"null\"]", &["server.allowed_origins[0]: `null` is what sandboxed pages"]),
    ("[server]\nallowed_origins = [\"https://*.example\"]", &["server.allowed_origins[0]: \"https://*.example\" is a pattern"]),
    ("[server]\ntrusted_proxies = [\"10.0.0.300/8\"]", &["server.trusted_proxies[0]: \"10.0.0.300/8\" is not a network; write a CIDR"]),
    ("[server]\ntrusted_proxies = [\"10.0.0.1\"]", &["server.trusted_proxies[0]: \"10.0.0.1\" is an address without a prefix length; write \"10.0.0.1/32\""]),
    ("[server]\ntrusted_proxies = [\"10.0.0.1/8\"]", &["server.trusted_proxies[0]: \"10.0.0.1/8\" has bits beyond its prefix; write \"10.0.0.0/8\" for the network"]),
    ("[internal]\nadmin_token_env = \"my-admin-token-itself\"", &["internal.admin_token_env: this is not the name of an environment variable; write a name such as \"FLOWGATE_ADMIN_TOKEN\", never"]),
    ("[internal]\nadmin_token_env = \"myadmintokenitself\"", &["internal.admin_token_env: the environment variable that this names is not set; set it where flowgate starts, or write a name such as \"FLOWGATE_ADMIN_TOKEN\""]),
    // Who may connect.
    ("[auth]\nmode = \"requierd\"", &["auth.mode: found \"requierd\"; did you mean `required`?"]),
    ("[auth]\ntoken_from = []", &["auth.token_from: nowhere to look for a token"]),
    ("[auth]\ntoken_from = [\"cookie:\"]", &["auth.token_from[0]: \"cookie:\" names no cookie", "server.allow_missing_origin: true, while"]),
    ("[auth]\ntoken_from = [\"cookie:a b\"]", &["auth.token_from[0]: \"cookie:a b\" is no name a cookie can have", "server.allow_missing_origin: true, while"]),
    ("[auth]\ntoken_from = [\"query\"]", &["auth.token_from[0]: \"query\" is no place for a token; write \"auth\", \"header\""]),
    ("[auth]\ntoken_from = [\"auth\", \"auth\"]", &["auth.token_from[1]: \"auth\" a second time"]),
    ("[auth]\ntoken_from = [\"cookie:s\"]", &["server.allow_missing_origin: true, while auth.token_from takes tokens from a cookie; write allow_missing_origin = false"]),
    ("auth.token_from = [\"cookie:s\"]\nserver.allow_missing_origin = false\nserver.allowed_origins = [\"*\"]", &["server.allowed_origins: `*`, while auth.token_from takes tokens from a cookie"]),
    ("[auth]\nleeway = \"5\"", &["auth.leeway: \"5\" is not a duration; write one such as \"30s\""]),
    ("[auth]\nleeway = \"-5s\"", &["auth.leeway: \"-5s\" is not a duration"]),
    ("[auth]\nleeway = \"1h\"", &["auth.leeway: \"1h\" is more than clocks differ"]),
    ("[auth]\nmax_lifetime = \"0s\"", &["auth.max_lifetime: \"0s\" is no time at all"]),
    ("[auth]\nmax_lifetime = \"99years\"", &["auth.max_lifetime: \"99years\" is longer than ten years"]),
    ("[auth.claims]\nteams = \"app..teams\"", &["auth.claims.teams: \"app..teams\" is not a path into the claims"]),
    ("[auth]\nasymmetric_only = true", &["auth.issuers[name=\"app\"].algorithms: HS256, while auth.asymmetric_only = true; use RS*"]),
    ("[rooms]\nwithout_team = \"admitt\"", &["rooms.without_team: found \"admitt\"; did you mean `admit`?"]),
    ("[rooms]\nmulti_team = \"any\"", &["rooms.multi_team: found \"any\"; write `choose` or `all`"]),
    ("auth.mode = \"optional\"\nrooms.anonymous = \"\"", &["rooms.anonymous: an empty name"]),
    // How much.
    ("[limits.connections]\nper_ip = 0", &["limits.connections.per_ip: found 0; write a whole number from 1"]),
    ("[limits.connections]\nper_user = -1", &["limits.connections.per_user: found -1; write a whole number from 1"]),
    ("[limits.connections]\nhandshakes_total = \"fast\"", &["limits.connections.handshakes_total: \"fast\" is not a rate; write one such as \"20/s\""]),
    ("[limits.events]\nper_team = \"0/s\"", &["limits.events.per_team: \"0/s\" lets nothing through"]),
    ("[limits.events]\nper_socket = { rate = \"20/s\", burst = 0 }", &["limits.events.per_socket.burst: a burst of 0; write at least 1"]),
    ("[limits.events]\nper_socket = { rate = \"20/d\" }", &["limits.events.per_socket.rate: \"20/d\" is not a rate"]),
    ("[limits.connections]\nhandshakes_total = \"99999999/s\"", &["limits.connections.handshakes_total: \"99999999/s\" is faster"]),
    ("[events.database-change]\nreplay = { by = \"hash\" }", &["events.database-change.replay.by: found \"hash\"; write `off`, `content` or `id`"]),
    ("[events.database-change]\nreplay = { by = \"content\", mode = \"on\" }", &["events.database-change.replay.mode: found \"on\""]),
    ("[events.database-change]\nreplay = { window = \"5m\" }", &["events.database-change.replay.window: unknown key"]),
    ("[events.database-change]\npayload = \"typed\"\nreplay = { by = \"content\" }", &["events.database-change.replay.by: without a timestamp two honest changes to one task look the same; write timestamp.presence = \"required\", or by = \"id\""]),
    ("[events.database-change]\npayload = \"typed\"\ntimestamp = { presence = \"required\" }\nreplay = { by = \"content\", field = \"id\" }", &["events.database-change.replay.field: a field, which by = \"content\" does not ask for"]),
    ("[events.database-change]\npayload = \"any\"\nreplay = { by = \"content\" }", &["events.database-change.replay.by: no field is looked at with payload = \"any\""]),
    ("[events.database-change]\npayload = \"typed\"\nvalidation = \"off\"\nreplay = { by = \"content\" }", &["events.database-change.replay.by: nothing has to be there with validation = \"off\""]),
    ("[events.database-change]\npayload = \"typed\"\nreplay = { by = \"id\" }", &["events.database-change.replay.field: no field that holds the id"]),
    ("[events.database-change]\npayload = \"typed\"\nreplay = { by = \"id\", field = \"taskId\" }", &["events.database-change.replay.field: \"taskId\" has another meaning"]),
    ("[events.database-change]\npayload = \"typed\"\nreplay = { by = \"id\", field = \"id\" }", &["events.database-change.replay.field: \"id\" is not declared, so no event may carry it"]),
    ("[events.database-change]\npayload = \"typed\"\nreplay = { by = \"id\", field = \"id\" }\nfields.id = { kind = \"boolean\" }", &["events.database-change.replay.field: \"id\" is declared as neither text nor integer"]),
    ("[events.database-change]\npayload = \"typed\"\nreplay = { by = \"id\", field = \"id\" }\nfields.id = { kind = \"string\", presence = \"forbidden\" }", &["events.database-change.replay.field: \"id\" is forbidden"]),
    ("[limits.events]\non_limit = \"fold\"", &["limits.events.on_limit: found \"fold\"; write `refuse` or `coalesce`"]),
    ("[limits.events]\ndisconnect_after = { refusals = 0, per = \"0s\" }", &["limits.events.disconnect_after.refusals: found 0", "limits.events.disconnect_after.per: \"0s\" is no time"]),
    ("[limits.payload]\nmax_bytes = \"16 K\"", &["limits.payload.max_bytes: \"16 K\" is not a size; write a size such as \"16KiB\""]),
    ("[limits.payload]\nmax_bytes = 0", &["limits.payload.max_bytes: 0 lets nothing through"]),
    ("[limits.payload]\nhard_max_bytes = \"2GiB\"", &["limits.payload.hard_max_bytes: \"2GiB\" is more than 1GiB"]),
    ("[limits.payload]\nmax_bytes = \"100KiB\"", &["limits.payload.max_bytes: 102400 bytes are more than hard_max_bytes, 65536"]),
    ("[limits.payload]\nmax_depth = 1000", &["limits.payload.max_depth: found 1000; write a whole number from 1 to 100"]),
    ("[limits.slow_reader]\nmax_queued = \"1KiB\"", &["limits.slow_reader.max_queued: 1024 bytes hold less than one event"]),
    ("[refusals]\ndetail = \"ful\"", &["refusals.detail: found \"ful\"; did you mean `full`?"]),
    // How it is relayed.
    ("[relay]\ncoalesce = \"50ms\"", &["relay.coalesce: found a string; write a table"]),
    ("[relay]\ncoalesce = { windw = \"50ms\" }", &["relay.coalesce.windw: unknown key; did you mean `window`?"]),
    ("[relay]\ncoalesce = { window = \"50\" }", &["relay.coalesce.window: \"50\" is not a duration"]),
    ("[relay]\ncoalesce = { window = \"2s\" }", &["relay.coalesce.window: \"2s\" would keep every change back for so long; write at most \"1s\""]),
    ("[relay]\nmeta = \"yes\"", &["relay.meta: found a string"]),
    ("[relay.history]\ncount = 9", &["relay.history.count: events are kept, but without relay.meta nobody can say which was heard last; set relay.meta = true, or 0 here"]),
    ("[relay]\nmeta = true\n[relay.history]\ncount = 5000", &["relay.history.count: found 5000; write a whole number from 1 to 4096"]),
    ("relay.history.store = \"rediss\"", &["relay.history.store: found \"rediss\"; did you mean `redis`? (write `memory` or `redis`)"]),
    ("[relay]\nmeta = true\n[relay.history]\nstore = \"redis\"\ncount = 9", &["relay.history.store: events are to be kept in Redis, but bus.driver is \"none\""]),
    ("relay.history.store = \"redis\"\nbus.driver = \"redis\"", &["relay.history.store: events are to be kept in Redis, but relay.history.count is 0"]),
    ("[relay]\nmeta = true\n[relay.history]\nstore = \"redis\"\ncount = 9\n[bus]\ndriver = \"redis\"\nnodejs.enabled = true", &["relay.history.store: what servers in Node.js announce goes past the history in Redis"]),
    ("[relay]\nmeta = true\n[relay.history]\nstore = \"redis\"\ncount = 9\n[bus]\ndriver = \"redis\"\nredis.cluster = true", &["relay.history.store: the servers of a cluster have no common order"]),
    ("[relay.history]\nage = \"2d\"", &["relay.history.age: \"2d\" is longer than a day; write at most \"24h\""]),
    ("[relay.history]\nage = \"0s\"", &["relay.history.age: \"0s\" is no time at all"]),
    ("[relay.history]\nbytes = \"65MiB\"", &["relay.history.bytes: 68157440 bytes are more than all teams together may take; write at most \"64MiB\""]),
    // The end.
    ("[drain]\nspread = \"1m\"", &["drain.spread: \"1m\" is longer than drain.deadline, \"20s\""]),
    ("[drain]\ndeadline = \"0s\"", &["drain.deadline: \"0s\" is no time at all"]),
    // Who may send what.
    ("[[rules]]\non = []", &["rules[0]: an entry without `name`; add name = \"…\""]),
    ("[[rules]]\nname = \"a\\nb\"\non = [\"*\"]\nallow_if = 'true'", &["rules[name=\"a\\nb\"]: \"a\\nb\" holds '\\n', and quotes"]),
    ("[[rules]]\nname = \"r\"\non = [\"task-deleted\"]", &["rules[name=\"r\"].allow_if: no expression; write allow_if = '…'"]),
    ("[[rules]]\nname = \"r\"\nallow_if = 'true'", &["rules[name=\"r\"].on: no types; write the types that it judges"]),
    ("[[rules]]\nname = \"r\"\non = []\nallow_if = 'true'", &["rules[name=\"r\"].on: no types, so the rule could never judge an event"]),
    ("[[rules]]\nname = \"r\"\non = [\"task-deleted\", \"task-deletd\"]\nallow_if = 'true'", &["rules[name=\"r\"].on[1]: \"task-deletd\" matches no type of any event; did you mean `task-deleted`?"]),
    ("[[rules]]\nname = \"r\"\non = [\"comment-*\"]\nallow_if = 'true'", &["rules[name=\"r\"].on[0]: \"comment-*\" matches no type of any event; write the name or glob of one of [[events.NAME.types]]"]),
    ("[events.database-change]\npayload = \"any\"\n[[rules]]\nname = \"r\"\non = [\"task-deleted\"]\nallow_if = 'true'", &["rules[name=\"r\"].on[0]: \"task-deleted\" matches no type of any event; rules judge types, which only events with payload = \"typed\""]),
    ("[[rules]]\nname = \"r\"\non = [\"task-deleted\"]\nallow_if = 'true'\nmode = \"observ\"", &["rules[name=\"r\"].mode: found \"observ\"; did you mean `observe`? (write `enforce`, `observe` or `off`)"]),
    ("[[rules]]\nname = \"r\"\non = [\"task-deleted\"]\nallow_if = 'true'\nwhen = \"x\"", &["rules[name=\"r\"].when: unknown key; known here: `name`, `on`, `allow_if` or `mode`"]),
    ("[[rules]]\nname = \"r\"\non = [\"task-deleted\"]\nallow_if = 'peer.roles =='", &["rules[name=\"r\"].allow_if: not an expression in CEL at column 14: mismatched input"]),
    ("[[rules]]\nname = \"r\"\non = [\"task-deleted\"]\nallow_if = 'true && peer.rols == []'", &["rules[name=\"r\"].allow_if: column 9: `peer` has no field `rols`; did you mean `roles`? (write `sub`, `teams`"]),
    ("[[rules]]\nname = \"r\"\non = [\"task-deleted\"]\nallow_if = 'user.roles == []'", &["rules[name=\"r\"].allow_if: column 1: `user` is no variable; write `peer`, `event` or `now`"]),
    ("[[rules]]\nname = \"r\"\non = [\"task-deleted\"]\nallow_if = 'peer.roles.exists(r, r == \"x\")'", &["rules[name=\"r\"].allow_if: column 12: `exists` does something for each element, and a rule's time is bounded; write `in`"]),
    ("[[rules]]\nname = \"r\"\non = [\"task-deleted\"]\nallow_if = 'peer.sub.matches(\"^a\")'", &["rules[name=\"r\"].allow_if: column 10: `matches` takes a regular expression"]),
    ("[[rules]]\nname = \"r\"\non = [\"task-deleted\"]\nallow_if = 'starts(peer.sub, \"a\")'", &["rules[name=\"r\"].allow_if: column 1: there is no function `starts`"]),
    ("[[rules]]\nname = \"r\"\non = [\"task-deleted\"]\nallow_if = 'peer.sub'", &["rules[name=\"r\"].allow_if: column 1: a value of type string, where true or false is needed; compare it"]),
    ("[[rules]]\nname = \"r\"\non = [\"task-deleted\"]\nallow_if = 'true || size(peer.roles)'", &["rules[name=\"r\"].allow_if: column 9: a value of type int, where true or false is needed"]),
    ("[[rules]]\nname = \"r\"\non = [\"task-deleted\"]\nallow_if = 'peer.sub > 1'", &["rules[name=\"r\"].allow_if: column 1: an operator or a function does not take values of these types: "]),
    ("[[rules]]\nname = \"r\"\non = [\"task-deleted\"]\nallow_if = 'now > timestamp(\"tomorrow\")'", &["rules[name=\"r\"].allow_if: column 1: a value cannot be calculated with: "]),
    ("[events.database-change.fields.title]\nkind = \"string\"\n[[rules]]\nname = \"r\"\non = [\"task-deleted\"]\nallow_if = 'event.payload.titel == \"x\"'", &["rules[name=\"r\"].allow_if: `event.payload.titel` is a field that no event it judges may have; did you mean `title`?"]),
    ("[[rules]]\nname = \"r\"\non = [\"task-deleted\"]\nallow_if = 'has(event.payload.title)'", &["rules[name=\"r\"].allow_if: `event.payload.title` is a field that no event it judges may have; declare it in `fields`"]),
    ("[[events.database-change.types]]\nmatch = \"board-renamed\"\ntask_id = \"forbidden\"\n[[rules]]\nname = \"r\"\non = [\"*\"]\nallow_if = 'event.taskId != 3'", &["rules[name=\"r\"].allow_if: it has no answer for any \"board-renamed\" of \"database-change\": it asks for a field that is not there; ask for what such an event has"]),
    ("[[events.database-change.types]]\nmatch = \"board-renamed\"\ntask_id = \"forbidden\"\n[[rules]]\nname = \"r\"\non = [\"board-*\"]\nallow_if = 'event.type == \"x\" && event.taskId != 3'", &["rules[name=\"r\"].allow_if: column 22: it asks for a field that is not there: "]),
    // Who may hear what.
    ("[[audience]]\non = []", &["audience[0]: an entry without `name`; add name = \"…\""]),
    ("[[audience]]\nname = \"a\"\non = [\"task-deleted\"]", &["audience[name=\"a\"].hear_if: no expression; write hear_if = '…'"]),
    ("[[audience]]\nname = \"a\"\nhear_if = 'true'", &["audience[name=\"a\"].on: no types; write the types that it judges"]),
    ("[[audience]]\nname = \"a\"\non = [\"task-deletd\"]\nhear_if = 'true'", &["audience[name=\"a\"].on[0]: \"task-deletd\" matches no type of any event; did you mean `task-deleted`?"]),
    ("[[audience]]\nname = \"a\"\non = [\"task-deleted\"]\nhear_if = 'true'\nteams = []", &["audience[name=\"a\"].teams: no teams, so the rule could never judge anybody"]),
    ("[[audience]]\nname = \"a\"\non = [\"task-deleted\"]\nhear_if = 'true'\nteams = [\"red\", \"a:b\"]", &["audience[name=\"a\"].teams[1]: \"a:b\" matches no team, since no team's name holds ':'; write names or globs"]),
    ("[[audience]]\nname = \"a\"\non = [\"task-deleted\"]\nhear_if = 'true'\nteams = [\"\"]", &["audience[name=\"a\"].teams[0]: an empty name"]),
    ("auth.mode = \"off\"\n[[audience]]\nname = \"a\"\non = [\"task-deleted\"]\nhear_if = 'true'\nteams = [\"red\"]", &["audience[name=\"a\"].teams[0]: \"red\" matches no team, since auth.mode is \"off\""]),
    ("[[audience]]\nname = \"a\"\non = [\"task-deleted\"]\nhear_if = 'true'\nmode = \"watch\"", &["audience[name=\"a\"].mode: found \"watch\"; write `enforce`, `observe` or `off`"]),
    ("[[audience]]\nname = \"a\"\non = [\"task-deleted\"]\nhear_if = 'true'\nallow_if = 'true'", &["audience[name=\"a\"].allow_if: unknown key; known here: `name`, `on`, `teams`, `hear_if` or `mode`"]),
    ("[[audience]]\nname = \"a\"\non = [\"task-deleted\"]\nhear_if = 'event.taskId == 1'", &["audience[name=\"a\"].hear_if: column 1: `event` is no variable; write `peer`, `team` or `now`"]),
    ("[[audience]]\nname = \"a\"\non = [\"task-deleted\"]\nhear_if = 'true && peer.rols == []'", &["audience[name=\"a\"].hear_if: column 9: `peer` has no field `rols`; did you mean `roles`?"]),
    ("[[audience]]\nname = \"a\"\non = [\"task-deleted\"]\nhear_if = 'true || team'", &["audience[name=\"a\"].hear_if: column 9: a value of type string, where true or false is needed; compare it"]),
    ("[[audience]]\nname = \"a\"\non = [\"task-deleted\"]\nhear_if = 'team > 1'", &["audience[name=\"a\"].hear_if: column 1: an operator or a function does not take values of these types: "]),
    ("auth.mode = \"off\"\n[[audience]]\nname = \"a\"\non = [\"task-deleted\"]\nhear_if = 'peer.sub == \"ann\"'", &["audience[name=\"a\"].hear_if: column 1: it asks for a field that is not there: No such key: sub; ask first, as in has(peer.sub)"]),
    // What may be sent.
    ("[events.chat]\npayload = \"any\"", &["events.chat.emit: no name to relay this event under; write emit"]),
    ("[events.connect]\nemit = \"a\"\npayload = \"any\"", &["events.connect: \"connect\" is a name that Socket.IO keeps"]),
    ("[events.database-change]\nemit = \"disconnect\"", &["events.database-change.emit: \"disconnect\" is a name that Socket.IO keeps"]),
    ("[events.database-change]\nemit = \"\"", &["events.database-change.emit: an empty name"]),
    ("[events.\"a\\\"b\"]\nemit = \"x\"\npayload = \"any\"", &["holds '\"', and quotes"]),
    ("[events.database-change]\nemit = \"a\\nb\"", &["events.database-change.emit: \"a\\nb\" holds '\\n'"]),
    ("[events.database-change]\nsender = \"included\"", &["events.database-change.sender: found \"included\"; did you mean `include`?"]),
    ("[events.database-change]\npayload = \"raw\"", &["events.database-change.payload: found \"raw\"; write `typed` or `any`"]),
    ("[events.database-change]\nunknown_fields = \"drop\"", &["events.database-change.unknown_fields: found \"drop\"; write `reject`, `strip` or `pass`"]),
    ("[events.database-change]\nteam_field = \"taskId\"", &["events.database-change.team_field: \"taskId\" has a meaning of its own"]),
    ("[events.database-change]\nteam_field = \"team\"\npayload = \"any\"", &["events.database-change.team_field: no field is looked at"]),
    ("[events.database-change]\nteam_field = \"team\"\nfields.team.kind = \"string\"", &["events.database-change.team_field: \"team\" is declared in `fields` too"]),
    ("[events.database-change.fields.timestamp]\nkind = \"string\"", &["events.database-change.fields.timestamp: \"timestamp\" has settings of its own"]),
    ("[events.database-change.fields.a]\npresence = \"optional\"", &["events.database-change.fields.a.kind: no kind; write kind"]),
    ("[events.database-change.fields.a]\nkind = \"text\"", &["events.database-change.fields.a.kind: found \"text\"; write `string`"]),
    ("[events.database-change.fields.a]\nkind = \"boolean\"\nmax_length = 3", &["events.database-change.fields.a.max_length: this kind has no length"]),
    ("[events.database-change.fields.a]\nkind = \"string\"\nmax_length = 0", &["events.database-change.fields.a.max_length: found 0"]),
    ("[events.database-change.timestamp]\npresence = \"always\"", &["events.database-change.timestamp.presence: found \"always\"; write `required`, `optional` or `forbidden`"]),
    ("[events.database-change.timestamp]\nmax_age = \"0s\"", &["events.database-change.timestamp.max_age: \"0s\" is no time at all"]),
    ("[events.database-change.task_id]\nkinds = []", &["events.database-change.task_id.kinds: no kind"]),
    ("[events.database-change.task_id]\nkinds = [\"uuid\"]", &["events.database-change.task_id.kinds[0]: found \"uuid\"; write `integer` or `string`"]),
    ("[events.database-change.task_id]\nmax_length = 0", &["events.database-change.task_id.max_length: found 0"]),
    ("[[events.database-change.types]]\nmatch = \"a\"\ntask_id = \"never\"", &["events.database-change.types[match=\"a\"].task_id: found \"never\""]),
    (
        "[[events.database-change.types]]\nmatch = \"a\"\n[[events.database-change.types]]\nmatch = \"a\"",
        &["events.database-change.types[match=\"a\"]: two entries with match = \"a\" in one place"],
    ),
    (
        "[[events.database-change.types]]\nmatch = \"c-*\"\n[[events.database-change.types]]\nmatch = \"c-*-x*\"",
        &["events.database-change.types[match=\"c-*-x*\"]: it never matches, since \"c-*\" before it matches all"],
    ),
];

#[test]
fn every_impossible_value_is_refused_with_its_mend() {
    for (text, expected) in IMPOSSIBLE {
        let problems = Given::file(text).problems();
        let lines: Vec<&str> = problems.lines().collect();
        assert_eq!(lines.len(), expected.len() + 1, "{text}\n{problems}");
        for fragment in *expected {
            assert!(problems.contains(fragment), "{text}\nwants {fragment}\nhas   {problems}");
        }
        // Also where a default of ours is the other half of what cannot be, the user's own file is named.
        let theirs = ["app.toml: ", "issuer.toml: auth.issuers[name=\"app\"].algorithms: "];
        for line in &lines[..lines.len() - 1] {
            assert!(theirs.iter().any(|file| line.starts_with(file)), "{text}\n{problems}");
        }
    }
}

/// What one issuer says, and parts of the answer.
#[rustfmt::skip] // One case a line.
const ISSUERS: &[(&str, &[&str])] = &[
    ("", &["auth.issuers[name=\"b\"].algorithms: no algorithm", "auth.issuers[name=\"b\"]: no key to verify its tokens with; write one of secret_env"]),
    ("algorithms = [\"hs256\"]\nsecret_env = \"LONG\"", &["algorithms[0]: \"hs256\" is no algorithm that flowgate verifies; did you mean `HS256`?"]),
    ("algorithms = [\"none\"]\nsecret_env = \"LONG\"", &["algorithms[0]: \"none\" is no algorithm that flowgate verifies"]),
    ("algorithms = [\"HS256\", \"RS256\"]\nsecret_env = \"LONG\"", &["algorithms: HS256, RS256: HS with others"]),
    ("algorithms = [\"HS256\"]\nsecret_env = \"LONG\"\nsecret_file = \"x\"", &["secret_file: secret_env and secret_file together; keep one of"]),
    ("algorithms = [\"HS256\"]\nsecret_env = \"hunter2\"", &["secret_env: the environment variable that this names is not set; set it"]),
    ("algorithms = [\"HS256\"]\nsecret_env = \"UNSET\"", &["secret_env: the environment variable UNSET is not set; set UNSET"]),
    ("algorithms = [\"HS256\"]\nsecret_env = \"hunter2-hunter2\"", &["secret_env: this is not the name of an environment variable"]),
    ("algorithms = [\"HS256\"]\nsecret_env = \"SHORT\"", &["secret_env: the secret is 31 bytes long and HS256 needs at least 32"]),
    ("algorithms = [\"HS256\", \"HS512\"]\nsecret_env = \"MIDDLE\"", &["secret_env: the secret is 40 bytes long and HS512 needs at least 64"]),
    ("algorithms = [\"HS256\"]\nsecret_env = [\"LONG\", \"SHORT\"]", &["secret_env[1]: the secret is 31 bytes long"]),
    ("algorithms = [\"HS256\"]\nsecret_file = \"nowhere\"", &["secret_file: ", "nowhere cannot be read: "]),
    ("algorithms = [\"HS256\"]\nsecret_file = \"empty\"", &["secret_file: ", "empty is empty"]),
    ("algorithms = [\"ES256\"]\nsecret_env = \"LONG\"", &["secret_env: ES256 needs a public key"]),
    ("algorithms = [\"HS256\"]\npublic_key_file = \"p256.pem\"", &["public_key_file: "]),
    ("algorithms = [\"RS256\"]\npublic_key_file = \"p256.pem\"", &["public_key_file: ", "cannot verify RS256"]),
    ("algorithms = [\"RS256\"]\njwks_file = \"empty-set\"", &["jwks_file: no key in this JWKS"]),
    ("algorithms = [\"ES256\"]\njwks_url = \"http://a.example/jwks\"", &["jwks_url: an http:// address", "or insecure_http = true"]),
    ("algorithms = [\"ES256\"]\njwks_url = \"a.example\"", &["jwks_url: this is not a URL; write one such as https://"]),
    ("algorithms = [\"ES256\"]\njwks_url = \"ftp://a.example/\"", &["jwks_url: this is not an http or https address"]),
    ("algorithms = [\"HS256\"]\njwks_url = \"https://a.example/\"", &["jwks_url: HS256 needs a shared secret"]),
    ("issuer = \"\"\nalgorithms = [\"HS256\"]\nsecret_env = \"LONG\"", &["issuer: an empty text"]),
    ("audience = [\"\"]\nalgorithms = [\"HS256\"]\nsecret_env = \"LONG\"", &["audience[0]: an empty text"]),
    ("max_lifetime = \"0s\"\nalgorithms = [\"HS256\"]\nsecret_env = \"LONG\"", &["max_lifetime: \"0s\" is no time at all"]),
    ("algorithms = [\"HS256\"]\nsecretenv = \"LONG\"", &["secretenv: unknown key; did you mean `secret_env`?"]),
];

#[test]
fn issuers_that_cannot_work_are_refused() {
    for (text, expected) in ISSUERS {
        let issuer = if text.contains("issuer =") { "" } else { "issuer = \"https://b.example\"\n" };
        let given = Given::nothing()
            .env("LONG", &"l".repeat(64))
            .env("SHORT", &"s".repeat(31))
            .env("MIDDLE", &"m".repeat(40))
            .and("app.toml", &format!("[[auth.issuers]]\nname = \"b\"\n{issuer}{text}\n"));
        let in_folder = |name: &str| given.folder.path().join(name);
        std::fs::copy("tests/fixtures/keys/p256.pub.pem", in_folder("p256.pem")).unwrap();
        std::fs::write(in_folder("empty"), "").unwrap();
        std::fs::write(in_folder("empty-set"), r#"{"keys":[]}"#).unwrap();
        let problems = given.problems();
        let all_there = expected.iter().all(|fragment| problems.contains(fragment));
        assert!(all_there, "{text}\nwants {expected:?}\nhas   {problems}");
        assert!(problems.starts_with("app.toml: auth.issuers[name=\"b\"]"), "{text}\n{problems}");
        assert!(!problems.contains("hunter2"), "{problems}");
        let count = if text.is_empty() { "2 problems" } else { "1 problem in" };
        assert!(problems.contains(count), "{text}\n{problems}");
    }
}

#[test]
fn issuers_that_cannot_be_told_apart_are_refused() {
    let issuer = |name: &str, issuer: &str| {
        format!(
            "[[auth.issuers]]\nname = \"{name}\"\n{issuer}\nalgorithms = [\"HS256\"]\nsecret_env = \"APP_SECRET\"\n"
        )
    };
    let problems = Given::file(&issuer("other", "")).problems();
    assert!(
        problems.contains("app.toml: auth.issuers[name=\"other\"]: no `issuer`, like \"app\""),
        "{problems}"
    );
    let same = "issuer = \"https://a.example\"";
    let problems = Given::file(&(issuer("one", same) + &issuer("two", same))).problems();
    assert!(
        problems.contains(
            "auth.issuers[name=\"two\"].issuer: \"https://a.example\" is also the issuer of \"one\""
        )
    );
    assert!(problems.contains("in a list"), "{problems}");
    let problems = Given::file(&(issuer("one", same) + &issuer("one", same))).problems();
    assert!(problems.contains("two entries with name = \"one\" in one place"), "{problems}");
    assert_eq!(Given::file(&issuer("one", same)).policy().auth.issuers.len(), 2);
}

#[test]
fn keys_are_read_beside_the_file_that_names_them() {
    let given = Given::nothing();
    let folder = given.folder.path().join("policy");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("old.secret"), "o".repeat(32) + "\n").unwrap();
    std::fs::write(folder.join("new.secret"), "n".repeat(32)).unwrap();
    let text = "[[auth.issuers]]\nname = \"app\"\nalgorithms = [\"HS256\"]\nsecret_file = [\"new.secret\", \"old.secret\"]";
    let given = given.and("policy/app.toml", text);
    assert_eq!(given.policy().auth.issuers.len(), 1);
    // With the newline it would be long enough.
    std::fs::write(folder.join("old.secret"), "o".repeat(31) + "\n").unwrap();
    let problems = given.problems();
    assert!(problems.contains("secret_file[1]: the secret is 31 bytes long"), "{problems}");
}

#[test]
fn all_problems_are_said_at_once() {
    let problems = Given::file("server.listen = \"x\"\nserver.lisen = \"x\"\ndrain.spread = \"x\"")
        .and("b.toml", "limits.payload.max_depth = -1\n[auth]\nmode = 5")
        .env("FLOWGATE__REFUSALS__DETAIL", "everything")
        .flag("--path", "server.path", "x")
        .problems();
    for fragment in [
        "app.toml: server.lisen: unknown key; did you mean `listen`?",
        "app.toml: server.listen: \"x\" is not an address",
        "app.toml: drain.spread: \"x\" is not a duration",
        "b.toml: limits.payload.max_depth: found -1",
        "b.toml: auth.mode: found the number 5",
        "environment variable FLOWGATE__REFUSALS__DETAIL: refusals.detail: found \"everything\"",
        "flag --path: server.path: \"x\" does not begin",
        "7 problems in the configuration",
    ] {
        assert!(problems.contains(fragment), "wants {fragment}\nhas {problems}");
    }
}

#[test]
fn what_seems_missing_waits_for_what_is_misspelt() {
    let problems = Given::nothing().and("app.toml", "[[auth.isuers]]\nname = \"app\"").problems();
    assert!(problems.contains("auth.isuers: unknown key; did you mean `issuers`?\n1 problem"), "{problems}");
    for text in [
        "[events.chat]\npayload = \"any\"\nemitt = \"said\"",
        "[events.chat]\npayload = \"any\"\nemit = 5",
        "[[rules]]\nname = \"a.b\"\non = 5\nallow_if = 'true'",
    ] {
        let problems = Given::file(text).problems();
        assert!(problems.contains("\n1 problem"), "{text}\n{problems}");
    }
}

#[test]
fn what_is_missing_is_said_beside_what_is_wrong_elsewhere() {
    for wrong in [
        "server.transports = 5",
        "server.lisen = \"x\"",
        "colour = \"red\"",
        "limits.events.per_user = \"often\"",
        "events.other.emit = 5\nevents.other.payload = \"any\"",
        "events.chat.colour = \"red\"",
    ] {
        let problems = Given::file(&format!("{wrong}\nevents.chat.payload = \"any\"")).problems();
        assert!(problems.contains("app.toml: events.chat.emit: no name to relay"), "{wrong}\n{problems}");
        assert!(problems.contains("\n2 problems"), "{wrong}\n{problems}");
    }
    // A file that cannot be read may say whatever seems to be missing.
    let problems = Given::file("events.chat.payload = \"any\"").and("more.toml", "x = ").problems();
    assert!(problems.contains("more.toml:1:5: ") && !problems.contains("emit"), "{problems}");
    let problems =
        Given::file("events.chat.payload = \"any\"").env("FLOWGATE__EVENTS__CHAT__EMITT", "said").problems();
    assert!(problems.contains("did you mean `FLOWGATE__EVENTS__CHAT__EMIT`?\n1 problem"), "{problems}");
}

#[test]
fn variables_that_lack_an_underscore_are_warned_of() {
    for (name, meant) in [
        ("FLOWGATE_SERVER_LISTEN", "FLOWGATE__SERVER__LISTEN"),
        ("flowgate_server_listn", "FLOWGATE__SERVER__LISTEN"),
        ("FLOWGATE_SERVER__LISTEN", "FLOWGATE__SERVER__LISTEN"),
        ("FLOWGATE_LIMITS_EVENTS_PER_USER_BURST", "FLOWGATE__LIMITS__EVENTS__PER_USER__BURST"),
        ("FLOWGATE_EVENTS_DATABASE_CHANGE_SENDER", "FLOWGATE__EVENTS__DATABASE_CHANGE__SENDER"),
        ("FLOWGATE_AUTH_ISSUERS_APP_AUDIENCE", "FLOWGATE__AUTH__ISSUERS__APP__AUDIENCE"),
        ("FLOWGATE_AUTH_ISSUERS", "FLOWGATE__AUTH__ISSUERS"),
        ("FLOWGATE_ROOMS_ANONYMOUS", "FLOWGATE__ROOMS__ANONYMOUS"),
    ] {
        let warnings = Given::file("").env(name, "secret").warnings();
        assert!(
            warnings.starts_with(&format!("environment variable {name}: it sets nothing")),
            "{name}: {warnings}"
        );
        assert!(warnings.contains(&format!("did you mean `{meant}`?\n1 problem")), "{name}: {warnings}");
        assert!(!warnings.contains("secret"), "{warnings}");
    }
    // Ours that are no settings, those that settings name, and what an orchestrator sets for a service of such a name.
    let others = Given::nothing()
        .and("app.toml", &super::ISSUER.replace("APP_SECRET", "FLOWGATE_AUTH_MODE"))
        .env("FLOWGATE_AUTH_MODE", &"s".repeat(32))
        .env("FLOWGATE_CONFIG", "x")
        .env("FLOWGATE_LOG", "info")
        .env("FLOWGATE_LOG_FORMAT", "text")
        .env("FLOWGATE_JWT_SECRET", "x")
        .env("FLOWGATE_PORT", "tcp://10.0.0.1:3000")
        .env("FLOWGATE_SERVICE_HOST", "10.0.0.1")
        .env("FLOWGATE_SERVER_PORT", "tcp://10.0.0.1:3000")
        .env("FLOWGATE_SERVER_SERVICE_HOST", "10.0.0.1")
        .env("FLOWGATE_INTERNAL_PORT_3001_TCP", "tcp://10.0.0.1:3001");
    assert_eq!(others.load().unwrap().warnings, []);
    // Two underscores first and one later is refused, with what was meant.
    let problems = Given::file("").env("FLOWGATE__SERVER_LISTEN", "x").problems();
    assert!(problems.contains("unknown key; did you mean `FLOWGATE__SERVER__LISTEN`?"), "{problems}");
}

#[test]
fn syntax_errors_show_the_line() {
    let given = Given::file("[server]\nlisten = \nport = 3000 4000\n");
    let problems = given.problems();
    assert!(problems.contains("app.toml:2:10: "), "{problems}");
    assert!(problems.contains("3 | port = 3000 4000"), "{problems}");
    let problems = Given::file("[server]\npath = \"/a\"\npath = \"/b\"").problems();
    assert!(problems.contains("app.toml:3:1: ") && problems.contains("duplicate key"), "{problems}");
    let problems = Given::file("limits.payload.max_depth = 99999999999999999999").problems();
    assert!(problems.contains("app.toml:1:28: "), "{problems}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let mut given = Given::file("");
    given.sources.paths.push(given.folder.path().join("missing.toml"));
    std::fs::write(given.folder.path().join("latin1.toml"), b"# \xe9").unwrap();
    given.sources.paths.push(given.folder.path().join("latin1.toml"));
    let empty = given.folder.path().join("empty");
    std::fs::create_dir(&empty).unwrap();
    given.sources.paths.push(empty);
    let problems = given.problems();
    assert!(problems.contains("missing.toml: this file cannot be read: "), "{problems}");
    assert!(problems.contains("latin1.toml: this file is not UTF-8"), "{problems}");
    assert!(problems.contains("empty: this folder holds no *.toml"), "{problems}");
    assert!(problems.contains("3 problems"), "{problems}");
}

#[test]
fn mistakes_in_the_environment_name_the_variable() {
    for (name, value, expected) in [
        (
            "FLOWGATE__SERVER__LISEN",
            "x",
            "server.lisen: unknown key; did you mean `FLOWGATE__SERVER__LISTEN`?",
        ),
        (
            "FLOWGATE__SERVR__LISTEN",
            "x",
            "servr.listen: unknown key; did you mean `FLOWGATE__SERVER__LISTEN`?",
        ),
        ("FLOWGATE__COLOUR", "x", "colour: unknown key; known there: `server`"),
        ("FLOWGATE__", "x", "unknown key"),
        ("FLOWGATE__SERVER__LISTEN__PORT", "1", "unknown key: what stands before its last part is no table"),
        ("FLOWGATE__SERVER", "x", "server: not a TOML value"),
        (
            "FLOWGATE__LIMITS__CONNECTIONS__TOTAL",
            "many",
            "limits.connections.total: found a string; write a whole number",
        ),
        (
            "FLOWGATE__SERVER__ALLOW_MISSING_ORIGIN",
            "1",
            "server.allow_missing_origin: found a string; write true or false",
        ),
        ("FLOWGATE__SERVER__TRANSPORTS", "[1", "server.transports: not a TOML value"),
        ("FLOWGATE__SERVER__TRANSPORTS", "[]\nx = 1", "server.transports: more than one TOML value"),
        (
            "FLOWGATE__EVENTS__CHAT__EMIT",
            "x",
            "`chat` names nothing that the files define; there are `database-change`",
        ),
        (
            "FLOWGATE__AUTH__ISSUERS__OTHER__ISSUER",
            "x",
            "`other` names nothing that the files define; there are `app`",
        ),
    ] {
        let problems = Given::file("").env(name, value).problems();
        assert!(problems.starts_with(&format!("environment variable {name}: ")), "{problems}");
        assert!(problems.contains(expected), "wants {expected}\nhas {problems}");
        assert!(problems.contains("1 problem in"), "{problems}");
    }
    let twice = Given::file("").env("FLOWGATE__SERVER__PATH", "/a").env("flowgate__server__path", "/b");
    assert!(
        twice.problems().contains("the same setting as FLOWGATE__SERVER__PATH; keep one"),
        "{}",
        twice.problems()
    );
}

#[test]
fn what_is_possible_but_doubtful_is_warned_of() {
    let issuer = "[[auth.issuers]]\nname = \"b\"\nissuer = \"b\"\nalgorithms = [\"ES256\"]\n";
    for (text, expected) in [
        ("auth.mode = \"off\"", "app.toml: auth.mode: nobody is asked"),
        (
            "auth.mode = \"optional\"",
            "rooms.anonymous: not set, so clients without a token are admitted and hear nothing",
        ),
        (
            "rooms.anonymous = \"lobby\"",
            "app.toml: rooms.anonymous: has no effect, since auth.mode is \"required\"",
        ),
        (
            "internal.admin_token_env = \"NOT_SET\"",
            "app.toml: internal.admin_token_env: the environment variable NOT_SET is not set, so the API is closed",
        ),
        ("internal.listen = \"0.0.0.0:9000\"", "app.toml: internal.listen: \"0.0.0.0:9000\" can be reached"),
        (
            "server.trusted_proxies = [\"0.0.0.0/0\"]",
            "app.toml: server.trusted_proxies[0]: \"0.0.0.0/0\" holds every address",
        ),
        ("events.database-change.types = []", "events.database-change.types: no types"),
        (
            "[[rules]]\nname = \"r\"\non = [\"task-moved\"]\nallow_if = 'event.taskId > 3'",
            "app.toml: rules[name=\"r\"].allow_if: it has no answer for a \"task-moved\" whose taskId is a string: an operator or a function does not take",
        ),
        (
            "[[rules]]\nname = \"r\"\non = [\"task-created\"]\nallow_if = 'event.taskId != 3'",
            "rules[name=\"r\"].allow_if: it has no answer for a \"task-created\" without what is optional: it asks for a field that is not there",
        ),
        (
            "auth.mode = \"optional\"\nrooms.anonymous = \"lobby\"\n[[audience]]\nname = \"a\"\non = [\"*\"]\nhear_if = 'peer.sub != \"x\"'",
            "app.toml: audience[name=\"a\"].hear_if: it has no answer for a peer without a token: it asks for a field that is not there; ask first",
        ),
        (
            &format!("{issuer}jwks_url = \"http://b.example\"\ninsecure_http = true"),
            "insecure_http: keys are fetched over http",
        ),
        (
            &format!("{issuer}jwks_url = \"https://b.example\"\ninsecure_http = true"),
            "insecure_http: has no effect",
        ),
    ] {
        let warnings = Given::file(text).warnings();
        assert!(
            warnings.contains(expected) && warnings.contains("1 problem in"),
            "wants {expected}\nhas {warnings}"
        );
    }
    let both = Given::file("auth.mode = \"optional\"\nrooms.anonymous = \"lobby\"");
    assert_eq!(both.load().unwrap().warnings, []);
    assert_eq!(both.policy().rooms.anonymous.as_deref(), Some("lobby"));
    let any_port = Given::file("server.listen = \"127.0.0.1:0\"\ninternal.listen = \"127.0.0.1:0\"");
    assert_eq!(any_port.policy().server.listen.port(), 0);
}
