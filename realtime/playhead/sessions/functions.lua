#!lua name=playhead_1

-- What must be one step in the state store. Library and functions carry a version in their names, so that two releases
-- can run side by side; a changed function gets a new name.

-- open_1(epoch key; run_id, now_ms) -> epoch
-- The epoch of a partition grows when the server that holds it is not the one that was seen last.
local function open_1(keys, args)
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

local function is_live(session_key)
  local ended = redis.call('HGET', session_key, 'ended')
  return ended and ended ~= '1'
end

-- live_1(epoch key, live key; session key prefix, session key suffix) -> {epoch, state, state, ...}
local function live_1(keys, args)
  local answer = {redis.call('HGET', keys[1], 'epoch')}
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

-- commit_1(epoch key, live key, session key...; epoch, channel, ttl_ms, ended_ttl_ms, live_max, session key prefix,
--          suffix, ended key prefix,
--          {expected version or '', session id, script id, version, ended '0'|'1', state} per session key, packet...)
--   -> 1 done, 0 lost, -1 full
local FIXED_ARGS = 8
local CHANGE_ARGS = 6

local function refusal(keys, args, count)
  local created = 0
  if redis.call('HGET', keys[1], 'epoch') ~= args[1] then
    return 0
  end
  for i = 1, count do
    local at = FIXED_ARGS + (i - 1) * CHANGE_ARGS
    local expected, script_id = args[at + 1], args[at + 3]
    local version = redis.call('HGET', keys[2 + i], 'version')
    if expected ~= '' then
      if version ~= expected then
        return 0
      end
    else
      local other = redis.call('HGET', keys[2], script_id)
      if version or (other and is_live(args[6] .. other .. args[7])) then
        return 0
      end
      if not other then
        created = created + 1
      end
    end
  end
  if created > 0 and redis.call('HLEN', keys[2]) + created > tonumber(args[5]) then
    return -1
  end
  return nil
end

local function commit_1(keys, args)
  local count = #keys - 2
  local refused = refusal(keys, args, count)
  if refused then
    return refused
  end
  for i = 1, count do
    local at = FIXED_ARGS + (i - 1) * CHANGE_ARGS
    local session_id, script_id, ended = args[at + 2], args[at + 3], args[at + 5]
    redis.call('HSET', keys[2 + i], 'version', args[at + 4], 'ended', ended, 'state', args[at + 6])
    redis.call('PEXPIRE', keys[2 + i], ended == '1' and args[4] or args[3])
    if ended == '0' then
      redis.call('HSET', keys[2], script_id, session_id)
    else
      redis.call('SET', args[8] .. script_id .. args[7], session_id, 'PX', args[4])
      if redis.call('HGET', keys[2], script_id) == session_id then
        redis.call('HDEL', keys[2], script_id)
      end
    end
  end
  redis.call('PEXPIRE', keys[2], args[3])
  for i = FIXED_ARGS + count * CHANGE_ARGS + 1, #args do
    redis.call('SPUBLISH', args[2], args[i])
  end
  return 1
end

redis.register_function('open_1', open_1)
redis.register_function('live_1', live_1)
redis.register_function('commit_1', commit_1)
