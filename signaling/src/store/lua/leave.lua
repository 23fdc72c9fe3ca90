-- A session leaves the queue (no pair given), or a pair has ended at its node: only what is about that very pair is
-- removed, and the partner's node is told.
local prefix, node, me, pair = ARGV[1] .. ':', ARGV[2], ARGV[3], ARGV[4]
local partner, partner_node, reason, stream = ARGV[5], ARGV[6], ARGV[7], ARGV[8]
local own = prefix .. 's:' .. me
local known = redis.call('HMGET', own, 'state', 'pair', 'lines', 'node')
if pair == '' then
  -- One that has just been paired is refused by its node when that hears of it.
  if known[1] ~= 'waiting' or known[4] ~= node then return 0 end
  for _, line in ipairs(cjson.decode(known[3])) do redis.call('ZREM', line, me) end
  redis.call('SREM', prefix .. 'waiting:' .. node, me)
  redis.call('DEL', own)
  return 1
end
for _, side in ipairs({me, partner}) do
  local key = prefix .. 's:' .. side
  if redis.call('HGET', key, 'pair') == pair then redis.call('DEL', key) end
end
redis.call('DEL', prefix .. 'offer:' .. pair)
if partner_node ~= '' then
  redis.call('XADD', prefix .. 'in:' .. partner_node, 'NOMKSTREAM', 'MAXLEN', '~', stream, '*', 'm',
    cjson.encode({ended = {pair = pair, reason = reason}}))
end
return 1
