-- A session waits: it is given the longest waiter who fits, or its place in the lines. Both sides are written at once.
-- Answers {'found'}, {'paired'} when it is in a pair that its node has not heard of yet, or {'waiting', ms}: after that
-- time it may meet again whom it has met lately; -1 when nothing becomes different by itself.
local prefix, node, me, mode = ARGV[1] .. ':', ARGV[2], ARGV[3], ARGV[4]
local interests, waited, widened = cjson.decode(ARGV[5]), tonumber(ARGV[6]), ARGV[7] == '1'
local met, last_pair, pair = cjson.decode(ARGV[8]), ARGV[9], ARGV[10]
local offer_ms, lease_ms, looks, stream, party = ARGV[11], ARGV[12], tonumber(ARGV[13]), ARGV[14], ARGV[15]

local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local now_ms = math.floor(now / 1000)
local own = prefix .. 's:' .. me

-- Takes a waiting session out of all its lines.
local function unline(id, owner, lines)
  for _, line in ipairs(cjson.decode(lines)) do redis.call('ZREM', line, id) end
  redis.call('SREM', prefix .. 'waiting:' .. owner, id)
end

local known = redis.call('HMGET', own, 'state', 'pair', 'since', 'lines', 'node')
if known[1] == 'paired' and known[2] ~= last_pair then return {'paired'} end
local since = now - waited
if known[1] == 'waiting' then
  unline(me, known[5], known[4])
  since = tonumber(known[3])
end

-- How long two have not to meet again, in milliseconds.
local function apart(id, theirs)
  local left = met[id] or 0
  if string.find(theirs, me, 1, true) then
    left = math.max(left, (cjson.decode(theirs)[me] or 0) - now_ms)
  end
  return left
end

-- One person in two windows, and people of whom one has blocked the other, never meet.
local function strangers(theirs)
  if theirs == party then return false end
  local first, second = party, theirs
  if second < first then first, second = second, first end
  return redis.call('EXISTS', prefix .. 'apart:' .. first .. ':' .. second) == 0
end

local best, again
local function look(line)
  local heads = redis.call('ZRANGE', line, 0, looks - 1, 'WITHSCORES')
  for at = 1, #heads, 2 do
    local id, theirs = heads[at], tonumber(heads[at + 1])
    if best and theirs >= best.since then return end
    if id ~= me then
      local found = redis.call('HMGET', prefix .. 's:' .. id, 'state', 'node', 'recent', 'lines', 'interests',
        'party')
      if not found[1] then
        -- Its node has not renewed it: nobody speaks for it any more.
        redis.call('ZREM', line, id)
      elseif found[1] == 'waiting' then
        if redis.call('EXISTS', prefix .. 'node:' .. found[2]) == 0 then
          unline(id, found[2], found[4])
          redis.call('DEL', prefix .. 's:' .. id)
        else
          local left = apart(id, found[3])
          if left <= 0 and strangers(found[6]) then
            best = {id = id, since = theirs, node = found[2], lines = found[4], interests = cjson.decode(found[5])}
            return
          end
          if left > 0 then again = math.min(again or left, left) end
        end
      end
    end
  end
end
local lines = {}
for _, interest in ipairs(interests) do
  lines[#lines + 1] = prefix .. 'line:' .. mode .. ':' .. interest
  look(lines[#lines])
end
if widened then
  lines[#lines + 1] = prefix .. 'open:' .. mode
  if not best then look(lines[#lines]) end
end

if not best then
  for _, line in ipairs(lines) do
    redis.call('ZADD', line, string.format('%.0f', since), me)
    redis.call('PEXPIRE', line, 10 * lease_ms)
  end
  local recent = {}
  for id, left in pairs(met) do recent[id] = now_ms + left end
  redis.call('DEL', own)
  redis.call('HSET', own, 'state', 'waiting', 'node', node, 'since', string.format('%.0f', since), 'lines',
    cjson.encode(lines), 'interests', ARGV[5], 'recent', cjson.encode(recent), 'party', party)
  redis.call('PEXPIRE', own, lease_ms)
  redis.call('SADD', prefix .. 'waiting:' .. node, me)
  redis.call('PEXPIRE', prefix .. 'waiting:' .. node, 10 * lease_ms)
  return {'waiting', again and math.ceil(again) or -1}
end

unline(best.id, best.node, best.lines)
local mine = {id = me, node = node, interests = interests}
local first, second = best, mine
if since < best.since then first, second = mine, best end
for _, side in ipairs({first, second}) do
  local key = prefix .. 's:' .. side.id
  redis.call('DEL', key)
  redis.call('HSET', key, 'state', 'paired', 'pair', pair, 'node', side.node)
  redis.call('PEXPIRE', key, offer_ms)
end
local theirs, common = {}, {}
for _, interest in ipairs(second.interests) do theirs[interest] = true end
for _, interest in ipairs(first.interests) do
  if theirs[interest] then common[#common + 1] = interest end
end
local message = cjson.encode({found = {pair = pair, initiator = first.id, responder = second.id,
  nodes = {first.node, second.node}, common = #common > 0 and common or nil}})
redis.call('XADD', prefix .. 'in:' .. first.node, 'NOMKSTREAM', 'MAXLEN', '~', stream, '*', 'm', message)
if first.node ~= second.node then
  local offer = prefix .. 'offer:' .. pair
  redis.call('HSET', offer, 'a', first.id, 'b', second.id, 'a_node', first.node, 'b_node', second.node)
  redis.call('PEXPIRE', offer, offer_ms)
  redis.call('XADD', prefix .. 'in:' .. second.node, 'NOMKSTREAM', 'MAXLEN', '~', stream, '*', 'm', message)
end
return {'found'}
