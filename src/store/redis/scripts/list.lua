-- A page of the sessions of a place, in the order of creation.
-- ARGV: position after which it begins (empty: the beginning), most sessions
return {redis.call('HGET', P, 'm'), page(ARGV[1], ARGV[2])}
