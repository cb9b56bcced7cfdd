#include "common/math/hash.h"

#include <xxhash.h>

namespace cairn {

std::uint64_t HashBytes(std::string_view bytes, std::uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

std::uint64_t TableSalt(std::string_view table_name) {
  return HashBytes(table_name, 0x7461626c65ull);
}

}  // namespace cairn
