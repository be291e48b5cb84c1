-- What must be one step in the state store. Two releases can run side by side: see library.py, which puts a name above
-- this text, and `MARK`, for the end of the functions' names.

-- open(epoch key; run_id, now_ms) -> epoch
-- The epoch of a partition grows when the server that holds it is not the one that was seen last.
local function open(keys, args)
  local known = redis.call('HMGET', keys[1], 'run_id', 'epoch')
  if known[1] == args[1] and known[2] then
    return known[2]
  end
  local epoch = tonumber(args[2])
  if known[2] and tonumber(known[2]) >= epoch then
    epoch = tonumber(known[2]) + 1
  end
  local text = string.format('%.0f', epoch)
  redis.call('HSET', keys[1], 'run_id', args[1], 'epoch', text)
  return text
end

-- raise(epoch key; least) -> epoch
-- The epoch is at least that from now on: sessions have lived elsewhere meanwhile, in epochs of their own.
local function raise(keys, args)
  local known = redis.call('HGET', keys[1], 'epoch')
  if known and tonumber(known) >= tonumber(args[1]) then
    return known
  end
  redis.call('HSET', keys[1], 'epoch', args[1])
  return args[1]
end

local function is_live(session_key)
  local ended = redis.call('HGET', session_key, 'ended')
  return ended and ended ~= '1'
end

-- live(epoch key, live key, answer key?; session key prefix, session key suffix) -> {epoch, answer, state, ...}
local function live(keys, args)
  local kept = keys[3] and redis.call('GET', keys[3])
  local answer = {redis.call('HGET', keys[1], 'epoch'), kept or false}
  local index = redis.call('HGETALL', keys[2])
  for i = 1, #index, 2 do
    local row = redis.call('HMGET', args[1] .. index[i + 1] .. args[2], 'ended', 'state')
    if row[1] == '0' then
      answer[#answer + 1] = row[2]
    elseif not row[1] then
      redis.call('HDEL', keys[2], index[i])
    end
  end
  return answer
end

-- begin(begun key; apart_ms, burst) -> 0 counted, else after how many ms it would be
-- As `Pace.take` in limits.py; forgotten once as many may come at once as ever.
local function begin(keys, args)
  local now = redis.call('TIME')
  local now_ms, apart_ms = now[1] * 1000 + math.floor(now[2] / 1000), tonumber(args[1])
  local due_ms = math.max(tonumber(redis.call('GET', keys[1]) or 0), now_ms) + apart_ms
  local wait_ms = due_ms - apart_ms * args[2] - now_ms
  if wait_ms > 0 then
    return wait_ms
  end
  redis.call('SET', keys[1], string.format('%.0f', due_ms), 'PX', string.format('%.0f', due_ms - now_ms))
  return 0
end

-- orders(epoch key, {live key, version key}...; session key prefix, session key suffix)
--   -> {epoch, {version, session id, epoch, revision, ...} per listener}
-- The listeners are of one partition. States are lists that only grow at their end: both numbers stay where they are.
local ORDER = '^%["[^"]*","[^"]*","[^"]*",%d+,(%d+),(%d+),'

local function orders(keys, args)
  local answer = {redis.call('HGET', keys[1], 'epoch')}
  for i = 2, #keys, 2 do
    -- an index may still name what has run out
    local index, rows = redis.call('HVALS', keys[i]), {redis.call('GET', keys[i + 1]) or '0'}
    for _, session_id in ipairs(index) do
      local row = redis.call('HMGET', args[1] .. session_id .. args[2], 'ended', 'state')
      if row[1] == '0' then
        local epoch, revision = string.match(row[2], ORDER)
        rows[#rows + 1], rows[#rows + 2], rows[#rows + 3] = session_id, epoch, revision
      end
    end
    answer[#answer + 1] = rows
  end
  return answer
end

-- commit(epoch key, live key, deadlines key, journal key, answer key or '', answers key or '', session key...;
--          {fixed arguments, in the order of `at` below}, {change arguments per session key}, packet...)
--   -> 1 done, 0 lost, -1 full, -2 backlog
local FIXED_KEYS = 6
local at = {
  epoch = 1, channel = 2, ttl_ms = 3, ended_ttl_ms = 4, live_max = 5, session_prefix = 6, suffix = 7, ended_prefix = 8,
  listener_id = 9, journal_max = 10, command_id = 11, answer = 12, answer_ttl_ms = 13, answers_max = 14,
  answer_prefix = 15, moves_prefix = 16, moves_max = 17, conflicts_prefix = 18, conflicts_max = 19, moves_ttl_ms = 20, live = 21,
  revoked = 22, revoked_max = 23,
}
local FIXED_ARGS = 23
-- expected: '' for a session that must not exist; due: '' for one that is over; conflict: the entry's id, '' for a move;
-- revoked_until_s: when the last media token of a session that has ended expires
local change_at = {
  expected = 1, session_id = 2, script_id = 3, version = 4, ended = 5, state = 6, due = 7, extra = 8, entry = 9,
  conflict = 10, revoked_until_s = 11,
}
local CHANGE_ARGS = 11

local function change(args, number)
  local first = FIXED_ARGS + (number - 1) * CHANGE_ARGS
  local row = {}
  for name, offset in pairs(change_at) do
    row[name] = args[first + offset]
  end
  return row
end

local function refusal(keys, args, changes)
  if redis.call('HGET', keys[1], 'epoch') ~= args[at.epoch] then
    return 0
  end
  -- whoever asked again under its id while the first was under way is answered as the first
  if args[at.command_id] ~= '' and redis.call('EXISTS', keys[5]) == 1 then
    return 0
  end
  if args[at.live] ~= '' and redis.call('HLEN', keys[2]) ~= tonumber(args[at.live]) then
    return 0
  end
  local created = 0
  for i, row in ipairs(changes) do
    local version = redis.call('HGET', keys[FIXED_KEYS + i], 'version')
    if row.expected ~= '' then
      if version ~= row.expected then
        return 0
      end
    else
      local other = redis.call('HGET', keys[2], row.script_id)
      if version or (other and is_live(args[at.session_prefix] .. other .. args[at.suffix])) then
        return 0
      end
      if not other then
        created = created + 1
      end
    end
  end
  if created > 0 and redis.call('HLEN', keys[2]) + created > tonumber(args[at.live_max]) then
    return -1
  end
  if redis.call('XLEN', keys[4]) >= tonumber(args[at.journal_max]) then
    return -2
  end
  return nil
end

local function set_state(keys, args, session_key, row)
  redis.call('HSET', session_key, 'version', row.version, 'ended', row.ended, 'state', row.state)
  if row.ended == '0' then
    -- one that was there is in the index already, for as long as it is kept itself
    if row.expected == '' then
      redis.call('HSET', keys[2], row.script_id, row.session_id)
    end
    return
  end
  redis.call('XADD', args[at.revoked], 'MAXLEN', '~', args[at.revoked_max], '*', 'subject', row.session_id,
    'until_s', row.revoked_until_s)
  redis.call('SET', args[at.ended_prefix] .. row.script_id .. args[at.suffix], row.session_id, 'PX', args[at.ended_ttl_ms])
  if redis.call('HGET', keys[2], row.script_id) == row.session_id then
    redis.call('HDEL', keys[2], row.script_id)
  end
end

-- the oldest conflict is the one with the least `at_ms`; an entry of the same id takes the place of the one before
local function keep_conflict(key, args, row)
  redis.call('HSET', key, row.conflict, row.entry)
  if redis.call('HLEN', key) > tonumber(args[at.conflicts_max]) then
    local rows, oldest, oldest_ms = redis.call('HGETALL', key), nil, nil
    for i = 1, #rows, 2 do
      local at_ms = cjson.decode(rows[i + 1]).at_ms
      if not oldest_ms or at_ms < oldest_ms then
        oldest, oldest_ms = rows[i], at_ms
      end
    end
    redis.call('HDEL', key, oldest)
  end
  redis.call('PEXPIRE', key, args[at.moves_ttl_ms])
end

local function keep_move(key, args, row)
  if redis.call('RPUSH', key, row.entry) > tonumber(args[at.moves_max]) then
    redis.call('LTRIM', key, -tonumber(args[at.moves_max]), -1)
  end
  redis.call('PEXPIRE', key, args[at.moves_ttl_ms])
end

local function keep_answer(keys, args)
  redis.call('SET', keys[5], args[at.answer], 'PX', args[at.answer_ttl_ms])
  local kept = redis.call('RPUSH', keys[6], args[at.command_id])
  redis.call('PEXPIRE', keys[6], args[at.answer_ttl_ms])
  if kept > tonumber(args[at.answers_max]) then
    redis.call('DEL', args[at.answer_prefix] .. redis.call('LPOP', keys[6]) .. args[at.suffix])
  end
end

local function apply(keys, args, session_key, row)
  if row.version ~= row.expected then
    set_state(keys, args, session_key, row)
  end
  redis.call('PEXPIRE', session_key, row.ended == '1' and args[at.ended_ttl_ms] or args[at.ttl_ms])
  if row.version ~= row.expected or row.extra ~= '' then
    redis.call('XADD', keys[4], '*', 's', row.state, 'x', row.extra)
  end
  local member = 's|' .. args[at.listener_id] .. '|' .. row.session_id
  if row.due == '' then
    redis.call('ZREM', keys[3], member)
  else
    redis.call('ZADD', keys[3], row.due, member)
  end
  if row.conflict ~= '' then
    keep_conflict(args[at.conflicts_prefix] .. row.session_id .. args[at.suffix], args, row)
  elseif row.entry ~= '' then
    keep_move(args[at.moves_prefix] .. row.session_id .. args[at.suffix], args, row)
  end
end

local function commit(keys, args)
  local changes = {}
  for i = 1, #keys - FIXED_KEYS do
    changes[i] = change(args, i)
  end
  local refused = refusal(keys, args, changes)
  if refused then
    return refused
  end
  for i, row in ipairs(changes) do
    apply(keys, args, keys[FIXED_KEYS + i], row)
  end
  redis.call('PEXPIRE', keys[2], args[at.ttl_ms])
  if args[at.command_id] ~= '' then
    keep_answer(keys, args)
  end
  for i = FIXED_ARGS + #changes * CHANGE_ARGS + 1, #args do
    redis.call('SPUBLISH', args[at.channel], args[i])
  end
  return 1
end

-- due(deadlines key; now_ms, claimed_until_ms, limit, seen) -> {member, ...}
-- Takes what is due, and puts it off for whoever looks next: whoever dies with it in hand loses nothing.
-- Sessions and connections in turn, of the oldest `seen`: a timer does not wait until all that a dead node held is done.
local function due(keys, args)
  local limit, sessions, connections, taken = tonumber(args[3]), {}, {}, {}
  for _, member in ipairs(redis.call('ZRANGEBYSCORE', keys[1], '-inf', args[1], 'LIMIT', 0, args[4])) do
    local kind = string.sub(member, 1, 2) == 's|' and sessions or connections
    kind[#kind + 1] = member
  end
  for i = 1, math.min(limit, math.max(#sessions, #connections)) do
    for _, member in ipairs({sessions[i] or connections[i], sessions[i] and connections[i]}) do
      if #taken < limit then
        redis.call('ZADD', keys[1], args[2], member)
        taken[#taken + 1] = member
      end
    end
  end
  return taken
end

-- Counts what becomes of a listener's connections. Never less than the time in us: when the count has run out, the
-- next one is above it all the same.
local function count_up(version_key, ttl_ms)
  local now = redis.call('TIME')
  local version = now[1] * 1000000 + now[2]
  local known = redis.call('GET', version_key)
  if known and tonumber(known) >= version then
    version = tonumber(known) + 1
  end
  redis.call('SET', version_key, string.format('%.0f', version), 'PX', ttl_ms)
end

-- When the lease of a connection ends, as `hold` was given it; false without one.
local function lease_of(row)
  return row and tonumber(string.match(row, '"expires_at_ms":(%d+)'))
end

-- hold(presence key, deadlines key, version key; presence_ttl_ms, version_ttl_ms, doubtful_ms,
--        {connection id, connection, its lease, its name among the deadlines}...)
-- The list has changed when one is new, or had a lease that ended before `doubtful_ms`: somebody may have missed it.
local function hold(keys, args)
  local changed = false
  for i = 4, #args, 4 do
    local lease = lease_of(redis.call('HGET', keys[1], args[i]))
    changed = changed or not lease or lease < tonumber(args[3])
    redis.call('HSET', keys[1], args[i], args[i + 1])
    redis.call('ZADD', keys[2], args[i + 2], args[i + 3])
  end
  redis.call('PEXPIRE', keys[1], args[1])
  if changed or redis.call('PEXPIRE', keys[3], args[2]) == 0 then
    count_up(keys[3], args[2])
  end
end

-- drop(presence key, deadlines key, left key, version key; connection id, listener id, now_ms, left_ttl_ms, lapsed_by_ms)
--   -> 1 gone by this; 0 it was not known, or has a lease that ends after `lapsed_by_ms` ('': whatever its lease)
local function drop(keys, args)
  local lease = args[5] ~= '' and lease_of(redis.call('HGET', keys[1], args[1]))
  if lease and lease > tonumber(args[5]) then
    return 0
  end
  local held = redis.call('HDEL', keys[1], args[1])
  -- what is among the deadlines alone was listed as well: the rest of it has run out
  if redis.call('ZREM', keys[2], 'c|' .. args[2] .. '|' .. args[1]) + held == 0 then
    return 0
  end
  if held == 1 and redis.call('HLEN', keys[1]) == 0 then
    redis.call('SET', keys[3], args[3], 'PX', args[4])
  end
  count_up(keys[4], args[4])
  return 1
end

-- present(epoch key, presence key, version key) -> {epoch, version, connection, ...}
local function present(keys)
  local answer = {redis.call('HGET', keys[1], 'epoch'), redis.call('GET', keys[3]) or '0'}
  for _, row in ipairs(redis.call('HVALS', keys[2])) do
    answer[#answer + 1] = row
  end
  return answer
end

-- enter(presence key, deadlines key, version key, epoch key; as hold) -> as present
local function enter(keys, args)
  hold(keys, args)
  return present({keys[4], keys[1], keys[3]})
end

redis.register_function('open' .. MARK, open)
redis.register_function('raise' .. MARK, raise)
redis.register_function('live' .. MARK, live)
redis.register_function('begin' .. MARK, begin)
redis.register_function('commit' .. MARK, commit)
redis.register_function{function_name = 'orders' .. MARK, callback = orders, flags = {'no-writes'}}
redis.register_function('due' .. MARK, due)
redis.register_function('hold' .. MARK, hold)
redis.register_function('enter' .. MARK, enter)
redis.register_function('drop' .. MARK, drop)
redis.register_function{function_name = 'present' .. MARK, callback = present, flags = {'no-writes'}}
