"""The keys of the cache in Redis, and the scripts that change them, each in one step.

For every scope, after a root that ends in a colon and holds a hash tag:

- ``entry:<key>``: a hash of a panel's content, its time, and the epoch when its load began.
- ``gen:<loader>``, ``gen:<loader>:<call>``: the time of the last invalidation, by the clock of
  Redis. Both together are the epoch of a call; an entry of another epoch counts as none. They
  outlive all entries. They are times and no counters, so that no epoch comes twice.
- ``lease:<key>:<epoch>``: the worker that runs the load, and the number of workers that wait.
- ``result:<token>``: the result of a run that other workers waited for, for a short time.
- ``ends``, ``sizes``: when each entry expires, and its bytes, with the sum under the empty name.
- ``news``: the pub/sub channel.

And ``<prefix>apps``, the scopes of all apps by the time until which they are listed: whoever has
the address alone invalidates in each of them.
"""

from __future__ import annotations

from typing import Final

from flash.redis.scripts import Script

_EPOCH: Final = """
local root, name, loader, call = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local gen = root .. 'gen:' .. loader
local epoch = (redis.call('GET', gen) or '') .. '-' .. (redis.call('GET', gen .. ':' .. call) or '')
"""

# ARGV name, loader, call. Returns content and time, or nothing.
FIND: Final = Script(
    _EPOCH
    + """
local entry = redis.call('HMGET', root .. 'entry:' .. name, 'epoch', 'at', 'content')
if entry[1] == epoch then return {entry[3], entry[2]} end
return {}
"""
)

# ARGV name, loader, call, a new token, ms of the lease, the time after which an entry is new enough
# ('' for none). Returns 'kept', content, time; 'run', token, epoch; or 'wait', the holder's token,
# epoch. A second attempt with the same token gets the same lease.
BEGIN: Final = Script(
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
if holder and holder ~= token then
    redis.call('HINCRBY', lease, 'waiting', 1)
    return {'wait', holder, epoch}
end
if not holder then redis.call('HSET', lease, 'token', token, 'waiting', 0) end
redis.call('PEXPIRE', lease, ms)
return {'run', token, epoch}
"""
)

# ARGV name, epoch, token. Returns 'kept', content, time; 'wait'; or 'gone'.
LOOK: Final = Script("""
local result = redis.call('HMGET', KEYS[1] .. 'result:' .. ARGV[3], 'content', 'at')
if result[1] then return {'kept', result[1], result[2]} end
local lease = KEYS[1] .. 'lease:' .. ARGV[1] .. ':' .. ARGV[2]
if redis.call('HGET', lease, 'token') == ARGV[3] then return {'wait'} end
return {'gone'}
""")

# ARGV name, epoch, token. One worker stops waiting.
LEAVE: Final = Script("""
local lease = KEYS[1] .. 'lease:' .. ARGV[1] .. ':' .. ARGV[2]
if redis.call('HGET', lease, 'token') == ARGV[3] then
    redis.call('HINCRBY', lease, 'waiting', -1)
end
""")

# ARGV name, epoch, token, ms. Returns how many workers wait; -1 if another run has the lease.
RENEW: Final = Script("""
local lease = KEYS[1] .. 'lease:' .. ARGV[1] .. ':' .. ARGV[2]
if redis.call('HGET', lease, 'token') ~= ARGV[3] then return -1 end
redis.call('PEXPIRE', lease, ARGV[4])
return tonumber(redis.call('HGET', lease, 'waiting'))
""")

# ARGV name, loader, call, the run's epoch, token, the message for the workers that wait, ms for
# which they find the result; and, if there is a result: content, time, ms to keep it (0: not at
# all), its bytes, max_entries, max_bytes.
END: Final = Script(
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

# KEYS the list of scopes. ARGV scope, ms for which it is listed, the number of scopes at most.
REGISTER: Final = Script("""
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local till = now + ARGV[2]
local known = redis.call('ZSCORE', KEYS[1], ARGV[1])
if known and tonumber(known) > till then till = tonumber(known) end
redis.call('ZADD', KEYS[1], string.format('%.0f', till), ARGV[1])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - ARGV[3])
local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], last[2])
""")

# ARGV loader, call ('' for all), ms to keep the time, the message.
FORGET: Final = Script("""
local gen = KEYS[1] .. 'gen:' .. ARGV[1]
if ARGV[2] ~= '' then gen = gen .. ':' .. ARGV[2] end
local clock = redis.call('TIME')
redis.call('SET', gen, clock[1] .. '.' .. clock[2], 'PX', ARGV[3])
redis.call('PUBLISH', KEYS[1] .. 'news', ARGV[4])
""")
