"""What is in Redis, and each step that changes it: one script, and so one moment, for each.

For every scope, below a root that ends in a colon and holds a hash tag:

- ``entry:<key>``: a hash of a kept panel's content, time, and epoch when its load began.
- ``gen:<loader>``, ``gen:<loader>:<call>``: when it was last invalidated, by the clock of Redis.
  Both together are the epoch of a call; a kept panel of another epoch is forgotten. They outlive
  all that was kept, and are never counted up, so that none can come again.
- ``lease:<key>:<epoch>``: who runs the load now, and how many workers wait for it.
- ``result:<token>``: what a run that others waited for has brought, for a moment.
- ``ends``, ``sizes``: when each entry ends, and its bytes, with the sum under the empty name.
- ``news``: the channel.
"""

from __future__ import annotations

from typing import Final

_EPOCH: Final = """
local root, name, loader, call = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local gen = root .. 'gen:' .. loader
local epoch = (redis.call('GET', gen) or '') .. '-' .. (redis.call('GET', gen .. ':' .. call) or '')
"""

# name, loader, call → content and time, or nothing.
FIND: Final = (
    _EPOCH
    + """
local entry = redis.call('HMGET', root .. 'entry:' .. name, 'epoch', 'at', 'content')
if entry[1] == epoch then return {entry[3], entry[2]} end
return {}
"""
)

# name, loader, call, a new token, the lease's ms, how new a kept entry must be ('' for never).
# → 'kept', content, time; 'run', token, epoch; or 'wait', the holder's token, epoch.
BEGIN: Final = (
    _EPOCH
    + """
local token, ms, newer = ARGV[4], ARGV[5], ARGV[6]
if newer ~= '' then
    local entry = redis.call('HMGET', root .. 'entry:' .. name, 'epoch', 'at', 'content')
    if entry[1] == epoch and tonumber(entry[2]) > tonumber(newer) then
        return {'kept', entry[3], entry[2]}
    end
end
local lease = root .. 'lease:' .. name .. ':' .. epoch
local holder = redis.call('HGET', lease, 'token')
if holder then
    redis.call('HINCRBY', lease, 'waiting', 1)
    return {'wait', holder, epoch}
end
redis.call('HSET', lease, 'token', token, 'waiting', 0)
redis.call('PEXPIRE', lease, ms)
return {'run', token, epoch}
"""
)

# name, epoch, token → 'kept', content, time; 'wait'; or 'gone'.
LOOK: Final = """
local result = redis.call('HMGET', KEYS[1] .. 'result:' .. ARGV[3], 'content', 'at')
if result[1] then return {'kept', result[1], result[2]} end
local lease = KEYS[1] .. 'lease:' .. ARGV[1] .. ':' .. ARGV[2]
if redis.call('HGET', lease, 'token') == ARGV[3] then return {'wait'} end
return {'gone'}
"""

# name, epoch, token: one that waited does so no more.
LEAVE: Final = """
local lease = KEYS[1] .. 'lease:' .. ARGV[1] .. ':' .. ARGV[2]
if redis.call('HGET', lease, 'token') == ARGV[3] then
    redis.call('HINCRBY', lease, 'waiting', -1)
end
"""

# name, epoch, token, ms → how many wait; -1 when the lease is another's by now.
RENEW: Final = """
local lease = KEYS[1] .. 'lease:' .. ARGV[1] .. ':' .. ARGV[2]
if redis.call('HGET', lease, 'token') ~= ARGV[3] then return -1 end
redis.call('PEXPIRE', lease, ARGV[4])
return tonumber(redis.call('HGET', lease, 'waiting'))
"""

# name, loader, call, the run's epoch, token, the news for those who wait, ms for which they find
# the result; and, where there is one: content, time, ms to keep it (0: not at all), its bytes,
# max_entries, max_bytes.
END: Final = (
    _EPOCH
    + """
local began, token, news, handover = ARGV[4], ARGV[5], ARGV[6], ARGV[7]
local content, at, ms, size = ARGV[8], ARGV[9], tonumber(ARGV[10]), tonumber(ARGV[11])
local max_entries, max_bytes = tonumber(ARGV[12]), tonumber(ARGV[13])
local lease = root .. 'lease:' .. name .. ':' .. began
local ends, sizes = root .. 'ends', root .. 'sizes'

local function drop(each)
    redis.call('DEL', root .. 'entry:' .. each)
    redis.call('ZREM', ends, each)
    local bytes = redis.call('HGET', sizes, each)
    if bytes then
        redis.call('HINCRBY', sizes, '', '-' .. bytes)
        redis.call('HDEL', sizes, each)
    end
end

if ms and ms > 0 and began == epoch and size <= max_bytes then
    local clock = redis.call('TIME')
    local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
    drop(name)
    redis.call('HSET', root .. 'entry:' .. name, 'epoch', epoch, 'at', at, 'content', content)
    redis.call('PEXPIRE', root .. 'entry:' .. name, ms)
    redis.call('ZADD', ends, now + ms, name)
    redis.call('HSET', sizes, name, size)
    redis.call('HINCRBY', sizes, '', size)
    for _, each in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 100)) do
        drop(each)
    end
    while redis.call('ZCARD', ends) > max_entries
        or tonumber(redis.call('HGET', sizes, '')) > max_bytes do
        drop(redis.call('ZRANGE', ends, 0, 0)[1])
    end
    if redis.call('PTTL', ends) < ms then
        redis.call('PEXPIRE', ends, ms)
        redis.call('PEXPIRE', sizes, ms)
    end
end

if redis.call('HGET', lease, 'token') == token then
    local waiting = tonumber(redis.call('HGET', lease, 'waiting'))
    redis.call('DEL', lease)
    if waiting > 0 then
        if content then
            redis.call('HSET', root .. 'result:' .. token, 'content', content, 'at', at)
            redis.call('PEXPIRE', root .. 'result:' .. token, handover)
        end
        redis.call('PUBLISH', root .. 'news', news)
    end
end
"""
)

# loader, call ('' for all), ms that it is remembered, the news.
FORGET: Final = """
local gen = KEYS[1] .. 'gen:' .. ARGV[1]
if ARGV[2] ~= '' then gen = gen .. ':' .. ARGV[2] end
local clock = redis.call('TIME')
redis.call('SET', gen, clock[1] .. '.' .. clock[2], 'PX', ARGV[3])
redis.call('PUBLISH', KEYS[1] .. 'news', ARGV[4])
"""
