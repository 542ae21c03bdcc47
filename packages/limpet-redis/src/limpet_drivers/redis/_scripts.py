"""The scripts: whole calls that run on the server, one at a time. Lua 5.1, on Redis 6.2 or newer and on Valkey.

A database has three keys: a hash of the items, a sorted set of their keys (all with score 0, so it is sorted by
bytes), and a sorted set of those that expire, by time. A script reads everything before its first write, because an
error halfway would leave what was already written. And no key is used again once its last element may have been
removed: while a key's slot is moved to another node, a missing key is refused, even in the middle of a script. For the
same reason, scripts that only read name the keys that they read, so they keep working meanwhile.
"""

__all__ = ["CLEAR", "COMMIT", "FETCH", "LIST", "PURGE"]

_TIME = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- A record: the etag (22), the time of writing (16 digits), the expiry (16 digits, 0 for none), then the value.
local function expires(record) return tonumber(string.sub(record, 39, 54)) or 0 end
local function gone(record) local at = expires(record); return at > 0 and at <= now end
"""

_COMMON = (
    _TIME
    + """
local ITEMS, ORDER, EXPIRY = KEYS[1], KEYS[2], KEYS[3]

-- unpack takes no more than some thousand values.
local function in_parts(list, call)
    for first = 1, #list, 4000 do call(unpack(list, first, math.min(first + 3999, #list))) end
end
local function read(keys)
    local found = {}
    for first = 1, #keys, 4000 do
        local last = math.min(first + 3999, #keys)
        local part = redis.call('HMGET', ITEMS, unpack(keys, first, last))
        for n = 1, last - first + 1 do found[first + n - 1] = part[n] end
    end
    return found
end
local function remove(keys)
    in_parts(keys, function(...) redis.call('HDEL', ITEMS, ...) end)
    in_parts(keys, function(...) redis.call('ZREM', ORDER, ...) end)
    in_parts(keys, function(...) redis.call('ZREM', EXPIRY, ...) end)
end
-- Tell who watches; nothing at all where the keys are too many for a message: then they look for themselves.
local function tell(channel, keys)
    if #keys == 0 then return end
    local said = table.concat(keys, '\\n')
    redis.call('PUBLISH', channel, #said < 65536 and said or '')
end
local function expired(limit) return redis.call('ZRANGEBYSCORE', EXPIRY, '-inf', now, 'LIMIT', 0, limit) end
"""
)

FETCH = (
    _TIME
    + """
-- ARGV: '1' for values, then the keys. Answers the time, then a record or false for each key. Short, for it is run the most.
local values = ARGV[1] == '1'
local function shown(record)
    if not record or gone(record) then return false end
    return values and record or string.sub(record, 1, 54)
end
if #ARGV == 2 then return {now, shown(redis.call('HGET', KEYS[1], ARGV[2]))} end
local answer = {now}
for first = 2, #ARGV, 4000 do
    local part = redis.call('HMGET', KEYS[1], unpack(ARGV, first, math.min(first + 3999, #ARGV)))
    for n, record in ipairs(part) do answer[first + n - 1] = shown(record) end
end
return answer
"""
)

LIST = (
    _COMMON
    + """
-- ARGV: lower end, upper end, '1' for reverse, limit, '1' for values, bytes. Answers the time, the last key examined
-- or false at the end, then key and record in turn.
local low, high, limit, values, room = ARGV[1], ARGV[2], tonumber(ARGV[4]), ARGV[5] == '1', tonumber(ARGV[6])
local keys
if ARGV[3] == '1' then keys = redis.call('ZREVRANGEBYLEX', ORDER, high, low, 'LIMIT', 0, limit + 1)
else keys = redis.call('ZRANGEBYLEX', ORDER, low, high, 'LIMIT', 0, limit + 1) end
local more = #keys > limit
if more then keys[#keys] = nil end
local answer, last = {now, false}, more and keys[#keys]
for first = 1, #keys, 100 do
    local part = {}
    for n = first, math.min(first + 99, #keys) do part[#part + 1] = keys[n] end
    for n, record in ipairs(read(part)) do
        if record and not gone(record) then
            answer[#answer + 1] = part[n]
            answer[#answer + 1] = values and record or string.sub(record, 1, 54)
            room = room - (values and #record or 0)
            if room <= 0 and (first + n - 1 < #keys or more) then
                answer[2] = part[n]
                return answer
            end
        end
    end
end
answer[2] = last
return answer
"""
)

CLEAR = (
    _COMMON
    + """
-- ARGV: lower end, upper end, limit, channel. Answers how many were removed, and how many of them lived.
local keys = redis.call('ZRANGEBYLEX', ORDER, ARGV[1], ARGV[2], 'LIMIT', 0, ARGV[3])
local lived = 0
for _, record in ipairs(read(keys)) do if record and not gone(record) then lived = lived + 1 end end
remove(keys)
tell(ARGV[4], keys)
return {#keys, lived}
"""
)

PURGE = (
    _COMMON
    + """
-- ARGV: limit. Answers how many were removed.
local keys = expired(ARGV[1])
remove(keys)
return #keys
"""
)

COMMIT = (
    _COMMON
    + """
-- ARGV: the channel, the bytes of items that a conflict may carry, the number of units; then each unit:
--   'b', writes:       'p' key cond etag ttl value | 'd' key cond | 'c' key cond
--   'a', log, check, cond, etag of the counter, puts:  prefix etag ttl value
-- A condition is '' for none, 'A' absent, 'P' present, or '=' and an etag; a ttl '' for none, 'K' for keep, or milliseconds.
-- Answers the time, then for each unit: 0 applied; {'n', first number}; {'x', what is wrong}; or
-- {'c', key, carried, record or false, key, ...}.
local at = 3
local function take() at = at + 1; return ARGV[at] end
local units, wanted, seen = {}, {}, {}
local function want(key) if not seen[key] then seen[key] = true; wanted[#wanted + 1] = key end end
for n = 1, tonumber(ARGV[3]) do
    local unit = {kind = take()}
    if unit.kind == 'a' then
        unit.log, unit.check, unit.cond, unit.etag = take(), take(), take(), take()
        want(unit.log); want(unit.check)
        for m = 1, tonumber(take()) do unit[m] = {key = take(), etag = take(), ttl = take(), value = take()} end
    else
        for m = 1, tonumber(take()) do
            local write = {op = take(), key = take(), cond = take()}
            if write.op == 'p' then write.etag, write.ttl, write.value = take(), take(), take() end
            want(write.key)
            unit[m] = write
        end
    end
    units[n] = unit
end

local stored, net, changed = {}, {}, {}
for n, record in ipairs(read(wanted)) do stored[wanted[n]] = record end
redis.call('ZSCORE', ORDER, '')   -- raises here, before anything is written, where it is no sorted set; so does this:
local freed = expired(16)

local function live(key)
    local record = net[key]
    if record == nil then record = stored[key] end
    if record and not gone(record) then return record end
    return false
end
local function holds(cond, record)
    if cond == 'A' then return not record end
    if not record then return false end
    return cond == 'P' or '=' .. string.sub(record, 1, 22) == cond
end
local function change(key, record)
    if net[key] == nil then changed[#changed + 1] = key end
    net[key] = record
end
local function put(key, etag, ttl, value)
    local ends = 0
    if ttl == 'K' then local record = live(key); ends = record and expires(record) or 0
    elseif ttl ~= '' then ends = now + tonumber(ttl) end
    change(key, etag .. string.format('%016.0f%016.0f', now, ends) .. value)
end
local function conflict(failed)
    local answer, room = {'c'}, tonumber(ARGV[2])
    for _, key in ipairs(failed) do
        local record = live(key)
        room = room - (record and #record - 55 or 0)
        answer[#answer + 1] = key
        answer[#answer + 1] = room >= 0 and 1 or 0
        answer[#answer + 1] = room >= 0 and record or false
    end
    return answer
end
local function batch(unit)
    local failed = {}
    for _, write in ipairs(unit) do
        local record = live(write.key)
        if write.op == 'p' and record and string.sub(record, 1, 22) == write.etag then return 0 end
        if write.cond ~= '' and not holds(write.cond, record) then failed[#failed + 1] = write.key end
    end
    if #failed > 0 then return conflict(failed) end
    for _, write in ipairs(unit) do
        if write.op == 'p' then put(write.key, write.etag, write.ttl, write.value)
        elseif write.op == 'd' and (net[write.key] ~= nil or stored[write.key]) then change(write.key, false) end
    end
    return 0
end
-- Numbers have 16 digits, more than Lua counts exactly: so they are counted in halves.
local function plus(high, low, more)
    low = low + more
    return high + math.floor(low / 1e8), low % 1e8
end
local function append(unit)
    if not holds(unit.cond, live(unit.check)) then return conflict({unit.check}) end
    local counter = live(unit.log)
    local digits = counter and string.sub(counter, 55) or 't0'
    if not string.find(digits, '^t%d+$') then return {'x', 'corrupt'} end
    digits = string.gsub(string.sub(digits, 2), '^0+', '')
    if #digits > 16 then return {'x', 'full'} end
    digits = string.rep('0', 16 - #digits) .. digits
    local high, low = tonumber(string.sub(digits, 1, 8)), tonumber(string.sub(digits, 9))
    local new_high, new_low = plus(high, low, #unit)
    if new_high >= 1e8 then return {'x', 'full'} end
    for n, entry in ipairs(unit) do
        local this_high, this_low = plus(high, low, n - 1)
        put(entry.key .. '!' .. string.format('%08.0f%08.0f', this_high, this_low), entry.etag, entry.ttl, entry.value)
    end
    local following = string.gsub(string.format('%08.0f%08.0f', new_high, new_low), '^0+', '')
    put(unit.log, unit.etag, 'K', 't' .. following)
    return {'n', digits}
end

local answer = {now}
for n, unit in ipairs(units) do answer[n + 1] = unit.kind == 'a' and append(unit) or batch(unit) end

-- What is removed is there: so a key ends with the last call for it.
local fields, members, ending, lasting, deleted = {}, {}, {}, {}, {}
for _, key in ipairs(changed) do
    local record, before = net[key], stored[key]
    local expiring = before and expires(before) > 0
    if record then
        fields[#fields + 1] = key; fields[#fields + 1] = record
        members[#members + 1] = 0; members[#members + 1] = key
        local ends = expires(record)
        if ends > 0 then ending[#ending + 1] = ends; ending[#ending + 1] = key
        elseif expiring then lasting[#lasting + 1] = key end
    elseif before then
        deleted[#deleted + 1] = key
        if expiring then lasting[#lasting + 1] = key end
    end
end
for _, key in ipairs(freed) do
    if net[key] == nil then deleted[#deleted + 1] = key; lasting[#lasting + 1] = key end
end
in_parts(fields, function(...) redis.call('HSET', ITEMS, ...) end)
in_parts(members, function(...) redis.call('ZADD', ORDER, ...) end)
in_parts(ending, function(...) redis.call('ZADD', EXPIRY, ...) end)
in_parts(deleted, function(...) redis.call('HDEL', ITEMS, ...) end)
in_parts(deleted, function(...) redis.call('ZREM', ORDER, ...) end)
in_parts(lasting, function(...) redis.call('ZREM', EXPIRY, ...) end)
tell(ARGV[1], changed)
return answer
"""
)
