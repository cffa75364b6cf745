-- Publishes one change, and keeps it in the streams of its teams, in one go. What was published before is not published again.
--
-- KEYS: the clock, the number of the node's last message, then each team's stream.
-- ARGV: the epoch if another begins; the message's number, and that of the one which must have gone before (0: none must); the
-- node; count, age in ms and bytes of what is kept; for how long its number is remembered, ms; then each team's channel and message.
-- Returns 1 if it was published now.

local number, after = tonumber(ARGV[2]), tonumber(ARGV[3])
local count, age, bytes = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local teams = #KEYS - 2
local done = tonumber(redis.call('GET', KEYS[2]) or 0)
if number <= done then return 0 end
if done < after then return redis.error_reply('ORDER one before it is missing') end

-- Anything but digits would be a power of ten.
local function digits(value) return string.format('%.0f', value) end

local function must(answer)
  if type(answer) == 'table' and answer.err then error(answer.err) end
  return answer
end

local epoch, last, seq, sums = nil, 0, 0, {}

local function keep()
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  local clock = redis.call('HMGET', KEYS[1], 'run', 'epoch', 'ms', 'seq', 'age')
  local time = redis.call('TIME')
  local now = time[1] * 1000 + math.floor(time[2] / 1000)
  epoch, last, seq = clock[2], tonumber(clock[3] or 0), tonumber(clock[4] or 0)
  local least = tonumber(clock[5] or age)
  -- After a restart nobody knows what was lost.
  if clock[1] ~= run or not epoch then epoch, least = ARGV[1], age end
  if now > last then last, seq = now, 0 else seq = seq + 1 end
  must(redis.pcall('HSET', KEYS[1], 'run', run, 'epoch', epoch, 'ms', digits(last), 'seq', digits(seq),
    'age', digits(math.min(least, age))))
  for team = 1, teams do
    local stream, message = KEYS[2 + team], ARGV[8 + 2 * team]
    local newest, before, sum = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)[1], '', 0
    if newest and newest[2][2] ~= epoch then
      redis.call('DEL', stream)
    elseif newest then
      before, sum = newest[1], tonumber(newest[2][10]) + #newest[2][12]
    end
    local id = digits(last) .. '-' .. digits(seq)
    must(redis.pcall('XADD', stream, id, 'epoch', epoch, 'before', before, 'node', ARGV[4], 'number', ARGV[2],
      'sum', digits(sum), 'message', message))
    redis.call('XTRIM', stream, 'MAXLEN', count)
    redis.call('XTRIM', stream, 'MINID', digits(math.max(now - age, 0)))
    sum = sum + #message
    local length = redis.call('XLEN', stream)
    -- The last one stays, so that the next can name it.
    while length > 1 and sum - tonumber(redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1][2][10]) > bytes do
      length = length - 1
      redis.call('XTRIM', stream, 'MAXLEN', length)
    end
    redis.call('PEXPIRE', stream, digits(age))
  end
  must(redis.pcall('SET', KEYS[2], ARGV[2], 'PX', ARGV[8]))
end

local stamp = ''
if pcall(keep) then
  stamp = '@' .. epoch .. ' ' .. digits(last) .. ' ' .. digits(seq) .. '\n'
else
  -- Such as for want of memory. It is published all the same, and what was kept is void.
  redis.call('DEL', unpack(KEYS))
end
for team = 1, teams do
  redis.call('PUBLISH', ARGV[7 + 2 * team], stamp .. ARGV[8 + 2 * team])
end
return 1
