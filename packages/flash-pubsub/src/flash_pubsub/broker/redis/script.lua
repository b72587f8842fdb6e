-- Everything that RedisBroker does to a channel, each in one step.
--
-- Every operation but those on leases and the probe is called with the channel's keys, which share
-- one hash slot:
--   KEYS[1]  hash: e epoch, n number and i id of the last publication, h bytes of history, s when
--            history was last swept, x ms of idleness allowed, c fields and b bytes of the state,
--            f:<lease> highest fencing number that has published
--   KEYS[2]  list: the history, one entry per publication, as it was published
--   KEYS[3]  hash: the state, "<number>.<index>:<value>" by field
--   KEYS[4]  the pub/sub channel
-- ARGV[1] names the operation, ARGV[2] is PUBLISH or SPUBLISH, ARGV[3] an epoch nobody has used.
--
-- An entry is a msgpack array: version, epoch, number, id, time in ms, payload. One without payload
-- is a notice: the numbering has begun anew.

local VERSION = 1
local IDLE = 604800000

local operation, tell, fresh = ARGV[1], ARGV[2], ARGV[3]

local call = redis.call

local function clock()
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- A double as Redis is to store it: Lua would write 1.7e+12.
local function text(number)
  return string.format('%.0f', number)
end

-- Begin a new epoch. What is left of the history belongs to the old one.
local function rotate(number, id)
  call('HSET', KEYS[1], 'e', fresh, 'n', number, 'i', id, 'h', 0, 's', 0)
  call('DEL', KEYS[2])
  call(tell, KEYS[4], cmsgpack.pack({VERSION, fresh, number, id, 0}))
  return fresh
end

-- The channel as it is, begun if there is none, if its state was evicted without it, or if another
-- program has written its fields.
local function open()
  local kept = call('HMGET', KEYS[1], 'e', 'n', 'i', 'h', 's', 'c', 'b', 'x')
  local channel = {
    epoch = kept[1], number = tonumber(kept[2] or 0), id = kept[3] or '',
    history = tonumber(kept[4] or 0), swept = tonumber(kept[5] or 0),
    fields = tonumber(kept[6] or 0), bytes = tonumber(kept[7] or 0),
    idle = tonumber(kept[8] or IDLE),
  }
  if kept[1] and not (
    channel.number and channel.history and channel.swept and channel.fields and channel.bytes
    and channel.idle and string.find(kept[1], '^[%w_-]+$')
  ) then
    call('DEL', KEYS[1], KEYS[2])
    channel = {number = 0, id = '', history = 0, swept = 0, fields = 0, bytes = 0, idle = IDLE}
  end
  if not channel.epoch then
    call('DEL', KEYS[3])
    channel.epoch = rotate(0, '')
    call('PEXPIRE', KEYS[1], IDLE)
  elseif channel.fields > 0 and call('EXISTS', KEYS[3]) == 0 then
    call('HSET', KEYS[1], 'c', 0, 'b', 0)
    channel.epoch = rotate(channel.number, channel.id)
    channel.history, channel.swept, channel.fields, channel.bytes = 0, 0, 0, 0
  end
  return channel
end

-- With keeps_place a field that is there already stays where it is in the order of the state.
local function set(channel, field, index, value, keeps_place)
  local old = call('HSTRLEN', KEYS[3], field)
  local place = channel.number .. '.' .. index
  if keeps_place and old > 0 then
    place = string.match(call('HGET', KEYS[3], field), '^(%d+%.%d+):') or place
  end
  local stored = place .. ':' .. value
  call('HSET', KEYS[3], field, stored)
  if old == 0 then
    channel.fields = channel.fields + 1
    channel.bytes = channel.bytes + #field
  end
  channel.bytes = channel.bytes + #stored - old
end

local function unset(channel, field)
  local old = call('HSTRLEN', KEYS[3], field)
  if old > 0 then
    call('HDEL', KEYS[3], field)
    channel.fields = channel.fields - 1
    channel.bytes = channel.bytes - old - #field
  end
end

-- Forget what was set longest ago: a tenth more than need be, so that this is rare.
local function shrink(channel, max_fields, max_bytes)
  if channel.fields <= max_fields and channel.bytes <= max_bytes then
    return
  end
  local all, found = call('HGETALL', KEYS[3]), {}
  for n = 1, #all, 2 do
    local number, index = string.match(all[n + 1], '^(%d+)%.(%d+):')
    found[#found + 1] = {tonumber(number or 0), tonumber(index or 0), all[n]}
  end
  table.sort(found, function(a, b)
    return a[1] < b[1] or (a[1] == b[1] and a[2] < b[2])
  end)
  for _, entry in ipairs(found) do
    if channel.fields <= max_fields * 0.9 and channel.bytes <= max_bytes * 0.9 then
      break
    end
    -- What was set last stays, if it fits at all.
    if channel.fields == 1 and channel.bytes <= max_bytes then
      break
    end
    unset(channel, entry[3])
  end
end

-- Number a publication, remember it, tell everybody.
local function append(channel, id, payload, bounds, now)
  local max_messages, max_bytes, max_age, max_idle = unpack(bounds)
  local entry = cmsgpack.pack({VERSION, channel.epoch, channel.number, id, now, payload})
  local step = math.min(max_age / 10, 60000)
  -- A change of bounds counts at once.
  local due = now - channel.swept > step or channel.idle ~= max_idle
  if max_messages > 0 then
    local length = call('RPUSH', KEYS[2], entry)
    if length == 1 then
      channel.history = 0
      due = true
    end
    channel.history = channel.history + #entry
    while length > max_messages or (channel.history > max_bytes and length > 0) do
      channel.history = channel.history - #call('LPOP', KEYS[2])
      length = length - 1
    end
    while due and length > 0 do
      local head = call('LINDEX', KEYS[2], 0)
      local is_entry, read = pcall(cmsgpack.unpack, head)
      local at = is_entry and type(read) == 'table' and tonumber(read[5])
      if at and now - at <= max_age then
        break
      end
      call('LPOP', KEYS[2])
      channel.history = channel.history - #head
      length = length - 1
    end
  elseif due or channel.history > 0 then
    call('DEL', KEYS[2])
    channel.history = 0
  end
  call(
    'HSET', KEYS[1], 'n', channel.number, 'i', id, 'h', channel.history,
    's', text(due and now or channel.swept), 'c', channel.fields, 'b', channel.bytes, 'x', max_idle
  )
  if due then
    call('PEXPIRE', KEYS[2], math.ceil(max_age + step))
    -- Kept for longer than is promised, since this is not done every time.
    call('PEXPIRE', KEYS[1], max_idle + 60000)
  end
  if due or channel.touched then
    call('PEXPIRE', KEYS[3], max_idle + 120000)
  end
  call(tell, KEYS[4], entry)
end

local function stand(channel)
  return {channel.epoch, channel.number, channel.id}
end

local operations = {}

-- KEYS[5] the key of idempotency, KEYS[6] the lease if it is the channel's own.
-- ARGV: id, ms for which the key is kept, bounds, lease and fencing number or empty, payload, count
-- of fields to set, those and their values, fields to remove.
local function publish(count)
  local id, key_age, bounds = ARGV[4], ARGV[5], cmsgpack.unpack(ARGV[6])
  local lease, fence, payload, sets = ARGV[7], ARGV[8], ARGV[9], tonumber(ARGV[10])
  if fence ~= '' then
    if KEYS[6] and call('HGET', KEYS[6], 'n') ~= fence then
      return redis.error_reply('FENCED')
    end
    local highest = call('HGET', KEYS[1], 'f:' .. lease)
    if highest and (tonumber(highest) or 0) > tonumber(fence) then
      return redis.error_reply('FENCED')
    end
  end
  local channel = open()
  local number = channel.number + 1
  local position = channel.epoch .. ' ' .. number
  if not call('SET', KEYS[5], position, 'NX', 'PX', key_age) then
    local known = call('GET', KEYS[5])
    if string.find(known, '^%S+ %d+$') then
      return known
    end
    -- Another program has written it.
    call('SET', KEYS[5], position, 'PX', key_age)
  end
  channel.number = number
  if fence ~= '' then
    call('HSET', KEYS[1], 'f:' .. lease, fence)
  end
  local last = 10 + 2 * sets
  for n = 11, last, 2 do
    set(channel, ARGV[n], (n - 11) / 2, ARGV[n + 1], bounds[7])
  end
  for n = last + 1, count do
    unset(channel, ARGV[n])
  end
  if count > 10 then
    channel.touched = true
    shrink(channel, bounds[5], bounds[6])
  end
  append(channel, id, payload, bounds, clock())
  return position
end

-- By far the most frequent: it does without the rest of this file.
if operation == 'publish' then
  return publish(#ARGV)
end

-- ARGV: as of publish, and "<epoch> <number>" of the position that it comes right after.
operations['publish after'] = function()
  local channel = open()
  -- An earlier attempt may have done it.
  if call('EXISTS', KEYS[5]) == 0 and channel.epoch .. ' ' .. channel.number ~= ARGV[#ARGV] then
    return redis.error_reply('OVERTAKEN')
  end
  return publish(#ARGV - 1)
end

-- Where the channel stands; it lives on for as long again as it may be idle.
function operations.touch()
  local channel = open()
  call('PEXPIRE', KEYS[1], channel.idle + 60000)
  call('PEXPIRE', KEYS[3], channel.idle + 120000)
  return stand(channel)
end

-- ARGV: epoch and number of somebody's position. Entries after it follow the channel's position;
-- without them a false, if they cannot be known.
function operations.since()
  local channel, number = open(), tonumber(ARGV[5])
  local missed = channel.number - number
  if channel.epoch ~= ARGV[4] or missed < 0 or number < 0
    or missed > call('LLEN', KEYS[2]) then
    return {stand(channel), false}
  end
  return {stand(channel), missed > 0 and call('LRANGE', KEYS[2], -missed, -1) or {}}
end

-- ARGV: epoch and number of somebody's position. Those entries after it that are there follow the
-- channel's position; all that are there, if it is no position of this epoch.
function operations.kept()
  local channel, number = open(), tonumber(ARGV[5])
  local missed = channel.number - number
  if channel.epoch ~= ARGV[4] or missed < 0 or number < 0 then
    missed = channel.number
  end
  return {stand(channel), missed > 0 and call('LRANGE', KEYS[2], -missed, -1) or {}}
end

-- ARGV: epoch, number and id of the last publication that a worker has delivered. Like since; but
-- if this store never had that publication, having gone back to an older state or lost it in a
-- failover, then a new epoch begins, so that everybody is told.
function operations.resume()
  local channel, number, id = open(), tonumber(ARGV[5]), ARGV[6]
  if channel.epoch ~= ARGV[4] then
    return {stand(channel), false}
  end
  local missed = channel.number - number
  local same = missed >= 0
  if missed == 0 then
    same = channel.id == id
  elseif missed > 0 and number > 0 then
    local before = call('LINDEX', KEYS[2], -missed - 1)
    local is_entry, read = pcall(cmsgpack.unpack, before or '')
    same = not before or (is_entry and type(read) == 'table' and read[4] == id)
  end
  if not same then
    channel.epoch = rotate(channel.number, channel.id)
    return {stand(channel), false}
  end
  if missed > call('LLEN', KEYS[2]) then
    return {stand(channel), false}
  end
  return {stand(channel), missed > 0 and call('LRANGE', KEYS[2], -missed, -1) or {}}
end

function operations.snapshot()
  local channel = open()
  return {stand(channel), call('HGETALL', KEYS[3])}
end

-- ARGV: a field of the state. Nothing is begun.
function operations.value()
  return call('EXISTS', KEYS[1]) == 1 and call('HGET', KEYS[3], ARGV[4])
end

-- Presence. The channel is the one that tells of it, KEYS[5] a sorted set: until when each member
-- lives. ARGV[4] has the bounds.

local function change(channel, kind, member, data, now)
  channel.number = channel.number + 1
  channel.touched = true
  if kind == 'joined' or kind == 'changed' then
    set(channel, member, 0, data)
  else
    unset(channel, member)
  end
  local id = channel.epoch .. channel.number
  local payload = cmsgpack.pack({1, kind, member, data})
  append(channel, id, payload, cmsgpack.unpack(ARGV[4]), now)
  channel.swept = now
end

local function data_of(member)
  local stored = call('HGET', KEYS[3], member)
  return stored and string.sub(stored, (string.find(stored, ':', 1, true) or 0) + 1)
end

local function expire(channel, now)
  if call('ZCARD', KEYS[5]) < channel.fields then
    -- The set was evicted: everybody has time to say that they live.
    for _, member in ipairs(call('HKEYS', KEYS[3])) do
      call('ZADD', KEYS[5], 'NX', text(now + 60000), member)
    end
    call('PEXPIRE', KEYS[5], IDLE)
  end
  local ended = call('ZRANGEBYSCORE', KEYS[5], '-inf', text(now), 'LIMIT', 0, 1000)
  for _, member in ipairs(ended) do
    local data = data_of(member)
    call('ZREM', KEYS[5], member)
    if data then
      change(channel, 'expired', member, data, now)
    end
  end
end

-- ARGV: ms to live, id, data.
function operations.enter()
  local channel, now, member, data = open(), clock(), ARGV[6], ARGV[7]
  expire(channel, now)
  call('ZADD', KEYS[5], text(now + ARGV[5]), member)
  call('PEXPIRE', KEYS[5], IDLE)
  local before = data_of(member)
  if before ~= data then
    change(channel, before and 'changed' or 'joined', member, data, now)
  end
  return 1
end

-- ARGV: ms to live, ids. Returns the ids of those who are not there any more.
function operations.keep()
  local channel, now, gone = open(), clock(), {}
  expire(channel, now)
  for n = 6, #ARGV do
    if call('HEXISTS', KEYS[3], ARGV[n]) == 1 then
      call('ZADD', KEYS[5], text(now + ARGV[5]), ARGV[n])
    else
      gone[#gone + 1] = ARGV[n]
    end
  end
  call('PEXPIRE', KEYS[5], IDLE)
  return gone
end

-- ARGV: ids.
function operations.leave()
  local channel, now = open(), clock()
  for n = 5, #ARGV do
    local data = data_of(ARGV[n])
    call('ZREM', KEYS[5], ARGV[n])
    if data then
      change(channel, 'left', ARGV[n], data, now)
    end
  end
  return 1
end

function operations.members()
  local channel = open()
  expire(channel, clock())
  return {stand(channel), call('HGETALL', KEYS[3])}
end

-- Leases. KEYS[1] is a hash: n the number, t the token of the holder's request, u until when.

-- ARGV: ms, token.
function operations.lease()
  local now, kept = clock(), call('HMGET', KEYS[1], 'n', 't', 'u')
  if (tonumber(kept[3]) or 0) > now then
    -- The answer to its first request may have been lost.
    return kept[2] == ARGV[5] and kept[1]
  end
  -- The time, so that numbers grow even if the store has forgotten the last one.
  local number = text(math.max((tonumber(kept[1]) or 0) + 1, now))
  call('HSET', KEYS[1], 'n', number, 't', ARGV[5], 'u', text(now + ARGV[4]))
  call('PEXPIRE', KEYS[1], ARGV[4] + IDLE)
  return number
end

-- ARGV: ms, number.
function operations.renew()
  local now, kept = clock(), call('HMGET', KEYS[1], 'n', 'u')
  if kept[1] ~= ARGV[5] or (tonumber(kept[2]) or 0) <= now then
    return 0
  end
  call('HSET', KEYS[1], 'u', text(now + ARGV[4]))
  call('PEXPIRE', KEYS[1], ARGV[4] + IDLE)
  return 1
end

-- ARGV: number.
function operations.release()
  if call('HGET', KEYS[1], 'n') == ARGV[4] then
    call('HSET', KEYS[1], 'u', 0)
  end
  return 1
end

-- KEYS[1] is a pub/sub channel. ARGV: what to say there.
function operations.probe()
  return call(tell, KEYS[1], ARGV[4])
end

return operations[operation]()
