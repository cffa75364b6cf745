-- Reads what streams have behind a stamp, all at one moment.
--
-- KEYS: the clock, the numbers of the last messages of the node from which somebody comes and of this one, then the streams.
-- ARGV: the stamp's epoch, ms and seq; how many entries at most, and how many bytes of messages.
-- Returns nil where the epoch is over or it is too much; else ms and seq of the last stamp, the time in ms, for how long streams are
-- kept in ms, both numbers, and for each stream whether it exists and its entries: id, before, node, number, message.

local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local clock = redis.call('HMGET', KEYS[1], 'run', 'epoch', 'ms', 'seq', 'age')
if clock[1] ~= run or clock[2] ~= ARGV[1] then return false end
local time = redis.call('TIME')
local most, most_bytes, streams = tonumber(ARGV[4]), tonumber(ARGV[5]), {}
for at = 4, #KEYS do
  local entries, from = {}, '(' .. ARGV[2] .. '-' .. ARGV[3]
  while from do
    local some = redis.call('XRANGE', KEYS[at], from, '+', 'COUNT', 100)
    for _, entry in ipairs(some) do
      local field = entry[2]
      -- Of an epoch before there is nothing behind the stamp, unless a clock went back.
      if field[2] ~= ARGV[1] then return false end
      most, most_bytes = most - 1, most_bytes - #field[12]
      if most < 0 or most_bytes < 0 then return false end
      table.insert(entries, { entry[1], field[4], field[6], field[8], field[12] })
    end
    from = some[100] and '(' .. some[100][1]
  end
  table.insert(streams, { redis.call('EXISTS', KEYS[at]), entries })
end
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
return { clock[3], clock[4], now, clock[5], redis.call('GET', KEYS[2]) or '0', redis.call('GET', KEYS[3]) or '0', streams }
