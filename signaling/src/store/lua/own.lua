-- A node owns a session. Answers the living node that owns its partner, or nothing.
local prefix, node, me, resume, partner, life_ms = ARGV[1] .. ':', ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
redis.call('SET', prefix .. 'at:' .. me, node, 'PX', life_ms)
redis.call('SET', prefix .. 'resume:' .. resume, node, 'PX', life_ms)
if partner == '' then return '' end
local theirs = redis.call('GET', prefix .. 'at:' .. partner)
if theirs and redis.call('EXISTS', prefix .. 'node:' .. theirs) == 1 then return theirs end
return ''
