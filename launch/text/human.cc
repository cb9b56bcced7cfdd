#include "launch/text/human.h"

#include <cmath>
#include <cstdio>
#include <ctime>

#include "common/base/str_cat.h"

namespace cairn::launch {
namespace {

// "4 min 05 s": whole big units and what is left in the small one.
std::string TwoUnits(std::uint64_t small, std::uint64_t ratio, const char* big_name,
                     const char* small_name) {
  char text[64];
  std::snprintf(text, sizeof text, "%llu %s %02llu %s",
                static_cast<unsigned long long>(small / ratio), big_name,
                static_cast<unsigned long long>(small % ratio), small_name);
  return text;
}

}  // namespace

std::string HumanCount(std::uint64_t count) {
  std::string text = StrCat(count);
  for (std::size_t at = text.size(); at > 3;) {
    at -= 3;
    text.insert(at, 1, ' ');
  }
  return text;
}

std::string CountOf(std::uint64_t count, const std::string& what) {
  return StrCat(HumanCount(count), " ", what, count == 1 ? "" : "s");
}

std::string HumanBytes(std::uint64_t bytes) {
  if (bytes < 1024) return StrCat(bytes, " B");
  constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
  double value = static_cast<double>(bytes) / 1024;
  int unit = 0;
  while (value >= 1023.95 && unit < 5) {  // what would print as 1024.0
    value /= 1024;
    ++unit;
  }
  return StrCat(Fixed(value, 1), " ", kUnits[unit]);
}

std::string HumanSeconds(double seconds) {
  if (!(seconds > 0)) seconds = 0;
  if (seconds < 59.95) return StrCat(Fixed(seconds, 1), " s");
  const auto whole = static_cast<std::uint64_t>(std::llround(seconds));
  if (whole < 3600) return TwoUnits(whole, 60, "min", "s");
  if (whole < 86400) return TwoUnits(whole / 60, 60, "h", "min");
  return TwoUnits(whole / 3600, 24, "d", "h");
}

std::string HumanLatency(double seconds) {
  if (!(seconds > 0)) return "0 us";
  if (seconds < 0.9995e-3) return StrCat(Fixed(seconds * 1e6, 0), " us");
  if (seconds >= 59.95) return HumanSeconds(seconds);
  const bool is_long = seconds >= 0.9995;
  const double value = is_long ? seconds : seconds * 1e3;
  return StrCat(Fixed(value, value < 9.995 ? 2 : value < 99.95 ? 1 : 0), is_long ? " s" : " ms");
}

std::string Fixed(double value, int digits) {
  char text[400];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string LocalTime(std::int64_t unix_s) {
  const std::time_t time = unix_s;
  std::tm parts{};
  localtime_r(&time, &parts);
  char text[32];
  return std::string(text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts));
}

std::string LocalTimeNow() { return LocalTime(UnixNow()); }

std::int64_t UnixNow() { return std::time(nullptr); }

}  // namespace cairn::launch
