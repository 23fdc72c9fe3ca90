-- A client comes to a node with a session of another. One that its node has left behind is taken; a living node is asked
-- for it. Answers {'left', session}, {'asked'} or {'unknown'}.
local prefix, node, resume, ticket, stream = ARGV[1] .. ':', ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local left = redis.call('GETDEL', prefix .. 'left:' .. resume)
if left then return {'left', left} end
local owner = redis.call('GET', prefix .. 'resume:' .. resume)
if not owner or owner == node or redis.call('EXISTS', prefix .. 'node:' .. owner) == 0 then return {'unknown'} end
redis.call('XADD', prefix .. 'in:' .. owner, 'NOMKSTREAM', 'MAXLEN', '~', stream, '*', 'm',
  cjson.encode({claim = {resume = resume, node = node, ticket = tonumber(ticket)}}))
return {'asked'}
