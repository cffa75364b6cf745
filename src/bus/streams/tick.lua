-- Says which stamp the time has come to: whoever has heard all that came before this has heard all that is stamped up to it.
--
-- KEYS: the clock. ARGV: the epoch if another begins; an epoch that is to end; for how long streams are kept, in ms.
-- Returns epoch, ms and seq.

local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local clock = redis.call('HMGET', KEYS[1], 'run', 'epoch', 'ms', 'seq', 'age')
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local epoch, last, seq = clock[2], tonumber(clock[3] or 0), clock[4] or '0'
local age = tonumber(ARGV[3])
local least = tonumber(clock[5] or age)
if clock[1] ~= run or not epoch or epoch == ARGV[2] then epoch, least = ARGV[1], age end
if now > last then last, seq = now, '0' end
local ms = string.format('%.0f', last)
redis.call('HSET', KEYS[1], 'run', run, 'epoch', epoch, 'ms', ms, 'seq', seq,
  'age', string.format('%.0f', math.min(least, age)))
return { epoch, ms, seq }
