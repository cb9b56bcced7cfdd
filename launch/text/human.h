// Numbers and times for people. Programs get exact values: see json.h.
#pragma once

#include <cstdint>
#include <string>

namespace cairn::launch {

// "0", "999", "1 234 567": thousands set off by a space.
std::string HumanCount(std::uint64_t count);

// "1 row", "2 000 rows".
std::string CountOf(std::uint64_t count, const std::string& what);

// "512 B", "1.5 KiB", "23.0 MiB".
std::string HumanBytes(std::uint64_t bytes);

// "0.4 s", "12.3 s", "4 min 05 s", "3 h 07 min", "2 d 03 h". Negative counts as 0.
std::string HumanSeconds(double seconds);

// "85 us", "1.24 ms", "31.0 ms", "204 ms", "1.50 s", from a minute on as HumanSeconds: three
// digits.
std::string HumanLatency(double seconds);

// `digits` digits after the point: 0.8051.
std::string Fixed(double value, int digits);

// Local time of the machine, "2026-03-01 09:30:00".
std::string LocalTime(std::int64_t unix_s);
std::string LocalTimeNow();
std::int64_t UnixNow();

}  // namespace cairn::launch
